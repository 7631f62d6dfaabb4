"""Off-policy estimates against the truth: synthetic logs, and public logs where another policy ran for real."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.benchmarks import off_policy as benchmark
from segue.evaluation.off_policy import (
    Logged,
    crossfit_means,
    design_second_moment,
    doubly_robust,
    ips,
    judge,
    on_policy,
    overlap,
    snips,
    weights,
)

ITEMS, PLACES, CONTEXTS = 6, 3, 4
WORTH = np.random.default_rng(80).random((CONTEXTS, ITEMS)) * 0.6 + 0.1


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


LOGGING = softmax(np.random.default_rng(81).normal(0, 0.5, (CONTEXTS, ITEMS)))
TARGET = softmax(np.random.default_rng(82).normal(0, 0.5, (CONTEXTS, ITEMS)) + 2 * WORTH)


def slates(rng: np.random.Generator, n: int, policy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Plackett-Luce slates: contexts (n,), items (n, k), and the chance of each given those above it."""
    context = rng.integers(0, CONTEXTS, n)
    order = np.argsort(-(np.log(policy[context]) + rng.gumbel(size=(n, ITEMS))), axis=1)[:, :PLACES]
    return context, order, chances(policy, context, order)


def chances(policy: np.ndarray, context: np.ndarray, items: np.ndarray) -> np.ndarray:
    picked = np.take_along_axis(policy[context], items, axis=1)
    return picked / (1.0 - np.cumsum(picked, axis=1) + picked)


def rewards(rng: np.random.Generator, context: np.ndarray, items: np.ndarray) -> np.ndarray:
    """A song is liked less after a good one, so places do matter to each other."""
    worth = WORTH[context[:, None], items]
    above = np.concatenate([np.zeros((len(items), 1)), np.cumsum(worth, axis=1)[:, :-1]], axis=1)
    return (rng.random(items.shape) < worth * (1.0 - 0.25 * above / np.arange(1, PLACES + 1))).astype(float)


def truth(policy: np.ndarray) -> float:
    rng = np.random.default_rng(83)
    context, items, _ = slates(rng, 1_000_000, policy)
    return float(rewards(rng, context, items).mean())


def logged(rng: np.random.Generator, n: int) -> Logged:
    context, items, chance = slates(rng, n, LOGGING)
    reward, w = rewards(rng, context, items), weights(chances(TARGET, context, items), chance)
    fold = np.arange(n) % 2
    guess = np.empty((n, PLACES))
    value = np.empty((n, PLACES))
    for p in range(PLACES):
        guess[:, p], table = crossfit_means(reward[:, p], context * ITEMS + items[:, p], fold)
        taken = np.zeros((n, ITEMS), bool)
        np.put_along_axis(taken, items[:, :p], True, axis=1)
        left = np.where(taken, 0.0, TARGET[context])
        left /= left.sum(axis=1, keepdims=True)
        value[:, p] = (left * table[fold][:, :].reshape(n, CONTEXTS, ITEMS)[np.arange(n), context]).sum(axis=1)
    return Logged(reward, *w, guess, value, np.arange(n))


def test_slate_estimates_are_unbiased_and_their_intervals_cover_over_500_logs() -> None:
    rng, known = np.random.default_rng(84), truth(TARGET)
    found: dict[str, list[Any]] = {"ips": [], "snips": [], "dr": []}
    for _ in range(500):
        log = logged(rng, 1500)
        for name, estimate in (("ips", ips), ("snips", snips), ("dr", doubly_robust)):
            found[name].append(estimate(log))
    width = {}
    for name, runs in found.items():
        means = np.array([r.mean for r in runs])
        assert abs(means.mean() - known) <= 3 * means.std(ddof=1) / np.sqrt(500) + 5e-4, name
        assert 0.93 <= np.mean([r.low <= known <= r.high for r in runs]) <= 0.97, name
        width[name] = float(np.mean([r.high - r.low for r in runs]))
    assert max(width["dr"], width["snips"]) < width["ips"]
    assert abs(truth(LOGGING) - known) > 0.01, "the policies differ, so this proves something"


def test_ignoring_the_places_above_is_biased_here() -> None:
    rng, known = np.random.default_rng(85), truth(TARGET)
    context, items, chance = slates(rng, 200_000, LOGGING)
    reward, target = rewards(rng, context, items), chances(TARGET, context, items)
    blank = np.zeros_like(reward)
    by = {
        b: ips(Logged(reward, *weights(target, chance, by=b), blank, blank, np.arange(len(reward))))
        for b in ("cascade", "position")
    }
    assert by["cascade"].low <= known <= by["cascade"].high
    assert not by["position"].low <= known <= by["position"].high


def test_intervals_are_clustered_by_listener() -> None:
    rng = np.random.default_rng(86)
    listener = np.repeat(np.arange(300), 20)
    hits = 0
    for _ in range(400):
        worth = rng.beta(1, 1, 300)[listener]
        action = rng.random(len(listener)) < 0.5
        reward = (rng.random(len(listener)) < worth * (0.5 + 0.5 * action)).astype(float)
        log = Logged.single(reward, np.where(action, 1.6, 0.4), listener)
        estimate = snips(log)
        hits += estimate.low <= 0.5 * (0.5 + 0.5 * 0.8) <= estimate.high
    assert 0.93 <= hits / 400 <= 0.97
    alone = snips(Logged.single(reward, np.where(action, 1.6, 0.4), np.arange(len(reward))))
    assert estimate.se > 1.5 * alone.se


def test_the_gate_says_not_informative_rather_than_pass() -> None:
    rng = np.random.default_rng(87)
    log = logged(rng, 20_000)
    fine = judge(log)
    assert fine.verdict == "pass"
    assert fine.overlap.averages_one
    assert fine.overlap.effective > 500
    assert judge(log, least_effective=1e6).verdict == "not informative"
    assert judge(log, second_moment=100.0).verdict == "not informative"
    wrong = Logged(log.reward, log.weight * 1.1, log.before, log.guess, log.value, log.cluster)
    told = judge(wrong)
    assert told.verdict == "not informative"
    assert any("not 1" in reason for reason in told.reasons)
    off = Logged(log.reward, log.weight, log.before, log.guess, log.value + 0.1, log.cluster)
    assert any("DR and SNIPS" in reason for reason in judge(off).reasons)


def test_the_gate_sees_a_worse_policy_and_a_worse_segment() -> None:
    rng = np.random.default_rng(88)
    n = 40_000
    segment = rng.random(n) < 0.3
    action = rng.random(n) < 0.5  # the judged policy always takes it
    reward = (rng.random(n) < 0.5 + np.where(segment, -0.1, 0.06) * action).astype(float)
    log = Logged.single(reward, np.where(action, 1.9, 0.1), np.arange(n))
    told = judge(log, {"newcomers": segment, "others": ~segment})
    assert told.verdict == "worse"
    assert [reason for reason in told.reasons if "newcomers" in reason]
    assert judge(log.only(~segment)).verdict == "pass"
    flipped = Logged.single(1 - reward, np.where(action, 1.9, 0.1), np.arange(n))
    assert judge(flipped.only(~segment)).reasons[0].startswith("clearly worse")


def test_the_design_knows_weights_that_a_lucky_sample_has_not_seen() -> None:
    target, logging = np.array([[0.5, 0.5]]), np.array([[0.9999, 0.0001]])
    moment = design_second_moment(target, logging)
    assert moment == pytest.approx(0.25 / 0.9999 + 0.25 / 0.0001)
    lucky = Logged.single(np.ones(2000), np.full(2000, 0.5 / 0.9999), np.arange(2000))
    assert overlap(lucky).effective == pytest.approx(2000)
    assert overlap(lucky, moment).design < 1
    assert np.isinf(design_second_moment(target, np.array([[1.0, 0.0]])))


@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_the_same_policy_is_worth_what_was_logged(n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    reward = rng.random((n + 1, k))
    reward[rng.random((n + 1, k)) < 0.2] = np.nan
    reward[0] = 0.5
    chance = np.where(np.isnan(reward), np.nan, rng.random((n + 1, k)) * 0.9 + 0.1)
    guess = rng.random((n + 1, k))
    log = Logged(reward, *weights(chance, chance), guess, guess, rng.integers(0, 5, n + 1))
    for estimate in (ips(log), snips(log), doubly_robust(log)):
        assert estimate.mean == pytest.approx(np.nanmean(reward))
        assert estimate.mean == pytest.approx(on_policy(log).mean)


def test_a_log_without_propensities_is_refused() -> None:
    with pytest.raises(ValueError, match="propensities"):
        weights(np.ones((1, 1)), np.zeros((1, 1)))


@pytest.fixture
def data() -> Path:
    folder = Path(os.environ.get("SEGUE_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not (folder / "open_bandit_small").exists():
        pytest.skip(f"no public logs in {folder}")
    return folder


def test_public_logs_agree_with_what_the_other_policy_was_really_worth(data: Path) -> None:
    rows = [
        judged(data / "open_bandit_small", c)
        for judged in (benchmark.from_random, benchmark.from_bts)
        for c in ("men", "women")
    ]
    rows.append(benchmark.coat(data / "coat"))
    for row in rows:
        assert row["ips_agrees"], row["log"]
        assert row["snips_agrees"], row["log"]
        assert row["dr_agrees"], row["log"]
    told = {str(row["log"]): row["verdict"] for row in rows}
    assert told["open bandit women: bts judges random"] == "not informative", (
        "propensities of a millionth: two effective samples"
    )
    assert told["open bandit men: bts judges random"] == "worse"
    assert told["open bandit men: random judges bts"] == "pass"
    coat = rows[-1]
    assert abs(float(coat["snips"]) - float(coat["known"])) < 0.5 * abs(float(coat["naive"]) - float(coat["known"]))
