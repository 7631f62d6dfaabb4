"""The night at scale: a generated world through the real log, then `segue train` in a process of its own, by phase."""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue import wiring
from segue.core.actions import Action
from segue.core.clock import DAY_MS, iso
from segue.core.records import ItemRecord
from segue.core.types import Events, Int32, empty_events

DAYS = 90
END = 20_600 * DAY_MS
"""The worlds always end on the same day, so that a seed gives the same world for ever."""
GENRES = 64
TASTES = 3
PER_ARTIST = 12
PER_SESSION = 12
SONG_MS = 210_000
_NAMES = 100_000
_FINISHED, _SKIPPED = int(Action.COMPLETED), int(Action.SKIPPED)

Float64 = NDArray[np.float64]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The size of the world, and where to keep it."""
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--items", type=int, default=5_000)
    parser.add_argument("--events", type=int, default=2_500_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=Path, help="a segue.toml for the home")
    parser.add_argument("--keep", type=Path, help="make the home here and leave it; an existing one is trained again as it is")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Wall, CPU and peak memory of one night, by phase, and what the models were worth on the last days."""
    with tempfile.TemporaryDirectory(prefix="segue-night-world-") as folder:
        home = args.keep or Path(folder) / "home"
        began = time.perf_counter()
        if not (home / "log").exists():
            generate(home, World.make(args.users, args.items, args.seed), args.events, args.seed)
        if args.config:
            shutil.copy(args.config, home / "segue.toml")
        generated = time.perf_counter() - began
        report, cost = train(home)
    return {
        "users": args.users,
        "items": args.items,
        "events": args.events,
        "generate_s": round(generated, 1),
        **cost,
        "phases": report["phases"],
        "data": report["data"],
        "figures": {
            f"{f['model']} {f['metric']}": round(f["mean"], 4)
            for f in report["figures"]
            if f["mean"] is not None and f["metric"] in ("recall@20", "ndcg@20", "next hit@20")
        },
        "ranker": report["ranker"],
        "ranker_reason": report["ranker_reason"],
    }


def train(home: Path) -> tuple[dict[str, Any], dict[str, object]]:
    """`segue train` as of the end of the world, in a child process: its report, and what the process took."""
    command = [sys.executable, "-m", "segue", "--home", str(home), "train", "--as-of", iso(END), "--json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    child = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if child.returncode:
        raise SystemExit(f"`segue train` ended with {child.returncode}")
    report = json.loads(child.stdout)
    cost: dict[str, object] = {
        "wall_s": round(wall, 1),
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "peak_rss_mb": max(phase["peak_rss_mb"] for phase in report["phases"]),
    }
    return report, cost


@dataclass(frozen=True)
class World:
    """Who listens how much to what: power laws over users and songs, tastes of a few genres each."""

    activity: Float64  # (users,) cumulative share of sessions
    tastes: Int32  # (users, TASTES) genres, the dearest first
    genre: Int32  # (items,)
    shelf: Int32  # (items,) items by genre, the most popular first
    shelf_ptr: NDArray[np.int64]  # (GENRES + 1,)
    popularity: Float64  # (items,) cumulative within each genre, in the order of the shelf
    artist: Int32  # (items,)

    @staticmethod
    def make(users: int, items: int, seed: int) -> World:
        """A world out of a seed."""
        rng = np.random.default_rng([seed, 1])
        genre = rng.choice(GENRES, items, p=_power(GENRES, 0.7)).astype(np.int32)
        shelf = np.argsort(genre, kind="stable").astype(np.int32)
        ptr = np.searchsorted(genre[shelf], np.arange(GENRES + 1)).astype(np.int64)
        popularity = np.empty(items)
        for a, b in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True):
            popularity[a:b] = np.cumsum(_power(b - a, 0.8))
        artist = np.empty(items, np.int32)
        artist[shelf] = rng.permutation(items)[np.arange(items) // PER_ARTIST]  # neighbours on a shelf share an artist
        activity = np.cumsum(rng.permutation(_power(users, 0.6)))
        tastes = rng.choice(GENRES, (users, TASTES), p=_power(GENRES, 0.7)).astype(np.int32)
        return World(activity, tastes, genre, shelf, ptr, popularity, artist)


def _power(n: int, exponent: float) -> Float64:
    """Shares of a power law over n ranks; sums to 1, and is empty for none."""
    weights = np.arange(1, n + 1, dtype=np.float64) ** -exponent
    return np.asarray(weights / weights.sum()) if n else weights


def generate(home: Path, world: World, events: int, seed: int) -> None:
    """Fill a home: names, facts, and DAYS days of plays in order of time, a day at a time."""
    users, items = len(world.activity), len(world.genre)
    with wiring.open_home(home, None, writer=False) as opened:
        for start in range(0, users, _NAMES):
            opened.catalogue.users.intern([f"u{i}" for i in range(start, min(start + _NAMES, users))])
        for start in range(0, items, _NAMES):
            opened.catalogue.put_items(
                [ItemRecord(f"i{i}", artist=f"a{world.artist[i]}") for i in range(start, min(start + _NAMES, items))]
            )
        for day in range(DAYS):
            plays = events * (day + 1) // DAYS - events * day // DAYS
            opened.log.append(_day(world, day, plays, np.random.default_rng([seed, 2, day])))
            print(f"generated day {day + 1} of {DAYS}", end="\r", file=sys.stderr, flush=True)
        print(file=sys.stderr)


def _day(world: World, day: int, plays: int, rng: np.random.Generator) -> Events:
    """One day of plays, in order of time."""
    sessions = -(-plays // PER_SESSION)
    user = np.searchsorted(world.activity, rng.random(sessions) * world.activity[-1]).astype(np.int32)
    begins = np.sort(rng.triangular(0, 18, 24, sessions) * 3_600_000).astype(np.int64)
    draws = rng.random((sessions * PER_SESSION, 4))
    item, share = _plays(draws, user, world.tastes, world.genre, world.shelf, world.shelf_ptr, world.popularity)
    events = empty_events(plays)
    row = np.arange(plays)
    events["at"] = END + (day - DAYS) * DAY_MS + begins[row // PER_SESSION] // 2 + row % PER_SESSION * SONG_MS
    events["session"] = rng.integers(1, 1 << 63, sessions, dtype=np.uint64)[row // PER_SESSION]
    for name in ("key_hi", "key_lo", "body"):
        events[name] = rng.integers(0, 1 << 63, plays, dtype=np.uint64)
    events["user"] = user[row // PER_SESSION]
    events["item"] = item[:plays]
    events["duration_s"] = SONG_MS / 1000
    events["played_s"] = share[:plays] * (SONG_MS / 1000)
    events["action"] = np.where(share[:plays] > 0.8, _FINISHED, _SKIPPED)
    return events[np.argsort(events["at"], kind="stable")]


@njit(cache=True, nogil=True)
def _plays(
    draws: Float64,
    user: Int32,
    tastes: Int32,
    genre: Int32,
    shelf: Int32,
    ptr: NDArray[np.int64],
    popularity: Float64,
) -> tuple[Int32, NDArray[np.float32]]:
    """Items and shares heard of PER_SESSION plays a session, out of four uniform draws a play.

    A session stays in one genre of the listener; one song in three is a near neighbour of the one before it on the shelf
    (its artist), one in ten is from anywhere. What is in taste is mostly finished, what is not mostly skipped.
    """
    n = len(draws)
    item = np.empty(n, np.int32)
    share = np.empty(n, np.float32)
    place = 0
    mood = 0
    for i in range(n):
        who = user[i // PER_SESSION]
        first = i % PER_SESSION == 0
        if first:
            mood = tastes[who, min(int(draws[i, 3] * draws[i, 3] * TASTES), TASTES - 1)]
        group = mood
        if draws[i, 0] < 0.1:
            group = genre[int(draws[i, 3] * len(genre))]
        a, b = ptr[group], ptr[group + 1]
        if not first and 0.1 <= draws[i, 0] < 0.43 and a <= place < b:
            start = a + (place - a) // PER_ARTIST * PER_ARTIST
            place = start + int(draws[i, 1] * min(PER_ARTIST, b - start))
        else:
            place = min(a + np.searchsorted(popularity[a:b], draws[i, 1]), b - 1)
        item[i] = shelf[place]
        liked = group == tastes[who, 0] or group == tastes[who, 1] or group == tastes[who, 2]
        if draws[i, 2] < (0.8 if liked else 0.3):
            share[i] = 1.0
        else:
            share[i] = 0.2 * (draws[i, 2] * 1009.0 % 1.0)  # half of them within the first tenth
    return item, share
