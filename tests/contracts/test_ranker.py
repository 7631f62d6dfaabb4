"""Every ranker, found by itself, keeps the promises of core/stages.py."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

import numpy as np
import pytest

import segue.ranking
from segue.core.stages import Ranker
from segue.core.types import MISSING, Candidates, Query, Recent

F = 12


def rankers() -> list[type[Any]]:
    """The public classes of segue.ranking that have a name and score."""
    found: dict[str, type[Any]] = {}
    for module in pkgutil.walk_packages(segue.ranking.__path__, "segue.ranking."):
        for name, thing in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            own = thing.__module__.startswith("segue.ranking") and not name.startswith("_")
            if own and hasattr(thing, "score") and isinstance(getattr(thing, "name", None), str):
                found[f"{thing.__module__}.{name}"] = thing
    return [found[key] for key in sorted(found)]


def learn(ranker: Any) -> Any:
    """Fitted on noise with a grain of truth, where it is one that learns."""
    if not hasattr(ranker, "fit_rows"):
        return ranker
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(400, F)).astype(np.float32)
    listened = rows[:, 0] + rng.normal(size=400) > 0
    return ranker.fit_rows(rows, listened, np.ones(400, np.float32), rng.random(400) < 0.5)


@pytest.fixture(params=rankers(), ids=lambda kind: kind.__name__)
def ranker(request: pytest.FixtureRequest) -> Any:
    for library in getattr(request.param, "needs", ()):
        pytest.importorskip(library, reason=f"the ranker {request.param.name} learns with {library}")
    return learn(request.param())


def pool(n: int, sources: tuple[str, ...] = ("als", "cooccurrence", "new")) -> tuple[Candidates, np.ndarray]:
    rng = np.random.default_rng(n)
    evidence = rng.normal(size=(n, len(sources))).astype(np.float32)
    evidence[rng.random(evidence.shape) < 0.6] = np.nan
    items = np.sort(rng.choice(10 * n + 1, n, replace=False)).astype(np.int32)
    return Candidates(items, evidence, sources), rng.normal(size=(n, F)).astype(np.float32)


QUERIES = [
    Query(1, 3, 10**12),
    Query(2, MISSING, 10**12),
    Query(
        3,
        3,
        10**12,
        recent=Recent(
            np.array([5, -1], np.int32),
            np.array([1, -1], np.float32),
            np.array([1, np.nan], np.float32),
            np.array([5, 4]),
            np.array([True, False]),
        ),
    ),
]


def test_there_are_rankers() -> None:
    assert {kind.name for kind in rankers()} >= {"blend", "logistic", "boosting", "forest", "deep"}
    assert len({kind.name for kind in rankers()}) == len(rankers())


@pytest.mark.parametrize("n", [0, 1, 500])
def test_one_finite_score_a_candidate(ranker: Any, n: int) -> None:
    assert isinstance(ranker, Ranker)
    for query in QUERIES:
        candidates, rows = pool(n)
        scores = ranker.score(query, candidates, rows)
        assert scores.shape == (n,)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()


def test_nothing_that_it_was_given_changes_and_the_answer_is_always_the_same(ranker: Any) -> None:
    candidates, rows = pool(50)
    before = candidates.evidence.copy(), rows.copy(), candidates.items.copy()
    first, second = (ranker.score(QUERIES[0], candidates, rows) for _ in range(2))
    assert np.array_equal(first, second)
    for was, now in zip(before, (candidates.evidence, rows, candidates.items), strict=True):
        assert np.array_equal(was, now, equal_nan=True)


def test_silence_of_all_sources_is_fine(ranker: Any) -> None:
    candidates, rows = pool(4)
    silent = Candidates(candidates.items, np.full_like(candidates.evidence, np.nan), candidates.sources)
    assert np.isfinite(ranker.score(QUERIES[0], silent, rows)).all()


def test_what_was_learned_comes_back_from_read_only_arrays(ranker: Any) -> None:
    if not hasattr(ranker, "arrays"):
        pytest.skip("it learns nothing by night")
    arrays = {name: array.copy() for name, array in ranker.arrays().items()}
    for array in arrays.values():
        array.flags.writeable = False
    candidates, rows = pool(50)
    again = type(ranker)().load(arrays).score(QUERIES[0], candidates, rows)
    assert np.array_equal(again, ranker.score(QUERIES[0], candidates, rows))
