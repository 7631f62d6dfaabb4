"""Memory-mapped copies of the tables in memory, so that a start need not read ten million rows; never the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segue import __version__
from segue.core.errors import Corrupt, NotFound
from segue.core.types import Arrays
from segue.storage.artifacts.folder import FolderArtifacts
from segue.storage.metadata.database import Database
from segue.storage.metadata.names import SqliteNames

FORMAT = f"3 of {__version__}"
"""Another release may count other titles as one work, so it starts from the database once."""
CURRENT = "current"
SLACK_ROWS, SLACK_SHARE = 1000, 0.02
"""A cache that is fewer rows behind than this is left: reading them at the next start is quicker than writing it all again."""


class Cache:
    """What each part held when it was last written; a part that is missing, damaged or of another database is not used."""

    def __init__(self, folder: Path, database: Database) -> None:
        self._store = FolderArtifacts(folder, verify=True)
        self._database = database
        self._reached: dict[str, int] = {}

    def load_names(self, kind: str, names: SqliteNames) -> bool:
        """Fill a dictionary from the cache if there is one; False when the database contradicts it, and so any cache."""
        arrays, _ = self._load(f"names-{kind}")
        if arrays is None:
            return True
        names.load(arrays)
        if not names.agrees():  # the database is an older one, put back from a copy
            names.reset()
            return False
        self._reached[f"names-{kind}"] = len(names)
        return True

    def save_names(self, kind: str, names: SqliteNames) -> None:
        """Write a dictionary if the cache is well behind."""
        part, n = f"names-{kind}", len(names)
        if n > self._reached.get(part, 0) + SLACK_ROWS + SLACK_SHARE * n or (n and part not in self._reached):
            self._save(part, n, names.arrays())

    def load_columns(self, table: str, load: Callable[[Mapping[str, NDArray[np.generic]]], None]) -> int:
        """Fill columns from the cache; the version they hold, 0 when they have to come from the database."""
        arrays, version = self._load(table)
        if arrays is None:
            return 0
        if version > self._newest(table):
            self.forget(table)  # the database is an older one: its versions will reach this one with other facts
            return 0
        load(arrays)
        self._reached[table] = version
        return version

    def forget(self, *parts: str) -> None:
        """Let go of parts that belong to a database that is no more, so that no later start takes them for true."""
        for part in parts:
            self._store.set_aliases(part, {CURRENT: None})

    def save_columns(self, table: str, version: int, arrays: Callable[[], Arrays]) -> None:
        """Write columns if the cache is well behind."""
        if not version or version == self._reached.get(table):
            return
        count = "SELECT count(*) FROM {} WHERE version > ?"
        behind, total = (
            self._database.reader().execute(count.format(table), (since,)).fetchone()[0]
            for since in (self._reached.get(table, 0), 0)
        )
        if behind > SLACK_ROWS + SLACK_SHARE * total:
            self._save(table, version, arrays())

    def _newest(self, table: str) -> int:
        found = self._database.reader().execute(f"SELECT max(version) FROM {table}").fetchone()[0]
        return int(found or 0)

    def _load(self, part: str) -> tuple[Arrays | None, int]:
        try:
            version = self._store.alias(part, CURRENT)
            if version is None:
                return None, 0
            arrays, facts = self._store.get(part, version, private=True)
        except (Corrupt, NotFound):
            return None, 0
        if facts["database"] != self._database.id or facts["format"] != FORMAT:
            return None, 0
        return arrays, int(str(facts["reached"]))

    def _save(self, part: str, reached: int, arrays: Arrays) -> None:
        facts = {"database": self._database.id, "format": FORMAT, "reached": reached}
        version = self._store.put(part, arrays, facts)
        with suppress(NotFound):  # another process wrote a newer one in between and pruned this one
            self._store.set_aliases(part, {CURRENT: version})
            self._store.prune(part, keep=1)
        self._reached[part] = reached
