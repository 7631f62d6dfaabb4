"""The kernels under the neighbour sources agree with plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.candidates._sparse import frozen, group_rows, pull, slot_of, table_for, take_top

SCORES = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 0.5, 1.0, 2.0]), max_size=60)


@settings(deadline=None)
@given(SCORES, st.integers(-1, 70), st.randoms(use_true_random=False))
def test_take_top_is_the_head_of_a_full_sort(values: list[float], limit: int, random: object) -> None:
    rng = np.random.default_rng(len(values) + limit + 1)
    items = rng.permutation(200)[: len(values)].astype(np.int32)
    scores = np.array(values, np.float32)
    order = np.lexsort((items, -scores))[: max(limit, 0)]
    top, best = take_top(items, scores, limit)
    assert np.array_equal(top, items[order])
    assert np.array_equal(best, scores[order])


@settings(deadline=None)
@given(st.lists(st.integers(-2, 9), max_size=50))
def test_group_rows_is_stable_and_leaves_out_what_is_outside(keys: list[int]) -> None:
    ptr, rows = group_rows(np.array(keys, np.int32), 8)
    for key in range(8):
        assert rows[ptr[key] : ptr[key + 1]].tolist() == [row for row, k in enumerate(keys) if k == key]


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**31 - 1), max_size=200))
def test_a_table_finds_what_was_put_in_it(keys: list[int]) -> None:
    table = table_for(len(keys))
    for key in keys:
        table[slot_of(table, key)] = key
    assert sorted(table[table >= 0].tolist()) == sorted(set(keys))
    for key in keys:
        assert table[slot_of(table, key)] == key


@settings(deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 8)), max_size=5), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(-2, 8), st.integers(-3, 3)), max_size=8),
    st.integers(1, 5),
    st.integers(0, 12),
)
def test_pull_is_a_sum_of_rows(rows: list[list[tuple[int, int]]], asked: list[tuple[int, int]], cap: int, limit: int) -> None:
    ptr = np.cumsum([0, *map(len, rows)])
    flat = [pair for row in rows for pair in row]
    items = np.array([item for item, _ in flat], np.int32)
    scores = np.array([score for _, score in flat], np.float32)
    sums: dict[int, float] = {}
    for row, weight in asked:
        for item, score in rows[row][:cap] if 0 <= row < len(rows) else []:
            sums[item] = sums.get(item, 0.0) + weight * score
    expected = sorted((-total, item) for item, total in sums.items() if total > 0)[:limit]
    ids = np.array([row for row, _ in asked], np.int32)
    weights = np.array([weight for _, weight in asked], np.float32)
    learned = frozen(ptr, np.int64), frozen(items, np.int32), frozen(scores, np.float32)
    got_items, got_scores = pull(ids, weights, *learned, cap, limit)
    assert [(-s, i) for i, s in zip(got_items.tolist(), got_scores.tolist(), strict=True)] == expected


def test_frozen_shares_memory_and_cannot_be_written() -> None:
    array = np.arange(5, dtype=np.int32)
    view = frozen(array, np.int32)
    assert np.shares_memory(array, view)
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    array[0] = 9  # the owner may: only the view is read-only
    assert view[0] == 9
