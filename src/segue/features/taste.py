"""What the listener's last plays say of a candidate by what it is: its tags, its years, its length, its artist."""

from __future__ import annotations

from math import exp, floor, log, sqrt

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.facts import tag_rows
from segue.core.types import MISSING, NO_DAY, Bool, Float32, Int32, Int64, Items

TASTE = (
    "tags_finished",
    "tags_skipped",
    "tags_here",
    "tags_of_last",
    "era",
    "length_rate",
    "artist_rate",
    "own_rate",
)
LATEST = 50
"""The newest plays and votes that speak: as many as the state keeps whatever its settings, and no more by night."""


def tags_of(facts: Items, items: Int32) -> tuple[Int64, Int32]:
    """The tags of items as CSR; items beyond the facts have none."""
    known = (items >= 0) & (items < len(facts))
    if known.all():
        ptr, tags = tag_rows(facts, items)
        return ptr, np.array(tags, np.int32)
    ptr, tags = tag_rows(facts, items[known])
    counts = np.zeros(len(items) + 1, np.int64)
    counts[1:][known] = np.diff(ptr)
    return np.cumsum(counts), np.array(tags, np.int32)


@njit(cache=True, nogil=True)
def fill_taste(
    out: Float32,
    tags: tuple[Int64, Int32],
    song: tuple[Int32, Int32, Float32],
    their_tags: tuple[Int64, Int32],
    theirs: tuple[Int32, Int32, Float32],
    said: tuple[Float32, Bool],
) -> None:
    """Write the columns of TASTE into out (n, 8 or more), a candidate a row.

    tags: CSR of the candidates; song: artist, released (days), length (s), (n,) each. their_tags, theirs: the same of the
    recent rows, newest first; said: signal and whether in this session, (r,). A row weighs .95^j, j = later rows that speak.
    Alike = |shared tags| / sqrt(tags of one * of the other). tags_finished, _skipped, _here: its weighted mean over rows
    finished, skipped, finished in this session, shrunk to 0 as by 3 rows. tags_of_last: with the newest finished. era: how
    many tens of years from the mean release of what was finished, at most 3; 0 not known. own_rate: share finished, shrunk to
    a half as by 2 rows; length_rate, artist_rate: how far above it the rows near that length (Gaussian of width .3 over log
    length in steps of .1, up to 1.2 away, as by 3 rows) and of that artist (as by 2) are.
    """
    signal, here = said
    ptr, mine = tags
    artist, released, length = song
    weight, totals, ends = _weigh(their_tags, signal, here)
    words = np.unique(their_tags[1])
    by_word = _by_word(words, their_tags, weight)
    base, year = _habits(theirs[1], signal, weight)
    near = _near_length(theirs[2], signal)
    for i in range(len(artist)):
        size = max(ptr[i + 1] - ptr[i], 1)
        for kind in range(4):
            out[i, kind] = 0
        sums = np.zeros(4)
        for e in range(ptr[i], ptr[i + 1]):
            place = np.searchsorted(words, mine[e])
            if place < len(words) and words[place] == mine[e]:
                for kind in range(4):
                    sums[kind] += by_word[kind, place]
        for kind in range(4):
            prior = 3.0 if kind < 3 else 0.0
            if totals[kind] > 0:
                out[i, kind] = sums[kind] / sqrt(size) / (totals[kind] + prior)
        out[i, 4] = 0.0
        if released[i] != NO_DAY and not np.isnan(year):
            out[i, 4] = min(abs(released[i] / 365.25 - year) / 10, 3.0)
        alike, done = 0.0, 0.0
        for j in range(ends):
            if signal[j] != 0 and artist[i] != MISSING and theirs[0][j] == artist[i]:
                alike += 1
                done += 1.0 if signal[j] > 0 else 0.0
        step = _step(length[i])
        out[i, 5] = (near[1, step] + 3 * base) / (near[0, step] + 3) - base if step >= 0 else 0.0
        out[i, 6] = (done + 2 * base) / (alike + 2) - base
        out[i, 7] = base


@njit(cache=True, nogil=True)
def _weigh(
    their_tags: tuple[Int64, Int32], signal: Float32, here: Bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """(weight of each row by kind, (4, r); its sums; how many rows are read)."""
    ends = min(len(signal), 50)
    weight, totals = np.zeros((4, len(signal))), np.zeros(4)
    now, newest = 1.0, True
    for j in range(ends):
        if signal[j] == 0:
            continue
        if signal[j] > 0:
            weight[0, j] = now
            if here[j]:
                weight[2, j] = now
            if newest:
                weight[3, j] = 1.0
                newest = False
        else:
            weight[1, j] = now
        now *= 0.95
    for kind in range(4):
        for j in range(ends):
            totals[kind] += weight[kind, j]
    return weight, totals, ends


@njit(cache=True, nogil=True)
def _by_word(words: Int32, their_tags: tuple[Int64, Int32], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weight of each tag by kind, (4, words): a row gives each of its tags its weight over the root of their number."""
    out = np.zeros((4, len(words)))
    ptr, tags = their_tags
    for j in range(weight.shape[1]):
        size = ptr[j + 1] - ptr[j]
        for e in range(ptr[j], ptr[j + 1]):
            place = np.searchsorted(words, tags[e])
            for kind in range(4):
                out[kind, place] += weight[kind, j] / sqrt(size)
    return out


@njit(cache=True, nogil=True)
def _habits(released: Int32, signal: Float32, weight: NDArray[np.float64]) -> tuple[float, float]:
    """(share finished, mean year of release of what was finished since 1970, NaN not known)."""
    yes, no, years, told = 0.0, 0.0, 0.0, 0.0
    for j in range(min(len(signal), 50)):
        if signal[j] > 0:
            yes += 1
            if released[j] != NO_DAY:
                told += weight[0, j]
                years += weight[0, j] * released[j] / 365.25
        elif signal[j] < 0:
            no += 1
    return (yes + 1) / (yes + no + 2), years / told if told > 0 else np.nan


@njit(cache=True, nogil=True)
def _step(length: float) -> int:
    """The step of .1 that a log length is nearest to, 0 to 99; -1 not known."""
    return min(max(floor(10 * log(float(length)) + 0.5), 0), 99) if length > 0 else -1  # NaN is not above 0


@njit(cache=True, nogil=True)
def _near_length(length: Float32, signal: Float32) -> NDArray[np.float64]:
    """For every step of length the weight of the rows near it, and of those finished, (2, 100): no exponential a candidate."""
    count, out = np.zeros((2, 100)), np.zeros((2, 100))
    for j in range(min(len(signal), 50)):
        step = _step(length[j])
        if signal[j] != 0 and step >= 0:
            count[0, step] += 1
            if signal[j] > 0:
                count[1, step] += 1
    for far in range(-12, 13):
        close = exp(-0.5 * (far / 3) ** 2)
        for step in range(max(0, -far), min(100, 100 - far)):
            out[0, step] += close * count[0, step + far]
            out[1, step] += close * count[1, step + far]
    return out
