"""The default encoder finds the directions that were planted, and its sums are those of textbooks."""

import numpy as np
import pytest
from scipy import fft

from segue.core.errors import BadInput
from segue.core.types import Float32
from segue.sound.lda import ClipLda
from segue.sound.scatter import Scatter
from segue.sound.spectrogram import BANDS, band_centres, compress, expand
from segue.sound.statistics import (
    CEPSTRA,
    CHANNELS,
    GROUPS,
    PATCH,
    RHYTHMS,
    RIPPLES,
    SCALES,
    STATISTICS,
    patch_statistics,
    patches_of,
)


def planted(rng: np.random.Generator, songs: int, p: int = 60) -> tuple[list[Float32], np.ndarray]:
    """Songs that differ in 3 hidden directions, while their patches differ much more in the others."""
    hidden = np.linalg.qr(rng.standard_normal((p, p)))[0]
    spread = np.r_[np.full(3, 0.3), np.full(p - 3, 3.0)]
    places = np.zeros((songs, p))
    places[:, :3] = rng.standard_normal((songs, 3)) * 2
    songs = [((place + rng.standard_normal((12, p)) * spread) @ hidden.T).astype(np.float32) for place in places]
    return [heard_alike(rows) for rows in songs], hidden


def heard_alike(rows: Float32) -> Float32:
    """The statistics of a song that sounds the same through the narrower channel."""
    return np.concatenate((rows, rows.mean(axis=0, keepdims=True)))


def test_it_finds_the_directions_in_which_songs_differ() -> None:
    songs, hidden = planted(np.random.default_rng(0), 80)
    encoder = ClipLda(size=3, shrinkage=0.01, emphasis=0.0).fit(songs, np.random.default_rng(0))
    learned = np.linalg.qr(np.asarray(encoder.arrays()["projection"], np.float64))[0]
    assert np.linalg.svd(learned.T @ hidden[:, :3])[1].min() > 0.95


def test_patches_of_a_song_vary_by_one_along_each_direction() -> None:
    songs, _ = planted(np.random.default_rng(1), 60)
    encoder = ClipLda(size=3, shrinkage=0.0, emphasis=0.0).fit(songs, np.random.default_rng(0))
    projected = [patches_of(s) @ np.asarray(encoder.arrays()["projection"]) for s in songs]
    within = np.mean([np.cov(s.T, bias=True) for s in projected], axis=0)
    np.testing.assert_allclose(within, np.eye(3), atol=2e-2)


def test_sums_are_the_covariances_within_and_between() -> None:
    rng = np.random.default_rng(2)
    songs = [rng.normal(100, 1, (int(n), 7)).astype(np.float32) + rng.normal(0, 2, 7).astype(np.float32) for n in (3, 1, 5)]
    scatter = Scatter()
    for song in songs:
        scatter.add(song)
    scatter.add(np.zeros((0, 7), np.float32))
    mean, within, between = scatter.moments()
    rows = np.concatenate(songs).astype(np.float64)
    np.testing.assert_allclose(mean, rows.mean(axis=0))
    np.testing.assert_allclose(within + between, np.cov(rows.T, bias=True), atol=1e-9)
    by_hand = sum((s - s.mean(axis=0)).T @ (s - s.mean(axis=0)) for s in (x.astype(np.float64) for x in songs)) / len(rows)
    np.testing.assert_allclose(within, by_hand, atol=1e-9)
    assert (scatter.songs, scatter.patches) == (3, 9)


def test_halves_of_a_library_add_up_to_the_whole() -> None:
    songs, _ = planted(np.random.default_rng(3), 20, 9)
    whole, one, other = Scatter(), Scatter(), Scatter()
    for place, song in enumerate(songs):
        whole.add(song)
        (one if place < 8 else other).add(song)
    one.merge(other)
    for a, b in zip(one.moments(), whole.moments(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)
    one.merge(Scatter())
    assert (one.songs, one.patches) == (whole.songs, whole.patches)
    empty = Scatter()
    empty.merge(whole)
    np.testing.assert_array_equal(empty.moments()[1], whole.moments()[1])


def test_statistics_that_never_change_and_directions_that_nobody_differs_in_have_no_say() -> None:
    songs, _ = planted(np.random.default_rng(4), 5)
    songs = [np.concatenate((song, np.full((len(song), 1), 7, np.float32)), axis=1) for song in songs]
    encoder = ClipLda(size=100, shrinkage=0.5, emphasis=0.0).fit(songs, np.random.default_rng(0))
    learned = np.asarray(encoder.arrays()["projection"])
    assert encoder.dimension == learned.shape[1] == 61
    assert np.isfinite(learned).all()
    assert np.flatnonzero(np.abs(learned).sum(axis=0)).tolist() == [0, 1, 2, 3]  # five songs differ in four directions
    silent = [np.zeros((4, 9), np.float32)] * 3
    assert np.isfinite(ClipLda(size=4).fit(silent, np.random.default_rng(0)).encode_statistics(silent[0])).all()


@pytest.mark.parametrize("songs", [[], [np.ones((2, 50), np.float32)] * 5])
def test_too_little_to_learn_from_is_said(songs: list[Float32]) -> None:
    with pytest.raises(BadInput, match="expected at least 2 songs"):
        ClipLda().fit(songs, np.random.default_rng(0))


def test_a_small_library_has_fewer_directions_than_asked_for() -> None:
    songs, _ = planted(np.random.default_rng(4), 3)
    encoder = ClipLda().fit(songs, np.random.default_rng(0))
    vectors = np.array([encoder.encode_statistics(s) for s in songs])
    assert vectors.shape == (3, 60) == (3, encoder.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_what_the_channel_moves_is_spread_within_a_recording() -> None:
    rng = np.random.default_rng(7)
    songs = [(rng.normal(0, 1, (n, 5)) + rng.normal(0, 2, 5)).astype(np.float32) for n in (4, 6, 8)]
    moves = [rng.normal(0, 1, 5).astype(np.float32) for _ in songs]
    short, twice = Scatter(), Scatter()
    for song, move in zip(songs, moves, strict=True):
        short.add(song, song.mean(axis=0) + move, 0.25)
        twice.add(np.concatenate((song, song, song, song + move)))
    for a, b in zip(short.moments(), twice.moments(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_direction_that_only_the_channel_moves_is_not_kept() -> None:
    rng = np.random.default_rng(8)
    music, channel = rng.normal(0, 1, 80), rng.normal(0, 1, 80)

    def song(place: int) -> Float32:
        rows = rng.normal(0, 0.3, (12, 6))
        rows[:, 0] += music[place]
        rows[:, 1] += 2 * channel[place]
        through = rows.mean(axis=0)
        through[1] -= 8
        return np.concatenate((rows, through[None])).astype(np.float32)

    songs = [song(place) for place in range(80)]
    found = ClipLda(size=1, shrinkage=0.1).fit(songs, np.random.default_rng(0)).arrays()["projection"][:, 0]
    assert np.abs(found).argmax() == 0
    deaf = ClipLda(size=1, shrinkage=0.1).fit([heard_alike(patches_of(s)) for s in songs], np.random.default_rng(0))
    assert np.abs(deaf.arrays()["projection"][:, 0]).argmax() == 1


def test_statistics_of_a_patch() -> None:
    rng = np.random.default_rng(5)
    spectrogram = rng.random((2 * PATCH + 50, BANDS)).astype(np.float32)
    rows = patch_statistics(spectrogram, level=False)
    assert rows.shape == (2 + 1, STATISTICS)
    patch = spectrogram[PATCH : 2 * PATCH]
    np.testing.assert_allclose(rows[1, :BANDS], patch.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(rows[1, BANDS : 2 * BANDS], patch.std(axis=0), atol=1e-5)
    np.testing.assert_allclose(rows[1, 2 * BANDS : 3 * BANDS], np.diff(patch, axis=0).std(axis=0), atol=1e-5)
    groups = patch.reshape(PATCH, GROUPS, -1)
    start = 3 * BANDS + GROUPS * RHYTHMS
    peaks = groups.max(axis=2) - groups.mean(axis=2)
    np.testing.assert_allclose(rows[1, start : start + GROUPS], peaks.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(rows[1, start + 2 * GROUPS : start + 3 * GROUPS], peaks.std(axis=0), atol=1e-5)
    start += 3 * GROUPS
    covariance = np.cov(fft.dct(patch, axis=1, norm="ortho")[:, :CEPSTRA].T, bias=True)
    above = np.triu_indices(CEPSTRA, 1)
    np.testing.assert_allclose(rows[1, start : start + CEPSTRA] ** 2, np.diag(covariance), atol=1e-4)
    signed = rows[1, start + CEPSTRA : start + CEPSTRA + len(above[0])]
    np.testing.assert_allclose(signed * np.abs(signed), covariance[above], atol=1e-4)
    changes = np.diff(groups.mean(axis=2), axis=0)
    damped = (changes**3).mean(axis=0) / (changes.std(axis=0) + 0.02) ** 3
    np.testing.assert_allclose(rows[1, -GROUPS - RIPPLES : -RIPPLES], damped, atol=1e-4)


def test_groups_that_move_together_are_correlated() -> None:
    rng = np.random.default_rng(9)
    beat = rng.random((PATCH, 1))
    patch = 2 + np.repeat(np.concatenate((beat, beat, -beat, rng.random((PATCH, GROUPS - 3))), axis=1), BANDS // GROUPS, axis=1)
    row = patch_statistics(patch.astype(np.float32), level=False)[0, :-RIPPLES][-GROUPS * (GROUPS - 1) // 2 - GROUPS : -GROUPS]
    assert row[0] > 0.8  # first and second
    assert row[1] < -0.8  # first and third
    assert abs(row[2]) < 0.3  # first and fourth


def test_the_last_row_is_the_song_through_a_narrower_channel() -> None:
    spectrogram = (3 * np.random.default_rng(6).random((2 * PATCH, BANDS))).astype(np.float32)
    rows = patch_statistics(spectrogram, level=False)
    means = patches_of(rows)[:, :BANDS].mean(axis=0)
    low, high = band_centres() < CHANNELS[0] / 2, band_centres() > 1.5 * CHANNELS[1]
    np.testing.assert_allclose(rows[-1, :BANDS][low], means[low], atol=1e-3)
    assert (rows[-1, :BANDS][high] < means[high] - 1).all()


def test_a_song_has_the_same_statistics_at_any_level() -> None:
    spectrogram = (3 * np.random.default_rng(6).random((2 * PATCH, BANDS))).astype(np.float32)
    quieter = compress(0.1 * expand(spectrogram))
    np.testing.assert_allclose(patch_statistics(quieter), patch_statistics(spectrogram), atol=2e-3)
    assert np.abs(patch_statistics(quieter, level=False) - patch_statistics(spectrogram, level=False)).max() > 0.5


def test_a_ripple_shows_at_its_scale_and_rate() -> None:
    def strongest(scale: int, hertz: float) -> tuple[int, int]:
        shape = np.cos(np.pi * scale * (np.arange(BANDS) + 0.5) / BANDS)
        swing = np.sin(2 * np.pi * hertz * np.arange(PATCH) * 256 / 16_000)
        row = patch_statistics((3 + swing[:, None] * shape).astype(np.float32), level=False)[0, -RIPPLES:]
        scales, rates = np.unravel_index(row.argmax(), (len(SCALES) - 1, RHYTHMS))
        return int(scales), int(rates)

    assert [strongest(scale, 4.0)[0] for scale in (1, 2, 5, 20, 60)] == [1, 2, 4, 8, 11]
    rates = [strongest(5, hertz)[1] for hertz in (0.67, 1.67, 4.0, 10.0)]
    assert rates == sorted(set(rates))


def test_a_ripple_is_told_by_its_size_however_long_it_lasts() -> None:
    """A swing of one in one coefficient: the power of the wave, over the coefficients and frequencies of its range."""
    shape = np.sqrt(2 / BANDS) * np.cos(np.pi * 5 * (np.arange(BANDS) + 0.5) / BANDS)
    swing = 0.8 * np.cos(2 * np.pi * 12 * np.arange(PATCH) / PATCH)
    row = patch_statistics((3 + swing[:, None] * shape).astype(np.float32), level=False)[0, -RIPPLES:]
    table = row.reshape(len(SCALES) - 1, RHYTHMS)
    frequencies = np.arange(PATCH // 2 + 1) * 62.5 / PATCH
    edges = np.geomspace(0.5, 20, RHYTHMS + 1)
    place = int(np.searchsorted(edges, 12 * 62.5 / PATCH) - 1)
    many = int(((frequencies >= edges[place]) & (frequencies < edges[place + 1])).sum())
    expected = 0.5 * np.log10(0.8**2 / (2 * many) + 0.107**2)
    assert table[4, place] == pytest.approx(expected, abs=1e-3)
    assert table[9, 0] == pytest.approx(np.log10(0.107), abs=1e-3)


def test_a_beat_shows_in_its_range_of_the_modulation_spectrum() -> None:
    def strongest(hertz: float) -> int:
        beat = 2 + np.sin(2 * np.pi * hertz * np.arange(PATCH) * 256 / 16_000)
        rows = patch_statistics(np.repeat(beat[:, None], BANDS, axis=1).astype(np.float32))
        return int(rows[0, 3 * BANDS :][: GROUPS * RHYTHMS].reshape(GROUPS, RHYTHMS)[4].argmax())

    found = [strongest(hertz) for hertz in (0.67, 1.67, 4.0, 10.0)]
    assert found == sorted(set(found))
