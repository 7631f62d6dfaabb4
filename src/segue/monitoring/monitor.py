"""The monitor of a home: reads what is new in the log, asks every rule, keeps the record of alarms, and tells it all."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from segue.core.clock import DAY_MS, HOUR_MS
from segue.core.types import Events, Exposure
from segue.monitoring import retraining, rules
from segue.monitoring.alarms import Alarm, Ledger, Signal, page
from segue.monitoring.retraining import Facts
from segue.monitoring.slates import Slates
from segue.monitoring.tallies import METRICS, Reference, Tallies, nobody
from segue.monitoring.webhook import Webhook

logger = logging.getLogger("segue.monitor")


class Log(Protocol):
    """The part of core.ports.EventLog that this reads."""

    @property
    def last(self) -> int:
        """As there."""
        ...

    def read(self, after: int, limit: int) -> Events:
        """As there."""
        ...

    def exposures(self, at_from: int, at_to: int) -> Iterator[Exposure]:
        """As there."""
        ...


@dataclass(frozen=True)
class Bounds:
    """What a tick may cost. A tick that meets more goes on with the next one."""

    events: int = 2_000_000  # read a tick: about a second of one core
    back: int = 20_000_000  # of the newest events that a new monitor reads, about ten seconds in all
    slates: int = 400  # unpacked a tick, evenly over what is new
    hours: int = 24 * 30  # how far back slates are looked at when it starts


@dataclass(frozen=True)
class Around:
    """What the monitor knows of its home besides the log; each is a function, asked when it is needed."""

    facts: Callable[[], Facts | None] = lambda: None
    names: Callable[[Sequence[tuple[str, int]]], Mapping[tuple[str, int], str]] = lambda groups: {}
    reference: Reference = nobody
    stale_days: float = 7.0


class Monitor:
    """One for a home. `tick` is called by a housekeeper, `status` by whoever shows it; both hold a lock, neither a request."""

    def __init__(self, log: Log, ledger: Ledger, around: Around | None = None, bounds: Bounds | None = None) -> None:
        self._log, self.ledger = log, ledger
        self._around, self._bounds = around or Around(), bounds or Bounds()
        self.tallies, self.slates = Tallies(self._around.reference), Slates()
        self._after = max(log.last - self._bounds.back, 0)
        self._seen_to = 0  # ms up to which slates were looked at
        self._signals: list[Signal] = []
        self._watches: list[rules.Watch] = []
        self._lock = threading.Lock()
        self._webhook: Webhook | None = None

    def report_to(self, url: str, now: Callable[[], int]) -> None:
        """Send alarms to a URL from now on, those included that an earlier process could not deliver."""
        self._webhook = Webhook(url, lambda number: self._delivered(number, now()), logger.warning)
        self._send(self.ledger.untold())

    def tick(self, now: int, *, read: bool = True) -> list[Alarm]:
        """Take in what is new, ask the rules, write down and report; the alarms that were opened or became graver.

        While it is still catching up with the log nothing is judged: half a log looks like a drop.
        """
        with self._lock:
            if read and not self.catch_up(now):
                return []
            self._judge(now)
            told = self.ledger.hear(self._signals, now)
        for alarm in told:
            logger.warning("%s: %s. First: %s. Look at: %s", alarm.level, alarm.signal.words, alarm.first, alarm.signal.look)
        self._send(told)
        return told

    def catch_up(self, now: int) -> bool:
        """Read up to the bounds; whether everything is read."""
        budget, last = self._bounds.events, self._log.last
        while budget > 0 and self._after < last:
            events = self._log.read(self._after, min(budget, 262_144))
            if not len(events):
                break
            self._after = int(events["seq"][-1])
            self.tallies.fold(events[events["at"] <= now + HOUR_MS])
            budget -= len(events)
        self._look_at_slates(now)
        return self._after >= last

    def _look_at_slates(self, now: int) -> None:
        """Some slates of every stretch since the last look, spread evenly, so that the cost does not grow with the traffic."""
        start = max(self._seen_to, now - self._bounds.hours * HOUR_MS)
        parts = max(1, (now - start) // (6 * HOUR_MS))
        each = max(60, self._bounds.slates // parts)
        edges = np.linspace(start, now, parts + 1).astype(np.int64).tolist()
        for low, high in pairwise(edges):
            for number, exposure in enumerate(self._log.exposures(low, high)):
                if number >= each:
                    break
                self.slates.add(exposure)
        self._seen_to = now

    def _judge(self, now: int) -> None:
        self._watches = rules.watch(self.tallies, now)
        names = dict(self._around.names(list(self.tallies.groups)))
        self._signals = [
            *retraining.signals(self._around.facts(), now, self._around.stale_days),
            *rules.stopped(self.tallies, now), *rules.missing(self.tallies, now), *rules.sources(self.slates),
            *rules.features(self.slates), *rules.drifts(self.slates, now), *rules.metrics(self._watches, names),
        ]  # fmt: skip

    def _send(self, alarms: Sequence[Alarm]) -> None:
        if self._webhook is not None:
            for alarm, body in zip(alarms, page(alarms), strict=True):
                if not self._webhook.send(alarm.number, body):
                    logger.warning("alarm %d is not sent: too many wait for the webhook", alarm.number)

    def _delivered(self, number: int, now: int) -> None:
        with self._lock:
            self.ledger.told(number, now)

    def close(self) -> None:
        """Let the webhook go."""
        if self._webhook is not None:
            self._webhook.close()

    def status(self, now: int, *, judge: bool = False) -> dict[str, Any]:
        """Everything that the page and the command show; `judge` asks the rules first, without writing anything down."""
        with self._lock:
            if judge:
                while not self.catch_up(now):
                    pass
                self._judge(now)
            self.ledger.refresh()
            names = dict(self._around.names(list(self.tallies.groups)))
            day = now // DAY_MS - 1
            return {
                "now": now,
                "newest": self.tallies.newest or None,
                "behind": max(self._log.last - self._after, 0),
                "alarms": page(self.ledger.all()[:100]),
                "signals": [_plain(s) for s in self._signals],
                "metrics": [_metric(one) for one in self._watches if one.group == ("all", 0)],
                "verdict": rules.verdict(self._watches),
                "segments": [
                    _metric(one) | {"group": one.group[0], "name": names.get(one.group, str(one.group[1]))}
                    for one in self._watches if one.group != ("all", 0)
                ],
                "drift": [{"name": d.name, "psi": d.psi, "band": d.band, "rows": d.rows, "out": d.out}
                          for d in sorted(self.slates.drifts(day), key=lambda d: (-d.psi / d.band, d.name))],
                "model": retraining.summary(self._around.facts(), now),
            }  # fmt: skip


def _plain(signal: Signal) -> dict[str, Any]:
    return {name: getattr(signal, name) for name in Signal.__struct_fields__}


SHOWN_DAYS = 70


def _metric(one: rules.Watch) -> dict[str, Any]:
    """A metric by day, with what was expected and its CUSUM at the end of each day; the last seven days by hour."""
    told = METRICS[one.metric]
    first = max(0, one.hours - SHOWN_DAYS * 24) // 24
    half_over = (one.hours + 12) // 24  # a day of which an hour is over looks like a fall
    days = range(first, max(half_over, first + (one.hours > 0)))
    rows = [_row(one, 24 * d, min(24 * d + 24, one.hours)) for d in days]
    recent = [_row(one, h, h + 1) for h in range(max(0, one.hours - 168), one.hours)]
    now = one.hours - 1
    off, se = one.fall() if one.hours else (0.0, 0.0)
    return {
        "metric": one.metric, "text": told.text, "good": told.good, "days": rows, "hours": recent,
        "height": _number(one.alarm.height[now]) if one.hours else None,
        "raised": bool(one.hours and one.alarm.raised[now]), "warned": bool(one.hours and one.warn.raised[now]),
        "off": _number(off), "off_se": _number(se), "daily_noise": _number(one.found.sigma[now]) if one.hours else None,
    }  # fmt: skip


def _row(one: rules.Watch, low: int, high: int) -> dict[str, Any]:
    num, den, expected = one.num[low:high].sum(), one.den[low:high].sum(), one.found.expected[low:high].sum()
    ratio = METRICS[one.metric].den != ""
    by = den if ratio else 1.0
    return {
        "at": one.base + low * HOUR_MS, "value": _number(num / by if by else np.nan),
        "expected": _number(expected / by if by else np.nan), "height": _number(one.alarm.height[max(high - 1, 0)]),
    }  # fmt: skip


def _number(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
