"""The ranker that needs no training: a weighted sum of what each source ranked high."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from segue.core.evidence import reciprocal_ranks
from segue.core.types import Candidates, Float32, Query

WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "cooccurrence": 1.0,
        "session_knn": 1.0,
        "als": 0.8,
        "user_knn": 0.6,
        "artist": 0.5,
        "sound": 0.5,
        "popular": 0.3,
        "fresh": 0.2,
    }
)
"""What is near the session outweighs long-term taste, which outweighs what everybody plays."""


class Blend:
    """Weighted reciprocal rank fusion (Cormack, Clarke, Buettcher 2009): score = sum of w_s (k + 1) / (k + 1 + rank_s).

    Ranks rather than scores, because each source has its own scale. k is how flat the top is: 60 in the paper, which
    fuses lists of a thousand; a slate is drawn from the first few, so the head counts for more here. A source without a
    weight of its own has `other`. Candidates that several sources agree on rise; the rows are not used.
    """

    name: ClassVar[str] = "blend"

    def __init__(self, *, weights: Mapping[str, float] = WEIGHTS, k: float = 20.0, other: float = 0.5) -> None:
        if not (k >= 0 and other >= 0 and all(np.isfinite(w) and w >= 0 for w in weights.values())):
            raise ValueError(
                f"k, other and every weight must be finite and not negative; got k={k}, other={other}, {dict(weights)}"
            )
        self.weights = dict(weights)
        self.k = k
        self.other = other

    def score(self, query: Query, candidates: Candidates, rows: Float32) -> Float32:
        """(n,) float32 in [0, sum of weights], in the order of the candidates."""
        weights = np.array([self.weights.get(source, self.other) for source in candidates.sources], np.float32)
        if len(candidates) == 0 or len(weights) == 0:
            return np.zeros(len(candidates), np.float32)
        # a sum over float32 columns, not a matmul: BLAS may sum in another order on another machine
        return np.asarray((reciprocal_ranks(candidates.evidence, self.k) * weights).sum(axis=1), np.float32)
