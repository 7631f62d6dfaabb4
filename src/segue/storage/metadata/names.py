"""The dictionaries external id <-> dense id: true in SQLite, looked up in memory, shared by several processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from segue.core.errors import BadInput, NotFound
from segue.core.types import MISSING, Arrays, Int32
from segue.storage.metadata.database import Database, Transaction
from segue.storage.metadata.table import NameTable

BATCH = 100_000
MOST_NAMES = 2**31 - 1
"""Dense ids are int32."""


class SqliteNames:
    """Names of one kind in a database, at most `most` (BadInput beyond).

    `find` takes no lock and sees a name only once it is on disk.
    """

    def __init__(self, database: Database, kind: int, what: str = "names", most: int = MOST_NAMES) -> None:
        self._database = database
        self._kind = kind
        self._what, self._most = what, most
        self._table = NameTable()

    def __len__(self) -> int:
        return len(self._table)

    def intern(self, names: Sequence[str]) -> Int32:
        """Dense ids, giving new ones to names not seen before, in order of first appearance; durable on return.

        New names cost one transaction for the whole batch; a batch of known names is a `find`.
        """
        found = self._table.find(names)
        if not np.any(found == MISSING):
            return found
        with self._database.write() as transaction:
            return self.stage(transaction, names)

    def stage(self, transaction: Transaction, names: Sequence[str]) -> Int32:
        """Intern as a part of a transaction, at most once in each: the names can be found when it is durable."""
        found = self._table.find(names)
        unknown = np.flatnonzero(found == MISSING).tolist()
        if not unknown:
            return found
        start = len(self._table)
        given = {name: start + i for i, name in enumerate(dict.fromkeys(names[i] for i in unknown))}
        if start + len(given) > self._most:
            raise BadInput(f"{self._what}: at most {self._most:,} can be told apart; send coarser ones", self._what)
        rows = [(self._kind, dense, name.encode("utf-8", "surrogatepass")) for name, dense in given.items()]
        transaction.executemany("INSERT INTO names VALUES (?, ?, ?)", rows)
        transaction.after(lambda: self._table.append(list(given)))
        found[unknown] = [given[names[i]] for i in unknown]
        return found

    def take_in(self) -> None:
        """Read the names that others added; the lock of the database must be held."""
        rows = self._database.read(
            "SELECT name FROM names WHERE kind = ? AND dense >= ? ORDER BY dense", self._kind, len(self._table)
        )
        while chunk := rows.fetchmany(BATCH):
            self._table.append([name.decode("utf-8", "surrogatepass") for (name,) in chunk])

    def find(self, names: Sequence[str]) -> Int32:
        """Dense ids, MISSING where unknown; under 10 us for one name, about 0.2 ms for a thousand."""
        return self._table.find(names)

    def name(self, dense: int) -> str:
        """The external id; NotFound for an id never given."""
        if not 0 <= dense < len(self._table):
            raise NotFound(f"no name has the dense id {dense}")
        return self._table.one(dense)

    def all(self, dense: Int32) -> list[str]:
        """The external ids of many; NotFound for an id never given."""
        outside = (dense < 0) | (dense >= len(self._table))
        if outside.any():
            raise NotFound(f"no name has the dense id {int(dense[outside][0])}")
        return self._table.all(dense)

    def arrays(self) -> Arrays:
        """The table in memory, for the cache."""
        return self._table.arrays()

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over a cached table."""
        self._table.load(arrays)

    def agrees(self) -> bool:
        """Whether the database knows the last name of the table under the same id: it may be older than a cached table."""
        if not len(self._table):
            return True
        last = len(self._table) - 1
        row = (
            self._database.reader()
            .execute("SELECT name FROM names WHERE kind = ? AND dense = ?", (self._kind, last))
            .fetchone()
        )
        return row is not None and row[0].decode("utf-8", "surrogatepass") == self.name(last)

    def reset(self) -> None:
        """Forget the table in memory."""
        self._table = NameTable()
