"""One listener's history row by row: what the readers of exports of other services share."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
import pyarrow as pa

from segue.core.actions import Action
from segue.core.clock import EARLIEST_MS, FUTURE_SLACK_MS, HOUR_MS
from segue.core.errors import BadInput
from segue.core.records import ItemRecord
from segue.core.types import MISSING
from segue.events.checks import cleaned, masked, name_error, normalize, user_error
from segue.events.importers.batch import Coded, EventColumns, ImportBatch, Rejected
from segue.events.importers.columns import stamp
from segue.events.importers.events_of import play_actions
from segue.events.importers.files import COMPRESSED

HISTORY_ROWS = 65_536
ME = "me"
"""The user of exports that do not say whose they are, unless the importer is told."""


@dataclass
class Heard:
    """One row of a history: names as people know them, times in ms, lengths in seconds (NaN unknown)."""

    user: str
    artist: str
    title: str
    at: int
    action: Action | None = None  # None: told by played_s and duration_s
    played_s: float = math.nan
    duration_s: float = math.nan
    album: str | None = None
    kind: str | None = None
    region: str | None = None
    device: str | None = None
    extra: tuple[tuple[str, str], ...] = ()

    @property
    def item(self) -> str:
        """Artist and title as one key: the same song of different services is one item."""
        return f"{normalize(self.artist)}\t{normalize(self.title)}"


class History:
    """Gathers rows of one file and gives them out as batches."""

    def __init__(self, file: str, now: int) -> None:
        self.file, self.now = file, now
        self._clear()

    def _clear(self) -> None:
        self.places: list[int] = []
        self.rows: list[Heard] = []
        self.names: list[str] = []
        self.rejected: list[Rejected] = []
        self.items: dict[str, ItemRecord] = {}

    @property
    def full(self) -> bool:
        """Whether a batch is due."""
        return len(self.rows) + len(self.rejected) >= HISTORY_ROWS

    def refuse(self, place: int, reason: str, **row: object) -> None:
        """A row that cannot be used; `place` counts from 0."""
        held: dict[str, object] = {k: masked(v)[:500] if isinstance(v, str) else v for k, v in row.items()}
        self.rejected.append(Rejected(place + 1, reason, held))

    def add(self, place: int, heard: Heard) -> None:
        """A row, checked here."""
        item = heard.item
        if wrong := self._wrong(heard, item):
            self.refuse(place, wrong, artist=heard.artist, title=heard.title, at=heard.at / 1000)
            return
        self.places.append(place)
        self.rows.append(heard)
        self.names.append(item)
        if item not in self.items:
            length = heard.duration_s
            self.items[item] = ItemRecord(
                id=item, title=cleaned(heard.title), artist=cleaned(heard.artist), album=cleaned(heard.album or ""),
                duration_s=length if length > 0 else None, kind=heard.kind, extra=dict(heard.extra) or None,
            )  # fmt: skip

    def _wrong(self, heard: Heard, item: str) -> str | None:
        if not heard.artist.strip() or not heard.title.strip():
            return f"{'title' if heard.artist.strip() else 'artist'} is missing"
        if not EARLIEST_MS <= heard.at <= self.now + FUTURE_SLACK_MS:
            return f"at is {stamp(heard.at)}: expected 1995 or later, and no later than a day from now"
        for name, length in (("played_s", heard.played_s), ("duration_s", heard.duration_s)):
            if not math.isnan(length) and not 0 <= length <= 168 * HOUR_MS / 1000:
                return f"{name} is {length:g} s: expected 0 to 604800"
        return user_error(heard.user) or name_error("item", item)

    def batch(self, share: float | None) -> ImportBatch:
        """Everything gathered since the last batch."""
        events = self._events() if self.rows else None
        rows = len(self.rows) + len(self.rejected)
        out = ImportBatch(self.file, rows, events, list(self.items.values()), [], self.rejected, share=share)
        self._clear()
        return out

    def _events(self) -> EventColumns:
        rows, n = self.rows, len(self.rows)
        played = np.array([r.played_s for r in rows])
        duration = np.array([r.duration_s for r in rows])
        duration[duration == 0] = np.nan
        told = np.array([MISSING if r.action is None else r.action for r in rows], np.int8)
        action = np.where(told < 0, play_actions(played, duration, np.zeros(n, np.bool_)), told).astype(np.int8)
        return EventColumns(
            row=np.array(self.places, np.int64), user=Coded.of([r.user for r in rows]), item=Coded.of(self.names),
            action=action, at=np.array([r.at for r in rows], np.int64), played_s=played.astype(np.float32),
            duration_s=duration.astype(np.float32), value=np.full(n, np.nan, np.float32),
            position=np.full(n, MISSING, np.int64), session=Coded.none(n), request=Coded.none(n),
            region=Coded.of([r.region for r in rows]), device=Coded.of([r.device for r in rows]), event_id=Coded.none(n),
        )  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One file of an export: in a folder, in a zip, or by itself; `size` as stored, `done` the share that lies before it."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def parts_of(root: Path, wanted: Callable[[str], bool]) -> list[Part]:
    """The files of a folder or zip whose names are wanted, by name; a single file is taken whatever its name."""
    if root.is_dir():
        files = sorted(p for p in root.rglob("*") if p.is_file() and wanted(p.name))
        return [_plain(p, str(p.relative_to(root))) for p in files]
    if zipfile.is_zipfile(root):
        with zipfile.ZipFile(root) as archive:
            infos = sorted((i for i in archive.infolist() if wanted(Path(i.filename).name)), key=lambda i: i.filename)
        return [_zipped(root, info) for info in infos]
    return [_plain(root, root.name)]


def _plain(path: Path, name: str) -> Part:
    return Part(name, path.stat().st_size, lambda: open_bytes(path))


def _zipped(root: Path, info: zipfile.ZipInfo) -> Part:
    return Part(info.filename, info.compress_size, lambda: zipfile.ZipFile(root).open(info))


def open_bytes(path: Path) -> IO[bytes]:
    """A file, decompressed on the way when its name ends in .gz, .zst or .bz2."""
    if path.is_dir():
        raise BadInput(f"{path.name}: expected a file, found a folder", str(path))
    if path.suffix in COMPRESSED:
        return cast(IO[bytes], pa.input_stream(str(path), compression="detect"))
    return path.open("rb")


def shares(parts: list[Part]) -> Iterator[tuple[Part, float, float]]:
    """Each part with the share of the whole that is done before and after it."""
    total, done = max(sum(p.size for p in parts), 1), 0
    for part in parts:
        yield part, done / total, (done + part.size) / total
        done += part.size
