"""Shapley values of any model by sampling: what each input moved a score by, from a baseline."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from segue.core.types import Float32

Float64 = NDArray[np.float64]


def sampled_shapley(
    model: Callable[[Float32], Float64],
    rows: Float32,
    baseline: Float32,
    owner: NDArray[np.intp],
    rng: np.random.Generator,
    permutations: int = 32,
) -> tuple[float, Float64]:
    """(base, values): base = model of the baseline (w,), base + values.sum(axis=1) = model of rows (m, w) but for rounding.

    model: (k, w) to (k,). owner (w,): which player an input belongs to, from 0; values are (m, players) float64. Players
    enter one after the other, in a random order and then in the reverse of it, and each is given what the score changed by
    when it came; the mean over the orders estimates the Shapley value without bias (Castro, Gomez and Tejada 2009; reversed
    orders: Mitchell et al. 2022). The sum is exact whatever the number of orders; single values of a model that is far from
    additive have a standard error that falls with its root. Rows are told with the same orders. A player whose inputs are
    those of the baseline gets 0 exactly.
    """
    players = int(owner.max(initial=-1)) + 1
    base = float(model(baseline[None, :])[0])
    values = np.zeros((len(rows), players))
    orders = [rng.permutation(players) for _ in range((permutations + 1) // 2)]
    orders += [order[::-1] for order in orders]
    for i, row in enumerate(rows):
        differs = np.zeros(players, np.bool_)
        differs[owner[row != baseline]] = True
        if not differs.any():
            continue
        for order in orders:
            told = order[differs[order]]
            place = np.full(players, len(told) + 1)
            place[told] = np.arange(len(told))
            entered = np.arange(len(told) + 1)[:, None] > place[owner][None, :]
            found = model(np.where(entered, row, baseline).astype(np.float32))
            values[i, told] += np.diff(found)
    return base, values / max(len(orders), 1)
