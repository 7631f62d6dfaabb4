"""From a music file to mono samples at 16 kHz: PyAV behind limits, so that no file costs more time or memory than music may."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from segue.core.errors import BadSound
from segue.core.types import Float32
from segue.sound.spectrogram import RATE, WINDOW

SUFFIXES = frozenset({".mp3", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".wav"})
"""What a scan looks at; what is inside decides, not the name."""
CLOSED = "cannot be read"
"""How the reason begins where the system refuses a file: it may be granted later, though the file does not change."""
ONLY = {"format_whitelist": "mp3,flac,ogg,wav,mov,mp4,m4a", "protocol_whitelist": ""}
"""The containers that are opened, and never another file: of the hundreds that FFmpeg knows many are lists of other files."""


@dataclass(frozen=True)
class Limits:
    """What a file may ask for. Beyond `seconds` it is cut, beyond anything else it is refused."""

    seconds: float = 600.0
    """Decoded at most, from the start: ten minutes say how a song sounds, and cost 38 MB."""
    channels: int = 8
    rate_low: int = 4_000
    rate_high: int = 384_000
    file_bytes: int = 2 << 30
    packets_without_sound: int = 2_000
    """Packets in a row that cannot be decoded before the file is given up."""


@dataclass(frozen=True)
class Facts:
    """What the decoder saw: `seconds` were decoded, `cut` tells that there was more, `damaged` packets were left out."""

    codec: str
    rate: int
    channels: int
    seconds: float
    cut: bool
    damaged: int


def read(source: Path | bytes, limits: Limits | None = None) -> tuple[Float32, Facts]:
    """(n,) float32 mono samples at 16 kHz, and what the file is: mp3, flac, ogg, opus, m4a or wav, a path or its bytes.

    Channels are averaged. A file that breaks off gives what was before the break. Pure: nothing is kept, memory is bounded by
    limits.seconds. BadSound, with the reason, where there is no music to be had; it may still crash in a decoder's own
    C code, so strangers' files are read in a process of their own.
    """
    limits = limits or Limits()
    _check_size(source, limits)
    try:
        with (
            io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file,
            av.open(file, "r", options=ONLY, metadata_errors="replace") as container,
        ):
            return _decode(container, limits)
    except FFmpegError as error:
        raise BadSound(f"expected a music file, found one that cannot be opened: {error.strerror or error}") from error
    except (ValueError, MemoryError, EOFError) as error:
        raise BadSound(f"expected a music file, found one that breaks the decoder: {error}") from error


def _check_size(source: Path | bytes, limits: Limits) -> None:
    try:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
    except OSError as error:
        raise BadSound(f"{CLOSED}: {error.strerror}") from error
    if size == 0:
        raise BadSound("the file is empty")
    if size > limits.file_bytes:
        raise BadSound(f"expected a file of at most {limits.file_bytes >> 20} MiB, found {size >> 20} MiB")


def _decode(container: av.container.InputContainer, limits: Limits) -> tuple[Float32, Facts]:
    stream = sound_of(container)
    _check_shape(stream.rate or 0, stream.channels or 0, limits)
    stream.codec_context.thread_count = 1
    most = int(limits.seconds * RATE)
    blocks, total, damaged = [], 0, _Damage(limits.packets_without_sound)
    for block in _resampled(container, stream, limits, damaged):
        blocks.append(block)
        total += len(block)
        if total > most:
            break
    if total < WINDOW:
        raise BadSound(f"expected at least {1000 * WINDOW // RATE} ms of sound, found {1000 * total // RATE} ms")
    samples = np.concatenate(blocks)[:most]
    if not np.isfinite(samples).all():
        raise BadSound("the samples are not numbers")
    facts = Facts(stream.codec_context.name, stream.rate, stream.channels, len(samples) / RATE, total > most, damaged.total)
    return samples, facts


def sound_of(container: av.container.InputContainer) -> av.AudioStream:
    """The first stream of sound; BadSound where there is none, or none that can be decoded."""
    if not container.streams.audio:
        raise BadSound("the file holds no sound")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise BadSound("its sound is of a kind that no decoder here knows")
    return stream


def _check_shape(rate: int, channels: int, limits: Limits) -> None:
    if not rate or not channels:
        raise BadSound("expected a music file, found nothing in it that sounds")
    if not limits.rate_low <= rate <= limits.rate_high:
        raise BadSound(f"expected {limits.rate_low} to {limits.rate_high} samples a second, found {rate}")
    if not 1 <= channels <= limits.channels:
        raise BadSound(f"expected 1 to {limits.channels} channels, found {channels}")


class _Damage:
    """Counts packets that could not be decoded, and gives up after too many in a row without sound."""

    def __init__(self, patience: int) -> None:
        self.patience, self.total, self.row = patience, 0, 0

    def note(self, *, sound: bool, broken: bool) -> None:
        """Take down one packet."""
        self.total += broken
        self.row = 0 if sound else self.row + 1
        if self.row > self.patience:
            raise BadSound(f"expected sound, found {self.row} packets in a row that hold none")


def _resampled(
    container: av.container.InputContainer, stream: av.AudioStream, limits: Limits, damage: _Damage
) -> Iterator[Float32]:
    """Blocks of mono samples at RATE; ends at the end of the file, or where it breaks off."""
    resampler, gain, shape = _mono(), np.float32(1), ""
    for frame in _frames(container, stream, damage):
        now = f"{frame.layout.name} {frame.sample_rate} {frame.format.name}"
        if now != shape:  # a stream may change on its way, and what comes need not be what the header promised
            _check_shape(frame.sample_rate, len(frame.layout.channels), limits)
            if shape:
                yield from (gain * out.to_ndarray()[0] for out in resampler.resample(None))
                resampler = _mono()
            gain, shape = _gain(frame.layout.name), now
        frame.pts = None
        for out in resampler.resample(frame):
            yield gain * out.to_ndarray()[0]
    if shape:
        yield from (gain * out.to_ndarray()[0] for out in resampler.resample(None))


def _mono(rate: int = RATE) -> av.AudioResampler:
    return av.AudioResampler(format="flt", layout="mono", rate=rate)


@lru_cache(maxsize=64)
def _gain(layout: str) -> np.float32:
    """What brings the mix of equal channels back to the level of one: the weights of FFmpeg's mix add up to 1.41 for stereo."""
    ones = av.AudioFrame.from_ndarray(np.ones((1, 1024 * av.AudioLayout(layout).nb_channels), np.float32), "flt", layout)
    ones.sample_rate = RATE
    mixed = np.concatenate([out.to_ndarray()[0] for out in _mono().resample(ones)])
    return np.float32(1 / mixed.max()) if mixed.max() > 0 else np.float32(1)


def _frames(container: av.container.InputContainer, stream: av.AudioStream, damage: _Damage) -> Iterator[av.AudioFrame]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError:
            return  # broken off: what came before is music all the same
        if packet is None:
            return
        try:
            frames = packet.decode()
        except FFmpegError:
            damage.note(sound=False, broken=True)
            continue
        damage.note(sound=bool(frames), broken=False)
        yield from frames
