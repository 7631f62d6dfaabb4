"""The ranker that needs no training: a weighted sum of what each source ranked high."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from segue.core.evidence import reciprocal_ranks
from segue.core.types import Candidates, Float32, Query

HERE: Mapping[str, float] = MappingProxyType(
    {
        "session_factors": 1.0,
        "session_knn": 1.0,
        "cooccurrence": 0.7,
        "als": 0.4,
        "artist": 0.4,
        "sound": 0.4,
        "user_knn": 0.3,
        "fresh": 0.2,
        "popular": 0.1,
        "unplayed": 0.01,
    }
)
"""Inside a session, and for seeds: what is near what just played outweighs long-term taste."""
AWAY: Mapping[str, float] = MappingProxyType(
    {
        "als": 1.0,
        "user_knn": 0.5,
        "cooccurrence": 0.5,
        "session_knn": 0.3,
        "artist": 0.3,
        "sound": 0.3,
        "fresh": 0.3,
        "popular": 0.1,
        "unplayed": 0.01,
    }
)
"""When nothing has been played yet: long-term taste outweighs what was near the last session."""


class Blend:
    """Weighted reciprocal rank fusion (Cormack, Clarke, Buettcher 2009): score = sum of w_s (k + 1) / (k + 1 + rank_s).

    Ranks rather than scores, because each source has its own scale. k is how flat the top is: 60 in the paper, which
    fuses lists of a thousand; a slate is drawn from the first few, so the head counts for more here. `here` are the
    weights once the session has a play, or where the listener gave seeds; `away` those before. A source without a weight
    of its own has `other`. Candidates that several sources agree on rise; the rows are not used.
    """

    name: ClassVar[str] = "blend"

    def __init__(
        self,
        *,
        here: Mapping[str, float] = HERE,
        away: Mapping[str, float] = AWAY,
        k: float = 10.0,
        other: float = 0.3,
    ) -> None:
        if not all(np.isfinite(value) and value >= 0 for value in (k, other, *here.values(), *away.values())):
            raise ValueError(f"k, other and every weight must be finite and not negative; got {k}, {other}, {here}, {away}")
        self.here = dict(here)
        self.away = dict(away)
        self.k = k
        self.other = other

    def score(self, query: Query, candidates: Candidates, rows: Float32) -> Float32:
        """(n,) float32 in [0, sum of weights], in the order of the candidates."""
        # a sum over float32 columns, not a matmul: BLAS may sum in another order on another machine
        return np.asarray(self.shares(query, candidates).sum(axis=1), np.float32)

    def shares(self, query: Query, candidates: Candidates) -> Float32:
        """What each source gives to each score, (n, sources) float32: the score is their sum."""
        chosen = self.here if query.seeds or query.recent.in_session.any() else self.away
        weights = np.array([chosen.get(source, self.other) for source in candidates.sources], np.float32)
        if len(candidates) == 0 or len(weights) == 0:
            return np.zeros((len(candidates), len(weights)), np.float32)
        return np.asarray(reciprocal_ranks(candidates.evidence, self.k) * weights, np.float32)
