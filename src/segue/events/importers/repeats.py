"""Blocks of rows that a source repeats: found as whole runs of one session, whatever the batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from segue.core.types import Bool, UInt64
from segue.events.importers.files import Raw
from segue.events.importers.keys import mix


class RepeatedBlocks:
    """Remembers each block, a run of rows of one session, by a hash of its rows in order; an equal later one is a repeat."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def mask(self, session: UInt64, content: UInt64) -> Bool:
        """Which rows belong to a block that came before: session and content are hashes a row, blocks are whole."""
        n = len(session)
        if not n:
            return np.zeros(0, np.bool_)
        starts = np.flatnonzero(np.append(True, session[1:] != session[:-1]))
        lengths = np.diff(np.append(starts, n))
        place = np.arange(n) - np.repeat(starts, lengths)
        rows = mix(content ^ mix(session + place.astype(np.uint64)))
        digests = np.add.reduceat(rows, starts)
        again = np.zeros(len(starts), np.bool_)
        for i, digest in enumerate(digests.tolist()):
            again[i] = digest in self._seen
            self._seen.add(digest)
        return np.repeat(again, lengths)


def whole_blocks(raws: Iterator[Raw], session_columns: Sequence[str]) -> Iterator[Raw]:
    """The same rows in the same order, cut only where the session changes: a block is never parted."""
    held: list[Raw] = []
    for raw in raws:
        cut = _last_start(raw, session_columns)
        if held and not _starts_anew(held[-1], raw, session_columns) and cut == 0:
            held.append(raw)
            continue
        if held and cut == 0:
            yield _glued(held)
            held = [raw]
            continue
        held.append(_part(raw, 0, cut))
        yield _glued(held)
        held = [_part(raw, cut, raw.n)]
    if held:
        yield _glued(held)


def _last_start(raw: Raw, columns: Sequence[str]) -> int:
    """The first row of the last run."""
    if raw.n == 0:
        return 0
    changes = np.zeros(raw.n - 1, np.bool_)
    for name in columns:
        column = _plain(raw.columns[name])
        differ = pc.fill_null(pc.not_equal(column[1:], column[:-1]), False).to_numpy(zero_copy_only=False)
        null = column.is_null().to_numpy(zero_copy_only=False)
        changes |= differ | (null[1:] != null[:-1])
    found = np.flatnonzero(changes)
    return int(found[-1]) + 1 if len(found) else 0


def _starts_anew(before: Raw, after: Raw, columns: Sequence[str]) -> bool:
    if before.n == 0 or after.n == 0:
        return False
    return any(before.columns[n][before.n - 1].as_py() != after.columns[n][0].as_py() for n in columns)


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _part(raw: Raw, start: int, stop: int) -> Raw:
    columns = {n: c[start:stop] for n, c in raw.columns.items()}
    return Raw(columns, raw.rows[start:stop], raw.lost if start == 0 else [], raw.share)


def _glued(parts: list[Raw]) -> Raw:
    parts = [p for p in parts if p.n or p.lost]
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Raw({}, np.zeros(0, np.int64))
    full = [p for p in parts if p.n] or parts[:1]
    columns = {n: pa.concat_arrays([_plain(p.columns[n]) for p in full]) for n in full[0].columns}
    lost = [r for p in parts for r in p.lost]
    return Raw(columns, np.concatenate([p.rows for p in full]), lost, parts[-1].share)
