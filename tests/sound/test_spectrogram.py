"""The log-mel spectrogram agrees with librosa's, and holds what physics says it must."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.sound.spectrogram import BANDS, HOP, RATE, band_centres, compress, expand, log_mel, mel_filters


def known_sound() -> np.ndarray:
    """Two seconds of a tone, a sweep and noise, as the known answers were computed from."""
    n = 2 * RATE + 77
    t = np.arange(n) / RATE
    noise = 0.01 * np.random.default_rng(0).standard_normal(n)
    return (0.3 * np.sin(2 * np.pi * 440 * t) + 0.2 * np.sin(2 * np.pi * 3000 * t * t) + noise).astype(np.float32)


def test_it_agrees_with_librosa() -> None:
    """librosa 0.11: log10(1e4 * melspectrogram(y=known_sound(), sr=16000, n_fft=512, hop_length=256, n_mels=96).T + 1)."""
    answer = np.load(Path(__file__).parent / "librosa_log_mel.npy")
    ours = log_mel(known_sound())
    assert ours.dtype == np.float32
    assert ours.shape == (126, BANDS)
    np.testing.assert_allclose(ours[[0, 1, 40, 77, 124, 125]], answer, atol=2e-5)


@pytest.mark.parametrize("n", [1, HOP - 1, HOP, 511, 512, 70_000, 256 * 256, 256 * 256 + 1])
def test_frames_follow_the_length_and_blocks_do_not_show(n: int) -> None:
    samples = np.random.default_rng(n).standard_normal(n).astype(np.float32) * 0.1
    whole = log_mel(samples)
    assert whole.shape == (1 + n // HOP, BANDS)
    if n > 1000:  # a frame in the middle depends on its own window only
        np.testing.assert_allclose(log_mel(samples[10 * HOP :])[5], whole[15], atol=1e-5)


def test_a_tone_lights_the_band_of_its_frequency() -> None:
    for band in (10, 40, 70, 90):
        tone = np.sin(2 * np.pi * band_centres()[band] * np.arange(RATE) / RATE).astype(np.float32)
        assert abs(int(log_mel(tone)[20:40].mean(axis=0).argmax()) - band) <= 1


def test_triangles_have_unit_area() -> None:
    area = mel_filters().sum(axis=0) * RATE / 512
    np.testing.assert_allclose(area[40:], 1, rtol=0.1)  # the narrow ones below are coarsely sampled


@given(st.floats(1e-9, 1e3))
def test_expand_undoes_compress(power: float) -> None:
    x = np.array([power], np.float32)
    np.testing.assert_allclose(expand(compress(x.copy())), x, rtol=1e-4)


def test_silence_is_zero() -> None:
    assert not log_mel(np.zeros(RATE, np.float32)).any()


def test_stereo_is_refused() -> None:
    with pytest.raises(ValueError, match="mono"):
        log_mel(np.zeros((2, 100), np.float32))
