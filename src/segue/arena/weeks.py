"""Ten weeks of the demo's town under the experiment engine and the monitor: what `segue simulate --experiment` plays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from segue import config, wiring
from segue.arena.served import Served, lived, settle
from segue.core.clock import DAY_MS, HOUR_MS
from segue.core.types import Query, Scored
from segue.experiments.plan import Plan, Step, Treatment, read_plan
from segue.monitoring.monitor import Bounds, Monitor
from segue.serving.arms import Arms
from segue.serving.recommender import Model
from segue.simulator.playing import play
from segue.simulator.town import Town
from segue.training.registry import CHALLENGER, PREVIOUS
from segue.training.report import Progress
from segue.web.service import Service
from segue.wiring.tables import UNTRAINED

DAYS = 70
SLATE = 5
"""Songs asked for at a time: what was heard of them counts for the next ones."""
GOOD, BAD = "everything-segue-has", "small-and-bold"
STARTS = {GOOD: 14, BAD: 42}
"""The day on which the engineer starts each; before the first the monitor learns what is usual."""
FAULT = (56, 60)
"""From the first of these days to before the last, every source that a night trained answers nothing."""
BOLD: dict[str, float] = {"explore": 1.0, "explore_pool": 400, "temperature": 100.0}
"""[radio] of the bad challenger, on the model before: every place drawn, nearly evenly, from the best 400."""
WEEK_MS = 7 * DAY_MS


def settings_of(settings: config.Settings, *, plain: bool) -> config.Settings:
    """Settings of the weeks: no deadline cuts an answer short on a busy machine, and no night is missed for ten weeks.

    plain: the radio that the service begins with, which knows what is popular and whose songs belong together.
    """
    training = settings.training
    if plain:
        training = msgspec.structs.replace(training, sources=["popular", "artist"], rankers=())
    return msgspec.structs.replace(
        settings,
        training=training,
        server=msgspec.structs.replace(settings.server, deadline_ms=10_000.0),
        monitoring=msgspec.structs.replace(settings.monitoring, stale_days=2.0 * DAYS),
    )


def start_of(now: int) -> int:
    """The Monday, 00:00 UTC, from which the weeks last until at most now (ms)."""
    monday = 4 * DAY_MS  # 1970-01-05
    return (now - DAYS * DAY_MS - monday) // WEEK_MS * WEEK_MS + monday


def plan(name: str) -> Plan:
    """The engineer's plan: a ramp for some thousand listeners, from the shadow on."""
    new = Treatment(model=CHALLENGER) if name == GOOD else Treatment(model=PREVIOUS, radio=BOLD)
    hypothesis = (
        "listening together, factors and a learned ranker find songs that are heard to the end more often"
        if name == GOOD
        else "the small model of before costs a third, and bold exploration makes up for what it does not know"
    )
    ramp = (Step(0.0, 0.0, days=1, users=0), Step(0.2, 0.2, days=1, users=60),
            Step(0.3, 0.3, days=7, users=180, decides=True), Step(0.6, 0.3, days=3, users=100),
            Step(0.9, 0.1, days=7, users=50))  # fmt: skip
    made = Plan(
        name=name, hypothesis=hypothesis, new=new, layer="radio" if name == GOOD else "reranking", users=280, looks=4,
        stale_hours=30.0, guardrails=("skip_rate",), before_days=14.0, ramp=ramp,
        slower=4.0,  # five times as long as a radio that knows nothing is still far below any deadline
    )  # fmt: skip
    return read_plan(msgspec.to_builtins(made))  # as it is read back from the journal: 1 is 1.0 there


class Silent:
    """A source whose arrays were lost: it answers, and offers nothing."""

    name: ClassVar[str] = "silent"
    at_once: ClassVar[bool] = True

    def retrieve(self, query: Query, limit: int) -> Scored:
        """Nothing."""
        return Scored.none()


def broken(model: Model) -> Model:
    """The model with every source that a night trained silent."""
    return replace(model, sources=tuple(s if s.name in UNTRAINED else Silent() for s in model.sources))


@dataclass
class Weeks:
    """The town, the home that serves it, and its clock."""

    town: Town
    path: Path
    settings: config.Settings
    bar: Progress
    said: Callable[[str], None]
    now: int = 0
    moves: list[dict[str, Any]] = field(default_factory=list)
    alarms: list[dict[str, Any]] = field(default_factory=list)

    def begin(self) -> None:
        """An empty home becomes a service: the town's history, and a plain radio trained on it."""
        self.now = self.town.until_ms
        with self._home(plain=True, writer=True) as home:
            self.bar.phase(f"a town of {len(self.town.items):,} songs and {len(self.town.users):,} listeners")
            settle(home, self.town)
            wiring.night(home, self.now, self.bar, force=True)

    def _home(self, *, plain: bool = False, writer: bool) -> wiring.Home:
        return wiring.Home(self.path, settings_of(self.settings, plain=plain), writer=writer)

    def challenge(self) -> str:
        """A night with everything that Segue has, beside the server as `segue train` is; the model is held back."""
        with self._home(writer=False) as home:
            report = wiring.night(home, self.now, self.bar)
            registry = home.registry()
            if report.promoted:  # the night found it better off-line; the engineer wants listeners to say so
                registry.rollback()
                registry.challenge(report.version)
        return report.version

    def live(self, home: wiring.Home, service: Service, refresh: Callable[[], None]) -> dict[str, Any]:
        """All the days on a running service; what moved and what was raised."""
        assert service.arms is not None
        assert service.monitor is not None
        items = home.catalogue.items.find([item.id for item in self.town.items])
        users = home.catalogue.users.find([user.id for user in self.town.users])
        days, served = lived(home, self.town, items, users), Served(service, self.town, items, users)
        sound: Model | None = None
        for day in range(DAYS):
            self._people(day, service.arms)
            if day == FAULT[0]:
                sound = service.recommender.model
                service.recommender.swap(broken(sound))
            elif day == FAULT[1] and sound is not None:
                service.recommender.swap(sound)
            self.bar.phase(_date(day))
            sessions = days.open(day)
            served.open(len(sessions.user))
            days.close(sessions, play(sessions, served, slate=SLATE, progress=self.bar.advance))
            self.now = self.town.until_ms + (day + 1) * DAY_MS + HOUR_MS
            self._look(day, service.arms, service.monitor)
            refresh()
        ended = {e.plan.name: e.state.ended for e in service.arms.book.all()}
        return {"days": DAYS, "events": home.log.last, "ended": ended, "moves": self.moves, "alarms": self.alarms}

    def _people(self, day: int, arms: Arms) -> None:
        """What the engineer does on the morning of a day."""
        for name, start in STARTS.items():
            if day == start:
                if name == GOOD:
                    self.challenge()
                arms.start(plan(name), self.now)
                self.said(f"{_date(day)}  {name}: started")

    def _look(self, day: int, arms: Arms, monitor: Monitor) -> None:
        """What the server does by itself, here once a day."""
        for name, taken in arms.tick(self.now):
            self.moves.append({"at": self.now, "day": day, "name": name, "kind": taken.kind, "why": taken.why})
            self.said(f"{_date(day)}  {name}: {taken.kind}: {taken.why}")
        for alarm in monitor.tick(self.now):
            told = {"at": self.now, "day": day, "level": alarm.level, "words": alarm.signal.words, "first": alarm.first}
            self.alarms.append(told)
            self.said(f"{_date(day)}  {alarm.level}: {alarm.signal.words}; first: {alarm.first}")


def _date(day: int) -> str:
    return f"week {day // 7 + 1:>2}, day {day:>2}"


SERVED_ONLY = Bounds(back=0)
"""The monitor of the weeks begins with them: the history before was heard without this radio."""
