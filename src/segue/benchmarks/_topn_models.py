"""The collaborative models of the house as `topn` tries them: each learns a matrix of weights and scores whole rows of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import sparse

from segue.candidates._item_item import csr, powers, scaled
from segue.candidates._spread import spread
from segue.candidates.als.matrix import Confidences
from segue.candidates.als.solver import Factorizer
from segue.candidates.ease import item_weights
from segue.candidates.graph_filter import right_vectors
from segue.candidates.item_knn import ItemKnn
from segue.candidates.sparse_ease import Shape, sparse_weights
from segue.core.types import Float32, Int64

RANK = 512
"""Singular vectors that are computed once for all low-pass filters of a matrix."""
SMALL = 200_000
"""Below so many pairs the choice is repeated and factors are averaged: chance weighs more there, and time does not."""
HEAD = 6000
"""EASE explains so many items at most, the most wanted ones: its cost grows with their cube."""
Score = Callable[[Int64], Float32]
"""Places of rows (m,) -> scores of all items (m, n_items) float32."""


def weights_of(rows: sparse.csr_matrix, by_value: float) -> sparse.csr_matrix:
    """What is wanted: 1 + by_value * ln(1 + value / the user's mean value), float32."""
    sums = np.asarray(rows.sum(axis=1), np.float64).ravel()
    mean = np.repeat(sums / np.maximum(np.diff(rows.indptr), 1), np.diff(rows.indptr))
    data = 1 + by_value * np.log1p(np.maximum(rows.data / np.maximum(mean, 1e-12), 0))
    return sparse.csr_matrix((data.astype(np.float32), rows.indices, rows.indptr), shape=rows.shape)


class Learner:
    """One matrix (n_users, n_items) of weights above zero, and what models of it share."""

    def __init__(self, rows: sparse.csr_matrix) -> None:
        self.rows = rows
        self.users = np.diff(rows.indptr)
        self.items = np.bincount(rows.indices, minlength=rows.shape[1])
        self._spectra: tuple[Float32, Float32] | None = None

    def weighted(self, user: float, item: float) -> sparse.csr_matrix:
        """diag(user degrees ** -user) rows diag(item degrees ** -item)."""
        return scaled(powers(self.users, -user), self.rows, powers(self.items, -item))

    def spectra(self) -> tuple[Float32, Float32]:
        """The largest RANK singular values and right vectors of the symmetrically normalized matrix."""
        if self._spectra is None:
            self._spectra = right_vectors(self.weighted(0.5, 0.5), RANK, 3, np.random.default_rng(0))
        return self._spectra

    def popularity(self) -> Score:
        """The number of users of an item, for everyone."""
        scores = self.items.astype(np.float32)
        return lambda users: np.tile(scores, (len(users), 1))

    def kernel(self, item_in: float, item_out: float, user: float, sharpness: float = 1.0) -> Score:
        """What similar users want: the similarity is a sum over shared items, weighted by degrees, to a power.

        Sharpness 1 is the linear filter of GF-CF (candidates/graph_filter.py) with free exponents; above it, few near users
        count more than many far ones, as the k nearest do in candidates/user_knn.py.
        """
        near = csr(self.weighted(user / sharpness, item_in).T.tocsr())
        back = csr(self.weighted(0.0, item_out))
        return lambda users: spread(csr(self.rows[users]), near, back, sharpness, self.rows.shape[1])

    def low_pass(self, rank: int, temper: float, item_in: float, item_out: float) -> Score:
        """The low-pass half of candidates/graph_filter.py: the largest `rank` singular vectors, values ** temper."""
        values, vectors = self.spectra()
        left = powers(self.items, -item_in)[:, None] * vectors[:, :rank] * values[:rank] ** temper
        right = np.ascontiguousarray((powers(self.items, item_out)[:, None] * vectors[:, :rank]).T)
        return lambda users: np.asarray((self.rows[users] @ left) @ right, np.float32)

    def als(self, embedding_size: int, unobserved_weight: float, reg: float) -> Score:
        """The solver of candidates/als: users' vectors as the night leaves them; the mean of several starts on little data."""
        entries, small = Confidences(*csr(self.rows)), self.rows.nnz < SMALL
        shape = {"embedding_size": embedding_size, "unobserved_weight": unobserved_weight, "reg": reg}
        solver = Factorizer(**shape, epochs=16 if small else 10, threads=1)  # type: ignore[arg-type]
        starts = range(4 if small else 1)
        factors = [solver.fit(entries, self.rows.shape[1], np.random.default_rng(start)) for start in starts]
        left = np.concatenate([part.users for part in factors], axis=1)
        right = np.ascontiguousarray(np.concatenate([part.items for part in factors], axis=1).T)
        return lambda users: left[users] @ right

    def item_knn(self, **values: Any) -> Score:
        """candidates/item_knn.py."""
        model = ItemKnn(neighbours=300, **values).fit_matrix(self.rows)
        return lambda users: model.score_block(self.rows[users])

    def sparse_ease(self, reg: float, dropout: float, user_exponent: float, regressors: int) -> Score:
        """candidates/sparse_ease.py, with the weights below zero that the radio leaves out."""
        shape = Shape(regressors, 4 * regressors)
        weights = sparse_weights(self.rows, reg, dropout, user_exponent, shape)
        return lambda users: np.asarray((self.rows[users] @ weights).toarray(), np.float32)

    def ease(self, reg: float, dropout: float, user_exponent: float) -> Score:
        """candidates/ease.py on the most wanted HEAD items; the others score 0."""
        head = np.sort(np.lexsort((np.arange(len(self.items)), -self.items))[:HEAD])
        part = self.rows[:, head].tocsr()
        weights = item_weights(part, reg, dropout, user_exponent)

        def score(users: Int64) -> Float32:
            out = np.zeros((len(users), self.rows.shape[1]), np.float32)
            out[:, head] = part[users] @ weights
            return out

        return score

    def fit(self, name: str, values: Mapping[str, Any]) -> Score:
        """The model of FAMILIES with these hyperparameters."""
        method: Callable[..., Score] = getattr(self, FAMILIES[name][0])
        return method(**values)


REGS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
EXPONENTS = (0.1, 0.3, 0.5, 0.7, 0.9)
FAMILIES: dict[str, tuple[str, dict[str, tuple[Any, tuple[Any, ...]]]]] = {
    "popularity": ("popularity", {}),
    "linear": (
        "kernel",
        {"item_in": (0.5, EXPONENTS), "item_out": (0.1, (0.0, 0.1, 0.3, 0.5)), "user": (1.0, (0.4, 0.7, 1.0, 1.3))},
    ),
    "user_kernel": (
        "kernel",
        {
            "sharpness": (1.5, (1.25, 1.5, 2.0, 3.0, 4.0)),
            "item_in": (0.5, EXPONENTS),
            "item_out": (0.0, (0.0, 0.1, 0.2, 0.4)),
            "user": (1.0, (0.4, 0.7, 1.0, 1.3)),
        },
    ),
    "low_pass": (
        "low_pass",
        {
            "rank": (128, (16, 32, 64, 128, 256, 512)),
            "temper": (0.0, (0.0, 0.5, 1.0)),
            "item_in": (0.5, EXPONENTS),
            "item_out": (0.5, EXPONENTS),
        },
    ),
    "als": (
        "als",
        {
            "unobserved_weight": (0.1, (0.01, 0.03, 0.1, 0.2, 0.4, 0.8)),
            "reg": (0.01, (0.001, 0.003, 0.01, 0.03, 0.1)),
            "embedding_size": (64, (16, 32, 64, 128, 256)),
        },
    ),
    "als_narrow": (  # few factors say what many do not: broad taste
        "als",
        {
            "unobserved_weight": (0.2, (0.05, 0.1, 0.2, 0.4)),
            "reg": (0.01, (0.003, 0.01, 0.03)),
            "embedding_size": (16, (8, 16, 32)),
        },
    ),
    "item_knn": (
        "item_knn",
        {
            "popularity_exponent": (0.4, (0.2, 0.3, 0.4, 0.5, 0.6)),
            "shrink": (1.0, (0.0, 1.0, 3.0, 10.0, 30.0)),
            "user_exponent": (0.5, (0.0, 0.5, 1.0)),
            "sharpness": (1.0, (0.7, 1.0, 1.5, 2.0)),
        },
    ),
    "ease": ("ease", {"reg": (30.0, REGS), "user_exponent": (0.5, (0.0, 0.5, 1.0)), "dropout": (0.0, (0.0, 0.3, 0.6))}),
    "sparse_ease": (
        "sparse_ease",
        {
            "reg": (30.0, REGS),
            "user_exponent": (0.5, (0.0, 0.5, 1.0)),
            "dropout": (0.3, (0.0, 0.3, 0.6)),
            "regressors": (128, (64, 128, 256)),
        },
    ),
}
"""Each model: the method of Learner, and for each hyperparameter where the search starts and what it may be, in order."""
ON_LITTLE = {"als_narrow"}
"""Models that are tried below SMALL pairs only."""


def climb(
    grid: Mapping[str, tuple[Any, tuple[Any, ...]]], quality: Callable[[dict[str, Any]], float], rounds: int
) -> tuple[dict[str, Any], float]:
    """Coordinate ascent: from the start, one hyperparameter after the other goes up or down its ladder while that helps."""
    known: dict[tuple[Any, ...], float] = {}

    def reached(values: dict[str, Any]) -> float:
        key = tuple(values.values())
        if key not in known:
            known[key] = quality(values)
        return known[key]

    chosen = {name: start for name, (start, _) in grid.items()}
    for _ in range(rounds):
        before = dict(chosen)
        for name, (_, ladder) in grid.items():
            for step in (1, -1):
                place = ladder.index(chosen[name]) + step
                while 0 <= place < len(ladder) and reached({**chosen, name: ladder[place]}) > reached(chosen):
                    chosen[name] = ladder[place]
                    place += step
        if chosen == before:
            break
    return chosen, reached(chosen)
