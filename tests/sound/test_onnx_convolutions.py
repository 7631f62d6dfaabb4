"""The cheap convolutions give what the definition gives, whatever the sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segue.core.types import Float32
from segue.sound.onnx_convolutions import Bands, convolve
from segue.sound.onnx_graph import Graph

ort = pytest.importorskip("onnxruntime", reason="the extra audio is not installed")


def answer(graph: Graph, out: str, size: int, x: Float32) -> Float32:
    session = ort.InferenceSession(graph.build({"out": (out, size)}, {}), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["out"], {"x": x})[0])


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 9), st.integers(2, 24), st.data(), st.sampled_from([1, 3, 7]), st.sampled_from([1, 5, 60])
)
def test_the_strongest_place_is_that_of_every_correlation(
    patches: int, frames: int, bands: int, data: st.DataObject, taps: int, filters: int
) -> None:
    length = data.draw(st.integers(1, bands))
    rng = np.random.default_rng(patches + 7 * frames + 100 * bands)
    x = rng.normal(size=(patches, frames, bands)).astype(np.float32)
    weight = rng.normal(size=(filters, taps, length)).astype(np.float32)
    graph = Graph("x", frames, bands)
    strongest = Bands(graph, "x", frames, bands, taps).strongest(weight)
    ours = answer(graph, graph.node("Flatten", strongest, axis=1), filters * frames, x)
    padded = np.pad(x.astype(np.float64), ((0, 0), (taps // 2, taps // 2), (0, 0)))
    windows: NDArray[np.float64] = np.lib.stride_tricks.sliding_window_view(padded, (taps, length), axis=(1, 2))  # type: ignore[call-overload]
    every = np.tensordot(windows, weight.astype(np.float64), axes=((3, 4), (1, 2)))  # patches, frames, places, filters
    wanted = every.max(axis=2).transpose(0, 2, 1).reshape(patches, -1)
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=2e-5 * max(1, np.abs(wanted).max()))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(1, 11), st.integers(1, 11), st.integers(1, 5), st.integers(1, 5))
def test_tiles_give_the_convolution_with_zeros_around(n: int, height: int, width: int, channels: int, filters: int) -> None:
    rng = np.random.default_rng(n + 10 * height + 1_000 * width)
    x = rng.normal(size=(n, channels, height, width)).astype(np.float32)
    weight = rng.normal(size=(filters, channels, 3, 3)).astype(np.float32)
    bias = rng.normal(size=filters).astype(np.float32)
    graph = Graph("x", channels, height, width)
    out = convolve(graph, "x", (height, width), weight, bias)
    ours = answer(graph, graph.node("Flatten", out, axis=1), filters * height * width, x)
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows: NDArray[np.float64] = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))  # type: ignore[call-overload]
    wanted = np.einsum("nchwij,ocij->nohw", windows, weight.astype(np.float64)) + bias[:, None, None]
    np.testing.assert_allclose(ours, wanted.reshape(n, -1), rtol=0, atol=5e-5 * max(1, np.abs(wanted).max()))
