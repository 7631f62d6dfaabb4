"""Every dictionary of names keeps the promises of core.ports.Names: the suite finds the implementations by itself."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import segue.storage
from segue.core.errors import NotFound
from segue.core.ports import Names
from segue.core.types import MISSING
from segue.storage.metadata.database import Database
from segue.storage.metadata.names import SqliteNames

Open = Callable[[Path], AbstractContextManager[Names]]


@contextmanager
def sqlite_names(folder: Path):
    with closing(Database(folder / "names.db")) as database:
        names = SqliteNames(database, 3)
        database.on_change(names.take_in)
        database.refresh()
        yield names


MAKERS: dict[str, Open] = {"SqliteNames": sqlite_names}


def implementations() -> list[str]:
    found = set()
    for module in pkgutil.walk_packages(segue.storage.__path__, "segue.storage."):
        for name, thing in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            promised = ("intern", "find", "name", "all", "__len__")
            if thing.__module__ == module.name and all(callable(getattr(thing, method, None)) for method in promised):
                found.add(name)
    return sorted(found)


@pytest.fixture(params=implementations())
def opened(request: pytest.FixtureRequest) -> Open:
    assert request.param in MAKERS, f"{request.param} keeps names: tell MAKERS how to open one in a folder"
    return MAKERS[request.param]


def test_ids_are_dense_in_order_of_first_appearance(opened: Open, tmp_path: Path) -> None:
    with opened(tmp_path) as names:
        assert names.intern(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]
        assert names.intern(["c", "d", "a"]).tolist() == [2, 3, 1]
        assert len(names) == 4
        assert names.intern([]).dtype == names.find([]).dtype == np.int32
        assert names.find(["d", "nobody", "b"]).tolist() == [3, MISSING, 0]
        assert names.all(np.array([3, 0, 3], np.int32)) == ["d", "b", "d"]
        assert names.name(1) == "a"


@pytest.mark.parametrize("dense", [-1, 1, 1_000_000])
def test_an_id_never_given_is_not_found(opened: Open, tmp_path: Path, dense: int) -> None:
    with opened(tmp_path) as names:
        names.intern(["only"])
        with pytest.raises(NotFound):
            names.name(dense)
        with pytest.raises(NotFound):
            names.all(np.array([0, dense], np.int32))


def test_any_text_is_a_name_of_its_own(opened: Open, tmp_path: Path) -> None:
    odd = ["", " ", "\x00", "a", "a\x00", "é", "e\u0301", "日本", "\ud800", "🎵", "x" * 10_000, "'; DROP TABLE names; --"]
    with opened(tmp_path) as names:
        assert names.intern(odd).tolist() == list(range(len(odd)))
        assert names.all(np.arange(len(odd), dtype=np.int32)) == odd
    with opened(tmp_path) as names:
        assert names.find(odd).tolist() == list(range(len(odd)))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(st.text(max_size=4), max_size=30), max_size=6))
def test_it_is_a_dictionary(opened: Open, tmp_path_factory: pytest.TempPathFactory, batches: list[list[str]]) -> None:
    model: dict[str, int] = {}
    folder = tmp_path_factory.mktemp("names")
    with opened(folder) as names:
        for batch in batches:
            expected = [model.setdefault(name, len(model)) for name in batch]
            assert names.intern(batch).tolist() == expected
        assert names.find(list(model)).tolist() == list(model.values())
    with opened(folder) as names:
        assert len(names) == len(model)
        assert names.all(np.arange(len(model), dtype=np.int32)) == list(model)


def test_many_names_keep_their_ids_while_it_grows(opened: Open, tmp_path: Path) -> None:
    many = [f"name {i * 7919 % 20_011}" for i in range(20_011)]
    with opened(tmp_path) as names:
        for start in range(0, len(many), 997):
            assert names.intern(many[start : start + 997])[0] == start
        assert np.array_equal(names.find(many), np.arange(len(many)))


def test_two_who_have_it_open_never_give_one_id_twice(opened: Open, tmp_path: Path) -> None:
    with opened(tmp_path) as one, opened(tmp_path) as other:
        one.intern(["a", "b"])
        assert other.intern(["c", "b"]).tolist() == [2, 1]
        assert one.intern(["d", "c"]).tolist() == [3, 2]
        assert other.intern(["d"]).tolist() == [3]


def test_readers_see_only_whole_names_while_another_thread_adds(opened: Open, tmp_path: Path) -> None:
    wrong: list[str] = []
    with opened(tmp_path) as names:
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                n = len(names)
                if n and names.all(np.array([0, n - 1], np.int32)) != ["n0", f"n{n - 1}"]:
                    wrong.append(f"name {n - 1}")
                found = names.find([f"n{i}" for i in range(max(n - 50, 0), n)])
                if found.tolist() != list(range(max(n - 50, 0), n)):
                    wrong.append(f"find below {n}")

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for start in range(0, 6000, 60):
            names.intern([f"n{i}" for i in range(start, start + 60)])
        done.set()
        for reader in readers:
            reader.join()
    assert wrong == []


def test_threads_that_add_the_same_names_agree(opened: Open, tmp_path: Path) -> None:
    given: dict[int, list[int]] = {}
    wanted = [f"n{i}" for i in range(200)]
    with opened(tmp_path) as names:

        def add(seed: int) -> None:
            order = np.random.default_rng(seed).permutation(200)
            ids = np.concatenate([names.intern([wanted[i] for i in part]) for part in np.array_split(order, 20)])
            given[seed] = ids[np.argsort(order)].tolist()

        threads = [threading.Thread(target=add, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(names) == 200
        assert sorted(given[0]) == list(range(200))
        assert given[0] == given[1] == given[2] == given[3]
