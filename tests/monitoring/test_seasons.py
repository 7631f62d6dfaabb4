"""The CUSUM keeps what it promises: at most one false alarm a year, a fall of 4 % found in two days (median)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segue.benchmarks.monitor import delays, false_alarms, weeks
from segue.monitoring.rules import ALARM, FIRST_METRIC_DAYS, WARN
from segue.monitoring.seasons import Course, boundary, cusum, residuals


def course(values: NDArray[np.float64], drop: float = ALARM, days: float = FIRST_METRIC_DAYS, **more: Any) -> Course:
    return cusum(residuals(values, np.ones_like(values)), drop=drop, days=days, **more)


@pytest.mark.parametrize("noise", ["hours", "days"])
def test_at_most_one_false_alarm_a_year(noise: str) -> None:
    found = course(weeks(np.random.default_rng(5), 150, 60, noise))
    a_year = false_alarms(found)
    assert a_year.mean() + 1.64 * a_year.std() / np.sqrt(len(a_year)) <= 1.0


@pytest.mark.parametrize("noise", ["hours", "days"])
def test_a_fall_of_four_percent_is_found_in_two_days(noise: str) -> None:
    rng = np.random.default_rng(6)
    values = weeks(rng, 400, 12, noise)
    begins = rng.integers(9 * 168, 10 * 168, len(values))
    values[np.arange(values.shape[1]) >= begins[:, None]] *= 1 - 0.04
    found = course(values)
    delay = delays(found, begins)
    assert np.isfinite(delay).all(), "every one is found"
    assert np.median(delay) <= 2.0
    at = (begins + 24 * delay).round().astype(int)
    onset = found.onset[np.arange(len(at)), at]
    assert np.median(np.abs(onset - begins)) < 36, "it knows when it began, to a day"
    warned = delays(course(values, WARN, FIRST_METRIC_DAYS / 4), begins)
    assert np.median(warned) <= np.median(delay)


def test_growth_is_no_alarm_and_a_rise_is_one_for_skips() -> None:
    rng = np.random.default_rng(7)
    values = weeks(rng, 40, 16, "days")
    assert not course(values * 1.01 ** (np.arange(16 * 168) / 168)).raised.any(axis=1).mean() > 0.3
    risen = values * np.where(np.arange(16 * 168) >= 14 * 168, 1.06, 1.0)
    assert course(risen, good=-1.0).raised[:, 15 * 168 :].any(axis=1).all()
    assert not course(risen).raised[:, 15 * 168 :].any(axis=1).mean() > 0.2


def test_nothing_is_said_of_the_first_two_weeks_and_of_hours_that_are_not_over() -> None:
    values = weeks(np.random.default_rng(8), 1, 4, "days")
    den = np.ones_like(values)
    values[:, 3 * 168 + 30 :], den[:, 3 * 168 + 30 :] = 0.0, 0.0
    found = residuals(values, den)
    assert np.isnan(found.expected[0, : 2 * 168]).all()
    assert not found.residual[0, 3 * 168 + 30 :].any()
    assert not cusum(found, drop=0.04, days=450).raised[0, 3 * 168 + 30 :].any()


def test_the_boundary_is_that_of_a_simulated_walk() -> None:
    """Siegmund's formula against walks of independent hours: the mean run length is within a fifth of what was asked."""
    rng, height, asked = np.random.default_rng(9), boundary(0.04, 0.02, 24.0, 60.0), 60.0
    score, ended = np.zeros(600), np.zeros(600)
    for hour in range(24 * 500):
        going = ended == 0
        if not going.any():
            break
        score = np.maximum(score + rng.normal(-0.02 / 24, 0.02 / np.sqrt(24), 600), 0)
        ended[going & (score >= height)] = hour + 1
    days = np.where(ended > 0, ended, 24 * 500) / 24
    assert asked * 0.8 < days.mean() < asked * 1.25
