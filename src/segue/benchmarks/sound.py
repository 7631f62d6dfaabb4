"""Neighbours by sound: does a clip find those of its own label, and what does a vector cost?"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from segue import wiring
from segue.benchmarks._blind import judged
from segue.core.errors import BadInput
from segue.core.types import Float32
from segue.evaluation.intervals import Interval, bootstrap, paired
from segue.evaluation.retrieval import leave_one_out
from segue.sound.concatenated import PLAIN, Concatenated
from segue.sound.decode import read
from segue.sound.encoder import Encoder, Needs, StatisticsEncoder
from segue.sound.importing import read_network
from segue.sound.lda import ClipLda
from segue.sound.network_encoder import Pretrained
from segue.sound.spectrogram import compress, expand, log_mel
from segue.sound.statistics import patch_statistics

DEFAULT = "lda"
AS_RECORDED = "lda, as recorded"
BESIDE = "lda beside pretrained"
BESIDE_AS_RECORDED = "lda beside pretrained, as recorded"

K = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `segue benchmark sound`."""
    parser.add_argument("--clips", required=True, type=Path, help="the folder that the paths in the table start from")
    parser.add_argument("--tracks", required=True, type=Path, help="CSV with a column `clip`, a path, and the label's column")
    parser.add_argument("--label", default="package", help="the column that says what belongs together; default package")
    parser.add_argument("--encoder", action="append", default=[], metavar="NAME", help="one more encoder to measure")
    parser.add_argument(
        "--with-pretrained", metavar="FILE", help="the musicnn wheel or an ONNX file: alone and beside the default"
    )
    parser.add_argument(
        "--blind", action="store_true", help="judge settings of the default without labels: halves of clips, and another ear"
    )
    parser.add_argument("--beside", action="store_true", help="with --blind: settings of the default beside the pretrained")
    parser.add_argument(
        "--try",
        action="append",
        default=[],
        dest="tried",
        metavar="NAME=NUMBER,...",
        help="with --blind: more settings",
    )
    parser.add_argument("--timed", type=int, default=60, help="how many clips are decoded again, to time them")
    parser.add_argument("--rounds", type=int, default=2_000, help="draws of the bootstrap")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap and of the encoders")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Every encoder learns from all the clips, without the labels, then each clip looks for its label among the others."""
    paths, labels = _table(args.tracks, args.clips, args.label)
    if args.blind:
        return _blind(paths, args)
    makers = contenders(args.encoder, args.with_pretrained)
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(limits=1):
        clips = Clips(paths, Path(folder))
        found: dict[str, Mapping[str, NDArray[np.float64]]] = {"random": _random(labels, args.seed)}
        rows: dict[str, dict[str, object]] = {"random": _means(found["random"], args)}
        for name, (make, level) in makers.items():
            since = time.process_time()
            encoder = make().fit(clips.library(make().needs, level), np.random.default_rng(args.seed))
            fit_cpu_s = time.process_time() - since
            vectors = np.array([embed(encoder, s, level) for s in clips.library("spectrogram", True)])
            found[name] = leave_one_out(vectors @ vectors.T, labels, K)
            factor = _real_time_factor(encoder, level, paths[: args.timed])
            rows[name] = _means(found[name], args) | {
                "dimension": encoder.dimension, "fit_cpu_s": round(fit_cpu_s, 3), "real_time_factor": round(factor, 1),
                "version": encoder.manifest()["version"],
            }  # fmt: skip
            if isinstance(encoder, StatisticsEncoder):
                quieter = [embed(encoder, turned_down(s), level) for s in clips.library("spectrogram", True)]
                rows[name]["kept_6_db_down"] = round(_kept(vectors, np.array(quieter)), 4)
            if name == "pretrained":
                found[BESIDE_AS_RECORDED] = leave_one_out(_beside(clips, vectors), labels, K)
                rows[BESIDE_AS_RECORDED] = _means(found[BESIDE_AS_RECORDED], args)
            print(f"{name}: mAP {found[name]['map'].mean():.3f}", file=sys.stderr)
        main = rows[DEFAULT]
        return {
            **{key: main[key]["mean"] for key in found[DEFAULT]},  # type: ignore[index]
            "fit_cpu_s": main["fit_cpu_s"], "real_time_factor": main["real_time_factor"],
            "clips": len(paths), "queries": len(found[DEFAULT]["map"]), "labels": len(set(labels.tolist())), "encoders": rows,
            "gain_of_the_default": {name: _gains(found, DEFAULT, name, args) for name in rows if name != DEFAULT},
            "gain_beside": {name: _gains(found, BESIDE, name, args) for name in (DEFAULT, "pretrained") if BESIDE in rows},
        }  # fmt: skip


def _blind(paths: list[Path], args: argparse.Namespace) -> dict[str, object]:
    """The criteria that need no labels: how settings are chosen."""
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(limits=1):
        clips = Clips(paths, Path(folder))
        return {"clips": len(paths), "settings": judged(clips.files, args.tried, args.with_pretrained, args)}


def contenders(more: list[str], pretrained: str | None) -> dict[str, tuple[Callable[[], Encoder], bool]]:
    """Name -> (how to make it, whether statistics are levelled, as they are when it serves); DEFAULT is always there."""
    names = dict.fromkeys(["cues", "mfcc", DEFAULT, *more])
    out = {name: (wiring.encoder(name), True) for name in names}
    out[AS_RECORDED] = (wiring.encoder(DEFAULT), False)
    if pretrained is None:
        return out
    model, spec = read_network(Path(pretrained))

    def network() -> Encoder:
        return Pretrained().serve(model, spec)

    return out | {
        "pretrained": (network, True),
        BESIDE: (lambda: Concatenated([plain(), network()]), True),
    }


class Clips:
    """The spectrograms of the clips in files of a folder, so that any number of them can be gone through again and again."""

    def __init__(self, paths: list[Path], folder: Path) -> None:
        self.files = [folder / f"{place}.npy" for place in range(len(paths))]
        for place, (path, file) in enumerate(zip(paths, self.files, strict=True)):
            if place % 100 == 0:
                print(f"decoding {place} of {len(paths)}", file=sys.stderr)
            np.save(file, log_mel(read(path)[0]))

    def library(self, needs: Needs, level: bool) -> Library:
        """What an encoder of these needs learns from."""
        return Library(self.files, needs, level)


class Library:
    """One array a clip, anew for each iteration."""

    def __init__(self, files: list[Path], needs: Needs, level: bool) -> None:
        self.files, self.needs, self.level = files, needs, level

    def __iter__(self) -> Iterator[Float32]:
        for file in self.files:
            spectrogram = np.load(file)
            yield patch_statistics(spectrogram, level=self.level) if self.needs == "statistics" else spectrogram


def embed(encoder: Encoder, spectrogram: Float32, level: bool) -> Float32:
    """The vector of a song, as it is served, or without levelling where that is what is measured."""
    if level or not isinstance(encoder, StatisticsEncoder):
        return encoder.encode(spectrogram)
    return encoder.encode_statistics(patch_statistics(spectrogram, level=False))


def plain() -> ClipLda:
    """The default encoder as it stands beside a network."""
    return ClipLda(**PLAIN)  # type: ignore[arg-type]


def _beside(clips: Clips, network: Float32) -> Float32:
    """Cosines (n, n) of the default, not levelled, beside the vectors of a network: what Concatenated would give."""
    lda = plain().fit(clips.library("statistics", False), np.random.default_rng(0))
    vectors = np.array([lda.encode_statistics(s) for s in clips.library("statistics", False)])
    return np.asarray((vectors @ vectors.T + network @ network.T) / 2, np.float32)


def turned_down(spectrogram: Float32, decibels: float = 6.0) -> Float32:
    """The spectrogram of the same recording, so much quieter."""
    return compress(expand(spectrogram) * np.float32(10 ** (-decibels / 10)))


def _kept(vectors: Float32, changed: Float32) -> float:
    """The share of the K nearest clips that a changed clip still has."""
    before, after = vectors @ vectors.T, changed @ vectors.T
    kept = []
    for row in range(len(vectors)):
        nearest = [set(np.argsort(-np.delete(s[row], row), kind="stable")[:K].tolist()) for s in (before, after)]
        kept.append(len(nearest[0] & nearest[1]) / len(nearest[0]))
    return float(np.mean(kept))


def _table(tracks: Path, folder: Path, label: str) -> tuple[list[Path], NDArray[np.str_]]:
    """Paths of the clips and their labels, in the order of the table."""
    with tracks.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for column in ("clip", label):
        if not rows or column not in rows[0]:
            found = ", ".join(rows[0]) if rows else "no rows"
            raise BadInput(f"{tracks} needs a column {column!r}; found {found}", column)
    paths = [_found(folder, row["clip"]) for row in rows]
    labels = np.array([row[label] for row in rows])
    if len(np.unique(labels)) == len(labels):
        raise BadInput(f"expected clips that share a {label!r}, found one clip of each", label)
    return paths, labels


def _found(folder: Path, clip: str) -> Path:
    """The clip in the folder; the table may name it from the folder itself or from beside it."""
    for path in (folder / clip, folder.parent / clip, folder / Path(clip).name):
        if path.is_file():
            return path
    raise BadInput(f"expected the clip {clip} in {folder}, found none; --clips is the folder that the table's paths start from")


def _random(labels: NDArray[np.str_], seed: int) -> dict[str, NDArray[np.float64]]:
    """The mean over 20 random orders, query by query."""
    rng = np.random.default_rng(seed)
    runs = [leave_one_out(rng.random((len(labels), len(labels)), np.float32), labels, K) for _ in range(20)]
    return {key: np.mean([run[key] for run in runs], axis=0) for key in runs[0]}


def _means(judged: Mapping[str, NDArray[np.float64]], args: argparse.Namespace) -> dict[str, object]:
    return {
        key: _shown(bootstrap(values, np.random.default_rng(args.seed), rounds=args.rounds)) for key, values in judged.items()
    }


def _gains(
    judged: Mapping[str, Mapping[str, NDArray[np.float64]]], one: str, other: str, args: argparse.Namespace
) -> dict[str, dict[str, float]]:
    ours = judged[one]
    return {
        key: _shown(paired(ours[key], judged[other][key], np.random.default_rng(args.seed), rounds=args.rounds)) for key in ours
    }


def _shown(interval: Interval) -> dict[str, float]:
    return {"mean": round(interval.mean, 4), "low": round(interval.low, 4), "high": round(interval.high, 4)}


def _real_time_factor(encoder: Encoder, level: bool, paths: list[Path]) -> float:
    """Seconds of sound a CPU second: read, spectrogram, vector; on one core, after a first clip that does not count."""
    seconds, since = 0.0, 0.0
    for place, path in enumerate([paths[0], *paths]):
        if place == 1:
            since, seconds = time.process_time(), 0.0
        samples, facts = read(path)
        spectrogram = log_mel(samples)
        embed(encoder, spectrogram, level)
        seconds += facts.seconds
    return seconds / (time.process_time() - since)
