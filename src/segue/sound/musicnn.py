"""musicnn, pretrained on the Million Song Dataset, from the checkpoint in its wheel to an ONNX file, without TensorFlow.

The network is that of Pons and Serra 2019, "musicnn: pre-trained convolutional neural networks for music audio tagging"
(ISMIR late breaking), as `musicnn/models.py` of the wheel defines it: convolutions that look at timbre (7 frames by 38 or 67
bands) and at time (32, 64 and 128 frames), three dense layers of 64 with residuals, and pooling over 3 s.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segue.core.errors import BadInput, NotFound
from segue.core.types import Float32
from segue.sound.network import NetworkSpec
from segue.sound.onnx_graph import Graph
from segue.sound.tensor_bundle import read_bundle

CHECKPOINT = "musicnn/MSD_musicnn/"
DOWNLOAD = "pip download --no-deps musicnn==0.1.0"
FRAMES, BANDS = 187, 96
EPSILON = 1e-3  # of tf.layers.batch_normalization
TIMBRE, RHYTHM = (0, 1), (2, 3, 4)
"""Which convolutions of the front end see timbre (all bands at once) and which see time; conv2d_N and its batch norm N + 1."""
INPUT = "log_mel"
INPUT_SPEC: dict[str, object] = {"rate": 16_000, "window": 512, "hop": 256, "bands": BANDS, "compression": 1e4}
POOLED, DENSE, TAGGED = 753, 200, 50
TAGS = (
    "rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s", "alternative rock", "jazz",
    "beautiful", "metal", "chillout", "male vocalists", "classic rock", "soul", "indie rock", "Mellow", "electronica", "80s",
    "folk", "90s", "chill", "instrumental", "punk", "oldies", "blues", "hard rock", "ambient", "acoustic", "experimental",
    "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country", "easy listening", "sexy", "catchy", "funk", "electro",
    "heavy metal", "Progressive rock", "60s", "rnb", "indie pop", "sad", "House", "happy",
)  # fmt: skip

Tensors = Mapping[str, NDArray[np.generic]]


def read_wheel(path: Path) -> tuple[dict[str, NDArray[np.generic]], str]:
    """(tensors of the checkpoint, text of the licence) of the musicnn wheel; BadInput when it is not that wheel."""
    try:
        with zipfile.ZipFile(path) as wheel:
            licences = [name for name in wheel.namelist() if ".dist-info/LICENSE" in name]
            licence = wheel.read(licences[0]).decode("utf-8")
            index, data = (wheel.read(CHECKPOINT + name) for name in (".index", ".data-00000-of-00001"))
    except FileNotFoundError:
        raise NotFound(f"no file {path}; get the musicnn wheel by `{DOWNLOAD}`") from None
    except (zipfile.BadZipFile, KeyError, IndexError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{path}: expected the musicnn wheel with {CHECKPOINT} in it ({error}); get it by `{DOWNLOAD}`",
            "path",
        ) from None
    return read_bundle(index, data), licence


def convert(tensors: Tensors, licence: str) -> bytes:
    """The ONNX file: log_mel (patches, 187, 96) to mean_pool, max_pool, deviation (753), penultimate (200), tags (50)."""
    graph = Graph(INPUT, FRAMES, BANDS)
    try:
        front = _front(graph, tensors)
        features = _middle(graph, tensors, front)
        outputs = _back(graph, tensors, features)
    except KeyError as error:
        raise BadInput(f"the checkpoint is not that of MSD_musicnn: it has no tensor {error}", "checkpoint") from None
    return graph.build(outputs, {"licence": licence, "tags": ",".join(TAGS), "source": "musicnn 0.1.0, MSD_musicnn"})


def spec(licence: str) -> NetworkSpec:
    """What Segue takes of it: mean and deviation over time of every layer, and the penultimate layer; 1,706 numbers a patch."""
    outputs = ("mean_pool", "penultimate", "deviation")
    return NetworkSpec("musicnn", outputs, FRAMES, licence, "musicnn 0.1.0, MSD_musicnn: Pons and Serra 2019", INPUT_SPEC)


def _front(graph: Graph, tensors: Tensors) -> str:
    """(patches, 561, 187): the strongest band of every filter at every frame.

    The original takes the maximum over bands after ReLU and batch norm, both monotone in a channel; taken before them it is the
    same number at a fraction of the work, if channels that the norm turns around (gamma < 0) are convolved with the other sign.
    """
    image = graph.node("Unsqueeze", INPUT, graph.constant([1]))
    image = graph.norm(image, _moments(tensors, 0), EPSILON)
    parts = []
    for layer in TIMBRE + RHYTHM:
        weight, bias = _conv(tensors, layer)
        early = (weight.shape[2] - 1) // 2  # TensorFlow pads an even kernel with one more frame after than before
        late = weight.shape[2] - 1 - early
        moments = _moments(tensors, layer + 1)
        sign = np.where(moments["gamma"] < 0, -1, 1).astype(np.float32)[:, None]
        heard = graph.conv(image, weight * sign[..., None, None], bias * sign[:, 0], pads=[early, 0, late, 0])
        loudest = graph.node("MaxPool", heard, kernel_shape=[1, BANDS - weight.shape[3] + 1])
        best = graph.node("Mul", graph.node("Squeeze", loudest, graph.constant([3])), graph.constant(sign))
        parts.append(graph.norm(graph.node("Relu", best), moments, EPSILON))
    return graph.node("Concat", *parts, axis=1)


def _middle(graph: Graph, tensors: Tensors, front: str) -> str:
    """(patches, 753, 187): the front end and three layers of 64, the later two with residuals, side by side."""
    layers = [front]
    for layer in (5, 6, 7):
        weight, bias = _conv(tensors, layer)  # (64, 1, 7, channels): one dimension, its channels laid out as bands
        across = np.ascontiguousarray(weight[:, 0].transpose(0, 2, 1))
        heard = graph.node("Relu", graph.conv(layers[-1], across, bias, pads=[3, 3]))
        heard = graph.norm(heard, _moments(tensors, layer + 1), EPSILON)
        layers.append(heard if layer == 5 else graph.node("Add", heard, layers[-1]))
    return graph.node("Concat", *layers, axis=1)


def _back(graph: Graph, tensors: Tensors, features: str) -> dict[str, tuple[str, int]]:
    """Pooling over time, a dense layer, the tags; and the standard deviation over time, which the original does not have."""
    strongest = graph.node("ReduceMax", features, axes=[2], keepdims=0)
    mean = graph.node("ReduceMean", features, axes=[2], keepdims=0)
    pooled = graph.node("Concat", strongest, mean, axis=1)
    order = np.arange(2 * POOLED).reshape(POOLED, 2).T.ravel()  # the original keeps maximum and mean of a channel together
    pooled = graph.norm(pooled, {key: value[order] for key, value in _moments(tensors, 9).items()}, EPSILON)
    weight, bias = _dense(tensors, "dense")
    hidden = graph.node("Relu", graph.dense(pooled, weight[order], bias))
    hidden = graph.norm(hidden, _moments(tensors, 10), EPSILON)
    moving = graph.node("Sub", features, graph.node("ReduceMean", features, axes=[2], keepdims=1))
    variance = graph.node("ReduceMean", graph.node("Mul", moving, moving), axes=[2], keepdims=0)
    tags = graph.node("Sigmoid", graph.dense(hidden, *_dense(tensors, "dense_1")))
    return {
        "mean_pool": (mean, POOLED),
        "max_pool": (strongest, POOLED),
        "penultimate": (hidden, DENSE),
        "tags": (tags, TAGGED),
        "deviation": (graph.node("Sqrt", variance), POOLED),
    }


def _conv(tensors: Tensors, layer: int) -> tuple[Float32, Float32]:
    """Weights as (out, in, time, band) and bias; TensorFlow has (time, band, in, out)."""
    name = f"conv2d_{layer}" if layer else "conv2d"
    return _float(tensors, f"{name}/kernel").transpose(3, 2, 0, 1), _float(tensors, f"{name}/bias")


def _dense(tensors: Tensors, name: str) -> tuple[Float32, Float32]:
    return _float(tensors, f"{name}/kernel"), _float(tensors, f"{name}/bias")


def _moments(tensors: Tensors, layer: int) -> dict[str, Float32]:
    name = f"batch_normalization_{layer}" if layer else "batch_normalization"
    parts = {"gamma": "gamma", "beta": "beta", "mean": "moving_mean", "variance": "moving_variance"}
    return {key: _float(tensors, f"{name}/{part}") for key, part in parts.items()}


def _float(tensors: Tensors, name: str) -> Float32:
    return np.asarray(tensors[name], np.float32)
