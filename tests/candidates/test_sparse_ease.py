"""SparseEase: with all items as regressors it is EASE; with few, the ridge regression on those few; bounded and sure."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from segue.candidates import sparse_ease
from segue.candidates.ease import item_weights
from segue.candidates.sparse_ease import Shape, SparseEase, _solved, gram_rows, sparse_weights
from worlds import query, recent


def rows(seed: int = 0, users: int = 80, items: int = 24, density: float = 0.3) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.random.default_rng(seed).random((users, items)) < density).astype(np.float32))


@pytest.mark.parametrize(("dropout", "user_exponent"), [(0.0, 0.0), (0.4, 0.0), (0.3, 0.7)])
def test_with_every_item_as_regressor_it_is_ease(dropout: float, user_exponent: float) -> None:
    found = sparse_weights(rows(), 5.0, dropout, user_exponent, Shape(24, 24)).toarray()
    np.testing.assert_allclose(found, item_weights(rows(), 5.0, dropout, user_exponent), rtol=1e-3, atol=1e-5)


def test_each_column_is_the_ridge_regression_on_its_nearest_items() -> None:
    x = rows().toarray().astype(np.float64)
    found = sparse_weights(rows(), 3.0, 0.0, 0.0, Shape(5, 24)).toarray()
    cosine = (x.T @ x) / np.sqrt(np.outer((x**2).sum(0), (x**2).sum(0)))
    for item in range(x.shape[1]):
        others = [i for i in np.lexsort((np.arange(24), -cosine[item])) if i != item][:5]
        ridge = np.linalg.solve(x[:, others].T @ x[:, others] + 3.0 * np.eye(5), x[:, others].T @ x[:, item])
        np.testing.assert_allclose(found[others, item], ridge, rtol=1e-3, atol=1e-5)
        assert np.count_nonzero(np.delete(found[:, item], others)) == 0


def test_rows_of_the_gram_matrix_keep_the_largest_cosines() -> None:
    x = rows(3)
    dense = np.asarray((x.T @ x).todense(), np.float64)
    mass = dense.diagonal().copy()
    kept = gram_rows(x, mass, 6)
    cosine = dense / np.sqrt(np.outer(mass, mass))
    for item in range(24):
        best = [i for i in np.lexsort((np.arange(24), -cosine[item])) if i != item][:6]
        assert sorted(kept.indices[kept.indptr[item] : kept.indptr[item + 1]]) == sorted(best)
        np.testing.assert_allclose(kept[item].toarray()[0, best], dense[item, best], rtol=1e-5)


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sparse_weights(rows(), 5.0, 0.2, 0.5, Shape(8, 16))
    monkeypatch.setattr(sparse_ease, "_BATCH", 5)
    assert (sparse_weights(rows(), 5.0, 0.2, 0.5, Shape(8, 16)) != whole).nnz == 0


def test_a_checkerboard_is_completed_and_survives_storage() -> None:
    board = (np.add.outer(np.arange(40), np.arange(10)) % 2).astype(np.float32)
    model = SparseEase(reg=1.0, regressors=3, gram=6).fit_matrix(sparse.csr_matrix(board))
    asked = query(recent=recent((1, 1.0), (3, 1.0)))
    answer = model.retrieve(asked, 10).items
    assert set(answer.tolist()) - {1, 3} == {5, 7, 9}
    assert SparseEase().load(model.arrays()).retrieve(asked, 10).items.tolist() == answer.tolist()


def test_the_budget_bounds_what_is_kept_of_an_item() -> None:
    weights = SparseEase(reg=1.0, budget=24 * 8, regressors=20, gram=24, neighbours=24).fit_matrix(rows())
    into = np.bincount(weights.near_, minlength=24)
    assert 0 < into.max() <= 4, "half of the eight entries that the budget leaves an item"


def test_a_system_that_is_not_definite_is_made_firmer() -> None:
    system = np.array([[1.0, 2.0], [2.0, 1.0]], np.float32)
    found = _solved(system.copy(), np.array([1.0, 0.0], np.float32), 2.0)
    np.testing.assert_allclose(found, np.linalg.solve(system + 10 * np.eye(2), [1.0, 0.0]), rtol=1e-4)
    assert not _solved(system.copy(), np.array([1.0, 0.0], np.float32), 0.01).any(), "nothing can be believed"


def test_nothing_wanted_is_nothing_learned_and_bad_settings_are_told() -> None:
    assert sparse_weights(sparse.csr_matrix((3, 4), dtype=np.float32), 1.0, 0.3, 0.5, Shape()).nnz == 0
    assert sparse_weights(sparse.csr_matrix((0, 0), dtype=np.float32), 1.0, 0.3, 0.5, Shape()).shape == (0, 0)
    with pytest.raises(ValueError, match="needs reg > 0"):
        sparse_weights(rows(), 0.0, 0.0, 0.0, Shape())
