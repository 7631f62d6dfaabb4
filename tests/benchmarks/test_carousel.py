"""The linear Thompson sampling of `segue benchmark carousel`: the mode is one, whichever way it is solved."""

from __future__ import annotations

import numpy as np
import pytest

from segue.benchmarks.carousel import mode


@pytest.mark.parametrize("m", [1, 4, 40])
def test_the_mode_has_no_slope(m: int) -> None:
    rng = np.random.default_rng(m)
    d = 12
    x, mean, precision = rng.normal(size=(m, d)), rng.normal(size=d), rng.uniform(0.5, 3, d)
    taken = rng.random(m) < 0.3
    w = mode(x, taken, mean, precision, steps=30)
    slope = precision * (w - mean) + x.T @ (1 / (1 + np.exp(-x @ w)) - taken)
    assert slope == pytest.approx(np.zeros(d), abs=1e-6)


def test_nothing_seen_moves_nothing() -> None:
    mean = np.arange(3.0)
    assert mode(np.zeros((1, 3)), np.zeros(1, np.bool_), mean, np.ones(3)).tolist() == mean.tolist()
