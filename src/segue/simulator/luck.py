"""Luck by counters: a number in [0, 1) for every (seed, purpose, keys), whatever was asked before and by whom."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
_STEP = 0x9E3779B97F4A7C15
_ALL = (1 << 64) - 1


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of splitmix64 (Steele, Lea and Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniform(seed: int, purpose: int, *keys: NDArray[np.integer] | int) -> Float64:
    """One number in [0, 1) for each row of the keys (broadcast together), by a splitmix64 chain: 53 bits.

    The same arguments give the same numbers on every machine and in any order of calls. That makes common random numbers:
    two policies that play the same (user, session, step) meet the same luck, so the difference between them is theirs.
    """
    h: NDArray[np.uint64] = np.array([(seed * 0x632BE59BD9B4E019 + purpose * _STEP) & _ALL], np.uint64)
    for key in keys:
        h = _mixed((h ^ np.asarray(key).astype(np.int64).view(np.uint64)) + np.uint64(_STEP))
    h = _mixed(h + np.uint64(_STEP))
    return np.asarray((h >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def normal(seed: int, purpose: int, *keys: NDArray[np.integer] | int) -> Float64:
    """Standard normal numbers by counters (Box and Muller 1958)."""
    radius = np.sqrt(-2.0 * np.log1p(-uniform(seed, purpose, *keys)))
    return np.asarray(radius * np.cos(2.0 * np.pi * uniform(seed, purpose + (1 << 32), *keys)))


def place(luck: Float64, sizes: NDArray[np.integer] | int) -> NDArray[np.int64]:
    """A place in 0..sizes-1 from a number in [0, 1)."""
    return np.minimum((luck * sizes).astype(np.int64), np.asarray(sizes, np.int64) - 1)
