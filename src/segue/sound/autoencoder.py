"""Encoders whose network learns from the library: the convolutional autoencoder, its denoising variant, the contrastive one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from segue.core.errors import BadInput
from segue.core.types import Float32
from segue.sound.encoder import INPUT
from segue.sound.network import NetworkSpec, cut
from segue.sound.network_encoder import NetworkEncoder, Pooling
from segue.sound.onnx_graph import Graph
from segue.sound.spectrogram import BANDS
from segue.sound.statistics import PATCH
from segue.sound.torch_training import Schedule, Task, Trained, train

SONGS, PATCHES = 1_000, 10
"""At most so many songs, drawn evenly from the library, of at most so many patches are kept while it learns: 360 MB."""


class Autoencoder(NetworkEncoder):
    """Spectrogram -> convolutions -> bottleneck -> convolutions -> spectrogram; the bottleneck is the vector of a patch.

    The reference design. Trained in PyTorch, written out as ONNX, served without torch; a song is the mean over its patches.
    """

    name: ClassVar[str] = "autoencoder"
    task: ClassVar[Task] = "reconstruct"

    def __init__(
        self,
        pooling: Pooling | None = None,
        *,
        schedule: Schedule | None = None,
        threads: int = 1,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> None:
        super().__init__(pooling or Pooling(head="mean"), threads=threads, progress=progress)
        self.schedule = schedule or Schedule()

    def fit(self, library: Iterable[Float32], rng: np.random.Generator) -> Self:
        """Train on (frames, BANDS) a song, then learn the pooling: the library is read twice. NotReady without torch."""
        patches, songs = keep_patches(library, rng)
        mean, deviation = _standardize(patches)
        self.serve(write(train(patches, songs, self.task, self.schedule, rng, self.progress), mean, deviation), self._spec())
        return self.fit_pooling(library)

    def _spec(self) -> NetworkSpec:
        return NetworkSpec(self.name, ("bottleneck",), PATCH, source="trained on the library", input=dict(INPUT))

    def _given(self) -> dict[str, object]:
        return {"schedule": msgspec.to_builtins(self.schedule)}

    def _take(self, given: Mapping[str, object]) -> None:
        self.schedule = msgspec.convert(given["schedule"], Schedule)


class DenoisingAutoencoder(Autoencoder):
    """The autoencoder that must mend what was damaged: noise, and a stripe of time and of bands gone silent."""

    name: ClassVar[str] = "denoising"
    task: ClassVar[Task] = "denoise"


class Contrastive(Autoencoder):
    """The same convolutions without a way back: two patches of a song are pulled together, other songs pushed away."""

    name: ClassVar[str] = "contrastive"
    task: ClassVar[Task] = "contrast"


def keep_patches(library: Iterable[Float32], rng: np.random.Generator) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
    """(n, PATCH, BANDS) patches and the place of each one's song (n,), of songs drawn evenly (reservoir: Vitter 1985)."""
    kept: dict[int, NDArray[np.float16]] = {}
    slots: list[int] = []
    for place, spectrogram in enumerate(library):
        slot = place if place < SONGS else int(rng.integers(place + 1))
        if slot >= SONGS:
            continue
        patches = cut(spectrogram, PATCH)
        chosen = np.sort(rng.permutation(len(patches))[:PATCHES])
        if place >= SONGS:
            del kept[slots[slot]]
            slots[slot] = place
        else:
            slots.append(place)
        kept[place] = patches[chosen].astype(np.float16)
    if len(kept) < 2:
        raise BadInput(f"expected at least 2 songs to learn how songs sound, found {len(kept)}")
    order = sorted(kept)
    songs = np.repeat(np.array(order, np.int32), [len(kept[place]) for place in order])
    return np.concatenate([kept[place] for place in order]), songs


def write(trained: Trained, mean: Float32, deviation: Float32) -> bytes:
    """The encoder half as an ONNX file: log-mel patches, standardized by band, to the bottleneck."""
    graph = Graph("log_mel", PATCH, BANDS)
    x = graph.node("Div", graph.node("Sub", "log_mel", graph.constant(mean)), graph.constant(deviation))
    x = graph.node("Unsqueeze", x, graph.constant([1]))
    for layer in trained.layers:
        x = graph.conv(x, layer.weight, layer.bias, pads=[1, 1, 1, 1], strides=[2, 2])
        x = graph.node("Relu", graph.norm(x, layer.moments, 1e-5))
    x = graph.dense(graph.node("Flatten", x, axis=1), trained.dense, trained.bias)
    return graph.build({"bottleneck": (x, trained.dense.shape[1])}, {})


def _standardize(patches: NDArray[np.float16]) -> tuple[Float32, Float32]:
    """Each band to mean 0 and deviation 1, in place; what it was, (BANDS,) each."""
    mean = patches.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
    deviation = np.maximum(patches.std(axis=(0, 1), dtype=np.float64), 1e-3).astype(np.float32)
    for patch in patches:
        patch[:] = (patch - mean) / deviation
    return mean, deviation
