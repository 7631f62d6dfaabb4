"""The test of the loop: Segue learns from the sessions of two plain policies, and plays against the plain ones."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from segue import config, wiring
from segue.arena import games, policies
from segue.core.errors import BadInput
from segue.core.ports import OnlineState
from segue.core.types import Int32, Int64
from segue.serving.recommender import Recommender, Stages
from segue.simulator.botify import Botify, BotifySessions, Shape
from segue.simulator.playing import Game, Plays, play
from segue.training.report import Progress

EXPLORING = 0.3
"""[radio] explore of the rounds."""
TEST, EXPLORE = 1_000_000, 500_000
"""Session numbers of the test and of the rounds that explore: no session is both."""
SETTINGS = config.Settings(
    server=config.Server(deadline_ms=10_000.0),  # a busy machine must not change what is answered
    training=config.Training(holdout="24h", test_users=500),
)
"""What every setup shares: a night that is as long as a world is, no deadline that cuts answers short."""
GRADED = config.Radio(sources=["session_factors"], weights={"session_factors": 100.0}, explore=0.0)
"""[radio] of the setup graded: session factors lead a rank fusion (weights switch learned rankers off), nothing is drawn."""


@dataclass(frozen=True)
class Variant:
    """The recommender with one thing otherwise; the models are the same."""

    name: str
    radio: Mapping[str, object] = field(default_factory=dict)  # what is changed in [radio]
    slate: int = 1  # songs asked for at a time
    discovery: float | None = None  # the share of new songs that a request asks for; None: as learned
    repeats: bool = False  # nothing keeps a song from coming again, in the session or later


SEGUE = Variant("segue")
ABLATIONS = (
    Variant("segue, no artist caps", {"artist_gap": 0, "max_per_artist": 1000}),
    Variant("segue, order drawn among the best 40", {"explore": 1.0, "temperature": 1e6}),
    Variant("segue, slates of 100 after the first song", slate=100),
    Variant("segue, songs may repeat", discovery=1.0, repeats=True),
    Variant("segue, nothing drawn by chance", {"explore": 0.0}),
    Variant("segue, only songs never heard", discovery=1.0),
)
"""First what carries the gain, one part left out at a time; then what the settings bring that could be set for such a world."""
UNGRADED = (
    Variant("segue, usual sources only", {"sources": [], "weights": {}}),
    Variant("segue, exploring as usual", {"explore": config.Radio().explore}),
    Variant("segue, all of these", {"sources": [], "weights": {}, "explore": config.Radio().explore}),
)
"""Of the setup graded: each of its settings unset, then all of them; the models are the same."""


class Forgetful:
    """The state of a home to which every song is new: what the reranker sees where songs may repeat."""

    def __init__(self, state: OnlineState) -> None:
        self._state = state

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    def heard(self, user: int, items: Int32) -> tuple[np.ndarray[Any, np.dtype[np.uint16]], Int64]:
        """Never."""
        return np.zeros(len(items), np.uint16), np.zeros(len(items), np.int64)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which world, how much is learned from and played."""
    parser.add_argument("--data", type=Path, help="a folder with tracks*.json and users*.json; a generated world without it")
    parser.add_argument("--songs", type=int, default=50_000, help="of a generated world")
    parser.add_argument("--listeners", type=int, default=10_000, help="of a generated world")
    parser.add_argument("--genres", type=int, default=Shape().genres, help="of the generated vectors")
    parser.add_argument("--parts", type=float, nargs=3, default=Shape().parts, help="genre, artist and song in a vector")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--learn", type=int, default=40_000, help="sessions of random and same-artist, half and half")
    parser.add_argument("--sessions", type=int, default=1000, help="of the test; the same for everybody")
    parser.add_argument("--rounds", type=int, default=0, help="times to play with exploration and train again")
    parser.add_argument("--round-sessions", type=int, default=1000, help="of each such round")
    parser.add_argument("--ablate", action="store_true", help="play without one part at a time as well")
    parser.add_argument(
        "--setup", choices=("graded", "fusion", "as-it-comes"), default="graded",
        help="graded session factors lead a rank fusion (default); [training] rankers = [] and nothing else set; nothing set",
    )  # fmt: skip
    parser.add_argument("--work", type=Path, help="where the home is made (default: a temporary folder)")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Learn, play, compare."""
    if min(args.learn, args.sessions) < 1 or args.rounds < 0:
        raise BadInput("--learn, --sessions: expected at least 1, --rounds at least 0")
    shape = replace(Shape(), genres=args.genres, parts=tuple(args.parts))
    bar: Progress = args.progress
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        bar.phase("a world, and what is learned from")
        world = games.read_world(args.data, args.songs, args.listeners, args.seed, shape)
        logs = games.warm_logs(world, args.learn)
        radio = GRADED if args.setup == "graded" else config.Radio()
        rankers = () if args.setup == "fusion" else SETTINGS.training.rankers
        training = msgspec.structs.replace(SETTINGS.training, rankers=rankers)
        loop = Loop(world, Path(folder), logs, bar, msgspec.structs.replace(SETTINGS, radio=radio, training=training))
        others = [loop.test(args.sessions, name) for name in games.PLAIN]
        plain_best = max(others, key=lambda game: float(game.time.mean()))
        ours = loop.rounds(args)
    rng = np.random.default_rng(args.seed)
    return {
        "world": {"seed": args.seed, "songs": world.n_items, "listeners": world.n_users, **msgspec.to_builtins(shape)},
        "learned_from": {"sessions": args.learn, "plays": len(logs)},
        "setup": args.setup,
        "radio": msgspec.to_builtins(radio),
        "rankers": list(rankers),
        "best_plain": plain_best.policy,
        "policies": games.summary([plain_best, *(g for g in others if g is not plain_best), *ours], rng),
        "against_segue": {game.policy: msgspec.to_builtins(games.gain(game, ours[0], rng)) for game in ours[1:]},
        "gain": msgspec.to_builtins(games.gain(ours[0], plain_best, rng)),
    }


class Loop:
    """A home that learns, and the sessions it is tested on."""

    def __init__(self, world: Botify, folder: Path, logs: Plays, bar: Progress, settings: config.Settings) -> None:
        self.settings = settings
        self.world, self.folder, self.logs, self.bar = world, folder / "home", logs, bar
        self.now = int(logs.at.max()) + 1000
        self.folder.mkdir()
        bar.phase("the log, into a home")
        with self.home(self.settings) as home:
            self.items, self.users = policies.settle(home, world.artist, world.n_users)
            home.log.append(policies.rows_of(logs, self.items, self.users))
            home.catch_up()

    def home(self, settings: config.Settings, folder: Path | None = None) -> wiring.Home:
        """The home, or a copy of it, under some settings."""
        return wiring.Home(folder or self.folder, settings, writer=True)

    def train(self) -> None:
        """A night."""
        with self.home(self.settings) as home:
            wiring.night(home, self.now, self.bar, force=True)

    def test(self, n: int, name: str) -> Game:
        """A plain policy on the sessions of the test."""
        self.bar.phase(name)
        return play(self._sessions(n, TEST), games.plain(name, self.world, self.logs), progress=self.bar.advance)

    def segue(self, n: int, variant: Variant) -> Game:
        """The recommender on the sessions of the test, in a copy of the home: no game may teach the next one."""
        copy = Path(shutil.copytree(self.folder, self.folder.with_name("copy")))
        try:
            return self._play(copy, variant, self._sessions(n, TEST))
        finally:
            shutil.rmtree(copy)

    def explore(self, n: int, number: int) -> None:
        """A round of sessions with exploration, kept in the log for the next night."""
        bold = Variant(f"exploring, round {number}", {"explore": EXPLORING})
        game = self._play(self.folder, bold, self._sessions(n, EXPLORE + number))
        self.now = int(game.plays.at.max()) + 1000

    def _play(self, folder: Path, variant: Variant, sessions: BotifySessions) -> Game:
        """Each song is durable in the log before the next is asked for."""
        self.bar.phase(variant.name)
        settings = msgspec.structs.replace(self.settings, radio=msgspec.structs.replace(self.settings.radio, **variant.radio))
        with self.home(settings, folder) as home:
            policy = policies.HomePolicy(
                home, self.items, self.users, name=variant.name, discovery=variant.discovery,
                recommender=repeating(home) if variant.repeats else None,
            )  # fmt: skip
            game = play(sessions, policy, slate=variant.slate, progress=self.bar.advance)
            policy.close()
        return game

    def rounds(self, args: argparse.Namespace) -> list[Game]:
        """Without exploration first; then its ablations; then after each round of exploration and another night."""
        self.train()
        played = [self.segue(args.sessions, SEGUE)]
        if args.ablate:
            variants = (*ABLATIONS, *(UNGRADED if args.setup == "graded" else ()))
            played += [self.segue(args.sessions, variant) for variant in variants]
        for number in range(1, args.rounds + 1):
            self.explore(args.round_sessions, number)
            self.train()
            played.append(self.segue(args.sessions, Variant(f"segue, after {number} rounds of its own")))
        return played

    def _sessions(self, n: int, first: int) -> BotifySessions:
        """n sessions of different listeners, in an order of their own, as far as there are listeners."""
        users = np.random.default_rng([self.world.seed, 7]).permutation(self.world.n_users)
        who = users[np.arange(n) % len(users)]
        return self.world.sessions(who, first + np.arange(n) // len(users) * 100, self.now)


def repeating(home: wiring.Home) -> Recommender:
    """The home's recommender without what forbids repeats: the filter of the session, and places kept for new songs."""
    usual = wiring.stages_of(home)
    forgetful: Any = Forgetful(home.state)
    filters = tuple(rule for rule in usual.filters if "heard_in_session" not in rule.__qualname__)
    assert len(filters) == len(usual.filters) - 1
    return wiring.recommender_of(home, stages=Stages(filters, wiring.reranker_of(home, home.settings.radio, forgetful)))
