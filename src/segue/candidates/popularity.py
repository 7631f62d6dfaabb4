"""M3, what is loved here and now: the live counts of the online state, lifted by what each age band loves more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from segue.core.types import MISSING, Arrays, Context, Float32, History, Int8, Int32, Query, Scored

_CHUNK = 1 << 22
"""Rows of history counted at a time."""


class LiveCounts(Protocol):
    """The part of the port OnlineState that this source asks."""

    def popular(self, region: int, age_band: int, hour_of_week: int, limit: int) -> Scored:
        """The most listened to at a place and time."""
        ...

    def popularity(self, items: Int32, region: int, hour_of_week: int) -> Float32:
        """Per item (expected share heard, log decayed plays), (n, 2)."""
        ...


class Popularity:
    """Expected share of all listening in the listener's region and part of the week, times the lift of their age band.

    Place and time come live from the state, which moves with every event (state.popular: mean share heard and demand, each
    shrunk region x part of the week -> region -> world). Ages are no part of the log, so the band is learned at night:

        lift(band, item) = (finishes of the band + k) / (finishes expected of it + k),
        expected = finishes of the item * finishes of the band / all finishes,

    the posterior mean of a Poisson rate ratio under a Gamma(k, k) prior (DuMouchel 1999): 1 where a band has said nothing,
    and never far from 1 on the word of few. Candidates are the live lists and the band's own `tops` most lifted items.
    Without bands, or for a listener of unknown age, this is the live answer as it stands. Nobody's history is read, so a
    newcomer gets the same as anyone of their place and age; picks of favourite artists and tags are the source `artist`.

    state: the live counts. bands: the age band of each user, (n,) int8, MISSING unknown, asked once for each fit.
    """

    name: ClassVar[str] = "popular"
    at_once: ClassVar[bool] = True

    def __init__(
        self,
        state: LiveCounts,
        *,
        bands: Callable[[], Int8] | None = None,
        prior: float = 20.0,
        tops: int = 256,
        pool: int = 512,
    ) -> None:
        self.state = state
        self.bands = bands
        self.prior = prior
        self.tops = tops
        self.pool = pool
        self.lift_: Float32 = np.zeros((0, 0), np.float32)
        self.tops_: Int32 = np.zeros((0, 0), np.int32)

    def fit(self, history: History, rng: np.random.Generator) -> Self:
        """Learn the lift of each age band; deterministic, `rng` is not used."""
        counts = self._count(history)
        everyone = counts.sum(0, keepdims=True)
        expected = counts.sum(1, keepdims=True) * everyone / max(counts.sum(), 1.0)
        self.lift_ = ((counts + self.prior) / (expected + self.prior)).astype(np.float32)
        tops = [self._top(row) for row in counts * self.lift_]
        self.tops_ = np.stack(tops) if tops else np.zeros((0, 0), np.int32)
        return self

    def _count(self, history: History) -> NDArray[np.float64]:
        """Finishes by age band and item, (bands, items), of listeners whose age is known; a bounded chunk at a time."""
        known = np.zeros(0, np.int8) if self.bands is None else np.asarray(self.bands(), np.int8)
        band_of = np.full(history.n_users, MISSING, np.int8)
        band_of[: len(known)] = known[: history.n_users]
        n_bands = int(band_of.max(initial=MISSING)) + 1
        counts = np.zeros(n_bands * history.n_items, np.float64)
        for start in range(0, len(history) if n_bands else 0, _CHUNK):
            rows = slice(start, start + _CHUNK)
            band = band_of[history.user[rows]].astype(np.int64)
            counted = (history.signal[rows] > 0) & (band >= 0)
            cells = band[counted] * history.n_items + history.item[rows][counted]
            counts += np.bincount(cells, minlength=len(counts))
        return counts.reshape(n_bands, history.n_items)

    def _top(self, scores: NDArray[np.float64]) -> Int32:
        """The best `tops` items of a band by finishes times lift, padded with MISSING so that bands make one array."""
        best = np.argsort(-scores, kind="stable")[: self.tops]
        out = np.full(self.tops, MISSING, np.int32)
        out[: len(best)] = np.where(scores[best] > 0, best, MISSING)
        return out

    def arrays(self) -> Arrays:
        """lift (bands, items) float32 and tops (bands, tops) int32."""
        return {"lift": self.lift_, "tops": self.tops_}

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """The inverse of arrays()."""
        self.lift_ = np.asarray(arrays["lift"], np.float32)
        self.tops_ = np.asarray(arrays["tops"], np.int32)
        return self

    def retrieve(self, query: Query, limit: int) -> Scored:
        """The best `limit` items for the query's place, time and age band, whoever asks; scores are shares of all listening."""
        place = query.context
        if not 0 <= place.age_band < len(self.lift_):
            return self.state.popular(place.region, place.age_band, place.hour_of_week, limit)
        live = self.state.popular(place.region, place.age_band, place.hour_of_week, max(limit, self.pool))
        own = np.setdiff1d(self.tops_[place.age_band], live.items)
        own = own[own >= 0]
        items = np.concatenate((live.items, own))
        scores = np.concatenate((live.scores, self._listening(own, place, live))) * self._lift_of(items, place.age_band)
        order = np.lexsort((items, -scores))[: max(limit, 0)]
        return Scored(items[order].astype(np.int32), scores[order])

    def _listening(self, items: Int32, place: Context, live: Scored) -> Float32:
        """Share of all listening, (n,), of items that the live answer left out.

        popularity() gives it times the plays of the world, a factor that the best of the live answer tells.
        """
        asked = np.concatenate((live.items[:1], items))
        heard, log_plays = self.state.popularity(asked, place.region, place.hour_of_week).astype(np.float64).T
        volume = heard * np.expm1(log_plays)
        scale = live.scores[0] / volume[0] if len(live) and volume[0] > 0 else 1.0
        share: Float32 = (volume[len(asked) - len(items) :] * scale).astype(np.float32)
        return share

    def _lift_of(self, items: Int32, band: int) -> Float32:
        """(n,), 1 for items younger than the night."""
        row = self.lift_[band]
        known = items < len(row)
        lift: Float32 = np.ones(len(items), np.float32)
        lift[known] = row[items[known]]
        return lift
