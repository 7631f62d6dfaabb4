"""The stages of a request and what each promises; tests/contracts holds one suite for each and finds every implementation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from segue.core.types import Arrays, Bool, Candidates, Float32, History, Query, Scored, Slate


@runtime_checkable
class CandidateSource(Protocol):
    """Offers items for a query. One file in candidates/ each.

    `retrieve` answers at most `limit` items: distinct, best first, ties by smaller item id, scores finite (any scale, higher
    is better). Items of the query's own seeds, recent plays and `exclude` may be offered: filtering removes them later.
    A source that has nothing to say answers Scored.none(); it never raises for an unknown user or item (MISSING included).
    It reads no clock and no randomness, must be safe to call from several threads, and must answer in under 2 ms at a
    million songs. `name` is the column of its evidence.

    A source that declares `at_once: ClassVar[bool] = True` reads nothing but arrays of this process, memory-mapped ones
    included, and is asked on the thread of the request; every other is asked in a thread apart, against a deadline.
    """

    name: ClassVar[str]

    def retrieve(self, query: Query, limit: int) -> Scored:
        """The best `limit` items for the query."""
        ...


@runtime_checkable
class Trainable(Protocol):
    """Something the night fits. Hyperparameters go to __init__ (keyword-only, with defaults), learned state ends in _."""

    def fit(self, history: History, rng: np.random.Generator) -> Self:
        """Learn from the history; same history and same rng give the same arrays. Returns self."""
        ...

    def arrays(self) -> Arrays:
        """The learned state as named arrays, contiguous, ready for .npy files that are memory-mapped when loaded."""
        ...

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """The inverse of arrays(): takes memory-mapped arrays without copying them. Returns self."""
        ...


@runtime_checkable
class Ranker(Protocol):
    """Scores candidates: keeps the order, drops none; (n,) float32 finite. `rows` are the features, (n, F) float32."""

    name: ClassVar[str]

    def score(self, query: Query, candidates: Candidates, rows: Float32) -> Float32:
        """One score a candidate, in the order of the candidates."""
        ...


@runtime_checkable
class Explains(Ranker, Protocol):
    """A ranker that can say what each feature moved a score by."""

    def contributions(self, rows: Float32) -> tuple[float, NDArray[np.float64]]:
        """(base, (n, F)): the log-odds of each score is base plus the sum of its row; rows (n, F) as in score."""
        ...


@runtime_checkable
class ExplainsIds(Ranker, Protocol):
    """A ranker that looks at ids beside the features, and can say what each of both moved a score by."""

    ids: ClassVar[tuple[str, ...]]
    """What its ids are called, (p,)."""

    def contributions_with_ids(
        self, query: Query, candidates: Candidates, rows: Float32, scores: Float32 | None = None
    ) -> tuple[float, NDArray[np.float64], Bool]:
        """(base, (n, F + p), (n, p) which ids it knows): the log-odds of each score is base plus the sum of its row.

        Of a slate of the log the recent plays are not known; given the `scores` of then (n,), what they must have moved is
        what is left.
        """
        ...


@runtime_checkable
class Reranker(Protocol):
    """The only stage that arranges and chooses."""

    name: ClassVar[str]

    def select(
        self, query: Query, candidates: Candidates, scores: Float32, rng: np.random.Generator
    ) -> tuple[NDArray[np.intp], Float32, Bool]:
        """At most query.limit distinct places into the candidates, in order; their propensities in (0, 1]; which explored."""
        ...


Filter = Callable[[Query, Candidates], Bool]
"""(query, candidates) -> (n,) bool, True = may be recommended."""

__all__ = ["CandidateSource", "Explains", "ExplainsIds", "Filter", "Ranker", "Reranker", "Slate", "Trainable"]
