"""The reference policy: a few listeners whom no night and no experiment touches, to tell a worse model from a changed world."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from segue.core.hashing import spread, spread_one
from segue.core.types import Bool, Int32
from segue.serving.recommender import Model

REFERENCE = "reference"
LEAST_LISTENERS = 10_000
"""Below so many known listeners a share of them can tell nothing, and nobody is given a plainer radio for it."""


class Reference:
    """Which listeners it serves, by a hash of their dense id, and with what: something that no night changes."""

    def __init__(self, share: float, known: Callable[[], int], model: Model | None = None) -> None:
        """`known` counts the listeners; without a model it only tells who they are."""
        self.share, self.model, self._known = share, model, known

    def of(self, users: Int32) -> Bool:
        """Which of these listeners, (n,): always the same ones. Nobody while too few are known; never an unknown one."""
        if self.share <= 0 or self._known() < LEAST_LISTENERS:
            return np.zeros(len(users), np.bool_)
        return np.asarray((users >= 0) & (spread(users) < self.share), np.bool_)

    def model_for(self, user: int) -> Model | None:
        """What answers this listener, None for nearly all: a microsecond."""
        if user < 0 or self.share <= 0 or self._known() < LEAST_LISTENERS:
            return None
        return self.model if spread_one(user) < self.share else None
