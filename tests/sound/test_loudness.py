"""Loudness agrees with BS.1770 where its answer is known, and levelling undoes a change of gain."""

import numpy as np
import pytest

from segue.sound.loudness import TARGET, levelled, loudness
from segue.sound.spectrogram import RATE, log_mel


def tone(hertz: float, seconds: float = 4.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(RATE * seconds)) / RATE).astype(np.float32)


@pytest.mark.parametrize(("amplitude", "lufs"), [(1.0, -3.01), (0.1, -23.01), (0.01, -43.01)])
def test_the_reference_tone_of_the_standard(amplitude: float, lufs: float) -> None:
    """A sine of 997 Hz at full scale in one channel is -3.01 LUFS (ITU-R BS.1770-4)."""
    assert loudness(log_mel(amplitude * tone(997))) == pytest.approx(lufs, abs=0.15)


def test_the_ear_is_less_sensitive_to_low_tones() -> None:
    assert loudness(log_mel(tone(60))) < loudness(log_mel(tone(997))) - 1 < loudness(log_mel(tone(4_000))) - 3


def test_pauses_do_not_count() -> None:
    paused = np.concatenate((tone(997, 5), np.zeros(20 * RATE, np.float32)))
    assert loudness(log_mel(paused)) == pytest.approx(loudness(log_mel(tone(997, 5))), abs=0.3)


@pytest.mark.parametrize("gain", [0.02, 0.3, 3.0])
def test_levelling_undoes_a_gain(gain: float) -> None:
    rng = np.random.default_rng(3)
    music = (0.1 * rng.standard_normal(3 * RATE) * (1.2 + np.sin(np.arange(3 * RATE) / 4_000))).astype(np.float32)
    one, other = levelled(log_mel(music)), levelled(log_mel(music * np.float32(gain)))
    np.testing.assert_allclose(other, one, atol=2e-3)
    assert loudness(one) == pytest.approx(TARGET, abs=0.05)


def test_silence_stays_silence() -> None:
    silence = log_mel(np.zeros(RATE, np.float32))
    assert loudness(silence) == float("-inf")
    assert not levelled(silence).any()
