"""Names in memory: an open-addressing table over one UTF-8 blob, hashes checked byte by byte, no Python object a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.types import MISSING, Arrays, Int32, Int64, UInt64
from segue.storage.metadata.growable import Growable

Bytes = NDArray[np.uint8]
LEAST_SLOTS = 64


@njit(cache=True, nogil=True)
def _hash(blob: Bytes, start: np.int64, end: np.int64) -> np.uint64:
    """FNV-1a of blob[start:end], then the finalizer of MurmurHash3 so that both halves are good. On disk: never change it."""
    value = np.uint64(14695981039346656037)
    for i in range(start, end):
        value = (value ^ np.uint64(blob[i])) * np.uint64(1099511628211)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> np.uint64(33))


@njit(cache=True, nogil=True)
def _find(slots: UInt64, ends: Int64, blob: Bytes, keys: Bytes, key_ends: Int64) -> Int32:
    """Dense id of every key, MISSING where unknown. A slot is the upper half of the hash and the dense id + 1; 0 is empty."""
    known, count = len(ends), len(key_ends)
    mask = np.uint64(len(slots) - 1)
    out = np.full(count, MISSING, np.int32)
    start = np.int64(0)
    for k in range(count):
        end = key_ends[k]
        value = _hash(keys, start, end)
        tag = value >> np.uint64(32)
        at = value & mask
        while slots[at] != np.uint64(0):
            dense = np.int64(slots[at] & np.uint64(0xFFFFFFFF)) - 1
            # an id beyond `known` is being added by another thread: it is not there yet
            if (slots[at] >> np.uint64(32)) == tag and dense < known:
                first = np.int64(0) if dense == 0 else ends[dense - 1]
                size = ends[dense] - first
                if size == end - start:
                    same = True
                    for i in range(size):
                        if blob[first + i] != keys[start + i]:
                            same = False
                            break
                    if same:
                        out[k] = dense
                        break
            at = (at + np.uint64(1)) & mask
        start = end
    return out


@njit(cache=True, nogil=True)
def _insert(slots: UInt64, ends: Int64, blob: Bytes, first: int) -> None:
    """Put names first, first + 1, ... into the slots; they are known to be distinct and new."""
    mask = np.uint64(len(slots) - 1)
    start = np.int64(0) if first == 0 else ends[first - 1]
    for dense in range(first, len(ends)):
        end = ends[dense]
        value = _hash(blob, start, end)
        at = value & mask
        while slots[at] != np.uint64(0):
            at = (at + np.uint64(1)) & mask
        slots[at] = ((value >> np.uint64(32)) << np.uint64(32)) | np.uint64(dense + 1)
        start = end


def pack(names: Sequence[str]) -> tuple[Bytes, Int64]:
    """Names as one buffer of UTF-8 and where each ends, (n,) int64. Lone surrogates pass, so every str has its own bytes."""
    data = "".join(names).encode("utf-8", "surrogatepass")
    sizes = np.fromiter(map(len, names), np.int64, len(names))
    ends = np.cumsum(sizes)
    if len(names) and len(data) != ends[-1]:  # not plain ASCII
        pieces = [name.encode("utf-8", "surrogatepass") for name in names]
        data = b"".join(pieces)
        ends = np.cumsum(np.fromiter(map(len, pieces), np.int64, len(pieces)))
    return np.frombuffer(data, np.uint8), ends


def unpack(blob: Bytes, starts: Sequence[int], ends: Sequence[int]) -> list[str]:
    """The texts at blob[start:end]."""
    data = memoryview(blob)  # type: ignore[arg-type]  # an array is a buffer; typeshed learns it with Python 3.12
    return [str(data[a:b], "utf-8", "surrogatepass") for a, b in zip(starts, ends, strict=True)]


def _room(n: int) -> int:
    return n // 16 + 1024


class NameTable:
    """name <-> dense id from 0, in about 30 bytes a name beside its text; at most 2**31 - 1 names.

    One writer at a time; readers take one immutable view and never see a name before `append` has finished. After FNV-1a, no
    two names are ever confused: equal hashes are told apart by their bytes.
    """

    def __init__(self) -> None:
        self._slots: UInt64 = np.zeros(LEAST_SLOTS, np.uint64)
        self._slots_owned = True
        self._ends = Growable(np.zeros(0, np.int64))
        self._blob = Growable(np.zeros(0, np.uint8))
        self._publish()

    def __len__(self) -> int:
        return len(self._seen[1])

    def find(self, names: Sequence[str]) -> Int32:
        """Dense ids, MISSING where unknown."""
        found: Int32 = _find(*self._seen, *pack(names))
        return found

    def append(self, names: Sequence[str]) -> None:
        """Give the next dense ids to names, which must be new and distinct."""
        if not names:
            return
        blob, ends = pack(names)
        first, total = self._ends.n, self._ends.n + len(names)
        if total > np.iinfo(np.int32).max:
            raise OverflowError(f"{total:,} names do not fit into 31 bits")
        self._ends.extend(ends + self._blob.n)
        self._blob.extend(blob)
        self._make_room(total, first)
        self._publish()

    def all(self, dense: Int32) -> list[str]:
        """The names of dense ids, which must be below len."""
        _, ends, blob = self._seen
        starts = np.where(dense > 0, ends[dense - 1], 0)
        return unpack(blob, starts.tolist(), ends[dense].tolist())

    def one(self, dense: int) -> str:
        """The name of one dense id, which must be below len."""
        _, ends, blob = self._seen
        start = int(ends[dense - 1]) if dense else 0
        return blob[start : int(ends[dense])].tobytes().decode("utf-8", "surrogatepass")

    def arrays(self) -> Arrays:
        """Everything as arrays, with room for more names: `load` takes them back without reading one."""
        slots, ends, blob = self._seen
        return {
            "slots": slots,
            "ends": np.concatenate([ends, np.zeros(_room(len(ends)), np.int64)]),
            "blob": np.concatenate([blob, np.zeros(_room(len(blob)), np.uint8)]),
            "used": np.array([len(ends), len(blob)], np.int64),
        }

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> NameTable:
        """The inverse of `arrays`; read-only arrays are copied when a name is added, writable ones are written to."""
        self._slots = arrays["slots"].view(np.uint64)
        self._slots_owned = self._slots.flags.writeable
        names, size = arrays["used"].tolist()
        self._ends = Growable(arrays["ends"].view(np.int64), used=names)
        self._blob = Growable(arrays["blob"].view(np.uint8), used=size)
        self._publish()
        return self

    def _make_room(self, total: int, first: int) -> None:
        """Index the names from `first` on; at 60 % load the slots double and everything is hashed again."""
        ends, blob = self._ends.view(), self._blob.view()
        size = len(self._slots)
        while total > 0.6 * size:
            size *= 2
        if size > len(self._slots):
            fresh: UInt64 = np.zeros(size, np.uint64)
            _insert(fresh, ends, blob, 0)
            self._slots = fresh
        else:
            if not self._slots_owned:
                self._slots = self._slots.copy()
            _insert(self._slots, ends, blob, first)
        self._slots_owned = True

    def _publish(self) -> None:
        slots = self._slots.view()
        slots.flags.writeable = False
        self._seen: tuple[UInt64, Int64, Bytes] = (slots, self._ends.view(), self._blob.view())
