"""What lists are besides right: how much of the catalogue they show, how evenly, how far from the hits, how varied."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segue.core.types import Bool, Float32, Int32, Int64

Float64 = NDArray[np.float64]
_BLOCK = 1 << 22  # pairs compared at a time


def shown(ranked: Int32, n_items: int) -> Int64:
    """In how many places each item stands, (n_items,); ranked (m, w), negative = an empty place."""
    return np.bincount(ranked[ranked >= 0], minlength=n_items).astype(np.int64)


def coverage(ranked: Int32, playable: Bool) -> float:
    """Share of the playable items, (n_items,) bool, that stand in any list (Herlocker et al. 2004); NaN if none is playable."""
    can = int(playable.sum())
    return float((shown(ranked, len(playable))[playable] > 0).sum() / can) if can else float("nan")


def gini(counts: NDArray[np.integer] | NDArray[np.floating]) -> float:
    """How unevenly places are shared, (n,) counts >= 0: 0 = all alike, (n - 1) / n = one has them all. NaN for nothing.

    G = sum over i = 1 ... n of (2 i - n - 1) x(i) / (n sum of x), x ascending (Gini 1912; Fleder and Hosanagar 2009 for
    recommenders). Items that were never shown belong into `counts`.
    """
    x = np.sort(np.asarray(counts, np.float64))
    n, total = len(x), float(x.sum())
    if total == 0:
        return float("nan")
    return float((2.0 * np.arange(1, n + 1) - n - 1) @ x / (n * total))


def novelty(ranked: Int32, plays: Int64) -> Float64:
    """Mean self-information of each list in bits, (m,): high = far from what everybody hears. NaN for an empty list.

    Mean over its items of -log2 p(i), p(i) = (plays(i) + 1) / (all plays + n_items): Zhou et al. 2010, Vargas and Castells
    2011, with one play more for everybody so that a song nobody has played is worth a finite number. plays (n_items,).
    """
    bits = np.log2(plays.sum() + len(plays)) - np.log2(plays + 1.0)
    there = ranked >= 0
    values = np.where(there, bits[np.where(there, ranked, 0)] if len(plays) else 0.0, 0.0)
    return _mean(values.sum(axis=1), there.sum(axis=1))


def diversity_by_vectors(ranked: Int32, vectors: Float32) -> Float64:
    """Mean of 1 - cosine over the pairs of each list, (m,) in [0, 2]: intra-list diversity (Ziegler et al. 2005).

    vectors (n_items, d); one of length 0 is at a right angle to all. NaN for a list of less than two items.
    """
    m, width = ranked.shape
    sums = np.zeros(m)
    counts = (ranked >= 0).sum(axis=1)
    step = max(1, _BLOCK // max(width * vectors.shape[1], 1))
    for start in range(0, m, step):
        ids = ranked[start : start + step]
        rows = np.asarray(vectors[np.maximum(ids, 0)], np.float64)
        lengths = np.linalg.norm(rows, axis=2, keepdims=True)
        rows = np.divide(rows, lengths, out=np.zeros_like(rows), where=(lengths > 0) & (ids >= 0)[:, :, None])
        whole = rows.sum(axis=1)  # |sum|^2 = sum of squares + 2 sum over pairs: no pair is formed
        sums[start : start + step] = ((whole**2).sum(axis=1) - (rows**2).sum(axis=(1, 2))) / 2
    pairs = counts * (counts - 1) / 2
    return _mean(pairs - sums, pairs)


def diversity_by_tags(ranked: Int32, ptr: Int64, tags: Int32) -> Float64:
    """Mean of 1 - |a and b| / |a or b| (Jaccard) over the pairs of items that have tags, (m,); NaN without such a pair.

    ptr (n_items + 1,) and tags: CSR of the distinct tags of each item.
    """
    return np.array([_jaccard(one[one >= 0], ptr, tags) for one in ranked], np.float64)


def _jaccard(items: Int32, ptr: Int64, tags: Int32) -> float:
    """Mean Jaccard distance over the pairs of one list."""
    sizes = (ptr[items + 1] - ptr[items]).astype(np.int64)
    items, sizes = items[sizes > 0], sizes[sizes > 0]
    n = len(items)
    if n < 2:
        return float("nan")
    owners = np.repeat(np.arange(n), sizes)
    places = np.arange(len(owners)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + np.repeat(ptr[items], sizes)
    names, column = np.unique(tags[places], return_inverse=True)
    table = np.zeros((n, len(names)))
    table[owners, column] = 1.0
    both = table @ table.T
    either = sizes[:, None] + sizes[None, :] - both
    upper = np.triu_indices(n, 1)
    return float(1.0 - (both[upper] / either[upper]).mean())


def variety(ranked: Int32, owner: Int32) -> Float64:
    """Different owners (artists, say) over items, of the items whose owner is known, (m,) in (0, 1]; NaN without one.

    owner (n_items,) int32, negative = unknown.
    """
    whose = np.where(ranked >= 0, owner[np.maximum(ranked, 0)] if len(owner) else -1, -1)
    ordered = np.sort(whose, axis=1)
    new = np.ones(ordered.shape, np.bool_)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return _mean((new & (ordered >= 0)).sum(axis=1), (ordered >= 0).sum(axis=1))


def _mean(sums: NDArray[np.floating] | Int64, counts: NDArray[np.floating] | Int64) -> Float64:
    """sums / counts, NaN where there is nothing to count."""
    out = np.full(len(sums), np.nan)
    np.divide(sums, counts, out=out, where=counts > 0)
    return out
