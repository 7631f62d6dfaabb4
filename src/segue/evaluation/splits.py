"""What is learned from and what is held back: by time, or the last rows of every user."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segue.core.types import Bool, Int64


def by_time(at: NDArray[np.integer], cut: int) -> Bool:
    """(m,) True for rows to be held back: at or after the cut. Nothing before it is in the test, nothing after it is learned.

    The only split that asks what a service asks: what comes next for everybody, known by nobody yet (Ji et al. 2023 on
    leaks of the others).
    """
    return np.asarray(at >= cut)


def leave_last(user: NDArray[np.integer], at: NDArray[np.integer], n: int = 1) -> Bool:
    """(m,) True for the last n rows of every user with more than n, ties in time by the order of the rows.

    The common split of sequential recommendation. Users end at different times, so what is learned knows the future of
    those held back: figures of it flatter, most of all where tastes of all move together.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1; got {n}")
    order = np.lexsort((at, user))  # stable: equal times stay in the order of the rows
    _, counts = np.unique(user, return_counts=True)
    left = np.repeat(np.cumsum(counts), counts) - np.arange(len(order))  # rows of this user from here on
    held = (left <= n) & np.repeat(counts > n, counts)
    out = np.zeros(len(order), np.bool_)
    out[order] = held
    return out


def random_folds(m: int, folds: int, rng: np.random.Generator) -> Int64:
    """(m,) the fold of each row, 0 ... folds - 1, sizes as equal as can be: cross-validation over rows without an order."""
    if not 2 <= folds <= max(m, 2):
        raise ValueError(f"{m} rows can be cut into 2 to {m} folds; got {folds}")
    return np.asarray(rng.permutation(np.arange(m) % folds), np.int64)
