"""Durable events a second: the log alone, the writer in process, and over HTTP against a real server, fsync included."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from segue.benchmarks._load import cpu_seconds, request
from segue.benchmarks._server import Server
from segue.core.types import Events, empty_events
from segue.events.schema import EventIn
from segue.storage.event_log.sqlite import SqliteEventLog
from segue.wiring import open_home

BATCH = 1_000
WARM_UP = 20
_NOW = int(time.time()) - 86_400


@dataclass
class Clock:
    """Acknowledgements of one run: milliseconds each, and from the first request to the last answer."""

    waits_ms: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def figures(self, events: int) -> dict[str, object]:
        """Events a second and the percentiles of the wait for an acknowledgement."""
        return {
            "events": events,
            "events_per_s": round(events / self.seconds),
            "ack_p50_ms": round(float(np.percentile(self.waits_ms, 50)), 2),
            "ack_p99_ms": round(float(np.percentile(self.waits_ms, 99)), 2),
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `segue benchmark ingest`."""
    parser.add_argument("--events", type=int, default=500_000, help="sent over HTTP in batches of 1,000 (default 500000)")
    parser.add_argument("--connections", type=int, default=6, help="clients that each wait for their answer (default 6)")
    parser.add_argument("--users", type=int, default=100_000, help="default 100000")
    parser.add_argument("--items", type=int, default=100_000, help="default 100000")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run of the log alone (default 2)")
    parser.add_argument("--only", choices=("log", "writer", "http"), help="one part instead of all")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Run the parts, each on a home of its own."""
    out: dict[str, object] = {}
    if args.only in (None, "log"):
        for size in (1, 64, BATCH, 100_000):
            out[f"log_{size}_per_append"] = log_alone(size, args.seconds)
    if args.only in (None, "writer"):
        out["writer"] = writer(args)
    if args.only in (None, "http"):
        out["http"] = over_http(args)
    return out


def log_alone(size: int, seconds: float) -> dict[str, object]:
    """Appends of `size` events, one after the other."""
    _say(f"log alone, {size} an append")
    rng = np.random.default_rng(size)
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="segue-ingest-") as folder:
        log = SqliteEventLog(Path(folder))
        log.append(_columns(rng, size))
        started, cpu = time.perf_counter(), time.process_time()
        made = 0.0
        while time.perf_counter() - started - made < seconds:
            before = time.perf_counter()
            events = _columns(rng, size)
            made += time.perf_counter() - before
            before = time.perf_counter()
            log.append(events)
            clock.waits_ms.append((time.perf_counter() - before) * 1000)
        clock.seconds = time.perf_counter() - started - made
        cpu = time.process_time() - cpu - made
        log.close()
    events_done = size * len(clock.waits_ms)
    return {**clock.figures(events_done), "cpu_us_per_event": round(cpu / events_done * 1e6, 2)}


def writer(args: argparse.Namespace) -> dict[str, object]:
    """The writer in this process: names, keys, log and state, batches of 1,000, `connections` of them under way."""
    _say("writer in process")
    batches = list(_batches(args))
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="segue-ingest-") as folder, open_home(Path(folder), writer=True) as home:
        ingest = home.ingest()
        for batch in batches[:WARM_UP]:
            ingest.submit(batch).result()
        started, cpu = time.perf_counter(), time.process_time()
        waiting: deque[tuple[float, object]] = deque()
        for batch in batches[WARM_UP:]:
            waiting.append((time.perf_counter(), ingest.submit(batch)))
            if len(waiting) >= args.connections:
                _settle(waiting, clock)
        while waiting:
            _settle(waiting, clock)
        clock.seconds = time.perf_counter() - started
        cpu = time.process_time() - cpu
        _count(folder, home.log.last, BATCH * len(batches))
    events = BATCH * (len(batches) - WARM_UP)
    return {**clock.figures(events), "cpu_us_per_event": round(cpu / events * 1e6, 2)}


def _settle(waiting: deque[tuple[float, object]], clock: Clock) -> None:
    begun, future = waiting.popleft()
    future.result()  # type: ignore[attr-defined]
    clock.waits_ms.append((time.perf_counter() - begun) * 1000)


def over_http(args: argparse.Namespace) -> dict[str, object]:
    """POST /v1/events against `segue serve` in another process; every acknowledged event is counted in the log after."""
    _say("over HTTP")
    encode = msgspec.json.Encoder().encode
    requests = [request("/v1/events", encode({"events": [_json(event) for event in b]})) for b in _batches(args)]
    with tempfile.TemporaryDirectory(prefix="segue-ingest-") as folder:
        with Server(Path(folder)) as server:
            asyncio.run(closed_loop(server.port, requests[:WARM_UP], args.connections))
            cpu, own = cpu_seconds(server.pid), time.process_time()
            clock, accepted = asyncio.run(closed_loop(server.port, requests[WARM_UP:], args.connections))
            cpu, own = cpu_seconds(server.pid) - cpu, time.process_time() - own
        with open_home(Path(folder), writer=False) as home:
            _count(folder, home.log.last, BATCH * len(requests))
    return {
        **clock.figures(accepted),
        "server_cpu_s": round(cpu, 2),
        "server_cpu_us_per_event": round(cpu / accepted * 1e6, 2),
        "client_cpu_s": round(own, 2),
        "connections": args.connections,
    }


async def closed_loop(port: int, requests: list[bytes], connections: int) -> tuple[Clock, int]:
    """Send every request over a few keep-alive connections, each waiting for its answer; (clock, events accepted)."""
    clock, accepted = Clock(), 0
    todo = iter(requests)

    async def client() -> None:
        nonlocal accepted
        reader, stream = await asyncio.open_connection("127.0.0.1", port)
        for content in todo:
            begun = time.perf_counter()
            stream.write(content)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            assert length is not None
            body = await reader.readexactly(int(length[1]))
            clock.waits_ms.append((time.perf_counter() - begun) * 1000)
            if b" 200 " not in head[:16]:
                raise RuntimeError(f"expected 200, got {head[:80]!r} {body[:200]!r}")
            accepted += msgspec.json.decode(body)["accepted"]
        stream.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    clock.seconds = time.perf_counter() - started
    return clock, accepted


def _batches(args: argparse.Namespace) -> Iterator[list[EventIn]]:
    rng = np.random.default_rng(0)
    for first in range(0, max(args.events, BATCH) + WARM_UP * BATCH, BATCH):
        users = rng.integers(0, args.users, BATCH).tolist()
        items = np.minimum(rng.pareto(1.0, BATCH) * args.items / 100, args.items - 1).astype(np.int64).tolist()
        heard = rng.integers(1, 240, BATCH).tolist()
        yield [
            EventIn(
                event_id=f"device-{user}-{first + row}",
                user=f"user-{user}",
                item=f"song-{item}",
                action="completed" if seconds > 100 else "skipped",
                at=(_NOW + (first + row) // 100) * 1000,
                played_s=float(seconds),
                duration_s=240.0,
                session=f"{user}-{first // 100_000}",
                position=row % 20,
                region="DE",
                device="phone",
            )
            for row, (user, item, seconds) in enumerate(zip(users, items, heard, strict=True))
        ]


def _json(event: EventIn) -> dict[str, object]:
    """As the contract has it."""
    fields = ("event_id", "user", "item", "action", "played_s", "duration_s", "session", "position")
    body: dict[str, object] = {name: getattr(event, name) for name in fields}
    return {**body, "at": event.at // 1000, "context": {"region": event.region, "device": event.device}}


def _columns(rng: np.random.Generator, n: int) -> Events:
    events = empty_events(n)
    for name in ("key_hi", "key_lo", "body"):
        events[name] = rng.integers(0, 1 << 64, n, dtype=np.uint64)
    events["at"] = _NOW * 1000 + np.arange(n)
    events["user"] = rng.integers(0, 100_000, n)
    events["item"] = rng.integers(0, 100_000, n)
    events["action"] = 4
    return events


def _count(folder: str, found: int, expected: int) -> None:
    if found != expected:
        raise RuntimeError(f"the log in {folder} holds {found} events, {expected} were acknowledged")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
