"""The bootstrap: right width, seeded, covers the truth as often as it says, and pairing narrows it."""

import numpy as np
import pytest

from segue.evaluation.intervals import bootstrap, bootstrap_all, paired, ratios


def test_width_matches_theory() -> None:
    values = np.random.default_rng(1).normal(5.0, 2.0, 4000)
    got = bootstrap(values, np.random.default_rng(2), rounds=2000)
    assert got.mean == pytest.approx(values.mean())
    assert got.n == 4000
    assert (got.high - got.low) / 2 == pytest.approx(1.96 * values.std() / np.sqrt(4000), rel=0.08)


def test_same_seed_same_interval() -> None:
    values = np.random.default_rng(1).random(100)
    assert bootstrap(values, np.random.default_rng(7)) == bootstrap(values, np.random.default_rng(7))
    assert bootstrap(values, np.random.default_rng(7)) != bootstrap(values, np.random.default_rng(8))


def test_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(300):
        got = bootstrap(rng.exponential(1.0, 80), rng, level=0.9, rounds=300)
        inside += got.low <= 1.0 <= got.high
    assert 0.84 <= inside / 300 <= 0.95


def test_pairing_sees_what_the_plain_interval_cannot() -> None:
    rng = np.random.default_rng(4)
    users = rng.normal(0, 1, 500)
    ours = users + 0.05 + rng.normal(0, 0.05, 500)
    theirs = users + rng.normal(0, 0.05, 500)
    assert paired(ours, theirs, rng).low > 0
    assert bootstrap(ours, rng).low < bootstrap(theirs, rng).high


def test_missing_values_and_nothing() -> None:
    got = paired(np.array([1.0, np.nan, 3.0]), np.array([0.0, 5.0, np.nan]), np.random.default_rng(0))
    assert (got.mean, got.low, got.high, got.n) == (1.0, 1.0, 1.0, 1)
    assert bootstrap(np.array([np.nan]), np.random.default_rng(0)).n == 0
    with pytest.raises(ValueError, match="both sides"):
        paired(np.zeros(2), np.zeros(3), np.random.default_rng(0))


def test_many_rounds_in_blocks() -> None:
    """More draws than one block holds: the interval is still that of all rounds."""
    values = np.arange(2000.0) % 10
    got = bootstrap(values, np.random.default_rng(5), rounds=1200)
    assert got.low < 4.5 < got.high
    assert got.high - got.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(2000), rel=0.1)


def test_all_columns_at_once_are_each_as_alone() -> None:
    rng = np.random.default_rng(6)
    table = np.column_stack([rng.random(400), rng.normal(3, 2, 400), np.full(400, np.nan)])
    table[::3, 1] = np.nan
    got = bootstrap_all(table, np.random.default_rng(0), rounds=4000)
    for column in (0, 1):
        one = bootstrap(table[:, column], np.random.default_rng(1), rounds=4000)
        assert got[column].mean == pytest.approx(one.mean, abs=1e-12)
        assert got[column].n == one.n
        width = one.high - one.low
        assert got[column].low == pytest.approx(one.low, abs=0.1 * width)
        assert got[column].high == pytest.approx(one.high, abs=0.1 * width)
    assert got[2].n == 0
    assert np.isnan(got[2].mean)
    assert bootstrap_all(np.zeros((0, 2)), rng)[1].n == 0


def test_columns_share_their_draws() -> None:
    """A column and its double have the same interval, doubled."""
    values = np.random.default_rng(8).random(50)
    one, two = bootstrap_all(np.column_stack([values, 2 * values]), np.random.default_rng(0))
    assert two.low == pytest.approx(2 * one.low)
    assert two.high == pytest.approx(2 * one.high)


def test_a_ratio_draws_users_with_all_they_have() -> None:
    """Every rating of a user errs alike: the mean over ratings is as sure as the number of users lets it be, no surer."""
    rng = np.random.default_rng(9)
    counts = rng.integers(1, 50, 300).astype(np.float64)
    same = ratios((0.5 * counts)[:, None], counts[:, None], np.random.default_rng(0))[0]
    assert (same.mean, same.low, same.high, same.n) == (0.5, pytest.approx(0.5), pytest.approx(0.5), 300)
    error = rng.normal(1, 0.3, 300)
    got = ratios((error * counts)[:, None], counts[:, None], np.random.default_rng(0), rounds=4000)[0]
    assert got.mean == pytest.approx((error * counts).sum() / counts.sum())
    deviation = np.sqrt(np.mean(((error - got.mean) * counts) ** 2) / 300) / counts.mean()
    assert (got.high - got.low) / 2 == pytest.approx(1.96 * deviation, rel=0.1)
