"""Kills a writer with SIGKILL again and again, while it ingests, seals and imports, and counts what was lost or doubled."""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing as mp
import os
import signal
import struct
import sys
import tempfile
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from segue.core.ports import DUPLICATE, EventLog
from segue.core.types import Events, Exposure, Slate, empty_events
from segue.events.ingest import Ingest
from segue.events.rows import build
from segue.events.schema import EventIn
from segue.storage.online_state.arrays import ArrayState
from segue.wiring import open_home

EPOCH_MS = 1_700_000_000_000
"""Event number n happened n ms later: its number can be read back from the log."""
MARGIN = 1_000_000
EVER = (1 << 63) - 1
BULK = 50_000
_ACK, _ORDER, _PID = struct.Struct("<cqq"), struct.Struct("<qq"), struct.Struct("<q")
EVENTS, EXPOSURE, WRONG = b"e", b"x", b"w"


@dataclass
class Tally:
    """What was acknowledged so far, as (first number, count), and what was found wrong."""

    events: list[tuple[int, int]] = field(default_factory=list)
    exposures: list[int] = field(default_factory=list)
    next: int = 0
    lost: int = 0
    doubled: int = 0
    problems: list[str] = field(default_factory=list)
    stored: int = 0

    def take(self, acknowledged: bytes) -> None:
        """Read what a writer left behind: whole records, since each was one write."""
        for kind, first, count in _ACK.iter_unpack(acknowledged):
            if kind == EVENTS:
                self.events.append((first, count))
            elif kind == EXPOSURE:
                self.exposures.append(first)
            elif kind == WRONG:
                self.problems.append(f"{count} events from {first} on were sent twice and not called duplicates")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `segue benchmark crash`."""
    parser.add_argument("--cycles", type=int, default=200, help="kills (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the traffic (default 0)")
    parser.add_argument("--longest", type=float, default=0.2, help="seconds a writer may live at most (default 0.2)")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Kill `cycles` writers; what every one of them acknowledged must be in the log once."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="segue-crash-") as folder:
        tally = torture(Path(folder) / "home", args.cycles, args.seed, args.longest)
        same = state_follows(Path(folder) / "home")
    return {
        "cycles": args.cycles,
        "acknowledged_events": sum(count for _, count in tally.events),
        "acknowledged_exposures": len(tally.exposures),
        "stored_events": tally.stored,
        "lost": tally.lost,
        "doubled": tally.doubled,
        "problems": tally.problems[:20],
        "state_equals_a_rebuild": same,
        "seconds": round(time.monotonic() - started, 1),
    }


def torture(home: Path, cycles: int, seed: int, longest_s: float) -> Tally:
    """Start and kill `cycles` writers on one home, examining the log after each."""
    rng = np.random.default_rng(seed)
    tally = Tally()
    acknowledged = home.with_name(home.name + ".acknowledged")
    here, there = mp.get_context("spawn").Pipe()
    parent = mp.get_context("spawn").Process(target=nursery, args=(home, acknowledged, there), daemon=True)
    parent.start()
    for cycle in range(cycles):
        acknowledged.write_bytes(b"")
        here.send_bytes(_ORDER.pack(tally.next, seed * 1_000_003 + cycle))
        (pid,) = _PID.unpack(here.recv_bytes())
        if rng.random() < 0.9:  # else it dies while it opens the log
            while not acknowledged.stat().st_size:
                time.sleep(0.001)
        time.sleep(rng.uniform(0, longest_s))
        os.kill(pid, signal.SIGKILL)
        here.recv_bytes()  # it is dead
        tally.take(acknowledged.read_bytes())
        examine(home, tally, thorough=cycle % 20 == 19 or cycle == cycles - 1)
        print(f"\rcycle {cycle + 1}/{cycles}, {tally.stored:,} events", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    here.close()
    parent.join()
    acknowledged.unlink()
    return tally


def nursery(home: Path, acknowledged: Path, orders: Connection) -> None:
    """A process without threads that has everything loaded and compiled: it forks one writer for each order."""
    with open_home(home, writer=True) as opened:
        opened.log.append(bulk(-1, 1))
        opened.state.catch_up(opened.log)  # type: ignore[attr-defined]
        build(small(0, 1), opened.catalogue, os.urandom)
    with contextlib.suppress(EOFError):
        while True:
            start, seed = _ORDER.unpack(orders.recv_bytes())
            pid = os.fork()
            if pid == 0:
                worker(home, start, seed, os.open(acknowledged, os.O_WRONLY | os.O_APPEND))
            orders.send_bytes(_PID.pack(pid))
            os.waitpid(pid, 0)
            orders.send_bytes(b"dead")


def examine(home: Path, tally: Tally, *, thorough: bool) -> None:
    """Open the log as the next process would, and look for each acknowledged number."""
    with open_home(home, writer=False) as opened:
        log = opened.log
        numbers = np.sort(np.concatenate([np.zeros(0, np.int64), *(e["at"] for e in log.scan(0, EVER, ["at"]))]))
        numbers -= EPOCH_MS
        tally.stored = len(numbers)
        tally.doubled = int(np.count_nonzero(np.diff(numbers) == 0))
        acknowledged = np.array(tally.events, np.int64).reshape(-1, 2)
        kept = np.unique(numbers)  # a doubled event must not hide a lost one
        places = np.searchsorted(kept, acknowledged[:, 0]), np.searchsorted(kept, acknowledged.sum(axis=1))
        tally.lost = int(np.maximum(acknowledged[:, 1] - (places[1] - places[0]), 0).sum())
        tally.lost += sum(log.exposure(number) is None for number in tally.exposures)
        if thorough:
            shown = [one.slate.request_id for one in log.exposures(0, EVER)]
            tally.doubled += len(shown) - len(set(shown))
            unseen = {number for number in tally.exposures if log.exposure(number) is not None} - set(shown)
            tally.problems += [f"slate {number} is found but a walk does not meet it" for number in sorted(unseen)]
            tally.problems += log.check()
        tally.next = (int(numbers[-1]) if len(numbers) else 0) + MARGIN


def state_follows(home: Path) -> bool:
    """Whether the state that lived through all kills equals, to the bit, one folded anew from the log."""
    with open_home(home, writer=True) as opened, tempfile.TemporaryDirectory(prefix="segue-crash-") as folder:
        opened.ingest()
        wanted = opened.settings.state
        fresh = ArrayState(Path(folder), recent_plays=wanted.recent_plays, half_life_days=wanted.half_life_days)
        fresh.catch_up(opened.log)
        same = fresh.applied == opened.state.applied and fresh.digest() == opened.state.digest()
        fresh.close()
    return same


def worker(home: Path, start: int, seed: int, out: int) -> None:
    """Write until killed: batches, imports, slates, things sent twice; say what was acknowledged, right after it was."""
    rng = np.random.default_rng(seed)
    with open_home(home, writer=True) as opened:
        ingest = opened.ingest()
        ingest.submit(small(start, 1)).result()
        os.write(out, _ACK.pack(EVENTS, start, 1))
        threading.Thread(target=_seal_for_ever, args=(opened.log, seed), daemon=True).start()
        waiting: deque[tuple[bytes, int, int, Future[Any]]] = deque()
        number = start + 1
        while True:
            kind, count, future = _something(ingest, rng, number)
            waiting.append((kind, number, count, future))
            number += count
            if len(waiting) > 4:
                kind, first, count, future = waiting.popleft()
                future.result()
                os.write(out, _ACK.pack(kind, first, count))
                if kind == EVENTS and rng.random() < 0.2 and not _duplicates(ingest, first, count):
                    os.write(out, _ACK.pack(WRONG, first, count))


def _something(ingest: Ingest, rng: np.random.Generator, number: int) -> tuple[bytes, int, Future[Any]]:
    choice = rng.random()
    if choice < 0.05:
        return EVENTS, BULK, ingest.submit_columns(bulk(number, BULK))
    if choice < 0.2:
        return EXPOSURE, 1, ingest.submit_exposure(slate(number))
    count = int(rng.integers(1, 1_000))
    return EVENTS, count, ingest.submit(small(number, count))


def _duplicates(ingest: Ingest, first: int, count: int) -> bool:
    """Whether events that are sent again are called duplicates, all of them."""
    repeated = ingest.submit_columns(bulk(first, count)) if count == BULK else ingest.submit(small(first, count))
    return bool((repeated.result().status == DUPLICATE).all())


def _seal_for_ever(log: EventLog, seed: int) -> None:
    rng = np.random.default_rng(seed + 1)
    while True:
        time.sleep(rng.uniform(0, 0.1))
        log.seal(EVER)


def small(first: int, count: int) -> list[EventIn]:
    """Events as they come from players."""
    return [
        EventIn(
            event_id=f"event-{n}",
            user=f"user-{n % 997}",
            item=f"item-{n % 4999}",
            action="completed" if n % 3 else "skipped",
            at=EPOCH_MS + n,
            played_s=float(n % 200),
            duration_s=200.0,
            session=f"session-{n // 20}",
        )
        for n in range(first, first + count)
    ]


def bulk(first: int, count: int) -> Events:
    """Events as they come from an import: dense ids, keys made by the caller."""
    numbers = np.arange(first, first + count)
    events = empty_events(count)
    events["key_hi"] = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    events["key_lo"] = numbers
    events["at"] = EPOCH_MS + numbers
    events["user"] = numbers % 997
    events["item"] = numbers % 4999
    events["action"] = 4
    return events


def slate(number: int) -> Exposure:
    """A slate whose request id is its number."""
    items = np.arange(10, dtype=np.int32)
    ones = np.ones(10, np.float32)
    none = ("popular",)
    made = Slate(number, items, ones, ones, (none,) * 10, ("popular",) * 10, items > 8, "radio", {"als": "v"}, "personal")
    return Exposure(made, number % 997, EPOCH_MS + number, 0, "radio", 0, np.zeros((10, 30), np.float32), ("f",) * 30)
