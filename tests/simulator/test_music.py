"""The town's music: the same for the same record, in key, level and unclipped, told apart by ear and kept within bounds."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import numpy as np
import pytest

from segue.catalogue.duplicates import LENGTHS_S, SAME
from segue.core.records import ItemRecord
from segue.simulator import synth
from segue.simulator.jukebox import COMPOSED, Jukebox
from segue.simulator.music import mix_of, opening_s, song_of
from segue.simulator.names import GENRES
from segue.simulator.styles import BASSES, COMPS, DRUMS, SCALES, STYLES
from segue.simulator.town import Town
from segue.sound.lda import ClipLda
from segue.sound.loudness import loudness
from segue.sound.spectrogram import RATE, log_mel
from segue.sound.statistics import patch_statistics


def record(title: str = "Amber Window", artist: str = "Ines", *tags: str) -> ItemRecord:
    return ItemRecord(f"id of {title}", title, artist, tags=list(tags))


def test_every_genre_of_the_town_has_a_style_and_every_choice_exists() -> None:
    assert set(STYLES) == {genre.name for genre in GENRES}
    for style in STYLES.values():
        assert set(style.scales) <= SCALES.keys()
        assert set(style.drums) <= DRUMS.keys()
        assert set(style.comps) <= COMPS.keys()
        assert set(style.basses) <= BASSES.keys()
        assert {*style.comp_voices, *style.bass_voices, *style.lead_voices, *style.pads} <= synth.VOICES.keys()
    assert {drum for pattern in DRUMS.values() for drum in pattern} <= synth._DRUMS.keys()


@pytest.mark.parametrize("genre", sorted(STYLES))
def test_a_song_is_level_and_never_clipped(genre: str) -> None:
    song = song_of(record("Slow Lantern", "The Ferrymen", genre), RATE)
    assert song.dtype == np.float32
    assert song.shape[0] == 2
    assert 20 < song.shape[1] / RATE < 36
    assert np.isfinite(song).all()
    assert np.abs(song).max() < 1
    level = 10 * np.log10(sum(10 ** (loudness(log_mel(channel)) / 10) for channel in song))  # BS.1770: channels add up
    assert abs(level - synth.LOUDNESS) < 2.5  # gates, and peaks that were bent
    assert np.abs(song[:, -1]).max() < 1e-3  # it ends in silence
    assert np.abs(song.mean(axis=1)).max() < 1e-3  # no constant part


def test_the_same_record_is_the_same_song_and_another_is_another() -> None:
    one = song_of(record("Moss", "Fen", "folk"), RATE, seconds=3.0)
    assert np.array_equal(one, song_of(record("Moss", "Fen", "folk"), RATE, seconds=3.0))
    assert not np.array_equal(one, song_of(record("Bog", "Fen", "folk"), RATE, seconds=3.0)[:, : one.shape[1]])


def test_a_melody_stays_in_its_scale_and_within_an_instrument() -> None:
    for genre in STYLES:
        lead = mix_of(record("Hearth", "Willow", genre)).parts[2]
        classes = set((lead.pitch % 12).tolist())
        assert any(classes <= {(root + s) % 12 for s in scale} for scale in SCALES.values() for root in range(12))
        assert lead.pitch.max() - lead.pitch.min() <= 31
        assert len(lead.start) >= 4


def test_a_version_is_the_same_composition_played_otherwise() -> None:
    plain, live = mix_of(record("Moss", "Fen", "jazz")), mix_of(record("Moss (Live at Fernhill)", "Fen", "jazz"))
    acoustic = mix_of(record("Moss (Acoustic)", "Fen", "pop"))
    same = min(len(plain.parts[2].pitch), len(live.parts[2].pitch)) // 2
    assert plain.parts[2].pitch[:same].tolist() == live.parts[2].pitch[:same].tolist()
    assert live.room > plain.room
    assert live.hiss > plain.hiss
    assert acoustic.drums == []


def test_an_artist_is_heard_in_all_their_songs() -> None:
    bands = [[part.voice for part in mix_of(record(title, "Fen", "pop")).parts] for title in ("Moss", "Bog", "Reed")]
    assert bands[0] == bands[1] == bands[2]
    voices = {tuple(part.voice for part in mix_of(record("Moss", f"Band {i}", "pop")).parts) for i in range(20)}
    assert len(voices) > 5


def test_a_note_has_its_pitch_and_nothing_above_half_the_rate_folds_back() -> None:
    tone = synth.note(synth.Voice(bright=0.0, dark=0.0), 93, 1.0, 8000)  # 1760 Hz: its third harmonic would fold to 2720
    power = np.abs(np.fft.rfft(tone[800:6800] * np.hanning(6000))) ** 2
    hertz = np.fft.rfftfreq(6000, 1 / 8000)
    near = np.min(np.abs(hertz[:, None] - np.array([1760.0, 3520.0])), axis=1) < 20
    assert power[near].sum() > 1000 * power[~near].sum()


def test_the_default_encoder_hears_the_genres() -> None:
    town = Town(3, songs=240, artists=60, listeners=4, days=1)
    excerpts = (song_of(song, RATE, start=opening_s(song), seconds=6.0).mean(axis=0) for song in town.items[::2])
    heard = [patch_statistics(log_mel(excerpt)) for excerpt in excerpts]
    encoder = ClipLda().fit(heard, np.random.default_rng(0))
    vectors = np.array([encoder.encode_statistics(one) for one in heard])
    genre, artist = town.songs.genre[::2], town.songs.artist[::2]
    near = vectors @ vectors.T
    alike = np.triu(near >= SAME, 1)
    lengths = np.array([song.duration_s or 0.0 for song in town.items[::2]])
    close = np.abs(lengths[:, None] - lengths) <= LENGTHS_S
    print(f"pairs that sound the same: {alike.sum()}, of lengths that agree: {(alike & close).sum()}")
    near[artist[:, None] == artist] = -2  # whoever sounds alike, other than the artist's own songs
    hits = genre[np.argsort(-near, axis=1)[:, :5]] == genre[:, None]
    chance = np.mean([(genre == one).sum() / len(genre) for one in genre])
    print(f"same genre among the 5 nearest of other artists: {hits.mean():.3f}, by chance {chance:.3f}, {len(genre)} songs")
    assert hits.mean() > 0.55
    assert hits.mean() > 4 * np.mean(genre[:, None] == genre)


def test_the_jukebox_plays_what_is_composed_and_keeps_within_its_bounds(tmp_path: Path) -> None:
    songs = [ItemRecord(f"s{i}", f"Song {i}", "Fen", tags=["folk"], extra={COMPOSED: True}) for i in range(3)]
    records = [*songs, ItemRecord("other", "Somebody's own", "Them")]
    box = Jukebox(records.__getitem__, tmp_path / "jukebox", most=8 << 20)
    assert box.audio_of(3) is None
    first = box.audio_of(0)
    assert first is not None
    assert first.mime == "audio/wav"
    assert isinstance(first.source, Path)
    with wave.open(str(first.source)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 32_000, 2)
        assert 20 < file.getnframes() / 32_000 < 36
    made = first.source.stat().st_ino
    box.audio_of(1)
    os.utime(first.source, (1, 1))
    assert box.audio_of(0) == first  # played again: not rendered again, and the last to go
    assert first.source.stat().st_ino == made
    box.audio_of(2)
    kept = {path.name for path in (tmp_path / "jukebox").iterdir()}
    assert first.source.name in kept
    assert len(kept) == 2
