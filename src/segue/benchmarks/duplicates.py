"""How alike copies of one recording and different recordings sound: what the thresholds of near-duplicates are from."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import av
import numpy as np

from segue.benchmarks._blend import say
from segue.catalogue.duplicates import LIKELY, SAME
from segue.core.types import Float32
from segue.sound.decode import read
from segue.sound.lda import ClipLda
from segue.sound.spectrogram import log_mel
from segue.sound.statistics import patch_statistics

RATE = 16_000
SUFFIXES = (".ogg", ".mp3", ".flac", ".opus", ".wav", ".m4a")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `segue benchmark duplicates`."""
    parser.add_argument("--clips", type=Path, required=True, help="a folder of different recordings")
    parser.add_argument("--most", type=int, default=10_000, help="clips that are read")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Fit the default encoder on the clips, encode changed copies of each, compare."""
    paths = sorted(path for path in args.clips.rglob("*") if path.suffix in SUFFIXES)[: args.most]
    library: list[Float32] = []
    copies: dict[str, list[Float32]] = {
        name: [] for name in ("mp3 64 kb/s", "mp3 32 kb/s", "12 dB softer", "5 s off the front")
    }
    for place, path in enumerate(paths):
        samples = read(path)[0]
        library.append(patch_statistics(log_mel(samples)))
        for name, changed in zip(copies, _changed(samples), strict=True):
            copies[name].append(patch_statistics(log_mel(changed)))
        if place % 20 == 0:
            say(f"{place} of {len(paths)} clips")
    encoder = ClipLda().fit(library, np.random.default_rng(0))
    originals = np.stack([encoder.encode_statistics(each) for each in library])
    alike = originals @ originals.T
    np.fill_diagonal(alike, -1)
    out: dict[str, object] = {"clips": len(paths), "encoder": encoder.manifest()["name"]}
    others = alike.max(axis=1)
    out["nearest other clip"] = _quantiles(others) | {
        "share_of_clips_with_one_past_same": round(float((others >= SAME).mean()), 4)
    }
    out["nearest other clip"] |= {"share_past_likely": round(float((others >= LIKELY).mean()), 4)}  # type: ignore[operator]
    out["pairs_of_different_clips_past_same"] = int((np.triu(alike, 1) >= SAME).sum())
    for name, statistics in copies.items():
        copied = np.stack([encoder.encode_statistics(each) for each in statistics])
        cosine = np.einsum("nd,nd->n", originals, copied)
        found = {"past_same": float((cosine >= SAME).mean()), "past_likely": float((cosine >= LIKELY).mean())}
        out[name] = _quantiles(cosine) | {key: round(value, 4) for key, value in found.items()}
    return out


def _changed(samples: Float32) -> list[Float32]:
    """The same recording as other people's files have it."""
    trimmed = samples[5 * RATE :] if len(samples) > 15 * RATE else samples[len(samples) // 6 :]
    return [_mp3(samples, 64_000), _mp3(samples, 32_000), samples * np.float32(0.25), trimmed]


def _mp3(samples: Float32, bits: int) -> Float32:
    """Through a lossy codec and back."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=RATE, layout="mono", bit_rate=bits)
        frame = av.AudioFrame.from_ndarray(samples[None, :].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return read(out.getvalue())[0]


def _quantiles(cosines: Float32) -> dict[str, object]:
    names = ("min", "p01", "p05", "p50", "p95", "p99", "max")
    values = np.quantile(cosines, (0, 0.01, 0.05, 0.5, 0.95, 0.99, 1))
    return {name: round(float(value), 4) for name, value in zip(names, values, strict=True)}
