"""What the model that serves says of itself: its age, and signs of over-fitting at each retraining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from segue.core.clock import DAY_MS, iso
from segue.monitoring.alarms import Signal

METRIC = "ndcg@20"
GAP, COVERAGE, OVERLAP = 0.25, 0.5, 0.1
"""What is worth a warning: a fall of quality since the night, of coverage against the champion before, so little overlap."""
SLOPES = (0.67, 1.5)
"""Between these slopes the ranker's chances mean what they say (Cox 1958; 1 is perfect)."""


@dataclass(frozen=True)
class Facts:
    """What is known of the champion, and of the one before it; None = not known."""

    version: str
    trained_to: int  # ms
    figures: Sequence[Mapping[str, Any]] = ()  # of its night: model, metric, mean, low, high
    since: Sequence[Mapping[str, Any]] = ()  # of a judgement on the days after, likewise
    days: Sequence[Mapping[str, Any]] = ()  # by day since training: group, model, metric, mean
    calibration: Mapping[str, Any] = field(default_factory=dict)
    coverage: float | None = None
    coverage_before: float | None = None
    overlap: float | None = None  # of the top 20 with the previous champion's, mean over listeners


def signals(facts: Facts | None, now: int, stale_days: float) -> list[Signal]:
    """Everything that is off; nothing before the first night."""
    if facts is None:
        return []
    out = [_stale(facts, now, stale_days), _gap(facts), _slope(facts), _coverage(facts), _overlap(facts)]
    return [one for one in out if one is not None]


def _signal(facts: Facts, subject: str, words: str, look: str, value: float, expected: float) -> Signal:
    return Signal("model", subject, "warning", facts.trained_to, words, look, round(value, 4), round(expected, 4))


def _stale(facts: Facts, now: int, stale_days: float) -> Signal | None:
    age = (now - facts.trained_to) / DAY_MS
    if age <= stale_days:
        return None
    words = f"the model that serves knows nothing after {iso(facts.trained_to)}: {age:.1f} days, more than {stale_days:g}"
    look = "does the night run? `segue serve --train-at 03:00`, its messages, and `segue train` by hand"
    since = facts.trained_to + int(stale_days * DAY_MS)
    return Signal("model", "age", "alarm", since, words, look, round(age, 2), stale_days)


def _mean(figures: Sequence[Mapping[str, Any]], end: str = "mean") -> float | None:
    for one in figures:
        if (one["model"], one["metric"]) == ("radio", METRIC):
            return None if one[end] is None else float(one[end])
    return None


def _gap(facts: Facts) -> Signal | None:
    """Quality on the days after against quality on the days that the night held out: certainly, and by much."""
    night, since, high = _mean(facts.figures), _mean(facts.since), _mean(facts.since, "high")
    if night is None or since is None or high is None or high >= (1 - GAP) * night:
        return None
    words = (
        f"{METRIC} is {since:.3f} on the days since training (at most {high:.3f}), {night:.3f} on those that the night held out"
    )
    return _signal(facts, "gap", words, "over-fitted, or the world moved: /quality, by day since training", since, night)


def _slope(facts: Facts) -> Signal | None:
    slope = facts.calibration.get("slope")
    if slope is None or SLOPES[0] <= slope <= SLOPES[1]:
        return None
    kind = "too sure of itself: over-fitted" if slope < 1 else "too timid"
    words = f"the ranker is {kind}: calibration slope {slope:.2f} on days it had not seen (1 is right)"
    return _signal(facts, "calibration", words, "`segue train`'s report, [training] rankers and window", float(slope), 1.0)


def _coverage(facts: Facts) -> Signal | None:
    now, before = facts.coverage, facts.coverage_before
    if now is None or not before or now >= COVERAGE * before:
        return None
    words = f"lists show {now:.1%} of the catalogue, the model before {before:.1%}"
    return _signal(
        facts, "coverage", words, "sources that the night left out (its report), popularity taking over", now, before
    )


def _overlap(facts: Facts) -> Signal | None:
    if facts.overlap is None or facts.overlap >= OVERLAP:
        return None
    words = (
        f"only {facts.overlap:.0%} of the top 20 are those of the champion before, for the same listeners at the same moment"
    )
    return _signal(
        facts, "overlap", words, "what changed in the data or the settings; `segue rollback` goes back", facts.overlap, OVERLAP
    )


def summary(facts: Facts | None, now: int) -> dict[str, Any] | None:
    """For the page: age, gap, decay by day, calibration, coverage, overlap."""
    if facts is None:
        return None
    days = [{"day": int(d["group"]), "mean": d["mean"]} for d in facts.days if (d["model"], d["metric"]) == ("radio", METRIC)]
    return {
        "version": facts.version, "trained_to": facts.trained_to, "age_days": round((now - facts.trained_to) / DAY_MS, 2),
        "metric": METRIC, "night": _mean(facts.figures), "since": _mean(facts.since), "by_day": days,
        "calibration_slope": facts.calibration.get("slope"), "coverage": facts.coverage,
        "coverage_before": facts.coverage_before, "overlap": facts.overlap,
    }  # fmt: skip
