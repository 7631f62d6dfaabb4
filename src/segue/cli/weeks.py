"""`segue simulate --experiment`: ten weeks of the demo's town, a good and a bad challenger, a fault, and the pages to watch."""

from __future__ import annotations

import argparse
import asyncio
import threading
import time
from dataclasses import replace
from typing import Any

import uvicorn

from segue import wiring
from segue.arena.weeks import SERVED_ONLY, Weeks, settings_of, start_of
from segue.cli.output import ERR, OUT, Bar, print_json, print_table
from segue.cli.serve import bind, refresh
from segue.core.errors import BadInput
from segue.simulator.town import Town
from segue.web import app as web
from segue.web.one_write import OneWriteProtocol
from segue.web.service import Service

SONGS, LISTENERS = 3000, 1500
"""Of the town, where nothing else is asked for."""


def run(args: argparse.Namespace) -> int:
    """Play the weeks in an empty home, with the pages at --port where it is given."""
    with wiring.open_home(args.home, args.config, writer=True) as home:
        if home.log.last:
            held = f"{home.log.last:,} events in {args.home}"
            raise BadInput(f"--experiment: expected an empty home, found {held}; choose another --home")
        settings = home.settings
    until = start_of(time.time_ns() // 1_000_000)
    songs, listeners = args.songs or SONGS, args.listeners or LISTENERS
    town = Town(args.seed, songs=songs, artists=max(songs // 5, 12), listeners=listeners, until_ms=until)
    with Bar() as bar:
        weeks = Weeks(
            town, args.home, settings, bar, lambda text: ERR.print(text, markup=False, highlight=False, soft_wrap=True)
        )
        weeks.begin()
        with wiring.Home(args.home, settings_of(settings, plain=False), writer=True) as home:
            service = replace(
                wiring.service(home, frozenset()), now=lambda: weeks.now, monitor=wiring.monitor_of(home, bounds=SERVED_ONLY)
            )
            pages = _Pages(service, args.port) if args.port is not None else None
            found = weeks.live(home, service, lambda: refresh(home, service))
            _tell(found, as_json=args.json)
            if pages is not None:
                pages.until_interrupted()
            service.recommender.close()
    return 0


def _tell(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    print_table("", ("experiment", "ended"), list(found["ended"].items()))
    OUT.print(f"{found['events']:,} events, {len(found['alarms'])} alarms and warnings", markup=False, highlight=False)


class _Pages:
    """The server's pages, in a thread beside the simulation, under the simulation's clock."""

    def __init__(self, service: Service, port: int) -> None:
        listener = bind("127.0.0.1", port)
        config = uvicorn.Config(
            web.create(service), log_level="warning", access_log=False, http=OneWriteProtocol, lifespan="off"
        )
        self._server = uvicorn.Server(config)
        serve = self._server.serve(sockets=[listener])
        self._thread = threading.Thread(target=lambda: asyncio.run(serve), name="pages", daemon=True)
        self._thread.start()
        where = f"http://localhost:{listener.getsockname()[1]}"
        ERR.print(f"watch {where}/experiments and {where}/monitor", highlight=False, markup=False)

    def until_interrupted(self) -> None:
        """Keep the pages up until Ctrl-C."""
        ERR.print("the weeks are over; the pages stay until Ctrl-C", highlight=False)
        try:
            self._thread.join()
        except KeyboardInterrupt:
            self._server.should_exit = True
            self._thread.join(5)
