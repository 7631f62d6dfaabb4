"""Settings of the default encoder judged without a label: can halves of a recording find each other, does another ear agree?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from segue.core.errors import BadInput
from segue.core.types import Float32
from segue.evaluation.intervals import bootstrap, paired
from segue.sound.importing import read_network
from segue.sound.lda import ClipLda
from segue.sound.network_encoder import Pooling, Pretrained
from segue.sound.scatter import Scatter
from segue.sound.spectrogram import band_centres, compress, expand
from segue.sound.statistics import PATCH, patch_statistics, patches_of

FOLDS = 5
HALF = 4
"""Patches of a half: 12 s from the start, 12 s from the end; less of a clip that is shorter than both."""
Judged = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Heard:
    """The statistics of a clip: whole, its two halves, and the second half as another channel would give it."""

    whole: Float32
    first: Float32
    second: Float32
    changed: Float32


def judged(spectrograms: Sequence[Path], tried: Sequence[str], pretrained: str | None, args: argparse.Namespace) -> object:
    """Each setting (the default first) on each criterion: mean, 95 % interval, and the paired difference to the default."""
    clips = [_heard(np.load(path), np.random.default_rng((args.seed, place))) for place, path in enumerate(spectrograms)]
    ear = _ear(spectrograms, pretrained) if pretrained is not None else None
    out: dict[str, object] = {}
    base: Judged = {}
    for setting in ["", *tried]:
        found = _criteria(clips, _settings(setting), ear)
        base = base or found
        out[setting or "default"] = {key: _shown(values, base[key], args) for key, values in found.items()}
        print(f"{setting or 'default'}: " + ", ".join(f"{k} {v.mean():.3f}" for k, v in found.items()), file=sys.stderr)
    return out


def another_channel(spectrogram: Float32, rng: np.random.Generator) -> Float32:
    """The same sound through a random equalizer (6 dB up or down at six frequencies), low-pass (3.5 to 9 kHz) and gain."""
    hertz = band_centres()
    curve = np.interp(np.log(hertz), np.linspace(np.log(60), np.log(8_000), 6), rng.uniform(-6, 6, 6))
    low_pass = 1 / (1 + (hertz / rng.uniform(3_500, 9_000)) ** 16)
    return compress(expand(spectrogram) * np.float32(10 ** ((curve + rng.uniform(-9, 3)) / 10) * low_pass))


def _heard(spectrogram: Float32, rng: np.random.Generator) -> Heard:
    frames = max(1, min(HALF * PATCH, len(spectrogram) // 2))
    first, second = spectrogram[:frames], spectrogram[-frames:]
    every = (spectrogram, first, second, another_channel(second, rng))
    return Heard(*(patch_statistics(each) for each in every))


def _criteria(clips: Sequence[Heard], settings: Mapping[str, float], ear: Float32 | None) -> Judged:
    """Clip by clip (n,): reciprocal rank of the other half, as it is and through another channel, among the halves of all
    clips, by an encoder that has not learned from the clip; and how alike the other ear finds it and its ten neighbours.
    """
    n = len(clips)
    fold = np.random.default_rng(0).permutation(n) % FOLDS
    out = {"half": np.empty(n), "half, another channel": np.empty(n)}
    for one in range(FOLDS):
        encoder = _fitted([clip for clip, its in zip(clips, fold, strict=True) if its != one], settings)
        asked = np.flatnonzero(fold == one)
        queries = np.array([encoder.encode_statistics(clips[place].first) for place in asked.tolist()])
        for key, name in (("half", "second"), ("half, another channel", "changed")):
            answers = np.array([encoder.encode_statistics(getattr(clip, name)) for clip in clips])
            cosines = queries @ answers.T
            own = cosines[np.arange(len(asked)), asked]
            out[key][asked] = 1 / (cosines >= own[:, None]).sum(axis=1)  # ties count against it
    if ear is not None:
        encoder = _fitted(clips, settings)
        vectors = np.array([encoder.encode_statistics(clip.whole) for clip in clips])
        out["agreement"] = _agreement(vectors, ear)
    return out


def _agreement(vectors: Float32, ear: Float32, k: int = 10) -> NDArray[np.float64]:
    """(n,) the mean cosine that the other ear gives a clip and its k nearest by these vectors."""
    near = vectors @ vectors.T
    np.fill_diagonal(near, -2)
    nearest = np.argsort(-near, axis=1, kind="stable")[:, :k]
    return np.asarray(np.take_along_axis(ear @ ear.T, nearest, axis=1).mean(axis=1), np.float64)


def _ear(spectrograms: Sequence[Path], pretrained: str) -> Float32:
    """(n, d) what a network that learned from other music says of each clip: standardized, at unit length."""
    network = Pretrained(Pooling(head="mean")).serve(*read_network(Path(pretrained)))
    network.fit(_Files(spectrograms), np.random.default_rng(0))
    return np.array([network.encode(spectrogram) for spectrogram in _Files(spectrograms)])


class _Files:
    """The spectrograms in files, anew for each iteration."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __iter__(self) -> Iterator[Float32]:
        return (np.load(path) for path in self.paths)


def _fitted(clips: Sequence[Heard], settings: Mapping[str, float]) -> ClipLda:
    encoder, scatter = ClipLda(**settings), Scatter()  # type: ignore[arg-type]
    for clip in clips:
        scatter.add(patches_of(clip.whole), clip.whole[-1], encoder.channel)
    return encoder.fit_scatter(scatter)


def _settings(text: str) -> dict[str, float]:
    """`size=32,emphasis=0` as keywords of ClipLda."""
    known = ("size", "shrinkage", "emphasis", "channel")
    out: dict[str, float] = {}
    for part in text.split(",") if text else ():
        name, _, value = part.partition("=")
        try:
            out[name] = msgspec.json.decode(value, type=int if name == "size" else float)
        except msgspec.DecodeError:
            name = ""
        if name not in known:
            raise BadInput(f"--try: expected NAME=NUMBER of {', '.join(known)}, joined by commas; found {part!r}", "try")
    return out


def _shown(values: NDArray[np.float64], base: NDArray[np.float64], args: argparse.Namespace) -> dict[str, float]:
    own = bootstrap(values, np.random.default_rng(args.seed), rounds=args.rounds)
    gain = paired(values, base, np.random.default_rng(args.seed), rounds=args.rounds)
    names = ("mean", "low", "high", "gain", "gain_low", "gain_high")
    return dict(zip(names, (round(x, 4) for x in (own.mean, own.low, own.high, gain.mean, gain.low, gain.high)), strict=True))
