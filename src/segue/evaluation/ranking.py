"""What ranked lists were worth to the listeners they were made for: precision, recall and their kin at k, one value a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from segue.core.types import Bool, Int32, Int64

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class PerList:
    """One value a list, (m,) float64 in [0, 1] each; NaN for a list with nothing relevant: leave those out of means.

    R = how many items are relevant to the list, rel(i) = 1 if place i (from 1) holds one of them, hits(i) = rel(1) + ... +
    rel(i). Places that a short list leaves empty are misses.
    """

    recall: Float64  # hits(k) / R
    precision: Float64  # hits(k) / k, whatever the length of the list
    f1: Float64  # 2 precision recall / (precision + recall), 0 if both are 0 (van Rijsbergen 1979)
    ndcg: Float64  # sum of rel(i) / log2(i + 1) over that of min(k, R) hits in a row (Jarvelin, Kekalainen 2002)
    hit: Float64  # 1 if hits(k) > 0
    mrr: Float64  # 1 / place of the first hit, 0 if it is not among the first k (Voorhees 1999)
    map: Float64  # sum of rel(i) hits(i) / i up to k, over R: average precision as trec_eval cuts it
    mar: Float64  # mean of hits(i) / R over i = 1 ... k: average recall, what is found early counts more often


METRICS = tuple(field.name for field in fields(PerList))


def per_list(ranked: Int32, ptr: Int64, relevant: Int32, k: int) -> PerList:
    """Judge m lists at k.

    ranked (m, w) int32: item ids, best first, negative = no item (a list shorter than w). Order is as given: ties were
    broken by who ranked. An item that stands twice in a list counts at its first place only, the later place is a miss.
    ptr (m + 1,) int64 and relevant (ptr[-1],) int32: CSR of the distinct relevant items of each list. k may exceed w.
    ValueError if the shapes do not fit.
    """
    _check(ranked, ptr, relevant, k)
    return _judge(_hits(ranked[:, :k], ptr, relevant), _sizes(ptr), k)


def at_cutoffs(ranked: Int32, ptr: Int64, relevant: Int32, cutoffs: Sequence[int]) -> dict[str, Float64]:
    """Every metric of PerList at every cutoff, under names such as "ndcg@20": shapes as in per_list, hits found once."""
    _check(ranked, ptr, relevant, min(cutoffs))
    hits, sizes = _hits(ranked[:, : max(cutoffs)], ptr, relevant), _sizes(ptr)
    found: dict[str, Float64] = {}
    for k in cutoffs:
        judged = _judge(hits[:, :k], sizes, k)
        found |= {f"{metric}@{k}": getattr(judged, metric) for metric in METRICS}
    return found


def r_precision(ranked: Int32, ptr: Int64, relevant: Int32) -> Float64:
    """hits(R) / R, (m,): precision at as many places as there are relevant items; shapes as in per_list, NaN for R = 0."""
    _check(ranked, ptr, relevant, 1)
    hits, sizes = _hits(ranked, ptr, relevant), _sizes(ptr)
    inside = np.arange(1, hits.shape[1] + 1) <= sizes[:, None]
    return np.asarray((hits & inside).sum(axis=1) / sizes)


def auc(ranked: Int32, ptr: Int64, relevant: Int32, n_items: int) -> Float64:
    """Probability that a relevant item stands above another one, (m,): the area under the ROC curve (Hanley, McNeil 1982).

    Of n_items items those that a list does not hold all stand together behind it: pairs of them count half, as in
    `implicit`. A list of all items gives the exact area. NaN where nothing is relevant, or everything.
    """
    _check(ranked, ptr, relevant, 1)
    hits, sizes = _hits(ranked, ptr, relevant), _sizes(ptr)
    misses = _firsts(ranked) & ~hits
    found = hits.sum(axis=1)
    others = n_items - sizes
    if np.any(others < misses.sum(axis=1)):
        raise ValueError(f"lists hold more items that are not relevant than there are among {n_items}")
    above = np.where(misses, np.cumsum(hits, axis=1), 0).sum(axis=1)  # relevant ones above each listed miss
    behind = (others - misses.sum(axis=1)) * (found + sizes) / 2  # found: all above; not found: half of the pairs
    return np.asarray((above + behind) / (sizes * np.where(others > 0, others, np.nan)))


def _judge(hits: Bool, sizes: Float64, k: int) -> PerList:
    """The metrics of (m, <= k) hits, for lists with so many relevant items each, NaN for none."""
    m, width = hits.shape
    blank = sizes * 0.0  # 0, NaN where nothing is relevant
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[np.nan], np.cumsum(discount)])[np.nan_to_num(np.minimum(sizes, k)).astype(np.int64)]
    so_far = np.cumsum(hits, axis=1)
    total = hits.sum(axis=1)
    found = total > 0
    first = hits.argmax(axis=1) if width else np.zeros(m, np.int64)
    missing = (k - width) * total  # places beyond the list: hits(i) stays what it was
    return PerList(
        recall=total / sizes,
        precision=total / k + blank,
        f1=2.0 * total / (k + sizes),  # the harmonic mean of total / k and total / R
        ndcg=hits @ discount[:width] / ideal,
        hit=found + blank,
        mrr=found / (first + 1.0) + blank,
        map=(hits * (so_far / np.arange(1, width + 1))).sum(axis=1) / sizes,
        mar=(so_far.sum(axis=1) + missing) / (k * sizes),
    )


def _check(ranked: Int32, ptr: Int64, relevant: Int32, k: int) -> None:
    m = len(ranked)
    if k < 1 or len(ptr) != m + 1 or ptr[-1] != len(relevant):
        raise ValueError(f"{m} lists need k >= 1 and ptr of {m + 1} offsets into relevant; got k={k}, {len(ptr)} offsets")


def _sizes(ptr: Int64) -> Float64:
    """How many items are relevant to each list, NaN for none."""
    sizes = np.diff(ptr).astype(np.float64)
    sizes[sizes == 0] = np.nan
    return sizes


def _hits(top: Int32, ptr: Int64, relevant: Int32) -> Bool:
    """(m, w) True where a place holds a relevant item of its list for the first time."""
    m, width = top.shape
    span = np.int64(max(int(relevant.max(initial=0)), int(top.max(initial=0)))) + 1
    wanted = np.sort(np.repeat(np.arange(m), np.diff(ptr)) * span + relevant)
    keys = np.where(top >= 0, np.arange(m)[:, None] * span + top, -1)
    if len(wanted) == 0 or width == 0:
        return np.zeros((m, width), np.bool_)
    place = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
    return np.asarray((wanted[place] == keys) & _firsts(top))


def _firsts(top: Int32) -> Bool:
    """(m, w) True where a place holds an item that no place before it holds."""
    order = np.argsort(top, axis=1, kind="stable")  # repeats of an item stand together, first place first
    ordered = np.take_along_axis(top, order, axis=1)
    again = np.zeros(top.shape, np.bool_)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return np.asarray((top >= 0) & ~again)
