"""Encoders around a neural network: it turns patches into rows; what sets recordings apart in those rows is learned here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from segue.core.errors import BadInput, NotReady
from segue.core.types import Arrays, Float32
from segue.sound.encoder import Needs, describe, unit
from segue.sound.lda import ClipLda
from segue.sound.network import Network, NetworkSpec, cut
from segue.sound.scatter import Scatter

Head = Literal["lda", "mean"]


@dataclass(frozen=True)
class Pooling:
    """How the rows of the patches of a song become its vector.

    "lda" learns the directions in which patches of a recording agree and recordings differ, as the default encoder does on its
    statistics: ClipLda(size, shrinkage, emphasis), for each network of the file by itself; what they give is set side by side
    in equal weights. "mean" centres and scales the rows by those of the library. `songs` bounds how many songs of the library
    are read for it, from the start, and `patches` how many patches of each, evenly spread (0: all): more of a song hardly
    tell more of what sets it apart, and cost the network's time.
    """

    head: Head = "lda"
    size: int = 128
    shrinkage: float = 0.3
    emphasis: float = 0.0
    songs: int = 5_000
    patches: int = 16


class NetworkEncoder:
    """What encoders with a network share: rows of the network a patch, pooled over the song, at unit length."""

    name: ClassVar[str]
    needs: ClassVar[Needs] = "spectrogram"

    def __init__(
        self, pooling: Pooling | None = None, *, threads: int = 1, progress: Callable[[int, int | None], None] | None = None
    ) -> None:
        """`threads` of onnxruntime a call; `progress(done, total)` is called while it learns, total None where unknown."""
        self.pooling = pooling or Pooling()
        self.threads = threads
        self.progress = progress
        self.network_: Network | None = None
        self.model_: bytes = b""
        self.ldas_: tuple[ClipLda, ...] = ()
        self.centre_: Float32 | None = None
        self.scale_: Float32 | None = None

    @property
    def dimension(self) -> int:
        """Length of the vectors: the sizes of the discriminants, or of the network's rows."""
        network = self._network()
        if self.pooling.head == "mean":
            return network.dimension
        return sum(min(self.pooling.size, own.stop - own.start) for own in network.networks)

    def encode(self, spectrogram: Float32) -> Float32:
        """(dimension,) float32 of unit length for (frames, BANDS)."""
        return self.encode_rows(self.rows(spectrogram))

    def rows(self, spectrogram: Float32, most: int = 0) -> Float32:
        """(patches, size of the network's rows): what the network says of each patch, or of so many at most, evenly spread."""
        network = self._network()
        patches = cut(spectrogram, network.spec.frames)
        if 0 < most < len(patches):
            patches = patches[np.linspace(0, len(patches) - 1, most).round().astype(int)]
        return network.embed(patches)

    def rows_by_network(self, spectrogram: Float32) -> list[Float32]:
        """The same, taken apart by the networks of the file."""
        rows = self.rows(spectrogram)
        return [rows[:, own] for own in self._network().networks]

    def encode_rows(self, rows: Float32) -> Float32:
        """(dimension,) float32 of unit length for the rows of a song's patches."""
        if self.ldas_:
            parts = [lda.encode_rows(rows[:, own]) for lda, own in zip(self.ldas_, self._network().networks, strict=True)]
            return np.asarray(np.concatenate(parts) / np.sqrt(len(parts)), np.float32)
        if self.centre_ is None or self.scale_ is None:
            raise NotReady("the encoder has not learned from a library yet")
        return unit((rows.mean(axis=0) - self.centre_) * self.scale_)

    def fit_pooling(self, library: Iterable[Float32]) -> Self:
        """Learn the pooling from spectrograms, with the network as it is. BadInput for a library too small to learn from."""
        networks = self._network().networks if self.pooling.head == "lda" else (slice(None),)
        scatters = [Scatter() for _ in networks]
        for done, spectrogram in enumerate(library):
            if done == self.pooling.songs:
                break
            rows = self.rows(spectrogram, self.pooling.patches)
            for scatter, own in zip(scatters, networks, strict=True):
                scatter.add(rows[:, own])
            if self.progress is not None:
                self.progress(done + 1, None)
        self.ldas_, self.centre_, self.scale_ = (), None, None
        if self.pooling.head == "lda":
            self.ldas_ = tuple(self._discriminant().fit_scatter(scatter) for scatter in scatters)
        else:
            self._standardize(scatters[0])
        return self

    def _standardize(self, scatter: Scatter) -> None:
        if scatter.songs < 2:
            raise BadInput(f"expected at least 2 songs to learn how songs sound, found {scatter.songs}")
        mean, within, between = scatter.moments()
        deviation = np.sqrt(np.maximum(np.diag(within) + np.diag(between), 0))
        self.centre_ = mean.astype(np.float32)
        self.scale_ = np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0).astype(np.float32)  # constant: no say

    def serve(self, model: bytes, spec: NetworkSpec) -> Self:
        """Take this ONNX file as the network. BadInput when it does not fit."""
        self.network_ = Network(model, spec, threads=self.threads)
        self.model_ = model
        return self

    def arrays(self) -> Arrays:
        """`onnx`, the bytes of the file (uint8), and what the pooling learned."""
        self._network()
        model = {"onnx": np.frombuffer(self.model_, np.uint8)}
        if self.ldas_:
            parts = zip(self._prefixes(), self.ldas_, strict=True)
            return model | {before + key: array for before, lda in parts for key, array in lda.arrays().items()}
        return model | {k: v for k, v in (("centre", self.centre_), ("scale", self.scale_)) if v is not None}

    def load(self, arrays: Mapping[str, NDArray[np.generic]], manifest: Mapping[str, object]) -> Self:
        """The inverse of arrays() and manifest()."""
        given = msgspec.convert(manifest["hyperparameters"], dict[str, object])
        before = {"patches": 0}
        self.pooling = msgspec.convert({key: (before | given)[key] for key in Pooling.__dataclass_fields__}, Pooling)
        self._take(given)
        self.serve(np.asarray(arrays["onnx"], np.uint8).tobytes(), msgspec.convert(manifest["network"], NetworkSpec))
        self.ldas_, self.centre_, self.scale_ = (), None, None
        starts = self._prefixes()
        if starts[0] + "projection" in arrays:
            facts = {"hyperparameters": {key: given[key] for key in ("size", "shrinkage", "emphasis")}}
            learned = [{key: arrays[start + key] for key in ("centre", "projection")} for start in starts]
            self.ldas_ = tuple(self._discriminant().load(each, facts) for each in learned)
        elif "centre" in arrays:
            self.centre_, self.scale_ = (np.asarray(arrays[key], np.float32) for key in ("centre", "scale"))
        return self

    def manifest(self) -> dict[str, object]:
        """Name, version, input, hyperparameters, and the network's own small manifest."""
        chosen = msgspec.to_builtins(self.pooling) | self._given()
        network = msgspec.to_builtins(self._network().spec)
        for facts, later in ((chosen, "patches"), (network, "groups")):
            if not facts[later]:
                del facts[later]  # vectors of before there was such a thing are none of another version
        return describe(self, chosen, network=network)  # type: ignore[arg-type]

    def _discriminant(self) -> ClipLda:
        return ClipLda(size=self.pooling.size, shrinkage=self.pooling.shrinkage, emphasis=self.pooling.emphasis)

    def _prefixes(self) -> list[str]:
        """What the names of a discriminant's arrays begin with, where there are several."""
        count = len(self._network().networks)
        return [f"{place}." for place in range(count)] if count > 1 else [""]

    def _given(self) -> dict[str, object]:
        """More hyperparameters, of a network that is trained here."""
        return {}

    def _take(self, given: Mapping[str, object]) -> None:
        """The inverse of _given."""

    def _network(self) -> Network:
        if self.network_ is None:
            raise NotReady("no network yet: fit the encoder, load it, or `segue encoder import` one")
        return self.network_


class Pretrained(NetworkEncoder):
    """A network that others have trained, served as it is; only how its rows are pooled is learned, without labels."""

    name: ClassVar[str] = "pretrained"

    def fit(self, library: Iterable[Float32], rng: np.random.Generator) -> Self:
        """Learn the pooling from (frames, BANDS) a song; deterministic, `rng` is not used. NotReady without a network."""
        self._network()
        return self.fit_pooling(library)
