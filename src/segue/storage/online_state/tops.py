"""Live popularity: decayed sums by place and time, the top lists that every event moves, and the shrunk answer (M3)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.clock import PARTS
from segue.core.types import Float32, Int32, Scored
from segue.storage.online_state.pairs import AHEAD, Table, expect_key, find, insert, kernel, pack_key

TOP = 256
"""Items a cell's list holds."""
CELLS_A_REGION = 1 + PARTS
DEPTH = 3
"""World, region, region x part of the week: what one play is counted in."""
BLOCK = 16
SIZE, LOWEST, BLOCKS = 0, 1, 2
"""Columns of Cells.top_meta: entries, place of the lowest of all, then the place of the lowest of each block."""
META = BLOCKS + TOP // BLOCK
PLAYS, HEARD, PLACE = 1, 2, 3
"""Words of a row of the table after its key: two float64, then 1 + the place in the top list, 0 = not in it."""
ROW = 4
Place = int | np.int64
UNSET = np.iinfo(np.int64).min
"""The landmark before the first play."""
REBASE_AFTER = 512
"""Half-lives between landmark and event after which the landmark moves: float64 holds 1,023."""


class Cells(NamedTuple):
    """Sums that decay, by cell: weights of forward decay, 2 to the half-lives since a landmark (Cormode et al. 2009).

    Weights never depend on the present, so nothing is swept as time passes. The landmark is a whole number of half-lives
    and moves by whole numbers: scaling by a power of two keeps every sum and every order exactly.

    Cell 0 is the world, region row r has cell 1 + 9 r and one more for each part of the week.

    Region rows are region + 1, row 0 holds the events that name no region. The table maps (cell, item) to the
    decayed plays and the decayed sum of shares heard, and knows the item's place in the cell's list.
    """

    table: Table
    totals: NDArray[np.float64]  # (cells, 2) plays, sum of shares
    top_items: NDArray[np.int32]  # (cells, TOP) in no order
    top_sums: NDArray[np.float64]  # (cells, TOP) their decayed sums of shares
    top_meta: NDArray[np.int32]  # (cells, META)
    hours: NDArray[np.float64]  # (region rows, 168, 4) plays, finished, rejected, seconds


@kernel
def part_of(hour: int) -> int:
    """core.clock.part_of_week, compiled."""
    return (hour % 24) // 6 + (4 if hour >= 120 else 0)


@kernel
def cell_of(row: int, part: int, level: int) -> int:
    """The cell at level 0 (world), 1 (region) or 2 (region x part) of a region row and a part of the week."""
    if level == 0:
        return 0
    return 1 + row * CELLS_A_REGION + (0 if level == 1 else 1 + part)


@kernel
def _lower(cells: Cells, cell: int, i: Place, j: Place) -> bool:
    """Whether the entry at i leaves before the one at j: a smaller sum, of equal ones the larger item id."""
    mine, other = cells.top_sums[cell, i], cells.top_sums[cell, j]
    return bool(mine < other or (mine == other and cells.top_items[cell, i] > cells.top_items[cell, j]))


@kernel
def _settle(cells: Cells, cell: int, place: Place) -> None:
    """The entry at `place` of a full list has changed: find the lowest again, of its block and of all."""
    first = place // BLOCK * BLOCK
    lowest: Place = first
    for i in range(first + 1, first + BLOCK):
        lowest = i if _lower(cells, cell, i, lowest) else lowest
    cells.top_meta[cell, BLOCKS + place // BLOCK] = lowest
    lowest = np.int64(cells.top_meta[cell, BLOCKS])
    for block in range(BLOCKS + 1, META):
        candidate = np.int64(cells.top_meta[cell, block])
        lowest = candidate if _lower(cells, cell, candidate, lowest) else lowest
    cells.top_meta[cell, LOWEST] = lowest


@kernel
def _enter(cells: Cells, cell: int, place: Place, item: int, slot: np.int64) -> None:
    cells.top_items[cell, place] = item
    cells.top_sums[cell, place] = cells.table.floats[slot, HEARD]
    cells.table.rows[slot, PLACE] = place + 1


@kernel
def _raise_top(cells: Cells, cell: int, item: int, slot: np.int64) -> None:
    """The item's sum in this cell rose: keep the list the exact top of the cell.

    Sums only grow (forward decay), so an item outside the list enters when it passes the lowest, and never otherwise.
    """
    place, size = cells.table.rows[slot, PLACE] - 1, cells.top_meta[cell, SIZE]
    value = cells.table.floats[slot, HEARD]
    if place >= 0:
        cells.top_sums[cell, place] = value
        if size == TOP and cells.top_meta[cell, BLOCKS + place // BLOCK] == place:
            _settle(cells, cell, place)
    elif size < TOP:
        _enter(cells, cell, size, item, slot)
        cells.top_meta[cell, SIZE] = size + 1
        if size + 1 == TOP:
            for block in range(TOP // BLOCK):
                cells.top_meta[cell, BLOCKS + block] = block * BLOCK
            for block in range(TOP // BLOCK):
                _settle(cells, cell, block * BLOCK)
    else:
        lowest = np.int64(cells.top_meta[cell, LOWEST])
        leaving, floor = cells.top_items[cell, lowest], cells.top_sums[cell, lowest]
        if value > floor or (value == floor and item < leaving):
            cells.table.rows[find(cells.table, pack_key(cell, leaving)), PLACE] = 0
            _enter(cells, cell, lowest, item, slot)
            _settle(cells, cell, lowest)


@kernel
def count(cells: Cells, row: int, part: int, item: int, weight: float, share: float) -> None:
    """Add one play of weight `weight`, of which `share` was heard, to every cell it belongs to."""
    for level in range(DEPTH):
        cell = cell_of(row, part, level)
        slot = insert(cells.table, pack_key(cell, item))
        cells.table.floats[slot, PLAYS] += weight
        cells.table.floats[slot, HEARD] += weight * share
        cells.totals[cell, 0] += weight
        cells.totals[cell, 1] += weight * share
        _raise_top(cells, cell, item, slot)


def rebase(cells: Cells, lives: float) -> None:
    """Scale every sum down by 2**lives, a whole number: the landmark has moved that much."""
    scale = 2.0**-lives
    for sums in (cells.table.floats[:, PLAYS : HEARD + 1], cells.totals, cells.top_sums, cells.hours):
        sums *= scale


class Ask(NamedTuple):
    """One question about popularity: where, when, and how strongly the parent speaks."""

    row: int  # region row
    part: int
    scale: float  # what turns stored sums into plays as of now
    demand_prior: float
    share_prior: float


@kernel
def expect(cells: Cells, ask: Ask, item: int) -> tuple[float, float]:
    """(share of plays that go to the item, share of it that is heard) in the asked cell, each shrunk to the parent's.

    From the world down: p = (n + mu p_parent) / (N + mu), the mean of a Dirichlet posterior, and
    q = (s + m q_parent) / (n + m), its twin for the share heard; n, s, N are decayed plays, shares and all plays of the
    cell. The world's p is n / N and its q leans on the mean share of all plays.
    """
    p = 0.0
    q = cells.totals[0, 1] / cells.totals[0, 0] if cells.totals[0, 0] > 0.0 else 0.0
    for level in range(DEPTH):
        cell = cell_of(ask.row, ask.part, level)
        if cell >= len(cells.totals):
            break
        slot = find(cells.table, pack_key(cell, item))
        n = cells.table.floats[slot, PLAYS] * ask.scale if slot >= 0 else 0.0
        s = cells.table.floats[slot, HEARD] * ask.scale if slot >= 0 else 0.0
        total = cells.totals[cell, 0] * ask.scale
        mu = ask.demand_prior if level > 0 else 0.0
        p = (n + mu * p) / (total + mu) if total + mu > 0.0 else p
        q = (s + ask.share_prior * q) / (n + ask.share_prior) if n + ask.share_prior > 0.0 else q
    return p, q


@njit(cache=True, nogil=True)
def expect_all(cells: Cells, ask: Ask, items: NDArray[np.int32]) -> NDArray[np.float64]:
    """expect() of each item, (n, 2); zeros for MISSING."""
    out = np.zeros((len(items), 2), np.float64)
    for i in range(len(items)):
        if i + AHEAD < len(items) and items[i + AHEAD] >= 0:
            for level in range(DEPTH):
                expect_key(cells.table, pack_key(cell_of(ask.row, ask.part, level), items[i + AHEAD]))
        if items[i] >= 0:
            out[i, 0], out[i, 1] = expect(cells, ask, items[i])
    return out


def answer(cells: Cells, ask: Ask) -> Scored:
    """The union of the three lists by p q, the expected share of listening, best first; ties by smaller item."""
    path = [cell_of(ask.row, ask.part, level) for level in range(DEPTH)]
    lists = [cells.top_items[cell, : cells.top_meta[cell, SIZE]] for cell in path if cell < len(cells.totals)]
    items = np.unique(np.concatenate(lists))
    expected = expect_all(cells, ask, items)
    scores = (expected[:, 0] * expected[:, 1]).astype(np.float32)
    order = np.argsort(-scores, kind="stable")  # the items ascend: ties go to the smaller id
    return Scored(items[order], scores[order])


def features(cells: Cells, ask: Ask, items: Int32) -> Float32:
    """Per item (expected share heard, log(1 + plays)), plays being the cell's demand carried to the size of the world."""
    expected = expect_all(cells, ask, items)
    world = cells.totals[0, 0] * ask.scale
    out = np.empty((len(items), 2), np.float32)
    out[:, 0] = expected[:, 1]
    out[:, 1] = np.log1p(expected[:, 0] * world)
    return out
