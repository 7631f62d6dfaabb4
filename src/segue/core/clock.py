"""Times as integers: parsing what comes from outside, and the part of the week that popularity is kept by."""

from __future__ import annotations

from bisect import bisect_right
from calendar import isleap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

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


@dataclass(frozen=True)
class Zone:
    """A place whose clocks change: `minutes` east of UTC from each of `since` on (ms, ascending); before, the first."""

    since: tuple[int, ...]
    minutes: tuple[int, ...]


Offset = int | Zone
"""Minutes east of UTC, always or by season."""


def offset_at(place: Offset, at_ms: int) -> int:
    """Minutes east of UTC of a place at a moment."""
    if isinstance(place, int):
        return place
    return place.minutes[max(bisect_right(place.since, at_ms) - 1, 0)]


def offsets_at(place: Offset, at_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """offset_at of many moments."""
    if isinstance(place, int):
        return np.full(len(at_ms), place, np.int64)
    turn = np.searchsorted(np.array(place.since, np.int64), at_ms, "right") - 1
    return np.array(place.minutes, np.int64)[np.maximum(turn, 0)]


@lru_cache(maxsize=1024)
def zone(name: str) -> Offset:
    """A time zone such as "Europe/Berlin", 1995 to 2100, by the tables of this machine; ValueError for what they do not name.

    Every fortnight is looked at, and a change between two of them sought to the second: 3 ms a zone.
    """
    try:
        rules = ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ValueError(
            f"expected minutes east of UTC or a time zone such as Europe/Berlin, found {name!r}, "
            "which is not among the zones of this machine (package tzdata, of the system or of pip)"
        ) from None

    def minutes(second: int) -> int:
        told = datetime.fromtimestamp(second, rules).utcoffset()
        return int(told.total_seconds()) // 60 if told is not None else 0

    last = EARLIEST_MS // 1000
    since, told = [last], [minutes(last)]
    for second in range(last, 4_102_444_800, 14 * 86_400):
        if minutes(second) != told[-1]:
            before, after = last, second
            while after - before > 1:
                middle = (before + after) // 2
                before, after = (middle, after) if minutes(middle) == told[-1] else (before, middle)
            since.append(after)
            told.append(minutes(second))
        last = second
    return Zone(tuple(1000 * second for second in since), tuple(told)) if len(told) > 1 else told[0]


def part_of_week(hour: int) -> int:
    """Part of the week, 0 to 7, of an hour of the week."""
    return (hour % 24) // 6 + (4 if hour >= 120 else 0)


def local_day(at_ms: int, hour: int) -> int:
    """Days since 1970-01-01 where the hour of the week is `hour` at this moment: of the places with that clock, the nearest
    to UTC, at most 84 hours away."""
    hours = at_ms // HOUR_MS
    ahead = (hour - (hours + 72)) % WEEK_HOURS
    return (hours + (ahead if ahead < WEEK_HOURS // 2 else ahead - WEEK_HOURS)) // 24


def calendar_days(dates: Sequence[str]) -> NDArray[np.int32]:
    """Days since 1970-01-01 of dates, ascending and distinct: "2026-12-25" is one, "12-25" one a year, 1995 to 2105.

    02-29 comes in leap years. ValueError for what is no date.
    """
    found: set[int] = set()
    for text in dates:
        for year in (text,) if len(text) == 10 else (f"{year}-{text}" for year in range(1995, 2106)):
            if text == "02-29" and not isleap(int(year[:4])):
                continue
            found.add(date.fromisoformat(year).toordinal() - date(1970, 1, 1).toordinal())
    return np.array(sorted(found), np.int32)


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
