"""Grown trees as flat arrays, and the kernel that walks all candidates down them: serving needs no library that grows trees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.types import Arrays, Float32, Int32

Float64 = NDArray[np.float64]
UInt32 = NDArray[np.uint32]
_CATEGORICAL, _DEFAULT_LEFT, _MISSING_NAN = 1, 2, 2 << 2
_BLOCK = 16


@dataclass(frozen=True)
class Trees:
    """t trees over n nodes, leaves among them; node ids are places in the columns, `roots` (t + 1,) where each tree begins.

    A row goes to child[2 node] where its value is at most the threshold, else to child[2 node + 1]; NaN goes where the node
    learned it should, else counts as 0. A leaf is its own child, so that every row may walk `depth` steps without a question.
    Thresholds are rounded down to float32: for float32 rows the comparison is the one that LightGBM makes in float64.
    """

    roots: UInt32  # (t + 1,)
    depths: Int32  # (t,) steps from the root to the deepest leaf
    feature: NDArray[np.uint16]  # (n,) 0 at leaves
    threshold: Float32  # (n,) +inf at leaves
    nan_right: NDArray[np.uint8]  # (n,) 1 where NaN goes to the right
    child: UInt32  # (2 n,)
    value: Float64  # (n,) 0 inside of a tree
    cover: Float32  # (n,) training examples that came by: what SHAP values weigh by

    def raw(self, rows: Float32) -> Float64:
        """Sum over the trees, (m,) float64, of rows (m, F) float32."""
        m, width = rows.shape
        blocks = -(-m // _BLOCK)
        padded = np.zeros((blocks * _BLOCK, width), np.float32)
        padded[:m] = rows
        flat = np.ascontiguousarray(padded.reshape(blocks, _BLOCK, width).transpose(0, 2, 1)).reshape(-1)
        out = np.zeros(blocks * _BLOCK)
        holes = bool(np.isnan(flat).any())
        walk(
            flat,
            width,
            holes,
            (self.roots, self.depths, self.feature, self.threshold, self.nan_right, self.child),
            self.value,
            out,
        )
        return out[:m]

    def arrays(self) -> Arrays:
        """The columns."""
        return {name: getattr(self, name) for name in _DTYPES}

    @staticmethod
    def of(arrays: Mapping[str, NDArray[np.generic]]) -> Trees:
        """The inverse of arrays(); ValueError where the columns cannot be one forest."""
        trees = Trees(**{name: np.ascontiguousarray(arrays[name], dtype) for name, dtype in _DTYPES.items()})
        n = len(trees.feature)
        lengths = {len(trees.threshold), len(trees.nan_right), len(trees.value), len(trees.cover), len(trees.child) // 2}
        if lengths != {n} or len(trees.roots) != len(trees.depths) + 1 or int(trees.roots[-1]) != n:
            raise ValueError(f"trees of {n} nodes with columns of {sorted(lengths)} nodes and roots to {trees.roots[-1:]}")
        if n and trees.child.max() >= n:
            raise ValueError("a tree points outside of its nodes")
        return trees

    @staticmethod
    def grown(text: str, scale: float = 1.0) -> Trees:
        """Out of the text form of a LightGBM model; leaf values times scale. ValueError for splits on categories."""
        parts = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.split("\nTree=")[1:]]
        columns: dict[str, list[NDArray[Any]]] = {name: [] for name in _DTYPES}
        start = 0
        for part in parts:
            tree = _tree(part, start, scale)
            start += len(tree["feature"])
            for name, column in tree.items():
                columns[name].append(column)
        roots = np.cumsum([0, *(len(column) for column in columns["feature"])])
        made = {name: np.concatenate(got) if got else np.zeros(0) for name, got in columns.items() if name != "roots"}
        return Trees.of({**made, "roots": roots})


_DTYPES: dict[str, Any] = {
    "roots": np.uint32,
    "depths": np.int32,
    "feature": np.uint16,
    "threshold": np.float32,
    "nan_right": np.uint8,
    "child": np.uint32,
    "value": np.float64,
    "cover": np.float32,
}


def _tree(part: Mapping[str, str], start: int, scale: float) -> dict[str, NDArray[Any]]:
    """One tree: its i splits first, then its leaves, with ids from `start` on."""

    def column(name: str, dtype: type[np.generic]) -> NDArray[Any]:
        return np.array(part.get(name, "").split(), dtype)

    leaves = column("leaf_value", np.float64)
    splits = len(leaves) - 1
    if splits == 0:  # a tree that found nothing: one leaf
        kinds = feature = np.zeros(0, np.int64)
        threshold = np.zeros(0)
        children = np.zeros((0, 2), np.int64)
    else:
        kinds, feature = column("decision_type", np.int64), column("split_feature", np.int64)
        threshold = column("threshold", np.float64)
        children = np.column_stack((column("left_child", np.int64), column("right_child", np.int64)))
    if np.any(kinds & _CATEGORICAL):
        raise ValueError("the trees split on categories, which these kernels do not know: give numbers")
    inner = np.where(children >= 0, children, splits - 1 - children)  # -1 is leaf 0, -2 leaf 1, and so on
    own = np.arange(splits, splits + len(leaves))
    child = np.concatenate((inner.reshape(-1), np.repeat(own, 2))) + start
    learned = (kinds & (3 << 2)) == _MISSING_NAN
    nan_right = np.where(learned, (kinds & _DEFAULT_LEFT) == 0, threshold < 0)
    covers = [column("internal_count", np.float64)[:splits], column("leaf_count", np.float64)]
    cover = np.concatenate(covers)
    blank = np.zeros(len(leaves))
    return {
        "feature": np.concatenate((feature, blank)),
        "threshold": np.concatenate((_down(threshold), np.full(len(leaves), np.inf, np.float32))),
        "nan_right": np.concatenate((nan_right, blank)),
        "child": child,
        "value": np.concatenate((np.zeros(splits), leaves * scale)),
        "cover": cover if len(cover) == splits + len(leaves) else np.ones(splits + len(leaves)),
        "depths": np.array([_depth(inner, splits)]),
    }


def _down(threshold: Float64) -> Float32:
    """The largest float32 not above each threshold: v <= threshold holds for the same float32 values v."""
    near = threshold.astype(np.float32)
    return np.where(near.astype(np.float64) > threshold, np.nextafter(near, np.float32(-np.inf)), near)


def _depth(children: NDArray[np.int64], splits: int) -> int:
    """Steps from the root to the deepest leaf; splits are numbered after the split above them."""
    if splits == 0:
        return 0
    depth = np.zeros(splits, np.int64)
    for node in range(splits):
        for below in children[node]:
            if below < splits:
                depth[below] = depth[node] + 1
    return int(depth.max()) + 1


@njit(cache=True, nogil=True)
def walk(
    flat: Float32,
    width: int,
    holes: bool,
    trees: tuple[UInt32, Int32, NDArray[np.uint16], Float32, NDArray[np.uint8], UInt32],
    value: Float64,
    out: Float64,
) -> None:
    """Add to out (16 b,) what every tree says of b blocks of 16 rows, flat = (b, width, 16); holes: whether any value is NaN.

    The 16 rows of a block go down one tree in step, without a branch: they do not wait for each other's memory, and no
    branch is guessed wrong. Places are unsigned, or numba would ask of each whether it counts from the end. Sums are in the
    order of the trees.
    """
    roots, depths, feature, threshold, nan_right, child = trees
    node = np.empty(_BLOCK, np.uint32)
    for block in range(len(out) // _BLOCK):
        base = np.uint64(block * width * _BLOCK)
        for t in range(len(depths)):
            for j in range(_BLOCK):
                node[j] = roots[t]
            for _ in range(depths[t]):
                for j in range(_BLOCK):
                    at = np.uint64(node[j])
                    v = flat[base + np.uint64(feature[at]) * np.uint64(_BLOCK) + np.uint64(j)]
                    right = np.uint64(v > threshold[at])
                    if holes:
                        right |= np.uint64(v != v) & np.uint64(nan_right[at])
                    node[j] = child[np.uint64(2) * at + right]
            for j in range(_BLOCK):
                out[np.uint64(block * _BLOCK + j)] += value[np.uint64(node[j])]
