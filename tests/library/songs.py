"""Small songs for tests: chords over noise, two families that nobody would take for one."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from segue.sound.onnx_graph import Graph
from segue.sound.spectrogram import BANDS

RATE = 16_000


def song(number: int, seconds: float = 7.0) -> np.ndarray:
    """(n,) int16: even numbers are low and steady, odd ones high and pulsing; every one has pitches of its own."""
    rng = np.random.default_rng(number)
    t = np.arange(int(RATE * seconds)) / RATE
    low = number % 2 == 0
    pitches = rng.uniform(80, 240, 3) if low else rng.uniform(1_500, 4_000, 3)
    tone = sum(np.sin(2 * np.pi * pitch * t + rng.uniform(0, 6)) for pitch in pitches)
    beat = 1.0 if low else 0.5 * (1 + np.sign(np.sin(2 * np.pi * rng.uniform(3, 6) * t)))
    sound = 0.2 * tone * beat + (0.002 if low else 0.02) * rng.standard_normal(len(t))
    return np.asarray(32_767 * np.clip(sound, -1, 1), np.int16)


def write(path: Path, number: int, seconds: float = 7.0) -> Path:
    """Song `number` as a wav."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(song(number, seconds).tobytes())
    return path


def small_network(folder: Path) -> Path:
    """An ONNX file `small.onnx` with its manifest: the mean and the loudest of each band over a patch of three seconds."""
    graph = Graph("patch", 187, BANDS)
    outputs = {kind.lower(): (graph.node(f"Reduce{kind}", "patch", axes=[1], keepdims=0), BANDS) for kind in ("Mean", "Max")}
    path = folder / "small.onnx"
    path.write_bytes(graph.build(outputs, {}))
    Path(f"{path}.json").write_text('{"name": "small", "outputs": ["mean", "max"]}')
    return path
