"""An inverted file over unit vectors: the nearest of a million while looking at a few per cent of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.core.types import Float32, Int32, Int64
from segue.storage.vectors.kernels import heaps, lists, scan_cells, scan_rows

SAMPLE, ROUNDS = 40, 8
"""Vectors a cell that k-means learns from, and how often it moves the centers."""
ASKED, NEAREST = 256, 100
"""Vectors that a new index is asked for, and how many neighbours of each it must find."""
FIRST_BUDGET, SPARE = 4096, 16
"""Vectors that a search looks at, at the least, and cells that it may open beyond twice as many as it should need."""
_BLOCK = 1 << 14


class Cells(NamedTuple):
    """Vectors by cell. The arrays are read-only and may be memory-mapped."""

    centers: Float32  # (c, d) of unit length
    ptr: Int64  # (c + 1,)
    rows: Int32  # (n,) the row of each vector in the file of rows
    vectors: Float32  # (n, d)
    budget: Int64  # (1,) vectors to look at for a search
    recall: Float32  # (1,) share of the true 100 nearest found, measured when it was built

    def search(self, names: Int32, queries: Float32, found: tuple[Int32, Float32]) -> None:
        """Offer the vectors of the nearest cells to the heaps of the queries: those whose row has a name."""
        near, most = queries @ self.centers.T, len(self.centers)
        if not most:
            return
        budget = max(int(self.budget[0]), 8 * found[0].shape[1])
        opened = min(most, SPARE + 2 * budget * most // max(1, len(self.rows)))  # cells differ in size
        for q in range(len(queries)):
            order = np.argpartition(near[q], most - opened)[most - opened :]
            order = order[np.lexsort((order, -near[q][order]))]
            scan_cells((self.ptr, self.rows, self.vectors), names, order, queries[q], budget, (found[0][q], found[1][q]))


def build(vectors: Float32, names: Int32, recall: float, rng: np.random.Generator) -> Cells:
    """Cells over the rows that have a name: spherical k-means on a sample (Dhillon and Modha 2001) into about 4 sqrt(n) cells.

    The index then measures itself: it looks at more and more vectors until `recall` of the true 100 nearest are found. No
    index can promise a recall on data it was not measured on; this one is, whatever the encoder.
    """
    rows = np.flatnonzero(names >= 0).astype(np.int32)
    count = max(1, int(4 * np.sqrt(len(rows))))
    chosen = np.sort(rng.choice(rows, min(len(rows), SAMPLE * count), replace=False))
    centers = _centers(np.ascontiguousarray(vectors[chosen]), count)
    cell = _nearest(vectors, rows, centers)
    order = np.argsort(cell, kind="stable")
    ptr = np.searchsorted(cell[order], np.arange(len(centers) + 1)).astype(np.int64)
    rows = rows[order]
    inside = np.empty((len(rows), vectors.shape[1]), np.float32)
    for a in range(0, len(rows), _BLOCK):
        inside[a : a + _BLOCK] = vectors[rows[a : a + _BLOCK]]
    cells = Cells(centers, ptr, rows, inside, np.array([FIRST_BUDGET]), np.zeros(1, np.float32))
    return _calibrated(cells, names, recall, rng)


def _centers(sample: Float32, count: int) -> Float32:
    """Unit centers of `count` cells at most; an empty cell takes the vector that fits its own cell worst."""
    centers = sample[:: max(1, len(sample) // count)][:count].copy()
    everyone = np.arange(len(sample), dtype=np.int32)
    for _ in range(ROUNDS):
        cell = _nearest(sample, everyone, centers)
        order = np.argsort(cell, kind="stable")
        used, first = np.unique(cell[order], return_index=True)
        empty = np.setdiff1d(np.arange(len(centers)), used)
        centers[used] = _unit(np.add.reduceat(sample[order], first, axis=0))
        if len(empty):
            fit = np.einsum("nd,nd->n", sample, centers[cell])
            centers[empty] = sample[np.argsort(fit, kind="stable")[: len(empty)]]
    return centers


def _nearest(vectors: Float32, rows: Int32, centers: Float32) -> NDArray[np.int32]:
    """The center of the largest cosine for each of the rows, the first among equals."""
    out = np.empty(len(rows), np.int32)
    for a in range(0, len(rows), _BLOCK):
        out[a : a + _BLOCK] = np.argmax(vectors[rows[a : a + _BLOCK]] @ centers.T, axis=1)
    return out


def _unit(rows: Float32) -> Float32:
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    return np.asarray(rows / np.maximum(lengths, np.float32(1e-12))[:, None], np.float32)


def _calibrated(cells: Cells, names: Int32, wanted: float, rng: np.random.Generator) -> Cells:
    """The cells with the smallest budget that finds `wanted` of the true neighbours, and what it finds.

    Asked as the radio asks: a song of the sample, a neighbour of it, minus another one. Such sums lie between the songs, so
    they are harder to find for than the songs themselves.
    """
    n = len(cells.rows)
    own = cells.vectors[np.sort(rng.choice(n, min(n, ASKED), replace=False))]
    k = min(NEAREST, n)
    near = lists(*_every(cells, own, k))[0]
    second, third = (cells.vectors[near[:, min(place, k - 1)]] for place in (3, 17))
    asked = np.ascontiguousarray(own + np.float32(0.9) * second - np.float32(0.81) * third)
    truth = lists(*_every(cells, asked, k))[0]
    budget = FIRST_BUDGET
    while True:
        tried = cells._replace(budget=np.array([budget]))
        found = heaps(len(asked), k)
        tried.search(names, asked, found)
        hits = sum(len(np.intersect1d(names[cells.rows[a]], b)) for a, b in zip(truth, found[0], strict=True))
        share = hits / max(1, truth.size)
        if share >= wanted or budget >= n:
            return tried._replace(recall=np.array([share], np.float32))
        budget = min(n, int(budget * 1.4))


def _every(cells: Cells, queries: Float32, k: int) -> tuple[Int32, Float32]:
    """The true neighbours, by their place in the cells."""
    found = heaps(len(queries), k)
    scan_rows(cells.vectors, np.arange(len(cells.rows), dtype=np.int32), queries, *found)
    return found
