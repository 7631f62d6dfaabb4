"""Recall, queries a second, build, memory, adding and opening of indexes of neighbours, on sound vectors and on factors."""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from segue.benchmarks._blend import say
from segue.benchmarks._indexes import METHODS, Index
from segue.benchmarks._pgvector import PgVector, PgVectorExact
from segue.core.types import Float32, Int32
from segue.storage.vectors.checked import as_vectors
from segue.storage.vectors.kernels import heaps, lists, scan_rows

ALL: Mapping[str, type[Index]] = {**METHODS, "pgvector": PgVector, "pgvector-exact": PgVectorExact}
K = 100
TUNED = 200
"""Queries that an index's own knob is turned on (others than those it is judged by), until enough is found."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `segue benchmark neighbours`."""
    parser.add_argument("--items", type=int, nargs="+", default=[200_000], help="sizes of the catalogue")
    parser.add_argument("--kind", choices=("sound", "factors"), default="sound", help="unit vectors, or inner products")
    parser.add_argument("--clips", type=Path, help="a folder of audio: sound vectors are drawn from what its songs span")
    parser.add_argument("--dimension", type=int, default=64, help="of the vectors; with --clips the size of the encoder")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--recall", type=float, default=0.95, help="that each index's own knob is turned for")
    parser.add_argument("--methods", nargs="+", choices=list(ALL), default=[name for name in ALL if ALL[name].usual])
    parser.add_argument("--skew", type=float, default=0.3, help="of the log of the norms of factors; learned ones had 0.3")
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> dict[str, object]:
    """Every method on the same vectors, one core."""
    rng = np.random.default_rng(args.seed)
    draw, told = _generator(args, rng)
    rows = []
    for n in args.items:
        vectors, queries = draw(n), draw(args.queries + TUNED)
        with threadpool_limits(limits=1):
            rows += _compare(args, vectors, queries, rng)
    return {"kind": args.kind, "vectors_from": told, "queries": args.queries, "k": K, "wanted": args.recall, "rows": rows}


def _generator(args: argparse.Namespace, rng: np.random.Generator) -> tuple[Callable[[int], Float32], str]:
    """How n vectors are drawn, and in words where from."""
    if args.kind == "factors":

        def factors(n: int) -> Float32:
            falling = 1 / np.sqrt(1 + np.arange(args.dimension, dtype=np.float32))
            rows = rng.standard_normal((n, args.dimension), np.float32) * falling
            return np.asarray(rows * rng.lognormal(0, args.skew, (n, 1)), np.float32)

        return factors, f"normal, variance falling with the dimension, log-normal norms of skew {args.skew}"
    if args.clips is not None:
        songs = _songs(args.clips, args.dimension)
        return _smooth(songs, rng), f"a kernel density of the {len(songs)} songs of {args.clips.name} by the default encoder"
    centers = rng.standard_normal((200, args.dimension)) * 0.97 ** np.arange(args.dimension)
    return _smooth(as_vectors(centers.astype(np.float32), 200), rng), "a kernel density of 200 random songs"


def _songs(folder: Path, size: int) -> Float32:
    """The vectors of the songs of a folder by the default encoder, fitted on them: (songs, size)."""
    from segue.sound.decode import read
    from segue.sound.lda import ClipLda
    from segue.sound.spectrogram import log_mel
    from segue.sound.statistics import patch_statistics

    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".ogg", ".mp3", ".flac", ".opus", ".wav", ".m4a"))
    library = []
    for place, path in enumerate(paths):
        library.append(patch_statistics(log_mel(read(path)[0])))
        if place % 20 == 0:
            say(f"{place} of {len(paths)} clips")
    encoder = ClipLda(size=size).fit(library, np.random.default_rng(0))
    return np.stack([encoder.encode_statistics(each) for each in library])


def _smooth(songs: Float32, rng: np.random.Generator) -> Callable[[int], Float32]:
    """Draws from a kernel density of the songs with Scott's bandwidth n^(-1 / (d + 4)) (Scott 1992), at unit length.

    In 32 dimensions the bandwidth of a few hundred songs is most of their spread: a catalogue without tight clumps, which is
    the harder case for an index.
    """
    n, d = songs.shape
    spread = n ** (-1 / (d + 4)) * np.linalg.cholesky(np.cov(songs.T) + 1e-6 * np.eye(d))

    def draw(count: int) -> Float32:
        moved = rng.standard_normal((count, d), np.float32) @ spread.T.astype(np.float32)
        return as_vectors(songs[rng.integers(0, n, count)] + moved, count)

    return draw


def _radio_queries(vectors: Float32, songs: Float32) -> Float32:
    """What the radio asks: two near songs that were finished minus a third that was skipped, for each song."""
    found = heaps(len(songs), 20)
    sample = vectors[:: max(1, len(vectors) // 20_000)]
    scan_rows(sample, np.arange(len(sample), dtype=np.int32), songs, *found)
    near = lists(*found)[0]
    return np.ascontiguousarray(songs + 0.9 * sample[near[:, 3]] - 0.81 * sample[near[:, 17]])


def _compare(args: argparse.Namespace, vectors: Float32, queries: Float32, rng: np.random.Generator) -> list[dict[str, object]]:
    tuned, asked = queries[:TUNED], queries[TUNED:]
    kinds = {"songs": asked} | ({"radio": _radio_queries(vectors, asked)} if args.kind == "sound" else {})
    truth = {name: _truth(vectors, each) for name, each in {**kinds, "tuned": tuned}.items()}
    rows = []
    for name in args.methods:
        if args.kind not in ALL[name].kinds:
            continue
        with tempfile.TemporaryDirectory(prefix="segue-neighbours-") as folder:
            row = {"items": len(vectors), "d": vectors.shape[1], "method": name}
            index = ALL[name](Path(folder))
            try:
                row |= _measure(index, vectors, kinds, truth, tuned, args.recall)
            finally:
                index.close()
        say(str(row))
        rows.append(row)
    return rows


def _measure(
    index: Index, vectors: Float32, kinds: dict[str, Float32], truth: dict[str, Int32], tuned: Float32, wanted: float
) -> dict[str, object]:
    """One method, one core; recall and queries/s are of queries that the knob was not turned on."""
    rss, cpu, began = _rss(), index.clock(), time.perf_counter()
    index.build(vectors)
    out: dict[str, Any] = {"build_cpu_s": round(index.clock() - cpu, 1), "build_s": round(time.perf_counter() - began, 1)}
    for knob in index.knobs:
        index.turn(knob)
        if _recall(index.search(tuned, K), truth["tuned"]) >= wanted:
            break
    out["knob"] = index.knob
    for name, queries in kinds.items():
        index.search(queries[:5], K)
        cpu, began = index.clock(), time.perf_counter()
        found = index.search(queries, K)
        cpu, passed = index.clock() - cpu, time.perf_counter() - began
        out[f"answered_a_second_{name}"] = round(len(queries) / passed)
        out[f"recall_{name}"] = round(_recall(found, truth[name]), 4)
        out[f"qps_{name}"] = round(len(queries) / cpu)
    one = next(iter(kinds.values()))[:200]
    began = index.clock()
    for query in one:
        index.search(query[None, :], K)
    out["one_query_ms"] = round((index.clock() - began) / len(one) * 1000, 3)
    out["memory_mb"] = round((_rss() - rss) / 1e6)
    fresh = vectors[:1000][:, ::-1].copy()
    cpu = index.clock()
    index.add(np.arange(len(vectors), len(vectors) + 1000, dtype=np.int32), fresh)
    out["add_ms_a_song"] = round((index.clock() - cpu), 4)
    found = index.search(fresh[:100], 1)[:, 0]
    out["added_found"] = round(float((found >= len(vectors)).mean()), 2)
    began = time.perf_counter()
    index.reopen()
    index.search(fresh[:1], K)
    out["open_s"] = round(time.perf_counter() - began, 2)
    out["disk_mb"] = round(index.size() / 1e6)
    return out


def _truth(vectors: Float32, queries: Float32) -> Int32:
    found = heaps(len(queries), K)
    scan_rows(vectors, np.arange(len(vectors), dtype=np.int32), queries, *found)
    return lists(*found)[0]


def _recall(found: Int32, truth: Int32) -> float:
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True))
    return hits / truth.size


def _rss() -> int:
    """Bytes resident now."""
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * resource.getpagesize()
