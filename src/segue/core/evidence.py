"""What sources said about candidates, made comparable: ranks, since every source has its own scale of scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segue.core.types import Candidates, Float32, Int32, Scored

SILENT = np.iinfo(np.int32).max
"""The rank of a candidate that a source did not offer."""


def ranks(evidence: Float32) -> Int32:
    """Place of each candidate in each source's own order: 0 = best, SILENT where the source said nothing.

    evidence is (n, sources) float32, NaN = silent; the answer is (n, sources) int32. Candidates ascend by item id, so
    ties go to the earlier row. One sort of packed 64-bit keys (score descending, row ascending), which numpy does with
    SIMD, instead of a stable argsort: 500 candidates of 8 sources in under 0.1 ms.
    """
    n, m = evidence.shape
    scores = np.ascontiguousarray(evidence.T) + np.float32(0.0)  # + 0 makes -0.0 equal to 0.0
    bits = scores.view(np.int32)
    ascending = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))  # same order as the floats, as integers
    silent = np.isnan(scores)
    keys = np.where(silent, np.int32(SILENT), ~ascending).astype(np.int64) << 32
    keys |= np.arange(n)
    keys.sort(axis=1)
    keys &= 0xFFFFFFFF
    keys += np.arange(m)[:, None] * n
    places = np.empty((m, n), np.int32)
    places.reshape(-1)[keys] = np.arange(n, dtype=np.int32)
    places[silent] = SILENT
    return np.ascontiguousarray(places.T)


def reciprocal_ranks(evidence: Float32, k: float) -> Float32:
    """(k + 1) / (k + 1 + rank), (n, sources) float32: 1 for the best of a source, 0 where it is silent."""
    places = ranks(evidence)
    value = (k + 1.0) / (k + 1.0 + places.astype(np.float32))
    return np.where(places == SILENT, np.float32(0.0), value).astype(np.float32)


def union(sources: Sequence[str], answers: Sequence[Scored]) -> Candidates:
    """Every item that some source offered, ascending, with what each source said of it; answers[i] is of sources[i]."""
    if not answers:
        return Candidates(np.zeros(0, np.int32), np.zeros((0, 0), np.float32), tuple(sources))
    offered = np.concatenate([answer.items for answer in answers])
    items = _distinct(offered)
    evidence = np.full((len(items), len(answers)), np.nan, np.float32)
    columns = np.repeat(np.arange(len(answers)), [len(answer.items) for answer in answers])
    evidence[np.searchsorted(items, offered), columns] = np.concatenate([answer.scores for answer in answers])
    return Candidates(items.astype(np.int32, copy=False), evidence, tuple(sources))


def _distinct(items: Int32) -> Int32:
    """The items, each once, ascending: a sort of some hundred numbers is quicker than np.unique, which builds a hash table."""
    items = np.sort(items)
    first = np.ones(len(items), np.bool_)
    np.not_equal(items[1:], items[:-1], out=first[1:])
    return items[first]


def best(items: Int32, scores: Float32, limit: int) -> Scored:
    """The `limit` best of distinct items, best first, ties by smaller item id."""
    order = np.lexsort((items, -scores))[:limit]
    return Scored(items[order], scores[order])
