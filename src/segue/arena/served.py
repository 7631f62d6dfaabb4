"""The demo's town on a home: settled, trained, and asked day by day through everything that a server does but HTTP."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from segue import wiring
from segue.core.actions import Action
from segue.core.hashing import hash64
from segue.core.types import MISSING, Events, Int32, empty_events
from segue.events.ingest import Ingest
from segue.serving.query import RecommendIn
from segue.simulator.luck import uniform
from segue.simulator.playing import Heard, Turn
from segue.simulator.town import Town
from segue.simulator.town_days import TownDays
from segue.web import influence
from segue.web.service import Service

FINISHED = 0.995
"""Share from which the town's players say that a song was completed, as in its history."""
_LIKES = 79
"""Purpose of luck: who presses the heart."""


def settle(home: wiring.Home, town: Town) -> tuple[Int32, Int32]:
    """The town and its history into an empty home, as `segue demo` does; dense ids of its songs and its listeners."""
    items, users = home.catalogue.put_items(town.items), home.catalogue.put_users(town.users)
    regions = home.catalogue.regions.intern(town.regions)
    for events in town.events(items, users, regions):
        home.log.append(events)
    home.catch_up()
    return items, users


def in_town(events: Events, items: Int32, users: Int32) -> Events:
    """Rows of the log with the town's own numbers for songs and listeners; rows without a song are left out."""
    rows = events[events["item"] >= 0].copy()
    for name, dense in (("item", items), ("user", users)):
        number = np.full(int(dense.max()) + 1, MISSING, np.int32)
        number[dense] = np.arange(len(dense), dtype=np.int32)
        rows[name] = number[rows[name]]
    return rows


class Served:
    """The policy that a running server is: arms of experiments, the recommender, slates and events durable in its log.

    One request each, at the moment of the world; `size` songs are asked for at a time. HTTP and the deadline are left out.
    """

    name = "segue"

    def __init__(self, service: Service, town: Town, items: Int32, users: Int32) -> None:
        assert isinstance(service.writer, Ingest)
        self.service, self._writer = service, service.writer
        self._items, self._users, self._town = items, users, town
        self._names = [user.id for user in town.users]
        self._number = np.full(int(items.max()) + 1, MISSING, np.int32)
        self._number[items] = np.arange(len(items), dtype=np.int32)
        self._region = np.array([service.catalogue.user_context(user)[0] for user in users.tolist()], np.int16)
        self._request = np.zeros(0, np.uint64)
        self._asked_at: NDArray[np.int64] = np.zeros(0, np.int64)

    def open(self, sessions: int) -> None:
        """A day begins with so many sessions."""
        self._request = np.zeros(sessions, np.uint64)
        self._asked_at = np.zeros(sessions, np.int64)

    def slate(self, turn: Turn, size: int) -> Int32:
        """What each waiting listener is offered, in order of their rows."""
        out = np.full((len(turn.rows), size), MISSING, np.int32)
        rows = zip(turn.rows.tolist(), turn.user.tolist(), turn.session.tolist(), turn.at.tolist(), strict=True)
        for place, (row, user, session, at) in enumerate(rows):
            request = hash64(f"{user} {session} {turn.step}") >> 1
            items = self._ask(RecommendIn(user=self._names[user], session=f"{user}-{session}", limit=size), at, request)
            out[place, : len(items)] = self._number[items]
            self._request[row], self._asked_at[row] = request, turn.step
        return out

    def _ask(self, wanted: RecommendIn, at: int, request: int) -> Int32:
        """As the route does: whose model answers, who was influenced first, what the new arms would have done; all logged."""
        service, began = self.service, time.perf_counter()
        query, _ = service.maker.make(wanted, at, request)
        told, model = influence.arms_of(service, wanted, query)
        exposure = service.recommender.recommend(query, model)
        if told:
            influence.influenced(service, wanted, query, told, exposure, time.perf_counter() - began)
        if len(exposure.slate.items):
            asked = service.arms.judged(query, told, exposure) if service.arms is not None else None
            service.writer.submit_exposure(asked.result() if asked is not None else exposure)
        return exposure.slate.items

    def heard(self, heard: Heard) -> None:
        """What was heard, durable in the log and folded into the state when it returns."""
        turn, town = heard.turn, self._town
        events = empty_events(len(turn.rows))
        length = town.songs.duration_s[heard.items]
        session = [hash64(f"{user}-{number}") for user, number in zip(turn.user.tolist(), turn.session.tolist(), strict=True)]
        events["key_hi"] = events["session"] = np.array(session, np.uint64)
        events["key_lo"], events["body"] = 2 * turn.step + 1, 1
        events["at"] = turn.at + (heard.shares * (length * 1000)).astype(np.int64)
        events["user"], events["item"] = self._users[turn.user], self._items[heard.items]
        events["region"], events["request"] = self._region[turn.user], self._request[turn.rows]
        events["position"] = turn.step - self._asked_at[turn.rows]
        events["played_s"], events["duration_s"] = heard.shares * length, length
        events["action"] = np.where(heard.shares >= FINISHED, int(Action.COMPLETED), int(Action.SKIPPED))
        likes = events[(heard.shares >= FINISHED) & (uniform(town.seed, _LIKES, turn.user, turn.session, turn.step) < 0.03)]
        likes["key_lo"] += 1
        likes["action"], likes["played_s"], likes["duration_s"] = int(Action.LIKED), np.nan, np.nan
        self._writer.submit_columns(np.concatenate([events, likes])).result()


def lived(home: wiring.Home, town: Town, items: Int32, users: Int32) -> TownDays:
    """The town as its history left it: what its listeners heard is known to them, and tires."""
    days = TownDays(town)
    for events in home.log.scan(0, town.until_ms, ("at", "user", "item", "played_s")):
        days.remember(in_town(events, items, users))
    return days
