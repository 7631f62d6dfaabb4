"""Recordings on disk: durable when bound, read back to the bit, damage told from music."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segue.core.records import SongFile
from segue.storage.recordings.sqlite import SqliteRecordings


def numbers(seed: int, rows: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, 7)).astype(np.float16)


def file(path: bytes, item: str, folder: bytes = b"/m") -> SongFile:
    return SongFile(path, folder, 10, 20, item, "audio/mpeg")


def test_what_was_bound_is_there_for_others_and_after_a_crash(tmp_path: Path) -> None:
    store, other = (SqliteRecordings(tmp_path, version=2, pack_bytes=300) for _ in range(2))
    for seed in range(20):  # several packs, written by two
        (store, other)[seed % 2].keep(f"d{seed}", 3.0, numbers(seed, 1 + seed))
    store.bind([(f"i{seed}", f"d{seed}") for seed in range(0, 20, 2)])
    assert not store.heard("d1"), "kept by the other, and not bound yet"
    other.bind([(f"i{seed}", f"d{seed}") for seed in range(1, 20, 2)])
    with_crash = SqliteRecordings(tmp_path, version=2)
    with_crash.keep("lost", 3.0, numbers(99))  # never bound: as if it had died here
    reader = SqliteRecordings(tmp_path, version=2)
    assert len(list(tmp_path.glob("pack-*"))) > 2
    assert not reader.heard("lost")
    assert len(reader) == 20
    for seed in range(20):
        np.testing.assert_array_equal(reader.statistics(f"d{seed}"), numbers(seed, 1 + seed))
        assert reader.items_of(f"d{seed}") == [f"i{seed}"]
    assert sorted(pair for chunk in reader.bound() for pair in chunk) == sorted((f"i{s}", f"d{s}") for s in range(20))
    for each in (store, other, with_crash, reader):
        each.close()


def test_statistics_of_another_version_are_heard_anew(tmp_path: Path) -> None:
    old = SqliteRecordings(tmp_path, version=1)
    old.keep("d", 3.0, numbers(1))
    old.bind([("i", "d")])
    assert (old.unheard(["i", "nobody"]), list(old.all_unheard()), len(old)) == (set(), [], 1)
    new = SqliteRecordings(tmp_path, version=2)
    assert (new.unheard(["i", "nobody"]), list(new.all_unheard())) == ({"i"}, [[("i", "d")]])
    assert (new.heard("d"), len(new), new.statistics("d")) == (False, 0, None)
    new.keep("d", 3.0, numbers(2))
    new.bind([("i", "d")])
    assert (new.unheard(["i"]), list(new.all_unheard())) == (set(), [])
    np.testing.assert_array_equal(new.statistics("d"), numbers(2))
    old.close()
    new.close()


@pytest.mark.parametrize("how", ["flip", "cut"])
def test_damage_is_no_music(tmp_path: Path, how: str) -> None:
    store = SqliteRecordings(tmp_path, version=1)
    store.keep("d", 3.0, numbers(1))
    store.bind([("i", "d")])
    pack = next(tmp_path.glob("pack-*"))
    data = bytearray(pack.read_bytes())
    data[9] ^= 1
    pack.write_bytes(data if how == "flip" else data[:20])
    assert store.statistics("d") is None
    store.close()


def test_files_come_move_and_go(tmp_path: Path) -> None:
    store = SqliteRecordings(tmp_path, version=1)
    strange = b"/m/\xff\xfe.mp3"  # names need be no text
    store.note([file(b"/m/a", "x"), file(b"/m/b", "x"), file(strange, "y"), file(b"/n/c", "z", b"/n")])
    assert list(store.within(b"/m")) == [b"/m/a", b"/m/b", strange]
    assert [found and found.item for found in store.files([strange, b"/m/none"])] == ["y", None]
    assert store.forget([b"/m/a", strange]) == ["y"], "x is in another file still"
    assert [found.path for found in store.files_of("x")] == [b"/m/b"]
    store.note([file(b"/m/b", "w")])
    assert store.files_of("x") == []
    store.add_folder(b"/m")
    store.add_folder(b"/m")
    assert store.folders() == [b"/m"]
    store.close()
