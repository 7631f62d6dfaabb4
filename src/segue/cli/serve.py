"""`segue serve` and `segue demo`: the server, pages included, and a town to try it on."""

from __future__ import annotations

import argparse
import asyncio
import gc
import ipaddress
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from segue import wiring
from segue.cli.output import ERR
from segue.core.errors import BadInput
from segue.web import app as web
from segue.web.one_write import OneWriteProtocol


def add_commands(commands: Any) -> None:
    """Add serve."""
    serve = commands.add_parser("serve", help="the server, pages included")
    serve.add_argument("--host", help="where to listen (default 127.0.0.1; others need keys)")
    serve.add_argument("--port", type=int, help="default 8080; 0 takes a free one")
    serve.add_argument("--train-at", metavar="HH:MM", help="train every night at this time, UTC")
    serve.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    return serve(args.home, args.config, args.host, args.port, args.train_at)


def serve(home_path: Path, config: Path | None, host: str | None, port: int | None, train_at: str | None) -> int:
    """Open the home as its one writer and serve it."""
    from segue.simulator.jukebox import Jukebox  # brings all of scipy.signal: other commands must not wait for it

    asked = _clock(train_at) if train_at else None  # before the home is opened: a wrong time is told at once
    with wiring.open_home(home_path, config, writer=True) as home:
        settings = home.settings.server
        host = host or settings.host
        keys = wiring.keys(home_path)
        if not keys and not _loopback(host):
            raise BadInput(
                f"--host {host}: without keys the server listens on this machine only; "
                f"put one key a line into {home_path / 'keys.txt'} to open it to others"
            )
        listener = bind(host, settings.port if port is None else port)
        home.sounds.append(Jukebox(home.catalogue.item, home_path / "jukebox").audio_of)  # of a demo town's songs only
        service = wiring.service(home, keys)
        application = web.create(service)
        assert service.monitor is not None
        if home.settings.monitoring.webhook:
            service.monitor.report_to(home.settings.monitoring.webhook, service.now)
        keepers = [
            _Housekeeper(lambda: settings.seal_every_s, home.seal),
            _Housekeeper(lambda: 0.2, lambda: follow(home, service)),
            _Housekeeper(lambda: 1.0, lambda: refresh(home, service)),
            _Housekeeper(lambda: settings.experiments_every_s, lambda: _tick(service)),
            _Housekeeper(lambda: home.settings.monitoring.every_s, lambda: _monitor(service)),
        ]
        at = _clock(settings.train_at) if asked is None and settings.train_at else asked
        if at is not None:
            keepers.append(_nightly(at, home_path, config))
        shown = "localhost" if _loopback(host) else host
        ERR.print(f"listening on http://{shown}:{listener.getsockname()[1]}/", highlight=False, markup=False)
        try:
            gc.collect()
            gc.freeze()  # what is loaded by now stays: no collection need look at it again
            gc.set_threshold(20_000, 20, 50)  # a request makes some thousand objects, none of them in circles
            sys.setswitchinterval(0.0005)  # the writer and the sources must not wait 5 ms for their turn
            with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(application, listener))  # Ctrl-C is how a server is told to stop
        finally:
            for keeper in keepers:
                keeper.end()
            service.monitor.close()
            service.recommender.close()
    return 0


async def _serve(application: Any, listener: socket.socket) -> None:
    config = uvicorn.Config(
        application, log_level="warning", access_log=False, http=OneWriteProtocol, lifespan="off", proxy_headers=False,
        server_header=False, timeout_graceful_shutdown=5, backlog=1024,
    )  # fmt: skip
    server = uvicorn.Server(config)
    await server.serve(sockets=[listener])


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, or BadInput."""
    if not 0 <= port <= 65535:
        raise BadInput(f"--port: expected 0 to 65535, found {port}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise BadInput(f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port") from None
    listener.listen(1024)
    return listener


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Housekeeper:
    """A thread that does its work again and again until it is ended; what the work raises is printed once, not fatal."""

    def __init__(self, wait: Callable[[], float], work: Callable[[], None]) -> None:
        self._end, self._wait, self._work, self._told = threading.Event(), wait, work, ""
        self._thread = threading.Thread(target=self._loop, name="housekeeping", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        while not self._end.wait(self._wait()):
            try:
                self._work()
                self._told = ""
            except Exception as error:
                told = f"segue: {type(error).__name__}: {error}"
                if told != self._told:
                    ERR.print(told, highlight=False, markup=False)
                self._told = told

    def ended(self, seconds: float = 0.0) -> bool:
        """Whether it is to end, waiting so long for that."""
        return self._end.wait(seconds)

    def end(self) -> None:
        """Tell it to end, and wait until it has."""
        self._end.set()
        self._thread.join(30)


def refresh(home: wiring.Home, service: Any) -> None:
    """Take in what other processes wrote: imports, a new champion."""
    home.catalogue.refresh()
    home.vectors.refresh()
    follow(home, service)
    service.arms.refresh(home.registry().version())
    service.standby.keep()


def follow(home: wiring.Home, service: Any) -> None:
    """Serve what is champion now: a model that stands by in microseconds, another as soon as it is loaded."""
    version = service.standby.follow()
    if version is not None:
        ERR.print(f"now serving model {version}", highlight=False, markup=False)
        service.counters.count("swaps", "bundle")
        service.maker.learn(wiring.discovery_of(home))


def _tick(service: Any) -> None:
    """Look at the running experiments and move them."""
    for name, taken in service.arms.tick(service.now()):
        service.counters.count("experiment_moves", taken.kind)
        ERR.print(f"experiment {name}: {taken.kind}: {taken.why}", highlight=False, markup=False)


def _monitor(service: Any) -> None:
    """Look at what is new in the log, and say what changed."""
    for alarm in service.monitor.tick(service.now()):
        service.counters.count("alarms", alarm.signal.rule)
        ERR.print(f"{alarm.level}: {alarm.signal.words}", highlight=False, markup=False)


def _clock(text: str) -> tuple[int, int]:
    try:
        hour, minute = (int(part) for part in text.split(":"))
        datetime(2000, 1, 1, hour, minute, tzinfo=UTC)
    except ValueError:
        raise BadInput(f'--train-at: expected a time of day such as "03:00", found {text!r}') from None
    return hour, minute


def _nightly(at: tuple[int, int], home: Path, config: Path | None) -> _Housekeeper:
    """Train in a child process every day at this time: the server keeps its memory and most of its cores to itself."""

    def train() -> None:
        command = [sys.executable, "-m", "segue", "--home", str(home)]
        command += ["--config", str(config)] if config else []
        child = subprocess.Popen([*command, "train"], stdin=subprocess.DEVNULL)
        while child.poll() is None:
            if keeper.ended(1.0):
                child.send_signal(signal.SIGTERM)
                return
        if child.returncode:
            ERR.print(f"segue: the night ended with {child.returncode}; the old model serves", highlight=False)

    keeper = _Housekeeper(lambda: _seconds_until(at, datetime.now(UTC)), train)
    return keeper


def _seconds_until(at: tuple[int, int], now: datetime) -> float:
    when = now.replace(hour=at[0], minute=at[1], second=0, microsecond=0)
    if when <= now:
        when += timedelta(days=1)
    return (when - now).total_seconds()
