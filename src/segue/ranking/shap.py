"""Shapley values of trees: what each feature moved a score by, exactly, from what the trees expected before seeing any."""

from __future__ import annotations

import numpy as np
from numba import njit

from segue.core.types import Float32
from segue.ranking.trees import Float64, Trees

MOST = 64
"""Different features on the way to one leaf; a tree that asks more of them is refused."""


def contributions(trees: Trees, rows: Float32) -> tuple[float, Float64]:
    """(base, values): base + values.sum(axis=1) is Trees.raw of rows (m, F); values (m, F) float64, base what trees expect.

    Path-dependent: a feature that is left out follows the training examples, by how many went either way (Lundberg et al.
    2018). Each leaf is a product over the features on its way, so that its Shapley values come from the coefficients of a
    polynomial of their number, O(D^3) a leaf for D different features. ValueError where D exceeds MOST.
    """
    if len(trees.depths) and int(trees.depths.max()) > MOST:
        raise ValueError(f"trees of up to {MOST} questions can be explained, this one asks {int(trees.depths.max())}")
    values = np.zeros((len(rows), rows.shape[1]))
    parent = _parents(trees.child)
    columns = (trees.feature, trees.threshold, trees.nan_right, trees.child, parent, trees.cover, trees.value)
    base = _explain(np.ascontiguousarray(rows, np.float32), columns, values)
    return float(base), values


@njit(cache=True, nogil=True)
def _parents(child):  # type: ignore[no-untyped-def]
    """The node above each node, its own for a root."""
    parent = np.arange(len(child) // 2)
    for node in range(len(parent)):
        for below in (child[2 * node], child[2 * node + 1]):
            if below != node:
                parent[below] = node
    return parent


@njit(cache=True, nogil=True)
def _way(leaf, row, columns, feature, zero, one):  # type: ignore[no-untyped-def]
    """The different features above a leaf: which, the share of examples that go on, and whether this row does; how many."""
    kinds, threshold, nan_right, child, parent, cover, _ = columns
    size, node = 0, leaf
    while parent[node] != node:
        above = parent[node]
        v = row[kinds[above]]
        right = v > threshold[above] or (v != v and nan_right[above] == 1)
        follows = child[2 * above + (1 if right else 0)] == node
        at = 0
        while at < size and feature[at] != kinds[above]:
            at += 1
        if at == size:
            feature[at], zero[at], one[at] = kinds[above], 1.0, 1.0
            size += 1
        zero[at] *= np.float64(cover[node]) / np.float64(cover[above])
        one[at] *= 1.0 if follows else 0.0
        node = above
    return size


@njit(cache=True, nogil=True)
def _share(j, size, zero, one, poly):  # type: ignore[no-untyped-def]
    """Sum over the coalitions without j of their Shapley weight times what they let through."""
    poly[0], degree = 1.0, 0
    for k in range(size):
        if k == j:
            continue
        poly[degree + 1] = 0.0
        for s in range(degree + 1, 0, -1):
            poly[s] = poly[s] * zero[k] + poly[s - 1] * one[k]
        poly[0] *= zero[k]
        degree += 1
    weight, total = 1.0 / size, poly[0] / size
    for s in range(1, size):  # s! (size - 1 - s)! / size!
        weight *= s / (size - s)
        total += weight * poly[s]
    return total


@njit(cache=True, nogil=True)
def _explain(rows, columns, out):  # type: ignore[no-untyped-def]
    """Adds the values of every leaf to out (m, F); returns the base."""
    child, value = columns[3], columns[6]
    feature = np.zeros(MOST, np.int64)
    zero, one, poly = np.zeros(MOST), np.zeros(MOST), np.zeros(MOST + 1)
    base = 0.0
    for leaf in range(len(value)):
        if child[2 * leaf] != leaf:
            continue
        for r in range(len(rows)):
            size = _way(leaf, rows[r], columns, feature, zero, one)
            if r == 0:
                expected = value[leaf]
                for k in range(size):
                    expected *= zero[k]
                base += expected
            for j in range(size):
                out[r, feature[j]] += value[leaf] * (one[j] - zero[j]) * _share(j, size, zero, one, poly)
    return base
