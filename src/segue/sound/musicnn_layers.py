"""The layers of musicnn and of its VGG as `musicnn/models.py` of the wheel defines them, as nodes of an ONNX graph.

musicnn: convolutions that look at timbre (7 frames by 38 or 67 bands) and at time (32, 64 and 128 frames), three dense layers
of 64 with residuals, and pooling over 3 s. VGG: five convolutions of 3 x 3 with pooling between.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from segue.core.types import Float32
from segue.sound.onnx_convolutions import Bands, convolve
from segue.sound.onnx_graph import Graph

FRAMES, BANDS = 187, 96
INPUT = "log_mel"
EPSILON = 1e-3  # of tf.layers.batch_normalization
TIMBRE, RHYTHM = (0, 1), (2, 3, 4)
"""Which convolutions of the front end see timbre (all bands at once) and which see time; conv2d_N and its batch norm N + 1."""
LANES = 16
"""Filters come in multiples of this, with empty ones, so that onnxruntime need not lay them out anew before it pools."""
POOLED, DENSE, TAGGED = 753, 200, 50
POOLS = (((4, 1), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((4, 4), (4, 4)))
"""Of the VGG, after each convolution: height and width of what is pooled (frames, bands), and the steps."""
BY_TILES = (1, 2)
"""The convolutions of the VGG that Winograd's algorithm makes cheaper: the large ones with many channels."""

Tensors = Mapping[str, NDArray[np.generic]]
Outputs = dict[str, tuple[str, int]]


def musicnn(graph: Graph, tensors: Tensors) -> Outputs:
    """mean_pool, max_pool, deviation (753), penultimate (200), tags (50)."""
    return _back(graph, tensors, _middle(graph, tensors, _front(graph, tensors)))


def vgg(graph: Graph, tensors: Tensors) -> Outputs:
    """mean (640) of every layer as it is pooled, deviation (512) of all but the last, tags (50), all of frames and bands."""
    x = graph.norm(graph.node("Unsqueeze", INPUT, graph.constant([1])), _moments(tensors, 0), EPSILON)
    size, means, deviations = (FRAMES, BANDS), [], []
    for layer, (window, steps) in enumerate(POOLS):
        weight, bias = _conv(tensors, f"{layer + 1}CNN")
        heard = convolve(graph, x, size, weight, bias) if layer in BY_TILES else graph.conv(x, weight, bias, pads=[1, 1, 1, 1])
        heard = graph.norm(graph.node("Relu", heard), _moments(tensors, layer + 1), EPSILON)
        x = graph.node("MaxPool", heard, kernel_shape=list(window), strides=list(steps))
        size = (size[0] - window[0]) // steps[0] + 1, (size[1] - window[1]) // steps[1] + 1
        mean, deviation = _moments_over(graph, x, [2, 3])
        means.append(mean)
        deviations.append(deviation)
    last = graph.node("Flatten", graph.node("Transpose", x, perm=[0, 2, 3, 1]), axis=1)
    tags = graph.node("Sigmoid", graph.dense(last, *_dense(tensors, "dense")))
    channels = len(bias)
    return {
        "mean": (graph.node("Concat", *means, axis=1), channels * len(means)),
        "deviation": (graph.node("Concat", *deviations[:-1], axis=1), channels * (len(means) - 1)),
        "tags": (tags, TAGGED),
    }


BUILD = {"musicnn": musicnn, "vgg": vgg}
"""By the kind of a network: adds its layers to a graph and says what comes out. KeyError for a tensor that is not there."""


def _front(graph: Graph, tensors: Tensors) -> str:
    """(patches, 561, 187): the strongest band of every filter at every frame.

    The original takes the maximum over bands after ReLU and batch norm, both monotone in a channel; taken before them it is the
    same number at a fraction of the work, if channels that the norm turns around (gamma < 0) are convolved with the other sign.
    """
    image = graph.node("Unsqueeze", INPUT, graph.constant([1]))
    image = graph.norm(image, _moments(tensors, 0), EPSILON)
    bands = Bands(graph, graph.node("Squeeze", image, graph.constant([1])), FRAMES, BANDS, 7)
    parts = []
    for layer in TIMBRE + RHYTHM:
        weight, bias = _conv(tensors, _numbered("conv2d", layer))
        moments = _moments(tensors, layer + 1)
        sign = np.where(moments["gamma"] < 0, -1, 1).astype(np.float32)
        turned = weight * sign[:, None, None, None]
        if layer in TIMBRE:
            loudest = bands.strongest(turned[:, 0])
            loudest = graph.node("Add", loudest, graph.constant((bias * sign)[:, None]))
        else:
            loudest = _loudest(graph, image, turned, bias * sign)
        best = graph.node("Mul", loudest, graph.constant(sign[:, None]))
        parts.append(graph.norm(graph.node("Relu", best), moments, EPSILON))
    return graph.node("Concat", *parts, axis=1)


def _loudest(graph: Graph, image: str, weight: Float32, bias: Float32) -> str:
    """(patches, filters, 187): the strongest band of filters that look along time."""
    filters, frames = len(weight), weight.shape[2]
    early = (frames - 1) // 2  # TensorFlow pads an even kernel with one more frame after than before
    empty = -filters % LANES
    weight, bias = np.pad(weight, ((0, empty), (0, 0), (0, 0), (0, 0))), np.pad(bias, (0, empty))
    heard = graph.conv(image, weight, bias, pads=[early, 0, frames - 1 - early, 0])
    loudest = graph.node("Squeeze", graph.node("MaxPool", heard, kernel_shape=[1, BANDS]), graph.constant([3]))
    return graph.node("Slice", loudest, *(graph.constant([n]) for n in (0, filters, 1)))


def _middle(graph: Graph, tensors: Tensors, front: str) -> str:
    """(patches, 753, 187): the front end and three layers of 64, the later two with residuals, side by side."""
    layers = [front]
    for layer in (5, 6, 7):
        weight, bias = _conv(tensors, _numbered("conv2d", layer))  # (64, 1, 7, channels): the channels are laid out as bands
        across = np.ascontiguousarray(weight[:, 0].transpose(0, 2, 1))
        heard = graph.node("Relu", graph.conv(layers[-1], across, bias, pads=[3, 3]))
        heard = graph.norm(heard, _moments(tensors, layer + 1), EPSILON)
        layers.append(heard if layer == 5 else graph.node("Add", heard, layers[-1]))
    return graph.node("Concat", *layers, axis=1)


def _back(graph: Graph, tensors: Tensors, features: str) -> Outputs:
    """Pooling over time, a dense layer, the tags; and the standard deviation over time, which the original does not have."""
    strongest = graph.node("ReduceMax", features, axes=[2], keepdims=0)
    mean, deviation = _moments_over(graph, features, [2])
    pooled = graph.node("Concat", strongest, mean, axis=1)
    order = np.arange(2 * POOLED).reshape(POOLED, 2).T.ravel()  # the original keeps maximum and mean of a channel together
    pooled = graph.norm(pooled, {key: value[order] for key, value in _moments(tensors, 9).items()}, EPSILON)
    weight, bias = _dense(tensors, "dense")
    hidden = graph.node("Relu", graph.dense(pooled, weight[order], bias))
    hidden = graph.norm(hidden, _moments(tensors, 10), EPSILON)
    tags = graph.node("Sigmoid", graph.dense(hidden, *_dense(tensors, "dense_1")))
    return {
        "mean_pool": (mean, POOLED),
        "max_pool": (strongest, POOLED),
        "penultimate": (hidden, DENSE),
        "tags": (tags, TAGGED),
        "deviation": (deviation, POOLED),
    }


def _moments_over(graph: Graph, x: str, axes: list[int]) -> tuple[str, str]:
    """Mean and standard deviation over some axes, which are gone then."""
    moving = graph.node("Sub", x, graph.node("ReduceMean", x, axes=axes, keepdims=1))
    variance = graph.node("ReduceMean", graph.node("Mul", moving, moving), axes=axes, keepdims=0)
    return graph.node("ReduceMean", x, axes=axes, keepdims=0), graph.node("Sqrt", variance)


def _conv(tensors: Tensors, name: str) -> tuple[Float32, Float32]:
    """Weights as (out, in, time, band) and bias; TensorFlow has (time, band, in, out)."""
    return _float(tensors, f"{name}/kernel").transpose(3, 2, 0, 1), _float(tensors, f"{name}/bias")


def _dense(tensors: Tensors, name: str) -> tuple[Float32, Float32]:
    return _float(tensors, f"{name}/kernel"), _float(tensors, f"{name}/bias")


def _moments(tensors: Tensors, layer: int) -> dict[str, Float32]:
    name = _numbered("batch_normalization", layer)
    parts = {"gamma": "gamma", "beta": "beta", "mean": "moving_mean", "variance": "moving_variance"}
    return {key: _float(tensors, f"{name}/{part}") for key, part in parts.items()}


def _numbered(name: str, layer: int) -> str:
    return f"{name}_{layer}" if layer else name


def _float(tensors: Tensors, name: str) -> Float32:
    return np.asarray(tensors[name], np.float32)
