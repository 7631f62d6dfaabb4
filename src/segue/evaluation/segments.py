"""Quality by group of listeners: the mean of each with its interval, and a word where too few stand behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segue.evaluation.intervals import bootstrap

LEAST = 30
"""A group of fewer listeners says so: its interval is not to be trusted."""


@dataclass(frozen=True)
class Segment:
    """The mean of one group of listeners."""

    group: str
    mean: float
    low: float
    high: float
    n: int  # listeners with a value
    enough: bool  # n >= LEAST


def by_group(
    values: NDArray[np.floating], groups: Sequence[str], rng: np.random.Generator, *, least: int = LEAST, rounds: int = 1000
) -> list[Segment]:
    """The mean of values (n,), one a listener, NaN left out, in each group (n,) of names, with a 95 % bootstrap interval.

    In the order of the names; a group without any value is not in it. ValueError if the lengths differ.
    """
    if len(values) != len(groups):
        raise ValueError(f"every value needs a group; got {len(values)} values and {len(groups)} groups")
    names = np.asarray(groups, dtype=np.str_)
    found = []
    for name in np.unique(names[~np.isnan(values)]):
        got = bootstrap(values[names == name], rng, rounds=rounds)
        found.append(Segment(str(name), got.mean, got.low, got.high, got.n, got.n >= least))
    return found
