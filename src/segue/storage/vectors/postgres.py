"""Vectors in PostgreSQL with pgvector: one table a version, for services whose processes share no disk."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np
import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from segue.core.errors import BadInput, NotFound, NotReady
from segue.core.types import MISSING, Float32, Int32
from segue.storage.vectors.checked import as_items, as_queries, as_vectors

SCHEMA = (
    "CREATE EXTENSION IF NOT EXISTS vector",
    "CREATE TABLE IF NOT EXISTS segue_vectors(version text PRIMARY KEY, number int GENERATED ALWAYS AS IDENTITY, "
    "dimension int NOT NULL, items bigint NOT NULL DEFAULT 0, serving boolean NOT NULL DEFAULT false)",
)
MOST_CANDIDATES = 1000
"""The most that pgvector's hnsw.ef_search may be."""
MOST_INDEXED = 2000
"""Numbers in a vector that pgvector indexes at most; longer ones are all looked at, however many there are."""
MOST_MEMORY = 1 << 30
EDGES_BYTES = 1000
"""What building an index may take on the server; of a song's place in the graph, beyond its vector."""
LOCK = 0x5E60E
"""The advisory lock of those who write."""


class _Space(msgspec.Struct, frozen=True):
    version: str
    number: int
    dimension: int
    items: int
    serving: bool

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier(f"segue_vectors_{self.number}")


class PostgresVectors:
    """Vectors behind a postgres:// URL; the extension `vector` must be installed on the server (0.5 or newer).

    A put is one transaction: all of its rows or none. Up to `index_above` items every search looks at all of them; the put that
    crosses this line builds an HNSW index (Malkov and Yashunin 2018) and waits for it, and from then on searches are
    approximate, with `ef_search` candidates (or twice the limit). A search is a round trip: not asked where the request runs.
    """

    at_once = False

    def __init__(self, url: str, *, index_above: int = 50_000, ef_search: int = 400) -> None:
        self._url, self._index_above, self.ef_search = url, index_above, ef_search
        self._lock = threading.Lock()
        self._idle: list[psycopg.Connection[Any]] = []
        self._spaces: list[_Space] = []
        with self._writing() as connection:
            for statement in SCHEMA:
                connection.execute(statement)
        self.refresh()

    @property
    def version(self) -> str:
        """The version that serves."""
        space = self._serving()
        return space.version if space else ""

    @property
    def dimension(self) -> int:
        """Numbers in a vector of it."""
        space = self._serving()
        return space.dimension if space else 0

    def __len__(self) -> int:
        space = self._serving()
        return space.items if space else 0

    def versions(self) -> list[str]:
        """In the order of their first put."""
        return [space.version for space in self._spaces]

    def put(self, version: str, items: Int32, vectors: Float32) -> None:
        """See core.ports.Vectors."""
        items = as_items(items)
        vectors = as_vectors(vectors, len(items))
        if not version:
            raise BadInput("a version needs a name", "version")
        last = len(items) - 1 - np.unique(items[::-1], return_index=True)[1]
        with self._writing() as connection:
            space = self._space(version)
            if space is None:
                space = self._found(connection, version, vectors.shape[1])
            if space.dimension != vectors.shape[1]:
                raise BadInput(
                    f"vectors of {version!r} have {space.dimension} numbers, found {vectors.shape[1]}: name another version"
                )
            fresh = _upsert(connection, space, items[last], vectors[last]) if len(items) else 0
            connection.execute("UPDATE segue_vectors SET items = items + %s WHERE version = %s", (fresh, version))
            if space.items <= self._index_above < space.items + fresh and space.dimension <= MOST_INDEXED:
                _index(connection, space, space.items + fresh)
            self._read(connection)

    def remove(self, items: Int32) -> None:
        """See core.ports.Vectors."""
        items = as_items(items)
        with self._writing() as connection:
            for space in self._spaces:
                gone = connection.execute(
                    sql.SQL("DELETE FROM {} WHERE item = ANY(%s)").format(space.table), (items.tolist(),)
                ).rowcount
                connection.execute("UPDATE segue_vectors SET items = items - %s WHERE version = %s", (gone, space.version))
            self._read(connection)

    def use(self, version: str) -> None:
        """See core.ports.Vectors."""
        with self._writing() as connection:
            if self._space(version) is None:
                raise NotFound(f"no vectors of version {version!r}: {self.versions()} are known")
            connection.execute("UPDATE segue_vectors SET serving = (version = %s)", (version,))
            self._read(connection)

    def drop(self, version: str) -> None:
        """See core.ports.Vectors."""
        with self._writing() as connection:
            space = self._space(version)
            if space is None:
                return
            if space.serving:
                raise BadInput(f"version {version!r} serves: use another one first")
            connection.execute(sql.SQL("DROP TABLE {}").format(space.table))
            connection.execute("DELETE FROM segue_vectors WHERE version = %s", (version,))
            self._read(connection)

    def get(self, items: Int32, version: str | None = None) -> Float32:
        """See core.ports.Vectors."""
        items = np.asarray(items, np.int32)
        space = self._serving() if version is None else self._space(version)
        out = np.full((len(items), space.dimension if space else 0), np.nan, np.float32)
        if space is None or not len(items):
            return out
        query = sql.SQL("SELECT item, vector::float4[] FROM {} WHERE item = ANY(%s)").format(space.table)
        with self._leased() as connection:
            known = dict(connection.execute(query, (items.tolist(),), binary=True).fetchall())
        for row, item in enumerate(items.tolist()):
            if item in known:
                out[row] = known[item]
        return out

    def search(self, queries: Float32, limit: int) -> tuple[Int32, Float32]:
        """See core.ports.Vectors; exact up to `index_above` items."""
        space = self._serving()
        queries = as_queries(queries, space.dimension if space else 0)
        ids = np.full((len(queries), max(limit, 0)), MISSING, np.int32)
        scores = np.full(ids.shape, -np.inf, np.float32)
        if space is None or not ids.size:
            return ids, scores
        # vectors have unit length, so the inner product orders as the cosine does, and a silent song has 0, not NaN
        statement = sql.SQL(
            "SELECT item, -(vector <#> %(query)s::vector) FROM {} ORDER BY vector <#> %(query)s::vector, item LIMIT %(limit)s"
        ).format(space.table)
        with self._leased() as connection, connection.transaction():
            tried = min(MOST_CANDIDATES, max(self.ef_search, 2 * limit))
            connection.execute(sql.SQL("SET LOCAL hnsw.ef_search = {}").format(sql.Literal(tried)))
            for row, query in enumerate(queries):
                found = connection.execute(statement, {"query": _text(query), "limit": limit}).fetchall()
                if found:
                    best = np.array(found, np.float64)
                    best = best[np.lexsort((best[:, 0], -best[:, 1].astype(np.float32)))]
                    ids[row, : len(best)], scores[row, : len(best)] = best[:, 0], best[:, 1]
        return ids, scores

    def refresh(self) -> None:
        """See core.ports.Vectors: one small question."""
        with self._leased() as connection:
            self._read(connection)

    def check(self) -> list[str]:
        """See core.ports.Vectors: PostgreSQL keeps its own checksums; this counts what the list of versions promises."""
        wrong = []
        with self._leased() as connection:
            self._read(connection)
            for space in self._spaces:
                found = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(space.table)).fetchone()
                if found is None or found[0] != space.items:
                    wrong.append(f"vectors of {space.version!r}: {space.items} are listed, {found and found[0]} are there")
        return wrong

    def stored_bytes(self) -> int:
        """What the vectors that serve and their indexes take on the server."""
        space = self._serving()
        if space is None:
            return 0
        asked = sql.SQL("SELECT pg_total_relation_size({}::regclass)").format(sql.Literal(f"segue_vectors_{space.number}"))
        with self._leased() as connection:
            found = connection.execute(asked).fetchone()
        return int(found[0]) if found else 0

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def _serving(self) -> _Space | None:
        return next((space for space in self._spaces if space.serving), None)

    def _space(self, version: str) -> _Space | None:
        return next((space for space in self._spaces if space.version == version), None)

    @contextmanager
    def _leased(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection that works, for one use: there are as many as threads ask at once, however many threads come and go.

        NotReady, with what the server says, where it cannot be reached or fails.
        """
        connection = self._taken()
        try:
            yield connection
        except psycopg.OperationalError as error:
            raise NotReady(f"storage.vectors: PostgreSQL fails: {error}") from error
        finally:
            if not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE:
                with self._lock:
                    self._idle.append(connection)
            else:
                connection.close()

    def _taken(self) -> psycopg.Connection[Any]:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                break
            if _is_alive(connection):
                return connection
            connection.close()
        try:
            return psycopg.connect(self._url, autocommit=True, connect_timeout=10)
        except psycopg.OperationalError as error:
            raise NotReady(f"storage.vectors: PostgreSQL cannot be reached: {error}") from error

    @contextmanager
    def _writing(self) -> Iterator[psycopg.Connection[Any]]:
        """A transaction, alone among writers, that knows what they did."""
        with self._leased() as connection:
            try:
                with connection.transaction():
                    connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
                    if connection.execute("SELECT to_regclass('segue_vectors')").fetchone() != (None,):
                        self._read(connection)
                    yield connection
            except BaseException:
                if not connection.closed and connection.execute("SELECT to_regclass('segue_vectors')").fetchone() != (None,):
                    self._read(connection)  # what a transaction that failed had read of itself
                raise

    def _read(self, connection: psycopg.Connection[Any]) -> None:
        rows = connection.execute("SELECT version, number, dimension, items, serving FROM segue_vectors ORDER BY number")
        self._spaces = [_Space(*row) for row in rows.fetchall()]

    def _found(self, connection: psycopg.Connection[Any], version: str, dimension: int) -> _Space:
        """Begin a version; the first one serves."""
        connection.execute(
            "INSERT INTO segue_vectors(version, dimension, serving) "
            "SELECT %s, %s, NOT EXISTS (SELECT 1 FROM segue_vectors WHERE serving)",
            (version, dimension),
        )
        self._read(connection)
        space = self._space(version)
        assert space is not None
        columns = sql.SQL("CREATE TABLE {} (item int PRIMARY KEY, vector vector({}) NOT NULL)")
        connection.execute(columns.format(space.table, sql.Literal(dimension)))
        return space


def _is_alive(connection: psycopg.Connection[Any]) -> bool:
    """Whether an idle connection works; one on which the server has said nothing since is not asked."""
    if connection.closed:
        return False
    if not select.select([connection.fileno()], [], [], 0)[0]:
        return True
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def _index(connection: psycopg.Connection[Any], space: _Space, items: int) -> None:
    """Build the HNSW index. A graph that does not fit into maintenance_work_mem (64 MB unless the server says otherwise) takes
    several times as long, so a build of ours may have up to MOST_MEMORY, in one process: several would share /dev/shm.
    """
    found = connection.execute("SELECT pg_size_bytes(current_setting('maintenance_work_mem'))").fetchone()
    needed = min(MOST_MEMORY, items * (4 * space.dimension + EDGES_BYTES))
    if found is not None and needed > found[0]:
        connection.execute(sql.SQL("SET LOCAL maintenance_work_mem = {}").format(sql.Literal(f"{needed >> 10}kB")))
        connection.execute("SET LOCAL max_parallel_maintenance_workers = 0")
    name = sql.Identifier(f"segue_vectors_{space.number}_hnsw")
    query = sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} USING hnsw (vector vector_ip_ops)")
    connection.execute(query.format(name, space.table))


def _upsert(connection: psycopg.Connection[Any], space: _Space, items: Int32, vectors: Float32) -> int:
    """Store distinct items by COPY through a temporary table; how many were not there before."""
    connection.execute("CREATE TEMP TABLE incoming (item int, vector vector) ON COMMIT DROP")
    with connection.cursor().copy("COPY incoming (item, vector) FROM STDIN") as copy:
        for item, vector in zip(items.tolist(), vectors, strict=True):
            copy.write_row((item, _text(vector)))
    statement = sql.SQL(
        "WITH stored AS (INSERT INTO {} AS t SELECT item, vector FROM incoming ORDER BY item "
        "ON CONFLICT (item) DO UPDATE SET vector = excluded.vector RETURNING (t.xmax = 0) AS fresh) "
        "SELECT count(*) FILTER (WHERE fresh) FROM stored"
    )
    found = connection.execute(statement.format(space.table)).fetchone()
    return int(found[0]) if found else 0


def _text(vector: Float32) -> str:
    """As pgvector reads it; nine digits give back every float32."""
    return "[" + ",".join(format(value, ".9g") for value in vector.tolist()) + "]"
