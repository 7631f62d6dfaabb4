"""What this session wants, as a vector solved from how much of each song was heard: graded factors of sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.candidates._sparse import frozen, group_rows, taken
from segue.candidates._topk import best_k
from segue.candidates.als import index
from segue.core.types import MISSING, Arrays, Float32, History, Int32, Int64, Items, Query, Scored

Float64 = NDArray[np.float64]
EXACT = 131_072
"""Catalogues up to this size are scanned whole: 9 MB at 16 dimensions."""
TIRED = 10
"""Steps of fatigue: 0 to 8 earlier songs of the artist in the session, and more."""
OPENING = TIRED
"""The place after them: the first song of a session, which the listener chose."""
LOW, HIGH = -3.0, 5.0
"""Standardized responses are clipped to this: a listener who is always at one end would otherwise decide alone."""
USER_PRIOR, SPREAD_PRIOR, BIAS_PRIOR = 1.0, 3.0, 20.0
"""How many responses the means of everybody count as, for a listener's mean, spread, and an artist's bias."""
MARGIN = 128
"""Songs looked at beyond the limit, since fatigue moves them afterwards."""


class SessionFactors:
    """Factors of sessions from graded feedback: regularized least squares (Koren, Bell and Volinsky 2009) on logits of shares.

    A play's response is logit(share heard, clipped to [floor, 1 - floor]), standardized by what its listener usually does.
        response(s, j) = <u_s, a_artist(j) + b_j> + bias_artist(j) + fatigue(earlier songs of the artist in the session)
    u, a and b by alternating ridge regressions: a song of which little is known is its artist. A session of one listener is
    one interest, so u belongs to the session, and is solved anew at every request from all that the session has heard (a few
    microseconds). A skip is a response like any other: that is what a session turns by. Learns from every play of known
    share, whatever policy chose it; the newest `most_rows`.

    Fit: O(sweeps * plays * d^2) time, 4 d bytes an item beside 24 bytes a play. Needs History.share for grades; without it
    (signals only) finished is 1 and skipped 0.
    """

    name: ClassVar[str] = "session_factors"

    def __init__(
        self,
        *,
        dimensions: int = 16,
        sweeps: int = 6,
        reg_session: float = 2.0,
        reg_artist: float = 5.0,
        reg_item: float = 20.0,
        floor: float = 1e-3,
        depth: int = 64,
        most_rows: int = 5_000_000,
    ) -> None:
        self.dimensions = dimensions
        self.sweeps = sweeps
        self.reg_session = reg_session
        self.reg_artist = reg_artist
        self.reg_item = reg_item
        self.floor = floor
        self.depth = depth
        self.most_rows = most_rows
        self.items_ = np.zeros((0, dimensions + 1), np.float32)

    def fit(self, history: History, rng: np.random.Generator) -> Self:
        """Learn from the plays of known share; a repeat within a session says nothing about taste and is left out."""
        plays = _plays(history, self.floor, self.most_rows)
        usual, spread = _habits(plays, history.n_users)
        known = np.append(usual, usual[-1:]), np.append(spread, spread[-1:])
        response = np.clip((plays.logit - known[0][plays.user]) / known[1][plays.user], LOW, HIGH)
        factors, fatigue = self._alternate(plays, response, _artists(history.facts), rng)
        learned: Arrays = {
            "items": factors,
            "usual": usual.astype(np.float32),
            "spread": spread.astype(np.float32),
            "fatigue": fatigue.astype(np.float32),
            "artist": _artists(history.facts),
            "rules": np.array([self.reg_session, self.floor], np.float64),
        }
        if history.n_items > EXACT:
            lengths = np.linalg.norm(factors, axis=1).astype(np.float32)
            learned |= {f"cells_{name}": array for name, array in index.build(factors, lengths, rng, 1)._asdict().items()}
        return self.load(learned)

    def _alternate(self, plays: Plays, response: Float64, artist: Int32, rng: np.random.Generator) -> tuple[Float32, Float64]:
        """Song vectors with the bias last, (n_items, d + 1) float32, and the fatigue table (TIRED + 1,)."""
        n_items, d = len(artist), self.dimensions
        of = artist[plays.item]
        n_artists = int(artist.max(initial=-1)) + 1
        counts = np.bincount(of, minlength=n_artists)
        sizes = (int(plays.session.max(initial=-1)) + 1, n_artists, n_items)
        groups = [group_rows(keys, n) for keys, n in zip((plays.session, of, plays.item), sizes, strict=True)]
        sessions, artists, own = (np.zeros((n, d)) for n in sizes)
        artists[:] = rng.normal(0.0, 0.3, artists.shape)
        fatigue, bias = np.zeros(TIRED + 1), np.zeros(n_artists)
        for _ in range(self.sweeps):
            base = response - fatigue[plays.tired] - bias[of]
            songs = artists[artist] + own
            _ridge(groups[0], songs, plays.item, base, self.reg_session, sessions)
            _ridge(groups[1], sessions, plays.session, base - _product(sessions, plays.session, own, plays.item),
                   self.reg_artist, artists)  # fmt: skip
            _ridge(groups[2], sessions, plays.session, base - _product(sessions, plays.session, artists, of),
                   self.reg_item, own)  # fmt: skip
            left = response - _product(sessions, plays.session, artists[artist] + own, plays.item)
            steps = np.bincount(plays.tired, minlength=TIRED + 1)
            fatigue = np.bincount(plays.tired, left - bias[of], TIRED + 1) / (steps + 1.0)
            bias = np.bincount(of, left - fatigue[plays.tired], n_artists) / (counts + BIAS_PRIOR)
        heard = counts[artist] > 0
        songs = np.column_stack((artists[artist] + own, bias[artist]))
        songs[~heard] = 0.0
        return songs.astype(np.float32), fatigue

    def arrays(self) -> Arrays:
        """items (n_items, d + 1) with the bias last; usual and spread (n_users + 1,), everybody's last; fatigue; artist."""
        return dict(self.arrays_)

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Take the arrays of arrays(), memory-mapped or not."""
        self.arrays_: Arrays = {name: np.asarray(array) for name, array in arrays.items()}
        self.items_ = taken(arrays, "items", np.float32)
        self.known_ = frozen(np.any(self.items_ != 0, axis=1), np.bool_)
        self.usual_, self.spread_ = (taken(arrays, name, np.float32) for name in ("usual", "spread"))
        self.fatigue_ = np.array(arrays["fatigue"], np.float64)
        self.artist_ = taken(arrays, "artist", np.int32)
        self.reg_session, self.floor = (float(x) for x in np.asarray(arrays["rules"], np.float64))
        self.cells_: index.Cells | None = None
        if "cells_ptr" in arrays:
            cells: dict[str, Any] = {name: np.asarray(arrays[f"cells_{name}"]) for name in index.Cells._fields}
            self.cells_ = index.Cells(**cells)
        return self

    def retrieve(self, query: Query, limit: int) -> Scored:
        """The songs with the best expected response in this session; nothing before it has heard a song or named a seed."""
        items, response, opening = self._read(query)
        if limit < 1 or not len(items):
            return Scored.none()
        vector, artists = _solve(items, response, opening, self.items_, self.artist_, self.fatigue_, self.reg_session)
        if not np.isfinite(vector).all():
            return Scored.none()
        found, scores = self._best(vector, limit + MARGIN)
        times = np.minimum((self.artist_[found][:, None] == artists[None]).sum(axis=1), TIRED - 1)
        scores = (scores + self.fatigue_[times]).astype(np.float32)
        order = np.lexsort((found, -scores))[:limit]
        return Scored(found[order], scores[order])

    def _read(self, query: Query) -> tuple[Int32, Float64, NDArray[np.bool_]]:
        """Seeds, then the session in order: songs, standardized responses, and which the listener chose to begin with."""
        recent = query.recent
        here = np.flatnonzero(recent.in_session & ((recent.signal != 0) | ~np.isnan(recent.share)))[: self.depth][::-1]
        seeds = query.seeds.items[: self.depth]
        share = np.where(np.isnan(recent.share[here]), recent.signal[here] > 0, recent.share[here])
        items = np.concatenate((seeds, recent.items[here])).astype(np.int32)
        share = np.concatenate((np.ones(len(seeds)), share))
        opening = np.zeros(len(items), np.bool_)
        opening[: len(seeds)] = True
        if len(seeds) < len(items) and len(here) < self.depth:
            opening[len(seeds)] = True
        known = (items >= 0) & (items < len(self.items_))
        known[known] = self.known_[items[known]]
        who = query.user if 0 <= query.user < len(self.usual_) - 1 else -1 if len(self.items_) else MISSING
        if not known.any():
            return items[:0], share[:0], opening[:0]
        response = np.clip((logit(share[known], self.floor) - self.usual_[who]) / self.spread_[who], LOW, HIGH)
        return items[known], response, opening[known]

    def _best(self, vector: Float32, limit: int) -> tuple[Int32, Float32]:
        if self.cells_ is not None:
            return index.search(self.cells_, vector, limit)
        scores = np.where(self.known_, self.items_ @ vector, np.float32(-1e30)).astype(np.float32)
        ids, best = best_k(scores, limit)
        told = best > -1e30
        return ids[told], best[told]


class Plays:
    """Plays of known share as columns, sessions contiguous."""

    def __init__(self, user: Int32, session: Int32, item: Int32, logits: Float64, tired: NDArray[np.int64]) -> None:
        self.user, self.session, self.item, self.logit, self.tired = user, session, item, logits, tired


def logit(share: NDArray[np.floating], floor: float) -> Float64:
    """log(s / (1 - s)) of shares clipped to [floor, 1 - floor]."""
    clipped = np.clip(share.astype(np.float64), floor, 1.0 - floor)
    return np.asarray(np.log(clipped / (1.0 - clipped)))


def _plays(history: History, floor: float, most: int) -> Plays:
    """The newest `most` rows of known share, without repeats within a session, and how tired each artist was."""
    share = history.shares()
    rows = np.flatnonzero(~np.isnan(share))[-most:]  # users ascend, so this samples users where it cuts at all
    artist = _artists(history.facts)
    session = np.unique(history.session[rows], return_inverse=True)[1].astype(np.int32)
    item = np.ascontiguousarray(history.item[rows], np.int32)
    tired = _tired(session, item, artist)
    kept = tired >= 0
    return Plays(history.user[rows][kept], session[kept], item[kept], logit(share[rows][kept], floor), tired[kept])


def _artists(facts: Items) -> Int32:
    """The artist of each item; one whose artist is not known is an artist of its own."""
    unknown = facts.artist < 0
    first = int(facts.artist.max(initial=-1)) + 1
    own = first + np.cumsum(unknown) - 1
    return np.where(unknown, own, facts.artist).astype(np.int32)


def _habits(plays: Plays, n_users: int) -> tuple[Float64, Float64]:
    """Mean and spread of each listener's logits, (n_users + 1,), everybody's last: over songs that did not open a session
    and whose artist was fresh, shrunk to everybody's."""
    fresh = plays.tired == 0
    user, value = plays.user[fresh], plays.logit[fresh]
    mean = float(value.mean()) if len(value) else 0.0
    n = np.bincount(user, minlength=n_users)
    usual = (np.bincount(user, value, n_users) + USER_PRIOR * mean) / (n + USER_PRIOR)
    square = (value - usual[user]) ** 2
    typical = float(square.mean()) if len(value) else 1.0
    spread = np.sqrt((np.bincount(user, square, n_users) + SPREAD_PRIOR * typical) / (n + SPREAD_PRIOR))
    spread = np.maximum(np.append(spread, np.sqrt(typical)), 1e-3)
    return np.append(usual, mean), spread


@njit(cache=True, nogil=True)
def _tired(session: Int32, item: Int32, artist: Int32) -> Int64:
    """Earlier songs of the artist in the session, at most TIRED - 1; OPENING for its first row; -1 for a repeat."""
    out = np.zeros(len(item), np.int64)
    start = 0
    for row in range(len(item)):
        if row > 0 and session[row] != session[row - 1]:
            start = row
        if row == start:
            out[row] = OPENING
            continue
        times = 0
        for other in range(max(start, row - 200), row):
            if item[other] == item[row]:
                times = -1
                break
            if artist[item[other]] == artist[item[row]]:
                times += 1
        out[row] = min(times, TIRED - 1)
    return out


@njit(cache=True, nogil=True)
def _cholesky(gram: Float64, right: Float64) -> None:
    """Solve gram x = right in place (gram positive definite, destroyed), x in right."""
    d = len(right)
    for i in range(d):
        for j in range(i + 1):
            total = gram[i, j]
            for k in range(j):
                total -= gram[i, k] * gram[j, k]
            if i == j:
                gram[i, i] = np.sqrt(total)
            else:
                gram[i, j] = total / gram[j, j]
    for i in range(d):
        for k in range(i):
            right[i] -= gram[i, k] * right[k]
        right[i] /= gram[i, i]
    for back in range(d):
        i = d - 1 - back
        for k in range(i + 1, d):
            right[i] -= gram[k, i] * right[k]
        right[i] /= gram[i, i]


@njit(cache=True, nogil=True)
def _ridge(groups: tuple[Int64, Int32], vectors: Float64, of: Int32, target: Float64, reg: float, out: Float64) -> None:
    """One ridge regression a group: out[g] = argmin sum (target_e - <out[g], vectors[of_e]>)^2 + reg |out[g]|^2."""
    ptr, rows = groups
    d = vectors.shape[1]
    gram, right = np.empty((d, d)), np.empty(d)
    for g in range(len(ptr) - 1):
        if ptr[g] == ptr[g + 1]:
            out[g] = 0.0
            continue
        gram[:] = 0.0
        right[:] = 0.0
        for e in range(ptr[g], ptr[g + 1]):
            row = rows[e]
            v = vectors[of[row]]
            for x in range(d):
                right[x] += v[x] * target[row]
                for y in range(x + 1):
                    gram[x, y] += v[x] * v[y]
        for x in range(d):
            gram[x, x] += reg
        _cholesky(gram, right)
        out[g] = right


@njit(cache=True, nogil=True)
def _product(left: Float64, of_left: Int32, right: Float64, of_right: Int32) -> Float64:
    """Inner products row by row."""
    out = np.zeros(len(of_left))
    for e in range(len(of_left)):
        for x in range(left.shape[1]):
            out[e] += left[of_left[e], x] * right[of_right[e], x]
    return out


@njit(cache=True, nogil=True)
def _solve(
    items: Int32,
    response: Float64,
    opening: NDArray[np.bool_],
    songs: Float32,
    artist: Int32,
    fatigue: Float64,
    reg: float,
) -> tuple[Float32, Int32]:
    """The session's vector with a 1 for the bias last, (d + 1,) float32, and the artists it has heard, one a row."""
    d = songs.shape[1] - 1
    gram, right, heard = np.zeros((d, d)), np.zeros(d), np.empty(len(items), np.int32)
    for row in range(len(items)):
        song = songs[items[row]]
        heard[row] = artist[items[row]]
        times = 0
        for other in range(row):
            times += heard[other] == heard[row]
        left = response[row] - song[d] - fatigue[OPENING if opening[row] else min(times, TIRED - 1)]
        for x in range(d):
            right[x] += song[x] * left
            for y in range(x + 1):
                gram[x, y] += song[x] * song[y]
    for x in range(d):
        gram[x, x] += reg
    _cholesky(gram, right)
    vector = np.ones(d + 1, np.float32)
    for x in range(d):
        vector[x] = right[x]
    return vector, heard
