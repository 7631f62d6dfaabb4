"""Explicit ratings: what a listener would say of a song, on the scale of the ratings, where a service asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.errors import NotReady
from segue.core.types import Arrays, Int32, Int64

Float64 = NDArray[np.float64]


class RatingModel:
    """Biased matrix factorization: r(u, i) = mean + b(u) + b(i) + p(u) . q(i) (Koren, Bell, Volinsky 2009).

    Fitted by alternating least squares: with one side held, the factors and the bias of every row of the other side are one
    small ridge regression in closed form, no learning rate. The squares of a row with n ratings are penalized with
    reg * n ** scale for factors and reg_bias * n ** scale for the bias; scale = 1 is ALS-WR (Zhou et al. 2008).
    embedding_size = 0 leaves the biases only. Cost: O(ratings d^2 + rows d^3) an epoch, 8 (users + items) (d + 1) bytes.

    It is no stage of the radio, which hardly ever sees a rating: it stands here for services that collect them.
    """

    def __init__(
        self,
        *,
        embedding_size: int = 16,
        epochs: int = 20,
        reg: float = 0.1,
        reg_bias: float = 0.02,
        scale: float = 1.0,
    ) -> None:
        if embedding_size < 0 or epochs < 1 or not (reg > 0 and reg_bias > 0):
            raise ValueError(
                f"embedding_size must be >= 0, epochs >= 1 and regularization > 0; "
                f"got {embedding_size}, {epochs}, {reg}, {reg_bias}"
            )
        self.embedding_size = embedding_size
        self.epochs = epochs
        self.reg = reg
        self.reg_bias = reg_bias
        self.scale = scale

    def fit(self, users: Int32, items: Int32, ratings: Float64, rng: np.random.Generator, *, shape: tuple[int, int]) -> Self:
        """Learn from (m,) ratings of dense users and items, shape = (number of users, number of items). Returns self.

        Who has no rating keeps zeros: the mean and the other side's bias speak for them. Same rng, same arrays. ValueError
        for no ratings, for ids outside of the shape, or for a rating that is not finite.
        """
        self._check(users, items, ratings, shape)
        d = self.embedding_size
        self.mean_ = float(ratings.mean())
        self.low_, self.high_ = float(ratings.min()), float(ratings.max())
        self.users_ = np.zeros((shape[0], d + 1))  # factors, then the bias
        self.items_ = np.zeros((shape[1], d + 1))
        self.items_[:, :d] = rng.normal(0.0, 0.1, (shape[1], d))
        by_user, by_item = (_rows(users, items, shape[0]), _rows(items, users, shape[1]))
        centred = np.asarray(ratings, np.float64) - self.mean_
        weights = (self.reg, self.reg_bias, self.scale)
        for _ in range(self.epochs):
            solve_side(*by_user[:2], centred[by_user[2]], self.items_, self.users_, weights)
            solve_side(*by_item[:2], centred[by_item[2]], self.users_, self.items_, weights)
        self.items_[np.diff(by_item[0]) == 0] = 0.0  # the random start of songs without a rating
        return self

    @staticmethod
    def _check(users: Int32, items: Int32, ratings: Float64, shape: tuple[int, int]) -> None:
        if not len(users) == len(items) == len(ratings) > 0:
            raise ValueError(f"as many users, items and ratings are needed; got {len(users)}, {len(items)}, {len(ratings)}")
        if min(users.min(), items.min()) < 0 or users.max() >= shape[0] or items.max() >= shape[1]:
            raise ValueError(f"ids must lie in a table of {shape[0]} users and {shape[1]} items")
        if not np.isfinite(ratings).all():
            raise ValueError("ratings must be finite")

    def predict(self, users: Int32, items: Int32) -> Float64:
        """The ratings of (m,) pairs, (m,), within the scale that was seen; an id that is negative or new has no bias and no
        taste. NotReady before fit."""
        if not hasattr(self, "mean_"):
            raise NotReady("the rating model was not fitted")
        d = self.embedding_size
        mine, theirs = _taken(self.users_, users), _taken(self.items_, items)
        scores = self.mean_ + mine[:, d] + theirs[:, d] + np.einsum("ij,ij->i", mine[:, :d], theirs[:, :d])
        return np.asarray(np.clip(scores, self.low_, self.high_))

    def arrays(self) -> Arrays:
        """What was learned."""
        return {"users": self.users_, "items": self.items_, "scale": np.array([self.mean_, self.low_, self.high_])}

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Take what arrays() gave; may be memory-mapped."""
        self.users_ = np.asarray(arrays["users"], np.float64)
        self.items_ = np.asarray(arrays["items"], np.float64)
        self.mean_, self.low_, self.high_ = (float(one) for one in arrays["scale"])
        return self


def _taken(table: Float64, rows: Int32) -> Float64:
    """table[rows], zeros for rows that it does not have."""
    known = (rows >= 0) & (rows < len(table))
    if known.all():
        return np.asarray(table[rows])
    out = np.zeros((len(rows), table.shape[1]))
    out[known] = table[rows[known]]
    return out


def _rows(owner: Int32, other: Int32, n: int) -> tuple[Int64, Int32, Int64]:
    """Ratings grouped by owner: (ptr (n + 1,), the other ids, where each came from)."""
    order = np.lexsort((other, owner))
    ptr = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=n))]).astype(np.int64)
    return ptr, np.ascontiguousarray(other[order], np.int32), order


@njit(cache=True, nogil=True)
def solve_side(
    ptr: Int64, ids: Int32, centred: Float64, fixed: Float64, out: Float64, weights: tuple[float, float, float]
) -> None:
    """One half of an epoch: each row of `out` (factors, then the bias) becomes the minimum of its ridge regression.

    A row's rating is centred - bias of the fixed side; its columns are the fixed side's factors and a 1. Solved by a
    Cholesky factorization in place, lower triangle.
    """
    d = fixed.shape[1]  # factors and the bias
    a = np.empty((d, d))
    b = np.empty(d)
    x = np.empty(d)
    reg, reg_bias, scale = weights
    for row in range(len(ptr) - 1):
        n = ptr[row + 1] - ptr[row]
        if n == 0:
            continue
        penalty = float(n) ** scale
        a[:] = 0.0
        b[:] = 0.0
        for j in range(d):
            a[j, j] = penalty * (reg_bias if j == d - 1 else reg)
        for at in range(ptr[row], ptr[row + 1]):
            other = ids[at]
            for j in range(d - 1):
                x[j] = fixed[other, j]
            x[d - 1] = 1.0
            target = centred[at] - fixed[other, d - 1]
            for j in range(d):
                b[j] += x[j] * target
                for k in range(j + 1):
                    a[j, k] += x[j] * x[k]
        _cholesky(a, b)
        out[row] = b


@njit(cache=True, nogil=True)
def _cholesky(a: Float64, b: Float64) -> None:
    """b becomes the solution of a x = b, a symmetric positive definite, its lower triangle given and overwritten."""
    d = len(b)
    for j in range(d):
        for k in range(j):
            s = a[j, k]
            for i in range(k):
                s -= a[j, i] * a[k, i]
            a[j, k] = s / a[k, k]
        s = a[j, j]
        for i in range(j):
            s -= a[j, i] * a[j, i]
        a[j, j] = np.sqrt(s)
    for j in range(d):
        for i in range(j):
            b[j] -= a[j, i] * b[i]
        b[j] /= a[j, j]
    for j in range(d - 1, -1, -1):
        for i in range(j + 1, d):
            b[j] -= a[i, j] * b[i]
        b[j] /= a[j, j]
