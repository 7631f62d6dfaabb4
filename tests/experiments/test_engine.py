"""The statistics that decide, proved by thousands of experiments in which the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from many_experiments import DISTRIBUTIONS, experiments, plays
from scipy.special import ndtri

from segue.experiments.clustered import Effect, Sample, compare
from segue.experiments.mismatch import log_evidence
from segue.experiments.sequences import half_widths, interval, tuned_rho
from segue.experiments.spending import boundaries, precise_enough

RUNS, DAYS, USERS = 4000, 14, 100
FRACTIONS = [(k + 1) / DAYS for k in range(DAYS)]
RHO = tuned_rho(2 * DAYS * USERS, 0.05)
Z = float(ndtri(0.975))


@pytest.fixture(scope="module", params=DISTRIBUTIONS)
def nothing(request: pytest.FixtureRequest) -> Effect:
    """Thousands of experiments in which old and new are the same, looked at every day."""
    rng = np.random.default_rng([61, list(DISTRIBUTIONS).index(request.param)])
    return experiments(DISTRIBUTIONS[request.param], rng, runs=RUNS, days=DAYS, users=USERS)


def test_peeking_every_day_finds_nothing_in_nothing_too_often_only_without_the_sequence(nothing: Effect) -> None:
    z = np.abs(nothing.z)
    sequence = (z > half_widths(nothing.n, 0.05, rho=RHO)).any(axis=1).mean()
    sequential = (z > boundaries(FRACTIONS, 0.05)).any(axis=1).mean()
    fixed, peeked = (z[:, -1] > Z).mean(), (z > Z).any(axis=1).mean()
    print(
        f"false positives: sequence {sequence:.4f}, group sequential {sequential:.4f}, fixed {fixed:.4f}, peeked {peeked:.4f}"
    )
    assert sequence <= 0.05
    assert abs(sequential - 0.05) <= 0.015
    assert abs(fixed - 0.05) <= 0.015
    assert peeked > 0.15, "a plain interval that is looked at every day must be seen to fail, or this test proves nothing"


def test_precision_stopping_keeps_its_level_though_it_stops_when_it_likes(nothing: Effect) -> None:
    wanted = float(np.median(nothing.se[:, 9])) * Z
    stop = precise_enough(nothing.se, nothing.n, wanted, 0.05)
    stop[:, -1] = True
    at = stop.argmax(axis=1)
    rows = np.arange(RUNS)
    wrong = np.abs(nothing.diff[rows, at]) > Z * nothing.se[rows, at]
    assert len(np.unique(at)) > 2
    assert abs(wrong.mean() - 0.05) <= 0.015


@pytest.mark.parametrize("name", ["ratio of plays", "heavy listening time"])
def test_intervals_cover_the_truth_and_real_effects_are_found(name: str) -> None:
    lift = 0.08 if name == "ratio of plays" else 0.12
    found = experiments(
        DISTRIBUTIONS[name], np.random.default_rng([62, len(name)]), runs=1000, days=DAYS, users=USERS, lift=lift
    )
    truth = lift * {"ratio of plays": 0.6, "heavy listening time": float(np.exp(3.5))}[name]
    low, high = interval(found.diff, found.se, found.n, 0.05, rho=RHO)
    assert ((low <= truth) & (truth <= high)).all(axis=1).mean() >= 0.95, "at all looks together"
    last = np.abs(found.diff[:, -1] - truth) <= Z * found.se[:, -1]
    assert 0.935 <= last.mean() <= 0.965
    lift_low, lift_high = found.lift_interval(Z)
    assert 0.935 <= ((lift_low[:, -1] <= lift) & (lift <= lift_high[:, -1])).mean() <= 0.965
    z = found.z
    one_look = (z[:, -1] > Z).mean()
    assert one_look > 0.6, "the effect is one that a single look finds"
    assert (z > boundaries(FRACTIONS, 0.05)).any(axis=1).mean() > one_look - 0.04, "looking every day costs little power"
    assert (low > 0).any(axis=1).mean() > one_look - 0.35, "being valid at any time costs more"


LISTENERS = 400


def split_experiments(split: str, rng: np.random.Generator, runs: int) -> tuple[float, float]:
    """False positives of the clustered and of the naive test of requests: LISTENERS, some with many sessions and requests."""
    clustered = naive = 0
    everybody = np.arange(LISTENERS)
    for _ in range(runs):
        user_of_session = np.repeat(everybody, rng.geometric(0.35, LISTENERS))
        requests = rng.geometric(0.25, len(user_of_session))
        session = np.repeat(np.arange(len(user_of_session)), requests)
        user = user_of_session[session]
        size = {"user": LISTENERS, "session": len(user_of_session), "request": len(user)}[split]
        coin = rng.integers(0, 2, size)
        arm = coin[{"user": user, "session": session, "request": np.arange(len(user))}[split]]
        chance = rng.beta(1.5, 1.5, LISTENERS)[user] * 0.8 + rng.beta(1, 1, len(user_of_session))[session] * 0.2
        hit = rng.random(len(user)) < chance
        count = np.bincount(2 * user + arm, minlength=2 * LISTENERS).reshape(LISTENERS, 2).astype(np.float64)
        listened = np.bincount(2 * user + arm, hit, minlength=2 * LISTENERS).reshape(LISTENERS, 2)
        there = [np.flatnonzero(count[:, a]) for a in (0, 1)]
        e = compare(*(Sample(there[a], listened[there[a], a], count[there[a], a]) for a in (0, 1)))
        clustered += abs(e.diff) > Z * e.se
        n, p = count.sum(axis=0), listened.sum(axis=0) / count.sum(axis=0)
        naive += abs(p[1] - p[0]) > Z * np.sqrt((p * (1 - p) / n).sum())
    return clustered / runs, naive / runs


@pytest.mark.parametrize("split", ["user", "session", "request"])
def test_one_clustered_formula_for_every_split_and_the_naive_one_fails(split: str) -> None:
    clustered, naive = split_experiments(split, np.random.default_rng([63, len(split)]), 2000)
    assert abs(clustered - 0.05) <= 0.011
    if split == "user":
        assert naive >= 0.30, "the negative control: a test of requests must fail here, or the simulation is too tame"


def test_a_mismatch_test_looked_at_after_every_hour_seldom_cries_and_finds_a_real_loss() -> None:
    rng = np.random.default_rng(64)
    fair = rng.multinomial(100, [0.8, 0.1, 0.1], (2000, 200)).cumsum(axis=1)
    assert (log_evidence(fair, [0.8, 0.1, 0.1]) > np.log(20)).any(axis=1).mean() <= 0.05
    lossy = rng.multinomial(100, [0.81, 0.1, 0.09], (200, 400)).cumsum(axis=1)
    assert (log_evidence(lossy, [0.8, 0.1, 0.1]) > np.log(20)).any(axis=1).mean() >= 0.9


def test_cuped_narrows_and_stays_honest() -> None:
    rng = np.random.default_rng(65)
    wrong, narrower = 0, []
    for _ in range(1000):
        samples = []
        for arm in (0, 1):
            taste, rate = rng.beta(3, 2, 400), rng.gamma(1.0, 20.0, 400) + 2
            before, now = rng.poisson(rate) + 1.0, rng.poisson(rate) + 1.0
            samples.append(Sample(np.arange(400) + 1000 * arm, rng.binomial(now.astype(int), taste).astype(float), now,
                                  rng.binomial(before.astype(int), taste).astype(float), before))  # fmt: skip
        plain, adjusted = compare(*samples), compare(*samples, cuped=True)
        wrong += abs(adjusted.diff) > Z * adjusted.se
        narrower.append(adjusted.se / plain.se)
    assert abs(wrong / 1000 - 0.05) <= 0.02
    assert np.mean(narrower) < 0.6


def test_users_in_both_arms_are_their_own_control() -> None:
    rng = np.random.default_rng(66)
    num, den = plays(rng, (500,), 30.0)
    user = np.arange(500)
    noise = rng.binomial(3, 0.5, 500)
    e = compare(Sample(user, num, den + 3), Sample(user, num + noise, den + 3))
    apart = compare(Sample(user, num, den + 3), Sample(user + 500, num + noise, den + 3))
    assert e.diff == apart.diff
    assert e.se < 0.25 * apart.se
    with pytest.raises(ValueError, match="own control"):
        compare(Sample(user, num, den, num, den), Sample(user, num, den, num, den), cuped=True)
