"""Ease: the closed form against a solver of the same problem, the checkerboard, and silence above max_items."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from segue.candidates.ease import Ease, item_weights
from segue.core.types import History, Items
from worlds import query, recent


def rows(seed: int = 0, users: int = 60, items: int = 20) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.random.default_rng(seed).random((users, items)) < 0.3).astype(np.float32))


def test_each_column_is_the_ridge_regression_of_its_item_on_all_others() -> None:
    x = rows().toarray().astype(np.float64)
    weights = item_weights(rows(), 5.0)
    for item in range(x.shape[1]):
        others = np.delete(np.arange(x.shape[1]), item)
        ridge = np.linalg.solve(x[:, others].T @ x[:, others] + 5.0 * np.eye(len(others)), x[:, others].T @ x[:, item])
        np.testing.assert_allclose(weights[others, item], ridge, rtol=1e-3, atol=1e-5)
        assert weights[item, item] == 0


def test_bands_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = item_weights(rows(), 5.0)
    monkeypatch.setattr("segue.candidates.ease._ROWS", 7)
    np.testing.assert_array_equal(item_weights(rows(), 5.0), whole)


def test_a_checkerboard_is_completed() -> None:
    board = (np.add.outer(np.arange(40), np.arange(10)) % 2).astype(np.float32)
    model = Ease(reg=1.0).fit_matrix(sparse.csr_matrix(board))
    answer = model.retrieve(query(recent=recent((1, 1.0), (3, 1.0))), 10).items
    assert set(answer.tolist()) - {1, 3} == {5, 7, 9}


def test_the_radio_keeps_the_best_positive_weights() -> None:
    weights = item_weights(rows(), 5.0, 0.3, 0.5)
    model = Ease(reg=5.0, neighbours=4).fit_matrix(rows())
    for item in range(20):
        order = [j for j in np.lexsort((np.arange(20), -weights[item])) if weights[item, j] > 0][:4]
        assert model.near_[model.ptr_[item] : model.ptr_[item + 1]].tolist() == order


def test_two_that_say_the_same_share_the_weight() -> None:
    base = rows(3, 300, 6).toarray()
    twice = np.hstack([base, base[:, :1]])  # item 6 repeats item 0
    base_weight = item_weights(sparse.csr_matrix(base), 10.0)
    weight = item_weights(sparse.csr_matrix(twice), 10.0)
    for item in range(1, 6):
        assert weight[0, item] == pytest.approx(weight[6, item], abs=1e-4)
        assert abs(weight[0, item]) <= abs(base_weight[0, item]) + 1e-3


def test_above_max_items_it_is_silent_even_after_it_spoke() -> None:
    none = np.zeros(0, np.int32)
    many = History(0, 21, 0, none, none, none.astype(np.uint32), none.astype(np.int8), none, Items.bare(21))
    model = Ease(max_items=20).fit_matrix(rows())
    asked = query(recent=recent((0, 1.0), (1, 1.0)))
    assert len(model.retrieve(asked, 5))
    model.fit(many, np.random.default_rng(0))
    assert not len(model.retrieve(asked, 5))
    assert not len(Ease().load(model.arrays()).retrieve(asked, 5))


def test_it_says_when_reg_is_too_small() -> None:
    with pytest.raises(ValueError, match="needs reg above zero"):
        item_weights(sparse.csr_matrix((3, 4), dtype=np.float32), 0.0)
