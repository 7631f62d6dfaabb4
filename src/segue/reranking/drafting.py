"""One place at a time: what a policy puts next below songs that another policy may have put there, and how likely that was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segue.core.types import Bool, Float32, Int32
from segue.reranking.kernels import fill
from segue.reranking.variety import Variety

Columns = tuple[Int32, Int32, Int32, Bool]
"""Artist, album, work, and whether the listener knows it, of songs."""
Places = Sequence[int] | NDArray[np.intp]
NOBODY = np.zeros(0, np.int64)
FAR = 1e9
"""So far below its own candidates stands what only the other policy offers: it is never drawn."""


@dataclass(frozen=True)
class Filling:
    """Candidates of one request, best first, and everything else that the filling of its slate looks at."""

    items: Int32  # (n,)
    columns: Columns  # (n,) each
    scores: NDArray[np.float64]  # (n,) descending
    before: Int32  # artists of the session, oldest first
    carried: NDArray[np.float64]  # (n,)
    settings: tuple[NDArray[np.float64], NDArray[np.int64]]
    variety: Variety

    def run(
        self, draws: NDArray[np.float64], forced: NDArray[np.int64] = NOBODY
    ) -> tuple[NDArray[np.int64], Float32, Bool]:  # fmt: skip
        """(places into the candidates, propensities, which were drawn), one for each draw; the first ones are forced."""
        told: tuple[NDArray[np.int64], Float32, Bool] = fill(
            self.columns, self.scores, self.before, self.carried, draws, self.settings, self.variety, forced
        )
        return told

    def beside(self, items: Int32, columns: Columns) -> Filling:
        """With songs at the end that it would never choose itself."""
        last = self.scores[-1] if len(self.scores) else 0.0
        return replace(
            self,
            items=np.concatenate((self.items, items)),
            columns=tuple(np.concatenate(pair) for pair in zip(self.columns, columns, strict=True)),  # type: ignore[arg-type]
            scores=np.concatenate((self.scores, np.full(len(items), last - FAR))),
            carried=np.concatenate((self.carried, np.zeros(len(items)))),
        )


class Drafting:
    """A policy's turns in a slate that it shares: its best song, or its draw, given all songs above, whoever put them there.

    Gaps and caps of artists, second versions and the share of new songs count the songs of both; likeness to the songs above
    counts those that it offered itself.
    """

    def __init__(self, filling: Filling, columns_of: Callable[[Int32], Columns]) -> None:
        self._own = self._filling = filling
        self._columns_of = columns_of
        self._known = 0  # songs of the slate that were looked at
        self._at: list[int] = []  # where they stand

    def next(self, above: Int32, draw: NDArray[np.float64]) -> tuple[int, float, bool]:
        """(item, its chance given those above, whether it was drawn) for the next place; item -1: it has nothing for it.

        above: (p,) all the songs so far, to which each call may only add; draw: (2,) uniform in [0, 1).
        """
        self._look(above)
        draws = np.zeros((len(above) + 1, 2))
        draws[-1] = draw
        picks, chances, drawn = self._filling.run(draws, np.array(self._at, np.int64))
        if len(picks) <= len(above) or picks[-1] >= len(self._own.items):
            return -1, 0.0, False
        return int(self._filling.items[picks[-1]]), float(chances[-1]), bool(drawn[-1])

    def chance(self, above: Int32, item: int) -> float:
        """The chance that `next` would give this item, given those above; 0 of what it does not offer."""
        self._look(above)
        found = np.flatnonzero(self._own.items == item)
        if not len(found):
            return 0.0
        forced = np.array([*self._at, int(found[0])], np.int64)
        picks, chances, _ = self._filling.run(np.zeros((len(forced), 2)), forced)
        return float(chances[-1]) if len(picks) == len(forced) else 0.0

    def _look(self, above: Int32) -> None:
        """Take in the songs that were added to the slate."""
        new = above[self._known :]
        for item in new.tolist():
            found = np.flatnonzero(self._filling.items == item)
            if not len(found):
                one = np.array([item], np.int32)
                self._filling = self._filling.beside(one, self._columns_of(one))
                found = np.array([len(self._filling.items) - 1])
            self._at.append(int(found[0]))
        self._known = len(above)
