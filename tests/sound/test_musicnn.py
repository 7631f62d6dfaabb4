"""The conversion of the musicnn wheel, against TensorFlow's own answers, and against a second implementation in numpy."""

from __future__ import annotations

import os
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from segue.core.errors import BadInput, NotFound
from segue.sound import musicnn
from segue.sound.importing import read_network
from segue.sound.network import Network, NetworkSpec

ROOT = Path(__file__).parents[2]
WHEEL = Path(os.environ.get("SEGUE_MUSICNN", ROOT / ".cache" / "musicnn-0.1.0-py3-none-any.whl"))
MUSICNN = ("tags", "mean_pool", "max_pool", "penultimate")
EVERY = {"musicnn": (*MUSICNN, "deviation"), "vgg": ("tags", "mean", "deviation")}
Float64 = NDArray[np.float64]

needs_wheel = pytest.mark.skipif(
    not WHEEL.exists(), reason="no musicnn wheel: pip download --no-deps -d .cache musicnn==0.1.0, or set SEGUE_MUSICNN"
)


def patches() -> NDArray[np.float32]:
    """Silence, waves, a chirp and a chequered floor: in closed form, so that anyone can make them again."""
    t, f = np.arange(187)[:, None], np.arange(96)[None, :]
    waves = 1.5 + 1.2 * np.sin(0.11 * t + 0.23 * f) * np.cos(0.05 * t)
    chirp = np.clip(3.2 - 0.03 * f + np.sin(t * t * 0.001 + f * 0.5), 0, None)
    floor = ((t // 12 + f // 8) % 2) * 2.5 + 0.01 * f
    return np.stack([np.zeros((187, 96)), waves, chirp, floor]).astype(np.float32)


def run(model: bytes, name: str, given: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """What a network of the file says, output by output."""
    outputs = EVERY[name.rpartition("_")[2]]
    network = Network(
        model, NetworkSpec("musicnn", tuple(f"{name}.{output}" for output in outputs), groups=(1,) * len(outputs))
    )
    rows = network.embed(given)
    return {output: rows[:, own] for output, own in zip(outputs, network.networks, strict=True)}


@needs_wheel
def test_they_agree_with_the_originals_in_tensorflow() -> None:
    """musicnn_tensorflow.npz: what the wheel's models.py gave for these patches under TensorFlow 2.15.1 on a CPU."""
    model = musicnn.convert(*musicnn.read_wheel(WHEEL))
    compared = set()
    with np.load(Path(__file__).parent / "musicnn_tensorflow.npz") as original:
        for name in musicnn.NETWORKS:
            for output, ours in run(model, name, patches()).items():
                key = f"{name}.{output}"
                if key in original.files:  # a deviation of musicnn is ours only
                    theirs = original[key]
                    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * max(1, np.abs(theirs).max()))
                    compared.add(key)
        assert compared == set(original.files)


@needs_wheel
def test_the_checkpoints_are_read_whole_and_with_their_licence() -> None:
    checkpoints, licence = musicnn.read_wheel(WHEEL)
    sizes = {}
    for network, tensors in checkpoints.items():
        weights = {name: t for name, t in tensors.items() if "Adam" not in name and "power" not in name}
        sizes[network] = len(weights), sum(t.size for t in weights.values())
    assert sizes == {"MSD_musicnn": (64, 792_079), "MTT_musicnn": (64, 792_079), "MTT_vgg": (36, 607_030)}
    assert licence.startswith("Copyright (c) Music Technology Group, Universitat Pompeu Fabra 2019")


@needs_wheel
def test_what_each_network_says_is_pooled_by_itself() -> None:
    model, spec = read_network(WHEEL)
    network = Network(model, spec)
    assert [own.stop - own.start for own in network.networks] == [1_706, 1_706, 1_152]
    assert network.dimension == 4_564


@pytest.mark.parametrize("kind", EVERY)
def test_they_agree_with_layers_written_out_in_numpy(kind: str) -> None:
    tensors = MADE_UP[kind](np.random.default_rng(3))
    ours = run(musicnn.convert({f"X_{kind}": tensors}, "none"), f"X_{kind}", patches()[1:3])
    theirs = LAYERS[kind](tensors, patches()[1:3].astype(np.float64))
    assert ours.keys() == theirs.keys()
    for name, wanted in theirs.items():
        np.testing.assert_allclose(ours[name], wanted, rtol=0, atol=1e-5 * max(1, np.abs(wanted).max()), err_msg=name)


def test_another_file_is_refused_with_what_to_download(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="pip download"):
        musicnn.read_wheel(tmp_path / "none.whl")
    (tmp_path / "text.whl").write_text("no zip")
    with pytest.raises(BadInput, match="pip download"):
        musicnn.read_wheel(tmp_path / "text.whl")
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as other:
        other.writestr("other-1.dist-info/LICENSE", "free")
    with pytest.raises(BadInput, match="MSD_musicnn"):
        musicnn.read_wheel(tmp_path / "other.whl")
    lacking = {k: v for k, v in made_up(np.random.default_rng(0)).items() if k != "conv2d_6/bias"}
    with pytest.raises(BadInput, match="X_musicnn: it has no tensor 'conv2d_6/bias'"):
        musicnn.convert({"X_musicnn": lacking}, "none")


def made_up(rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """Random weights of the right shapes, with norms that turn some channels around."""
    kernels = [(7, 38, 1, 204), (7, 67, 1, 204), (128, 1, 1, 51), (64, 1, 1, 51), (32, 1, 1, 51)]
    kernels += [(7, 561, 1, 64), (7, 64, 1, 64), (7, 64, 1, 64)]
    tensors: dict[str, NDArray[np.float64]] = {}
    for layer, shape in enumerate(kernels):
        name = f"conv2d_{layer}" if layer else "conv2d"
        tensors[f"{name}/kernel"] = rng.normal(0, 1 / np.sqrt(np.prod(shape[:3])), shape)
        tensors[f"{name}/bias"] = rng.normal(0, 0.3, shape[3])
    for name, sizes in {"dense": (1506, 200), "dense_1": (200, 50)}.items():
        tensors[f"{name}/kernel"] = rng.normal(0, 1 / np.sqrt(sizes[0]), sizes)
        tensors[f"{name}/bias"] = rng.normal(0, 0.3, sizes[1])
    for layer, size in enumerate([1, 204, 204, 51, 51, 51, 64, 64, 64, 1506, 200]):
        name = f"batch_normalization_{layer}" if layer else "batch_normalization"
        tensors[f"{name}/gamma"] = rng.normal(0, 1, size)
        tensors[f"{name}/beta"], tensors[f"{name}/moving_mean"] = rng.normal(0, 0.5, (2, size))
        tensors[f"{name}/moving_variance"] = rng.uniform(0.2, 2, size)
    return {name: value.astype(np.float32) for name, value in tensors.items()}


def normed(tensors: dict[str, NDArray[np.float32]], x: Float64, layer: int) -> Float64:
    """tf.layers.batch_normalization as at inference."""
    name = f"batch_normalization_{layer}" if layer else "batch_normalization"
    gamma, beta, mean, variance = (
        tensors[f"{name}/{part}"].astype(np.float64) for part in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta


def layers(tensors: dict[str, NDArray[np.float32]], x: Float64) -> dict[str, Float64]:
    """musicnn/models.py of the wheel, layer by layer in float64, with the channels last as there."""
    norm = partial(normed, tensors)

    def conv(x: Float64, layer: int, before: int, after: int) -> Float64:
        """(n, time, band) -> (n, time, band', filters): ReLU of a valid convolution after zeros in time."""
        name = f"conv2d_{layer}" if layer else "conv2d"
        kernel = tensors[f"{name}/kernel"][:, :, 0].astype(np.float64)
        x = np.pad(x, ((0, 0), (before, after), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))  # type: ignore[call-overload]
        return np.maximum(0, np.tensordot(windows, kernel, axes=((3, 4), (0, 1))) + tensors[f"{name}/bias"])

    image = norm(x[..., None], 0)[..., 0]
    padding = [(3, 3), (3, 3), (63, 64), (31, 32), (15, 16)]
    front = np.concatenate([norm(conv(image, i, *pad), i + 1).max(axis=2) for i, pad in enumerate(padding)], axis=2)
    first = norm(conv(front, 5, 3, 3), 6)[:, :, 0]
    second = norm(conv(first, 6, 3, 3), 7)[:, :, 0] + first
    third = norm(conv(second, 7, 3, 3), 8)[:, :, 0] + second
    features = np.concatenate([front, first, second, third], axis=2)
    pools = np.stack([features.max(axis=1), features.mean(axis=1)], axis=2)
    flat = norm(pools.reshape(len(x), -1), 9)
    hidden = norm(np.maximum(0, flat @ tensors["dense/kernel"] + tensors["dense/bias"]), 10)
    logits = hidden @ tensors["dense_1/kernel"] + tensors["dense_1/bias"]
    pooled = {"mean_pool": pools[..., 1], "max_pool": pools[..., 0], "deviation": features.std(axis=1)}
    return {"tags": 1 / (1 + np.exp(-logits)), "penultimate": hidden, **pooled}


def made_up_vgg(rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """Random weights of the right shapes, with few channels."""
    channels = 6
    tensors: dict[str, NDArray[np.float64]] = {}
    for layer in range(5):
        before = channels if layer else 1
        tensors[f"{layer + 1}CNN/kernel"] = rng.normal(0, 1 / np.sqrt(9 * before), (3, 3, before, channels))
        tensors[f"{layer + 1}CNN/bias"] = rng.normal(0, 0.3, channels)
    tensors["dense/kernel"] = rng.normal(0, 1 / np.sqrt(2 * channels), (2 * channels, 50))
    tensors["dense/bias"] = rng.normal(0, 0.3, 50)
    for layer in range(6):
        name, size = (f"batch_normalization_{layer}", channels) if layer else ("batch_normalization", 1)
        tensors[f"{name}/gamma"] = rng.normal(0, 1, size)
        tensors[f"{name}/beta"], tensors[f"{name}/moving_mean"] = rng.normal(0, 0.5, (2, size))
        tensors[f"{name}/moving_variance"] = rng.uniform(0.2, 2, size)
    return {name: value.astype(np.float32) for name, value in tensors.items()}


def layers_of_vgg(tensors: dict[str, NDArray[np.float32]], x: Float64) -> dict[str, Float64]:
    """The VGG of musicnn/models.py, layer by layer in float64, with the channels last as there."""
    norm = partial(normed, tensors)
    x, means, deviations = norm(x[..., None], 0), [], []
    for layer, (window, step) in enumerate([((4, 1), 2), *[((2, 2), 2)] * 3, ((4, 4), 4)]):
        kernel, bias = (tensors[f"{layer + 1}CNN/{part}"].astype(np.float64) for part in ("kernel", "bias"))
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), axis=(1, 2))  # type: ignore[call-overload]
        x = norm(np.maximum(0, np.tensordot(windows, kernel, axes=((3, 4, 5), (2, 0, 1))) + bias), layer + 1)
        x = np.lib.stride_tricks.sliding_window_view(x, window, axis=(1, 2))[:, ::step, ::step].max(axis=(4, 5))  # type: ignore[call-overload]
        means.append(x.mean(axis=(1, 2)))
        deviations.append(x.std(axis=(1, 2)))
    logits = x.reshape(len(x), -1) @ tensors["dense/kernel"] + tensors["dense/bias"]
    tags = 1 / (1 + np.exp(-logits))
    return {"tags": tags, "mean": np.concatenate(means, axis=1), "deviation": np.concatenate(deviations[:-1], axis=1)}


MADE_UP = {"musicnn": made_up, "vgg": made_up_vgg}
LAYERS = {"musicnn": layers, "vgg": layers_of_vgg}
