"""The loop over candidates and recent plays that makes the features of compute.OWN."""

from __future__ import annotations

from math import log, log1p

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.clock import DAY_MS, HOUR_MS
from segue.core.types import MISSING, NO_DAY, Bool, Float32, Int32, Int64

NEW_DAYS = 30
USUAL_S = 210.0
_LONGEST = 3.0


@njit(cache=True, nogil=True)
def _said_of(
    said: NDArray[np.float64],
    item: int,
    artist: int,
    ids: tuple[Int32, Int32, Float32, Bool],
    their_artist: Int32,
) -> None:
    """Counts into said (6,): the song wanted, refused, then its artist finished, skipped, and both in this session."""
    _, recent, signal, here = ids
    said[:] = 0
    for j in range(len(recent)):
        if signal[j] == 0:
            continue
        way = 0 if signal[j] > 0 else 1
        if recent[j] == item:
            said[way] += 1
        if artist != MISSING and their_artist[j] == artist:
            said[2 + way] += 1
            if here[j]:
                said[4 + way] += 1


@njit(cache=True, nogil=True)
def fill_own(
    out: Float32,
    agreement: Float32,
    song: tuple[Int32, Int32, Int32, Float32],
    memory: tuple[NDArray[np.uint16], Int64, Float32],
    ids: tuple[Int32, Int32, Float32, Bool],
    theirs: tuple[Int32, Int32],
    now: int,
) -> None:
    """Write the 18 columns of compute.OWN into out (n, 18 or more), a candidate a row.

    agreement (n,): share of the sources that offered it. song: artist, album, released (days), length (s), (n,) each.
    memory: times heard, last heard (ms), popularity (n, 2). ids: the candidates (n,), then the recent rows, newest first
    (r,): item, signal, whether in this session. theirs: artist and album of the recent rows. now: ms.

    Plays are relative to their mean over the candidates, so that how fast counts decay and how long they were kept
    matters little: state and history count the same songs over different spans. Ages are log(1 + hours or days).
    """
    artist, album, released, length = song
    times, last, popularity = memory
    item, _, signal, _ = ids
    their_artist, their_album = theirs
    n = len(item)
    newest = -1
    for j in range(len(signal)):
        if signal[j] > 0:
            newest = j
            break
    mean = 0.0
    for i in range(n):
        mean += popularity[i, 1]
    mean /= max(n, 1)
    today = now // DAY_MS
    said = np.empty(6)
    for i in range(n):
        _said_of(said, item[i], artist[i], ids, their_artist)
        out[i, 0] = agreement[i]
        out[i, 1] = popularity[i, 0]
        out[i, 2] = popularity[i, 1] - mean
        out[i, 3] = 1.0 if times[i] > 0 else 0.0
        out[i, 4] = log1p(float(times[i]))
        out[i, 5] = log1p(max(now - last[i], 0) / HOUR_MS) if times[i] > 0 else 0.0
        out[i, 6] = min(said[0], 1.0)
        out[i, 7] = min(said[1], 1.0)
        for way in range(2, 6):
            out[i, 6 + way] = log1p(said[way])
        out[i, 12] = 1.0 if newest >= 0 and artist[i] != MISSING and artist[i] == their_artist[newest] else 0.0
        out[i, 13] = 1.0 if newest >= 0 and album[i] != MISSING and album[i] == their_album[newest] else 0.0
        days = max(today - released[i], 0) if released[i] != NO_DAY else 0
        out[i, 14] = 1.0 if released[i] != NO_DAY and days <= NEW_DAYS else 0.0
        out[i, 15] = log1p(float(days))
        out[i, 16] = 1.0 if released[i] == NO_DAY else 0.0
        seconds = length[i] if length[i] > 0 else USUAL_S  # NaN is not above 0
        out[i, 17] = min(max(log(seconds / USUAL_S), -_LONGEST), _LONGEST)


@njit(cache=True, nogil=True)
def fill_evidence(out: Float32, said: Bool, evidence: Float32, columns: Int64, k: float, top: float) -> None:
    """Write what each source thinks into out (n, 3 m or more), the columns of all sources for each of three numbers:

    (k+1) / (k+1+rank), the same with `top` for k, and the score between the source's worst and best.
    evidence (n, sources) float32, NaN = silent; columns (m,): which of its columns, -1 for a source that is absent. said
    (n, m) tells who spoke; both come filled with zeros. Rank 0 is the best of a source, ties go to the earlier row.
    """
    n, m = len(evidence), len(columns)
    scores, rows = np.empty(n, np.float32), np.empty(n, np.int64)
    for j in range(m):
        if columns[j] < 0:
            continue
        size = 0
        for i in range(n):
            value = evidence[i, columns[j]]
            if not np.isnan(value):
                scores[size], rows[size] = -value, i
                size += 1
        if size == 0:
            continue
        order = np.argsort(scores[:size], kind="mergesort")
        best, worst = -np.float64(scores[order[0]]), -np.float64(scores[order[size - 1]])
        span = best - worst
        for rank in range(size):
            row, far = rows[order[rank]], np.float32(rank + 1)
            out[row, j] = np.float32(k + 1) / (np.float32(k) + far)
            out[row, m + j] = np.float32(top + 1) / (np.float32(top) + far)
            mine = -np.float64(scores[order[rank]])
            out[row, 2 * m + j] = (mine - worst) / span if span > 0 else 1.0  # all equal: all are the best
            said[row, j] = True
