"""Calibration: known answers, the truth is perfect, and too much confidence shows in the slope."""

import numpy as np
import pytest

from segue.evaluation.calibration import auc, calibration


def test_known_answers() -> None:
    got = calibration(np.array([0.5, 0.5, 0.5, 0.5]), np.array([True, False, False, False]))
    assert (got.n, got.rate) == (4, 0.25)
    assert got.logloss == pytest.approx(np.log(2))
    assert got.base_logloss == pytest.approx(-(0.25 * np.log(0.25) + 0.75 * np.log(0.75)))
    assert got.auc == 0.5


def test_auc_by_counting_pairs() -> None:
    rng = np.random.default_rng(0)
    scores, truth = rng.integers(0, 6, 60), rng.random(60) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[truth] for b in scores[~truth]]
    assert auc(scores, truth) == pytest.approx(np.mean(pairs))


def test_the_truth_is_calibrated_and_confidence_is_not() -> None:
    rng = np.random.default_rng(1)
    logit = rng.normal(0, 1.5, 50_000)
    truth = rng.random(50_000) < 1 / (1 + np.exp(-logit))
    right = calibration(1 / (1 + np.exp(-logit)), truth)
    assert right.slope == pytest.approx(1, abs=0.03)
    assert right.intercept == pytest.approx(0, abs=0.03)
    assert calibration(1 / (1 + np.exp(-2 * logit)), truth).slope == pytest.approx(0.5, abs=0.02)


def test_edges() -> None:
    assert calibration(np.zeros(0), np.zeros(0, np.bool_)).n == 0
    all_true = calibration(np.array([1.0, 0.9]), np.array([True, True]))
    assert np.isnan(all_true.auc)
    assert np.isnan(all_true.slope)
    assert np.isfinite(calibration(np.array([0.0, 1.0]), np.array([True, False])).logloss)
