"""Times as integers: parsing what comes from outside, and the part of the week that popularity is kept by."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WEEK_HOURS = 168
PARTS = 8
"""Night (0-6), morning (6-12), day (12-18), evening (18-24), on workdays 0-3 and on Saturday and Sunday 4-7."""

EARLIEST_MS = int(datetime(1995, 1, 1, tzinfo=UTC).timestamp() * 1000)
"""Nobody logged listening before: an event dated earlier is an error of the source."""
FUTURE_SLACK_MS = DAY_MS


def hour_of_week(at_ms: int, offset_minutes: int = 0) -> int:
    """Hour of the week, 0 = Monday 00:00, of a moment in a place that is offset_minutes east of UTC."""
    hours = (at_ms + offset_minutes * 60_000) // HOUR_MS
    return int((hours + 72) % WEEK_HOURS)  # 1970-01-01 was a Thursday


def hours_of_week(at_ms: NDArray[np.int64], offset_minutes: NDArray[np.int64] | int = 0) -> NDArray[np.int64]:
    """hour_of_week of many moments."""
    hours = (at_ms + np.asarray(offset_minutes, np.int64) * 60_000) // HOUR_MS
    return np.asarray((hours + 72) % WEEK_HOURS, np.int64)


def part_of_week(hour: int) -> int:
    """Part of the week, 0 to 7, of an hour of the week."""
    return (hour % 24) // 6 + (4 if hour >= 120 else 0)


def iso(at_ms: int) -> str:
    """2026-01-31T12:00:00Z."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


LATEST_S = 32_503_680_000
"""The year 3000: seconds beyond it, either way, are no time that anybody meant."""


def parse_time(value: str | int | float) -> int:
    """Milliseconds since 1970 of ISO 8601 text (UTC unless it says otherwise) or of Unix seconds; ValueError otherwise."""
    try:
        seconds = float(value)
    except ValueError:
        moment = datetime.fromisoformat(str(value).strip())
        seconds = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    if not abs(seconds) <= LATEST_S:
        raise ValueError(f"{value!r} is not between the years 940 and 3000")
    return round(seconds * 1000)
