"""Recommendations under open-loop load: a generated world, a real server process, latency from the moment a request is due."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from segue import wiring
from segue.benchmarks import _load, night
from segue.benchmarks._serve_home import KINDS, askers, configured, deep_enough, ranked_by
from segue.benchmarks._serve_stages import stages_of
from segue.benchmarks._server import Server
from segue.core.clock import iso

ASKERS = 100_000
"""Draws of a listener that requests are made of."""
TRAINING = '[training]\nembedding_size = 32\nepochs = 2\ntest_users = 100\nholdout = "1d"\nenough = 0\n'
"""A quick night: what a request costs depends on the shapes of the models, not on how well they were fitted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The size of the world and of the load."""
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--events", type=int, help="plays in the log (default: three a user)")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second, Poisson arrivals")
    parser.add_argument("--limit", type=int, default=10)
    parser.add_argument("--sustain", action="store_true", help="also look for the highest rate with a p99 under 50 ms")
    parser.add_argument("--ranker", choices=KINDS, help="rank with this one, whatever the night would have chosen")
    parser.add_argument("--trees", type=int, default=200, help="trees of boosting, with --ranker boosting")
    parser.add_argument("--candidates", type=int, help="ask the sources for as many as make so many a request, on average")
    parser.add_argument("--active", action="store_true", help="listeners ask as often as they play; else all alike")
    parser.add_argument("--stages", action="store_true", help="also CPU milliseconds by stage, in a process apart from load")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="make the home here and leave it; an existing one is served as it is")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Rate, latencies, CPU and memory of the server."""
    with tempfile.TemporaryDirectory(prefix="segue-serve-") as folder:
        home = args.keep or Path(folder) / "home"
        prepare(home, args)
        config, names, told = ready(home, args)
        began = time.perf_counter()
        with Server(home, config=config) as server:
            ready_s = time.perf_counter() - began
            # not counted: pages come in from disk
            load(server, names, args, (min(3.0, args.seconds), args.rate / 2, args.seed + 1))
            result = load(server, names, args, (args.seconds, args.rate, args.seed))
            result["ready_s"] = round(ready_s, 2)
            if args.sustain:
                result["sustained_rps_p99_50ms"] = sustained(server, names, args)
            result["rungs"] = _rungs(server.port)
        if args.stages:
            result["stages"] = stages_of(home, config, names[:1500], args.limit)
    return {"users": args.users, "items": args.items, **told, **result}


def ready(home: Path, args: argparse.Namespace) -> tuple[Path | None, list[str], dict[str, object]]:
    """The ranker and the candidates that are asked for: (the configuration to serve with, who asks, what was done)."""
    told: dict[str, object] = {}
    with wiring.open_home(home, None, writer=False) as opened:
        if args.ranker:
            told["ranker"] = f"{args.ranker}, {ranked_by(opened, args.ranker, args.trees)}"
        else:
            told["ranker"] = opened.registry().bundle().manifest["ranker"]
        names = askers(opened, ASKERS, args.seed, active=args.active)
        told["asked_by"] = "listeners as often as they play" if args.active else "any listener"
        if not args.candidates:
            return None, names, told
        per_source, told["candidates"] = deep_enough(opened, args.candidates, active=args.active)
    return configured(home, per_source), names, told


def prepare(home: Path, args: argparse.Namespace) -> None:
    """A world and a champion in the home, where they are not there yet."""
    if not (home / "log").exists():
        events = args.events or 3 * args.users
        night.generate(home, night.World.make(args.users, args.items, args.seed), events, args.seed)
        (home / "segue.toml").write_text(TRAINING)
    if not (home / "artifacts").exists():
        command = [sys.executable, "-m", "segue", "--home", str(home), "train", "--force", "--as-of", iso(night.END)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def load(server: Server, names: Sequence[str], args: argparse.Namespace, what: tuple[float, float, int]) -> dict[str, object]:
    """One open-loop run: what = (seconds, requests a second, seed)."""
    seconds, rate, seed = what
    rng = np.random.default_rng([seed, 3])
    due = np.cumsum(rng.exponential(1 / rate, int(seconds * rate)))
    users = rng.integers(0, len(names), len(due))
    at = iso(night.END)

    def make(i: int) -> bytes:
        body = {"user": names[users[i]], "limit": args.limit, "session": f"s{i % 1000}", "context": {"at": at}}
        return _load.request("/v1/recommendations", json.dumps(body).encode())

    cpu = _load.cpu_seconds(server.pid)
    outcome = asyncio.run(_load.open_loop(server.port, due, make))
    cpu = _load.cpu_seconds(server.pid) - cpu
    rss, anonymous = _load.rss_mb(server.pid)
    last = msgspec.json.decode(outcome.last_body)
    return {
        "asked_rps": rate,
        "answered_rps": round(len(outcome.latencies_ms) / max(outcome.seconds, 1e-9), 1),
        "requests": outcome.sent,
        "statuses": {str(status): number for status, number in outcome.statuses.items()},
        "p50_ms": round(outcome.percentile(50), 2),
        "p90_ms": round(outcome.percentile(90), 2),
        "p99_ms": round(outcome.percentile(99), 2),
        "max_ms": round(outcome.percentile(100), 2),
        "cpu_ms_a_request": round(1000 * cpu / max(outcome.sent, 1), 3),
        "rss_mb": round(rss),
        "rss_anonymous_mb": round(anonymous),
        "items_in_last_answer": len(last.get("items", [])),
    }


def sustained(server: Server, names: Sequence[str], args: argparse.Namespace) -> float:
    """The highest rate whose p99 over five seconds stays under 50 ms, in steps of a quarter from the rate asked.

    0 when 5 a second is too much.
    """

    def holds(rate: float) -> bool:
        p99 = load(server, names, args, (5.0, rate, args.seed + 2))["p99_ms"]
        print(f"{rate:.0f} requests/s: p99 {p99} ms", file=sys.stderr)
        return isinstance(p99, float) and p99 <= 50

    rate: float = args.rate
    if holds(rate):
        while rate < 5000 and holds(rate * 1.25):
            rate *= 1.25
        return round(rate, 1)
    while rate >= 5:
        rate /= 1.25
        if holds(rate):
            return round(rate, 1)
    return 0.0


def _rungs(port: int) -> dict[str, float]:
    """How often each rung answered, and what was left out, from /metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    wanted = ("segue_rung_total", "segue_source_", "segue_exposure_lost", "segue_late")
    found = [line.rpartition(" ") for line in lines if line.startswith(wanted)]
    return {name.removeprefix("segue_"): float(value) for name, _, value in found}
