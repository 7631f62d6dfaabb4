"""Top-N by the published full-ranking protocol: models chosen on a cut of train, refit on all, the test looked at once."""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from segue.benchmarks._blend import say
from segue.benchmarks._topn import K, Split, judge, ranked, read
from segue.candidates.graph_filter import GraphFilter
from segue.core.types import Float32, Int64
from segue.evaluation.intervals import bootstrap


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `segue benchmark topn`."""
    parser.add_argument("--train", required=True, help="Parquet: user, item[, value]")
    parser.add_argument("--test", required=True, help="Parquet: user, item")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Fit, rank everything for everyone with something held out, and measure."""
    split = read(args.train, args.test)
    users = split.asked()
    say(f"{split.train.nnz:,} pairs of {split.train.shape[0]:,} users and {split.train.shape[1]:,} items")
    began = time.process_time()
    binary = split.train.copy()
    binary.data[:] = 1
    model = GraphFilter(rank=256).fit_matrix(binary, np.random.default_rng(0))
    fit_cpu = time.process_time() - began

    def score(part: Int64) -> Float32:
        return model.score_block(binary[part])

    return {"model": "graph_filter", **figures(score, split, users), "fit_cpu_s": round(fit_cpu, 2), "peak_rss_mb": peak()}


def figures(score: object, split: Split, users: Int64) -> dict[str, object]:
    """recall@20 and NDCG@20 with 95 % bootstrap intervals over users."""
    began = time.process_time()
    found = judge(ranked(score, split, users), split, users)  # type: ignore[arg-type]
    out: dict[str, object] = {"users": len(users)}
    for name in ("recall", "ndcg"):
        sure = bootstrap(getattr(found, name), np.random.default_rng(0))
        out[f"{name}@{K}"] = round(sure.mean, 4)
        out[f"{name}@{K}_interval"] = [round(sure.low, 4), round(sure.high, 4)]
    return out | {"score_cpu_s": round(time.process_time() - began, 2)}


def peak() -> int:
    """The most memory this process ever held, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
