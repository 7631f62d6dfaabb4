"""Milliseconds a request and the cost of a night, for each neighbour source on a generated town of any size."""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import replace
from typing import Any

import numpy as np

from segue.benchmarks._blend import say
from segue.candidates.als import Als
from segue.candidates.artist import Artist
from segue.candidates.content import Content
from segue.candidates.cooccurrence import Cooccurrence
from segue.candidates.ease import Ease
from segue.candidates.fresh import Fresh
from segue.candidates.graph_filter import GraphFilter
from segue.candidates.item_knn import ItemKnn
from segue.candidates.session_knn import SessionKnn
from segue.candidates.sparse_ease import SparseEase
from segue.candidates.two_tower import TwoTower
from segue.candidates.user_knn import UserKnn
from segue.core.types import NO_DAY, History, Items, Query, Recent

KINDS: tuple[type[Any], ...] = (
    Cooccurrence, SessionKnn, UserKnn, Fresh, Artist, Als, ItemKnn, GraphFilter, Ease, SparseEase, Content, TwoTower,
)  # fmt: skip
DAY, SPAN_DAYS, SESSION, GENRES = 20_000, 90, 12, 200
LIMIT = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `segue benchmark sources`."""
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--plays", type=int, default=20_000_000)
    parser.add_argument("--requests", type=int, default=2000, help="with 30 recent plays each, for 500 candidates")
    parser.add_argument("--only", nargs="+", choices=[kind.name for kind in KINDS], help="these sources alone")
    parser.add_argument("--seed", type=int, default=0)


def generate(users: int, items: int, plays: int, rng: np.random.Generator) -> History:
    """Listeners of three genres each; songs of a genre by a power law; sessions of 12; one play in five skipped."""
    n_sessions = plays // SESSION
    user = np.sort(rng.integers(0, users, n_sessions).astype(np.int32))
    began = rng.integers((DAY - SPAN_DAYS) * 86_400, DAY * 86_400 - 3600, n_sessions)
    began = began[np.lexsort((began, user))]
    genre = (user.astype(np.int64) * 7919 + rng.integers(0, 3, n_sessions) * 31) % GENRES
    size = max(1, items // GENRES)
    item = np.empty(n_sessions * SESSION, np.int32)
    for first in range(0, n_sessions, 1 << 18):  # bounds the floats
        part = genre[first : first + (1 << 18), None]
        place = (size * rng.random((len(part), SESSION)) ** 3).astype(np.int64)
        item[first * SESSION : (first + len(part)) * SESSION] = np.minimum(part * size + place, items - 1).ravel()
    songs = np.arange(items, dtype=np.int32)
    facts = replace(
        Items.bare(items),
        artist=songs // 5,
        album=songs // 3,
        released=np.where(songs % 50 == 0, DAY - songs // 50 % 30, NO_DAY).astype(np.int32),
        tags_ptr=np.arange(items + 1, dtype=np.int64) * 2,
        tags=np.stack((songs // size, GENRES + songs % 50), axis=1).ravel().astype(np.int32),
    )
    return History(
        n_users=users,
        n_items=items,
        now=DAY * 86_400_000,
        user=np.repeat(user, SESSION),
        item=item,
        at=(began[:, None] + 240 * np.arange(SESSION)).ravel().astype(np.uint32),
        signal=np.where(rng.random(len(item), np.float32) < 0.2, -1, 1).astype(np.int8),
        session=np.repeat(np.arange(n_sessions, dtype=np.int32), SESSION),
        facts=facts,
    )


def requests(history: History, n: int, rng: np.random.Generator) -> list[Query]:
    """Listeners with 30 recent plays: two sessions of theirs or others, half of them in the session."""
    out = []
    in_session = np.arange(30) < 15
    for row in rng.integers(0, max(1, len(history) - 30), n):
        span = slice(row, row + 30)
        items, signal = history.item[span][::-1].copy(), history.signal[span][::-1].astype(np.float32)
        at = np.full(len(items), history.now, np.int64)
        recent = Recent(items, signal, np.abs(signal), at, in_session[: len(items)])
        out.append(Query(1, int(history.user[row]), history.now, recent=recent))
    return out


def measure(kind: type[Any], history: History, queries: list[Query]) -> dict[str, object]:
    """CPU seconds of a fit, megabytes of what it learned, milliseconds a request on one core."""
    kind().fit(small(), np.random.default_rng(0)).retrieve(queries[0], LIMIT)  # compile off the clock
    wall, cpu = time.perf_counter(), time.process_time()
    source = kind().fit(history, np.random.default_rng(0))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    source.retrieve(queries[0], LIMIT)
    took, offered = np.empty(len(queries)), 0
    for i, query in enumerate(queries):
        began = time.perf_counter()
        offered += len(source.retrieve(query, LIMIT))
        took[i] = 1000 * (time.perf_counter() - began)
    p50, p99 = (round(float(q), 3) for q in np.quantile(took, (0.5, 0.99)))
    figures = {
        "fit_cpu_s": round(cpu, 2),
        "fit_wall_s": round(wall, 2),
        "arrays_mb": round(sum(array.nbytes for array in source.arrays().values()) / 1e6),
        "retrieve_ms_mean": round(float(took.mean()), 3),
        "retrieve_ms_p50": p50,
        "retrieve_ms_p99": p99,
        "offered_mean": round(offered / len(queries), 1),
        "peak_rss_mb_so_far": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    say(f"{kind.name}: {figures}")
    return figures


def small() -> History:
    """A town to compile on."""
    return generate(50, 400, 2400, np.random.default_rng(0))


def run(args: argparse.Namespace) -> dict[str, object]:
    """Fit and ask each source on the same town."""
    rng = np.random.default_rng(args.seed)
    history = generate(args.users, args.items, args.plays, rng)
    queries = requests(history, args.requests, rng)
    say(f"{len(history):,} plays of {args.users:,} listeners and {args.items:,} songs")
    return {
        "users": args.users,
        "items": args.items,
        "plays": len(history),
        "limit": LIMIT,
        "history_mb": round(17 * len(history) / 1e6),
        "rss_mb_before": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "sources": {kind.name: measure(kind, history, queries) for kind in KINDS if not args.only or kind.name in args.only},
    }
