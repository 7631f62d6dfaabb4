"""Trains small convolutional networks on patches of spectrograms in PyTorch; the only file of sound that imports it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segue.core.errors import NotReady
from segue.core.types import Float32
from segue.sound.spectrogram import BANDS
from segue.sound.statistics import PATCH

CHANNELS = (16, 32, 64, 64)
"""Of the four layers of 3 x 3, each at half the size of the one before it."""
TALL, WIDE = 12, 6
"""What is left of 187 frames by 96 bands after four halvings, rounded up."""

Task = Literal["reconstruct", "denoise", "contrast"]


@dataclass(frozen=True)
class Schedule:
    """How long and how: steps of batches with Adam; deterministic on one machine for one number of threads."""

    bottleneck: int = 64
    steps: int = 400
    batch: int = 32
    learning_rate: float = 1e-3
    noise: float = 0.5
    """"denoise": standard deviation of the noise, in deviations of the band; a stripe of time and one of bands go too."""
    temperature: float = 0.2
    """"contrast": of NT-Xent."""


@dataclass(frozen=True)
class Layer:
    """A convolution and its batch norm as learned: weight (out, in, 3, 3), bias (out,), gamma, beta, mean, variance (out,)."""

    weight: Float32
    bias: Float32
    moments: dict[str, Float32]


@dataclass(frozen=True)
class Trained:
    """The encoder half: layers, then a dense layer (CHANNELS[-1] * TALL * WIDE, bottleneck), and the loss of every step."""

    layers: tuple[Layer, ...]
    dense: Float32
    bias: Float32
    losses: Float32


def train(
    patches: NDArray[np.float16],
    songs: NDArray[np.int32],
    task: Task,
    schedule: Schedule,
    rng: np.random.Generator,
    progress: Callable[[int, int | None], None] | None = None,
) -> Trained:
    """Learn from standardized patches (n, PATCH, BANDS) and the song that each is from (n,), sorted by song.

    "reconstruct": patch -> bottleneck -> patch, squared error; "denoise": the same from a damaged patch (Vincent et al. 2008);
    "contrast": two patches of one song are pulled together and those of the other songs of the batch pushed away
    (NT-Xent, Chen et al. 2020), with a projection that is thrown away after. Songs of one patch are paired with themselves.
    """
    torch = _driver()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        encoder = _encoder(torch, schedule.bottleneck)
        tail = _projection(torch, schedule.bottleneck) if task == "contrast" else _decoder(torch, schedule.bottleneck)
        encoder.train()
        weights = [*encoder.parameters(), *tail.parameters()]
        optimizer = torch.optim.Adam(weights, lr=schedule.learning_rate)
        losses = np.zeros(schedule.steps, np.float32)
        for step in range(schedule.steps):
            loss = _loss(torch, encoder, tail, task, schedule, _draw(patches, songs, task, schedule.batch, rng), rng)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[step] = float(loss.detach())
            if progress is not None:
                progress(step + 1, schedule.steps)
    return _learned(encoder, losses)


def _draw(patches: NDArray[np.float16], songs: NDArray[np.int32], task: Task, batch: int, rng: np.random.Generator) -> Float32:
    """(batch, PATCH, BANDS), or for "contrast" first and second patches of as many songs, (2 * batch, PATCH, BANDS)."""
    if task != "contrast":
        return np.asarray(patches[rng.integers(len(patches), size=batch)], np.float32)
    starts = np.flatnonzero(np.diff(songs, prepend=-1))
    counts = np.diff(np.append(starts, len(songs)))
    chosen = rng.permutation(len(starts))[: min(batch, len(starts))]
    first = rng.integers(counts[chosen])
    second = (first + 1 + rng.integers(np.maximum(1, counts[chosen] - 1))) % counts[chosen]
    return np.asarray(patches[np.concatenate([starts[chosen] + first, starts[chosen] + second])], np.float32)


def _loss(torch: Any, encoder: Any, tail: Any, task: Task, schedule: Schedule, given: Float32, rng: np.random.Generator) -> Any:
    wanted = torch.from_numpy(given[:, None])
    seen = torch.from_numpy(_damaged(given, schedule.noise, rng)[:, None]) if task == "denoise" else wanted
    inner = tail(encoder(seen))
    if task != "contrast":
        return ((inner[:, :, :PATCH] - wanted) ** 2).mean()
    inner = torch.nn.functional.normalize(inner, dim=1)
    similar = inner @ inner.T / schedule.temperature
    similar = similar - 1e9 * torch.eye(len(inner))
    half = len(inner) // 2
    return torch.nn.functional.cross_entropy(similar, (torch.arange(len(inner)) + half) % len(inner))


def _damaged(patches: Float32, noise: float, rng: np.random.Generator) -> Float32:
    out: Float32 = patches + np.float32(noise) * rng.standard_normal(patches.shape, np.float32)
    for patch, frame, band in zip(out, rng.integers(PATCH, size=len(out)), rng.integers(BANDS, size=len(out)), strict=True):
        patch[frame : frame + PATCH // 8] = 0
        patch[:, band : band + BANDS // 8] = 0
    return out


def _encoder(torch: Any, bottleneck: int) -> Any:
    layers: list[Any] = []
    for before, after in pairwise((1, *CHANNELS)):
        layers += [torch.nn.Conv2d(before, after, 3, stride=2, padding=1), torch.nn.BatchNorm2d(after), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(CHANNELS[-1] * TALL * WIDE, bottleneck))


def _decoder(torch: Any, bottleneck: int) -> Any:
    top = CHANNELS[-1]
    layers: list[Any] = [torch.nn.Linear(bottleneck, top * TALL * WIDE), torch.nn.Unflatten(1, (top, TALL, WIDE))]
    back = (*reversed(CHANNELS), 1)
    for before, after in pairwise(back):
        layers += [torch.nn.ReLU(), torch.nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
    return torch.nn.Sequential(*layers)


def _projection(torch: Any, bottleneck: int) -> Any:
    return torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(bottleneck, bottleneck))


def _learned(encoder: Any, losses: Float32) -> Trained:
    def plain(tensor: Any) -> Float32:
        return np.array(tensor.detach().cpu().numpy(), np.float32)

    modules = list(encoder)
    layers = []
    for conv, norm in zip(modules[0:-2:3], modules[1:-2:3], strict=True):
        parts = {"gamma": norm.weight, "beta": norm.bias, "mean": norm.running_mean, "variance": norm.running_var}
        layers.append(Layer(plain(conv.weight), plain(conv.bias), {key: plain(value) for key, value in parts.items()}))
    return Trained(tuple(layers), plain(modules[-1].weight).T.copy(), plain(modules[-1].bias), losses)


def _driver() -> Any:
    """The torch package, which comes with an extra."""
    try:
        import torch
    except ImportError:
        raise NotReady("training this encoder needs PyTorch: pip install 'segue[deep]'; serving it does not") from None
    return torch
