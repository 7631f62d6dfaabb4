"""Logistic finds the coefficients that made the data, is calibrated, and says so when it cannot learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from segue.core.errors import NotReady
from segue.core.types import Candidates, Query
from segue.evaluation.calibration import calibration
from segue.ranking.logistic import Logistic, newton

QUERY = Query(1, 0, 0)


def pool(n: int) -> Candidates:
    return Candidates(np.arange(n, dtype=np.int32), np.zeros((n, 1), np.float32), ("a",))


def world(n: int, seed: int, coef: tuple[float, ...] = (1.5, -0.7, 0.0), bias: float = -0.5):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    rows = rng.normal(3.0, 2.0, (n, len(coef))).astype(np.float32)
    logit = ((rows - 3.0) / 2.0) @ np.array(coef) + bias
    return rows, rng.random(n) < 1 / (1 + np.exp(-logit))


def fitted(rows: np.ndarray, listened: np.ndarray, played: np.ndarray | None = None, **settings: float) -> Logistic:
    weights = np.ones(len(rows), np.float32)
    return Logistic(**settings).fit_rows(rows, listened, weights, np.ones(len(rows), np.bool_) if played is None else played)  # type: ignore[arg-type]


def test_finds_what_made_the_data() -> None:
    rows, listened = world(40_000, 0)
    got = fitted(rows, listened, reg=1.0)
    assert got.coef_ == pytest.approx([1.5, -0.7, 0.0, -0.5], abs=0.06)
    assert got.line_ == pytest.approx([0.0, 1.0], abs=0.02)
    test_rows, truth = world(40_000, 1)
    fared = calibration(got.score(QUERY, pool(len(test_rows)), test_rows), truth)
    assert fared.slope == pytest.approx(1.0, abs=0.05)
    assert fared.intercept == pytest.approx(0.0, abs=0.05)
    assert fared.logloss < fared.base_logloss - 0.1


def test_newton_reaches_the_optimum_that_a_general_solver_finds() -> None:
    rng = np.random.default_rng(3)
    table = np.column_stack((rng.normal(size=(200, 4)), np.ones(200)))
    truth, weights, reg = rng.random(200) < 0.3, rng.random(200), 2.5

    def loss(at: np.ndarray) -> float:
        logit = table @ at
        return float(weights @ (np.logaddexp(0, logit) - truth * logit) + reg / 2 * at[:-1] @ at[:-1])

    want = minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-9}).x
    assert newton(table, truth, weights, (reg, 50, 1e-14)) == pytest.approx(want, abs=1e-5)


def test_separable_data_stays_finite() -> None:
    rows = np.array([[0.0], [1.0]] * 50, np.float32)
    got = fitted(rows, rows[:, 0] > 0.5, reg=1e-3)
    scores = got.score(QUERY, pool(2), rows[:2])
    assert np.isfinite(scores).all()
    assert scores[0] < 0.1 < 0.9 < scores[1]


def test_weights_count_like_repeats() -> None:
    rows, listened = world(300, 5)
    weights = np.random.default_rng(0).integers(1, 4, 300)
    once = Logistic().fit_rows(rows, listened, weights.astype(np.float32), np.ones(300, np.bool_))
    many = fitted(np.repeat(rows, weights, axis=0), np.repeat(listened, weights))
    assert once.coef_ == pytest.approx(many.coef_, abs=1e-6)


def test_probabilities_are_of_those_played() -> None:
    """Weak negatives push the raw logit down; among songs that were played the scores match what happened."""
    rows, listened = world(20_000, 7)
    rng = np.random.default_rng(8)
    weak = rng.normal(1.0, 2.0, (60_000, 3)).astype(np.float32)
    got = fitted(
        np.concatenate((rows, weak)),
        np.concatenate((listened, np.zeros(60_000, np.bool_))),
        np.concatenate((np.ones(20_000, np.bool_), np.zeros(60_000, np.bool_))),
    )
    test_rows, truth = world(20_000, 9)
    p = got.score(QUERY, pool(20_000), test_rows)
    assert p.mean() == pytest.approx(truth.mean(), abs=0.02)
    assert calibration(p, truth).slope == pytest.approx(1.0, abs=0.12)


def test_a_calibration_that_would_turn_the_order_over_is_not_taken() -> None:
    rows = np.array([[0.0], [1.0], [5.0], [6.0]] * 30, np.float32)
    listened = np.array([True, False, False, False] * 30)  # among the played two, the one with the higher row was skipped
    listened[2::4] = True
    played = np.array([True, True, False, False] * 30)
    got = fitted(rows, listened, played)
    scores = got.score(QUERY, pool(4), rows[:4])
    raw = ((rows[:4] - got.mean_) / got.scale_) @ got.coef_[:-1]
    assert np.array_equal(np.argsort(scores), np.argsort(raw))


def test_a_constant_column_says_nothing() -> None:
    rows, listened = world(500, 2)
    with_constant = np.column_stack((rows, np.full(500, 4.0))).astype(np.float32)
    got = fitted(with_constant, listened)
    assert got.coef_[3] == 0
    moved = with_constant[:5].copy()
    moved[:, 3] = 9.0
    assert np.array_equal(got.score(QUERY, pool(5), moved), got.score(QUERY, pool(5), with_constant[:5]))


def test_arrays_come_back() -> None:
    rows, listened = world(300, 4)
    got = fitted(rows, listened)
    again = Logistic().load(got.arrays())
    assert np.array_equal(got.score(QUERY, pool(300), rows), again.score(QUERY, pool(300), rows))


def test_says_what_is_wrong() -> None:
    rows, listened = world(50, 4)
    with pytest.raises(NotReady, match="segue train"):
        Logistic().score(QUERY, pool(1), rows[:1])
    with pytest.raises(ValueError, match="3 features"):
        fitted(rows, listened).score(QUERY, pool(1), rows[:1, :2])
    with pytest.raises(ValueError, match="some but not all"):
        fitted(rows, np.ones(50, np.bool_))
    with pytest.raises(ValueError, match="finite"):
        fitted(np.full((50, 3), np.nan, np.float32), listened)
    with pytest.raises(ValueError, match="positive"):
        Logistic(reg=0)
