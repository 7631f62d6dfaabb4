"""Groups of columns that cost nothing until a model names one: vectors of taste, ways, clock, audience, wishes and more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from segue.core.clock import DAY_MS, local_day
from segue.core.facts import tag_rows
from segue.core.types import MISSING, Bool, Float32, Int32, Items, Query
from segue.features.taste import LATEST
from segue.features.vectors import count_groups, fill_hours, fill_vectors, ways

Float64 = NDArray[np.float64]
GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "vectors": ("vector_user", "vector_taste", "vector_here", "vector_last"),
        "ways": ("lately", "span", "idle", "session_mean", "skips_in_a_row"),
        "clock": ("hour_sin", "hour_cos", "week_sin", "week_cos", "season_sin", "season_cos"),
        "audience": ("age_match", "region_match", "age_band", "device"),
        "wishes": ("asked", "asked_tags", "asked_artist"),
        "shelf": ("on_platform", "tags_number"),
        "language": ("language_match",),
        "holidays": ("holiday", "to_holiday"),
        "hours": ("hour_plays", "day_plays"),
    }
)
WIDE: tuple[str, ...] = tuple(name for names in GROUPS.values() for name in names)
YEAR_DAYS = 365.2425
HOUR_WEIGHTS: Float64 = np.exp2(-np.arange(24) / 3)
"""What a listener k hours ago counts in hour_plays: half of one three hours later."""
HOLIDAY_DAYS = 14
"""Days before a holiday from which on it is looked forward to."""
_STRANGER = np.zeros(0, np.float32)
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Around:
    """What the night hands to features besides the answers of the sources; an empty array where it has none.

    Vectors are those that a factor model learned: the inner product of a listener's and a song's says how much is liked, the
    cosine of two songs' how alike their listeners are.
    """

    users: Float32  # (u, d)
    items: Float32  # (n, d)
    by_age: Float32  # (n, age bands) log of a song's share of plays by the band over the band's share of all plays
    by_region: Float32  # (n, columns) the same by region
    regions: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    """The column of each region in by_region, below 0 for none."""
    holidays: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    """Days since 1970-01-01, ascending."""

    def __post_init__(self) -> None:
        """Read-only, as mapped files are: the kernels are compiled for one kind of array."""
        for name, table in vars(self).items():
            view = np.ascontiguousarray(table, np.int32 if name in ("regions", "holidays") else np.float32).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    @staticmethod
    def nothing() -> Around:
        """Every column that needs it is 0."""
        blank = np.zeros((0, 0), np.float32)
        return Around(blank, blank, blank, blank)


def fill_wide(
    out: Float32,
    groups: tuple[str, ...],
    query: Query,
    items: Int32,
    facts: Items,
    around: Around,
    hours: NDArray[np.uint16] | None = None,
) -> None:
    """Write the columns of some groups side by side into out (n, their columns), zeros so far, a candidate a row.

    Items beyond the facts or the vectors are strangers to them: 0. What is asked of the listener is asked of the newest LATEST
    plays and votes, as many as the state keeps whatever its settings and no more by night; hours (n, 24) are listeners by hour.
    Nothing here reads counts that state and history round differently, so both give the same bits.
    """
    at = 0
    for group in groups:
        width = len(GROUPS[group])
        part = out[:, at : at + width]
        at += width
        if group == "vectors":
            _vectors(part, query, items, around)
        elif group == "ways":
            part[:] = _ways(query)
        elif group == "clock":
            part[:] = _clock(query)
        elif group == "audience":
            part[:] = _audience(query, items, around)
        elif group == "wishes":
            part[:] = _wishes(query, items, facts)
        elif group == "shelf":
            part[:] = _shelf(query, items, facts)
        elif group == "language":
            part[:, 0] = _language(query, items, facts)
        elif group == "holidays":
            part[:] = _holidays(query, around)
        elif hours is not None:
            fill_hours(part, hours, HOUR_WEIGHTS)


def _vectors(out: Float32, query: Query, items: Int32, around: Around) -> None:
    """(n, 4): the listener's liking, in deviations of the candidates' from their mean, since each fit has another scale; then
    cosines with the means of the songs finished lately, finished in this session, and with the newest of them."""
    if len(around.items):
        recent, known = query.recent, 0 <= query.user < len(around.users)
        told = (recent.items[:LATEST].copy(), recent.signal[:LATEST].copy(), recent.in_session[:LATEST].copy())
        user = around.users[query.user].copy() if known else _STRANGER
        fill_vectors(out, around.items, items.copy(), user, told)


def _ways(query: Query) -> Float32:
    """(5,): log(1 + plays and votes that are looked at), log(1 + days they span), log(1 + hours since the newest), log of the
    mean number of plays without a gap of half an hour, how many of the newest were refused one after the other."""
    out = np.zeros(5, np.float32)
    if len(query.recent):
        ways(query.recent.at[:LATEST].copy(), query.recent.signal[:LATEST].copy(), query.now, out)
    return out


def _clock(query: Query) -> Float32:
    """(6,): hour of the day, hour of the week and day of the year, each as sine and cosine, local time of the region."""
    hour = query.context.hour_of_week
    turns = np.array([hour % 24 / 24, hour / 168, query.now / DAY_MS / YEAR_DAYS % 1]) * 2 * np.pi
    return np.column_stack((np.sin(turns), np.cos(turns))).reshape(-1).astype(np.float32)


def _audience(query: Query, items: Int32, around: Around) -> Float32:
    """(n, 4): how much more listeners of this age band, of this region, play the song than others; the band and the kind of
    device, both from 1, 0 not known."""
    out, context = np.zeros((len(items), 4), np.float32), query.context
    place = int(around.regions[context.region]) if 0 <= context.region < len(around.regions) else MISSING
    for column, (table, code) in enumerate(((around.by_age, context.age_band), (around.by_region, place))):
        if 0 <= code < table.shape[1]:
            known: Bool = items < len(table)
            out[known, column] = table[items[known], code]
    out[:, 2], out[:, 3] = context.age_band + 1, context.device + 1
    return out


def _wishes(query: Query, items: Int32, facts: Items) -> Float32:
    """(n, 3): whether the radio was started from something, the share of the tags asked for that the song has, 1 where its
    artist was asked for or is that of a song asked for."""
    out, seeds = np.zeros((len(items), 3), np.float32), query.seeds
    if not seeds:
        return out
    out[:, 0] = 1.0
    known = np.flatnonzero(items < len(facts))
    if len(seeds.tags):
        ptr, tags = tag_rows(facts, items[known])
        owner = np.repeat(known, np.diff(ptr))
        np.add.at(out[:, 1], owner[np.isin(tags, seeds.tags)], np.float32(1.0) / np.float32(len(seeds.tags)))
    of_songs = facts.artist[seeds.items[seeds.items < len(facts)]]
    artists = np.concatenate((seeds.artists, of_songs[of_songs != MISSING]))
    out[known, 2] = np.isin(facts.artist[items[known]], artists)
    return out


def _shelf(query: Query, items: Int32, facts: Items) -> Float32:
    """(n, 2): log(1 + days since the catalogue first saw the song), log(1 + its tags)."""
    out = np.zeros((len(items), 2), np.float32)
    known = np.flatnonzero(items < len(facts))
    days = np.maximum(query.now // DAY_MS - facts.added[items[known]].astype(np.int64), 0)
    out[known, 0] = np.log1p(days)
    out[known, 1] = np.log1p(facts.tags_ptr[items[known] + 1] - facts.tags_ptr[items[known]])
    return out


def _language(query: Query, items: Int32, facts: Items) -> Float32:
    """(n,): 1 where the song is in the listener's language, -1 where it is in another, 0 where either is not known or
    the song has no words."""
    out, mine = np.zeros(len(items), np.float32), query.context.language
    if mine != MISSING:
        known = items < len(facts.language)
        theirs = facts.language[items[known]]
        out[known] = np.where(theirs == MISSING, 0, np.where(theirs == mine, 1, -1))
    return out


def _holidays(query: Query, around: Around) -> tuple[float, float]:
    """Whether today is a holiday, and the days to the next one, at most HOLIDAY_DAYS; local days of the region."""
    today = local_day(query.now, query.context.hour_of_week)
    place = int(np.searchsorted(around.holidays, today))
    now = place < len(around.holidays) and int(around.holidays[place]) == today
    place += now
    ahead = int(around.holidays[place]) - today if place < len(around.holidays) else HOLIDAY_DAYS
    return float(now), float(min(ahead, HOLIDAY_DAYS))


def lift_of(user: Int32, item: Int32, group: NDArray[np.integer], sizes: tuple[int, int], strength: float = 20.0) -> Float32:
    """A table of Around from plays (m,) of users who are in a group each (u,), below 0 not known; sizes: (n_items, groups).

    log((plays of the song by the group + strength * share of the group) / (plays of the song + strength) / share of the group),
    float32: 0 for a song that nobody has played; shrunk as by `strength` plays of everybody.
    """
    n_items, groups = sizes
    out = np.zeros((n_items, groups), np.float32)
    count_groups(user, item, np.ascontiguousarray(group, np.int32), out)
    share = (out.sum(axis=0, dtype=np.float64) + 1.0) / (out.sum(dtype=np.float64) + groups)
    for start in range(0, n_items, _BLOCK):  # in place: a million songs by 64 regions are a quarter of a gigabyte
        plays = out[start : start + _BLOCK].astype(np.float64)
        lift = (plays + strength * share) / (plays.sum(axis=1, keepdims=True) + strength) / share
        out[start : start + _BLOCK] = np.log(lift)
    return out
