"""Songs that stand near each other in sessions and playlists: the strongest simple model a radio can have."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.candidates._item_item import _ItemItem
from segue.candidates._pull import Reading
from segue.candidates._sparse import group_rows, take_top
from segue.core.types import Float32, History, Int8, Int32, Int64

DAY_S = 86_400.0
MAX_ITEMS = 1 << 28
BLOCK = 32_768
"""Items counted at a time: bounds the scratch of a thread to BLOCK * neighbours * 8 bytes."""
PLACE_DECAY, HALF_LIFE, EXPONENT, BACKWARD, SKIP, SHRINK, NOW, WINDOW = range(8)
"""Places in the settings of the kernels."""


class Cooccurrence(_ItemItem):
    """Item-item neighbours from places in one session or playlist (Linden et al. 2003, with distance and age).

    A finished song i pulls each song j within `window` places of it:
        c(i, j) = sum over pairs of  +-1 * place_decay^(distance - 1) * 2^(-age / half_life_days)
    plus for a j that was finished, minus (times skip_weight) for one that was skipped; pairs before it count `backward`.
        s(i, j) = c / (m_i^(1 - popularity_exponent) * m_j^popularity_exponent) * c / (c + shrink)
    with m the decayed finishes of a song: exponent 0 is P(j | i), 0.5 the cosine, 1 the lift. The best `neighbours` are kept.

    A query's answer is the weighted union of the rows of what was finished minus those of what was skipped.
    Fit: one pass over the rows of each song, O(plays * window) time, 8 bytes a play beside the history.
    """

    name: ClassVar[str] = "cooccurrence"
    at_once: ClassVar[bool] = True

    def __init__(
        self,
        *,
        neighbours: int = 64,
        window: int = 10,
        place_decay: float = 0.9,
        half_life_days: float = 180.0,
        popularity_exponent: float = 0.3,
        backward: float = 1.0,
        skip_weight: float = 0.5,
        shrink: float = 1.0,
        threads: int = 2,
        reading: Reading | None = None,
    ) -> None:
        self.neighbours = neighbours
        self.window = window
        self.place_decay = place_decay
        self.half_life_days = half_life_days
        self.popularity_exponent = popularity_exponent
        self.backward = backward
        self.skip_weight = skip_weight
        self.shrink = shrink
        self.threads = threads
        self.reading = reading or Reading()
        self._silent()

    def fit(self, history: History, rng: np.random.Generator) -> Self:
        """Count pairs, item block by item block; deterministic (for any number of threads), `rng` is not used."""
        n, item = history.n_items, np.ascontiguousarray(history.item, np.int32)
        if n >= MAX_ITEMS:
            raise ValueError(f"at most {MAX_ITEMS:,} items fit the packed rows; got {n:,}")
        settings = np.zeros(8)
        settings[[PLACE_DECAY, EXPONENT, BACKWARD]] = self.place_decay, self.popularity_exponent, self.backward
        settings[[SKIP, SHRINK, WINDOW]] = self.skip_weight, self.shrink, self.window
        settings[[NOW, HALF_LIFE]] = history.now / 1000.0, self.half_life_days * DAY_S
        session, at = np.ascontiguousarray(history.session, np.int32), np.ascontiguousarray(history.at, np.uint32)
        codes, mass = _prepare(item, session, np.ascontiguousarray(history.signal, np.int8), at, n, settings)
        by_item = group_rows(item, n)

        def block(first: int) -> tuple[Int64, Int32, Float32]:
            span = (first, min(first + BLOCK, n))
            return _count(span, by_item, (codes, at), mass, settings, self.neighbours)

        with ThreadPoolExecutor(self.threads) as pool:
            blocks = list(pool.map(block, range(0, n, BLOCK)))
        sizes = np.concatenate([np.zeros(1, np.int64), *(size for size, _, _ in blocks)])
        near = np.concatenate([np.zeros(0, np.int32), *(items for _, items, _ in blocks)])
        weight = np.concatenate([np.zeros(0, np.float32), *(scores for _, _, scores in blocks)])
        self._set((np.cumsum(sizes), near, weight))
        return self


@njit(cache=True, nogil=True)
def _prepare(
    item: Int32, session: Int32, signal: Int8, at: NDArray[np.uint32], n: int, settings: NDArray[np.float64]
) -> tuple[Int32, NDArray[np.float64]]:
    """Item, signal and session border of each row in one int32, so that a neighbourhood is one cache line; decayed finishes.

    Bits from the top: item, signal + 1 (two bits), whether the row is the first of its session.
    """
    codes = np.empty(len(item), np.int32)
    mass = np.zeros(n, np.float64)
    for row in range(len(item)):
        first = row == 0 or session[row] != session[row - 1]
        codes[row] = (item[row] << 3) | ((signal[row] + 1) << 1) | first
        if signal[row] > 0:
            mass[item[row]] += 2.0 ** (-(settings[NOW] - at[row]) / settings[HALF_LIFE])
    return codes, mass


@njit(cache=True, nogil=True)
def _tally(
    row: int,
    step: int,
    scale: float,
    codes: Int32,
    scratch: tuple[NDArray[np.float64], Int32],
    n_seen: int,
    settings: NDArray[np.float64],
) -> int:
    """Add the neighbours of one row on one side; scratch = (sums, NaN where untouched; the items touched)."""
    sums, seen = scratch
    weight, other, me = scale, row, codes[row] >> 3
    for _ in range(int(settings[WINDOW])):
        if step < 0 and codes[other] & 1:
            break
        other += step
        if other >= len(codes) or (step > 0 and codes[other] & 1):
            break
        j, said = codes[other] >> 3, (codes[other] >> 1) & 3
        if said != 1 and j != me:
            if np.isnan(sums[j]):
                sums[j] = 0.0
                seen[n_seen] = j
                n_seen += 1
            sums[j] += weight if said == 2 else -weight * settings[SKIP]
        weight *= settings[PLACE_DECAY]
    return n_seen


@njit(cache=True, nogil=True)
def _count(
    span: tuple[int, int],
    by_item: tuple[Int64, Int32],
    columns: tuple[Int32, NDArray[np.uint32]],
    mass: NDArray[np.float64],
    settings: NDArray[np.float64],
    neighbours: int,
) -> tuple[Int64, Int32, Float32]:
    """Neighbours of items span[0]..span[1]-1: sizes, items and scores, row after row."""
    (first, last), (ptr, rows), (codes, at) = span, by_item, columns
    sums = np.full(len(mass), np.nan, np.float64)
    seen = np.empty(len(mass), np.int32)
    scores = np.empty(len(mass), np.float32)
    sizes = np.zeros(last - first, np.int64)
    out_items = np.empty((last - first) * neighbours, np.int32)
    out_scores = np.empty((last - first) * neighbours, np.float32)
    rarity = mass ** -settings[EXPONENT]  # infinite where nobody finished the item: left out below
    end = 0
    for i in range(first, last):
        n_seen = 0
        for e in range(ptr[i], ptr[i + 1]):
            row = rows[e]
            if (codes[row] >> 1) & 3 == 2:
                age = 2.0 ** (-(settings[NOW] - at[row]) / settings[HALF_LIFE])
                n_seen = _tally(row, 1, age, codes, (sums, seen), n_seen, settings)
                n_seen = _tally(row, -1, age * settings[BACKWARD], codes, (sums, seen), n_seen, settings)
        kept = 0
        own = mass[i] ** (settings[EXPONENT] - 1.0) if n_seen else 0.0
        for s in range(n_seen):
            j, count = seen[s], sums[seen[s]]
            sums[j] = np.nan
            if count > 0 and mass[j] > 0:
                seen[kept] = j
                scores[kept] = count * own * rarity[j] * count / (count + settings[SHRINK])
                kept += 1
        items, values = take_top(seen[:kept], scores[:kept], neighbours)
        sizes[i - first] = len(items)
        out_items[end : end + len(items)] = items
        out_scores[end : end + len(items)] = values
        end += len(items)
    return sizes, out_items[:end].copy(), out_scores[:end].copy()
