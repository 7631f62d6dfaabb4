"""iALS: alternating least squares for implicit feedback, with every unobserved pair counted through Gramians."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from segue.candidates.als.kernels import System, observed_value, solve_rows
from segue.candidates.als.matrix import Confidences, transpose
from segue.core.types import Float32

Scalar = TypeVar("Scalar", bound=np.generic)
_CHUNK = 8192
"""Rows a task of dense algebra: 2 MB at d = 64, which stays in a core's cache."""
_PARTS = 64
"""Tasks a half-sweep is cut into. Fixed, so that sums over them do not depend on the number of threads."""


@dataclass(frozen=True)
class Factors:
    """What was learned: scores are users @ items.T. Both are in the eigenbasis of the items' Gramian."""

    users: Float32  # (n_users, d), zero rows for users without entries
    items: Float32  # (n_items, d), zero rows for items without entries
    spectrum: Float32  # (d,) items.T @ items = diag(spectrum) up to rounding
    losses: tuple[float, ...]  # after each epoch


def readonly(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """A view that kernels may not write: fitted and memory-mapped arrays then share one compiled version."""
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, kw_only=True)
class Factorizer:
    """Minimizes the loss of implicit matrix factorization (Hu, Koren, Volinsky 2008; Rendle, Krichene, Zhang, Koren 2021)

        sum_{observed} c (p - x.y)^2 + unobserved_weight * sum_{all u, i} (x_u . y_i)^2
        + sum_u reg_u |x_u|^2 + sum_i reg_i |y_i|^2,
        reg_u = reg * (sum of the user's c + unobserved_weight * n_items) ^ reg_exponent, and reg_i alike,

    with c = |val| and p = 1 where val > 0, else 0. With `exclusive` the unobserved weight is not counted for a pair with p = 1
    but added to its confidence instead, as in Hu et al. and the package `implicit` (its confidence v is val = v - 1 here).
    Each half-sweep rotates both sides into the eigenbasis of the fixed side's Gramian (scores do not change) and then solves
    every row by `steps` preconditioned conjugate-gradient steps from its last value.
    """

    embedding_size: int = 64
    epochs: int = 8
    unobserved_weight: float = 0.1
    reg: float = 0.01
    reg_exponent: float = 1.0
    init_scale: float = 0.3
    steps: int = 3
    exclusive: bool = False
    threads: int = 2

    def fit(
        self,
        by_user: Confidences,
        n_items: int,
        rng: np.random.Generator,
        start: Float32 | None = None,
        progress: Callable[[int, float], None] | None = None,
    ) -> Factors:
        """Learn both sides. `start` are user vectors to begin with, (n_users, d), else random ones of norm ~ init_scale.

        progress(epoch, loss) is called after each epoch. Memory beside `by_user`: 8 bytes an entry (its transpose) and the
        factors, 4 * d bytes a row. Same input and rng give the same bits for any number of threads.
        """
        by_item = transpose(by_user, n_items)
        scale = self.init_scale / np.sqrt(self.embedding_size)
        users = start
        if users is None:
            users = rng.standard_normal((by_user.rows, self.embedding_size), np.float32)
            users *= np.float32(scale)
        items = np.zeros((n_items, self.embedding_size), np.float32)
        losses = []
        spectrum = np.zeros(self.embedding_size, np.float32)
        reg_users, reg_items = self._reg(by_user, n_items), self._reg(by_item, by_user.rows)
        constant = self._constant(by_user)
        with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(self.threads) as pool:
            for epoch in range(self.epochs):
                self._half(pool, by_item, users, items, reg_items)
                value, spectrum = self._half(pool, by_user, items, users, reg_users)
                losses.append(value + constant + weighted_norms(items, reg_items))
                if progress is not None:
                    progress(epoch, losses[-1])
        return Factors(users, items, spectrum, tuple(losses))

    def loss(self, by_user: Confidences, users: Float32, items: Float32) -> float:
        """The loss of any factors, by its definition (not by the solver's bookkeeping)."""
        reg_users = self._reg(by_user, len(items))
        reg_items = self._reg(transpose(by_user, len(items)), len(users))
        system = self._system(by_user, items, np.zeros(items.shape[1], np.float32), reg_users)
        with ThreadPoolExecutor(1) as pool:
            grams = gram(pool, users) * gram(pool, items)
        value = observed_value(system, readonly(users), 0, len(users)) + self._constant(by_user)
        value += self.unobserved_weight * float(grams.sum())
        return value + weighted_norms(users, reg_users) + weighted_norms(items, reg_items)

    def rows(self, items: Float32, spectrum: Float32, entries: Confidences) -> Float32:
        """The vectors of users with these entries and nothing else, solved to convergence: (rows, d) float32."""
        diagonal = spectrum * np.float32(self.unobserved_weight)
        system = self._system(entries, items, diagonal, self._reg(entries, len(items)))
        out = np.zeros((entries.rows, items.shape[1]), np.float32)
        solve_rows(system, out, 0, entries.rows, 2 * items.shape[1])
        return out

    def _half(
        self, pool: ThreadPoolExecutor, entries: Confidences, other: Float32, mine: Float32, reg: Float32
    ) -> tuple[float, Float32]:
        """Solve `mine` given `other`; both are rotated in place. Returns the value of the rows and other's spectrum."""
        values, basis = np.linalg.eigh(gram(pool, other))
        spectrum = np.maximum(values, 0).astype(np.float32)
        for side in (other, mine):
            _rotate(pool, side, basis.astype(np.float32))
        system = self._system(entries, other, spectrum * np.float32(self.unobserved_weight), reg)
        spans = list(_spans(entries.ptr))
        done = pool.map(lambda span: float(solve_rows(system, mine, span[0], span[1], self.steps)), spans)
        return sum(done), spectrum

    def _system(self, entries: Confidences, other: Float32, diagonal: Float32, reg: Float32) -> System:
        shift = np.float32(self.unobserved_weight if self.exclusive else 0)
        return System(entries.ptr, entries.idx, entries.val, readonly(other), diagonal, reg, shift)

    def _reg(self, entries: Confidences, others: int) -> Float32:
        scaled = (entries.mass().astype(np.float64) + self.unobserved_weight * others) ** self.reg_exponent
        return (self.reg * scaled).astype(np.float32)

    def _constant(self, by_user: Confidences) -> float:
        wanted = by_user.val[by_user.val > 0]
        shift = self.unobserved_weight if self.exclusive else 0.0
        return float(wanted.sum(dtype=np.float64)) + shift * len(wanted)


def lengths(rows: Float32) -> Float32:
    """Length of each row, (n,) float32; a row of zeros has exactly 0."""
    squares: Float32 = np.einsum("nd,nd->n", rows, rows)
    return np.sqrt(squares)


def weighted_norms(rows: Float32, weights: Float32) -> float:
    """Sum of weights[u] * |rows[u]|^2 in float64, without a float64 copy of the rows."""
    return float(np.dot(np.einsum("ud,ud->u", rows, rows), weights.astype(np.float64)))


def gram(pool: ThreadPoolExecutor, rows: Float32) -> NDArray[np.float64]:
    """rows.T @ rows, (d, d) float64: float32 products of chunks, summed in float64 in a fixed order."""
    starts = range(0, len(rows), _CHUNK)
    parts = pool.map(lambda a: rows[a : a + _CHUNK].T @ rows[a : a + _CHUNK], starts)
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for part in parts:
        total += part
    return (total + total.T) / 2


def _rotate(pool: ThreadPoolExecutor, rows: Float32, basis: Float32) -> None:
    def one(a: int) -> None:
        rows[a : a + _CHUNK] = rows[a : a + _CHUNK] @ basis

    list(pool.map(one, range(0, len(rows), _CHUNK)))


def _spans(ptr: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of rows of about equal work: a row costs as much as some 16 entries before it has any."""
    rows = np.arange(len(ptr))
    work = ptr + 16 * rows
    cuts = np.searchsorted(work, np.linspace(0, work[-1], _PARTS + 1)[1:-1])
    for begin, end in pairwise([0, *cuts.tolist(), len(ptr) - 1]):
        if end > begin:
            yield begin, end
