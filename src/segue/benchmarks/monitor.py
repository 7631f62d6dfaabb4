"""`segue benchmark monitor`: false alarms a year and days until a fall is found, of the CUSUM that watches the key metrics."""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from segue.core.errors import BadInput
from segue.monitoring.rules import ALARM, FIRST_METRIC_DAYS, OTHER_METRIC_DAYS
from segue.monitoring.seasons import Course, cusum, residuals

SHAPE = 1 + 0.5 * np.sin(np.arange(168) / 24 * 2 * np.pi) + 0.1 * (np.arange(168) >= 120)
LEARNED, WATCHED = 8, 52
"""Weeks before counting begins, and weeks that are counted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Runs, and what is to be found."""
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--noise", type=float, default=0.015, help="standard deviation of a day, relative")
    parser.add_argument("--fall", type=float, default=0.04)
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> dict[str, object]:
    """Both kinds of noise, both budgets of false alarms."""
    if args.runs < 2 or not 0 < args.noise < 1 or not 0 < args.fall < 1:
        raise BadInput("--runs, --noise, --fall: expected at least 2 runs, and shares between 0 and 1")
    out: dict[str, object] = {"runs": args.runs, "noise": args.noise, "fall": args.fall, "seed": args.seed}
    for name in ("hours", "days"):
        rng = np.random.default_rng(args.seed)
        quiet = residuals(*_ones(weeks(rng, args.runs, LEARNED + WATCHED, name, args.noise)))
        values = weeks(rng, args.runs, LEARNED + 8, name, args.noise)
        begins = rng.integers(9 * 168, 10 * 168, args.runs)
        values[np.arange(values.shape[1]) >= begins[:, None]] *= 1 - args.fall
        fallen = residuals(*_ones(values))
        for days, which in ((FIRST_METRIC_DAYS, "first metric"), (OTHER_METRIC_DAYS, "other metrics")):
            a_year = false_alarms(cusum(quiet, drop=ALARM, days=days))
            delay = delays(cusum(fallen, drop=ALARM, days=days), begins)
            se = float(a_year.std() / np.sqrt(args.runs))
            out[f"{which}, noise of {name}"] = {
                "false_alarms_a_year": round(float(a_year.mean()), 3), "se": round(se, 3),
                "median_days": round(float(np.median(delay)), 2), "p90_days": round(float(np.quantile(delay, 0.9)), 2),
                "found": float(np.isfinite(delay).mean()),
            }  # fmt: skip
    return out


def weeks(rng: np.random.Generator, runs: int, n: int, noise: str, sd: float = 0.015) -> NDArray[np.float64]:
    """(runs, hours) of a share with its seasons; `sd` of daily noise: of "hours", each for itself, or of whole "days"."""
    if noise == "days":
        errors = np.repeat(rng.normal(0, sd, (runs, n * 7)), 24, axis=1)
    else:
        parts = SHAPE.reshape(7, 24)
        each = np.repeat(np.sqrt((parts**2).sum(1)) / parts.sum(1), 24)
        errors = rng.normal(0, sd, (runs, n * 168)) / np.tile(each, n)
    return np.asarray(0.6 * np.tile(SHAPE, n) * (1 + errors), np.float64)


def _ones(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return values, np.ones_like(values)


def false_alarms(course: Course) -> NDArray[np.float64]:
    """Alarms a year of each run that holds no fault, (runs,)."""
    first = LEARNED * 168
    new = course.raised[:, first:] & ~course.raised[:, first - 1 : -1]
    return np.asarray(new.sum(1) / (new.shape[1] / 24) * 365, np.float64)


def delays(course: Course, begins: NDArray[np.int64]) -> NDArray[np.float64]:
    """Days from each fall to its alarm, (runs,), infinite where there is none."""
    after = course.raised & (np.arange(course.raised.shape[1]) >= begins[:, None])
    return np.where(after.any(axis=1), (after.argmax(axis=1) - begins) / 24, np.inf)
