"""Every encoder of sound, found by itself, keeps the promises of sound/encoder.py."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import segue.sound
from segue.core.errors import BadInput, NotReady
from segue.core.types import Float32
from segue.sound.encoder import Encoder
from segue.sound.lda import ClipLda
from segue.sound.network import NetworkSpec
from segue.sound.network_encoder import Pooling, Pretrained
from segue.sound.onnx_graph import Graph
from segue.sound.spectrogram import BANDS
from segue.sound.statistics import PATCH, patch_statistics
from segue.sound.torch_training import Schedule


def tiny_network() -> tuple[bytes, NetworkSpec]:
    """A network that looks at the colour of a patch through 24 random neurons."""
    graph = Graph("log_mel", PATCH, BANDS)
    weight = np.random.default_rng(1).normal(0, 0.1, (BANDS, 24)).astype(np.float32)
    rows = graph.dense(graph.node("ReduceMean", "log_mel", axes=[1], keepdims=0), weight, np.zeros(24, np.float32))
    return graph.build({"embedding": (graph.node("Relu", rows), 24)}, {}), NetworkSpec("tiny", ("embedding",))


def pretrained(kind: type[Any]) -> Any:
    return kind(Pooling(size=8)).serve(*tiny_network())


def trained(kind: type[Any]) -> Any:
    pytest.importorskip("torch", reason="training needs torch: pip install 'segue[deep]'")
    return kind(schedule=Schedule(bottleneck=12, steps=8, batch=8))


FACTORIES: dict[str, Callable[[type[Any]], Any]] = {
    "Autoencoder": trained,
    "DenoisingAutoencoder": trained,
    "Contrastive": trained,
    "Pretrained": pretrained,
    "Concatenated": lambda kind: kind([ClipLda(size=8), pretrained(Pretrained)], weights=[1, 2]),
}
"""How to build an encoder that has no defaults, or whose defaults take long; by class name. It may pytest.skip()."""


def encoders() -> list[type[Any]]:
    """The public classes of segue.sound that have a name and encode."""
    found: dict[str, type[Any]] = {}
    for module in pkgutil.walk_packages(segue.sound.__path__, "segue.sound."):
        for name, thing in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            own = thing.__module__.startswith("segue.sound") and not name.startswith("_")
            if own and hasattr(thing, "encode") and isinstance(getattr(thing, "name", None), str):
                found[f"{thing.__module__}.{name}"] = thing
    return [found[key] for key in sorted(found)]


def song(rng: np.random.Generator, frames: int) -> Float32:
    """A spectrogram of a colour and a beat of its own."""
    colour = rng.uniform(0, 3, BANDS)
    beat = 0.5 * np.sin(np.arange(frames)[:, None] * rng.uniform(0.1, 0.8))
    return np.maximum(0, colour + beat + rng.normal(0, 0.3, (frames, BANDS))).astype(np.float32)


def library(encoder: Encoder, songs: list[Float32]) -> list[Float32]:
    return [patch_statistics(s) for s in songs] if encoder.needs == "statistics" else songs


def make(kind: type[Any]) -> Any:
    return FACTORIES.get(kind.__name__, lambda k: k())(kind)


@pytest.fixture(scope="module")
def songs() -> list[Float32]:
    rng = np.random.default_rng(5)
    return [song(rng, int(frames)) for frames in rng.integers(4 * PATCH, 7 * PATCH, 40)]


@pytest.fixture(scope="module", params=encoders(), ids=lambda k: k.name)
def fitted(request: pytest.FixtureRequest, songs: list[Float32]) -> Any:
    encoder = make(request.param)
    return encoder.fit(library(encoder, songs), np.random.default_rng(0))


def test_it_is_an_encoder(fitted: Any) -> None:
    assert isinstance(fitted, Encoder)
    assert fitted.needs in ("statistics", "spectrogram")


@pytest.mark.parametrize("frames", [1, 5, PATCH - 1, PATCH, PATCH + 1, 5 * PATCH])
def test_vectors_have_unit_length_whatever_the_length_of_the_song(fitted: Any, frames: int) -> None:
    vector = fitted.encode(song(np.random.default_rng(frames), frames))
    assert vector.shape == (fitted.dimension,)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("level", [0.0, 8.0])
def test_silence_and_saturation_have_vectors_too(fitted: Any, level: float) -> None:
    vector = fitted.encode(np.full((2 * PATCH, BANDS), level, np.float32))
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_the_same_song_has_the_same_vector_and_is_left_alone(fitted: Any, songs: list[Float32]) -> None:
    given = songs[0].copy()
    given.setflags(write=False)
    np.testing.assert_array_equal(fitted.encode(given), fitted.encode(songs[0]))


def test_two_halves_of_a_song_are_closer_than_two_songs(fitted: Any, songs: list[Float32]) -> None:
    halves = np.array([[fitted.encode(s[: len(s) // 2]), fitted.encode(s[len(s) // 2 :])] for s in songs])
    cosine = halves[:, 0] @ halves[:, 1].T
    own = np.diag(cosine)
    assert own.mean() > cosine.mean()


def test_the_same_library_and_rng_give_the_same_arrays(fitted: Any, songs: list[Float32]) -> None:
    again = make(type(fitted)).fit(library(fitted, songs), np.random.default_rng(0))
    assert again.arrays().keys() == fitted.arrays().keys()
    for name, array in fitted.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)
    assert again.manifest() == fitted.manifest()


def test_arrays_and_manifest_are_all_there_is(fitted: Any, songs: list[Float32]) -> None:
    manifest = json.loads(json.dumps(fitted.manifest()))
    assert manifest["name"] == fitted.name
    assert manifest["dimension"] == fitted.dimension
    assert {"version", "needs", "input", "hyperparameters"} <= manifest.keys()
    again = make(type(fitted)).load(fitted.arrays(), manifest)
    np.testing.assert_array_equal(again.encode(songs[3]), fitted.encode(songs[3]))
    assert again.manifest() == fitted.manifest()


def test_another_library_is_another_version_if_anything_is_learned(fitted: Any, songs: list[Float32]) -> None:
    other = make(type(fitted)).fit(library(fitted, songs[:30]), np.random.default_rng(0))
    learned = any(not np.array_equal(a, fitted.arrays()[k]) for k, a in other.arrays().items())
    assert (other.manifest()["version"] != fitted.manifest()["version"]) == learned


@pytest.mark.parametrize("kind", encoders(), ids=lambda k: k.name)
def test_before_it_has_learned_it_says_so(kind: type[Any]) -> None:
    encoder = make(kind)
    try:
        encoder.encode(np.ones((PATCH, BANDS), np.float32))
    except NotReady:
        with pytest.raises(BadInput):
            encoder.fit([], np.random.default_rng(0))
