"""`segue simulate --experiment`: ten weeks of a city, a good and a bad challenger, a fault, and the pages to watch it on."""

from __future__ import annotations

import argparse
import asyncio
import threading
from dataclasses import replace

import uvicorn

from segue import wiring
from segue.arena.weeks import DAYS, FAULT, Weeks
from segue.cli.output import ERR, OUT, Bar, print_json, print_table
from segue.cli.serve import bind
from segue.core.errors import BadInput
from segue.simulator.city import City
from segue.web import app as web
from segue.web.one_write import OneWriteProtocol
from segue.web.service import Service


def run(args: argparse.Namespace) -> int:
    """Play the weeks in the home, with the pages at --port where it is given."""
    with wiring.open_home(args.home, args.config, writer=True) as home:
        if home.log.last:
            held = f"{home.log.last:,} events in {args.home}"
            raise BadInput(f"--experiment: expected an empty home, found {held}; choose another --home")
        service = wiring.service(home, frozenset())
        assert service.arms is not None
        assert service.monitor is not None
        sizes = {"songs": args.songs, "artists": max(args.songs // 6, 1), "listeners": args.listeners, "seed": args.seed}
        weeks = Weeks(City(**sizes, days=DAYS), home, service.arms, service.monitor)
        pages = _Pages(replace(service, now=lambda: weeks.now), args.port) if args.port is not None else None
        with Bar() as bar:
            bar.phase(f"{DAYS} days; on days {FAULT[0]} to {FAULT[1]} a source answers nothing")
            found = weeks.live(lambda text: ERR.print(text, markup=False, highlight=False), bar.advance)
        if args.json:
            print_json(found)
        else:
            print_table("", ("experiment", "ended"), list(found["ended"].items()))
            OUT.print(f"{found['events']:,} events, {len(found['alarms'])} alarms and warnings", markup=False, highlight=False)
        if pages is not None:
            pages.until_interrupted()
        service.recommender.close()
    return 0


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
