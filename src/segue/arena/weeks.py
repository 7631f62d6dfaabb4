"""Ten weeks of a city under the experiment engine and the monitor: what `segue simulate --experiment` plays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from segue import wiring
from segue.arena import policies
from segue.core.actions import Action
from segue.core.hashing import hash64, hash128
from segue.core.types import MISSING, Events, Exposure, Int32, Slate, empty_events
from segue.experiments.assignment import NEW
from segue.experiments.desk import Told
from segue.experiments.plan import Plan, Step, Treatment, read_plan
from segue.monitoring.monitor import Monitor
from segue.serving.arms import Arms
from segue.simulator.baselines import Random
from segue.simulator.city import DAY_MS, START_MS, City, CitySessions
from segue.simulator.luck import place, uniform
from segue.simulator.playing import Game, Heard, Plays, Turn, play

DAYS = 70
HOUR_MS = 3_600_000
GOOD, BAD = "good-challenger", "bad-challenger"
STARTS = {GOOD: 14, BAD: 36}
"""The day on which the engineer starts each; before the first the monitor learns what is usual."""
FAULT = (56, 60)
"""From the first of these days to before the last, the source `taste` answers nothing."""
SHOWN = 150
"""Sessions a day whose slates are written down as exposures."""
_MIX, _INTEREST, _NEAR = range(51, 54)
NEAR = 60
"""Songs near an interest that the source `taste` draws from."""
WORTH = {"champion": 0.5, GOOD: 0.65, BAD: 0.2}
"""The share of songs that each takes from the source `taste`; the others are of `anything`."""


def plan(name: str) -> Plan:
    """The engineer's plan: a ramp for some thousand listeners."""
    hypothesis = (
        "more songs of the listener's taste are listened to more" if name == GOOD else "a wider choice is listened to more"
    )
    ramp = (Step(0.1, 0.1, days=1, users=100), Step(0.2, 0.2, days=7, users=200, decides=True),
            Step(0.5, 0.2, days=3, users=100), Step(0.9, 0.1, days=7, users=50))  # fmt: skip
    made = Plan(
        name=name, hypothesis=hypothesis, new=Treatment(), layer="radio" if name == GOOD else "second", users=500,
        looks=4, stale_hours=30.0,
        guardrails=("skip_rate",), before_days=7.0, ramp=ramp,
    )  # fmt: skip
    return read_plan(msgspec.to_builtins(made))  # as it is read back from the journal: 1 is 1.0 there


class Taste:
    """A stand-in for a trained source: songs near one of the listener's interests, which no trained model could know."""

    def __init__(self, city: City) -> None:
        self._city, self._week = city, -1
        self._near = np.zeros((0, 0), np.int32)

    def slate(self, turn: Turn, size: int) -> Int32:
        """One song of the nearest to one interest, by luck; the interests of this week."""
        week = int(turn.session[0]) // 7
        if week != self._week:
            self._week, city = week, self._city
            flat = city.interests.reshape(-1, city.interests.shape[2]).astype(np.float32)
            here = np.flatnonzero(city.released == 0).astype(np.int32)
            fit = flat @ city.vectors[here].T
            self._near = here[np.argpartition(-fit, NEAR, axis=1)[:, :NEAR]]
        seed, keys = self._city.seed, (turn.user, turn.session, turn.step)
        interest = (uniform(seed, _INTEREST, *keys)[:, None] >= self._city.leaning[turn.user][:, :-1]).sum(axis=1)
        row = turn.user * self._city.interests.shape[1] + interest
        return np.asarray(self._near[row, place(uniform(seed, _NEAR, *keys), NEAR)][:, None], np.int32)

    def heard(self, heard: Heard) -> None:
        """It learns nothing."""


@dataclass
class Mixed:
    """A policy for each session: the source `taste` with a chance of its own, else `anything`; the source may be broken."""

    taste: Taste
    anything: Random
    seed: int
    name: str = "mixed"
    share: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    broken: bool = False

    def slate(self, turn: Turn, size: int) -> Int32:
        """One of both for each session."""
        taken = self.of_taste(turn.user, turn.session, turn.step, self.share[turn.rows])
        return np.where(taken[:, None], self.taste.slate(turn, size), self.anything.slate(turn, size)).astype(np.int32)

    def of_taste(
        self, user: Int32, session: NDArray[np.int64], step: NDArray[np.integer] | int, share: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Whether a song comes from the source `taste`."""
        if self.broken:
            return np.zeros(len(user), np.bool_)
        return np.asarray(uniform(self.seed, _MIX, user, session, step) < share, np.bool_)

    def heard(self, heard: Heard) -> None:
        """It learns nothing."""


@dataclass
class Weeks:
    """The city, the home whose log fills, and its clock."""

    city: City
    home: wiring.Home
    arms: Arms
    monitor: Monitor
    now: int = START_MS
    champion: str = "champion"
    moves: list[dict[str, Any]] = field(default_factory=list)
    items: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    users: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))

    def live(self, said: Callable[[str], None], progress: Callable[[int, int], None]) -> dict[str, Any]:
        """All the days; what moved and what was raised."""
        seed = self.city.seed
        policy = Mixed(Taste(self.city), Random(self.city.n_items, seed=seed), seed)
        self.items, self.users = policies.settle(self.home, self.city.artist, self.city.n_users)
        raised = []
        for day in range(self.city.days):
            for name, start in STARTS.items():
                if day == start:
                    self.arms.start(plan(name), self.now)
                    said(f"{_date(self.now)}  {name}: started")
            policy.broken = FAULT[0] <= day < FAULT[1]
            self._day(day, policy)
            self.now = START_MS + (day + 1) * DAY_MS + HOUR_MS
            for name, taken in self.arms.tick(self.now):
                self.moves.append({"at": self.now, "name": name, "kind": taken.kind, "why": taken.why})
                said(f"{_date(self.now)}  {name}: {taken.kind}: {taken.why}")
                if taken.kind == "finish" and self.arms.book.get(name).state.ended == "shipped":
                    self.champion = name
            for alarm in self.monitor.tick(self.now):
                raised.append({"at": self.now, "level": alarm.level, "words": alarm.signal.words, "first": alarm.first})
                said(f"{_date(self.now)}  {alarm.level}: {alarm.signal.words}; first: {alarm.first}")
            progress(day + 1, self.city.days)
        ended = {e.plan.name: e.state.ended for e in self.arms.book.all()}
        return {"days": self.city.days, "events": self.home.log.last, "ended": ended, "moves": self.moves, "alarms": raised}

    def _day(self, day: int, policy: Mixed) -> None:
        sessions = self.city.open(day)
        told = [self.arms.told(str(user), None, "") for user in sessions.user.tolist()]
        policy.share = np.array([WORTH[self._served(one)] for one in told])
        game = play(sessions, policy)
        self.city.close(sessions, game)
        events = self._events(sessions, game)
        self.home.log.append(np.concatenate([self._first(sessions, told), events]), exposures=self._shown(game, policy))

    def _served(self, told: tuple[Told, ...]) -> str:
        """Whose policy: that of the first new arm, else the champion's; as Arms.model does."""
        return next((one.name for one in told if one.arm == NEW), self.champion)

    def _first(self, sessions: CitySessions, told: list[tuple[Told, ...]]) -> Events:
        """First influences, as a server writes them."""
        rows = [(row, one) for row, many in enumerate(told) for one in self.arms.first(many)]
        events = empty_events(len(rows))
        for slot, (row, one) in enumerate(rows):
            high, low = hash128(one.event_id)
            events[slot]["key_hi"], events[slot]["key_lo"], events[slot]["body"] = high, low, 1
            events[slot]["at"], events[slot]["user"] = sessions.at[row], self.users[sessions.user[row]]
            events[slot]["action"], events[slot]["value"], events[slot]["position"] = Action.ASSIGNED, one.value, one.number
        return events

    def _events(self, sessions: CitySessions, game: Game) -> Events:
        """Plays as events; every song was recommended, and the request is the session's."""
        events = policies.rows_of(game.plays, self.items, self.users)
        events["request"] = events["session"]
        events["at"] = np.maximum(events["at"], sessions.at[game.plays.row])
        return events

    def _shown(self, game: Game, policy: Mixed) -> list[Exposure]:
        """Slates of the first sessions of the day, with the source of every song."""
        plays = game.plays
        some = plays.row < SHOWN
        row = plays.row[some]
        taken = policy.of_taste(plays.user[some], plays.session[some], plays.position[some], policy.share[row])
        starts = np.flatnonzero(np.r_[True, row[1:] != row[:-1], True])
        return [
            self._exposure(plays, slice(low, high), taken) for low, high in pairwise(starts.tolist())
        ]  # fmt: skip

    def _exposure(self, plays: Plays, part: slice, taken: NDArray[np.bool_]) -> Exposure:
        items, first = np.unique(self.items[plays.item[part]], return_index=True)
        k, of = len(items), taken[part][first]
        user, at = int(self.users[plays.user[part.start]]), int(plays.at[part.start])
        number = hash64(f"{user} {at}") >> 1
        slate = Slate(
            number, items.astype(np.int32), np.ones(k, np.float32), np.ones(k, np.float32),
            tuple(("taste",) if one else ("anything",) for one in of.tolist()), ("",) * k, np.zeros(k, np.bool_),
            "radio", {"bundle": self.champion}, "personal",
        )  # fmt: skip
        features = np.column_stack([plays.position[part][first], of]).astype(np.float32)
        return Exposure(slate, user, at, 0, "radio", MISSING, features, ("place in the session", "of taste"))


def _date(at: int) -> str:
    day = (at - START_MS) // DAY_MS
    return f"week {day // 7 + 1:>2}, day {day:>2}"
