"""One request top to bottom: the ladder, deadlines, failing sources, reasons, exposures."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from segue.core.types import MISSING, Candidates, Context, Query, Scored, Seeds
from segue.filtering import rules
from segue.ranking.blend import Blend
from segue.reranking.radio import Radio
from segue.serving.recommender import Model, Recommender, Stages
from worlds import DictState, facts, query, recent

N = 60


class Fixed:
    """Offers the same items to everyone."""

    name: ClassVar[str] = "fixed"

    def __init__(self, items: list[int], name: str = "als") -> None:
        self.items = items
        self.name = name  # type: ignore[misc]

    def retrieve(self, q: Query, limit: int) -> Scored:
        items = np.array(self.items[:limit], np.int32)
        return Scored(items, np.linspace(1, 0, len(items)).astype(np.float32))


class Raising(Fixed):
    def retrieve(self, q: Query, limit: int) -> Scored:
        raise RuntimeError("on fire")


class Hanging(Fixed):
    """Hangs until it is let go."""

    def __init__(self, name: str = "hanging") -> None:
        super().__init__([0], name)
        self.go = threading.Event()
        self.calls = 0

    def retrieve(self, q: Query, limit: int) -> Scored:
        self.calls += 1
        self.go.wait(30)
        return super().retrieve(q, limit)


class Names:
    def name(self, dense: int) -> str:
        return f"region{dense}"


class Catalogue:
    regions = Names()

    def __init__(self) -> None:
        self.facts = facts(list(range(N)))

    def titles(self, dense: np.ndarray) -> list[tuple[str, str]]:
        return [(f"title{i}", f"artist{i}") for i in dense.tolist()]


class House:
    def __init__(self, sources: list[Any], state: DictState | None = None, **settings: Any) -> None:
        self.catalogue, self.state = Catalogue(), state or DictState(popular_items=list(range(30, N)))
        self.counted: dict[tuple[str, str], int] = {}
        settings.setdefault("deadline_ms", 30_000)  # a busy machine must not decide a test
        stages = Stages(
            (
                rules.playable(lambda: self.catalogue.facts),
                rules.heard_in_session(lambda: self.catalogue.facts, self.state),  # type: ignore[arg-type]
                rules.refused(self.state),  # type: ignore[arg-type]
            ),
            Radio(lambda: self.catalogue.facts, self.state, explore=0.0),  # type: ignore[arg-type]
        )
        settings = {"deadline_ms": 30_000, **settings}  # a busy machine must not decide a test
        self.recommender = Recommender(
            Model(tuple(sources), Blend()), stages, self.catalogue, self.state, key=b"k", count=self.count, **settings  # type: ignore[arg-type]
        )  # fmt: skip

    def count(self, event: str, label: str) -> None:
        self.counted[event, label] = self.counted.get((event, label), 0) + 1


def test_a_personal_answer_has_the_ranked_items_and_their_sources() -> None:
    house = House([Fixed([5, 6, 7, 8]), Fixed([6, 9], "cooccurrence")])
    slate = house.recommender.recommend(query(limit=4, discovery=1.0)).slate
    assert slate.rung == "personal"
    assert slate.items[0] == 6
    assert set(slate.sources[0]) == {"als", "cooccurrence"}
    assert len(slate.items) == 4


def test_a_failing_source_is_left_out_and_counted() -> None:
    house = House([Raising([0], "als"), Fixed([1, 2], "cooccurrence")])
    slate = house.recommender.recommend(query(limit=2)).slate
    assert set(slate.items.tolist()) == {1, 2}
    assert house.counted["source_failed", "als"] == 1


def test_a_hanging_source_is_left_out_counted_and_not_asked_again_until_it_returns() -> None:
    hanging = Hanging()
    house = House([Fixed([1, 2], "cooccurrence"), hanging], deadline_ms=30_000)
    house.recommender.budget_s = 0.5
    slate = house.recommender.recommend(query(limit=2)).slate
    assert set(slate.items.tolist()) == {1, 2}
    assert house.counted["source_late", "hanging"] == 1
    house.recommender.recommend(query(limit=2))
    assert hanging.calls == 1
    assert house.counted["source_hanging", "hanging"] == 1
    hanging.go.set()
    for _ in range(1000):  # it returns as soon as its thread runs
        house.recommender.recommend(query(limit=2))
        if hanging.calls > 1:
            break
    assert hanging.calls > 1


def test_without_any_source_the_answer_is_regional_then_global() -> None:
    state = DictState(popular_items=[1, 2, 3], regional_items={4: [7, 8, 9]})
    house = House([], state)
    assert house.recommender.recommend(query(limit=3, context=Context(region=4))).slate.rung == "regional"
    slate = house.recommender.recommend(query(limit=3)).slate
    assert slate.rung == "global"
    assert set(slate.items.tolist()) == {1, 2, 3}


def test_an_empty_log_still_plays_what_the_catalogue_has() -> None:
    house = House([], DictState())
    slate = house.recommender.recommend(query(limit=10)).slate
    assert len(slate.items) == 10
    assert slate.rung == "global"


def test_what_nobody_has_played_is_not_called_popular() -> None:
    fresh = House([], DictState()).recommender.recommend(query(limit=10)).slate
    assert set(fresh.sources) == {("unplayed",)}
    assert set(fresh.reasons) == {"not played here yet"}
    assert fresh.items[0] == N - 1, "the newest first"
    few = House([], DictState(popular_items=[3, 1])).recommender.recommend(query(limit=10)).slate
    assert few.items[:2].tolist() == [3, 1], "in the order of popularity, not of ids"
    assert [reason.startswith("popular") for reason in few.reasons] == [True] * 2 + [False] * 8
    filled = House([Fixed([5])], DictState(popular_items=[3, 1, 7, 2])).recommender.recommend(query(limit=4)).slate
    assert filled.items.tolist() == [5, 3, 1, 7]


def test_an_empty_catalogue_answers_with_an_empty_slate() -> None:
    house = House([], DictState())
    house.catalogue.facts = facts([])
    assert len(house.recommender.recommend(query()).slate.items) == 0


class Broken:
    name: ClassVar[str] = "broken"

    def score(self, q: Query, candidates: Candidates, rows: np.ndarray) -> np.ndarray:
        raise FloatingPointError("no")


def test_a_broken_ranker_falls_to_the_cached_candidates_of_the_listener() -> None:
    house = House([Fixed([5, 6, 7, 8])])
    first = house.recommender.recommend(query(limit=3)).slate
    house.recommender.swap(Model((Fixed([1]),), Broken()))
    slate = house.recommender.recommend(query(limit=3, recent=recent((int(first.items[0]), 1.0)))).slate
    assert slate.rung == "cached"
    assert first.items[0] not in slate.items  # heard meanwhile: filtered again
    assert house.counted["rung_failed", "personal:FloatingPointError"] == 1
    assert house.recommender.recommend(query(user=3)).slate.rung == "global"


def test_a_short_list_is_filled_up_to_the_limit() -> None:
    house = House([Fixed([5])])
    slate = house.recommender.recommend(query(limit=10)).slate
    assert len(slate.items) == 10
    assert slate.items[0] == 5


@pytest.mark.parametrize("limit", [1, 10, 50])
def test_a_slate_replays_to_the_bit_from_its_request_id(limit: int) -> None:
    house = House([Fixed(list(range(N)))])
    house.recommender._stages.reranker.explore = 0.9  # type: ignore[attr-defined]
    a, b = (house.recommender.recommend(query(limit=limit, request_id=99)).slate for _ in range(2))
    other = house.recommender.recommend(query(limit=limit, request_id=100)).slate
    assert a.items.tolist() == b.items.tolist()
    assert limit == 1 or a.items.tolist() != other.items.tolist()


class Pulled(Fixed):
    def because(self, q: Query, items: np.ndarray) -> np.ndarray:
        return np.full(len(items), 3, np.int32)


def test_reasons_name_the_song_that_pulled_and_the_place() -> None:
    house = House([Pulled([5, 6], "cooccurrence")])
    slate = house.recommender.recommend(query(limit=2)).slate
    assert slate.reasons[0] == "because you finished title3"
    house = House([], DictState(popular_items=[1]))
    q = query(limit=1, context=Context(region=2, hour_of_week=20))
    assert house.recommender.recommend(q).slate.reasons[0] == "popular in region2 this evening"


def test_a_radio_from_seeds_asks_about_the_seeds_and_the_session_only() -> None:
    asked: list[Query] = []

    class Curious(Fixed):
        def retrieve(self, q: Query, limit: int) -> Scored:
            asked.append(q)
            return super().retrieve(q, limit)

    house = House([Curious([5, 6, 7], "artist"), Fixed(list(range(20, 40)), "popular")])
    played = recent((1, 1.0), (2, 1.0))
    played.in_session[1] = False
    q = query(limit=3, recent=played, seeds=Seeds(tags=np.array([0], np.int32)))
    slate = house.recommender.recommend(q).slate
    assert asked[0].user == MISSING
    assert asked[0].recent.items.tolist() == [1]
    assert set(slate.items.tolist()) == {5, 6, 7}  # not one of the popular songs that nobody asked for
    q = query(limit=5, seeds=Seeds(tags=np.array([0], np.int32)))
    assert len(house.recommender.recommend(q).slate.items) == 5  # too few are on topic: the others fill up


def test_newcomers_have_a_ranker_of_their_own() -> None:
    class Backwards:
        name: ClassVar[str] = "backwards"

        def score(self, q: Query, candidates: Candidates, rows: np.ndarray) -> np.ndarray:
            return -candidates.items.astype(np.float32)

    house = House([Fixed([5, 6, 7], "popular")])
    model = house.recommender.model
    house.recommender.swap(Model(model.sources, Backwards(), newcomers=Blend()))
    assert house.recommender.recommend(query(limit=1)).slate.items.tolist() == [5]
    house.recommender.swap(Model((Fixed([7, 6, 5], "als"),), Backwards(), newcomers=Blend()))
    assert house.recommender.recommend(query(limit=1, recent=recent((1, 1.0)))).slate.items.tolist() == [5]


class AtOnce(Fixed):
    """Reads arrays of this process: remembers the thread that it was asked in."""

    at_once: ClassVar[bool] = True
    thread: threading.Thread | None = None

    def retrieve(self, q: Query, limit: int) -> Scored:
        self.thread = threading.current_thread()
        return super().retrieve(q, limit)


def test_a_source_of_arrays_is_asked_on_the_thread_of_the_request_beside_one_that_hangs() -> None:
    quick, hanging = AtOnce([3, 4, 5]), Hanging()
    house = House([hanging, quick], deadline_ms=30_000)  # a busy machine must not decide this test
    house.recommender.budget_s = 0.5
    slate = house.recommender.recommend(query(limit=3)).slate
    assert quick.thread is threading.current_thread()
    assert set(slate.items.tolist()) == {3, 4, 5}, "what hangs is asked elsewhere and holds nobody"
    assert house.counted["source_late", "hanging"] == 1
    hanging.go.set()


def test_sources_of_arrays_alone_need_no_thread_and_no_future() -> None:
    house = House([AtOnce([3, 4, 5]), AtOnce([4, 6], "cooccurrence")])
    asked = house.recommender.ask(query(limit=2))
    assert asked.round.done is None
    assert len(house.recommender.finish(asked).slate.items) == 2


def test_past_the_budget_the_next_source_of_arrays_is_not_asked() -> None:
    house = House([AtOnce([3, 4, 5]), AtOnce([4, 6], "cooccurrence")])
    house.recommender.budget_s = -1.0
    house.recommender.recommend(query(limit=2))
    assert house.counted["source_late", "als"] == house.counted["source_late", "cooccurrence"] == 1


def test_a_song_that_was_only_liked_was_not_finished() -> None:
    house = House([Pulled([4, 5], "cooccurrence")])
    liked = replace(recent((3, 1.0)), share=np.array([np.nan], np.float32))
    assert house.recommender.recommend(query(limit=2, recent=liked)).slate.reasons[0] == "because you liked title3"
