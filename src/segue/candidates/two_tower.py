"""Two towers over facts, solved in closed form: what a listener wanted and who they are, against what a song is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from segue.candidates._item_item import wanted
from segue.candidates._pull import Reading
from segue.candidates._shelves import tags_of
from segue.candidates._sparse import frozen, scored, take_top, taken
from segue.candidates.als import index
from segue.core.ports import Vectors
from segue.core.records import AGE_BANDS
from segue.core.types import Arrays, Float32, History, Int8, Items, Query, Scored

Float64 = NDArray[np.float64]
_CHUNK = 1 << 16
BANDS = len(AGE_BANDS)


class Sums(NamedTuple):
    """Second moments over wanted pairs of (listener without that song, song), divided by the number of pairs."""

    user: Float64  # (p, p) of what the user tower reads
    item: Float64  # (q, q) of what the song tower reads
    both: Float64  # (p, q)


class TwoTower:
    """A user tower and a song tower of one linear layer each, trained to tell real pairs from chance pairs.

    The song tower reads x: tags, artist (the `words` of both that were wanted most) and the sound vector, and a constant. The
    user tower reads the mean of x over the songs wanted, other than the one to be told, and facts: a constant and the age band.
    Among all pairs of linear towers of this width the canonical correlations of both (Hotelling 1936) are nearest to the ratio
    p(listener, song) / (p(listener) p(song)), which is what a two-tower network with the spectral contrastive loss is trained
    towards (HaoChen et al. 2021): here by one SVD. In a share `forget` of the pairs the history is forgotten, so that the facts
    alone say something about a listener without one. score = ratio * ((wanted + prior) / (most + prior))^popularity: one inner
    product, so that song vectors can be searched. A song needs facts and no plays, a listener neither.

    Fit: at most `sample` listeners; memory (words + 50)^2 and songs * size numbers, time one SVD of that square.
    """

    name: ClassVar[str] = "two_tower"
    at_once: ClassVar[bool] = True

    def __init__(
        self,
        *,
        size: int = 32,
        words: int = 1000,
        forget: float = 0.1,
        reg: float = 0.01,
        prior: float = 3.0,
        popularity: float = 0.5,
        sample: int = 200_000,
        window_days: float = 365.0,
        history: int = 200,
        threads: int = 1,
        bands: Callable[[], Int8] | None = None,
        vectors: Vectors | None = None,
        reading: Reading | None = None,
    ) -> None:
        self.size, self.words, self.forget, self.reg = size, words, forget, reg
        self.prior, self.popularity = prior, popularity
        self.sample, self.window_days, self.history = sample, window_days, history
        self.threads = threads
        self._bands, self._vectors = bands, vectors
        self.reading = reading or Reading(recency=0.97, long_term=1.0, depth=60)
        self.cells_: index.Cells | None = None
        none = np.zeros((0, size), np.float32)
        self._set(none, none, np.zeros((1 + BANDS, size), np.float32))

    def _set(self, heard: NDArray[np.floating], songs: NDArray[np.floating], facts: NDArray[np.floating]) -> None:
        self.heard_, self.songs_, self.facts_ = (frozen(part, np.float32) for part in (heard, songs, facts))

    def fit(self, history: History, rng: np.random.Generator) -> Self:
        """Solve both towers; `rng` draws listeners where there are more than `sample`, and starts the index of many songs."""
        self.cells_ = None
        pairs = wanted(history, self.window_days, 0.0, self.history)
        pairs.data[:] = 1
        plays = np.asarray(pairs.sum(axis=0)).ravel()
        people = np.flatnonzero(np.diff(pairs.indptr) >= 2)
        if not len(people) or not len(history.facts):
            none = np.zeros((history.n_items, self.size), np.float32)
            self._set(none, none, np.zeros((1 + BANDS, self.size), np.float32))
            return self
        if len(people) > self.sample:
            people = np.sort(rng.choice(people, self.sample, replace=False))
        described = self._described(history.facts, plays)
        bands = np.full(history.n_users, -1, np.int8) if self._bands is None else self._bands()
        told = np.full(history.n_users, -1, np.int8)
        told[: min(len(bands), len(told))] = bands[: len(told)]
        sums = moments(described, pairs[people], facts_of(told[people]), self.forget)
        user, item = towers(sums, self.size, self.reg)
        weight = ((plays + self.prior) / (plays.max(initial=0) + self.prior)) ** self.popularity
        weight[~history.facts.playable] = 0
        width = described.shape[1]
        songs = (described @ item[:width] + item[width]) * weight[:, None]
        self._set(described @ user[:width], songs, user[width:])
        if len(songs) > index.EXACT:
            norms = np.linalg.norm(self.songs_, axis=1).astype(np.float32)
            self.cells_ = index.build(self.songs_, norms, rng, self.threads)
        return self

    def _described(self, facts: Items, plays: Float64) -> sparse.csr_matrix:
        """What a song is, (n, words + d): tags sharing a length of one, the artist as one, the sound vector of length one."""
        n = len(facts)
        items = np.arange(n, dtype=np.int32)
        owner, tag = tags_of(facts, items)
        many = np.maximum(np.diff(facts.tags_ptr), 1)
        known = np.flatnonzero(facts.artist >= 0)
        first = int(facts.tags.max(initial=-1)) + 1
        rows = np.concatenate((owner, known))
        words = np.concatenate((tag, facts.artist[known] + first)).astype(np.int64)
        values = np.concatenate((1 / np.sqrt(many[owner]), np.ones(len(known))))
        weight = np.bincount(words, plays[rows])
        kept = np.argsort(-weight, kind="stable")[: self.words]
        column = np.full(len(weight), -1)
        column[np.sort(kept)] = np.arange(len(kept))
        inside = column[words] >= 0
        table = sparse.csr_matrix((values[inside], (rows[inside], column[words[inside]])), (n, len(kept)))
        return sparse.csr_matrix(sparse.hstack((table, sparse.csr_matrix(self._sounds(n))), "csr"))

    def _sounds(self, n: int) -> Float32:
        """The sound vectors of the songs, zeros where there is none, (n, d)."""
        if self._vectors is None or not len(self._vectors):
            return np.zeros((n, 0), np.float32)
        parts = [self._vectors.get(np.arange(a, min(n, a + _CHUNK), dtype=np.int32)) for a in range(0, n, _CHUNK)]
        return np.nan_to_num(np.concatenate(parts))

    def retrieve(self, query: Query, limit: int) -> Scored:
        """The songs that the towers bring nearest to the listener, positive scores only."""
        if not len(self.songs_) or not self.facts_.any():
            return Scored.none()
        user = self.listener(query)
        if self.cells_ is not None:
            ids, scores = index.search(self.cells_, user, limit)
            return Scored(ids[scores > 0], scores[scores > 0])
        scores = self.songs_ @ user
        near = np.flatnonzero(scores > 0).astype(np.int32)
        return scored(take_top(near, scores[near], limit))

    def listener(self, query: Query) -> Float32:
        """The vector of the listener of a query, (size,): from what was wanted, the seeds, and the age band where told."""
        pulls = self.reading.pulls(query)
        mine = (pulls.weights > 0) & (pulls.items >= 0) & (pulls.items < len(self.heard_))
        user: Float32 = self.facts_[0].copy()
        if 0 <= query.context.age_band < BANDS:
            user += self.facts_[1 + query.context.age_band]
        if mine.any():
            weights = pulls.weights[mine]
            user += weights @ self.heard_[pulls.items[mine]] / weights.sum()
        return user

    def arrays(self) -> Arrays:
        """heard, songs (n_items, size): a song as part of a history and as an answer; facts (1 + bands, size); cells."""
        cells = {} if self.cells_ is None else {f"cells_{name}": array for name, array in self.cells_._asdict().items()}
        return {"heard": self.heard_, "songs": self.songs_, "facts": self.facts_, **cells}

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Take the arrays of arrays()."""
        self._set(*(taken(arrays, name, np.float32) for name in ("heard", "songs", "facts")))
        self.cells_ = None
        if "cells_ptr" in arrays:
            self.cells_ = index.Cells(
                taken(arrays, "cells_reach", np.float32),
                taken(arrays, "cells_ptr", np.int64),
                taken(arrays, "cells_ids", np.int32),
                taken(arrays, "cells_rows", np.float32),
                taken(arrays, "cells_norms", np.float32),
            )
        return self


def facts_of(bands: Int8) -> Float64:
    """What is known of listeners without a history, (m, 1 + BANDS): a constant, and one of the bands."""
    out = np.zeros((len(bands), 1 + BANDS))
    out[:, 0] = 1
    told = np.flatnonzero((bands >= 0) & (bands < BANDS))
    out[told, 1 + bands[told]] = 1
    return out


def moments(described: sparse.csr_matrix, pairs: sparse.csr_matrix, facts: Float64, forget: float) -> Sums:
    """The sums over all pairs, each listener's mean without the song of the pair: by sums over listeners, not over pairs.

    With s the sum and n the number of a listener's songs, the mean without song x is h = (s - x) / (n - 1), so that sum h x' =
    (s s' - sum x x') / (n - 1), sum h h' = ((n - 2) s s' + sum x x') / (n - 1)^2 and sum h f' = s f'. pairs (m, n) of ones, at
    least two a row; facts (m, f).
    """
    n = np.diff(pairs.indptr).astype(np.float64)
    inverse = 1 / (n - 1)
    s = sparse.csr_matrix(pairs.astype(np.float64) @ described)
    once, twice, plays = (pairs.T @ part for part in (inverse, inverse**2, np.ones(len(n))))

    def weighed(rows: sparse.csr_matrix, weights: Float64) -> Float64:
        return np.asarray((rows.T @ sparse.diags(weights) @ rows).toarray(), np.float64)

    hx = weighed(s, inverse) - weighed(described, once)
    hh = weighed(s, (n - 2) * inverse**2) + weighed(described, twice)
    sf = np.asarray(s.T @ facts)  # (d, f): of h with the facts, and of the song with the facts
    xx, x1 = weighed(described, plays), np.asarray(described.T @ plays).ravel()
    keep = 1 - forget
    of_facts = facts.T @ (facts * n[:, None])
    user = np.block([[keep * hh, keep * sf], [keep * sf.T, of_facts]])
    item = np.block([[xx, x1[:, None]], [x1[None, :], np.array([[n.sum()]])]])
    mean = np.asarray(s.sum(axis=0)).ravel()  # sum of h over the pairs is the sum of s over the listeners
    both = np.block([[keep * hx, keep * mean[:, None]], [sf.T, (n @ facts)[:, None]]])
    total = n.sum()
    return Sums(user / total, item / total, both / total)


def towers(sums: Sums, size: int, reg: float) -> tuple[Float64, Float64]:
    """(A, B), (p, size) and (q, size): h A . x B is the best approximation of the ratio by `size` canonical pairs.

    reg: ridge, as a share of the mean of the diagonal. Columns beyond what there is are zeros; signs are fixed.
    """
    lower = []
    for square in (sums.user, sums.item):
        ridge = reg * max(float(np.trace(square)) / len(square), 1e-9)
        lower.append(linalg.cholesky(square + ridge * np.eye(len(square)), lower=True))
    left = linalg.solve_triangular(lower[0], sums.both, lower=True)
    whitened = linalg.solve_triangular(lower[1], left.T, lower=True).T
    u, values, v = linalg.svd(whitened, full_matrices=False)
    rank = min(size, len(values))
    sign = np.sign(u[np.abs(u[:, :rank]).argmax(axis=0), np.arange(rank)])
    root = np.sqrt(values[:rank]) * sign
    user, item = np.zeros((len(sums.user), size)), np.zeros((len(sums.item), size))
    user[:, :rank] = linalg.solve_triangular(lower[0].T, u[:, :rank] * root)
    item[:, :rank] = linalg.solve_triangular(lower[1].T, v[:rank].T * root)
    return user, item
