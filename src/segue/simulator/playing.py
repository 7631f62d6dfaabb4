"""The game: a world opens sessions, a policy answers with slates, many sessions side by side; what came of it as columns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segue.core.types import MISSING, Bool, Float32, Int32, Int64

LONGEST = 1000
"""Songs after which a session ends whatever happens: a guard, far beyond what a listener hears in a day."""
SONG_S = 200.0
"""Length of a song where a world does not say."""


@dataclass(frozen=True)
class Turn:
    """What a policy may know when it is asked: m sessions that wait for songs."""

    rows: NDArray[np.intp]  # (m,) places among the sessions of this game, for whoever keeps a memory
    user: Int32
    session: Int64  # (m,) number of the session, unique among the sessions of its user
    step: int  # songs heard before in each of them
    at: Int64  # (m,) milliseconds
    item: Int32  # (m,) the song before, MISSING where there is none
    share: Float32  # (m,) how much of it was heard, NaN where there is none


@dataclass(frozen=True)
class Heard:
    """What listeners did with one song each."""

    turn: Turn  # as asked; item and share are of the song before
    items: Int32
    shares: Float32
    going: Bool  # False: this was the last song of the session


class Policy(Protocol):
    """Whoever chooses the songs; it sees turns and what was heard, and nothing of the world."""

    name: str

    def slate(self, turn: Turn, size: int) -> Int32:
        """Songs for each session, (m, size) int32; MISSING where it has none."""
        ...

    def heard(self, heard: Heard) -> None:
        """What came of a song, the opening ones included."""
        ...


class Sessions(Protocol):
    """n sessions of a world, each with its hidden state."""

    user: Int32
    number: Int64
    at: Int64  # ms when it begins
    opening: Int32  # the first song, chosen by the listener; MISSING: the policy begins

    def hear(self, rows: NDArray[np.intp], items: Int32, step: int) -> tuple[Float32, Bool]:
        """How much of one song each of the sessions `rows` hears, in [0, 1], and whether it goes on; step = songs before it."""
        ...


@dataclass(frozen=True)
class Plays:
    """Every song heard, in order of session, then place: columns of p rows."""

    row: NDArray[np.intp]  # which session
    user: Int32
    session: Int64
    position: Int32
    item: Int32
    share: Float32
    at: Int64  # ms when it ended

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True)
class Game:
    """What came of n sessions under one policy."""

    policy: str
    user: Int32  # (n,)
    time: NDArray[np.float64]  # (n,) sum of shares: songs' worth of listening
    length: NDArray[np.float64]  # (n,) songs
    request_s: float  # mean seconds of a request to the policy
    requests: int
    plays: Plays


@dataclass
class _Pages:
    """Plays as they happen, a step at a time."""

    columns: list[tuple[NDArray[np.generic], ...]] = field(default_factory=list)

    def add(self, heard: Heard, at: Int64) -> None:
        turn = heard.turn
        step = np.full(len(turn.rows), turn.step, np.int32)
        self.columns.append((turn.rows, turn.user, turn.session, step, heard.items, heard.shares, at))

    def all(self) -> Plays:
        if not self.columns:
            kinds = (np.intp, np.int32, np.int64, np.int32, np.int32, np.float32, np.int64)
            return Plays(*(np.zeros(0, kind) for kind in kinds))  # type: ignore[arg-type]
        columns = [np.concatenate(parts) for parts in zip(*self.columns, strict=True)]
        order = np.lexsort((columns[3], columns[0]))
        return Plays(*(column[order] for column in columns))


def play(
    sessions: Sessions,
    policy: Policy,
    *,
    slate: int = 1,
    longest: int = LONGEST,
    song_s: float = SONG_S,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Game:
    """Play all sessions to their end, step by step side by side; `slate` songs are asked for at a time.

    A session ends when its listener leaves, when the policy has nothing for it, or after `longest` songs. progress(done, of)
    hears how many sessions have ended.
    """
    n = len(sessions.user)
    at = np.array(sessions.at, np.int64)
    last, share = np.full(n, MISSING, np.int32), np.full(n, np.nan, np.float32)
    going = np.ones(n, np.bool_)
    pages, seconds, requests = _Pages(), 0.0, 0
    waiting: NDArray[np.int32] = np.zeros((n, 0), np.int32)
    for step in range(longest):
        rows = np.flatnonzero(going)
        if not len(rows):
            break
        turn = Turn(rows, sessions.user[rows], sessions.number[rows], step, at[rows].copy(), last[rows], share[rows])
        opens = step == 0 and bool((sessions.opening != MISSING).any())
        if opens:
            items = sessions.opening[rows]
        else:
            if not waiting.shape[1]:
                started = time.perf_counter()
                answer = np.asarray(policy.slate(turn, slate), np.int32)
                seconds += time.perf_counter() - started
                requests += len(rows)
                waiting = np.full((n, slate), MISSING, np.int32)
                waiting[rows] = answer
            items, waiting = waiting[rows, 0], waiting[:, 1:]
        offered = items != MISSING
        going[rows[~offered]] = False
        if not offered.any():
            continue
        turn = _kept(turn, offered)
        heard_share, on = sessions.hear(turn.rows, items[offered], step)
        at[turn.rows] += (heard_share * (song_s * 1000)).astype(np.int64) + 1000
        last[turn.rows], share[turn.rows], going[turn.rows] = items[offered], heard_share, on
        heard = Heard(turn, items[offered], heard_share, on)
        policy.heard(heard)
        pages.add(heard, at[turn.rows])
        progress(int((~going).sum()), n)
    plays = pages.all()
    return Game(
        policy.name,
        sessions.user,
        np.bincount(plays.row, plays.share, n).astype(np.float64),
        np.bincount(plays.row, minlength=n).astype(np.float64),
        seconds / max(requests, 1),
        requests,
        plays,
    )


def _kept(turn: Turn, mask: Bool) -> Turn:
    return Turn(
        turn.rows[mask],
        turn.user[mask],
        turn.session[mask],
        turn.step,
        turn.at[mask],
        turn.item[mask],
        turn.share[mask],
    )
