"""The rules over tallies and slates: each says what is off, since when, and where to look."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segue.core.clock import DAY_MS, HOUR_MS, iso
from segue.monitoring.alarms import Level, Signal
from segue.monitoring.seasons import Course, Residuals, cusum, residuals
from segue.monitoring.slates import Slates
from segue.monitoring.tallies import METRICS, Tallies

Float64 = NDArray[np.float64]
WARN, ALARM = 0.03, 0.04
"""Drops that the CUSUMs of key metrics are made for."""
FIRST_METRIC_DAYS, OTHER_METRIC_DAYS, SEGMENT_DAYS = 450.0, 14_600.0, 14_600.0
"""Days between false alarms: 450 for the first metric, forty years for each of the eight others; together one a year."""
SEGMENT_DROP = 0.10
LEAST_MISSED = 200.0
"""Events that must have been expected since the newest one before their absence is believed: some twenty sessions."""
LOOKS: Final = {
    "listened_share": "what changed first, the sources and features below, the newest model, running experiments",
    "sessions": "the player and its network: do listeners reach the service?",
    "session_time": "skips and sources below; a player that reports heard time in another unit",
    "session_length": "skips, repeats, and running experiments",
    "skip_rate": "sources and features below, the newest model, running experiments",
    "engagement": "the player's like and save buttons, then the newest model",
    "events": "the player's event queue, the network, and this server's log",
    "churn_7": "what listeners met a week ago: alarms and releases of that time",
    "churn_14": "what listeners met two weeks ago: alarms and releases of that time",
}


@dataclass(frozen=True)
class Watch:
    """One metric of one group with its courses: arrays by hour from `base` on."""

    metric: str
    group: tuple[str, int]
    base: int
    hours: int  # that are over
    num: Float64
    den: Float64
    found: Residuals
    warn: Course
    alarm: Course

    def began(self, course: Course) -> int:
        """ms since when it has been off: the likeliest change after the CUSUM was last at 0.

        The hour t that makes (sum of residuals since t)^2 / (hours since t) largest (Hinkley 1970): a CUSUM may have wandered
        above 0 by chance for days before.
        """
        low = int(course.onset[self.hours - 1]) if self.hours else 0
        off = self.found.residual[low : self.hours][::-1]
        if not len(off):
            return int(self.base + self.hours * HOUR_MS)
        total = np.cumsum(-METRICS[self.metric].good * off)
        score = np.where(total > 0, total**2, 0.0) / np.arange(1, len(off) + 1)
        return int(self.base + (self.hours - 1 - int(np.argmax(score))) * HOUR_MS)

    def fall(self, since: int | None = None) -> tuple[float, float]:
        """How far the metric lies off, relative to what was expected, since then, and the standard error of that."""
        low = ((self.began(self.alarm) if since is None else since) - self.base) // HOUR_MS
        part = slice(max(int(low), 0), self.hours)
        told = np.isfinite(self.found.expected[part])
        days = max(told.sum() / 24.0, 1 / 24.0)
        sigma = self.found.sigma[self.hours - 1] if self.hours else np.nan
        return float(self.found.residual[part][told].sum() / days), float(sigma / np.sqrt(days))


def watch(tallies: Tallies, now: int) -> list[Watch]:
    """Every metric of everybody, and the first one of every other group."""
    if tallies.base < 0:
        return []
    tallies.until(now)
    wanted = [(name, ("all", 0)) for name in METRICS]
    wanted += [("listened_share", group) for group in tallies.groups if group[0] != "all"]
    hours = int(min(max((now - tallies.base) // HOUR_MS, 0), tallies.sums.shape[1]))
    pairs = [tallies.series(name, group, now) for name, group in wanted]
    num, den = np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])
    found = residuals(num, den)
    out = []
    kinds = [_kind(name, group) for name, group in wanted]
    for kind in sorted(set(kinds)):
        rows = [k for k, one in enumerate(kinds) if one == kind]
        drop, days, good = kind
        part = Residuals(*(getattr(found, f)[rows] for f in ("residual", "expected", "sigma", "steps")))
        part = replace(part, residual=np.where(np.arange(num.shape[1]) < hours, part.residual, 0.0))
        alarm = cusum(part, drop=drop, days=days, good=good)
        warn = cusum(part, drop=drop * WARN / ALARM, days=days / 4, good=good)
        for k, row in enumerate(rows):
            mine = Residuals(*(getattr(part, f)[k] for f in ("residual", "expected", "sigma", "steps")))
            courses = (Course(c.height[k], c.onset[k], c.raised[k]) for c in (warn, alarm))
            out.append((row, Watch(*wanted[row], tallies.base, hours, num[row], den[row], mine, *courses)))
    return [one for _, one in sorted(out, key=lambda pair: pair[0])]


def _kind(metric: str, group: tuple[str, int]) -> tuple[float, float, float]:
    if group[0] != "all":
        return SEGMENT_DROP, SEGMENT_DAYS, float(METRICS[metric].good)
    first = metric == next(iter(METRICS))
    return ALARM, FIRST_METRIC_DAYS if first else OTHER_METRIC_DAYS, float(METRICS[metric].good)


def metrics(watches: list[Watch], names: dict[tuple[str, int], str]) -> list[Signal]:
    """Metrics and segments whose CUSUM is raised."""
    out = []
    model_or_world = verdict(watches)
    for one in watches:
        if not one.hours or one.group[0] == "reference":
            continue
        raised: Level | None = (
            "alarm" if one.alarm.raised[one.hours - 1] else "warning" if one.warn.raised[one.hours - 1] else None
        )
        if raised is None:
            continue
        course = one.alarm if raised == "alarm" else one.warn
        since = one.began(course)
        off, se = one.fall(since)
        where = "" if one.group[0] == "all" else f" in {names.get(one.group, f'{one.group[0]} {one.group[1]}')}"
        words = f"{METRICS[one.metric].text}{where}: {off:+.1%} (± {1.96 * se:.1%}) against what is usual, since {iso(since)}"
        if one.metric == "listened_share" and one.group[0] == "all" and model_or_world:
            words += f"; {model_or_world}"
        subject = one.metric if one.group[0] == "all" else f"{one.metric} {one.group[0]} {one.group[1]}"
        rule = "metric" if one.group[0] == "all" else "segment"
        level = raised if rule == "metric" else "warning"
        out.append(Signal(rule, subject, level, since, words, LOOKS[one.metric], round(off, 4), 0.0))
    return out


def verdict(watches: list[Watch]) -> str:
    """Whether the reference policy, which no night changes, fell as well; "" where there is none or nothing fell."""
    by_group = {one.group: one for one in watches if one.metric == "listened_share"}
    ours, theirs = by_group.get(("all", 0)), by_group.get(("reference", 0))
    if ours is None or theirs is None or not ours.hours or ours.warn.height[ours.hours - 1] <= 0:
        return ""
    since = ours.began(ours.warn)
    (fell, _), (other, se) = ours.fall(since), theirs.fall(since)
    if not np.isfinite(se) or fell >= 0:
        return ""
    if other - 1.64 * se > fell / 2:
        return f"the reference policy did not fall so ({other:+.1%} ± {1.96 * se:.1%}): look at the model and what it reads"
    if other + 1.64 * se < fell / 2:
        return f"the reference policy fell as well ({other:+.1%} ± {1.96 * se:.1%}): the world changed, or the player did"
    return f"the reference policy cannot tell yet whether the model or the world changed ({other:+.1%} ± {1.96 * se:.1%})"


def stopped(tallies: Tallies, now: int) -> list[Signal]:
    """Events that stop: so many were expected since the newest one, and none came."""
    if tallies.base < 0 or now <= tallies.newest:
        return []
    missed = expected_events(tallies, tallies.newest, now)
    if missed < LEAST_MISSED:
        return []
    words = f"no event since {iso(tallies.newest)}: about {missed:,.0f} were expected by now"
    look = "does the player send? POST /v1/events by hand; keys, network, disk of the log"
    return [Signal("events", "stopped", "alarm", tallies.newest, words, look, 0.0, round(missed, 1))]


def expected_events(tallies: Tallies, at_from: int, at_to: int) -> float:
    """Events that the same hours of four weeks before held, or of seven days where those are not known; 0 before two days."""
    end = (tallies.newest - tallies.base) // HOUR_MS
    row = tallies.sums[0, :end, 0]
    if len(row) < 24:
        return 0.0
    total, at = 0.0, at_from
    while at < min(at_to, at_from + 7 * DAY_MS):
        step = min(HOUR_MS - at % HOUR_MS, at_to - at)
        hour = (at - tallies.base) // HOUR_MS
        past = [row[h] for h in (hour - 168 * np.arange(1, 5)) if 0 <= h < len(row)]
        past = past or [row[h] for h in (hour - 24 * np.arange(1, 8)) if 0 <= h < len(row)]
        total += (float(np.median(past)) if past and len(row) >= 48 else 0.0) * step / HOUR_MS
        at += step
    return total


MISSING_COLUMNS: Final = {
    "timeless": ("plays without a heard time", "the player's reports: `played_s` of completed and skipped"),
    "placeless": ("plays without a region", "`context.region` of the player, or the users' facts"),
    "unasked": ("plays that name no request", "does the player send `request_id` with what it was recommended?"),
}


def missing(tallies: Tallies, now: int) -> list[Signal]:
    """Fields that begin to be missing: their share over a day against the two weeks before, certainly and by 5 points."""
    out: list[Signal] = []
    day = now // HOUR_MS * HOUR_MS
    if tallies.base < 0:
        return out
    for column, (text, look) in MISSING_COLUMNS.items():
        (bad, of), (bad_before, of_before) = (
            _share(tallies, column, low, high) for low, high in ((day - DAY_MS, day), (day - 15 * DAY_MS, day - DAY_MS))
        )
        if min(of, of_before) < 200:
            continue
        p, q = bad / of, bad_before / of_before
        se = np.sqrt(max(p * (1 - p), 1e-3) / of + max(q * (1 - q), 1e-3) / of_before)
        if p - q > 0.05 and p - q > 5 * se:
            words = f"{text}: {p:.1%} over the last day, {q:.1%} in the two weeks before"
            out.append(Signal("missing", column, "alarm", day - DAY_MS, words, look, round(p, 4), round(q, 4)))
    return out


def _share(tallies: Tallies, column: str, low: int, high: int) -> tuple[float, float]:
    of = tallies.total("plays", low, high)
    return (of - tallies.total("asked", low, high) if column == "unasked" else tallies.total(column, low, high)), of


def sources(slates: Slates) -> list[Signal]:
    """Sources that fell silent."""
    return [
        Signal("source", name, "alarm", since,
               f"the source {name} offers nothing since {iso(since)}; before, it offered {usual:.0%} of the songs shown",
               f"`segue_source_seconds` of {name} in /metrics, the server's messages, what the last night trained",
               0.0, round(usual, 4))
        for name, since, usual in slates.silent()
    ]  # fmt: skip


SEVERAL: Final = 3
"""Of more features that turn constant, or quantities that drift, at once one word is said: they have one cause."""


def features(slates: Slates) -> list[Signal]:
    """Features that turned constant; one signal for all of them where they are SEVERAL."""
    out = [
        Signal("feature", name, "alarm", since, f"the feature {name} is {value:g} for every song since {iso(since)}",
               f"where {name} comes from (docs/ranking.md): the state, the catalogue, or a source that fell silent", value)
        for name, since, value in slates.constant()
    ]  # fmt: skip
    if len(out) <= SEVERAL:
        return out
    since, names = min(one.since for one in out), sorted(one.subject for one in out)
    words = f"{len(out)} features have one value for every song since {iso(since)}: {_some(names)}"
    return [Signal("feature", "several", "alarm", since, words, "what they have in common: a source, the state, the catalogue")]


def _some(names: list[str]) -> str:
    """The first few of many names."""
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def drifts(slates: Slates, now: int) -> list[Signal]:
    """Distributions of yesterday that lie outside their null band."""
    day = now // DAY_MS - 1
    out = [one for one in slates.drifts(day) if one.out]
    look = "the newest model, new songs or listeners, and what feeds it"
    if len(out) <= SEVERAL:
        return [
            Signal("drift", one.name, "warning", day * DAY_MS,
                   f"{one.name} drifted: PSI {one.psi:.3f} yesterday, where {one.band:.3f} is what days differ by",
                   look, round(one.psi, 4), round(one.band, 4))
            for one in out
        ]  # fmt: skip
    names = [one.name for one in sorted(out, key=lambda one: (-one.psi / one.band, one.name))]
    words = f"{len(out)} quantities drifted yesterday beyond what days differ by, the furthest first: {_some(names)}"
    return [Signal("drift", "several", "warning", day * DAY_MS, words, look)]
