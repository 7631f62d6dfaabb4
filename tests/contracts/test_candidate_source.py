"""Every source of candidates, found by itself, keeps the promises of core/stages.py."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import segue.candidates
from segue.core.stages import CandidateSource, Trainable
from segue.core.types import MISSING, NO_DAY, History, Items, Query, Recent, Scored, Seeds

N_USERS, N_ITEMS, DAY = 60, 150, 20_000
NOW = DAY * 86_400_000


def world(rng: np.random.Generator) -> History:
    """Listeners of two tastes over songs of 30 artists: sessions, skips, tags, albums, fresh and unplayable songs."""
    rows = []
    session = 0
    for user in range(N_USERS):
        for day in np.sort(rng.integers(1, 60, rng.integers(1, 5))):
            taste = (np.arange(N_ITEMS) % 2 == user % 2) * 4.0 + 1.0
            songs = rng.choice(N_ITEMS - 5, 12, p=taste[:-5] / taste[:-5].sum())  # the last five were never played
            for place, item in enumerate(songs):
                liked = 1 if item % 2 == user % 2 else int(rng.integers(-1, 2))
                rows.append((user, item, (DAY - 60 + int(day)) * 86_400 + 200 * place, liked, session))
            session += 1
    users, items, at, signal, sessions = np.array(rows).T
    n_tags = rng.integers(0, 4, N_ITEMS)
    facts = replace(
        Items.bare(N_ITEMS),
        artist=(np.arange(N_ITEMS) // 5).astype(np.int32),
        album=(np.arange(N_ITEMS) // 3).astype(np.int32),
        released=np.where(np.arange(N_ITEMS) % 10 == 0, DAY - np.arange(N_ITEMS) % 20, NO_DAY).astype(np.int32),
        playable=np.arange(N_ITEMS) % 50 != 7,
        tags_ptr=np.concatenate(([0], np.cumsum(n_tags))),
        tags=rng.integers(0, 6, n_tags.sum()).astype(np.int32),
    )
    return History(
        n_users=N_USERS,
        n_items=N_ITEMS,
        now=NOW,
        user=users.astype(np.int32),
        item=items.astype(np.int32),
        at=at.astype(np.uint32),
        signal=signal.astype(np.int8),
        session=sessions.astype(np.int32),
        facts=facts,
    )


def sources() -> list[type[Any]]:
    """The public classes of segue.candidates (folders too) that have a name and retrieve."""
    found: dict[str, type[Any]] = {}
    for module in pkgutil.walk_packages(segue.candidates.__path__, "segue.candidates."):
        for name, thing in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            own = thing.__module__.startswith("segue.candidates") and not name.startswith("_")
            if own and hasattr(thing, "retrieve") and isinstance(getattr(thing, "name", None), str):
                found[f"{thing.__module__}.{name}"] = thing
    return [found[key] for key in sorted(found)]


class LiveCounts:
    """Stands in for the online state where a source asks it for what is popular."""

    def popular(self, region: int, age_band: int, hour_of_week: int, limit: int) -> Scored:
        n = max(0, min(limit, 40))
        return Scored(np.arange(n, dtype=np.int32), (2.0 - 0.01 * np.arange(n)).astype(np.float32))


class Sounds:
    """Stands in for the store of vectors: all but every ninth song have one, by brute force."""

    def __init__(self) -> None:
        rows = np.random.default_rng(4).standard_normal((N_ITEMS, 6)).astype(np.float32)
        self.rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        self.rows[4::9] = np.nan

    def __len__(self) -> int:
        return int(np.isfinite(self.rows[:, 0]).sum())

    def get(self, items: np.ndarray) -> np.ndarray:
        inside = (items >= 0) & (items < N_ITEMS)
        out = np.full((len(items), 6), np.nan, np.float32)
        out[inside] = self.rows[items[inside]]
        return out

    def search(self, queries: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
        scores = np.nan_to_num(queries @ self.rows.T, nan=-np.inf)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :limit]
        return order.astype(np.int32), np.take_along_axis(scores, order, 1).astype(np.float32)


FACTORIES: dict[str, Callable[[type[Any]], Any]] = {"Sound": lambda kind: kind(vectors=Sounds(), few=60.0)}
"""Class name -> how to build one, for those that cannot be built from nothing; LiveCounts is passed by its parameter."""


def make(kind: type[Any]) -> Any:
    """A source as it is before any night."""
    if kind.__name__ in FACTORIES:
        return FACTORIES[kind.__name__](kind)
    needed = [p for p in inspect.signature(kind).parameters.values() if p.default is p.empty]
    return kind(**{p.name: LiveCounts() for p in needed})


def build(kind: type[Any], history: History) -> Any:
    """A source ready to answer: fitted when it can be."""
    source = make(kind)
    return source.fit(history, np.random.default_rng(3)) if learns(source) else source


def learns(source: Any) -> bool:
    return isinstance(source, Trainable)


@pytest.fixture(scope="module")
def history() -> History:
    return world(np.random.default_rng(7))


@pytest.fixture(scope="module", params=sources(), ids=lambda kind: kind.__name__)
def source(request: pytest.FixtureRequest, history: History) -> Any:
    return build(request.param, history)


def recent(rng: np.random.Generator, n: int, n_items: int = N_ITEMS) -> Recent:
    return Recent(
        items=rng.integers(-1, n_items, n).astype(np.int32),
        signal=rng.integers(-1, 2, n).astype(np.float32),
        share=rng.random(n).astype(np.float32),
        at=NOW - np.sort(rng.integers(0, 10**9, n)),
        in_session=np.arange(n) < n // 2,
    )


def queries() -> list[Query]:
    """Known and unknown listeners, ids from nowhere, seeds of every kind, nothing at all."""
    rng = np.random.default_rng(11)
    ids = np.array([3, 4, 10**6, MISSING, 2**31 - 1], np.int32)
    nothing = Query(1, MISSING, NOW)
    return [
        nothing,
        *(Query(2, user, NOW, recent=recent(rng, n)) for user, n in ((0, 0), (1, 5), (17, 40), (N_USERS - 1, 200))),
        *(Query(3, user, NOW, recent=recent(rng, 9)) for user in (MISSING, -7, N_USERS, 10**9)),
        Query(4, 5, NOW, recent=recent(rng, 30, 2**31 - 1)),
        Query(5, MISSING, NOW, seeds=Seeds(ids, ids, ids)),
        Query(6, MISSING, NOW, seeds=Seeds(tags=np.array([1, 2], np.int32))),
        Query(7, 3, NOW, exclude=ids, recent=recent(rng, 12)),
        Query(8, 3, NOW + 400 * 86_400_000, recent=recent(rng, 12)),
        Query(9, 3, NOW - 400 * 86_400_000, recent=recent(rng, 12)),
    ]


def same(a: Scored, b: Scored) -> bool:
    return np.array_equal(a.items, b.items) and np.array_equal(a.scores, b.scores)


def test_there_are_sources() -> None:
    assert len(sources()) >= 5
    names = [kind.name for kind in sources()]
    assert len(set(names)) == len(names), "two sources would share a column of evidence"


def test_is_a_source(source: Any) -> None:
    assert isinstance(source, CandidateSource)


@pytest.mark.parametrize("limit", [1, 7, 500])
def test_distinct_finite_best_first_ties_by_id_and_within_the_limit(source: Any, limit: int) -> None:
    for query in queries():
        answer = source.retrieve(query, limit)
        assert isinstance(answer, Scored)
        assert answer.items.dtype == np.int32
        assert answer.scores.dtype == np.float32
        assert len(answer.items) == len(answer.scores) <= limit
        assert len(np.unique(answer.items)) == len(answer)
        assert np.isfinite(answer.scores).all()
        assert ((answer.items >= 0) & (answer.items < N_ITEMS)).all()
        assert np.array_equal(np.lexsort((answer.items, -answer.scores)), np.arange(len(answer)))


def test_a_smaller_limit_is_the_head_of_a_larger_one(source: Any) -> None:
    for query in queries():
        few, many = source.retrieve(query, 5), source.retrieve(query, 50)
        assert same(few, Scored(many.items[:5], many.scores[:5]))


def test_it_has_something_to_say(source: Any) -> None:
    assert any(len(source.retrieve(query, 10)) for query in queries())


def test_the_same_query_has_the_same_answer_and_is_left_as_it_was(source: Any) -> None:
    for query in queries():
        columns = [column.copy() for column in vars(query.recent).values()]
        first, second = source.retrieve(query, 40), source.retrieve(query, 40)
        assert same(first, second)
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(columns, vars(query.recent).values(), strict=True))


def test_several_threads_get_the_answers_of_one(source: Any) -> None:
    asked = queries() * 8
    alone = [source.retrieve(query, 30) for query in asked]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda query: source.retrieve(query, 30), asked))
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))


def test_a_fit_is_deterministic(source: Any, history: History) -> None:
    if not learns(source):
        pytest.skip("it learns nothing by night")
    again = build(type(source), history).arrays()
    assert sorted(again) == sorted(source.arrays())
    for name, array in source.arrays().items():
        assert array.dtype == again[name].dtype
        assert np.array_equal(array, again[name]), name


def test_arrays_come_back_from_memory_mapped_files(source: Any, tmp_path: Path) -> None:
    if not learns(source):
        pytest.skip("it learns nothing by night")
    for name, array in source.arrays().items():
        assert array.flags.c_contiguous, name
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=False)
    mapped = {path.stem: np.load(path, mmap_mode="r") for path in tmp_path.glob("*.npy")}
    loaded = make(type(source)).load(mapped)
    for name, array in loaded.arrays().items():
        assert np.shares_memory(array, mapped[name]) or array.size == 0, f"{name} was copied"
    for query in queries():
        assert same(source.retrieve(query, 40), loaded.retrieve(query, 40))


def test_an_empty_history_can_be_learned_from(source: Any) -> None:
    if not learns(source):
        pytest.skip("it learns nothing by night")
    none = np.zeros(0, np.int32)
    empty = History(
        n_users=0,
        n_items=0,
        now=NOW,
        user=none,
        item=none,
        at=none.astype(np.uint32),
        signal=none.astype(np.int8),
        session=none,
        facts=Items.bare(0),
    )
    fitted = build(type(source), empty)
    for query in queries():
        assert len(fitted.retrieve(query, 10)) <= 10
