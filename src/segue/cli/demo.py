"""`segue demo`: a generated town, its listening, a night, and the player: nothing needed but this."""

from __future__ import annotations

import argparse
import time
from contextlib import nullcontext
from typing import Any

from segue import wiring
from segue.cli import serve
from segue.cli.output import ERR, Bar
from segue.core.clock import DAY_MS
from segue.core.errors import BadInput
from segue.simulator.town import Town


def add_commands(commands: Any) -> None:
    """Add demo."""
    demo = commands.add_parser("demo", help="a generated town: made, trained, served")
    demo.add_argument("--songs", type=int, default=3000)
    demo.add_argument("--listeners", type=int, default=2000)
    demo.add_argument("--days", type=int, default=60)
    demo.add_argument("--seed", type=int, default=7, help="another seed is another town")
    demo.add_argument("--port", type=int, default=8080)
    demo.add_argument("--silent", action="store_true", help="a town without sound: made sooner, nothing to hear")
    demo.add_argument("--no-serve", action="store_true", help="make and train it, then stop")
    demo.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the town when the home is empty, train it when nothing was trained, serve it."""
    with wiring.open_home(args.home, args.config, writer=False) as home, Bar() as bar:
        settled = args.home / "town"
        if home.log.last == 0:
            settled.unlink(missing_ok=True)
            settle(home, args, bar)
            settled.touch()
        elif not settled.exists():
            raise BadInput(
                f"--home: {args.home} holds other data, or a town that was interrupted while it was made; "
                "remove the folder, or name another one"
            )
        if home.registry().version() is None:
            wiring.night(home, time.time_ns() // 1_000_000, bar)
    if args.no_serve:
        ERR.print(f"the town is in {args.home}: `segue --home {args.home} serve` plays it", highlight=False, markup=False)
        return 0
    ERR.print("open the address below in a browser and press play; Ctrl-C stops the server, the town stays", highlight=False)
    from segue.cli.listening import the_rest  # brings all of scipy.signal, which a server loads anyway

    with the_rest(args.home, args.config) if not args.silent else nullcontext():
        return serve.serve(args.home, args.config, None, args.port, None)


def settle(home: wiring.Home, args: argparse.Namespace, bar: Bar) -> None:
    """Generate the town and let it listen until this hour."""
    from segue.cli.listening import FIRST, hear, with_sound  # brings all of scipy.signal: other commands must not wait for it

    bar.phase(f"a town of {args.songs:,} songs and {args.listeners:,} listeners")
    hour = time.time_ns() // 3_600_000_000_000 * 3_600_000
    sizes = {"songs": args.songs, "artists": max(args.songs // 5, 12), "listeners": args.listeners, "days": args.days}
    town = Town(args.seed, **sizes, until_ms=hour)
    songs = town.items if args.silent else [with_sound(song) for song in town.items]
    item_ids, user_ids = home.catalogue.put_items(songs), home.catalogue.put_users(town.users)
    region_ids = home.catalogue.regions.intern(town.regions)
    bar.phase(f"{args.days} days of listening")
    since = hour - args.days * DAY_MS
    for events in town.events(item_ids, user_ids, region_ids):
        home.log.append(events)
        bar.advance(int(events["at"][-1]) - since, hour - since)
    bar.phase("folding the log into the state")
    home.catch_up()
    if not args.silent:
        hear(home, songs, item_ids, bar, None if args.no_serve else FIRST)
