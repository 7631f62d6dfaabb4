"""GraphFilter: the definition in dense algebra, the spread over paths, and singular vectors against LAPACK."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from segue.candidates._item_item import csr
from segue.candidates._spread import spread
from segue.candidates.graph_filter import GraphFilter, right_vectors
from worlds import query, recent


def matrix(seed: int, users: int = 50, items: int = 30, density: float = 0.2) -> sparse.csr_matrix:
    rng = np.random.default_rng(seed)
    return sparse.csr_matrix((rng.random((users, items)) < density).astype(np.float32))


def definition(rows: np.ndarray, rank: int, model: GraphFilter) -> tuple[np.ndarray, np.ndarray]:
    """The two item-item filters of the docstring, in float64."""
    k, n = rows.sum(1), rows.sum(0)
    with np.errstate(divide="ignore"):
        left, right = (np.where(d > 0, d**-e, 0) for d, e in ((k, model.user_exponent), (n, model.item_exponent)))
    normal = left[:, None] * rows * right
    _, values, vectors = np.linalg.svd(normal, full_matrices=False)
    values, vectors = values[:rank] ** model.temper, vectors[:rank].T
    low = right[:, None] * (vectors * values) @ vectors.T * n**model.out_exponent
    return normal.T @ normal, model.low_pass * low


@pytest.mark.parametrize("settings", [{}, {"temper": 1.0, "user_exponent": 0.7, "item_exponent": 0.3, "out_exponent": 0.4}])
def test_scores_are_the_definition(settings: dict[str, float]) -> None:
    rows = matrix(1)
    model = GraphFilter(rank=5, power_steps=30, **settings).fit_matrix(rows, np.random.default_rng(0))  # type: ignore[arg-type]
    near, broad = definition(rows.toarray().astype(np.float64), 5, model)
    # the linear half takes the listener's row as it is through the normalized matrix, as GF-CF does
    expected = rows.toarray() @ near + rows.toarray() @ broad
    np.testing.assert_allclose(model.score_block(rows), expected, rtol=2e-3, atol=2e-4)


def test_the_rows_of_the_radio_are_the_filter_where_the_linear_half_speaks() -> None:
    rows = matrix(2)
    model = GraphFilter(rank=4, power_steps=30, neighbours=30).fit_matrix(rows, np.random.default_rng(0))
    whole = model.score_block(sparse.identity(30, np.float32, "csr"))
    shared = (rows.T @ rows).toarray() > 0
    for item in range(30):
        span = slice(model.ptr_[item], model.ptr_[item + 1])
        assert set(model.near_[span]) == set(np.flatnonzero(shared[item])) - {item}
        np.testing.assert_allclose(model.weight_[span], whole[item, model.near_[span]], rtol=1e-4, atol=1e-6)
        assert np.all(np.diff(model.weight_[span]) <= 0)


def test_singular_vectors_agree_with_lapack_and_are_orthonormal() -> None:
    rows = matrix(3, 80, 60)
    values, vectors = right_vectors(rows, 6, 40, np.random.default_rng(0))
    _, expected, exact = np.linalg.svd(rows.toarray(), full_matrices=False)
    np.testing.assert_allclose(values, expected[:6], rtol=1e-4)
    np.testing.assert_allclose(np.abs(np.sum(vectors.T * exact[:6], axis=1)), 1, atol=1e-3)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(6), atol=1e-5)
    assert (np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], 0) > 0).all()


@pytest.mark.parametrize(("users", "items"), [(3, 7), (7, 3), (1, 1)])
def test_a_rank_beyond_the_matrix_is_what_there_is(users: int, items: int) -> None:
    rows = sparse.csr_matrix(np.ones((users, items), np.float32))
    values, vectors = right_vectors(rows, 50, 3, np.random.default_rng(0))
    assert values[0] == pytest.approx(np.sqrt(users * items), rel=1e-5)
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(values[1:], 0, atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1.0, 1.5, 2.0]))
def test_spread_is_the_product_with_similarities_to_a_power(seed: int, sharpness: float) -> None:
    rng = np.random.default_rng(seed)
    asked, near, back = ((rng.random(s) * (rng.random(s) < 0.3)).astype(np.float32) for s in ((4, 8), (8, 6), (6, 8)))
    found = spread(*(csr(sparse.csr_matrix(part)) for part in (asked, near, back)), sharpness, 8)
    np.testing.assert_allclose(found, (asked.astype(np.float64) @ near) ** sharpness @ back, rtol=1e-4, atol=1e-6)


def test_two_towns_that_never_mix_stay_apart() -> None:
    rows = sparse.block_diag([np.ones((6, 5)), np.ones((6, 5))], "csr").astype(np.float32)
    rows[0, 4] = 0
    rows.eliminate_zeros()
    model = GraphFilter(rank=2).fit_matrix(rows, np.random.default_rng(0))
    assert sorted(model.retrieve(query(recent=recent((0, 1.0))), 10).items.tolist()) == [1, 2, 3, 4]
    scores = model.score_block(rows[:1])[0]
    assert scores[4] > 10 * np.abs(scores[5:]).max()
