"""Each stage at which a song can drop out is named, and a shown slate is told from its exposure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from segue.core.errors import NotFound
from segue.core.types import MISSING, Candidates, Exposure, Items, Query, Scored, Seeds
from segue.filtering import rules
from segue.ranking.blend import Blend
from segue.ranking.logistic import Logistic
from segue.reranking.radio import Radio
from segue.serving.explain import Explain
from segue.serving.recommender import Model, Recommender, Stages
from worlds import DictState, facts, query

N = 60
ALBUM = replace(facts(list(range(N))), album=np.array([5] * 3 + [MISSING] * (N - 3), np.int32))


class Names:
    def all(self, dense: Any) -> list[str]:
        return [f"s{i}" for i in dense.tolist()]

    def name(self, dense: int) -> str:
        return f"s{dense}"


class Catalogue:
    regions = users = items = artists = tags = Names()

    def __init__(self, world: Items) -> None:
        self.facts = world

    def titles(self, dense: Any) -> list[tuple[str, str]]:
        return [(f"title{i}", f"artist{i}") for i in dense.tolist()]


class Fixed:
    """Offers the same songs in the same order."""

    at_once = True

    def __init__(self, name: str, items: list[int]) -> None:
        self.name, self._items = name, np.array(items, np.int32)

    def retrieve(self, query: Query, limit: int) -> Scored:
        items = self._items[:limit]
        return Scored(items, -np.arange(len(items), dtype=np.float32))


class Log:
    def __init__(self, *exposures: Exposure) -> None:
        self._by_request = {e.slate.request_id: e for e in exposures}

    def exposure(self, request_id: int) -> Exposure | None:
        return self._by_request.get(request_id)


def house(world: Items, state: DictState, offers: list[int], **more: Any) -> Recommender:
    stages = Stages(
        (rules.playable(lambda: world), rules.refused(state)),  # type: ignore[arg-type]
        Radio(lambda: world, state, explore=0.0, **more),  # type: ignore[arg-type]
    )
    model = Model((Fixed("als", offers), Fixed("cooccurrence", offers[:3])), Blend())
    return Recommender(model, stages, Catalogue(world), state, key=b"k", per_source=20)  # type: ignore[arg-type]


def song(recommender: Recommender, item: int, q: Query, log: Any = None) -> dict[str, Any]:
    return Explain(log or Log(), recommender._catalogue, recommender, lambda version: Blend()).song(q, item)


def test_a_song_in_the_slate_has_its_place_and_its_sources() -> None:
    told = song(house(facts(list(range(N))), DictState(), list(range(40))), 1, query(limit=5, discovery=1.0))
    assert (told["stage"], told["rank"]) == ("slate", 2)
    assert "place 2" in told["answer"]
    assert told["sources"][0] == {"source": "als", "place": 2, "score": -1.0}
    assert {part["source"] for part in told["by_source"]} == {"als", "cooccurrence"}
    assert sum(part["adds"] for part in told["by_source"]) == pytest.approx(told["score"])


def test_no_source_offered_it_and_how_deep_they_would_have_to_be_asked() -> None:
    told = song(house(facts(list(range(N))), DictState(), list(range(40))), 30, query(limit=5, discovery=1.0))
    assert told["stage"] == "sources"
    assert told["sources"] == [{"source": "als", "would_be": 31}, {"source": "cooccurrence", "would_be": None}]


def test_the_filter_that_removed_it_is_named() -> None:
    state = DictState(refused_pairs={(0, 4)})
    told = song(house(facts(list(range(N))), state, list(range(40))), 4, query(limit=5, discovery=1.0))
    assert told["stage"] == "filtering"
    assert "'refused'" in told["answer"]
    world = facts(list(range(N)))
    world.playable[7] = False
    told = song(house(world, DictState(), list(range(40))), 7, query(limit=5, discovery=1.0))
    assert "cannot be played" in told["answer"]


def test_the_ranker_put_it_too_low() -> None:
    told = song(house(facts(list(range(N))), DictState(), list(range(40))), 15, query(limit=5, discovery=1.0))
    assert (told["stage"], told["rank"], told["of"]) == ("ranking", 16, 20)
    assert "5 of the 5" in told["answer"]


@pytest.mark.parametrize(
    ("world", "more", "says"),
    [
        (facts([0] * 3 + list(range(1, N - 2))), {"max_per_artist": 1, "artist_gap": 0}, "max_per_artist"),
        (facts([0] * 3 + list(range(1, N - 2))), {"max_per_artist": 9, "artist_gap": 3}, "artist_gap"),
        (facts(list(range(N)), works=[0, 0, 0, *range(3, N)]), {}, "another version"),
        (ALBUM, {"max_per_album": 1}, "max_per_album"),
    ],
)  # fmt: skip
def test_the_rule_of_the_reranker_is_named(world: Items, more: dict[str, Any], says: str) -> None:
    told = song(house(world, DictState(), list(range(40)), **more), 1, query(limit=2, discovery=1.0))
    assert told["stage"] == "reranking"
    assert says in told["answer"]


def test_the_side_that_a_place_was_for_is_named() -> None:
    state = DictState(heard_pairs={(0, 0), (0, 1)})
    told = song(house(facts(list(range(N))), state, list(range(40))), 1, query(limit=4, discovery=1.0))
    assert (told["stage"], "new to the listener" in told["answer"]) == ("reranking", True)


def test_what_is_not_about_the_seeds_is_said_to_be_so() -> None:
    world = facts(list(range(N)), tags=[[1] if i < 10 else [2] for i in range(N)])
    q = query(limit=5, discovery=1.0, seeds=Seeds(tags=np.array([1], np.int32)))
    told = song(house(world, DictState(), list(range(40))), 12, q)
    assert told["stage"] == "topic"


def shown() -> tuple[Exposure, Logistic]:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 2)).astype(np.float32)
    ranker = Logistic().fit_rows(rows, rows[:, 0] + rng.normal(size=300) > 0, np.ones(300, np.float32), np.ones(300, np.bool_))
    recommender = house(facts(list(range(N))), DictState(), list(range(40)))
    exposure = recommender.recommend(query(limit=3, discovery=1.0))
    scores = ranker.probabilities(rows[:3]).astype(np.float32)
    slate = replace(exposure.slate, scores=scores, model_versions={"bundle": "v1"})
    return replace(exposure, slate=slate, features=rows[:3], feature_names=("left", "right")), ranker


def test_a_slate_is_told_with_what_moved_each_score() -> None:
    exposure, ranker = shown()
    world = facts(list(range(N)))
    explain = Explain(Log(exposure), Catalogue(world), house(world, DictState(), []), lambda version: ranker)  # type: ignore[arg-type]
    told = explain.request("0000000000000007")
    assert told["repeated"] is True
    assert [s["id"] for s in told["items"]] == ["s0", "s1", "s2"]
    for place, one in enumerate(told["items"]):
        total = one["base"] + sum(f["moved"] for f in one["features"]) + one["others"]
        assert 1 / (1 + np.exp(-total)) == pytest.approx(exposure.slate.scores[place], abs=1e-6)
    assert len(explain.request("0000000000000007", "s1")["items"]) == 1
    other = replace(exposure, slate=replace(exposure.slate, scores=exposure.slate.scores + np.float32(0.01)))
    explain = Explain(Log(other), Catalogue(world), house(world, DictState(), []), lambda version: ranker)  # type: ignore[arg-type]
    assert explain.request("0000000000000007")["repeated"] is False


def test_a_request_nobody_logged_and_models_that_are_gone() -> None:
    exposure, _ = shown()
    world = facts(list(range(N)))

    def gone(version: str) -> Any:
        raise NotFound(f"no version {version}")

    explain = Explain(Log(exposure), Catalogue(world), house(world, DictState(), []), gone)  # type: ignore[arg-type]
    told = explain.request("0000000000000007")
    assert (told["repeated"], told["ranker"]) == (None, None)
    assert "no version v1" in told["note"]
    with pytest.raises(NotFound, match="no request"):
        explain.request("0000000000000008")
    with pytest.raises(NotFound, match="no item"):
        explain.request("0000000000000007", "s40")


class Knows(Logistic):
    """Looks at one id beside the features, and at the songs wanted lately, which no slate keeps."""

    name = "knows"
    ids = ("song", "songs wanted lately")
    contributions = None  # type: ignore[assignment]

    def contributions_with_ids(
        self, query: Query, candidates: Candidates, rows: np.ndarray, scores: np.ndarray | None = None
    ) -> tuple[float, np.ndarray, np.ndarray]:
        values = np.zeros((len(rows), 4))
        values[:, 0], values[:, 2] = rows[:, 0], 0.01 * candidates.items
        values[:, 3] = len(query.recent) if scores is None else scores
        return 0.5, values, np.array([[True, len(query.recent) > 0]] * len(rows))


def test_a_ranker_that_looks_at_ids_tells_what_they_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    exposure, learned = shown()
    monkeypatch.delattr(Logistic, "contributions")
    monkeypatch.delattr(Knows, "contributions")
    ranker = Knows().load(learned.arrays())
    world = facts(list(range(N)))
    explain = Explain(Log(exposure), Catalogue(world), house(world, DictState(), []), lambda version: ranker)  # type: ignore[arg-type]
    told = explain.request("0000000000000007")
    assert told["repeated"] is None, "it looks at more than features"
    for place, one in enumerate(told["items"]):
        found = {f["feature"]: (f["value"], f["moved"]) for f in one["features"]}
        assert found["songs wanted lately"] == (0.0, pytest.approx(exposure.slate.scores[place]))
        assert found.get("song", (1.0, 0.0)) == (1.0, pytest.approx(0.01 * exposure.slate.items[place]))
        assert one["base"] == 0.5
