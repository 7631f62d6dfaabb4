"""Milliseconds a user for the best k of a catalogue, beside argpartition, and `implicit` and faiss where installed."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
from threadpoolctl import threadpool_limits

from segue.candidates._topk import top_k
from segue.core.types import Float32, Int32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `segue benchmark topk`."""
    parser.add_argument("--items", type=int, nargs="+", default=[100_000, 1_000_000], help="sizes of the catalogue")
    parser.add_argument("--factors", type=int, nargs="+", default=[64], help="embedding sizes")
    parser.add_argument("--users", type=int, default=512, help="how many users are answered")
    parser.add_argument("--k", type=int, default=100, help="how many items a user gets")
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many runs is reported")
    parser.add_argument("--skew", type=float, default=0.3, help="of the log of the norms; learned factors had 0.3")
    parser.add_argument("--seed", type=int, default=0, help="of the vectors")


def run(args: argparse.Namespace) -> dict[str, object]:
    """One core each; factors are normal with log-normal norms, as popularity makes them."""
    rows = []
    for d in args.factors:
        for n in args.items:
            rng = np.random.default_rng(args.seed)
            items = rng.standard_normal((n, d), np.float32) * rng.lognormal(0, args.skew, (n, 1)).astype(np.float32)
            queries = rng.standard_normal((args.users, d), np.float32)
            rows.append({"items": n, "factors": d, "ms_a_user": _methods(queries, items, args.k, args.repeats)})
            print(rows[-1], file=sys.stderr)
    return {"users": args.users, "k": args.k, "rows": rows}


def _methods(queries: Float32, items: Float32, k: int, repeats: int) -> dict[str, float]:
    few = queries[:: max(1, len(queries) // 32)]  # the slow ones are asked for fewer
    with threadpool_limits(limits=1):
        out = {"segue": _time(lambda: top_k(queries, items, k)[0], len(queries), repeats)}
        out["argpartition"] = _time(lambda: _argpartition(few, items, k), len(few), repeats)
        if find_spec("implicit") is not None:
            from implicit.cpu.topk import topk as implicit_topk

            out["implicit"] = _time(lambda: implicit_topk(items, queries, k, num_threads=1)[0], len(queries), repeats)
        if find_spec("faiss") is not None:
            import faiss

            faiss.omp_set_num_threads(1)
            index = faiss.IndexFlatIP(items.shape[1])
            index.add(items)
            out["faiss"] = _time(lambda: index.search(few, k)[1], len(few), repeats)
    return out


def _argpartition(queries: Float32, items: Float32, k: int) -> Int32:
    best = np.empty((len(queries), k), np.int32)
    for u, query in enumerate(queries):
        scores = items @ query
        part = np.argpartition(-scores, k - 1)[:k]
        best[u] = part[np.lexsort((part, -scores[part]))]
    return best


def _time(answer: Callable[[], object], queries: int, repeats: int) -> float:
    """Best CPU milliseconds a query; the first run, which may compile, does not count."""
    answer()
    best = np.inf
    for _ in range(repeats):
        since = time.process_time()
        answer()
        best = min(best, time.process_time() - since)
    return round(best / queries * 1e3, 3)
