"""Will this play be finished? Features of plays from what was known before: by song, by listener, by length, by context."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.clock import DAY_MS, HOUR_MS
from segue.core.types import Float32, Int64, Sparse
from segue.features.asof import Before, shrunk

Float64 = NDArray[np.float64]
FINISHED, SKIPPED = 0.8, 0.1
LONGEST = 3.0
"""A song may loop: shares beyond this count as this."""
PER_OCTAVE = 6.0
"""Buckets of length in an octave (a doubling)."""
STRENGTH = 10.0
"""Examples of the prior in a shrunken mean."""
NEAR = 0.3
"""Width of the kernel over log length, in units of a factor e."""
LATEST = 500
"""A listener's own plays that the kernel looks at."""
LAST = 3
HISTORY = 20


@dataclass(frozen=True)
class Plays:
    """n plays as columns, in order of time. `labels` are context columns of names (codes from 0), `numbers` of numbers."""

    user: Int64
    item: Int64
    at: Int64  # ms
    played_s: Float64
    duration_s: Float64
    labels: dict[str, Int64] = field(default_factory=dict)
    numbers: dict[str, Float64] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.user)

    @property
    def length(self) -> Float64:
        """Seconds, at least 0.1."""
        return np.maximum(self.duration_s, 0.1)

    @property
    def share(self) -> Float64:
        """Played by length; above 1 where it looped."""
        return np.asarray(self.played_s / self.length)

    @property
    def finished(self) -> NDArray[np.bool_]:
        """Above 80 % heard."""
        return np.asarray(self.share > FINISHED)

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Finished, or skipped below 10 %: what lies between says neither."""
        return np.asarray(self.finished | (self.share < SKIPPED))


class PlayFeatures:
    """Rows (n, F) float32 for plays, each from the plays strictly before a moment of its own; NaN = not known.

    rows(plays, known): `known` (n,) ms is until when each row may look. For running features it is the time of the play; for
    frozen ones the last time that numbers were refreshed. Nothing of a play at or after `known` can enter its row: not what
    was played, nor that there was a play. Of the row's own play only user, song, length, context and time are used.

    item_*, user_*: the song's and the listener's shrunken rates of finishing, of skipping, mean share, mean log of seconds
    played, and how far their plays were above what their length lets expect (residual; Micci-Barreca 2001 with the length
    as prior). length_*: rates of songs as long. own_*: the listener's own plays weighted by how near their length is
    (Nadaraya-Watson over log length), and own_lasts, the share of plays in which this listener stayed as long as finishing
    this song takes. user_stays, item_stays: how much longer, on the log, the listener stays, the song is heard, than finishing
    takes; item_loops: how often the song was heard beyond its end. last<k>_*: the k-th play before. Context columns: rate and
    residual of each value, numbers as they are.
    """

    def __init__(self, *, running: bool, ids_ordered: bool = False) -> None:
        self.running = running
        self.ids_ordered = ids_ordered  # ids are numbers in order of arrival: they tell how new a song is
        self.names: tuple[str, ...] = ()

    def rows(self, plays: Plays, known: Int64) -> Float32:
        """The features of every play, as of `known`; sets `names`."""
        log = np.log(plays.length)
        table: dict[str, Float64] = {"length": log}
        values, world = _values(plays, known, table)
        for name, key in (("item", plays.item), ("user", plays.user)):
            before = Before.of(key, plays.at, key, known)
            sums = before.sums(values)
            _rates(table, name, sums, world)
            table[f"{name}_stays"] = shrunk(sums[:, 5], sums[:, 0], world[:, 5], 3.0) - np.log1p(FINISHED * plays.length)
            if name == "user":
                self._own(table, plays, known, before, values)
                continue
            looped = before.sums((plays.share > 1.0).astype(np.float64)[:, None])[:, 0]
            table["item_loops"] = looped / (sums[:, 0] + 3.0)
            if self.ids_ordered:
                table["item_order"] = plays.item.astype(np.float64)
        self._context(table, plays, known, (values, world[:, 1]))
        self.names = tuple(table)
        return np.column_stack(list(table.values())).astype(np.float32)

    def _own(self, table: dict[str, Float64], plays: Plays, known: Int64, before: Before, values: Float64) -> None:
        """What the listener did with songs of that length, and lately."""
        expected = table["length_finish"]
        sums = np.zeros((len(plays), 5))
        near_length(before.order, before.start, before.stop, plays.length, plays.share, sums)
        weight, finished, skipped, told, lasted = sums.T
        table["own_near"] = np.log1p(weight)
        table["own_finish"] = shrunk(finished, weight, expected, 3.0)
        table["own_skip"] = shrunk(skipped, weight, table["length_skip"], 3.0)
        table["own_lasts"] = shrunk(lasted, told, expected, 3.0)
        last = before.last(1)
        ago = np.where(last >= 0, known - plays.at[last], np.nan)
        table["user_ago"] = np.log1p(ago // HOUR_MS)
        if not self.running:
            return
        for back in range(1, LAST + 1):
            row = before.last(back)
            there = row >= 0
            table[f"last{back}_share"] = np.where(there, np.minimum(plays.share[row], LONGEST), np.nan)
            table[f"last{back}_length"] = np.where(there, np.log(plays.length[row]), np.nan)
            table[f"last{back}_played"] = np.where(there, values[row, 5], np.nan)
            table[f"last{back}_residual"] = np.where(there, values[row, 6], np.nan)
            table[f"last{back}_ago"] = np.log1p(np.where(there, known - plays.at[row], np.nan) / 1000)

    @staticmethod
    def _context(table: dict[str, Float64], plays: Plays, known: Int64, said: tuple[Float64, Float64]) -> None:
        """The hour and the day (UTC), and the columns of the context."""
        table["hour"] = (plays.at // HOUR_MS % 24).astype(np.float64)
        table["weekday"] = ((plays.at // DAY_MS + 3) % 7).astype(np.float64)
        values, rate = said
        for name, codes in plays.labels.items():
            sums = Before.of(codes, plays.at, codes, known).sums(values)
            table[f"{name}_finish"] = shrunk(sums[:, 1], sums[:, 0], rate, STRENGTH)
            table[f"{name}_residual"] = shrunk(sums[:, 6], sums[:, 0], 0.0, STRENGTH)
        table |= plays.numbers


def _values(plays: Plays, known: Int64, table: dict[str, Float64]) -> tuple[Float64, Float64]:
    """((n, 9) what is summed over keys, (n, 6) means of the first six over all plays); adds length_*.

    The columns: 1, finished, skipped, judged, share, log seconds, finished above expectation, the same of the judged only,
    and the variance of that. An expectation is made as of the `known` of its own play, so it is of the past too.
    """
    share = plays.share
    finished, judged = plays.finished.astype(np.float64), plays.judged.astype(np.float64)
    one = np.ones(len(plays))
    basic = (one, finished, judged - finished, judged, np.minimum(share, LONGEST), np.log1p(np.maximum(plays.played_s, 0)))
    values = np.column_stack(basic)
    zero = np.zeros(len(plays), np.int64)
    world = Before.of(zero, plays.at, zero, known).sums(values)
    rate = (world + 0.5 * (np.arange(6) > 0)) / (world[:, :1] + 1.0)
    bucket = np.floor(np.log2(plays.length) * PER_OCTAVE).astype(np.int64)
    alike = Before.of(bucket, plays.at, bucket, known).sums(values)
    of_judged = (world[:, 1] + 0.5) / (world[:, 3] + 1.0)
    expected = shrunk(alike[:, 1], alike[:, 0], rate[:, 1], STRENGTH)
    chance = shrunk(alike[:, 1], alike[:, 3], of_judged, STRENGTH)
    table["length_finish"] = expected
    table["length_chance"] = chance
    table["length_skip"] = shrunk(alike[:, 2], alike[:, 0], rate[:, 2], STRENGTH)
    above = (finished - expected, (finished - chance) * judged, chance * (1 - chance) * judged)
    return np.column_stack((*basic, *above)), rate


def _rates(table: dict[str, Float64], name: str, sums: Float64, world: Float64) -> None:
    """The shrunken rates of one kind of key."""
    count, judged = sums[:, 0], sums[:, 3]
    table[f"{name}_plays"] = np.log1p(count)
    table[f"{name}_finish"] = shrunk(sums[:, 1], count, world[:, 1], STRENGTH)
    table[f"{name}_skip"] = shrunk(sums[:, 2], count, table["length_skip"], STRENGTH)
    table[f"{name}_share"] = shrunk(sums[:, 4], count, world[:, 4], STRENGTH)
    table[f"{name}_seconds"] = shrunk(sums[:, 5], count, world[:, 5], STRENGTH)
    table[f"{name}_residual"] = shrunk(sums[:, 6], count, 0.0, STRENGTH)
    table[f"{name}_surprise"] = sums[:, 7] / (sums[:, 8] + 1.0)  # one Newton step of a log-odds effect from 0
    table[f"{name}_chance"] = shrunk(sums[:, 7], judged, 0.0, STRENGTH)


@njit(cache=True, nogil=True)
def near_length(order: NDArray[np.intp], start: Int64, stop: Int64, length: Float64, share: Float64, out: Float64) -> None:
    """Fill out (n, 5) from a listener's plays before each: kernel weight, finished, skipped; plays that tell how long they
    stay, and those in which they stayed as long as finishing takes.

    A play tells if it was not finished (they left), or if its song was long enough to see that they stayed.
    """
    for i in range(len(start)):
        needed = 0.8 * length[i]
        for place in range(max(start[i], stop[i] - 500), stop[i]):
            row = order[place]
            far = np.log(length[row] / length[i]) / 0.3
            weight = np.exp(-0.5 * far * far)
            out[i, 0] += weight
            if share[row] > 0.8:
                out[i, 1] += weight
            elif share[row] < 0.1:
                out[i, 2] += weight
            stayed = min(share[row], 3.0) * length[row] > needed
            if stayed or share[row] <= 0.8:
                out[i, 3] += 1.0
                if stayed:
                    out[i, 4] += 1.0


def sparse_of_plays(plays: Plays, known: Int64) -> Sparse:
    """The ids behind the plays, dense: user, song, and the last songs finished before `known`."""
    _, user = np.unique(plays.user, return_inverse=True)
    _, item = np.unique(plays.item, return_inverse=True)
    liked = np.flatnonzero(plays.finished)
    before = Before.of(plays.user[liked], plays.at[liked], plays.user, known)
    history = np.full((len(plays), HISTORY), -1, np.int32)
    for back in range(HISTORY):
        row = before.last(back + 1)
        there = row >= 0
        history[there, back] = item[liked[row[there]]]
    nothing = np.full((len(plays), 1), -1, np.int32)
    return Sparse(user.astype(np.int32), item.astype(np.int32), history, nothing)


def refreshed(at: Int64, cut: int, every: int) -> Int64:
    """Until when each play may look if numbers are refreshed every `every` ms, the last time at `cut`; (n,) ms.

    Plays from the cut on look up to it. So rows to learn from see the past as rows of the test do: as it was last counted.
    """
    return np.where(at >= cut, cut, cut - -(-(cut - at) // every) * every).astype(np.int64)
