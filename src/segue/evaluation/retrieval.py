"""Retrieval by label: does each thing find its own kind among all the others?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segue.core.types import Float32

Float64 = NDArray[np.float64]


def leave_one_out(similarity: Float32, labels: NDArray[np.generic], k: int = 5) -> dict[str, Float64]:
    """precision@k, average precision and reciprocal rank of every query, each (queries,), in the order of the rows.

    similarity (n, n), higher is closer; labels (n,). Each row ranks all the others, ties by smaller index; those of its own
    label are relevant. A row whose label no other has is no query and is left out. Average precision is over the whole ranking.
    """
    n = len(labels)
    if similarity.shape != (n, n):
        raise ValueError(f"expected a similarity of {n} x {n} for {n} labels; got {similarity.shape}")
    precision, average, reciprocal = [], [], []
    for row in range(n):
        relevant = labels == labels[row]
        relevant[row] = False
        if not relevant.any():
            continue
        order = np.argsort(-similarity[row], kind="stable")
        places = np.flatnonzero(relevant[order[order != row]]) + 1
        precision.append(np.count_nonzero(places <= k) / k)
        average.append(np.mean(np.arange(1, len(places) + 1) / places))
        reciprocal.append(1 / places[0])
    return {f"precision@{k}": np.array(precision), "map": np.array(average), "mrr": np.array(reciprocal)}
