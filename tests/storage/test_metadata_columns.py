"""The columns in memory against plain Python models: growth, snapshots, tags, texts and works, in any order of changes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.core.types import MISSING, NO_DAY
from segue.storage.artifacts.folder import FolderArtifacts
from segue.storage.metadata.columns import release_day
from segue.storage.metadata.growable import Growable
from segue.storage.metadata.table import NameTable, pack, unpack
from segue.storage.metadata.tags import TagRows
from segue.storage.metadata.texts import Texts
from segue.storage.metadata.works import Works

rows = st.integers(0, 30)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("1970-01-01", 0), ("1970-01-02T10:00:00Z", 1), ("1969-12-31", -1), ("2000", 10957), ("2000-02", 10988),
        ("2024-02-29", 19782), ("1887-01-01", -30315), (" 2000 ", 10957), ("2000-1-1", 10957),
        ("2023-02-29", NO_DAY), ("2000-13", NO_DAY), ("0000", NO_DAY), ("", NO_DAY), (None, NO_DAY), ("soon", NO_DAY),
        ("20000", NO_DAY), ("-200", NO_DAY), ("2000-00-00", NO_DAY), ("٢٠٠٠", NO_DAY), ("01/02/2000", NO_DAY),
    ],
)  # fmt: skip
def test_release_days(text: str | None, day: int) -> None:
    assert release_day(text) == day


@settings(max_examples=60, deadline=None)
@given(
    start=st.lists(st.integers(-9, 9), max_size=5),
    steps=st.lists(st.tuples(st.sampled_from(["set", "extend", "resize", "overwrite"]), rows, st.integers(-9, 9)), max_size=40),
)
def test_a_snapshot_never_changes_and_the_column_always_follows(start: list[int], steps: list[tuple[str, int, int]]) -> None:
    mapped = np.array(start, np.int32)
    mapped.flags.writeable = False  # as a memory-mapped file is
    column, model = Growable(mapped, 7), list(start)
    held = []
    for what, place, value in steps:
        if what == "set" and model:
            column.set(np.array([place % len(model)]), np.array([value], np.int32))
            model[place % len(model)] = value
        elif what == "extend":
            column.extend(np.array([value, place], np.int32))
            model += [value, place]
        elif what == "resize":
            column.resize(place)
            model += [7] * (place - len(model))
        elif what == "overwrite" and model:
            column.overwrite(place % len(model), np.array([value], np.int32))
            model[place % len(model) :] = [value]
        held.append((column.view(), list(model)))
    assert mapped.tolist() == start
    for view, then in held:
        assert view.tolist() == then
        assert not view.flags.writeable


def test_appending_copies_in_amortised_constant_time() -> None:
    column = Growable(np.zeros(0, np.int64))
    buffers = set()
    for i in range(5000):
        column.extend(np.array([i]))
        view = column.view()
        buffers.add(view.__array_interface__["data"][0])
    assert view.tolist() == list(range(5000))
    assert len(buffers) < 25  # log(5000) growths, though every step handed out a snapshot


def test_an_equal_value_copies_nothing_and_nan_equals_nan() -> None:
    column = Growable(np.array([1.0, np.nan], np.float32))
    before = column.view()
    assert column.set(np.array([0, 1]), np.array([1.0, np.nan], np.float32)).tolist() == [False, False]
    assert column.view().__array_interface__["data"] == before.__array_interface__["data"]
    assert column.set(np.array([1]), np.array([2.0], np.float32)).tolist() == [True]
    assert np.isnan(before[1])


@settings(max_examples=80, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.dictionaries(rows, st.lists(st.integers(0, 5), max_size=4), min_size=1, max_size=5), st.booleans()),
        max_size=25,
    )
)
def test_tags_are_what_was_said_last_and_old_views_stay(steps: list[tuple[dict[int, list[int]], bool]]) -> None:
    table, model, n = TagRows(np.zeros(1, np.int64), np.zeros(0, np.int32)), {}, 0
    held = []
    for change, look in steps:
        flat = np.array([tag for tags in change.values() for tag in tags], np.int32)
        sizes = np.array([len(tags) for tags in change.values()], np.int64)
        table.set(np.array(list(change), np.int64), sizes, flat)
        model.update(change)
        n = max(n, max(change) + 1)
        if look:
            held.append((table.view(n), [model.get(row, []) for row in range(n)]))
    held.append((table.view(n + 3), [model.get(row, []) for row in range(n + 3)]))
    for (ptr, tags), expected in held:
        assert [tags[a:b].tolist() for a, b in pairwise(ptr)] == expected
        assert (ptr[0], ptr[-1]) == (0, len(tags))


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.dictionaries(rows, st.text(max_size=3), max_size=6), max_size=15))
def test_texts_are_what_was_said_last(steps: list[dict[int, str]]) -> None:
    texts, model = Texts(), {}
    for change in steps:
        texts.set(np.array(list(change), np.int32), list(change.values()))
        model.update(change)
        assert texts.get(np.arange(40, dtype=np.int32)) == [model.get(row, "") for row in range(40)]
    again = Texts()
    again.load(texts.arrays())
    again.set(np.array([0], np.int32), ["fresh"])
    assert again.get(np.arange(3, dtype=np.int32)) == ["fresh", model.get(1, ""), model.get(2, "")]


def test_a_text_that_did_not_change_takes_no_room_and_a_giant_is_cut() -> None:
    texts = Texts()
    for _ in range(10):
        texts.set(np.array([0, 1], np.int32), ["same", "x" * (1 << 20)])
    assert len(texts.arrays()["blob"]) == 4 + 10 * (1 << 20)  # the cut one is not what was asked for: kept anew
    assert texts.get(np.array([0, 1], np.int32)) == ["same", "x" * ((1 << 20) - 1)]


@settings(max_examples=120, deadline=None)
@given(steps=st.lists(st.dictionaries(rows, st.sampled_from(["", "a", "b", "c"]), max_size=8), max_size=12), load=st.booleans())
def test_a_work_is_the_smallest_item_of_its_key_in_any_order(steps: list[dict[int, str]], load: bool) -> None:
    works, model = Works(), {}
    works.resize(31)
    for change in steps:
        works.set(np.array(list(change), np.int32), list(change.values()))
        model.update(change)
        first: dict[str, int] = {}
        for row in sorted(model):
            first.setdefault(model[row], row)
        expected = [first[model[row]] if model.get(row) else row for row in range(31)]
        assert works.work.view().tolist() == expected
        if load:
            arrays = works.arrays()
            works = Works()
            works.load(arrays)


def test_names_with_equal_hashes_are_told_apart() -> None:
    """One slot more than names, so that probes run into each other; every name has its own bytes."""
    table = NameTable()
    many = [f"{i:x}" for i in range(3000)]
    for start in range(0, 3000, 7):
        table.append(many[start : start + 7])
    assert table.find(many).tolist() == list(range(3000))
    assert table.find([name + "!" for name in many]).tolist() == [MISSING] * 3000
    assert [table.one(i) for i in (0, 17, 2999)] == [many[i] for i in (0, 17, 2999)]


def test_a_forged_hash_collision_is_still_another_name() -> None:
    table = NameTable()
    table.append(["known"])
    arrays = {name: array.copy() for name, array in table.arrays().items()}
    arrays["blob"][0] = ord("K")  # the slot still says "known", the bytes do not
    assert NameTable().load(arrays).find(["known", "Known"]).tolist() == [MISSING, MISSING]


def test_a_loaded_table_leaves_its_file_alone() -> None:
    table = NameTable()
    table.append(["a", "b"])
    arrays = table.arrays()
    before = {name: array.tobytes() for name, array in arrays.items()}
    for array in arrays.values():
        array.flags.writeable = False
    again = NameTable().load(arrays)
    again.append(["c"])
    assert again.find(["a", "b", "c"]).tolist() == [0, 1, 2]
    assert {name: array.tobytes() for name, array in arrays.items()} == before
    assert table.find(["c"]).tolist() == [MISSING]


def test_a_table_in_private_pages_grows_without_a_copy_and_the_file_never_sees_it(tmp_path: Path) -> None:
    store, table = FolderArtifacts(tmp_path, verify=True), NameTable()
    table.append([f"old {i}" for i in range(100)])
    version = store.put("names", table.arrays(), {})
    arrays, _ = store.get("names", version, private=True)
    grown = NameTable().load(arrays)
    grown.append(["new"])
    assert grown.find(["old 7", "new"]).tolist() == [7, 100]
    assert all(
        np.shares_memory(array, arrays[name]) for name, array in zip(("slots", "ends", "blob"), grown._seen, strict=True)
    )
    grown.append([f"more {i}" for i in range(5000)])  # more than there is room for
    assert grown.find(["old 7", "new", "more 4999"]).tolist() == [7, 100, 5100]
    again = NameTable().load(store.get("names", version)[0])
    assert len(again) == 100
    assert again.find(["old 99", "new"]).tolist() == [99, MISSING]


@given(st.lists(st.text(st.characters(), max_size=5)))
def test_packing_keeps_every_text(names: list[str]) -> None:
    blob, ends = pack(names)
    assert unpack(blob, [0, *ends.tolist()][:-1], ends.tolist()) == names
