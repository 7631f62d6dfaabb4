"""Sessions from a table as the sources see them: a History to fit on, and one Query for each place to be predicted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from segue.core.errors import BadInput
from segue.core.types import MISSING, History, Int32, Int64, Items, Query, Recent

DAY_S = 86_400


@dataclass(frozen=True)
class Plays:
    """Plays in order of (time of the session, session, position): (n,) columns; session is dense and ascending.

    item, artist and user are places in the dictionaries `items`, `artists`, `users`, MISSING where unknown to them.
    """

    session: Int64
    item: Int32
    user: Int32
    at: Int64  # seconds
    artist: Int32
    items: pa.Array
    artists: pa.Array
    users: pa.Array

    def __len__(self) -> int:
        return len(self.session)

    def where(self, mask: NDArray[np.bool_]) -> Plays:
        """The plays where the mask is True."""
        columns = {name: getattr(self, name)[mask] for name in ("session", "item", "user", "at", "artist")}
        return replace(self, **columns)


def read(path: str, item: str, known: Plays | None = None) -> Plays:
    """A Parquet file with session, position, the column `item`, and perhaps user, artist and at.

    Dictionaries are those of `known` (the train) or else made here; ids are in order of the text, so that ties are the
    same on every machine. BadInput names a missing column.
    """
    table = pq.read_table(path)
    for column in ("session", "position", item):
        if column not in table.column_names:
            raise BadInput(f"{path} needs a column {column!r}; it has {', '.join(table.column_names)}", column)
    names = table.column_names
    users = table["user" if "user" in names else "session"]
    artists = table["artist" if "artist" in names else item]
    at = _seconds(table["at"]) if "at" in names else np.zeros(table.num_rows, np.int64)
    dictionaries = [
        _dictionary(column) if known is None else given
        for column, given in zip(
            (table[item], artists, users), (known.items, known.artists, known.users) if known else (None,) * 3, strict=True
        )
    ]
    raw = _codes(table["session"], _dictionary(table["session"]))
    began = np.full(raw.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(began, raw, at)
    order = np.lexsort((table["position"].to_numpy(), raw, began[raw]))
    session = np.cumsum(np.diff(raw[order], prepend=raw[order][:1]) != 0)
    return Plays(
        session.astype(np.int64),
        _codes(table[item], dictionaries[0])[order],
        _codes(users, dictionaries[2])[order],
        at[order],
        _codes(artists, dictionaries[1])[order],
        *dictionaries,
    )


def _dictionary(column: pa.ChunkedArray) -> pa.Array:
    values = pc.unique(column)
    return values.take(pc.sort_indices(values))


def _codes(column: pa.ChunkedArray, dictionary: pa.Array) -> Int32:
    found = pc.index_in(column.cast(dictionary.type), value_set=dictionary).combine_chunks()
    return np.asarray(pc.fill_null(found, MISSING).to_numpy(zero_copy_only=False), np.int32)


def _seconds(column: pa.ChunkedArray) -> Int64:
    if pa.types.is_temporal(column.type):
        return np.asarray(column.cast(pa.timestamp("s"), safe=False).cast(pa.int64()).to_numpy(), np.int64)
    return np.asarray(column.to_numpy(), np.int64)


def history(plays: Plays) -> History:
    """Every play as a finished one, listeners together; facts hold the artist. Sessions of one listener stay whole."""
    plays = plays.where(plays.item >= 0)
    order = np.lexsort((np.arange(len(plays)), plays.session, plays.at, plays.user))
    session = plays.session[order]
    artist = np.full(len(plays.items), MISSING, np.int32)
    artist[plays.item] = plays.artist
    return History(
        n_users=len(plays.users),
        n_items=len(plays.items),
        now=int(plays.at.max(initial=0) + DAY_S) * 1000,
        user=plays.user[order],
        item=plays.item[order],
        at=plays.at[order].astype(np.uint32),
        signal=np.ones(len(plays), np.int8),
        session=np.cumsum(np.diff(session, prepend=session[:1]) != 0).astype(np.int32),
        facts=replace(Items.bare(len(plays.items)), artist=artist),
    )


def by_session(past: History) -> History:
    """The same plays, each session a listener of its own."""
    return replace(past, user=past.session, n_users=past.n_sessions)


@dataclass(frozen=True)
class Events:
    """Places to predict: plays[first[i] : row[i]] are known, plays.item[row[i]] is the answer; all (n,)."""

    plays: Plays
    first: Int64
    row: Int64

    def __len__(self) -> int:
        return len(self.row)

    @staticmethod
    def of(plays: Plays, known: NDArray[np.bool_]) -> Events:
        """Every place after a session's first whose item is one of the known (n_items,)."""
        starts = np.flatnonzero(np.diff(plays.session, prepend=-1) != 0)
        first = starts[np.cumsum(np.diff(plays.session, prepend=-1) != 0) - 1]
        rows = np.arange(len(plays))
        asked = (rows > first) & (plays.item >= 0) & known[plays.item]
        return Events(plays, first[asked], rows[asked])

    def take(self, which: Int64) -> Events:
        """Some of the events."""
        return Events(self.plays, self.first[which], self.row[which])

    @property
    def targets(self) -> Int32:
        """The answers."""
        return self.plays.item[self.row]

    @property
    def sessions(self) -> Int64:
        """The session of each event."""
        return self.plays.session[self.row]

    @property
    def users(self) -> Int32:
        """The listener of each event."""
        return self.plays.user[self.row]

    def blocks(self, size: int) -> Iterator[Events]:
        """The events in order, at most `size` at a time."""
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self))))

    def repeats_artist(self) -> NDArray[np.bool_]:
        """Whether the artist of the answer was played earlier in the session."""
        artist = self.plays.artist
        pairs = zip(self.first, self.row, strict=True)
        return np.array([artist[row] in artist[first:row] for first, row in pairs], np.bool_)

    def queries(self) -> Iterator[Query]:
        """The session so far, newest first, everything finished."""
        for first, row in zip(self.first, self.row, strict=True):
            items = self.plays.item[first:row][::-1]
            n = len(items)
            now = int(self.plays.at[row]) * 1000
            ones = np.ones(n, np.float32)
            recent = Recent(items, ones, ones, np.full(n, now, np.int64), np.ones(n, np.bool_))
            yield Query(0, int(self.plays.user[row]), now, recent=recent)
