"""What a listener can do, and what it tells us: actions, shares and signals, the same by night and by day."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Action(IntEnum):
    """The kinds of event. Numbers are stored for ever: append new ones, never renumber."""

    SHOWN = 1
    STARTED = 2
    PROGRESS = 3
    COMPLETED = 4
    SKIPPED = 5
    LIKED = 6
    DISLIKED = 7
    SAVED = 8
    RATED = 9
    SEARCHED = 10
    CLICKED = 11
    HIDDEN = 12
    ASSIGNED = 13  # ours: an arm of an experiment influenced somebody for the first time; no caller may send it


ACTIONS: dict[str, Action] = {a.name.lower(): a for a in Action if a is not Action.ASSIGNED}
"""What callers may send."""
CODES: dict[str, Action] = {a.name.lower(): a for a in Action}
"""Every action by its name."""
PLAYS = (int(Action.COMPLETED), int(Action.SKIPPED))
"""The two actions that end a play: a play is counted once, when it ends. STARTED and PROGRESS only open it."""

LIKED_BIT, DISLIKED_BIT, HIDDEN_BIT, SAVED_BIT, SHOWN_BIT = 1, 2, 4, 8, 16
"""The bits of OnlineState.marks. They are stored: never renumber."""

FINISHED_SHARE = 0.8
SKIPPED_SHARE = 0.1
NEWCOMER_PLAYS = 5.0
"""A song with fewer plays has not had its say yet: sound carries it, and part of the exploring goes to it."""
STARS = 5.0
"""`value` of a RATED event is in stars, 0 to 5; importers scale other systems to it."""

_COMPLETED, _SKIPPED = PLAYS
_RATED = int(Action.RATED)
"""Plain numbers: comparing an array with a member of an IntEnum, or np.isin, costs most of the fold of a single event."""
_IS_PLAY = np.zeros(256, np.bool_)
_IS_PLAY[list(PLAYS)] = True
_SAYS = np.zeros(256, np.float32)
"""What a vote says by its action alone, by the byte of the action."""
_SAYS[[int(Action.LIKED), int(Action.SAVED)]] = 1.0
_SAYS[[int(Action.DISLIKED), int(Action.HIDDEN)]] = -1.0


def shares(actions: NDArray[np.int8], played_s: NDArray[np.float32], duration_s: NDArray[np.float32]) -> NDArray[np.float32]:
    """Share of the song that was heard, (n,) float32 in [0, 1].

    played / duration where both are known; else 1 for COMPLETED, 0 for SKIPPED, NaN for everything else. A duration of 0 is
    not known: players say so before they have read the length, and a skip after five seconds is no song heard to the end.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        share = np.clip(played_s / duration_s, 0.0, 1.0).astype(np.float32)
    unknown = ~(np.isfinite(share) & (duration_s > 0))
    default = np.full(len(share), np.nan, np.float32)
    default[actions == _COMPLETED] = 1.0
    default[actions == _SKIPPED] = 0.0
    return np.where(unknown, default, share).astype(np.float32)


def signals(
    actions: NDArray[np.int8],
    played_s: NDArray[np.float32],
    duration_s: NDArray[np.float32],
    values: NDArray[np.float32],
) -> NDArray[np.float32]:
    """What one event says about taste, (n,) float32: +1 wanted, -1 not wanted, 0 says nothing.

    Plays: +1 above 80 % heard, -1 below 10 %, 0 between; a COMPLETED or SKIPPED of unknown length is +1 or -1.
    A SKIPPED that was heard above 80 % is +1 (the end of a song is often cut). LIKED and SAVED +1; DISLIKED and
    HIDDEN -1; RATED +1 from 4 stars, -1 up to 2; everything else 0.
    """
    code = actions.view(np.uint8)
    share = shares(actions, played_s, duration_s)
    play = _IS_PLAY[code]
    out = _SAYS[code]
    out += play & (share > FINISHED_SHARE)
    out -= play & (share < SKIPPED_SHARE)
    rated = actions == _RATED
    if rated.any():
        out += rated & (values >= 0.8 * STARS)
        out -= rated & (values <= 0.4 * STARS)
    return out
