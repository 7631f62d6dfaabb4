"""Two stages against the best single source: NDCG@10 with intervals, and what each source and group of features carries."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segue.benchmarks._blend import say
from segue.benchmarks._stages import Float64, Table, asked, movielens, town
from segue.evaluation.intervals import bootstrap, paired
from segue.features import wide
from segue.features.compute import CONTEXT, EXTRA, proven
from segue.ranking.blend import Blend
from segue.ranking.boosting import Boosting
from segue.ranking.logistic import Logistic

GROUPS: dict[str, tuple[str, ...]] = {
    "popularity": ("expected_share", "plays"),
    "heard before": ("heard", "heard_times", "heard_ago", "wanted_lately", "refused_lately"),
    "artist and album": (
        "artist_finished",
        "artist_skipped",
        "artist_finished_here",
        "artist_skipped_here",
        "artist_of_last",
        "album_of_last",
    ),
    "year": ("new_release", "age", "age_unknown"),
    "length": ("length",),
    "here and now": CONTEXT,
    "vectors": wide.GROUPS["vectors"],
    "ways": wide.GROUPS["ways"],
    "vectors and ways": (*wide.GROUPS["vectors"], *wide.GROUPS["ways"]),
}
"""Features that the night makes, by what they are of; what is in none of these is what the sources said."""
LEARNERS: dict[str, Callable[[], Any]] = {"logistic": Logistic, "boosting": Boosting}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `segue benchmark stages`."""
    parser.add_argument("--movielens", type=Path, metavar="FOLDER", help="movielens_100k as Parquet, in place of the town")
    parser.add_argument("--songs", type=int, default=3000)
    parser.add_argument("--listeners", type=int, default=2000)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--limit", type=int, default=80, help="songs that each source is asked for")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--no-ablation", action="store_true", help="the models only")
    parser.add_argument(
        "--ablate", choices=LEARNERS, default="boosting", help="the ranker that is taught anew without each part"
    )


def run(args: argparse.Namespace) -> dict[str, object]:
    """Every source alone, rank fusion, logistic and boosting of all; then one of them without and with each part."""
    say("the listening")
    data = movielens(args.movielens) if args.movielens else town(args.songs, args.listeners, args.days, args.seed)
    answers = asked(data, args.limit, args.seed, say)
    with tempfile.TemporaryDirectory(prefix="segue-stages-") as folder:
        say("the candidates and their features")
        table = Table(data, answers, Path(folder), args.seed)
        found: dict[str, Float64] = {name: table.alone(name, args.k) for name in table.names}
        single = max(found, key=lambda name: float(found[name].mean()))
        usual = proven(table.names)
        for name, make in LEARNERS.items():
            say(name)
            found[f"two stages, {name}"] = table.learned(make, table.names, usual, args.k)
        found["rank fusion"] = table.fused(Blend(), args.k)
        whole, make = found[f"two stages, {args.ablate}"], LEARNERS[args.ablate]
        without = [] if args.no_ablation else ablation(table, make, whole, args.k)
        beside = [] if args.no_ablation else additions(table, make, whole, args.k)
    return {
        "data": "MovieLens 100K" if args.movielens else f"town of {args.songs} songs, {args.listeners} listeners",
        "listeners": len(data.tasks),
        "candidates": round(len(table.items) / max(len(data.tasks), 1), 1),
        "metric": f"NDCG@{args.k}",
        "best_single": single,
        "models": [
            {"model": name, **_interval(values), "over_best_single": _difference(values, found[single])}
            for name, values in sorted(found.items(), key=lambda one: -float(one[1].mean()))
        ],
        "ablated": args.ablate,
        "without": without,
        "with": beside,
    }


def ablation(table: Table, make: Callable[[], Any], whole: Float64, k: int) -> list[dict[str, object]]:
    """A ranker without each source (its candidates and columns) and each group of features, taught anew."""
    out: list[tuple[str, Float64]] = []
    usual = proven(table.names)
    for name in table.names:
        say(f"without {name}")
        others = [other for other in table.names if other != name]
        out.append((f"source {name}", table.learned(make, others, kept(usual, (name,), ()), k)))
    for group, columns in GROUPS.items():
        say(f"without {group}")
        out.append((f"features: {group}", table.learned(make, table.names, kept(usual, (), columns), k)))
    said = [column for column in usual if not any(column in group for group in GROUPS.values())]
    out.append(("features: what the sources said", table.learned(make, table.names, kept(usual, (), said), k)))
    return [{"without": name, **_interval(values), "loses": _difference(whole, values)} for name, values in out]


def additions(table: Table, make: Callable[[], Any], whole: Float64, k: int) -> list[dict[str, object]]:
    """A ranker with each group that the night leaves out, beside what it makes, and with all of them, taught anew."""
    usual, out = proven(table.names), []
    tried = {group: [name for name in columns if name not in usual] for group, columns in EXTRA.items()}
    tried["all of these"] = [name for columns in tried.values() for name in columns]
    for group, columns in tried.items():
        if columns:
            say(f"with {group}")
            out.append((group, table.learned(make, table.names, [*usual, *columns], k)))
    return [{"with": name, **_interval(values), "gains": _difference(values, whole)} for name, values in out]


def kept(all_of: Sequence[str], sources: Sequence[str], columns: Sequence[str]) -> list[str]:
    """The columns without those of some sources and without some others."""
    kinds = ("", "_top", "_score", "_here", "_top_here", "_score_here", "_said")
    gone = {*columns, *(source + kind for source in sources for kind in kinds)}
    return [column for column in all_of if column not in gone]


def _interval(values: Float64) -> dict[str, object]:
    got = bootstrap(values, np.random.default_rng(0))
    return {"mean": round(got.mean, 4), "low": round(got.low, 4), "high": round(got.high, 4)}


def _difference(ours: Float64, theirs: Float64) -> str:
    """The paired difference with its 95 % interval, as text."""
    got = paired(ours, theirs, np.random.default_rng(0))
    return f"{got.mean:+.4f} [{got.low:+.4f}, {got.high:+.4f}]"
