"""Who asks: coarse facts of the listeners, so that the past is asked with the context that it had by day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from segue.core.clock import Offset, hour_of_week, offset_at
from segue.core.types import MISSING, Arrays, History, Query, Users
from segue.features.wide import lift_of
from segue.training.replay import Tasks

MOST_REGIONS = 64
"""Regions with a column in the table of the audience, those with the most plays: a float32 a song each."""


@dataclass(frozen=True)
class People:
    """Facts of all listeners, and where their clocks stand: minutes east of UTC by dense region, 0 for those not named."""

    users: Users
    utc_offsets: Mapping[int, Offset] = field(default_factory=dict)

    @staticmethod
    def nobody() -> People:
        """Of no listener anything is known."""
        return People(Users.unknown(0))

    def asking(self, tasks: Tasks) -> Tasks:
        """The tasks with region, age band, language and local time of each listener, as serving.query tells a request's."""
        return replace(tasks, queries=[self._told(query) for query in tasks.queries])

    def _told(self, query: Query) -> Query:
        if not 0 <= query.user < len(self.users):
            return query
        region, band = int(self.users.region[query.user]), int(self.users.age_band[query.user])
        hour = hour_of_week(query.now, offset_at(self.utc_offsets.get(region, 0), query.now))
        told = {"region": region, "age_band": band, "hour_of_week": hour, "language": int(self.users.language[query.user])}
        return replace(query, context=replace(query.context, **told))

    def audience(self, history: History) -> Arrays:
        """How much more an age band and a region want each song than others do (features.wide.lift_of), from a history.

        by_age (n_items, bands) and by_region (n_items, at most MOST_REGIONS) float32; regions (codes,) int32: the column of a
        region, MISSING without one. Empty where no listener who wanted something has told.
        """
        liked = history.signal > 0
        user, item = history.user[liked], history.item[liked]
        band, region = (_padded(column, history.n_users) for column in (self.users.age_band, self.users.region))
        plays = np.bincount(region[user][region[user] >= 0], minlength=int(region.max(initial=MISSING)) + 1)
        kept = np.sort(np.lexsort((np.arange(len(plays)), -plays))[:MOST_REGIONS])
        kept = kept[plays[kept] > 0]
        column = np.full(len(plays), MISSING, np.int32)
        column[kept] = np.arange(len(kept))
        place = np.where(region >= 0, column[np.maximum(region, 0)], MISSING) if len(column) else region
        bands = int(band.max(initial=MISSING)) + 1
        return {
            "by_age": lift_of(user, item, band, (history.n_items, bands)),
            "by_region": lift_of(user, item, place, (history.n_items, len(kept))),
            "regions": column,
        }


def _padded(column: NDArray[np.integer], n: int) -> NDArray[np.int32]:
    """The first n rows, MISSING beyond the column."""
    out = np.full(n, MISSING, np.int32)
    out[: len(column)] = column[:n]
    return out
