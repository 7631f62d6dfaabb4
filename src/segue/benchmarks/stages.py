"""Two stages against the best single source: NDCG@10 with intervals, and what each source and group of features carries."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segue.benchmarks._blend import say
from segue.benchmarks._stages import Float64, Table, asked, movielens, town
from segue.evaluation.intervals import bootstrap, paired
from segue.features.compute import CONTEXT
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
        "artist_rate",
    ),
    "tags": ("tags_finished", "tags_skipped", "tags_here", "tags_of_last"),
    "year": ("new_release", "age", "age_unknown", "era"),
    "length": ("length", "length_rate"),
    "here and now": (*CONTEXT, "own_rate"),
}
"""Features by what they are of; what is in none of these is what the sources said."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `segue benchmark stages`."""
    parser.add_argument("--movielens", type=Path, metavar="FOLDER", help="movielens_100k as Parquet, in place of the town")
    parser.add_argument("--songs", type=int, default=3000)
    parser.add_argument("--listeners", type=int, default=2000)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--limit", type=int, default=120, help="songs that each source is asked for")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--no-ablation", action="store_true", help="the models only")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Every source alone, rank fusion, logistic regression and boosting of all; then logistic without each part."""
    say("the listening")
    data = movielens(args.movielens) if args.movielens else town(args.songs, args.listeners, args.days, args.seed)
    answers = asked(data, args.limit, args.seed, say)
    with tempfile.TemporaryDirectory(prefix="segue-stages-") as folder:
        say("the candidates and their features")
        table = Table(data, answers, Path(folder), args.seed)
        found: dict[str, Float64] = {name: table.alone(name, args.k) for name in table.names}
        single = max(found, key=lambda name: float(found[name].mean()))
        for name, make in (("logistic", Logistic), ("boosting", Boosting)):
            say(name)
            found[f"two stages, {name}"] = table.learned(make, table.names, table.columns, args.k)
        found["rank fusion"] = table.fused(Blend(), args.k)
        without = {} if args.no_ablation else ablation(table, found["two stages, logistic"], args.k)
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
        "without": without,
    }


def ablation(table: Table, whole: Float64, k: int) -> list[dict[str, object]]:
    """Logistic regression without each source (its candidates and columns) and each group of features, taught anew."""
    out: list[tuple[str, Float64]] = []
    for name in table.names:
        say(f"without {name}")
        others = [other for other in table.names if other != name]
        out.append((f"source {name}", table.learned(Logistic, others, kept(table, (name,), ()), k)))
    for group, columns in GROUPS.items():
        say(f"without {group}")
        out.append((f"features: {group}", table.learned(Logistic, table.names, kept(table, (), columns), k)))
    said = [column for column in table.columns if not any(column in group for group in GROUPS.values())]
    out.append(("features: what the sources said", table.learned(Logistic, table.names, kept(table, (), said), k)))
    return [{"without": name, **_interval(values), "loses": _difference(whole, values)} for name, values in out]


def kept(table: Table, sources: Sequence[str], columns: Sequence[str]) -> list[str]:
    """The columns without those of some sources and without some others."""
    kinds = ("", "_top", "_score", "_here", "_top_here", "_score_here", "_said")
    gone = {*columns, *(source + kind for source in sources for kind in kinds)}
    return [column for column in table.columns if column not in gone]


def _interval(values: Float64) -> dict[str, object]:
    got = bootstrap(values, np.random.default_rng(0))
    return {"mean": round(got.mean, 4), "low": round(got.low, 4), "high": round(got.high, 4)}


def _difference(ours: Float64, theirs: Float64) -> str:
    """The paired difference with its 95 % interval, as text."""
    got = paired(ours, theirs, np.random.default_rng(0))
    return f"{got.mean:+.4f} [{got.low:+.4f}, {got.high:+.4f}]"
