"""The plain policies that every other is measured against: random, same artist, the top 100, item-to-item lists."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from segue.core.types import MISSING, Int32
from segue.simulator.luck import place, uniform
from segue.simulator.playing import Heard, Plays, Turn

_RANDOM, _ARTIST, _TOP, _LIST = 11, 12, 13, 14
"""Purposes of luck."""
FINISHED = 0.8
"""Share from which a song counts as wanted in lists and charts."""


class Random:
    """Any song."""

    name = "random"

    def __init__(self, n_items: int, *, seed: int = 0) -> None:
        self.n_items, self.seed = n_items, seed

    def slate(self, turn: Turn, size: int) -> Int32:
        """Drawn evenly; repeats may happen."""
        return np.column_stack([self._one(turn, column) for column in range(size)]).astype(np.int32)

    def _one(self, turn: Turn, column: int) -> NDArray[np.int64]:
        return place(uniform(self.seed, _RANDOM, turn.user, turn.session, turn.step + column), self.n_items)

    def heard(self, heard: Heard) -> None:
        """It learns nothing."""


class SameArtist:
    """Any song by the artist of the last one; it may repeat itself, as the sticky policies of courses do."""

    name = "same-artist"

    def __init__(self, artist: Int32, *, seed: int = 0) -> None:
        self.artist, self.seed = artist, seed
        self._order = np.argsort(artist, kind="stable").astype(np.int32)
        self._ptr = np.searchsorted(artist[self._order], np.arange(int(artist.max(initial=-1)) + 2))
        self._any = Random(len(artist), seed=seed)

    def slate(self, turn: Turn, size: int) -> Int32:
        """Drawn evenly from the artist's songs; any song where nothing was heard before."""
        known = turn.item != MISSING
        artist = self.artist[np.where(known, turn.item, 0)]
        low, high = self._ptr[artist], self._ptr[artist + 1]
        columns = []
        for column in range(size):
            luck = uniform(self.seed, _ARTIST, turn.user, turn.session, turn.step + column)
            columns.append(self._order[low + place(luck, high - low)])
        return np.where(known[:, None], np.column_stack(columns), self._any.slate(turn, size)).astype(np.int32)

    def heard(self, heard: Heard) -> None:
        """It learns nothing."""


class Top:
    """Any of the most finished songs of a log: a chart of `size`, drawn evenly."""

    name = "top-100"

    def __init__(self, plays: Plays, n_items: int, *, size: int = 100, seed: int = 0) -> None:
        finishes = np.bincount(plays.item[plays.share >= FINISHED], minlength=n_items)
        self.chart = np.lexsort((np.arange(n_items), -finishes))[:size].astype(np.int32)
        self.seed = seed

    def slate(self, turn: Turn, size: int) -> Int32:
        """Drawn evenly; repeats may happen."""
        luck = [uniform(self.seed, _TOP, turn.user, turn.session, turn.step + column) for column in range(size)]
        return np.column_stack([self.chart[place(one, len(self.chart))] for one in luck]).astype(np.int32)

    def heard(self, heard: Heard) -> None:
        """It learns nothing."""


class ItemToItem:
    """A song from the list of the last song: plain cosine of shares heard in the same sessions (Linden et al. 2003).

    similarity(i, j) = sum over sessions of share_i * share_j / (|i| |j|), each pair counted once; the best `size` of each
    song are its list. The next song is drawn evenly from the list of the last one; any song where that has none.
    """

    name = "item-to-item"

    def __init__(self, plays: Plays, n_items: int, *, size: int = 10, seed: int = 0) -> None:
        self.seed = seed
        self.lists = _lists(plays, n_items, size)
        self._length = (self.lists != MISSING).sum(axis=1)
        self._any = Random(n_items, seed=seed)

    def slate(self, turn: Turn, size: int) -> Int32:
        """Drawn evenly from the list of the last song; repeats may happen."""
        item = np.where(turn.item != MISSING, turn.item, 0)
        length = np.where(turn.item != MISSING, self._length[item], 0)
        columns = []
        for column in range(size):
            luck = uniform(self.seed, _LIST, turn.user, turn.session, turn.step + column)
            columns.append(self.lists[item, place(luck, np.maximum(length, 1))])
        return np.where((length > 0)[:, None], np.column_stack(columns), self._any.slate(turn, size)).astype(np.int32)

    def heard(self, heard: Heard) -> None:
        """It learns nothing."""


def _lists(plays: Plays, n_items: int, size: int) -> Int32:
    """(n_items, size) int32, the most similar first, ties by smaller number, MISSING at the end."""
    sessions = int(plays.row.max(initial=-1)) + 1
    heard = sparse.csr_matrix((plays.share.astype(np.float64), (plays.row, plays.item)), (sessions, n_items))
    norm = np.sqrt(np.asarray(heard.multiply(heard).sum(axis=0)).ravel())
    scaled = heard @ sparse.diags(1.0 / np.maximum(norm, 1e-12))
    near = (scaled.T @ scaled).tocsr()
    near.setdiag(0.0)
    near.eliminate_zeros()
    out = np.full((n_items, size), MISSING, np.int32)
    for item in range(n_items):
        part = slice(near.indptr[item], near.indptr[item + 1])
        order = np.lexsort((near.indices[part], -near.data[part]))[:size]
        out[item, : len(order)] = near.indices[part][order]
    return out
