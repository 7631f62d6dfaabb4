"""What a reader hands to the sink: a batch of events as columns, facts as records, and the rows that were refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segue.core.records import ItemRecord, UserRecord
from segue.core.types import MISSING, Bool, Float32, Int8, Int32, Int64

BATCH_ROWS = 131_072


@dataclass(frozen=True)
class Coded:
    """A column of names, dictionary-encoded: row i is values[codes[i]], or nothing where codes[i] is MISSING."""

    codes: Int32
    values: list[str]

    def __len__(self) -> int:
        return len(self.codes)

    @staticmethod
    def none(n: int) -> Coded:
        """n rows without a name."""
        return Coded(np.full(n, MISSING, np.int32), [])

    @staticmethod
    def same(n: int, value: str) -> Coded:
        """n rows of one name."""
        return Coded(np.zeros(n, np.int32), [value])

    @staticmethod
    def of(values: Sequence[str | None]) -> Coded:
        """Encode a list, values in order of first appearance."""
        places: dict[str, int] = {}
        codes = [MISSING if v is None else places.setdefault(v, len(places)) for v in values]
        return Coded(np.array(codes, np.int32), list(places))

    def keep(self, mask: Bool) -> Coded:
        """The rows where mask is True, with the values that they use."""
        if mask.all():
            return self
        codes = self.codes[mask]
        counts = np.bincount(codes + 1, minlength=len(self.values) + 1)
        used = counts[1:] > 0
        places = np.append(np.cumsum(used, dtype=np.int32) - 1, np.int32(MISSING)).astype(np.int32)
        return Coded(places[codes], [self.values[i] for i in np.flatnonzero(used).tolist()])

    def distinct(self) -> Coded:
        """The same rows, each value once: for values that became equal."""
        places: dict[str, int] = {}
        codes = [places.setdefault(v, len(places)) for v in self.values]
        table = np.array([*codes, MISSING], np.int32)
        return Coded(table[self.codes], list(places))

    def get(self, row: int) -> str | None:
        """The name at a row."""
        code = int(self.codes[row])
        return None if code < 0 else self.values[code]

    def spread(self, per_value: NDArray[np.generic], missing: int | float) -> NDArray[np.generic]:
        """One number a value, given to the rows; `missing` where there is no name."""
        padded = np.append(per_value, np.array([missing], per_value.dtype))
        return padded[self.codes]


@dataclass(frozen=True)
class EventColumns:
    """n events, all checked. Times in milliseconds, durations in seconds (NaN unknown), position MISSING when there is none."""

    row: Int64  # place of the row in its file, from 0: the order of the source
    user: Coded
    item: Coded
    action: Int8
    at: Int64
    played_s: Float32
    duration_s: Float32
    value: Float32
    position: Int64
    session: Coded
    request: Coded
    region: Coded
    device: Coded
    event_id: Coded
    texts: dict[int, str] = field(default_factory=dict)  # index within the batch -> words of a search

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True)
class Rejected:
    """A row that was refused: its line (from 1; the row number in formats without lines), the reason, what it held."""

    line: int
    reason: str
    row: dict[str, object]


@dataclass(frozen=True)
class ImportBatch:
    """Some rows of one file. rows = len(events) + fact_rows + len(rejected) + repeated."""

    file: str
    rows: int
    events: EventColumns | None = None
    items: list[ItemRecord] = field(default_factory=list)
    users: list[UserRecord] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    repeated: int = 0  # rows of a block that the source repeats
    fact_rows: int = 0  # rows that only told facts
    share: float | None = None  # of the whole import done after this batch, None unknown
    part: str = ""  # tells two tables over one file apart


class Reader(Protocol):
    """A source of batches; iterating again reads again."""

    @property
    def name(self) -> str:
        """The format or the mapping, for people."""
        ...

    def __iter__(self) -> Iterator[ImportBatch]: ...
