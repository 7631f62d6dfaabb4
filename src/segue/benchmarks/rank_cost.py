"""What ranking costs: CPU milliseconds of features and of each ranker for some hundred candidates of generated sources."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from segue.core.clock import HOUR_MS, calendar_days
from segue.core.types import Candidates, Context, Items, Query, Recent, Seeds
from segue.features.compute import EXTRA, Features, Memory, proven
from segue.features.wide import WIDE, Around
from segue.ranking.boosting import Boosting
from segue.ranking.forest import Forest
from segue.ranking.logistic import Logistic
from segue.storage.online_state.hours import HOURS, WORDS, read_hours

SOURCES = ("als", "artist", "cooccurrence", "fresh", "popular", "session_knn", "user_knn")
EXAMPLES = 20_000
SONGS, NOW = 100_000, 1_700_000_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `segue benchmark rank-cost`."""
    parser.add_argument("--candidates", default="75,300,500", help="how many a request has, some sizes")
    parser.add_argument("--repeats", type=int, default=200, help="requests of each size")
    parser.add_argument("--trees", type=int, default=200, help="trees of boosting")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Fit on generated examples, then rank; median CPU milliseconds a request, one thread."""
    rng = np.random.default_rng(0)
    facts = replace(
        Items.bare(SONGS),
        artist=rng.integers(0, 5000, SONGS).astype(np.int32),
        released=rng.integers(0, 20_000, SONGS).astype(np.int32),
        duration_s=rng.uniform(120, 300, SONGS).astype(np.float32),
        tags_ptr=np.arange(SONGS + 1, dtype=np.int64) * 3,
        tags=rng.integers(0, 300, 3 * SONGS).astype(np.int32),
        language=rng.integers(0, 20, SONGS).astype(np.int16),
    )
    vectors = rng.normal(size=(SONGS, 64)).astype(np.float32)
    tables = rng.normal(size=(SONGS, 8)).astype(np.float32), rng.normal(size=(SONGS, 64)).astype(np.float32)
    around = Around(vectors[:1], vectors, *tables, np.arange(64, dtype=np.int32), calendar_days(["01-01", "12-25"]))
    usual = proven(SOURCES)
    features = Features(SOURCES, only=usual, around=around)
    plain = Features(SOURCES, only=[name for name in usual if name not in WIDE])
    more = {group: Features(SOURCES, only=proven(SOURCES, (group,)), around=around) for group in EXTRA}
    hours = rng.integers(0, 9, (SONGS, WORDS)).astype(np.uint16)
    rows = np.concatenate([features.rows(*request(rng, 500, facts)) for _ in range(EXAMPLES // 500)])
    logit = rows[:, 0] + rows[:, 1] * rows[:, 2] + rng.normal(0, 0.5, len(rows))
    truth = logit > np.median(logit)
    given = rows, truth, np.ones(len(rows), np.float32), np.ones(len(rows), np.bool_)
    # a small rate and long patience: about the full number of trees is what is measured
    rankers: list[Any] = [Logistic(), Boosting(epochs=args.trees, patience=args.trees, learning_rate=0.01), Forest()]
    for ranker in rankers:
        ranker.fit_rows(*given)
    out: dict[str, object] = {"features": len(features.names), "trees": len(rankers[1].trees_.depths)}
    for n in (int(size) for size in args.candidates.split(",")):
        query, candidates, _, memory = request(rng, n, facts)
        asked = features.rows(query, candidates, facts, memory)
        whole = query, candidates, facts, memory
        cost = {"features_ms": spent(lambda: features.rows(*whole), args.repeats)}  # noqa: B023
        cost["features_without_vectors_and_ways_ms"] = spent(lambda: plain.rows(*whole), args.repeats)  # noqa: B023
        cost |= {f"features_with_{group}_ms": spent(lambda: made.rows(*whole), args.repeats) for group, made in more.items()}  # noqa: B023
        cost["by_hour_ms"] = spent(lambda: read_hours(hours, candidates.items, NOW // HOUR_MS), args.repeats)  # noqa: B023
        for ranker in rankers:
            cost[f"{ranker.name}_ms"] = spent(lambda: ranker.score(query, candidates, asked), args.repeats)  # noqa: B023
        out[f"{n} candidates"] = cost
    return out


def request(rng: np.random.Generator, n: int, facts: Items) -> tuple[Query, Candidates, Items, Memory]:
    """A query of a listener with 64 recent plays, n candidates of which a source offers a quarter, and what is remembered."""
    items = np.sort(rng.choice(SONGS, n, replace=False)).astype(np.int32)
    evidence = rng.normal(size=(n, len(SOURCES))).astype(np.float32)
    evidence[rng.random(evidence.shape) > 0.25] = np.nan
    at = NOW - 60_000 * np.arange(1, 65, dtype=np.int64)
    signal = rng.integers(-1, 2, 64).astype(np.float32)
    played = rng.choice(SONGS, 64).astype(np.int32)
    recent = Recent(played, signal, np.ones(64, np.float32), at, np.arange(64) < 8)
    times = rng.integers(0, 3, n).astype(np.uint16)
    popularity = rng.random((n, 2)).astype(np.float32)
    hours = rng.integers(0, 9, (n, HOURS)).astype(np.uint16)
    memory = Memory(times, np.where(times > 0, NOW - 86_400_000, 0).astype(np.int64), popularity, hours)
    context, seeds = Context(region=3, device=1, age_band=2, hour_of_week=20, language=5), Seeds(tags=np.array([7], np.int32))
    return Query(1, 0, NOW, recent=recent, context=context, seeds=seeds), Candidates(items, evidence, SOURCES), facts, memory


def spent(work: Callable[[], object], repeats: int) -> float:
    """Median CPU milliseconds of a call."""
    found = []
    for _ in range(repeats):
        began = time.thread_time()
        work()
        found.append(time.thread_time() - began)
    return round(float(np.median(found)) * 1000, 3)
