"""Metrics of ranked lists against answers worked out by hand and against a naive loop."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.evaluation.ranking import per_list


def csr(lists: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    ptr = np.concatenate([[0], np.cumsum([len(x) for x in lists])]).astype(np.int64)
    return ptr, np.array([i for x in lists for i in x], np.int32)


def test_known_answers() -> None:
    ranked = np.array([[3, 1, 2], [9, 8, 7], [5, -1, -1], [1, 2, 3]], np.int32)
    ptr, relevant = csr([[1, 2, 50, 51], [9], [6], []])
    got = per_list(ranked, ptr, relevant, 3)
    assert got.recall[:3] == pytest.approx([0.5, 1.0, 0.0])
    ideal = 1 + 1 / math.log2(3) + 0.5
    assert got.ndcg[:3] == pytest.approx([(1 / math.log2(3) + 0.5) / ideal, 1.0, 0.0])
    assert got.hit[:3] == pytest.approx([1, 1, 0])
    assert got.mrr[:3] == pytest.approx([0.5, 1.0, 0.0])
    assert all(np.isnan(x[3]) for x in (got.recall, got.ndcg, got.hit, got.mrr))


def test_k_cuts_the_list_and_the_ideal() -> None:
    ptr, relevant = csr([[2, 7]])
    got = per_list(np.array([[1, 2, 7]], np.int32), ptr, relevant, 2)
    assert got.recall[0] == 0.5
    assert got.ndcg[0] == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))


def test_an_item_twice_counts_once() -> None:
    ptr, relevant = csr([[4, 6]])
    got = per_list(np.array([[4, 4, 4]], np.int32), ptr, relevant, 3)
    assert got.recall[0] == 0.5
    assert got.ndcg[0] == pytest.approx(1 / (1 + 1 / math.log2(3)))


def test_items_of_another_list_do_not_count() -> None:
    ptr, relevant = csr([[1], [0]])
    assert per_list(np.array([[0], [1]], np.int32), ptr, relevant, 1).hit.tolist() == [0.0, 0.0]


def test_nothing_at_all() -> None:
    got = per_list(np.zeros((0, 5), np.int32), np.zeros(1, np.int64), np.zeros(0, np.int32), 5)
    assert len(got.recall) == 0
    got = per_list(np.full((2, 0), 0, np.int32), *csr([[1], [2]]), 5)
    assert got.ndcg.tolist() == [0.0, 0.0]


def test_bad_shapes() -> None:
    with pytest.raises(ValueError, match="offsets"):
        per_list(np.zeros((2, 3), np.int32), np.zeros(2, np.int64), np.zeros(0, np.int32), 3)


lists = st.lists(
    st.tuples(
        st.lists(st.integers(-1, 12), min_size=6, max_size=6),
        st.lists(st.integers(0, 12), unique=True, max_size=8),
    ),
    max_size=8,
)


@given(lists, st.integers(1, 9))
def test_agrees_with_a_naive_loop(rows: list[tuple[list[int], list[int]]], k: int) -> None:
    ranked = np.array([r for r, _ in rows], np.int32).reshape(len(rows), 6)
    ptr, relevant = csr([want for _, want in rows])
    got = per_list(ranked, ptr, relevant, k)
    for row, (order, want) in enumerate(rows):
        if not want:
            assert np.isnan(got.recall[row])
            continue
        seen: set[int] = set()
        gains = []
        for item in order[:k]:
            gains.append(1.0 if item in want and item not in seen else 0.0)
            seen.add(item)
        ideal = sum(1 / math.log2(p + 2) for p in range(min(k, len(want))))
        assert got.recall[row] == pytest.approx(sum(gains) / len(want))
        assert got.ndcg[row] == pytest.approx(sum(g / math.log2(p + 2) for p, g in enumerate(gains)) / ideal)
        assert got.hit[row] == float(any(gains))
        assert got.mrr[row] == pytest.approx(1 / (gains.index(1.0) + 1) if any(gains) else 0.0)
