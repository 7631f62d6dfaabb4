"""Days: of a calendar, and of places with another clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.core.clock import Zone, calendar_days, hour_of_week, local_day, offset_at, offsets_at, zone

EPOCH = date(1970, 1, 1)


@given(
    st.datetimes(datetime(1995, 1, 1), datetime(2100, 1, 1)),
    st.integers(-12 * 4, 14 * 4).map(lambda quarters: 15 * quarters),
)
def test_the_local_day_follows_from_the_local_hour(naive: datetime, offset: int) -> None:
    when = naive.replace(tzinfo=UTC)
    now = round(when.timestamp() * 1000)
    there = when.astimezone(timezone(timedelta(minutes=offset))).date()
    assert local_day(now, hour_of_week(now, offset)) == (there - EPOCH).days


@given(
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kolkata", "UTC"]),
    st.lists(st.datetimes(datetime(1995, 1, 1), datetime(2099, 12, 1)), min_size=1, max_size=20),
)
def test_a_zone_is_what_its_name_says(name: str, naive: list[datetime]) -> None:
    place, rules = zone(name), ZoneInfo(name)
    moments = [when.replace(tzinfo=UTC) for when in naive]
    at = np.array([round(when.timestamp() * 1000) for when in moments])
    wanted = [round(when.astimezone(rules).utcoffset().total_seconds()) // 60 for when in moments]  # type: ignore[union-attr]
    assert [offset_at(place, int(moment)) for moment in at] == offsets_at(place, at).tolist() == wanted


def test_clocks_change_to_the_second_and_a_place_without_summer_is_a_number() -> None:
    assert zone("Asia/Kolkata") == 330
    berlin = zone("Europe/Berlin")
    assert isinstance(berlin, Zone)
    spring = round(datetime(2026, 3, 29, 1, tzinfo=UTC).timestamp() * 1000)
    assert (offset_at(berlin, spring - 1), offset_at(berlin, spring)) == (60, 120)
    assert offset_at(berlin, 0) == 60, "before 1995 as then"
    for wrong in ("Europe/Atlantis", "../etc/passwd", "", "Europe"):
        with pytest.raises(ValueError, match="such as Europe/Berlin"):
            zone(wrong)


def test_calendar_days() -> None:
    days = calendar_days(["12-25", "2026-04-05", "2026-12-25", "02-29"])
    assert (days[1:] > days[:-1]).all()
    found = {EPOCH + timedelta(int(day)) for day in days}
    assert date(2026, 4, 5) in found
    assert date(2027, 4, 5) not in found
    assert {date(year, 12, 25) for year in range(1995, 2106)} <= found
    assert date(2028, 2, 29) in found
    assert len(found) == 111 + 1 + 27
    assert len(calendar_days([])) == 0


@pytest.mark.parametrize("text", ["2026-02-30", "13-01", "2100-02-29", "soon"])
def test_what_is_no_date(text: str) -> None:
    with pytest.raises(ValueError, match=r"date|month|day|string"):
        calendar_days([text])
