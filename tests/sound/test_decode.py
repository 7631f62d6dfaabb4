"""Every format gives the same music, and no file that strangers can make costs more than a clear refusal."""

from __future__ import annotations

import io
import struct
import tracemalloc
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segue.core.errors import BadSound
from segue.core.types import Float32
from segue.sound.decode import Limits, read
from segue.sound.spectrogram import RATE

FORMATS = {
    "mp3": ("mp3", "libmp3lame", 44_100),
    "flac": ("flac", "flac", 44_100),
    "ogg": ("ogg", "vorbis", 44_100),
    "opus": ("ogg", "libopus", 48_000),
    "m4a": ("ipod", "aac", 44_100),
    "wav": ("wav", "pcm_s16le", 44_100),
}


def music(rate: int, seconds: float = 4.0) -> Float32:
    """Two channels, alike, of a few steady partials."""
    t = np.arange(int(rate * seconds)) / rate
    mono = sum(0.15 * np.sin(2 * np.pi * hertz * t) for hertz in (220, 660, 1_500))
    return np.asarray(np.stack((mono, mono)), np.float32)


def encoded(name: str, samples: Float32 | None = None) -> bytes:
    container_name, codec, rate = FORMATS[name]
    samples = music(rate) if samples is None else samples
    file = io.BytesIO()
    with av.open(file, "w", format=container_name) as out:
        stream = out.add_stream(codec, rate=rate, layout="stereo", options={"strict": "experimental"})
        frame = av.AudioFrame.from_ndarray(samples, "fltp", "stereo")
        frame.sample_rate = rate
        frame.pts = None
        resampler = av.AudioResampler(stream.format, stream.layout, rate, frame_size=stream.codec_context.frame_size or None)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return file.getvalue()


def pcm(samples: np.ndarray, rate: int) -> bytes:
    """A wav of (n, channels) int16."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(samples.shape[1])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {name: encoded(name) for name in FORMATS}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_music(files: dict[str, bytes], name: str, tmp_path: Path) -> None:
    samples, facts = read(files[name])
    assert samples.dtype == np.float32
    assert facts.seconds == pytest.approx(4, abs=0.1)
    assert (facts.channels, facts.rate, facts.cut) == (2, FORMATS[name][2], False)
    middle = samples[RATE : 3 * RATE]
    spectrum = np.abs(np.fft.rfft(middle)) / RATE
    for hertz in (220, 660, 1_500):
        assert spectrum[2 * hertz - 2 : 2 * hertz + 3].max() == pytest.approx(0.15, rel=0.1)
    path = tmp_path / "named.txt"
    path.write_bytes(files[name])
    np.testing.assert_array_equal(read(path)[0], samples)


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 8])
def test_equal_channels_keep_their_level(channels: int) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)
    samples, _ = read(pcm(np.repeat(32_767 * tone[:, None], channels, axis=1), 44_100))
    assert np.abs(samples[2_000:-2_000]).max() == pytest.approx(0.5, rel=0.01)


def test_a_name_that_promises_music_over_nothing_is_told_plainly(tmp_path: Path) -> None:
    path = tmp_path / "zeros.mp3"
    path.write_bytes(bytes(1_000_000))
    with pytest.raises(BadSound, match="nothing in it that sounds"):
        read(path)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_breaks_off_gives_what_came_before_or_says_why(files: dict[str, bytes], name: str) -> None:
    for share in (0.0, 0.01, 0.1, 0.5, 0.9):
        part = files[name][: int(len(files[name]) * share)]
        try:
            _, facts = read(part)
            assert facts.seconds <= 4.1
        except BadSound:
            assert share < 0.5 or name in ("m4a", "ogg")  # its index is at its end; all of it is one page


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (bytes(100_000), "expected"),
        (b"just some words\n" * 500, "cannot be opened"),
        (b"#EXTM3U\n#EXTINF:10,\n/etc/hostname\n", "cannot be opened"),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", "cannot be opened"),
        (
            b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8_000, 16_000, 2, 16),
            "cannot be opened",
        ),
        (
            b"RIFF"
            + struct.pack("<I", 20_036)
            + b"WAVEfmt "
            + struct.pack("<IHHIIHH", 16, 1, 2, 44_100, 176_400, 4, 0)
            + b"data"
            + struct.pack("<I", 20_000)
            + bytes(range(250)) * 80,
            "no decoder here knows",
        ),
    ],
    ids=["nothing", "zeros", "words", "playlist", "concat", "header", "no decoder"],
)
def test_what_is_no_music_is_refused_with_the_reason(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    path.write_bytes(content)
    for source in (content, path):
        with pytest.raises(BadSound, match=reason):
            read(source)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSound, match="No such file"):
        read(tmp_path / "gone.mp3")


@pytest.mark.parametrize(("rate", "channels"), [(1, 1), (44_100, 32), (3_999, 2), (1_000_000, 1)])
def test_rates_and_channels_of_no_music_are_refused(rate: int, channels: int) -> None:
    with pytest.raises(BadSound, match="expected"):
        read(pcm(np.zeros((2_000, channels)), rate))


def test_a_moment_is_no_music() -> None:
    with pytest.raises(BadSound, match="32 ms"):
        read(pcm(np.zeros((80, 1)), 8_000))


def test_a_picture_or_film_without_sound_is_refused() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        for _ in range(5):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")))
        out.mux(stream.encode(None))
    with pytest.raises(BadSound, match="no sound"):
        read(file.getvalue())


def test_hours_are_cut_in_bounded_memory() -> None:
    """An hour of silence in flac is a few hundred kilobytes: what is decoded is bounded, not what is stored."""
    bomb = encoded("flac", np.zeros((2, 44_100 * 600), np.float32))
    assert len(bomb) < 500_000
    tracemalloc.start()
    samples, facts = read(bomb, Limits(seconds=20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (facts.seconds, facts.cut, len(samples)) == (20, True, 20 * RATE)
    assert peak < 8 << 20


def test_a_file_beyond_the_limit_is_refused_unread() -> None:
    with pytest.raises(BadSound, match="at most 1 MiB"):
        read(bytes(3 << 20), Limits(file_bytes=1 << 20))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(FORMATS)),
    damage=st.lists(st.tuples(st.integers(0, 1 << 20), st.binary(min_size=1, max_size=8)), min_size=1, max_size=20),
)
def test_damage_anywhere_never_raises_anything_else(
    files: dict[str, bytes], name: str, damage: list[tuple[int, bytes]]
) -> None:
    content = bytearray(files[name])
    for number, put in damage:
        place = number % len(content)
        content[place : place + 8] = put
    try:
        samples = read(bytes(content), Limits(seconds=5))[0]
    except BadSound:
        return
    assert np.isfinite(samples).all()
    assert len(samples) <= 5 * RATE
