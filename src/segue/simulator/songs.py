"""The songs of the town: who made them, when, how long, how well known, and the hidden vectors that nobody is shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from segue.core.clock import DAY_MS
from segue.core.records import ItemRecord
from segue.core.types import Float32, Int32, Int64
from segue.simulator.names import ALBUMS, GENRES, VERSIONS, fill, unique

DIMENSIONS = 16
FRESH_DAYS = 28
"""Albums that count as new came out in the last FRESH_DAYS before the end of the history."""


@dataclass(frozen=True)
class Songs:
    """Columns over songs, n rows, songs of one artist contiguous; `vectors` are unit rows."""

    records: list[ItemRecord]
    vectors: Float32  # (n, DIMENSIONS) hidden: genre + artist + song parts
    artist: Int32  # (n,)
    artist_ptr: Int64  # (artists + 1,)
    artist_vectors: Float32  # (artists, DIMENSIONS)
    artist_genre: Int32  # (artists,)
    genre: Int32  # (n,)
    genre_vectors: Float32  # (genres, DIMENSIONS)
    released: Int64  # (n,) milliseconds
    duration_s: Float32  # (n,)
    fame: NDArray[np.float64]  # (n,) > 0, sums to 1: how likely anybody comes across it
    appeal: Float32  # (n,) hidden: what everybody hears in it, in logits

    def __len__(self) -> int:
        return len(self.artist)


def unit(rows: NDArray[np.float64]) -> Float32:
    """Rows scaled to length 1, float32."""
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


def genre_ring(genres: int, rng: np.random.Generator) -> Float32:
    """(genres, DIMENSIONS) unit rows; each leans towards the two genres beside it on the ring."""
    raw = unit(rng.normal(size=(genres, DIMENSIONS))).astype(np.float64)
    return unit(raw + 0.35 * (np.roll(raw, 1, axis=0) + np.roll(raw, -1, axis=0)))


def build(rng: np.random.Generator, *, songs: int, artists: int, genres: int, until_ms: int) -> Songs:
    """The songs of a town; every artist has at least one. Same arguments and generator state, same songs."""
    centres = genre_ring(genres, rng)
    artist_genre = np.sort(rng.choice(genres, artists, p=_shares(genres, rng))).astype(np.int32)
    side = (artist_genre + rng.choice([-1, 1], artists)) % genres
    lean = rng.beta(1.2, 4.0, artists)[:, None]  # most artists stay in one genre, some stand between two
    blend = (1 - lean) * centres[artist_genre] + lean * centres[side]
    artist_vectors = unit(blend + 0.11 * rng.normal(size=(artists, DIMENSIONS)))
    star = rng.pareto(1.1, artists) + 0.15  # a power law of fame
    counts = 1 + rng.multinomial(songs - artists, _flat(star))
    artist = np.repeat(np.arange(artists, dtype=np.int32), counts)
    ptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    vectors = unit(artist_vectors[artist] + 0.09 * rng.normal(size=(songs, DIMENSIONS)))
    appeal = rng.normal(0.0, 0.6, songs)
    fame = star[artist] / np.sqrt(counts[artist]) * (rng.pareto(1.3, songs) + 0.1) * np.exp(0.7 * appeal)
    tags = artist_genre, np.where(lean[:, 0] > 0.3, side, -1)
    album, released = _albums(counts, until_ms, rng)
    original = _versions(ptr, rng)
    copies = np.flatnonzero(original >= 0)
    vectors[copies] = unit(vectors[original[copies]] + 0.02 * rng.normal(size=(len(copies), DIMENSIONS)))
    fame[copies] = 0.2 * fame[original[copies]]
    length = np.array([60 * g.minutes for g in GENRES])[artist_genre[artist]]
    duration = np.clip(length * np.exp(0.22 * rng.normal(size=songs)), 75, 900).round().astype(np.float32)
    records = _records(artist, album, original, (released, duration), tags, rng)
    return Songs(
        records,
        vectors,
        artist,
        ptr,
        artist_vectors,
        artist_genre,
        artist_genre[artist],
        centres,
        released,
        duration,
        fame / fame.sum(),
        appeal.astype(np.float32),
    )


def _shares(genres: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.dirichlet(np.full(genres, 8.0))


def _flat(star: NDArray[np.float64]) -> NDArray[np.float64]:
    """Better known artists made more songs, but far from in proportion."""
    weight = star**0.4
    return np.asarray(weight / weight.sum(), np.float64)


def _albums(counts: NDArray[np.int64], until_ms: int, rng: np.random.Generator) -> tuple[Int32, Int64]:
    """Album number, and release in ms, of each song: an artist's songs fall into albums of 4 to 9, the newest last."""
    album: list[int] = []
    release: list[int] = []
    number = -1
    today = until_ms // DAY_MS
    for made in counts:
        left, back = int(made), float(rng.exponential(1500)) + FRESH_DAYS
        if rng.random() < 0.09:  # an artist with something new
            back = float(rng.uniform(0, FRESH_DAYS))
        start = len(album)
        while left > 0:
            number += 1
            size = min(left, int(rng.integers(4, 10)))
            album[start:start] = [number] * size
            release[start:start] = [int(today - back)] * size
            left -= size
            back = min(back + float(rng.uniform(300, 1100)), 50 * 365.0)
    return np.array(album, np.int32), np.array(release, np.int64) * DAY_MS


def _versions(ptr: Int64, rng: np.random.Generator) -> Int32:
    """For about one song in 25, the song by the same artist that it is another version of; -1 for the others."""
    n = int(ptr[-1])
    original = np.full(n, -1, np.int32)
    for first, end in pairwise(ptr):
        for song in range(int(first) + 2, int(end)):
            if rng.random() < 0.055:
                other = int(rng.integers(first, song))
                original[song] = other if original[other] < 0 else original[other]
    return original


def _records(
    artist: Int32,
    album: Int32,
    original: Int32,
    facts: tuple[Int64, Float32],
    tags: tuple[Int32, NDArray[np.int64]],
    rng: np.random.Generator,
) -> list[ItemRecord]:
    """What a catalogue would say of each song."""
    released, duration = facts
    width = len(str(len(artist) - 1))
    artists: set[str] = set()
    records: list[ItemRecord] = []
    titles: set[str] = set()
    for i, who in enumerate(artist):
        genre = GENRES[int(tags[0][who])]
        if i == 0 or artist[i - 1] != who:
            titles = set()
            name = unique(genre.bands, genre, rng, artists)
        if i == 0 or album[i - 1] != album[i]:
            record_title = fill(ALBUMS[int(rng.integers(len(ALBUMS)))], genre, rng)
        if original[i] >= 0:
            version = VERSIONS[int(rng.integers(len(VERSIONS)))]
            title = unique([f"{records[original[i]].title} {version}"], genre, rng, titles, attempts=8)
        else:
            title = unique(genre.titles, genre, rng, titles)
        words = [genre.name, *sorted({genre.moods[int(m)] for m in rng.integers(0, len(genre.moods), 2)})]
        if tags[1][who] >= 0:
            words.insert(1, GENRES[int(tags[1][who])].name)
        day = datetime.fromtimestamp(int(released[i]) / 1000, UTC).date().isoformat()
        records.append(ItemRecord(f"song-{i:0{width}d}", title, name, record_title, float(duration[i]), words, day, "track"))
    return records
