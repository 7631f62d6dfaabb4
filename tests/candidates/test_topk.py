"""top_k against a brute force: integers make float32 scores exact, so that ties are ties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.candidates._topk import best_k, top_k


def brute(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    n = scores.shape[1]
    ids = np.full((len(scores), k), -1, np.int32)
    best = np.full((len(scores), k), -np.inf, np.float32)
    for u, row in enumerate(scores):
        order = np.lexsort((np.arange(n), -row))[:k]
        order = order[row[order] > -np.inf]
        ids[u, : len(order)], best[u, : len(order)] = order, row[order]
    return ids, best


@settings(max_examples=60, deadline=None)
@given(
    m=st.integers(1, 150),
    n=st.integers(1, 2200),
    d=st.integers(1, 6),
    k=st.integers(1, 130),
    spread=st.integers(0, 4),
    seed=st.integers(0, 2**32 - 1),
    masked=st.booleans(),
)
def test_same_as_sorting_everything(m: int, n: int, d: int, k: int, spread: int, seed: int, masked: bool) -> None:
    rng = np.random.default_rng(seed)
    queries = rng.integers(-spread, spread + 1, (m, d)).astype(np.float32)
    items = rng.integers(-spread, spread + 1, (n, d)).astype(np.float32)
    scores = queries @ items.T
    exclude = None
    if masked:
        lists = [rng.choice(n, rng.integers(0, n + 1), replace=False).astype(np.int32) for _ in range(m)]
        ptr = np.concatenate([[0], np.cumsum([len(x) for x in lists])]).astype(np.int64)
        exclude = (ptr, np.concatenate(lists).astype(np.int32))
        for u, hidden in enumerate(lists):
            scores[u, hidden] = -np.inf
    ids, best = top_k(queries, items, k, threads=2, exclude=exclude)
    want_ids, want = brute(scores, k)
    np.testing.assert_array_equal(ids, want_ids)
    np.testing.assert_array_equal(best, want)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(0, 300), k=st.integers(0, 40), spread=st.integers(0, 5), seed=st.integers(0, 2**32 - 1))
def test_one_row(n: int, k: int, spread: int, seed: int) -> None:
    row = np.random.default_rng(seed).integers(-spread, spread + 1, n).astype(np.float32)
    ids, best = best_k(row, k)
    order = np.lexsort((np.arange(n), -row))[:k]
    np.testing.assert_array_equal(ids, order)
    np.testing.assert_array_equal(best, row[order])


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_sorted_input_is_no_trap(direction: float) -> None:
    items = (direction * np.arange(5000, dtype=np.float32))[:, None]
    ids, _ = top_k(np.ones((3, 1), np.float32), items, 100)
    want = np.arange(4999, 4899, -1) if direction > 0 else np.arange(100)
    np.testing.assert_array_equal(ids, np.tile(want, (3, 1)))


def test_nothing_asked_and_nothing_there() -> None:
    none = np.zeros((0, 4), np.float32)
    some = np.ones((2, 4), np.float32)
    assert top_k(none, some, 3)[0].shape == (0, 3)
    ids, scores = top_k(some, none, 3)
    assert (ids == -1).all()
    assert np.isneginf(scores).all()
    assert top_k(some, some, 0)[0].shape == (2, 0)
