"""Every reranker, found by itself, keeps the promises of core/stages.py."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import segue.reranking
from segue.core.types import Candidates
from worlds import DictState, facts, query


def rerankers() -> list[type[Any]]:
    """The public classes of segue.reranking that have a name and select."""
    found: dict[str, type[Any]] = {}
    for module in pkgutil.walk_packages(segue.reranking.__path__, "segue.reranking."):
        for name, thing in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            own = thing.__module__.startswith("segue.reranking") and not name.startswith("_")
            if own and hasattr(thing, "select") and isinstance(getattr(thing, "name", None), str):
                found[f"{thing.__module__}.{name}"] = thing
    return [found[key] for key in sorted(found)]


def test_there_is_one() -> None:
    assert rerankers()


@pytest.mark.parametrize("kind", rerankers(), ids=lambda kind: kind.__name__)
@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 60), limit=st.integers(1, 100), seed=st.integers(0, 2**32 - 1))
def test_distinct_places_lawful_propensities_and_replay(kind: type[Any], n: int, limit: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    world = facts(rng.integers(0, 8, n).tolist())
    reranker = kind(lambda: world, DictState())
    scores = rng.choice([0.0, 1.0, 2.5, -1e6], n).astype(np.float32)
    candidates = Candidates(np.arange(n, dtype=np.int32), np.ones((n, 1), np.float32), ("s",))
    answers = [reranker.select(query(limit=limit), candidates, scores, np.random.default_rng(seed)) for _ in range(2)]
    places, propensities, explored = answers[0]
    assert len(places) == len(propensities) == len(explored) <= min(n, limit)
    assert len(set(places.tolist())) == len(places)
    assert all(0 <= place < n for place in places.tolist())
    assert np.all((propensities > 0) & (propensities <= 1))
    for a, b in zip(*answers, strict=True):
        assert np.array_equal(a, b)
