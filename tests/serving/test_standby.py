"""Models that stand by: going back loads nothing, what cannot be read changes nothing, what nobody names is let go."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, cast

import pytest

from segue.serving.recommender import Model, Recommender
from segue.serving.standby import Standby


class Serving:
    """The part of a recommender that is swapped."""

    def __init__(self, version: str | None) -> None:
        self.model = made(version) if version else Model((), cast(Any, None))
        self.swaps: list[str] = []

    def swap(self, model: Model) -> None:
        self.model = model
        self.swaps.append(model.versions["bundle"])


def made(version: str) -> Model:
    return Model((), cast(Any, None), versions={"bundle": version})


class House:
    def __init__(self, *versions: str | None, broken: frozenset[str] = frozenset()) -> None:
        self.versions: list[str | None] = list(versions)
        self.loaded: list[str] = []
        self.broken = broken
        self.serving = Serving(versions[0])
        self.standby = Standby(cast(Recommender, self.serving), lambda: self.versions, self.load)

    def load(self, version: str) -> Model:
        self.loaded.append(version)
        if version in self.broken:
            raise ValueError("torn")
        return made(version)


def test_going_back_and_forth_loads_nothing() -> None:
    house = House("b", "a", "c")
    assert house.standby.follow() is None, "it serves already"
    house.standby.keep()
    assert house.loaded == ["a", "c"]
    for champion, previous in (("a", "b"), ("b", "a"), ("c", "b")):
        house.versions[:2] = [champion, previous]
        assert house.standby.follow() == champion
        assert house.serving.model.versions["bundle"] == champion
        assert house.standby.follow() is None
    assert house.loaded == ["a", "c"], "all three waited"
    assert house.serving.swaps == ["a", "b", "c"]


def test_a_new_champion_is_loaded_once_and_what_no_alias_names_is_let_go() -> None:
    house = House("b", "a", None)
    house.standby.keep()
    house.versions[:] = ["d", "b", None]
    assert house.standby.follow() == "d"
    house.standby.keep()
    assert house.loaded == ["a", "d"], "b served until now and still waits"
    assert house.standby.ready("b") is not None
    assert house.standby.ready("a") is None


def test_a_model_that_cannot_be_read_leaves_the_one_that_serves_and_is_not_tried_again() -> None:
    house = House("b", "torn", None, broken=frozenset({"torn"}))
    house.standby.keep()
    house.standby.keep()
    assert house.loaded == ["torn"]
    house.versions[:] = ["torn", "b", None]
    assert house.standby.follow() is None
    assert house.serving.model.versions["bundle"] == "b"
    assert house.loaded == ["torn"]
    house.versions[:] = ["e", "b", None]
    assert house.standby.follow() == "e"


@pytest.mark.parametrize("aliases", [[None, None, None], [None, "a", None]])
def test_before_the_first_night_nothing_is_followed(aliases: list[str | None]) -> None:
    house = House(None)
    house.versions[:] = aliases
    assert house.standby.follow() is None
    house.standby.keep()
    assert house.serving.swaps == []


def test_a_champion_that_comes_while_others_are_let_go_waits_like_any() -> None:
    """The housekeeping and a rollback run in two threads: neither breaks the other, and what serves is always kept."""
    house = House(*(f"v{n}" for n in range(400)))
    number = count()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(1) as pool:
            for _ in range(60):
                kept = pool.submit(house.standby.keep)
                while not kept.done():
                    house.versions[0] = f"new{next(number)}"
                    house.standby.follow()
                kept.result()
                assert house.standby.ready(house.serving.model.versions["bundle"]) is not None
    finally:
        sys.setswitchinterval(interval)
