"""Settings of the default encoder judged without a label: can parts of a recording find each other, does another ear agree?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from segue.benchmarks._tempo_ear import tempo_and_tonality
from segue.core.errors import BadInput
from segue.core.types import Float32
from segue.evaluation.intervals import bootstrap, paired
from segue.sound.concatenated import PLAIN
from segue.sound.encoder import unit
from segue.sound.importing import read_network
from segue.sound.lda import ClipLda
from segue.sound.network_encoder import Pooling, Pretrained
from segue.sound.scatter import Scatter
from segue.sound.spectrogram import band_centres, compress, expand
from segue.sound.statistics import PATCH, patch_statistics, patches_of

FOLDS = 5
HALF = 4
"""Patches of a half: 12 s from the start, 12 s from the end; less of a clip that is shorter than both."""
SETTINGS = ("size", "shrinkage", "emphasis", "channel")
NETWORK = "network."
"""Before the name of a setting of the network's part: size, shrinkage, emphasis, how many of the file's networks are asked."""
Judged = dict[str, NDArray[np.float64]]
Rows = tuple[Float32, ...]
"""(patches, numbers) of a sound for each part of an encoder: statistics, and where a network stands beside, what that says."""
Encode = Callable[[Rows], Float32]


@dataclass(frozen=True)
class Heard:
    """A clip: whole, its two halves, the second half as another channel would give it; and the channel row of the whole."""

    whole: Rows
    first: Rows
    second: Rows
    changed: Rows
    channel: Float32


def judged(spectrograms: Sequence[Path], tried: Sequence[str], pretrained: str | None, args: argparse.Namespace) -> object:
    """Each setting (the default first) on each criterion: mean, 95 % interval, and the paired difference to the default.

    An ear for tempo and tonality listens in; with `args.beside` the default beside the network is judged, else the network,
    where there is one, is another ear.
    """
    if args.beside and pretrained is None:
        raise BadInput("--beside: expected --with-pretrained FILE, the network that the default stands beside", "beside")
    beside = Pretrained().serve(*read_network(Path(str(pretrained)))) if args.beside else None
    settings = {text: _settings(text, args.beside) for text in ["", *tried]}
    clips = []
    for place, path in enumerate(spectrograms):
        clips.append(_heard(np.load(path), np.random.default_rng((args.seed, place)), beside))
        if beside is not None and place % 20 == 0:
            print(f"hearing {place} of {len(spectrograms)}", file=sys.stderr)
    ears = {"tempo and tonality": _standardized([tempo_and_tonality(each) for each in _Files(spectrograms)])}
    if pretrained is not None and beside is None:
        ears["network"] = _ear(spectrograms, pretrained)
    folds = _Folds(clips)
    out: dict[str, object] = {}
    base: Judged = {}
    for setting, chosen in settings.items():
        found = _criteria(folds, chosen, ears)
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


def _heard(spectrogram: Float32, rng: np.random.Generator, beside: Pretrained | None) -> Heard:
    frames = max(1, min(HALF * PATCH, len(spectrogram) // 2))
    first, second = spectrogram[:frames], spectrogram[-frames:]
    every = (spectrogram, first, second, another_channel(second, rng))
    statistics = [patch_statistics(each) for each in every]
    rows: list[Rows] = [(patches_of(each),) for each in statistics]
    if beside is not None:
        rows = [(*own, *beside.rows_by_network(each)) for own, each in zip(rows, every, strict=True)]
    whole, one, two, changed = rows
    return Heard(whole, one, two, changed, statistics[0][-1])


class _Folds:
    """Clips in FOLDS parts, and the sums that encoders learn from, taken in once a part for all settings."""

    def __init__(self, clips: Sequence[Heard]) -> None:
        self.clips = clips
        self.fold = np.random.default_rng(0).permutation(len(clips)) % FOLDS
        self._sums: dict[tuple[int, int, float], Scatter] = {}

    def without(self, one: int | None, part: int, channel: float = 0.0) -> Scatter:
        """The sums of one part of an encoder over all clips but those of a fold."""
        merged = Scatter()
        for fold in range(FOLDS):
            if fold != one:
                merged.merge(self._sum(fold, part, channel))
        return merged

    def _sum(self, fold: int, part: int, channel: float) -> Scatter:
        key = (fold, part, channel)
        if key not in self._sums:
            self._sums[key] = Scatter()
            for place in np.flatnonzero(self.fold == fold).tolist():
                clip = self.clips[place]
                self._sums[key].add(clip.whole[part], None if part else clip.channel, channel)
        return self._sums[key]


def _criteria(folds: _Folds, settings: Mapping[str, float], ears: Mapping[str, Float32]) -> Judged:
    """Clip by clip (n,), by an encoder that has not learned from the clip: reciprocal rank of the other half, as it is and
    through another channel, among the halves of all clips; average precision with which a patch of the first third finds
    those of the last third (clips of one patch have none); and how alike other ears find the clip and its ten neighbours.
    """
    clips, n = folds.clips, len(folds.clips)
    out = {"half": np.empty(n), "half, another channel": np.empty(n), "thirds": np.empty(n)}
    for one in range(FOLDS):
        encode = _learned(folds, one, settings)
        asked = np.flatnonzero(folds.fold == one)
        queries = np.array([encode(clips[place].first) for place in asked.tolist()])
        for key, name in (("half", "second"), ("half, another channel", "changed")):
            answers = np.array([encode(getattr(clip, name)) for clip in clips])
            cosines = queries @ answers.T
            own = cosines[np.arange(len(asked)), asked]
            out[key][asked] = 1 / (cosines >= own[:, None]).sum(axis=1)  # ties count against it
        out["thirds"][asked] = _thirds(clips, asked, encode)
    out["thirds"] = out["thirds"][[len(clip.whole[0]) > 1 for clip in clips]]
    encode = _learned(folds, None, settings)
    vectors = np.array([encode(clip.whole) for clip in clips])
    return out | {f"agreement, {name}": _agreement(vectors, ear) for name, ear in ears.items()}


def _thirds(clips: Sequence[Heard], asked: NDArray[np.int64], encode: Encode) -> NDArray[np.float64]:
    """(asked,) the mean over the patches of the first third of a clip: average precision of finding those of its last."""
    sizes = [max(1, len(clip.whole[0]) // 3) for clip in clips]
    last = [_patch(clip.whole, -1 - place) for clip, size in zip(clips, sizes, strict=True) for place in range(size)]
    answers, owner = np.array([encode(patch) for patch in last]), np.repeat(np.arange(len(clips)), sizes)
    out = np.empty(len(asked))
    for place, clip in enumerate(asked.tolist()):
        queries = np.array([encode(_patch(clips[clip].whole, patch)) for patch in range(sizes[clip])])
        right = owner[np.argsort(-(queries @ answers.T), axis=1, kind="stable")] == clip
        precision = right.cumsum(axis=1) / np.arange(1, len(owner) + 1)
        out[place] = (right * precision).sum() / right.sum()
    return out


def _patch(rows: Rows, place: int) -> Rows:
    """One patch of a sound."""
    return tuple(part[place][None] for part in rows)


def _agreement(vectors: Float32, ear: Float32, k: int = 10) -> NDArray[np.float64]:
    """(n,) the mean cosine that the other ear gives a clip and its k nearest by these vectors."""
    near = vectors @ vectors.T
    np.fill_diagonal(near, -2)
    nearest = np.argsort(-near, axis=1, kind="stable")[:, :k]
    return np.asarray(np.take_along_axis(ear @ ear.T, nearest, axis=1).mean(axis=1), np.float64)


def _ear(spectrograms: Sequence[Path], pretrained: str) -> Float32:
    """(n, d) what a network that learned from other music says of each clip: standardized, at unit length."""
    network = Pretrained().serve(*read_network(Path(pretrained)))
    return _standardized([network.rows(spectrogram) for spectrogram in _Files(spectrograms)])


def _standardized(rows: Sequence[Float32]) -> Float32:
    """(n, d): the mean over the patches of each clip, in deviations of all patches from their mean, at unit length."""
    every = np.concatenate(rows)
    deviation = every.std(axis=0)
    scale = np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0)
    return np.array([unit((each.mean(axis=0) - every.mean(axis=0)) * scale) for each in rows])


class _Files:
    """The spectrograms in files, anew for each iteration."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __iter__(self) -> Iterator[Float32]:
        return (np.load(path) for path in self.paths)


def _learned(folds: _Folds, one: int | None, settings: Mapping[str, float]) -> Encode:
    """What an encoder of these settings learns from all clips but those of a fold: the default, alone or beside the network."""
    own = {name: value for name, value in settings.items() if name in SETTINGS}
    parts = [ClipLda(**own)]  # type: ignore[arg-type]
    parts[0].fit_scatter(folds.without(one, 0, parts[0].channel))
    network = {name.removeprefix(NETWORK): value for name, value in settings.items() if name.startswith(NETWORK)}
    networks = int(network.pop("networks", len(folds.clips[0].whole) - 1))
    most = len(folds.clips[0].whole) - 1
    if not min(1, most) <= networks <= most:
        raise BadInput(f"--try: expected {NETWORK}networks from 1 to {most}, what the file has; found {networks}", "try")
    parts += [
        ClipLda(**network).fit_scatter(folds.without(one, part))  # type: ignore[arg-type]
        for part in range(1, networks + 1)
    ]

    def encode(rows: Rows) -> Float32:
        own, *others = (part.encode_rows(mine) for part, mine in zip(parts, rows, strict=False))
        if not others:
            return own
        return np.asarray(np.concatenate((own, np.concatenate(others) / np.sqrt(len(others)))) / np.sqrt(2), np.float32)

    return encode


def _settings(text: str, beside: bool) -> dict[str, float]:
    """`size=32,network.emphasis=0` over what serves."""
    plain = asdict(Pooling())
    network: dict[str, float] = {NETWORK + key: plain[key] for key in ("size", "shrinkage", "emphasis")}
    out: dict[str, float] = {**PLAIN, **network} if beside else {}
    known = (*SETTINGS, *network, NETWORK + "networks") if beside else SETTINGS
    for part in text.split(",") if text else ():
        name, _, value = part.partition("=")
        try:
            out[name] = msgspec.json.decode(value, type=int if name.endswith(("size", "networks")) else float)
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
