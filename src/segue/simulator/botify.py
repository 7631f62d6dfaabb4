"""The listener model of the public "botify" course simulator, over its own tracks and users with generated vectors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.errors import BadInput
from segue.core.types import MISSING, Bool, Float32, Int32, Int64
from segue.simulator.luck import place, uniform

NEAREST = 10
"""The first song of a session is one of so many nearest to the interest, itself among them."""
BUDGET = 5
ARTIST_DISCOUNT = 0.8
_INTEREST, _OPENING, _BUDGET = 1, 2, 3
"""Purposes of luck."""


@dataclass(frozen=True)
class Shape:
    """How vectors are made: the sum of a part for the genre, the artist and the song itself, each normal in `dimensions`.

    energy is the mean squared length of a song; parts are shares of it. Biases of the public users are uniform in 0 to 10
    and are compared with inner products, so energy 10 makes the song of an interest itself about as good as the most
    demanding listener asks, and a song of another genre (0 on average) as bad as the least demanding one does.
    """

    dimensions: int = 32
    genres: int = 12
    parts: tuple[float, float, float] = (0.5, 0.3, 0.2)
    energy: float = 10.0


class Botify:
    """Songs, and listeners with three interests each.

    A session picks one interest of its user; its hidden vector is that song's. The first song is one of the NEAREST (by
    cosine) and is heard whole. Then, for song j in session s of user u,
        share = sigmoid((v_j . v_s - bias_u) * sharpness_u) * 0.8^(times the artist was played in the session),  0 for a repeat
    and a budget of 5 falls by 1 with probability 1 - share; the session ends with it. Luck comes by counters from (seed,
    user, session, step), so that policies share it.
    """

    def __init__(
        self,
        artist: Int32,
        interests: NDArray[np.integer],
        bias: NDArray[np.floating],
        sharpness: NDArray[np.floating],
        *,
        seed: int = 0,
        shape: Shape | None = None,
    ) -> None:
        """artist (n_items,) dense ids; interests (n_users, 3) items; bias and sharpness (n_users,)."""
        if interests.size and not (interests.min() >= 0 and interests.max() < len(artist)):
            raise BadInput(f"interests: expected items 0 to {len(artist) - 1}, found {interests.min()} to {interests.max()}")
        self.artist = np.asarray(artist, np.int32)
        self.interests = np.asarray(interests, np.int32)
        self.bias, self.sharpness = np.asarray(bias, np.float64), np.asarray(sharpness, np.float64)
        self.seed, self.shape = seed, shape or Shape()
        self.vectors, self.genre = _vectors(self.artist, np.random.default_rng([seed, 1]), self.shape)
        self._wanted, place_of = np.unique(self.interests, return_inverse=True)
        self._interest_place = place_of.reshape(self.interests.shape)
        self._near = _nearest_songs(self.vectors, self._wanted)

    @property
    def n_users(self) -> int:
        """How many listeners."""
        return len(self.bias)

    @property
    def n_items(self) -> int:
        """How many songs."""
        return len(self.artist)

    @staticmethod
    def read(folder: Path, *, seed: int = 0, shape: Shape | None = None) -> Botify:
        """The public tracks and users, from the files tracks*.json and users*.json of a folder, one JSON object a line."""
        tracks, users = _lines(folder, "tracks"), _lines(folder, "users")
        number: dict[str, int] = {}
        by_track = sorted(tracks, key=lambda track: int(track["track"]))
        if [track["track"] for track in by_track] != list(range(len(by_track))):
            raise BadInput(f"{folder}: expected tracks numbered from 0 without gaps")
        artist = np.array([number.setdefault(str(track["artist"]), len(number)) for track in by_track], np.int32)
        by_user = sorted(users, key=lambda user: int(user["user"]))
        columns = (np.array([user[name] for user in by_user]) for name in ("interests", "consume_bias", "consume_sharpness"))
        return Botify(artist, *columns, seed=seed, shape=shape)

    @staticmethod
    def generated(*, songs: int, artists: int, listeners: int, seed: int = 0, shape: Shape | None = None) -> Botify:
        """A world of the same kind without its files: few artists with many songs, and interests that many share."""
        rng = np.random.default_rng([seed, 2])
        fame = 1.0 / np.arange(1, artists + 1) ** 0.8
        artist = np.sort(rng.choice(artists, songs, p=fame / fame.sum())).astype(np.int32)
        loved = 1.0 / rng.permutation(np.arange(1, songs + 1)) ** 0.7
        interests = rng.choice(songs, (listeners, 3), p=loved / loved.sum())
        return Botify(
            artist, interests, rng.uniform(0, 10, listeners), rng.uniform(0.5, 2.0, listeners), seed=seed, shape=shape
        )

    def sessions(
        self, users: NDArray[np.integer], numbers: NDArray[np.integer], at: NDArray[np.integer] | int
    ) -> BotifySessions:
        """Session number numbers[i] of users[i], beginning at (ms): the same numbers are the same sessions, always."""
        return BotifySessions(self, np.asarray(users, np.int32), np.asarray(numbers, np.int64), at)


class BotifySessions:
    """Sessions under way; see playing.Sessions."""

    def __init__(self, world: Botify, users: Int32, numbers: Int64, at: NDArray[np.integer] | int) -> None:
        self.user, self.number = users, numbers
        self.at = np.broadcast_to(np.asarray(at, np.int64), users.shape).copy()
        self._world = world
        which = place(uniform(world.seed, _INTEREST, users, numbers), world.interests.shape[1])
        near = world._near[world._interest_place[users, which]]
        self.interest = world.interests[users, which]
        self.opening = near[np.arange(len(users)), place(uniform(world.seed, _OPENING, users, numbers), near.shape[1])]
        self._budget = np.full(len(users), BUDGET, np.int32)
        self._heard = np.full((len(users), 16), MISSING, np.int32)
        self._count = np.zeros(len(users), np.int64)

    def likes(self, rows: NDArray[np.intp], items: Int32) -> NDArray[np.float64]:
        """Hidden: the share before discounts, (m,); for judging, never for a policy."""
        world, user = self._world, self.user[rows]
        product = np.einsum("md,md->m", world.vectors[items], world.vectors[self.interest[rows]], dtype=np.float64)
        return np.asarray(1.0 / (1.0 + np.exp(-(product - world.bias[user]) * world.sharpness[user])))

    def hear(self, rows: NDArray[np.intp], items: Int32, step: int) -> tuple[Float32, Bool]:
        """The opening song is heard whole; then the listener's share, and the budget."""
        items = np.asarray(items, np.int32)
        if step == 0:
            share = np.ones(len(rows))
        else:
            repeats, artists = _met(self._heard, self._count, rows, items, self._world.artist)
            share = self.likes(rows, items) * ARTIST_DISCOUNT**artists
            share[repeats] = 0.0
        if int(self._count.max(initial=0)) == self._heard.shape[1]:
            self._heard = np.concatenate((self._heard, np.full_like(self._heard, MISSING)), axis=1)
        self._heard[rows, self._count[rows]] = items
        self._count[rows] += 1
        luck = uniform(self._world.seed, _BUDGET, self.user[rows], self.number[rows], step)
        self._budget[rows] -= luck < 1.0 - share
        return share.astype(np.float32), self._budget[rows] > 0


def _vectors(artist: Int32, rng: np.random.Generator, shape: Shape) -> tuple[Float32, Int32]:
    """(n_items, d) float32 and the genre of each song; genres differ in size as Dirichlet(1) shares do."""
    artists = int(artist.max(initial=-1)) + 1
    sizes = rng.dirichlet(np.ones(shape.genres))
    genre = rng.choice(shape.genres, artists, p=sizes).astype(np.int32)
    parts = [rng.standard_normal((rows, shape.dimensions)) for rows in (shape.genres, artists, len(artist))]
    scale = np.sqrt(np.asarray(shape.parts) / sum(shape.parts) * shape.energy / shape.dimensions)
    of_song = genre[artist]
    vectors = parts[0][of_song] * scale[0] + parts[1][artist] * scale[1] + parts[2] * scale[2]
    return vectors.astype(np.float32), of_song


def _nearest_songs(vectors: Float32, wanted: NDArray[np.integer]) -> Int32:
    """The NEAREST songs by cosine of each of the wanted, (w, NEAREST), nearest first, ties by number."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    k = min(NEAREST, len(vectors))
    out = np.empty((len(wanted), k), np.int32)
    for start in range(0, len(wanted), 256):
        block = wanted[start : start + 256]
        _largest(unit[block] @ unit.T, out[start : start + len(block)])
    return out


@njit(cache=True, nogil=True)
def _largest(scores: Float32, out: Int32) -> None:
    """Places of the largest values of each row, largest first."""
    n, k = scores.shape[0], out.shape[1]
    best = np.empty(k, np.float32)
    for i in range(n):
        best[:] = -np.inf
        out[i, :] = -1
        for j in range(scores.shape[1]):
            value = scores[i, j]
            if value > best[k - 1]:
                at = k - 1
                while at > 0 and value > best[at - 1]:
                    best[at], out[i, at] = best[at - 1], out[i, at - 1]
                    at -= 1
                best[at], out[i, at] = value, j


@njit(cache=True, nogil=True)
def _met(heard: Int32, count: Int64, rows: NDArray[np.intp], items: Int32, artist: Int32) -> tuple[Bool, Int32]:
    """Whether each song was heard before in its session, and how many songs of its artist were."""
    repeats, artists = np.zeros(len(rows), np.bool_), np.zeros(len(rows), np.int32)
    for i in range(len(rows)):
        for place_ in range(count[rows[i]]):
            other = heard[rows[i], place_]
            if other == items[i]:
                repeats[i] = True
            if artist[other] == artist[items[i]]:
                artists[i] += 1
    return repeats, artists


def _lines(folder: Path, what: str) -> list[dict[str, Any]]:
    """The objects of the newest file of a kind."""
    files = sorted(folder.glob(f"{what}*.json"))
    if not files:
        raise BadInput(f"{folder}: expected a file {what}*.json of the botify world, one JSON object a line; found none")

    def parsed() -> Iterator[dict[str, Any]]:
        for number, line in enumerate(files[-1].read_text(encoding="utf-8").splitlines(), 1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise BadInput(f"{files[-1]} line {number}: expected a JSON object: {error}") from None

    return list(parsed())
