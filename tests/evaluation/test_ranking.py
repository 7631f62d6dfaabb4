"""Metrics of ranked lists against answers worked out by hand and against a naive loop."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.evaluation import calibration
from segue.evaluation.ranking import METRICS, at_cutoffs, auc, per_list, r_precision


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
    assert got.precision[:3] == pytest.approx([2 / 3, 1 / 3, 0.0])
    assert got.f1[:3] == pytest.approx([2 * (2 / 3) * 0.5 / (2 / 3 + 0.5), 0.5, 0.0])
    assert got.map[:3] == pytest.approx([(1 / 2 + 2 / 3) / 4, 1.0, 0.0])
    assert got.mar[:3] == pytest.approx([(0 + 1 / 4 + 2 / 4) / 3, 1.0, 0.0])
    assert all(np.isnan(getattr(got, metric)[3]) for metric in METRICS)


def test_places_beyond_a_short_list_are_misses() -> None:
    ptr, relevant = csr([[7, 8]])
    got = per_list(np.array([[7]], np.int32), ptr, relevant, 4)
    assert (got.precision[0], got.recall[0], got.map[0]) == (0.25, 0.5, 0.5)
    assert got.mar[0] == pytest.approx(0.5), "half is found at the first place and stays found"


def test_r_precision_looks_at_as_many_places_as_are_relevant() -> None:
    ptr, relevant = csr([[1, 2, 3], [5], [1, 2, 3, 4], []])
    ranked = np.array([[1, 9, 2, 3], [9, 5, -1, -1], [1, -1, -1, -1], [1, 2, 3, 4]], np.int32)
    assert r_precision(ranked, ptr, relevant)[:3] == pytest.approx([2 / 3, 0.0, 0.25])
    assert np.isnan(r_precision(ranked, ptr, relevant)[3])


def test_auc_known_answers() -> None:
    ptr, relevant = csr([[0, 1], [0, 1], [0], [3], []])
    ranked = np.array([[0, 5, 1], [4, 5, -1], [0, 1, 2], [-1, -1, -1], [0, 1, 2]], np.int32)
    got = auc(ranked, ptr, relevant, 6)
    # list 1: 0 above all 4 others, 1 above all but the 5; list 2: two misses on top, the last 2 x 2 pairs count half
    assert got[:4] == pytest.approx([7 / 8, (2 * 2 / 2) / 8, 1.0, 0.5])
    assert np.isnan(got[4])
    assert np.isnan(auc(np.array([[2, 0]], np.int32), *csr([[0, 1, 2]]), 3)[0]), "nothing that is not relevant"


def test_auc_of_a_whole_order_is_that_of_its_scores() -> None:
    rng = np.random.default_rng(3)
    ranked = np.array([rng.permutation(40) for _ in range(20)], np.int32)
    wanted = [rng.choice(40, rng.integers(1, 39), replace=False).tolist() for _ in range(20)]
    got = auc(ranked, *csr(wanted), 40)
    for row, want in enumerate(wanted):
        scores = np.empty(40)
        scores[ranked[row]] = -np.arange(40)
        assert got[row] == pytest.approx(calibration.auc(scores, np.isin(np.arange(40), want)), abs=1e-12)


def test_auc_of_a_cut_list_counts_what_is_behind_it_half() -> None:
    """The mean over all orders of what the list leaves out."""
    rng = np.random.default_rng(4)
    top, want = rng.permutation(30)[:8].astype(np.int32), rng.choice(30, 9, replace=False).tolist()
    rest = np.setdiff1d(np.arange(30), top)
    scores = np.concatenate([-np.arange(8.0), np.full(len(rest), -100.0)])
    truth = np.isin(np.concatenate([top, rest]), want)
    assert auc(top[None], *csr([want]), 30)[0] == pytest.approx(calibration.auc(scores, truth), abs=1e-12)


def test_auc_refuses_more_misses_than_items() -> None:
    with pytest.raises(ValueError, match="more items"):
        auc(np.array([[1, 2, 3]], np.int32), *csr([[0]]), 3)


def test_several_cutoffs_are_each_as_alone() -> None:
    rng = np.random.default_rng(1)
    ranked = np.array([rng.permutation(50)[:20] for _ in range(30)], np.int32)
    ptr, relevant = csr([rng.choice(50, rng.integers(0, 12), replace=False).tolist() for _ in range(30)])
    got = at_cutoffs(ranked, ptr, relevant, (20, 5, 33))
    assert len(got) == 3 * len(METRICS)
    for k in (5, 20, 33):
        alone = per_list(ranked, ptr, relevant, k)
        for metric in METRICS:
            assert np.array_equal(got[f"{metric}@{k}"], getattr(alone, metric), equal_nan=True)


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
        precision, recall = sum(gains) / k, sum(gains) / len(want)
        assert got.precision[row] == pytest.approx(precision)
        assert got.f1[row] == pytest.approx(2 * precision * recall / (precision + recall) if any(gains) else 0.0)
        at_hits = [sum(gains[: p + 1]) / (p + 1) for p, g in enumerate(gains) if g]
        assert got.map[row] == pytest.approx(sum(at_hits) / len(want))
        assert got.mar[row] == pytest.approx(np.mean([sum(gains[: p + 1]) / len(want) for p in range(k)]))
        assert got.mrr[row] == pytest.approx(1 / (gains.index(1.0) + 1) if any(gains) else 0.0)
