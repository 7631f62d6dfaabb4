"""Rows of Parquet a second that `segue import` takes in: into EVENT arrays, and all the way into a durable log."""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from segue.core.ports import Appended
from segue.core.types import Events
from segue.events.importers import ImportSummary, open_reader, run_import
from segue.events.importers.sink import Append
from segue.wiring import open_home

DAYS = 30
PLAYS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `segue benchmark import`."""
    parser.add_argument("--file", type=Path, help="a table to import instead of generated plays")
    parser.add_argument("--mapping", help="its mapping, where one is needed")
    parser.add_argument("--rows", type=int, default=2_000_000, help="generated plays (default 2000000)")
    parser.add_argument("--users", type=int, default=200_000, help="default 200000")
    parser.add_argument("--items", type=int, default=100_000, help="default 100000")
    parser.add_argument("--seed", type=int, default=1)


def run(args: argparse.Namespace) -> dict[str, object]:
    """Three imports, each into a home of its own or a known one: arrays only, durable, and a second run of the same file."""
    with tempfile.TemporaryDirectory(prefix="segue-import-") as folder:
        base = Path(folder)
        file = args.file or _generated(base / "plays.parquet", args)
        warm = base / "warm.parquet"
        pq.write_table(_plays(np.random.default_rng(0), 1000, 10, 10), warm)
        for part in ("arrays", "durable"):  # compiles the kernels
            _import(warm, None, base / f"warm-{part}", part == "durable")
        out: dict[str, object] = {"file_mb": round(file.stat().st_size / 1e6, 1)}
        for name, home, durable in (("arrays", "a", False), ("durable", "b", True), ("again", "b", True)):
            print(f"{name} ...", file=sys.stderr)
            out[name] = _import(file, args.mapping, base / home, durable)
    out["peak_rss_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return out


def _import(file: Path, mapping: str | None, home_path: Path, durable: bool) -> dict[str, object]:
    with open_home(home_path, writer=False) as home:
        reader = open_reader(file, time.time_ns() // 1_000_000, mapping=mapping)
        append: Append = home.log.append if durable else _accept
        cpu = time.process_time()
        summary = run_import(reader, home.catalogue, append, home_path / "rejected.jsonl")
        return _figures(summary, time.process_time() - cpu)


def _figures(summary: ImportSummary, cpu: float) -> dict[str, object]:
    return {
        "rows": summary.rows,
        "accepted": summary.accepted,
        "duplicates": summary.duplicates,
        "rejected": summary.rejected,
        "cpu_s": round(cpu, 2),
        "seconds": round(summary.seconds, 2),
        "rows_per_cpu_s": round(summary.rows / cpu),
        "rows_per_s": round(summary.rows / summary.seconds),
    }


def _accept(events: Events, texts: Mapping[int, str] | None = None, /) -> Appended:
    """A log that stores nothing: what remains is reading, checking, interning names and building EVENT arrays."""
    return Appended(np.zeros(len(events), np.uint8), np.zeros(len(events), np.int64))


def _generated(path: Path, args: argparse.Namespace) -> Path:
    print(f"writing {args.rows:,} plays ...", file=sys.stderr)
    rng = np.random.default_rng(args.seed)
    with pq.ParquetWriter(path, _plays(rng, 1, 1, 1).schema) as writer:
        for start in range(0, args.rows, 1_000_000):
            writer.write_table(_plays(rng, min(1_000_000, args.rows - start), args.users, args.items))
    return path


def _plays(rng: np.random.Generator, n: int, users: int, items: int) -> pa.Table:
    """Sessions of ten plays of random users, in the order of time; items with a long tail, names as text, eight columns."""
    visit = np.repeat(np.arange(-(-n // PLAYS)), PLAYS)[:n]
    now = int(time.time())
    at = rng.integers(now - DAYS * 86_400, now - PLAYS * 250, visit[-1] + 1)[visit] + np.arange(n) % PLAYS * 220
    order = np.argsort(at, kind="stable")
    user, visit, at = rng.integers(0, users, visit[-1] + 1)[visit][order], visit[order], at[order]
    item = np.minimum(rng.pareto(0.8, n) * 50, items - 1).astype(np.int64)
    length = rng.integers(120, 360, n).astype(np.float32)
    return pa.table(
        {
            "user": pa.array([f"user-{u}" for u in user.tolist()]),
            "item": pa.array([f"track-{i}" for i in item.tolist()]),
            "at": at,
            "played_s": length * rng.random(n, np.float32),
            "duration_s": length,
            "session": pa.array([f"visit-{at[0]}-{v}" for v in visit.tolist()]),
            "region": pa.array(np.array(["DE", "FR", "US", "BR"])[user % 4]),
            "device": pa.array(np.array(["phone", "web"])[user % 2]),
        }
    )
