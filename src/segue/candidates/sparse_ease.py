"""Every item explained by the few that know most about it: the linear autoencoder of `ease`, for catalogues of any size."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import lapack

from segue.candidates._item_item import _ItemItem, best_neighbours, csr, head_of_rows, powers, row_blocks, scaled, wanted
from segue.candidates._pull import Reading
from segue.core.types import Float32, History, Int32, Int64

_BATCH = 256
"""Items whose systems are laid out at a time: 4 * _BATCH * regressors^2 bytes."""
FIRMNESS = (0.0, 0.1, 1.0, 10.0)
"""What a system's diagonal is raised by, times itself, until its solution can be believed."""


class Shape(NamedTuple):
    """What the approximation may spend on an item."""

    regressors: int = 128
    gram: int = 512
    """Entries of each row of the Gram matrix that are kept, the largest cosines: what the regressors know of each other."""


class SparseEase(_ItemItem):
    """EASE restricted to a sparsity pattern (Steck 2019b, "Markov random fields for collaborative filtering"; fsSLIM, Ning and
    Karypis 2011): each item j is regressed on the `regressors` items N(j) of the largest cosine with it,

        b_j = argmin |x_j - X_N b|^2 + reg |b|^2 + dropout / (1 - dropout) sum_i g_ii b_i^2 = (G_NN + D)^-1 g_Nj,

    which is column j of B = I - P / diag(P) for the inverse P of the submatrix of the Gram matrix G = X'X on N(j) and j. With
    all items as regressors and no dropout it is EASE exactly. `dropout` is the closed form of training on inputs of which that
    share is dropped (Steck 2020). Listeners weigh k_u^-user_exponent, k_u being the items they wanted.

    Fit: the products of all pairs once, as ItemKnn, then n_items * (regressors * gram + regressors^3 / 3) steps; 8 * (gram +
    3 * regressors) bytes an item beside a block. Both shrink where the Gram matrix would hold more than `budget` entries, so
    that memory is bounded whatever the catalogue: at a million items an item is explained by 50 others out of 100.
    """

    name: ClassVar[str] = "sparse_ease"

    def __init__(
        self,
        *,
        reg: float = 10.0,
        dropout: float = 0.3,
        user_exponent: float = 0.5,
        regressors: int = 128,
        gram: int = 512,
        budget: int = 100_000_000,
        neighbours: int = 100,
        window_days: float = 365.0,
        history: int = 200,
        reading: Reading | None = None,
    ) -> None:
        self.reg = reg
        self.dropout = dropout
        self.user_exponent = user_exponent
        self.regressors = regressors
        self.gram = gram
        self.budget = budget
        self.neighbours = neighbours
        self.window_days = window_days
        self.history = history
        self.reading = reading or Reading(recency=0.95, long_term=0.5)
        self._silent()

    def fit(self, history: History, rng: np.random.Generator) -> Self:
        """Learn from the net wanted pairs of the window; deterministic, `rng` is not used."""
        return self.fit_matrix(wanted(history, self.window_days, 0.0, self.history))

    def fit_matrix(self, rows: sparse.csr_matrix) -> Self:
        """Learn from (n_users, n_items) weights above zero, a row a listener. Returns self."""
        gram = min(self.gram, max(2, self.budget // max(rows.shape[1], 1)))
        shape = Shape(min(self.regressors, max(1, gram // 2)), gram)
        weights = sparse_weights(rows, self.reg, self.dropout, self.user_exponent, shape)
        weights.data = np.maximum(weights.data, 0)
        weights.eliminate_zeros()
        self._set(best_neighbours(iter([weights]), self.neighbours))
        return self


def sparse_weights(
    rows: sparse.csr_matrix, reg: float, dropout: float, user_exponent: float, shape: Shape
) -> sparse.csr_matrix:
    """B, (n_items, n_items) CSR float32 with at most shape.regressors entries a column and none on the diagonal.

    Scores are rows @ B. `reg` is above zero (ValueError), `dropout` in [0, 1).
    """
    if not reg > 0 or not 0 <= dropout < 1:
        raise ValueError(f"needs reg > 0 and 0 <= dropout < 1; got {reg} and {dropout}")
    matrix = scaled(powers(np.diff(rows.indptr), -user_exponent / 2), rows, np.ones(rows.shape[1], np.float32))
    mass = np.asarray(matrix.multiply(matrix).sum(axis=0), np.float64).ravel()
    near = gram_rows(matrix, mass, shape.gram)
    diagonal = (mass / (1 - dropout) + reg).astype(np.float32)
    columns = [regressed(near, diagonal, first, shape.regressors) for first in range(0, rows.shape[1], _BATCH)]
    found = np.concatenate([column[0] for column in columns] or [np.zeros((0, 0), np.int32)])
    values = np.concatenate([column[1] for column in columns] or [np.zeros((0, 0), np.float32)])
    del columns, near
    said = found >= 0
    ptr = np.concatenate((np.zeros(1, np.int64), np.cumsum(said.sum(axis=1))))
    by_column = sparse.csc_matrix((values[said], found[said], ptr), shape=(rows.shape[1], rows.shape[1]))
    return by_column.tocsr()


def gram_rows(matrix: sparse.csr_matrix, mass: NDArray[Any], limit: int) -> sparse.csr_matrix:
    """Rows of matrix' matrix without the diagonal, cut to the `limit` largest cosines, best first; ties by smaller item."""
    length = powers(mass, 0.5)
    inverse = powers(mass, -0.5)
    parts = []
    for _, block in row_blocks(matrix.T.tocsr(), matrix):
        block.data *= inverse[block.indices]  # along a row the cosine but for a factor
        best = head_of_rows(block, limit)
        best.data *= length[best.indices]
        parts.append(best)
    if not parts:
        return sparse.csr_matrix(matrix.shape[1:] * 2, dtype=np.float32)
    sizes = np.concatenate([np.zeros(1, np.int64), *[np.diff(part.indptr) for part in parts]])
    data, near = (np.concatenate([getattr(part, name) for part in parts]) for name in ("data", "indices"))
    return sparse.csr_matrix((data, near, np.cumsum(sizes)), shape=(matrix.shape[1],) * 2)


def regressed(near: sparse.csr_matrix, diagonal: Float32, first: int, regressors: int) -> tuple[Int32, Float32]:
    """(items (m, regressors), -1 = none; their weights) that explain each of the items first, ..., first + m."""
    last = min(first + _BATCH, near.shape[0])
    items, systems, targets = _systems(*csr(near), diagonal, first, last, regressors)
    out = np.zeros(targets.shape, np.float32)
    for row in range(last - first):
        k = int((items[row] >= 0).sum())
        if k:
            out[row, :k] = _solved(systems[row, :k, :k], targets[row, :k], float(diagonal[first + row]))
    return items, out


def _solved(system: Float32, target: Float32, own: float) -> Float32:
    """The solution of a symmetric system, of which `target` times it explains at most `own`, the whole of the item.

    Entries that were left out may have made the system indefinite, or nearly singular, which explains more than there is:
    then the diagonal is made firmer.
    """
    diagonal = system.diagonal().copy()
    for firmness in FIRMNESS:
        np.fill_diagonal(system, diagonal * np.float32(1 + firmness))
        _, weights, failed = lapack.sposv(system, target, lower=True)
        if not failed and 0 <= float(target @ weights) <= own:
            answer: Float32 = weights
            return answer
    return np.zeros(len(target), np.float32)


@njit(cache=True, nogil=True)
def _systems(
    ptr: Int64, near: Int32, value: Float32, diagonal: Float32, first: int, last: int, regressors: int
) -> tuple[Int32, Float32, Float32]:
    """(items (m, k), systems (m, k, k), right-hand sides (m, k)) of the items first to last; -1 where a row is shorter."""
    m = last - first
    items = np.full((m, regressors), -1, np.int32)
    systems = np.zeros((m, regressors, regressors), np.float32)
    targets = np.zeros((m, regressors), np.float32)
    place = np.full(len(ptr) - 1, -1, np.int32)
    for row in range(m):
        start = ptr[first + row]
        k = min(regressors, ptr[first + row + 1] - start)
        for a in range(k):
            items[row, a], targets[row, a] = near[start + a], value[start + a]
            place[near[start + a]] = a
        for a in range(k):
            item = items[row, a]
            systems[row, a, a] = diagonal[item]
            for e in range(ptr[item], ptr[item + 1]):
                b = place[near[e]]
                if b >= 0:
                    systems[row, a, b] = value[e]
                    systems[row, b, a] = value[e]
        for a in range(k):
            place[items[row, a]] = -1
    return items, systems, targets
