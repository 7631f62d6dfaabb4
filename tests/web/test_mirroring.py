"""Requests mirrored to a new arm: the answer waits for nothing, the log gets what it said, a hanging arm costs nothing."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from segue.core.errors import NotReady
from segue.core.hashing import request_text
from segue.core.types import Exposure, Slate
from segue.events.schema import EventIn
from segue.web import influence
from worlds import query

SLATE = Slate(7, np.arange(2, dtype=np.int32), np.ones(2, np.float32), np.ones(2, np.float32), ((), ()), ("", ""),
              np.zeros(2, np.bool_), "radio", {}, "personal")  # fmt: skip
SHOWN = Exposure(SLATE, 0, 1, 0, "radio", -1, np.zeros((2, 0), np.float32), ())
MIRRORED = replace(SHOWN, chances={"trial": np.ones(2, np.float32)}, instead={"trial": np.array([5, 4], np.int32)})


class House:
    """A service whose arms answer when a test says so."""

    def __init__(self, budget_s: float) -> None:
        self.reference = None
        self.asked: Future[Exposure] | None = Future()
        self.arms = SimpleNamespace(judged=lambda query, told, exposure: self.asked)
        self.recommender = SimpleNamespace(budget_s=budget_s)
        self.mirrored: dict[str, Any] = {}
        self.log: list[Exposure] = []

    def show(self) -> None:
        influence.logged(self, query(), (), SHOWN, self.log.append)  # type: ignore[arg-type]

    async def event(self) -> None:
        about = EventIn(user="u", action="completed", at=1, request_id=request_text(query().request_id))
        await influence.written(self, [about])  # type: ignore[arg-type]


def test_what_is_not_mirrored_is_logged_at_once() -> None:
    async def story() -> None:
        house = House(60.0)
        house.asked = None
        house.show()
        assert house.log == [SHOWN]
        assert house.mirrored == {}

    asyncio.run(story())


def test_the_answer_leaves_first_and_an_event_about_the_slate_waits_for_it() -> None:
    async def story() -> None:
        house = House(60.0)
        house.show()
        assert house.log == [], "nobody waited"
        waiting = asyncio.create_task(house.event())
        await influence.written(house, [EventIn(user="u", action="completed", at=1)])  # type: ignore[arg-type]
        assert not waiting.done(), "one about another slate does not wait, this one does"
        assert house.asked is not None
        house.asked.set_result(MIRRORED)
        await waiting
        assert house.log == [MIRRORED]
        assert house.mirrored == {}

    asyncio.run(story())


def test_an_arm_that_hangs_or_raises_costs_the_chances_and_nothing_else() -> None:
    async def story(raises: bool) -> None:
        house = House(60.0 if raises else 0.001)
        house.show()
        assert house.asked is not None
        if raises:
            house.asked.set_exception(ValueError("broken"))
        await house.event()
        assert house.log == [SHOWN]
        if not raises:
            house.asked.set_result(MIRRORED)
            for _ in range(5):
                await asyncio.sleep(0)
            assert house.log == [SHOWN], "what comes too late is not logged twice"

    for raises in (True, False):
        asyncio.run(story(raises))


def test_a_slate_that_cannot_be_written_does_not_keep_its_events_waiting() -> None:
    def full(exposure: Exposure) -> None:
        raise NotReady("the queue is full")

    async def story() -> None:
        house = House(0.01)
        failed: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context["exception"]))
        influence.logged(house, query(), (), SHOWN, full)  # type: ignore[arg-type]
        await asyncio.wait_for(house.event(), 30)
        assert house.mirrored == {}
        assert [type(error) for error in failed] == [NotReady]

    asyncio.run(story())
