"""What the routes need of the house, handed over by wiring as one object."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from segue.core.ports import Catalogue, OnlineState
from segue.core.records import Audio
from segue.core.types import Exposure
from segue.events.ingest import IngestResult
from segue.events.schema import EventIn
from segue.monitoring.counters import Counters
from segue.monitoring.monitor import Monitor
from segue.serving.arms import Arms
from segue.serving.explain import Explain
from segue.serving.query import QueryMaker
from segue.serving.recommender import Recommender
from segue.serving.reference import Reference
from segue.serving.standby import Standby


class Writer(Protocol):
    """The one that writes: acknowledged means durable and folded into the state."""

    def submit(self, batch: list[EventIn]) -> Future[IngestResult]:
        """Events from outside."""
        ...

    def submit_exposure(self, exposure: Exposure) -> Future[None]:
        """A slate as shown."""
        ...


class Listener(Protocol):
    """The one that hears files: its answer is a struct with what the vector is."""

    def submit(self, item: str, path: Path) -> Future[Any]:
        """Hear a file for an item; the file is removed when that is done."""
        ...


@dataclass(frozen=True)
class Uploading:
    """Where files wait to be heard, how large they may be, and who hears them."""

    listener: Listener
    folder: Path
    most_bytes: int


@dataclass(frozen=True)
class Service:
    """One running server."""

    catalogue: Catalogue
    state: OnlineState
    writer: Writer
    maker: QueryMaker
    recommender: Recommender
    counters: Counters
    keys: frozenset[str] = frozenset()
    quality: Callable[[], dict[str, Any]] = dict  # what the last night and later judgements found; see wiring.quality
    botify: tuple[str, str] | None = None  # names of items and users for the botify protocol; None = not served
    arms: Arms | None = None
    explain: Explain | None = None
    audio_of: Callable[[int], Audio | None] = lambda item: None  # the sound of an item by dense id; called in a thread
    uploading: Uploading | None = None
    reference: Reference | None = None
    monitor: Monitor | None = None
    standby: Standby | None = None
    mirrored: dict[str, asyncio.Future[None]] = field(default_factory=dict)  # slates that wait for new arms, by request
    now: Callable[[], int] = field(default=lambda: time.time_ns() // 1_000_000)

    def request_id(self) -> int:
        """63 bits: milliseconds (41), then 22 random ones; ordered by time, hard to guess within a millisecond."""
        return ((self.now() & (2**41 - 1)) << 22) | secrets.randbits(22)
