"""Plays the songs of the town: composed when first asked for, kept as WAV files in a folder that does not grow."""

from __future__ import annotations

import os
import threading
import wave
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import numpy as np

from segue.core.records import Audio, ItemRecord
from segue.core.types import Float32
from segue.simulator.music import RATE, song_of

COMPOSED = "composed"
"""The extra field of an item that says that its sound is made here."""
EDITION = 1
"""Changes whenever the music does, so that no old file is played."""


class Jukebox:
    """The sound of items by dense id; None for those that are not composed. Safe to call from several threads.

    record_of: the catalogue's record of an item. folder: made when the first song is. most: bytes of files that are kept, those
    that were not played for longest go first; the newest always stays.
    """

    def __init__(self, record_of: Callable[[int], ItemRecord], folder: Path, *, most: int = 256 << 20) -> None:
        self._record_of, self._folder, self._most = record_of, folder, most
        self._one = threading.Lock()

    def audio_of(self, item: int) -> Audio | None:
        """A WAV file of the song, rendered (about 0.15 s) unless it is there already."""
        record = self._record_of(item)
        if not (record.extra or {}).get(COMPOSED):
            return None
        name = f"{EDITION} {record.artist} {record.title} {record.tags} {record.id}"
        path = self._folder / f"{blake2b(name.encode(), digest_size=16).hexdigest()}.wav"
        with self._one:  # whoever asks for the same song meanwhile finds it made
            if path.exists():
                with suppress(OSError):
                    os.utime(path)
            else:
                self._folder.mkdir(parents=True, exist_ok=True)
                made = path.with_suffix(".part")
                write_wav(made, song_of(record), RATE)
                made.rename(path)
                self._make_room(path)
        return Audio(path, "audio/wav")

    def _make_room(self, newest: Path) -> None:
        """Remove what was played longest ago until the rest fits; ties by name."""
        files = sorted((file.stat().st_mtime_ns, file.name, file.stat().st_size) for file in self._folder.glob("*.wav"))
        total = sum(size for *_, size in files)
        for _, name, size in files:
            if total > self._most and name != newest.name:
                (self._folder / name).unlink(missing_ok=True)
                total -= size


def write_wav(path: Path, samples: Float32, rate: int) -> None:
    """(channels, n) float32 in [-1, 1] as 16-bit PCM."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(len(samples))
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(np.round(samples.T * 32767).astype("<i2").tobytes())
