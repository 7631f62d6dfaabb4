"""Sampled Shapley values: exact sums always, exact values where players add up or are few, and nobody is paid for nothing."""

from __future__ import annotations

from itertools import permutations
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.ranking.sampled import sampled_shapley


def curved(x: np.ndarray) -> np.ndarray:
    """Not additive: players 0 and 1 work together, 3 does nothing."""
    x = x.astype(np.float64)
    return x[:, 0] * x[:, 1] + np.maximum(x[:, 2], 0) - 0.5 * x[:, 0]


def exactly(row: np.ndarray, base: np.ndarray) -> np.ndarray:
    """By the definition: over every order of the players."""
    n = len(row)
    out = np.zeros(n)
    for order in permutations(range(n)):
        now = base.copy()
        for player in order:
            before = curved(now[None, :])[0]
            now[player] = row[player]
            out[player] += curved(now[None, :])[0] - before
    return out / factorial(n)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_the_sum_is_exact_whatever_the_number_of_orders(seed: int, orders: int) -> None:
    rng = np.random.default_rng(seed)
    rows, baseline = rng.normal(size=(5, 4)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    base, values = sampled_shapley(curved, rows, baseline, np.arange(4), rng, orders)
    assert base == curved(baseline[None, :])[0]
    assert base + values.sum(axis=1) == pytest.approx(curved(rows), abs=1e-9)
    assert not values[:, 3].any(), "what moves nothing gets nothing"


def test_many_orders_come_to_the_definition() -> None:
    rng = np.random.default_rng(0)
    rows, baseline = rng.normal(size=(4, 4)).astype(np.float32), np.zeros(4, np.float32)
    values = sampled_shapley(curved, rows, baseline, np.arange(4), rng, 4000)[1]
    for row, got in zip(rows, values, strict=True):
        assert got == pytest.approx(exactly(row, baseline), abs=0.03)


def test_inputs_of_one_player_enter_together_and_an_additive_model_is_told_exactly() -> None:
    weights, rng = np.array([1.0, 2.0, 3.0, 4.0]), np.random.default_rng(1)
    rows = rng.normal(size=(3, 4)).astype(np.float32)
    owner = np.array([0, 1, 1, 2])
    values = sampled_shapley(lambda x: x @ weights, rows, np.zeros(4, np.float32), owner, rng, 1)[1]
    parts = rows * weights
    assert values == pytest.approx(np.stack([parts[:, 0], parts[:, 1] + parts[:, 2], parts[:, 3]], axis=1), abs=1e-6)


def test_a_player_at_its_baseline_gets_nothing_and_the_same_seed_says_the_same() -> None:
    rng = np.random.default_rng(2)
    rows, baseline = rng.normal(size=(2, 4)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    rows[:, 0] = baseline[0]
    first, again = (sampled_shapley(curved, rows, baseline, np.arange(4), np.random.default_rng(7))[1] for _ in range(2))
    assert not first[:, 0].any()
    assert first.tobytes() == again.tobytes()
