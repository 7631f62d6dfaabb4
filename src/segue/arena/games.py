"""What `segue simulate` and `segue benchmark loop` share: the world, the logs to learn from, plain policies, figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segue.core.errors import BadInput
from segue.core.types import Float32, Int32, Int64
from segue.evaluation.intervals import Interval, bootstrap, paired
from segue.simulator.baselines import ItemToItem, Random, SameArtist, Top
from segue.simulator.botify import Botify, Shape
from segue.simulator.luck import uniform
from segue.simulator.playing import Game, Plays, Policy, play

DAY_MS = 86_400_000
START_MS = 1_767_225_600_000
"""2026-01-01: a world has a calendar of its own, no clock of ours."""
PLAIN = ("random", "same-artist", "top-100", "item-to-item")
_ARM = 21
LIST_SIZES = (3, 10, 30, 100)
"""Lengths of item-to-item lists; the one that plays best on sessions of its own is taken."""


def read_world(folder: Path | None, songs: int, listeners: int, seed: int, shape: Shape | None = None) -> Botify:
    """The public tracks and users, or a generated world of the same kind."""
    if folder is not None:
        return Botify.read(folder, seed=seed, shape=shape)
    if songs < 20 or listeners < 1:
        raise BadInput(f"--songs and --listeners: expected at least 20 and 1, found {songs} and {listeners}")
    return Botify.generated(songs=songs, artists=max(songs // 4, 2), listeners=listeners, seed=seed, shape=shape)


def warm_logs(world: Botify, sessions: int) -> Plays:
    """What is learned from: sessions of every listener in turn, a day each, half by random and half by same-artist."""
    rest, day, parts = sessions, 0, []
    while rest > 0:
        users = np.arange(min(rest, world.n_users), dtype=np.int32)
        first = uniform(world.seed, _ARM, users, day) < 0.5
        for arm, policy in (
            (first, Random(world.n_items, seed=world.seed)),
            (~first, SameArtist(world.artist, seed=world.seed)),
        ):
            at = START_MS + day * DAY_MS + users[arm].astype(np.int64) * (DAY_MS // 2 // world.n_users)
            parts.append(play(world.sessions(users[arm], np.full(arm.sum(), day), at), policy).plays)
        rest -= len(users)
        day += 1
    return joined(parts)


def joined(parts: Sequence[Plays]) -> Plays:
    """Plays of several games as one: their sessions are told apart."""
    offsets = np.cumsum([0, *(int(part.row.max(initial=-1)) + 1 for part in parts)])
    row = np.concatenate([part.row + offset for part, offset in zip(parts, offsets, strict=False)])

    def column(name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        return np.concatenate([getattr(part, name) for part in parts])

    user: Int32 = column("user")  # type: ignore[assignment]
    session: Int64 = column("session")  # type: ignore[assignment]
    position: Int32 = column("position")  # type: ignore[assignment]
    item: Int32 = column("item")  # type: ignore[assignment]
    share: Float32 = column("share")  # type: ignore[assignment]
    at: Int64 = column("at")  # type: ignore[assignment]
    return Plays(row, user, session, position, item, share, at)


def plain(name: str, world: Botify, logs: Plays) -> Policy:
    """A plain policy by its name."""
    if name == "random":
        return Random(world.n_items, seed=world.seed)
    if name == "same-artist":
        return SameArtist(world.artist, seed=world.seed)
    if name == "top-100":
        return Top(logs, world.n_items, seed=world.seed)
    if name == "item-to-item":
        return _best_lists(world, logs)
    raise BadInput(f"--policy: expected one of {', '.join(PLAIN)}, segue or http://HOST:PORT, found {name!r}", "policy")


def _best_lists(world: Botify, logs: Plays) -> Policy:
    """Lists of the length that plays best on 2,000 sessions kept for that choice."""
    users = np.arange(min(2000, world.n_users), dtype=np.int32)
    sessions = np.full(len(users), 900_000)
    tried = [ItemToItem(logs, world.n_items, size=size, seed=world.seed) for size in LIST_SIZES]
    times = [play(world.sessions(users, sessions, 0), policy).time.mean() for policy in tried]
    return tried[int(np.argmax(times))]


def by_user(
    game: Game, values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Mean of each listener's sessions, listeners ascending: what is drawn again in a bootstrap is a listener."""
    counts = np.bincount(game.user)
    known = counts > 0
    return np.bincount(game.user, values)[known] / counts[known]


def in_all(name: str, games: Sequence[Game], n_users: int) -> Game:
    """The games of many days as one: all that each of n_users listeners heard, 0 for those who never came."""
    time, length = np.zeros(n_users), np.zeros(n_users)
    for game in games:
        np.add.at(time, game.user, game.time)
        np.add.at(length, game.user, game.length)
    requests = sum(game.requests for game in games)
    seconds = sum(game.request_s * game.requests for game in games)
    plays = joined([game.plays for game in games])
    return Game(name, np.arange(n_users, dtype=np.int32), time, length, seconds / max(requests, 1), requests, plays)


def gain(ours: Game, theirs: Game, rng: np.random.Generator) -> Interval:
    """Relative gain in mean session time: paired over the listeners' same sessions, in shares of theirs."""
    mean = float(theirs.time.mean())
    found = paired(by_user(ours, ours.time), by_user(theirs, theirs.time), rng)
    return Interval(found.mean / mean, found.low / mean, found.high / mean, found.n)


def summary(games: Sequence[Game], rng: np.random.Generator) -> list[dict[str, object]]:
    """The metrics of each game, and its gain over the first."""
    out: list[dict[str, object]] = []
    for game in games:
        time, length = bootstrap(by_user(game, game.time), rng), bootstrap(by_user(game, game.length), rng)
        against = gain(game, games[0], rng)
        told = f"{against.mean:+.1%} [{against.low:+.1%}, {against.high:+.1%}]" if game is not games[0] else ""
        row: dict[str, object] = {"policy": game.policy, "sessions": len(game.user)}
        row |= {"time": time.mean, "time_low": time.low, "time_high": time.high}
        row |= {"length": length.mean, "length_low": length.low, "length_high": length.high}
        row |= {"request_ms": game.request_s * 1000, "against_first": told}
        out.append(row)
    return out
