"""Taste as a signal on the graph of listeners and items: a linear filter for the near, an ideal low-pass for the broad."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Self

import numpy as np
from scipy import sparse

from segue.candidates._item_item import _ItemItem, best_neighbours, csr, head_of_rows, powers, row_blocks, scaled, wanted
from segue.candidates._pull import Reading
from segue.candidates._spread import spread
from segue.core.types import Float32, History

_WIDER = 4
"""Times as many places of a row get their low-pass weight as are kept."""
_PAIRS = 1 << 16
"""Pairs whose low-pass weight is made at a time: two copies of their vectors are held."""


class GraphFilter(_ItemItem):
    """Closed-form graph filtering (GF-CF, Shen et al. 2021), with free exponents of degree and a tempered spectrum.

    With R the wanted pairs, k_u and n_i the degrees, N = diag(k^-user_exponent) R diag(n^-item_exponent) and its truncated
    SVD U diag(s) V', a listener's row r scores

        r N'N  +  low_pass * r diag(n^-item_exponent) V diag(s^temper) V' diag(n^out_exponent).

    GF-CF is all exponents 1/2 and temper 0. The radio keeps, for each item, the best `neighbours` of that filter's row among
    the _WIDER * neighbours that the linear half finds best: a query then costs the same for any catalogue.

    Fit: the products of all pairs, as ItemKnn, and 2 * power_steps + 1 products of the matrix with `rank` + 32 vectors: about
    16 * rank * (n_items + n_users) bytes for the time of the fit. Applies wherever ItemKnn does.
    """

    name: ClassVar[str] = "graph_filter"
    at_once: ClassVar[bool] = True

    def __init__(
        self,
        *,
        rank: int = 128,
        low_pass: float = 0.3,
        temper: float = 0.0,
        user_exponent: float = 0.5,
        item_exponent: float = 0.5,
        out_exponent: float = 0.5,
        power_steps: int = 3,
        neighbours: int = 100,
        window_days: float = 365.0,
        history: int = 200,
        reading: Reading | None = None,
    ) -> None:
        self.rank = rank
        self.low_pass = low_pass
        self.temper = temper
        self.user_exponent = user_exponent
        self.item_exponent = item_exponent
        self.out_exponent = out_exponent
        self.power_steps = power_steps
        self.neighbours = neighbours
        self.window_days = window_days
        self.history = history
        self.reading = reading or Reading(recency=0.95, long_term=0.5)
        self._silent()

    def fit(self, history: History, rng: np.random.Generator) -> Self:
        """Learn from the net wanted pairs of the window; `rng` starts the SVD."""
        return self.fit_matrix(wanted(history, self.window_days, 0.0, self.history), rng)

    def fit_matrix(self, rows: sparse.csr_matrix, rng: np.random.Generator) -> Self:
        """Learn from (n_users, n_items) weights above zero, a row a listener. Returns self."""
        degrees = np.asarray(rows.sum(axis=0), np.float64).ravel()
        user = powers(np.asarray(rows.sum(axis=1)).ravel(), -self.user_exponent)
        self.item_, self.out_ = powers(degrees, -self.item_exponent), powers(degrees, self.out_exponent)
        self.matrix_ = scaled(user, rows, self.item_)
        values, self.vectors_ = right_vectors(self.matrix_, self.rank, self.power_steps, rng)
        self.spectrum_ = (self.low_pass * values**self.temper).astype(np.float32)
        self._set(best_neighbours(self._rows(), self.neighbours))
        return self

    def _rows(self) -> Iterator[sparse.csr_matrix]:
        """The whole filter's rows at the places that the linear filter finds best."""
        for first, near in row_blocks(self.matrix_.T.tocsr(), self.matrix_):
            block = head_of_rows(near, _WIDER * self.neighbours)
            owner = np.repeat(np.arange(first, first + block.shape[0]), np.diff(block.indptr))
            left = self.vectors_ * self.spectrum_
            for a in range(0, len(owner), _PAIRS):
                i, j = owner[a : a + _PAIRS], block.indices[a : a + _PAIRS]
                broad = np.einsum("pd,pd->p", left[i], self.vectors_[j])
                block.data[a : a + _PAIRS] += broad * self.item_[i] * self.out_[j]
            yield block

    def score_block(self, rows: sparse.csr_matrix) -> Float32:
        """The filter itself, not cut to neighbours: (m, n_items) rows of weights -> (m, n_items) float32 scores."""
        near = spread(csr(rows), csr(self.matrix_.T.tocsr()), csr(self.matrix_), 1.0, rows.shape[1])
        broad = (scaled(np.ones(rows.shape[0], np.float32), rows, self.item_) @ self.vectors_) * self.spectrum_
        near += (broad @ self.vectors_.T) * self.out_
        return near


def right_vectors(matrix: sparse.csr_matrix, rank: int, steps: int, rng: np.random.Generator) -> tuple[Float32, Float32]:
    """The largest singular values (rank,), descending, and right vectors (n_items, rank), float32, of a sparse matrix.

    Randomized subspace iteration (Halko, Martinsson, Tropp 2011, algorithm 4.4) with 32 vectors to spare; a sign is fixed by
    the largest entry of a vector, so that equal inputs give equal arrays.
    """
    width = min(rank + 32, *matrix.shape)
    turned = matrix.T.tocsr()
    basis = rng.standard_normal((matrix.shape[1], width), np.float32)
    for _ in range(steps):
        basis = _orthonormal(turned @ _orthonormal(matrix @ basis))
    projected = matrix @ basis
    squares, turn = np.linalg.eigh(projected.T.astype(np.float64) @ projected)
    best = np.argsort(-squares, kind="stable")[:rank]
    vectors = basis @ turn[:, best].astype(np.float32)
    if vectors.size:
        peak = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
        vectors *= np.sign(peak)
    return np.sqrt(np.maximum(squares[best], 0)).astype(np.float32), np.ascontiguousarray(vectors)


def _orthonormal(vectors: Float32) -> Float32:
    """An orthonormal basis of the columns' span by the eigenvectors of their Gramian: two products instead of a QR."""
    for _ in range(2):  # the second round takes away what rounding left in the first
        values, turn = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))
        scale = 1 / np.sqrt(np.maximum(values, 1e-7 * max(float(values.max(initial=0)), 1e-30)))
        vectors = vectors @ (turn * scale).astype(np.float32)
    return vectors
