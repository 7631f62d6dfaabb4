"""ItemKnn: similarities by hand, what shrinkage and exponents do, and the history as a matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from segue.candidates._item_item import wanted
from segue.candidates.item_knn import ItemKnn
from segue.core.types import History, Items
from worlds import query, recent

ROWS = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1]], np.float32)


def dense(model: ItemKnn, n: int) -> np.ndarray:
    return model.score_block(sparse.identity(n, np.float32, "csr"))


def history(rows: list[tuple[int, int, int, int]], n_users: int, n_items: int) -> History:
    """(user, item, day, signal), in order."""
    user, item, day, signal = np.array(rows).T
    return History(
        n_users=n_users,
        n_items=n_items,
        now=400 * 86_400_000,
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        at=(day * 86_400).astype(np.uint32),
        signal=signal.astype(np.int8),
        session=np.arange(len(rows), dtype=np.int32),
        facts=Items.bare(n_items),
    )


def test_the_cosine_by_hand() -> None:
    model = ItemKnn(shrink=0.0, user_exponent=0.0).fit_matrix(sparse.csr_matrix(ROWS))
    expected = np.array([[0, 1, 0.5, 0], [1, 0, 0.5, 0], [0.5, 0.5, 0, 2**-0.5], [0, 0, 2**-0.5, 0]])
    np.testing.assert_allclose(dense(model, 4), expected, rtol=1e-6)


def test_exponent_shrinkage_sharpness_and_long_lists_by_hand() -> None:
    rows = sparse.csr_matrix(ROWS)
    lift = dense(ItemKnn(shrink=0.0, user_exponent=0.0, popularity_exponent=0.0).fit_matrix(rows), 4)
    assert lift[2, 3] == pytest.approx(1 / 2)  # of the two who wanted 2, one wanted 3
    assert lift[3, 2] == pytest.approx(1)
    shrunk = dense(ItemKnn(shrink=2.0, user_exponent=0.0, sharpness=2.0).fit_matrix(rows), 4)
    assert shrunk[0, 1] == pytest.approx((2 / (2 + 2)) ** 2)
    fair = dense(ItemKnn(shrink=0.0, user_exponent=1.0).fit_matrix(rows), 4)
    assert fair[0, 2] == pytest.approx((1 / 3) / np.sqrt((1 / 2 + 1 / 3) * (1 / 3 + 1 / 2)), rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.float32, (12, 9), elements=st.sampled_from([0.0, 1.0])), st.integers(1, 9))
def test_only_the_best_neighbours_are_kept_ties_to_the_smaller_item(rows: np.ndarray, limit: int) -> None:
    full = dense(ItemKnn(neighbours=9).fit_matrix(sparse.csr_matrix(rows)), 9)
    model = ItemKnn(neighbours=limit).fit_matrix(sparse.csr_matrix(rows))
    for item in range(9):
        order = np.lexsort((np.arange(9), -full[item]))[:limit]
        found = model.near_[model.ptr_[item] : model.ptr_[item + 1]]
        assert found.tolist() == [i for i in order if full[item, i] > 0]


def test_blocks_of_items_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = sparse.random(40, 30, 0.3, "csr", np.float32, np.random.default_rng(0))
    whole = ItemKnn().fit_matrix(rows).arrays()
    monkeypatch.setattr("segue.candidates._item_item.BLOCK", 7)
    parts = ItemKnn().fit_matrix(rows).arrays()
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)


def test_the_history_as_a_matrix_nets_signals_forgets_and_keeps_the_last() -> None:
    rows = [(0, 3, 10, 1), (0, 0, 200, 1), (0, 1, 201, 1), (0, 1, 202, -1), (0, 2, 203, -1), (0, 2, 204, 1), (0, 2, 205, 1)]
    matrix = wanted(history([*rows, (2, 3, 300, 1)], 3, 4), 300.0, 0.0, 10)
    assert matrix.toarray().tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    last = wanted(history([*rows, (2, 3, 300, 1)], 3, 4), 1000.0, 0.0, 2)
    assert last.toarray().tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]  # 3 came first: it is the one to go


def test_a_query_pulls_the_neighbours_of_what_was_finished_and_says_why() -> None:
    model = ItemKnn(shrink=0.0).fit_matrix(sparse.csr_matrix(ROWS))
    asked = query(recent=recent((3, 1.0)))
    assert model.retrieve(asked, 5).items.tolist() == [2]
    assert model.because(asked, np.array([2, 0], np.int32)).tolist() == [3, -1]
    assert model.retrieve(query(recent=recent((3, -1.0))), 5).items.tolist() == []
    assert model.similar(0, 1).items.tolist() == [1]
