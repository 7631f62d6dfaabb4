"""Vectors in files: torn tails, damaged rows, killed writers, the index and its recall, rows written anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segue.core.types import MISSING
from segue.storage.vectors import file
from segue.storage.vectors.cells import Cells
from segue.storage.vectors.file import ExactVectors, FileVectors

D = 8
ROW = 8 + 4 * D


def some(n: int, d: int = D, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def clustered(n: int, d: int = 16, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).standard_normal((60, d))
    return (centers[rng.integers(0, 60, n)] + 0.5 * rng.standard_normal((n, d))).astype(np.float32)


def ids(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.int32)


def the_file(folder: Path) -> Path:
    return next(folder.glob("*/rows"))


@pytest.mark.parametrize("cut", [1, ROW - 1, ROW, ROW + 3])
def test_a_torn_tail_is_left_out_and_written_over(tmp_path: Path, cut: int) -> None:
    FileVectors(tmp_path).put("a", ids(5), some(5))
    with the_file(tmp_path).open("r+b") as file:
        file.truncate(5 * ROW - cut)
    kept = 5 - -(-cut // ROW)
    store = FileVectors(tmp_path)
    assert len(store) == kept
    assert store.check() == []
    store.put("a", np.array([9], np.int32), some(1, seed=4))
    again = FileVectors(tmp_path)
    assert len(again) == kept + 1
    assert np.array_equal(again.get(ids(kept)), store.get(ids(kept)))
    assert the_file(tmp_path).stat().st_size == (kept + 1) * ROW


def test_pages_that_never_reached_the_disk_are_left_out(tmp_path: Path) -> None:
    FileVectors(tmp_path).put("a", ids(3), some(3))
    with the_file(tmp_path).open("ab") as file:
        file.write(bytes(10 * ROW))
    store = FileVectors(tmp_path)
    assert len(store) == 3
    assert store.check() == []


@pytest.mark.parametrize("byte", [0, 5, 8, ROW - 1])
def test_a_damaged_row_is_passed_over_and_told(tmp_path: Path, byte: int) -> None:
    FileVectors(tmp_path).put("a", ids(5), some(5))
    with the_file(tmp_path).open("r+b") as file:
        file.seek(2 * ROW + byte)
        old = file.read(1)[0]
        file.seek(2 * ROW + byte)
        file.write(bytes([old ^ 0x10]))
    store = FileVectors(tmp_path)
    assert len(store) == 4
    assert np.isnan(store.get(np.array([2], np.int32))).all()
    assert "1 rows are damaged" in store.check()[0]
    store.put("a", np.array([2], np.int32), some(1))
    assert len(FileVectors(tmp_path)) == 5


WRITER = """
import sys
from pathlib import Path
import numpy as np
from segue.storage.vectors.file import FileVectors
store = FileVectors(Path(sys.argv[1]), dead_rows=50)
first, rng = int(sys.argv[2]), np.random.default_rng(0)
while True:
    n = int(rng.integers(1, 40))
    items = (first + np.arange(n)).astype(np.int32)
    version = "ab"[int(rng.integers(2))]
    rows = np.repeat(items[:, None].astype(np.float32), 8, 1) + np.arange(8, dtype=np.float32) ** 2
    store.put(version, items, rows)
    store.put("again", items[:3] % 20, rows[:3])
    print(version, first, n, flush=True)
    first += n
"""


def test_kill_9_at_any_moment_loses_nothing_acknowledged(tmp_path: Path) -> None:
    first, said = 0, []
    for turn in range(4):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(first)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        said.append(child.stdout.readline().split())  # it is at work
        time.sleep(0.01 * turn)
        os.kill(child.pid, signal.SIGKILL)
        said += [line.split() for line in child.communicate()[0].splitlines() if line.count(" ") == 2]
        first = 1_000_000 * (turn + 1)
    store = FileVectors(tmp_path)
    assert store.check() == []
    for version, start, n in said:
        items = (int(start) + np.arange(int(n))).astype(np.int32)
        rows = np.repeat(items[:, None].astype(np.float64), 8, 1) + np.arange(8) ** 2
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        assert np.allclose(store.get(items, version), rows, atol=1e-5)
    assert not np.isnan(store.get(ids(1), "again")).any()


def test_the_file_is_written_anew_when_most_rows_are_nobodys(tmp_path: Path) -> None:
    store, reader = FileVectors(tmp_path, dead_rows=100), FileVectors(tmp_path)
    for turn in range(8):
        store.put("a", ids(60), some(60, seed=turn))
        reader.refresh()
        assert np.array_equal(reader.get(ids(60)), store.get(ids(60)))
    assert the_file(tmp_path).stat().st_size < 300 * ROW
    assert len(list(tmp_path.glob("*/rows"))) == 1
    again = FileVectors(tmp_path)
    assert len(again) == 60
    assert np.array_equal(again.get(ids(60)), store.get(ids(60)))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    store = FileVectors(folder, index_above=5000, tail=500)
    store.put("a", ids(12_000), clustered(12_000))
    store.close()
    return folder


def test_a_large_store_holds_the_recall_it_promises(large: Path) -> None:
    store = FileVectors(large, index_above=5000, tail=500)
    measured = store.measured()
    assert measured["vectors"] == 12_000
    assert measured["recall"] >= 0.97
    assert measured["budget"] < 12_000
    queries = clustered(200, seed=5)
    near, exact = store.search(queries, 100)[0], ExactVectors(large).search(queries, 100)[0]
    found = np.mean([len(np.intersect1d(a, b)) / 100 for a, b in zip(near, exact, strict=True)])
    assert found >= 0.95


def test_an_index_knows_what_was_put_replaced_and_removed_since(large: Path) -> None:
    store = FileVectors(large, index_above=5000, tail=500)
    fresh = some(2, 16, seed=8)
    store.put("a", np.array([50_000, 77], np.int32), fresh)  # new, and moved to elsewhere
    near, scores = store.search(fresh, 1)
    assert near.tolist() == [[50_000], [77]]
    assert np.allclose(scores[:, 0], np.linalg.norm(fresh, axis=1), rtol=1e-5)
    assert 77 not in store.search(clustered(12_000)[77:78], 50)[0]
    store.remove(np.array([50_000], np.int32))
    assert 50_000 not in store.search(fresh, 50)[0]
    again = FileVectors(large, index_above=5000, tail=500)
    assert np.array_equal(again.search(fresh, 20)[0], store.search(fresh, 20)[0])


def test_an_index_is_built_anew_when_the_tail_is_long_and_found_by_others(large: Path) -> None:
    store, reader = (FileVectors(large, index_above=5000, tail=500) for _ in range(2))
    rows = clustered(600, seed=6)
    store.put("a", 60_000 + ids(600), rows)
    store.settle()
    assert store.measured()["vectors"] >= 12_600
    reader.refresh()
    assert reader.measured() == store.measured()
    assert np.array_equal(reader.search(rows[:5], 10)[0], store.search(rows[:5], 10)[0])
    assert (store.search(rows[:50], 1)[0][:, 0] == 60_000 + ids(50)).mean() > 0.9


def held_builds(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """(a build was asked for, builds may go on): until then each one waits."""
    build, asked, go = file.build, threading.Event(), threading.Event()

    def slow(*given: Any) -> Any:
        asked.set()
        assert go.wait(30)
        return build(*given)

    monkeypatch.setattr(file, "build", slow)
    return asked, go


def test_what_is_put_while_an_index_is_built_is_indexed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, go = held_builds(monkeypatch)
    store = FileVectors(tmp_path, index_above=50, tail=10)
    store.put("a", ids(60), some(60))
    assert asked.wait(30)
    store.put("a", 60 + ids(140), some(140, seed=1))  # the builder is at work over 60 rows
    store.put("b", ids(300), some(300))
    go.set()
    store.settle()
    assert store.measured()["vectors"] == 200
    store.use("b")
    assert store.measured()["vectors"] == 300


def test_a_version_written_anew_while_its_index_is_built_gets_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, go = held_builds(monkeypatch)
    store = FileVectors(tmp_path, index_above=50, tail=10, dead_rows=100)
    store.put("a", ids(200), some(200))
    assert asked.wait(30)
    before = the_file(tmp_path)
    store.put("a", ids(200), some(200, seed=1))
    store.put("a", ids(200), some(200, seed=2))
    assert not before.exists(), "most rows were nobody's"
    go.set()
    store.settle()
    assert store.measured()["vectors"] == 200


def test_an_index_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = set[str]()
    fsync = os.fsync

    def seen(handle: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", seen)
    store = FileVectors(tmp_path, index_above=50, tail=10)
    store.put("a", ids(60), some(60))
    store.settle()
    (index,) = tmp_path.glob("*/cells-*")
    assert {path.name for path in index.iterdir()} <= {Path(name).name for name in synced if f"{index.name}." in name}


def test_what_serves_is_never_mixed_with_what_is_about_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileVectors(tmp_path)
    store.put("a", ids(3), some(3, 4))
    store.put("b", ids(3), some(3, 8))
    publish, between = store._publish, []

    def published() -> None:  # a request comes between the word on disk and what searches see
        between.append((store.version, store.dimension, store.get(ids(1), "b").shape, store.get(ids(1), "a").shape))
        publish()

    monkeypatch.setattr(store, "_publish", published)
    store.use("b")
    assert between == [("a", 4, (1, 8), (1, 4))]
    assert (store.version, store.dimension) == ("b", 8)


def test_who_reads_never_searches_new_rows_by_the_index_of_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by random operations of two processes against a dictionary: wrong songs, or none of that dimension."""
    store, reader = (FileVectors(tmp_path, index_above=50, tail=10, dead_rows=100) for _ in range(2))
    store.put("a", ids(200), some(200))
    store.settle()
    reader.refresh()
    assert reader.measured()["vectors"] == 200
    asked, go = held_builds(monkeypatch)
    store.put("a", ids(200), some(200, seed=1))
    store.put("a", ids(200), some(200, seed=2))  # most rows were nobody's: they were written anew
    assert asked.wait(30)
    queries = some(5, seed=3)
    wanted = ExactVectors(tmp_path).search(queries, 10)
    reader.refresh()
    assert np.array_equal(reader.search(queries, 10)[0], wanted[0])
    go.set()
    store.settle()


def test_two_processes_that_build_one_index_do_not_write_into_each_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FileVectors(tmp_path).put("a", ids(200), some(200))
    one, other = (FileVectors(tmp_path, index_above=50, tail=10) for _ in range(2))
    sync, met = file.sync_file, list[str]()

    def meanwhile(out: Any) -> None:
        met.append(out.name)
        if len(met) == 1:
            thread = threading.Thread(target=other._build, args=("a",))
            thread.start()
            thread.join()
        assert Path(out.name).exists()
        sync(out)

    monkeypatch.setattr(file, "sync_file", meanwhile)
    one._build("a")
    assert len(met) == 2 * len(Cells._fields)
    assert one.measured() == other.measured() != {}
    assert [path.suffix for path in tmp_path.glob("*/cells-*")] == [""], "no draft is left"


def test_random_operations_of_two_processes_are_those_of_a_dictionary(tmp_path: Path) -> None:
    for seed in range(4):
        rng, folder = np.random.default_rng(seed), tmp_path / str(seed)
        stores = [FileVectors(folder, index_above=20, tail=5, dead_rows=5) for _ in range(2)]
        truth: dict[str, dict[int, np.ndarray]] = {}
        for _ in range(40):
            store, version = stores[rng.integers(2)], "abc"[rng.integers(3)]
            kind = rng.choice(["put", "put", "put", "remove", "use", "drop"])
            names = rng.integers(0, 80, rng.integers(1, 40)).astype(np.int32)
            if kind == "put":
                d = next((len(row) for row in truth.get(version, {}).values()), int(rng.integers(2, 6)))
                if version in truth and not truth[version]:
                    continue  # nothing tells its dimension any more
                rows = rng.standard_normal((len(names), d)).astype(np.float32)
                store.put(version, names, rows)
                truth.setdefault(version, {}).update(zip(names.tolist(), rows, strict=True))
            elif kind == "remove":
                store.remove(names)
                truth = {one: {i: row for i, row in rows.items() if i not in names} for one, rows in truth.items()}
            elif kind == "use" and version in truth:
                store.use(version)
            elif kind == "drop" and version in truth and version != store.version:
                stores[0].refresh(), stores[1].refresh()
                if version != store.version:
                    store.drop(version)
                    del truth[version]
            for each in stores:
                each.refresh()
                if not (mine := truth.get(each.version)):
                    continue
                have = np.array(sorted(mine), np.int32)
                rows = np.stack([mine[i] for i in have.tolist()])
                query = rng.standard_normal((1, rows.shape[1])).astype(np.float32)
                scores = (rows / np.linalg.norm(rows, axis=1, keepdims=True)) @ query[0]
                found = each.search(query, 7)
                assert np.allclose(found[1][0][: len(have)], np.sort(scores)[::-1][:7], atol=1e-5)
        for each in stores:
            each.close()
            assert each.check() == []


def test_a_broken_index_is_no_index(large: Path, tmp_path: Path) -> None:
    store = FileVectors(tmp_path, index_above=100, tail=50)
    store.put("a", ids(400), clustered(400))
    store.close()
    for path in tmp_path.glob("*/cells-*/rows.npy"):
        path.write_bytes(b"not numpy")
    again = FileVectors(tmp_path, index_above=100, tail=50)
    assert again.measured() == {}
    queries = clustered(5, seed=3)
    assert np.array_equal(again.search(queries, 20)[0], ExactVectors(tmp_path).search(queries, 20)[0])
    assert MISSING not in again.search(queries, 20)[0]
