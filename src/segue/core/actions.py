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


ACTIONS: dict[str, Action] = {a.name.lower(): a for a in Action}
PLAYS = (int(Action.COMPLETED), int(Action.SKIPPED))
"""The two actions that end a play: a play is counted once, when it ends. STARTED and PROGRESS only open it."""

LIKED_BIT, DISLIKED_BIT, HIDDEN_BIT, SAVED_BIT, SHOWN_BIT = 1, 2, 4, 8, 16
"""The bits of OnlineState.marks. They are stored: never renumber."""

FINISHED_SHARE = 0.8
SKIPPED_SHARE = 0.1
STARS = 5.0
"""`value` of a RATED event is in stars, 0 to 5; importers scale other systems to it."""


def shares(actions: NDArray[np.int8], played_s: NDArray[np.float32], duration_s: NDArray[np.float32]) -> NDArray[np.float32]:
    """Share of the song that was heard, (n,) float32 in [0, 1].

    played / duration where both are known; else 1 for COMPLETED, 0 for SKIPPED, NaN for everything else.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.clip(played_s / duration_s, 0.0, 1.0).astype(np.float32)
    unknown = ~np.isfinite(share)
    default = np.full(len(share), np.nan, np.float32)
    default[actions == Action.COMPLETED] = 1.0
    default[actions == Action.SKIPPED] = 0.0
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
    share = shares(actions, played_s, duration_s)
    play = np.isin(actions, PLAYS)
    with np.errstate(invalid="ignore"):
        out = np.where(play & (share > FINISHED_SHARE), 1.0, 0.0)
        out = np.where(play & (share < SKIPPED_SHARE), -1.0, out)
        rated = actions == Action.RATED
        out = np.where(rated & (values >= 0.8 * STARS), 1.0, out)
        out = np.where(rated & (values <= 0.4 * STARS), -1.0, out)
    out = np.where(np.isin(actions, (int(Action.LIKED), int(Action.SAVED))), 1.0, out)
    out = np.where(np.isin(actions, (int(Action.DISLIKED), int(Action.HIDDEN))), -1.0, out)
    return out.astype(np.float32)
