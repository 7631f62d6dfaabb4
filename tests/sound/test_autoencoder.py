"""The encoders that torch trains: they learn, and the ONNX file says what torch says. Skipped where torch is not."""

from __future__ import annotations

import numpy as np
import pytest

from segue.core.errors import BadInput
from segue.core.types import Float32
from segue.sound import autoencoder, torch_training
from segue.sound.autoencoder import keep_patches, write
from segue.sound.network import Network, NetworkSpec
from segue.sound.spectrogram import BANDS
from segue.sound.statistics import PATCH
from segue.sound.torch_training import Schedule, Task, Trained, train


def library(count: int, patches: int = 3) -> list[Float32]:
    rng = np.random.default_rng(2)
    songs = [rng.uniform(0, 3, BANDS) + rng.normal(0, 0.2, (patches * PATCH, BANDS)) for _ in range(count)]
    return [song.astype(np.float32) for song in songs]


def test_songs_are_kept_evenly_and_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder, "SONGS", 5)
    monkeypatch.setattr(autoencoder, "PATCHES", 2)
    seen = np.zeros(20)
    songs = [np.full((3 * PATCH, BANDS), place, np.float32) for place in range(20)]
    for seed in range(60):
        patches, places = keep_patches(songs, np.random.default_rng(seed))
        assert patches.shape == (10, PATCH, BANDS)
        np.testing.assert_array_equal(patches[:, 0, 0], places)
        seen[np.unique(places)] += 1
    assert np.abs(seen / 60 - 5 / 20).max() < 0.2
    with pytest.raises(BadInput, match="at least 2 songs"):
        keep_patches(songs[:1], np.random.default_rng(0))


@pytest.mark.parametrize("task", ["reconstruct", "denoise", "contrast"])
def test_it_learns(task: Task) -> None:
    pytest.importorskip("torch", reason="training needs torch: pip install 'segue[deep]'")
    patches, songs = keep_patches(library(12), np.random.default_rng(0))
    autoencoder._standardize(patches)
    losses = train(patches, songs, task, Schedule(steps=24, batch=8, learning_rate=1e-2), np.random.default_rng(0)).losses
    assert losses[-3:].mean() < 0.9 * losses[:2].mean()


def test_the_file_says_what_torch_says() -> None:
    torch = pytest.importorskip("torch", reason="training needs torch: pip install 'segue[deep]'")
    rng = np.random.default_rng(0)
    encoder = torch_training._encoder(torch, 16).eval()
    for module in encoder:
        if hasattr(module, "running_mean"):
            module.running_mean[:] = torch.from_numpy(rng.normal(size=len(module.running_mean)).astype(np.float32))
            module.running_var[:] = torch.from_numpy(rng.uniform(0.5, 2, len(module.running_var)).astype(np.float32))
    trained: Trained = torch_training._learned(encoder, np.zeros(0, np.float32))
    mean, deviation = rng.uniform(1, 2, (2, BANDS)).astype(np.float32)
    patches = rng.uniform(0, 4, (3, PATCH, BANDS)).astype(np.float32)
    ours = Network(write(trained, mean, deviation), NetworkSpec("a", ("bottleneck",))).embed(patches)
    with torch.no_grad():
        theirs = encoder(torch.from_numpy(((patches - mean) / deviation)[:, None])).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * max(1, np.abs(theirs).max()))
