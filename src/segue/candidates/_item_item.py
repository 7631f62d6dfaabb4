"""What the item-item models share: the history as a sparse matrix, rows of nearest items, and answers by pulling those rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import sparse

from segue.candidates._pull import Reading
from segue.candidates._sparse import frozen, pull, scored, strongest, take_top, taken
from segue.candidates.als.matrix import confidence_curve, confidences
from segue.core.types import Arrays, Float32, History, Int32, Int64, Query, Scored

BLOCK = 2048
"""Items whose rows are made at a time: bounds the products that are held at once."""
Neighbours = tuple[Int64, Int32, Float32]
"""CSR by item: ptr (n_items + 1,), near (e,) best first (ties by smaller id), weight (e,)."""


def wanted(history: History, window_days: float, repeat_weight: float, cap: int) -> sparse.csr_matrix:
    """Who wanted what, (n_users, n_items) float32: 1 + repeat_weight * ln(net signals) where those are above zero.

    Only the last `window_days` count, and of each listener the `cap` items that came to them last: the cost of all pairs
    grows with the square. 8 bytes a pair; columns ascend within a row.
    """
    since = max(0, int(history.now / 1000 - window_days * 86_400))
    found = confidences(history, since, confidence_curve(repeat_weight, 1.0))
    liked = found.val > 0
    ptr = _kept_before(liked)[found.ptr]
    left = np.repeat(ptr[1:], np.diff(ptr)) - np.arange(int(ptr[-1]))  # 1 for the last item of a listener, 2 for the one before
    kept = left <= cap
    ptr = _kept_before(kept)[ptr]
    shape = (history.n_users, history.n_items)
    matrix = sparse.csr_matrix((found.val[liked][kept], found.idx[liked][kept], ptr), shape=shape)
    matrix.sort_indices()
    return matrix


def _kept_before(kept: NDArray[np.bool_]) -> Int64:
    """How many entries are kept before each place, (n + 1,)."""
    out = np.zeros(len(kept) + 1, np.int64)
    np.cumsum(kept, out=out[1:])
    return out


def powers(degrees: NDArray[Any], exponent: float) -> Float32:
    """degrees ** exponent where the degree is above zero, 0 elsewhere; (n,) float32."""
    known = np.asarray(degrees, np.float64)
    out = np.zeros(len(known))
    out[known > 0] = known[known > 0] ** exponent
    return out.astype(np.float32)


def scaled(rows: Float32, matrix: sparse.csr_matrix, columns: Float32) -> sparse.csr_matrix:
    """diag(rows) @ matrix @ diag(columns), float32, sharing the matrix's pattern."""
    each = np.repeat(rows, np.diff(matrix.indptr)) * matrix.data * columns[matrix.indices]
    return sparse.csr_matrix((each.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def row_blocks(by_item: sparse.csr_matrix, by_user: sparse.csr_matrix) -> Iterator[tuple[int, sparse.csr_matrix]]:
    """(first, rows first .. first + BLOCK of by_item @ by_user without the diagonal) for all items; CSR, float32."""
    for first in range(0, by_item.shape[0], BLOCK):
        block = (by_item[first : first + BLOCK] @ by_user).tocsr()
        owner = np.repeat(np.arange(first, first + block.shape[0]), np.diff(block.indptr))
        block.data[block.indices == owner] = 0
        block.eliminate_zeros()
        yield first, block


@njit(cache=True, nogil=True)
def _cut_rows(ptr: Int64, near: Int32, weight: Float32, limit: int) -> tuple[Int64, Int32, Float32]:
    """The best `limit` entries of each CSR row, best first."""
    sizes = np.minimum(np.diff(ptr), limit)
    out = np.zeros(len(ptr), np.int64)
    out[1:] = np.cumsum(sizes)
    items, scores = np.empty(out[-1], np.int32), np.empty(out[-1], np.float32)
    for row in range(len(ptr) - 1):
        top, best = take_top(near[ptr[row] : ptr[row + 1]], weight[ptr[row] : ptr[row + 1]], limit)
        items[out[row] : out[row + 1]], scores[out[row] : out[row + 1]] = top, best
    return out, items, scores


def head_of_rows(block: sparse.csr_matrix, limit: int) -> sparse.csr_matrix:
    """Each row's best `limit` entries, best first, ties by smaller column."""
    ptr, near, weight = _cut_rows(*csr(block), limit)
    return sparse.csr_matrix((weight, near, ptr), shape=block.shape)


def best_neighbours(blocks: Iterator[sparse.csr_matrix], limit: int) -> Neighbours:
    """The best `limit` entries of each row of blocks that follow one another."""
    sizes, near, weight = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
    for block in blocks:
        ptr, items, scores = _cut_rows(*csr(block), limit)
        sizes.append(np.diff(ptr))
        near.append(items)
        weight.append(scores)
    return np.cumsum(np.concatenate(sizes)), np.concatenate(near), np.concatenate(weight)


def csr(matrix: sparse.csr_matrix) -> Neighbours:
    """The form that the kernels are compiled for: ptr int64, columns int32, values float32."""
    return frozen(matrix.indptr, np.int64), frozen(matrix.indices, np.int32), frozen(matrix.data, np.float32)


class _ItemItem:
    """Rows of nearest items: a query's answer is the weighted sum of the rows of what was finished minus what was skipped."""

    reading: Reading

    def _set(self, found: Neighbours) -> None:
        self.ptr_ = frozen(found[0], np.int64)
        self.near_ = frozen(found[1], np.int32)
        self.weight_ = frozen(found[2], np.float32)
        self.depth_ = int(np.diff(self.ptr_).max(initial=0))

    def _silent(self) -> None:
        """Nothing learned: every answer is empty."""
        self._set((np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32)))

    def retrieve(self, query: Query, limit: int) -> Scored:
        """Neighbours of what was finished (and of seeds) minus neighbours of what was skipped; only sums above zero."""
        pulls = self.reading.pulls(query)
        if not len(pulls):
            return Scored.none()
        return scored(pull(pulls.items, pulls.weights, self.ptr_, self.near_, self.weight_, self.depth_, limit))

    def similar(self, item: int, limit: int) -> Scored:
        """The nearest items of one item, nothing for an unknown one."""
        one, weight = np.array([item], np.int32), np.ones(1, np.float32)
        return scored(pull(one, weight, self.ptr_, self.near_, self.weight_, self.depth_, limit))

    def because(self, query: Query, items: Int32) -> Int32:
        """Per item (k,) the item of the query that pulls it most, MISSING where none does: what a reason may name."""
        pulls = self.reading.pulls(query)
        return strongest(pulls.items, pulls.weights, self.ptr_, self.near_, self.weight_, np.asarray(items, np.int32))

    def arrays(self) -> Arrays:
        """CSR by item: ptr (n_items + 1,), near (e,) best first, weight (e,)."""
        return {"ptr": self.ptr_, "near": self.near_, "weight": self.weight_}

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Take the arrays of arrays()."""
        self._set((taken(arrays, "ptr", np.int64), taken(arrays, "near", np.int32), taken(arrays, "weight", np.float32)))
        return self

    def score_block(self, rows: sparse.csr_matrix) -> Float32:
        """Scores of all items for listeners known by their rows of weights alone, (m, n_items) -> (m, n_items) float32."""
        n = len(self.ptr_) - 1
        near = sparse.csr_matrix((self.weight_, self.near_, self.ptr_), shape=(n, n))
        return np.asarray((rows @ near).toarray(), np.float32)
