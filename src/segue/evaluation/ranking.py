"""What ranked lists were worth to the listeners they were made for: recall, NDCG, hit rate and MRR at k."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segue.core.types import Int32, Int64

Float64 = NDArray[np.float64]
METRICS = ("recall", "ndcg", "hit", "mrr")


@dataclass(frozen=True)
class PerList:
    """One value a list, (m,) float64 in [0, 1] each; NaN for a list with nothing relevant: leave those out of means."""

    recall: Float64  # relevant items found in the first k / relevant items
    ndcg: Float64  # binary gains, discount 1 / log2(place + 1) from place 1, ideal of min(k, relevant) places
    hit: Float64  # 1 if any of the first k is relevant
    mrr: Float64  # 1 / place of the first relevant one, 0 if it is not among the first k


def per_list(ranked: Int32, ptr: Int64, relevant: Int32, k: int) -> PerList:
    """Judge m lists at k.

    ranked (m, w) int32: item ids, best first, negative = no item (a list shorter than w). Order is as given: ties were
    broken by who ranked. An item that stands twice in a list counts at its first place only, the later place is a miss.
    ptr (m + 1,) int64 and relevant (ptr[-1],) int32: CSR of the distinct relevant items of each list. k may exceed w.
    NDCG as in Jarvelin and Kekalainen 2002 with binary gains.
    """
    m = len(ranked)
    if k < 1 or len(ptr) != m + 1 or ptr[-1] != len(relevant):
        raise ValueError(f"{m} lists need k >= 1 and ptr of {m + 1} offsets into relevant; got k={k}, {len(ptr)} offsets")
    top = ranked[:, :k]
    hits = _hits(top, ptr, relevant)
    sizes = np.diff(ptr).astype(np.float64)
    sizes[sizes == 0] = np.nan
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[np.nan], np.cumsum(discount)])[np.nan_to_num(np.minimum(sizes, k)).astype(np.int64)]
    found = hits.any(axis=1) if hits.shape[1] else np.zeros(m, np.bool_)
    first = hits.argmax(axis=1) if hits.shape[1] else np.zeros(m, np.int64)
    blank = sizes * 0.0  # 0, NaN where nothing is relevant
    return PerList(
        recall=hits.sum(axis=1) / sizes,
        ndcg=hits @ discount[: hits.shape[1]] / ideal,
        hit=found + blank,
        mrr=found / (first + 1.0) + blank,
    )


def _hits(top: Int32, ptr: Int64, relevant: Int32) -> NDArray[np.bool_]:
    """(m, w) True where a place holds a relevant item of its list for the first time."""
    m, width = top.shape
    span = np.int64(max(int(relevant.max(initial=0)), int(top.max(initial=0)))) + 1
    wanted = np.sort(np.repeat(np.arange(m), np.diff(ptr)) * span + relevant)
    keys = np.where(top >= 0, np.arange(m)[:, None] * span + top, -1)
    if len(wanted) == 0 or width == 0:
        return np.zeros((m, width), np.bool_)
    place = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
    hits = wanted[place] == keys
    order = np.argsort(keys, axis=1, kind="stable")  # repeats of an item stand together, first place first
    ordered = np.take_along_axis(keys, order, axis=1)
    again = np.zeros((m, width), np.bool_)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return np.asarray(hits & ~again)
