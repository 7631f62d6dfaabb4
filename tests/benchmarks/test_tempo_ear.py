"""The ear for tempo and tonality, on pulses and tones whose tempo and intervals are known."""

from __future__ import annotations

import numpy as np
import pytest

from segue.benchmarks._tempo_ear import HIGH, tempo_and_tonality
from segue.core.types import Float32
from segue.sound.spectrogram import BANDS
from segue.sound.statistics import PATCH


def pulses(frames: int, bands: slice, start: int = 0) -> Float32:
    out = np.zeros((2 * PATCH, BANDS), np.float32)
    out[start::frames, bands] = 3
    return out


def tones(first: int, apart: int) -> Float32:
    out = np.ones((2 * PATCH, BANDS), np.float32)
    out[:, first::apart] = 3
    return out


def away(one: Float32, other: Float32) -> float:
    return float(np.abs(tempo_and_tonality(one).mean(axis=0) - tempo_and_tonality(other).mean(axis=0)).max())


def test_the_same_tempo_is_heard_whenever_it_begins_and_another_is_another() -> None:
    low = slice(0, 16)
    assert away(pulses(31, low), pulses(31, low, start=7)) < 0.1
    assert away(pulses(31, low), pulses(43, low)) > 0.5


def test_the_same_intervals_are_heard_in_another_key_and_others_are_others() -> None:
    assert away(tones(HIGH + 1, 8), tones(HIGH + 3, 8)) < 0.2
    assert away(tones(HIGH + 1, 8), tones(HIGH + 1, 6)) > 0.5


def test_louder_is_no_other_music() -> None:
    assert away(tones(HIGH + 1, 8), tones(HIGH + 1, 8) + 1) == pytest.approx(0, abs=1e-4)
