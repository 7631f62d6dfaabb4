"""`segue simulate`: policies side by side in a simulated world, with the same luck for each."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from segue import config, wiring
from segue.arena import policies
from segue.arena.games import PLAIN, in_all, joined, plain, read_world, summary, warm_logs
from segue.arena.in_city import InCity
from segue.cli import weeks
from segue.cli.output import ERR, Bar, add_json, print_json, print_table
from segue.core.errors import BadInput
from segue.simulator import picture
from segue.simulator.baselines import ItemToItem, Random, SameArtist, Top
from segue.simulator.botify import Botify
from segue.simulator.city import City, Day, live
from segue.simulator.playing import Game, Plays, Policy, play

DAY_MS = 86_400_000
SEGUE_IN_CITY = ("segue", "segue-once")
"""Trained every night; trained before the first day alone."""


def add_commands(commands: Any) -> None:
    """Add simulate."""
    simulate = commands.add_parser("simulate", help="policies side by side in a simulated world")
    simulate.add_argument("--data", type=Path, help="a folder with tracks*.json and users*.json of the botify world")
    simulate.add_argument("--songs", type=int, help="of a generated world, without --data (default 50000; 3000 of a town)")
    simulate.add_argument("--listeners", type=int, help="of a generated world (default 10000; 1500 of a town)")
    simulate.add_argument("--seed", type=int, default=0, help="another seed is another world")
    simulate.add_argument("--world", choices=("botify", "city"), default="botify", help="single sessions, or days that change")
    simulate.add_argument("--days", type=int, default=28, help="how long a city lives")
    simulate.add_argument("--sessions", type=int, default=10_000, help="how many each policy plays; the same ones")
    simulate.add_argument("--learn", type=int, default=40_000, help="sessions of random and same-artist to learn from")
    simulate.add_argument(
        "--policy", action="append", metavar="NAME", help=f"{', '.join(PLAIN)}, segue (the home), http://HOST:PORT; repeatable"
    )
    simulate.add_argument("--settle", action="store_true", help="put the world and what is learned from into an empty home")
    simulate.add_argument("--plot", type=Path, metavar="FILE.svg", help="how long sessions last, as a picture")
    simulate.add_argument("--experiment", action="store_true", help="ten weeks: a good and a bad challenger, and a fault")
    simulate.add_argument("--port", type=int, help="with --experiment: serve the pages here meanwhile, and until Ctrl-C")
    add_json(simulate)
    simulate.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Play, and say how long sessions were."""
    if args.experiment:
        return weeks.run(args)
    args.songs, args.listeners = args.songs or 50_000, args.listeners or 10_000
    if args.sessions < 1 or args.learn < 1:
        raise BadInput(f"--sessions and --learn: expected at least 1, found {args.sessions} and {args.learn}")
    with Bar() as bar:
        if args.world == "city":
            return _live(args, bar)
        bar.phase("a world of songs and listeners")
        world = read_world(args.data, args.songs, args.listeners, args.seed)
        bar.phase(f"{args.learn:,} sessions of random and same-artist")
        logs = warm_logs(world, args.learn)
        if args.settle:
            return _settle(args, world, logs)
        games = [_game(args, world, logs, name, bar) for name in args.policy or PLAIN]
    found = summary(games, np.random.default_rng(args.seed))
    if args.plot:
        args.plot.write_text(picture.svg(games, f"{args.sessions:,} sessions, seed {args.seed}"), encoding="utf-8")
    if args.json:
        print_json({"sessions": args.sessions, "seed": args.seed, "policies": found})
        return 0
    _show(found, f"{args.sessions:,} sessions each, the same luck for all; 95 % intervals", "session time")
    return 0


def _live(args: argparse.Namespace, bar: Bar) -> int:
    """Cities of one seed, one for each policy: how much each listener heard in all, and who stayed."""
    if args.settle or args.data:
        raise BadInput("--world city: it is generated, and no home can be settled from it; leave out --data and --settle")
    sizes = {"songs": args.songs, "artists": max(args.songs // 6, 1), "listeners": args.listeners, "seed": args.seed}
    bar.phase("a week of random in a city of its own, to learn from")
    logs = joined([game.plays for game in live(City(**sizes, days=7), Random(args.songs, seed=args.seed))[1]])
    games, ends, parts = [], [], []
    for name in args.policy or PLAIN:
        bar.phase(name)
        city = City(**sizes, days=args.days)
        days, played = _lived(args, name, city, logs, bar)
        ends.append({"policy": name, "members": days[-1].members, "sessions": sum(day.listeners for day in days)})
        games.append(in_all(name, played, city.n_users))
        parts.append([in_all(name, played[day : day + 7], city.n_users) for day in range(0, args.days, 7)])
    found = [{**one, **end} for one, end in zip(summary(games, np.random.default_rng(args.seed)), ends, strict=True)]
    by_week = [summary(week, np.random.default_rng(args.seed)) for week in zip(*parts, strict=True)]
    if args.json:
        print_json({"days": args.days, "seed": args.seed, "policies": found, "weeks": by_week})
        return 0
    _show(found, f"{args.days} days of {args.listeners:,} listeners, each policy in a city of its own", "listening each")
    for number, rows in enumerate(by_week):
        _show(rows, f"week {number + 1}", "listening each")
    for end in ends:
        ERR.print(f"{end['policy']}: {end['members']:,} members at the end, {end['sessions']:,} sessions", highlight=False)
    return 0


def _lived(args: argparse.Namespace, name: str, city: City, logs: Plays, bar: Bar) -> tuple[list[Day], list[Game]]:
    """The days of a city under one policy; Segue in a home that is made for them."""
    if name not in SEGUE_IN_CITY:
        return live(city, _in_city(name, city, logs), progress=bar.advance)
    settings = config.load(args.home, args.config)
    server = msgspec.structs.replace(settings.server, deadline_ms=10_000.0)  # a busy machine must not change what is answered
    with tempfile.TemporaryDirectory() as folder:
        home = wiring.Home(Path(folder) / "home", msgspec.structs.replace(settings, server=server), writer=True)
        with home:
            policy = InCity(home, city, logs, bar, name=name, nightly=name == SEGUE_IN_CITY[0])
            found = live(city, policy)
            policy.close()
    return found


def _in_city(name: str, city: City, logs: Plays) -> Policy:
    """The plain policies, over all songs that are or will be there."""
    if name == "random":
        return Random(city.n_items, seed=city.seed)
    if name == "same-artist":
        return SameArtist(city.artist, seed=city.seed)
    if name == "top-100":
        return Top(logs, city.n_items, seed=city.seed)
    if name == "item-to-item":
        return ItemToItem(logs, city.n_items, seed=city.seed)
    raise BadInput(f"--policy: in a city expected one of {', '.join((*PLAIN, *SEGUE_IN_CITY))}, found {name!r}", "policy")


def _show(found: list[dict[str, Any]], title: str, time_name: str) -> None:
    print_table(
        title,
        ("policy", time_name, "songs", "ms a request", "against the first"),
        [
            (
                one["policy"],
                f"{one['time']:.3f} [{one['time_low']:.3f}, {one['time_high']:.3f}]",
                f"{one['length']:.2f}",
                f"{one['request_ms']:.3f}",
                one["against_first"],
            )
            for one in found
        ],
    )


def _settle(args: argparse.Namespace, world: Botify, logs: Any) -> int:
    with wiring.open_home(args.home, args.config, writer=True) as home:
        if home.log.last:
            raise BadInput(f"--settle: expected an empty home, found {home.log.last:,} events in {args.home}")
        items, users = policies.settle(home, world.artist, world.n_users)
        home.log.append(policies.rows_of(logs, items, users))
        home.catch_up()
    ERR.print(f"{len(logs):,} plays are in {args.home}: `segue --home {args.home} train` learns from them", highlight=False)
    return 0


def _game(args: argparse.Namespace, world: Botify, logs: Any, name: str, bar: Bar) -> Game:
    bar.phase(name)
    now = time.time_ns() // 1_000_000 if name == "segue" or "://" in name else int(logs.at.max()) + DAY_MS
    users = np.arange(args.sessions) % world.n_users
    sessions = world.sessions(users, 1_000_000 + np.arange(args.sessions) // world.n_users, now)
    if "://" in name:
        server = policies.HttpPolicy(name)
        game = play(sessions, server, progress=bar.advance)
        server.close()
        return game
    if name != "segue":
        return play(sessions, plain(name, world, logs), progress=bar.advance)
    with wiring.open_home(args.home, args.config, writer=True) as home:
        numbers = [str(number) for number in range(max(world.n_items, world.n_users))]
        items = home.catalogue.items.find(numbers[: world.n_items])
        if (items < 0).any():
            raise BadInput(f"--policy segue: {args.home} does not hold this world; `segue simulate --settle` puts it there")
        policy = policies.HomePolicy(home, items, home.catalogue.users.find(numbers[: world.n_users]))
        game = play(sessions, policy, progress=bar.advance)
        policy.close()
        return game
