"""Scanning a folder of music: sound a second of CPU, and the seconds until a dropped file is somebody's neighbour."""

from __future__ import annotations

import argparse
import io
import json
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from urllib.parse import quote

import av
import numpy as np
from numpy.typing import NDArray

from segue.benchmarks._server import Server
from segue.core.errors import BadInput
from segue.library.walk import walk


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `segue benchmark scan`."""
    parser.add_argument("--folder", required=True, type=Path, help="music; it is copied, never changed")
    parser.add_argument("--most", type=int, default=60, help="files that are taken")
    parser.add_argument(
        "--drops", type=int, default=10, help="of these, how many are dropped into the watched folder one by one"
    )


def run(args: argparse.Namespace) -> dict[str, object]:
    """Scan a copy, serve and watch it, drop files, and ask for the neighbours of a neighbour until the file is there."""
    files = [Path(found.path.decode()) for found in walk(str(args.folder.resolve()).encode())][: args.most]
    if len(files) < args.drops + 10:
        raise BadInput(f"expected at least {args.drops + 10} files of music in {args.folder}, found {len(files)}")
    step = len(files) // args.drops
    dropped = files[::step][: args.drops]
    with tempfile.TemporaryDirectory() as top:
        home, music = Path(top) / "home", Path(top) / "music"
        music.mkdir()
        for file in files:
            if file not in dropped:
                shutil.copy(file, music / file.name)
        facts = _scanned(home, music)
        with Server(home) as server:
            seconds = _drops(home, music, dropped, server.url)
    return {**facts, "drops": len(seconds), "drop_to_similar_s": {
        "median": round(float(np.median(seconds)), 2), "worst": round(max(seconds), 2),
    }}  # fmt: skip


def _scanned(home: Path, music: Path) -> dict[str, object]:
    """The first scan, its children included: CPU and wall."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*_segue(home), "scan", str(music), "--json"], check=True, stdout=subprocess.PIPE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    facts = json.loads(done.stdout)
    return {
        "files": facts["files"], "songs": facts["songs"], "sound_s": round(facts["heard_s"], 1),
        "wall_s": facts["seconds"], "cpu_s": round(cpu, 2), "real_time_factor_a_core": round(facts["heard_s"] / cpu, 1),
    }  # fmt: skip


def _drops(home: Path, music: Path, files: list[Path], url: str) -> list[float]:
    """Seconds from the file's last byte until the nearest song's list names it, for each file."""
    watcher = subprocess.Popen(
        [*_segue(home), "scan", str(music), "--watch"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    seconds = []
    try:
        assert watcher.stderr is not None
        while b"watching" not in watcher.stderr.readline():
            if watcher.poll() is not None:
                raise RuntimeError(f"the watcher ended with {watcher.returncode}")
        for file in files:
            shutil.copy(file, music / file.name)
            since = time.monotonic()
            while not _is_neighbour(url, file.stem):
                if time.monotonic() - since > 120:
                    raise RuntimeError(f"{file.name} is nobody's neighbour after two minutes")
                time.sleep(0.05)
            seconds.append(time.monotonic() - since)
    finally:
        watcher.send_signal(signal.SIGTERM)
        watcher.wait(60)
        assert watcher.stderr is not None
        watcher.stderr.close()
    return seconds


def _is_neighbour(url: str, title: str) -> bool:
    """Whether the song is found, has neighbours, and stands among the neighbours of the nearest of them."""
    found = [item for item in _asked(f"{url}/v1/search?q={quote(title)}&limit=100") if item["title"] == title]
    near = _asked(f"{url}/v1/items/{quote(found[0]['id'])}/similar?by=sound&limit=5") if found else []
    return any(
        found[0]["id"] in [item["id"] for item in _asked(f"{url}/v1/items/{quote(other['id'])}/similar?by=sound&limit=100")]
        for other in near
    )


def _asked(url: str) -> list[dict[str, str]]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        items: list[dict[str, str]] = json.load(answer)["items"]
        return items


def _segue(home: Path) -> list[str]:
    return [sys.executable, "-m", "segue", "--home", str(home)]


def flac(samples: NDArray[np.int16], rate: int = 16_000) -> bytes:
    """A flac of (n,) int16, one channel."""
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as out:
        stream = out.add_stream("flac", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None, :], "s16", "mono")
        frame.sample_rate = rate
        frame.pts = None
        resampler = av.AudioResampler(stream.format, stream.layout, rate, frame_size=stream.codec_context.frame_size or None)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return file.getvalue()
