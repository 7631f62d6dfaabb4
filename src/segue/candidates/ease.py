"""Every item explained by all others at once: the closed-form linear autoencoder, for small catalogues."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Self

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from segue.candidates._item_item import _ItemItem, best_neighbours, powers, scaled, wanted
from segue.candidates._pull import Reading
from segue.core.types import Float32, History

_ROWS = 1024


class Ease(_ItemItem):
    """EASE (Steck 2019): B = argmin |X - XB|^2 + reg |B|^2 with diag(B) = 0, so B = I - P / diag(P), P = (X'X + reg I)^-1.

    The radio keeps the best `neighbours` entries above zero of each row of B, and answers with those at the cost of any
    item-item model. Two items that say the same share their weight, which a cosine cannot do.

    Fit: n_items^3 multiplications and additions and 8 * n_items^2 bytes whatever the listeners: 5,000 items take some 3 s and
    0.2 GB, 20,000 some minutes and 3.2 GB of one core. A catalogue above `max_items` leaves the source silent: it is then the
    others' turn, and the night goes on.
    """

    name: ClassVar[str] = "ease"
    at_once: ClassVar[bool] = True

    def __init__(
        self,
        *,
        reg: float = 30.0,
        dropout: float = 0.3,
        user_exponent: float = 0.5,
        max_items: int = 10_000,
        neighbours: int = 200,
        window_days: float = 365.0,
        history: int = 500,
        reading: Reading | None = None,
    ) -> None:
        self.reg = reg
        self.dropout = dropout
        self.user_exponent = user_exponent
        self.max_items = max_items
        self.neighbours = neighbours
        self.window_days = window_days
        self.history = history
        self.reading = reading or Reading(recency=0.95, long_term=0.5)
        self._silent()

    def fit(self, history: History, rng: np.random.Generator) -> Self:
        """Learn from the net wanted pairs of the window; deterministic, `rng` is not used. Silent above max_items."""
        if history.n_items > self.max_items:
            self._silent()
            return self
        return self.fit_matrix(wanted(history, self.window_days, 0.0, self.history))

    def fit_matrix(self, rows: sparse.csr_matrix) -> Self:
        """Learn from (n_users, n_items) weights above zero, a row a listener. Returns self; silent above max_items."""
        if rows.shape[1] > self.max_items:
            self._silent()
            return self
        weights = item_weights(rows, self.reg, self.dropout, self.user_exponent)

        def blocks() -> Iterator[sparse.csr_matrix]:
            for first in range(0, len(weights), _ROWS):
                yield sparse.csr_matrix(np.maximum(weights[first : first + _ROWS], 0))

        self._set(best_neighbours(blocks(), self.neighbours))
        return self


def item_weights(rows: sparse.csr_matrix, reg: float, dropout: float = 0.0, user_exponent: float = 0.0) -> Float32:
    """B of EASE, (n_items, n_items) float32 with a diagonal of zeros: scores are rows @ B.

    `reg` is above zero, else an item that nobody wanted has no answer (ValueError). Cholesky in float32, in place.
    """
    matrix = scaled(powers(np.diff(rows.indptr), -user_exponent / 2), rows, np.ones(rows.shape[1], np.float32))
    gram = np.asfortranarray((matrix.T @ matrix).toarray(), np.float32)
    gram.flat[:: len(gram) + 1] *= np.float32(1 / (1 - dropout))
    gram.flat[:: len(gram) + 1] += np.float32(reg)
    if not len(gram):
        return gram
    factor, failed = lapack.spotrf(gram, lower=True, overwrite_a=True)
    if failed:
        raise ValueError(f"EASE needs reg above zero, large enough for float32; got {reg}")
    inverse, _ = lapack.spotri(factor, lower=True, overwrite_c=True)
    out = np.ascontiguousarray(inverse)
    del inverse, factor
    for first in range(0, len(out), _ROWS):  # the upper half from the lower, a band at a time
        band = slice(first, first + _ROWS)
        square = np.tril(out[band, band])
        out[band, band] = square + np.tril(square, -1).T
        out[:first, band] = out[band, :first].T
    diagonal = out.diagonal().copy()
    out /= -diagonal[None, :]
    np.fill_diagonal(out, 0)
    return out
