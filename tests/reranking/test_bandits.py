"""Bandit policies: what they learn, that they find the best arms, and that frequencies equal propensities."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

from segue.core.types import Candidates, Context
from segue.reranking.bandits import EpsilonGreedy, LinUcb, Thompson, segment_of
from worlds import DictState, facts, query


def made(kind: type, **more: Any) -> Any:
    return kind(lambda: facts([0]), DictState(), **more)


def candidates(n: int) -> Candidates:
    return Candidates(np.arange(n, dtype=np.int32), np.ones((n, 1), np.float32), ("s",))


def slate(policy: Any, n: int, limit: int, rng: np.random.Generator, region: int = 0) -> Any:
    q = query(limit=limit, context=Context(region=region, age_band=2))
    return policy.select(q, candidates(n), np.zeros(n, np.float32), rng)


def test_the_posterior_counts_by_segment_whatever_the_batches() -> None:
    one, two = made(Thompson, prior=(1.0, 3.0)), made(Thompson, prior=(1.0, 3.0))
    segments, items = np.array([5, 5, 2, 5]), np.array([0, 0, 3, 7], np.int32)
    taken = np.array([True, False, True, False])
    one.learn(segments, items, taken)
    for row in range(4):
        two.learn(segments[row : row + 1], items[row : row + 1], taken[row : row + 1])
    for policy in (one, two):
        yes, no = policy.posterior(5, np.array([0, 3, 7, 99], np.int32))
        assert yes.tolist() == [2, 1, 1, 1]
        assert no.tolist() == [4, 3, 4, 3]
        assert policy.posterior(4, np.array([0], np.int32))[0].tolist() == [1]


@pytest.mark.parametrize(("kind", "more"), [(EpsilonGreedy, {"explore": 0.3}), (Thompson, {})])
def test_over_many_draws_the_frequencies_are_the_propensities(kind: type, more: dict[str, Any]) -> None:
    runs, rng = 20_000, np.random.default_rng(0)
    policy = made(kind, prior=(1.0, 4.0), **more)
    q = query(context=Context(region=0, age_band=2))
    shown = rng.integers(0, 5, 400).astype(np.int32)
    policy.learn(np.full(400, segment_of(q)), shown, rng.random(400) < 0.1 + 0.03 * shown)
    seen: dict[tuple[int, ...], int] = {}
    chance: dict[tuple[int, ...], float] = {}
    for _ in range(runs):
        picks, p, _ = slate(policy, 5, 2, rng)
        key = tuple(picks.tolist())
        seen[key] = seen.get(key, 0) + 1
        chance[key] = float(p[0]) * float(p[1])
    often = [key for key in seen if runs * chance[key] >= 5]
    assert sum(chance[key] for key in often) > 0.99
    statistic = sum((seen[key] - runs * chance[key]) ** 2 / (runs * chance[key]) for key in often)
    assert statistic < chi2.ppf(0.999, len(often) - 1)


@pytest.mark.parametrize("kind", [EpsilonGreedy, Thompson])
def test_each_segment_finds_its_own_best(kind: type) -> None:
    rng, policy = np.random.default_rng(1), made(kind)
    truth = {0: np.array([0.3, 0.02, 0.02, 0.02]), 1: np.array([0.02, 0.02, 0.02, 0.3])}
    for _ in range(600):
        for region, rates in truth.items():
            picks, _, _ = slate(policy, 4, 1, rng, region)
            code = segment_of(query(context=Context(region=region, age_band=2)))
            policy.learn(np.array([code]), picks.astype(np.int32), rng.random(1) < rates[picks])
    for region, rates in truth.items():
        last = [int(slate(policy, 4, 1, rng, region)[0][0]) for _ in range(100)]
        assert np.mean(np.array(last) == rates.argmax()) > 0.75


def test_linucb_learns_what_the_context_tells_and_tries_what_it_does_not_know() -> None:
    rng = np.random.default_rng(2)
    policy = made(LinUcb, alpha=0.5, context=lambda q: np.array([1.0, float(q.context.region)]))
    for _ in range(400):
        region = int(rng.integers(0, 2))
        picks, p, drawn = slate(policy, 3, 1, rng, region)
        assert p.tolist() == [1.0]
        assert not drawn.any()
        chance = [0.2, 0.05, 0.6][picks[0]] if region else [0.2, 0.05, 0.01][picks[0]]
        policy.learn(np.array([[1.0, region]]), picks.astype(np.int32), rng.random(1) < chance)
    policy.alpha = 0.0
    assert slate(policy, 3, 1, rng, 0)[0][0] == 0
    assert slate(policy, 3, 1, rng, 1)[0][0] == 2
    policy.alpha = 10.0
    assert slate(policy, 4, 1, rng, 0)[0][0] == 3  # never seen, so the bound is widest


def test_slates_of_many_at_once_hold_distinct_items_and_the_best_of_the_segment() -> None:
    rng = np.random.default_rng(3)
    for policy in (made(EpsilonGreedy, explore=0.0), made(Thompson)):
        policy.learn(np.full(5000, 9), np.full(5000, 4, np.int32), np.ones(5000, np.bool_))
        found = policy.slates(np.array([9, 9, 1]), 20, 6, rng)
        assert found.shape == (3, 6)
        assert all(len(set(row)) == 6 for row in found.tolist())
        assert found[0, 0] == found[1, 0] == 4
