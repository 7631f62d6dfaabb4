"""Events as the columns that the kernels fold: everything that can be derived without the state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.core.actions import PLAYS, STARS, Action, shares, signals
from segue.core.clock import Offset, hours_of_week, offsets_at
from segue.core.types import Events, Float32, Int32, Int64


class Batch(NamedTuple):
    """Events as contiguous columns, everything derived that needs no state."""

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    at: NDArray[np.int64]
    session: NDArray[np.uint32]
    action: NDArray[np.int8]
    signal: NDArray[np.float32]
    share: NDArray[np.float32]  # heard of the song; NaN for votes
    worth: NDArray[np.float32]  # what a vote counts as in popularity: a play of this share
    seconds: NDArray[np.float32]
    row: NDArray[np.int32]  # region row
    hour: NDArray[np.int32]  # local hour of the week


_COMPLETED, _SKIPPED = PLAYS
_LIKED, _SAVED, _RATED = int(Action.LIKED), int(Action.SAVED), int(Action.RATED)


def short_session(session: int) -> int:
    """The 32 bits of a session's hash that are kept: never 0 for a session, 0 for none."""
    return max((session ^ (session >> 32)) & 0xFFFFFFFF, 1) if session else 0


def _worth(action: NDArray[np.int8], value: Float32) -> NDArray[np.float32]:
    """What a vote counts as in popularity: like and save a whole play, stars their share of five, the others none."""
    whole = (action == _LIKED) | (action == _SAVED)
    stars = np.clip(np.nan_to_num(value) / np.float32(STARS), 0, 1)
    worth: Float32 = np.where(action == _RATED, stars, whole).astype(np.float32)
    return worth


def _offsets(utc_offsets: Mapping[int, Offset], row: Int32, at: Int64) -> Int64:
    """Minutes east of UTC of each event, by its region row (region + 1) and moment; 0 where not told."""
    rows = int(row.max(initial=0)) + 1
    table, turning = np.zeros(rows, np.int64), {}
    for region, place in utc_offsets.items():
        if not 0 <= region < rows - 1:
            continue
        if isinstance(place, int):
            table[region + 1] = place
        else:
            turning[region + 1] = place
    offsets: Int64 = table[row]
    for own, place in turning.items():
        here = np.flatnonzero(row == own)
        offsets[here] = offsets_at(place, at[here])
    return offsets


def to_batch(events: Events, utc_offsets: Mapping[int, Offset]) -> Batch:
    """Columns of the events, in their order; signals and shares by core.actions, so that night and day agree."""
    action, at, value, played, duration = (
        np.ascontiguousarray(events[name]) for name in ("action", "at", "value", "played_s", "duration_s")
    )
    play = (action == _COMPLETED) | (action == _SKIPPED)
    share = np.where(play, shares(action, played, duration), np.float32(np.nan))
    heard_s = np.where(np.isfinite(played), np.maximum(played, 0), np.nan_to_num(share * duration, posinf=0.0))
    row = np.maximum(events["region"].astype(np.int32) + 1, 0)
    session = np.ascontiguousarray(events["session"])
    short = np.maximum((session ^ (session >> np.uint64(32))).astype(np.uint32), np.uint32(1))
    return Batch(
        user=np.ascontiguousarray(events["user"]),
        item=np.ascontiguousarray(events["item"]),
        at=at,
        session=np.where(session > 0, short, np.uint32(0)).astype(np.uint32),
        action=action,
        signal=signals(action, played, duration, value),
        share=share.astype(np.float32),
        worth=_worth(action, value),
        seconds=heard_s.astype(np.float32),
        row=row,
        hour=hours_of_week(at, _offsets(utc_offsets, row, at)).astype(np.int32),
    )
