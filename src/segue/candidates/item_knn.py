"""Items that the same listeners want: item-item cosine with shrinkage, a popularity exponent and a sharpness."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Self

import numpy as np
from scipy import sparse

from segue.candidates._item_item import _ItemItem, best_neighbours, powers, row_blocks, scaled, wanted
from segue.candidates._pull import Reading
from segue.core.types import History


class ItemKnn(_ItemItem):
    """Item-based nearest neighbours (Sarwar et al. 2001; Deshpande and Karypis 2004) over everything a listener ever wanted.

        s(i, j) = ( c_ij / (n_i^(1 - e) * n_j^e + shrink) ) ^ sharpness,   c_ij = sum_u x_ui x_uj / k_u^user_exponent

    with k_u the items of a listener, n the same sum over one item (c_ii), e the `popularity_exponent`: 0.5 is the cosine, less
    favours popular j. The best `neighbours` of each i are kept. Cooccurrence is its sibling inside of sessions.

    Fit: all pairs of each listener, O(listeners * history^2) time at most, 8 * neighbours bytes an item beside a block.
    """

    name: ClassVar[str] = "item_knn"
    at_once: ClassVar[bool] = True

    def __init__(
        self,
        *,
        neighbours: int = 100,
        shrink: float = 1.0,
        popularity_exponent: float = 0.5,
        user_exponent: float = 0.5,
        sharpness: float = 1.0,
        window_days: float = 365.0,
        history: int = 200,
        reading: Reading | None = None,
    ) -> None:
        self.neighbours = neighbours
        self.shrink = shrink
        self.popularity_exponent = popularity_exponent
        self.user_exponent = user_exponent
        self.sharpness = sharpness
        self.window_days = window_days
        self.history = history
        self.reading = reading or Reading(recency=0.95, long_term=0.5)
        self._silent()

    def fit(self, history: History, rng: np.random.Generator) -> Self:
        """Learn from the net wanted pairs of the window; deterministic, `rng` is not used."""
        return self.fit_matrix(wanted(history, self.window_days, 0.0, self.history))

    def fit_matrix(self, rows: sparse.csr_matrix) -> Self:
        """Learn from (n_users, n_items) weights above zero, a row a listener. Returns self."""
        user = powers(np.diff(rows.indptr), -self.user_exponent / 2)
        matrix = scaled(user, rows, np.ones(rows.shape[1], np.float32))
        mass = np.asarray(matrix.multiply(matrix).sum(axis=0), np.float64).ravel()
        own, other = mass ** (1 - self.popularity_exponent), mass**self.popularity_exponent

        def blocks() -> Iterator[sparse.csr_matrix]:
            for first, block in row_blocks(matrix.T.tocsr(), matrix):
                row = np.repeat(own[first : first + block.shape[0]], np.diff(block.indptr))
                share = block.data / (row * other[block.indices] + self.shrink)
                block.data = (share**self.sharpness).astype(np.float32)
                yield block

        self._set(best_neighbours(blocks(), self.neighbours))
        return self
