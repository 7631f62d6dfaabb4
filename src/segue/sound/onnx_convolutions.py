"""Convolutions that cost half: the same numbers to rounding, by fewer multiplications than the operator of ONNX takes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from segue.core.types import Float32
from segue.sound.onnx_graph import Graph

Float64 = NDArray[np.float64]

AT_ONCE = 51
"""Filters of a product: what lies between two products then stays in a core's cache."""
TILE = 4
"""Height and width of what one tile of Winograd's algorithm answers."""
_INTO = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float64,
)
_KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_BACK = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float64)
"""B, G and A of F(4, 3), transposed as in Lavin and Gray (2016), section 4.3."""


class Bands:
    """(patches, frames, bands), ready to be compared with filters at every frame and at every place along the bands."""

    def __init__(self, graph: Graph, image: str, frames: int, bands: int, taps: int) -> None:
        """`taps`: the frames of a filter, odd; before and after the patch there is nothing."""
        self.graph, self.frames, self.bands, self.taps = graph, frames, bands, taps
        self.bins = bands // 2 + 1
        turn = _angles(np.arange(bands), bands)
        spectrum = graph.node("MatMul", image, graph.constant(np.hstack((np.cos(turn), -np.sin(turn)))))
        around = taps // 2
        spectrum = graph.node("Pad", spectrum, graph.constant([0, around, 0, 0, around, 0]))
        shifted = [
            graph.node("Slice", spectrum, *(graph.constant([n]) for n in (start, start + frames, 1))) for start in range(taps)
        ]
        windows = graph.node(
            "Concat", *(graph.node("Unsqueeze", each, graph.constant([0])) for each in shifted), axis=0
        )  # taps, patches, frames, 2 bins
        windows = graph.node("Reshape", windows, graph.constant([taps, -1, frames, 2, self.bins]))
        windows = graph.node("Transpose", windows, perm=[4, 1, 2, 3, 0])
        self._windows = graph.node("Reshape", windows, graph.constant([self.bins, -1, 2 * taps]))

    def strongest(self, weight: Float32) -> str:
        """(patches, filters, frames): the largest cross-correlation with (filters, taps, bands') at any place along the bands.

        By the convolution theorem: the spectra of what is heard and of a filter are multiplied, frame by frame of the filter,
        and added up before one transform back. Places are counted from the middle, so that those to the left and to the right
        of it share their cosines and differ in the sign of their sines: the larger of two is e + |o|, for half a transform.
        """
        graph = self.graph
        strongest = [self._strongest(part.astype(np.float64)) for part in _parts(weight)]
        return graph.node("Transpose", graph.node("Concat", *strongest, axis=2), perm=[0, 2, 1])

    def _strongest(self, weight: Float64) -> str:
        """(patches, frames, filters)."""
        graph, filters, length = self.graph, len(weight), weight.shape[2]
        places = self.bands - length + 1
        turn = _angles(np.arange(length) + (places - 1) / 2, self.bands)
        real = np.einsum("ftk,kb->btf", weight, np.cos(turn))
        imaginary = np.einsum("ftk,kb->btf", weight, -np.sin(turn))
        right = _angles(np.arange((places - 1) % 2 / 2, places / 2), self.bands)
        bins = np.arange(self.bins)
        scale = np.where((bins == 0) | (2 * bins == self.bands), 1, 2) / self.bands
        sides = []
        for halves, waves in (((real, imaginary), np.cos(right) * scale), ((-imaginary, real), -np.sin(right) * scale)):
            product = graph.node("MatMul", self._windows, graph.constant(np.concatenate(halves, axis=1)))
            product = graph.node("Reshape", product, graph.constant([self.bins, -1]))
            sides.append(graph.node("MatMul", graph.constant(waves), product))
        both = graph.node("Add", sides[0], graph.node("Abs", sides[1]))
        best = graph.node("Max", *graph.split(both, len(right)))
        return graph.node("Reshape", best, graph.constant([-1, self.frames, filters]))


def convolve(graph: Graph, x: str, size: tuple[int, int], weight: Float32, bias: Float32) -> str:
    """(n, out, *size) of x (n, in, *size): convolution with (out, in, 3, 3), zeros around.

    Winograd's minimal filtering F(4 x 4, 3 x 3) (Lavin and Gray 2016): 36 multiplications for 16 answers, not 144.
    """
    (height, width), (filters, channels) = size, weight.shape[:2]
    tiles = -(-height // TILE), -(-width // TILE)
    full = tiles[0] * TILE, tiles[1] * TILE
    into = np.einsum("ia,jb->ijab", _INTO, _INTO).reshape(36, 1, 6, 6)
    kernel = np.einsum("ia,ocab,jb->ijoc", _KERNEL, weight.astype(np.float64), _KERNEL).reshape(36, filters, channels)
    back = np.einsum("ia,jb->ijab", _BACK, _BACK).reshape(TILE**2, 36)

    flat = graph.node("Reshape", x, graph.constant([-1, 1, height, width]))
    pads = [1, 1, full[0] - height + 1, full[1] - width + 1]
    cut = graph.conv(flat, into, np.zeros(36), pads=pads, strides=[TILE, TILE])
    cut = graph.node("Reshape", cut, graph.constant([-1, channels, 36, tiles[0] * tiles[1]]))
    cut = graph.node("Transpose", cut, perm=[2, 1, 0, 3])
    cut = graph.node("Reshape", cut, graph.constant([36, channels, -1]))
    product = graph.node("MatMul", graph.constant(kernel), cut)
    product = graph.node("Reshape", product, graph.constant([36, -1]))
    out = graph.node("MatMul", graph.constant(back), product)
    out = graph.node("Reshape", out, graph.constant([TILE, TILE, filters, -1, *tiles]))
    out = graph.node("Transpose", out, perm=[3, 2, 4, 0, 5, 1])
    out = graph.node("Reshape", out, graph.constant([-1, filters, *full]))
    if full != size:
        out = graph.node("Slice", out, graph.constant([0, 0]), graph.constant(size), graph.constant([2, 3]))
    return graph.node("Add", out, graph.constant(bias[:, None, None]))


def _angles(places: NDArray[np.floating] | NDArray[np.integer], around: int) -> Float64:
    """(places, around // 2 + 1): the angle of every frequency at every place of a circle."""
    return np.asarray(2 * np.pi / around * np.outer(places, np.arange(around // 2 + 1)))


def _parts(weight: Float32) -> Iterator[Float32]:
    return (weight[start : start + AT_ONCE] for start in range(0, len(weight), AT_ONCE))
