"""The kernels that fold events into the arrays and read a listener back out of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.actions import DISLIKED_BIT, HIDDEN_BIT, LIKED_BIT, SAVED_BIT, SHOWN_BIT, Action
from segue.storage.online_state.batch import Batch
from segue.storage.online_state.hours import add_listener, expect_hours
from segue.storage.online_state.pairs import AHEAD, Table, expect_key, find, has_room, insert, kernel, pack_key
from segue.storage.online_state.prefetch import prefetch
from segue.storage.online_state.tops import DEPTH, REBASE_AFTER, Cells, cell_of, count, part_of

LIKED, DISLIKED, HIDDEN, SAVED, SHOWN = LIKED_BIT, DISLIKED_BIT, HIDDEN_BIT, SAVED_BIT, SHOWN_BIT
RATED = 32
"""Private: a first rating counts for popularity, the same one again does not."""
VOTES_SHIFT, VOTES_MOST = 6, 15
"""Private: four bits above the marks say how many votes on the item said something new."""
PUBLIC = LIKED | DISLIKED | HIDDEN | SAVED | SHOWN

A_SHOWN, A_STARTED, A_PROGRESS = int(Action.SHOWN), int(Action.STARTED), int(Action.PROGRESS)
A_COMPLETED, A_SKIPPED = int(Action.COMPLETED), int(Action.SKIPPED)
A_LIKED, A_DISLIKED, A_SAVED = int(Action.LIKED), int(Action.DISLIKED), int(Action.SAVED)
A_RATED, A_HIDDEN = int(Action.RATED), int(Action.HIDDEN)

PLAYS_SEEN = 0
"""Columns of Listeners.counts: plays and votes ever put in the ring, then the four counts of novelty."""
NEW_FINISHED, NEW_REJECTED = 1, 2
COUNTS = 5

LAST, HISTORY = 1, 2
"""Words of a row of the pairs after its key: the last end of a play (ms); session << 32 | times heard << 16 | marks."""
ROW = 3

AT_SHIFT, SIGNAL_SHIFT = 21, 19
SHARE_ONE, SHARE_NONE = 1 << 18, (1 << 19) - 1
MAX_AT = (1 << 42) - 1
"""A moment (until the year 2109), a signal and a share (in steps of 2**-18) fit one signed 64-bit word."""


class Listeners(NamedTuple):
    """What is kept by listener. The ring is in order of time (events of one moment: of the log), newest at plays - 1.

    An entry is two words: session << 32 | item, and at << 21 | (signal + 1) << 19 | share in 2**-18, all ones = unknown.
    """

    counts: NDArray[np.uint32]  # (users, COUNTS)
    entries: NDArray[np.int64]  # (users, ring, 2)


class Counted(NamedTuple):
    """What is kept by song."""

    cells: Cells
    hours: NDArray[np.uint16]  # (items, hours.WORDS)


@kernel
def pack_word(at: int, signal: float, share: float) -> int:
    """at, signal and share in one word; words of later moments are larger."""
    fixed = SHARE_NONE if np.isnan(share) else int(np.round(share * SHARE_ONE))
    return (max(0, min(at, MAX_AT)) << AT_SHIFT) | ((int(signal) + 1) << SIGNAL_SHIFT) | fixed


@kernel
def push(listeners: Listeners, user: int, what: int, word: int) -> None:
    """Put one entry at its place in time: late arrivals move the newer ones up, one older than a full ring is dropped."""
    entries, ring = listeners.entries, listeners.entries.shape[1]
    seen = int(np.int64(listeners.counts[user, PLAYS_SEEN]))
    held = min(seen, ring)
    newer, at = 0, word >> AT_SHIFT
    while newer < held and (entries[user, (seen - 1 - newer) % ring, 1] >> AT_SHIFT) > at:
        newer += 1
    if newer == ring:
        return
    for step in range(newer):
        to, source = (seen - step) % ring, (seen - 1 - step) % ring
        entries[user, to, 0], entries[user, to, 1] = entries[user, source, 0], entries[user, source, 1]
    place = (seen - newer) % ring
    entries[user, place, 0], entries[user, place, 1] = what, word
    listeners.counts[user, PLAYS_SEEN] = seen + 1


@kernel
def next_marks(marks: int, action: int, signal: float) -> int:
    """The bits after a vote: the last word wins, so a like takes back a dislike and a hide, and the reverse."""
    if action == A_LIKED:
        return (marks & ~(DISLIKED | HIDDEN)) | LIKED
    if action == A_SAVED:
        return (marks & ~(DISLIKED | HIDDEN)) | SAVED
    if action == A_DISLIKED:
        return (marks & ~LIKED) | DISLIKED
    if action == A_HIDDEN:
        return (marks & ~LIKED) | HIDDEN
    if action == A_RATED:
        kept = (marks & ~(LIKED | DISLIKED)) | RATED
        return kept | (LIKED if signal > 0 else 0) | (DISLIKED if signal < 0 else 0)
    if action == A_SHOWN:
        return marks | SHOWN
    return marks


@kernel
def _add_novelty(listeners: Listeners, user: int, times: int, signal: float) -> None:
    if signal == 0.0:
        return
    column = (NEW_FINISHED if signal > 0 else NEW_REJECTED) + (0 if times == 0 else 2)
    listeners.counts[user, column] += 1


@kernel
def _add_hour(cells: Cells, batch: Batch, i: int, weight: float) -> None:
    row, hour = batch.row[i], batch.hour[i]
    cells.hours[row, hour, 0] += weight
    cells.hours[row, hour, 1] += weight * (batch.signal[i] > 0)
    cells.hours[row, hour, 2] += weight * (batch.signal[i] < 0)
    cells.hours[row, hour, 3] += weight * batch.seconds[i]


@kernel
def fresh_share(before: int, lives: float) -> float:
    """What one more play counts, in (0, 1], after `before` plays by the same listener, the last one so many half-lives ago.

    The first counts as one, the next a half, a quarter, ...; or what decay took from the last one meanwhile, where that is
    more. So the decayed plays of one listener never exceed two: a song rises by being loved by many.
    """
    return float(max(-np.expm1(-np.log(2.0) * max(lives, 0.0)), np.exp2(-float(min(before, 1000)))))


@kernel
def _fold_pair(listeners: Listeners, pairs: Table, hours: NDArray[np.uint16], batch: Batch, i: int, life_ms: float) -> float:
    """Update what is known of (user, item); what a play or vote counts for popularity, 0 for what says nothing new."""
    user, action, signal = batch.user[i], batch.action[i], batch.signal[i]
    play = action in (A_COMPLETED, A_SKIPPED)
    slot = insert(pairs, pack_key(user, batch.item[i]))
    word = pairs.rows[slot, HISTORY]
    session, times, marks = (word >> 32) & 0xFFFFFFFF, (word >> 16) & 0xFFFF, word & 0xFFFF
    counts = 0.0
    if play:
        counts = fresh_share(times, (batch.at[i] - pairs.rows[slot, LAST]) / life_ms)
        add_listener(hours, batch.item[i], batch.at[i], pairs.rows[slot, LAST])
        _add_novelty(listeners, user, times, signal)
        times = min(times + 1, 0xFFFF)
        pairs.rows[slot, LAST] = max(pairs.rows[slot, LAST], batch.at[i])
    if play or action in (A_STARTED, A_PROGRESS):
        session = np.int64(batch.session[i])
    changed = next_marks(marks, action, signal)
    if changed != marks and action != A_SHOWN:
        votes = (marks >> VOTES_SHIFT) & VOTES_MOST
        counts = fresh_share(votes, 0.0)
        changed = (changed & ~(VOTES_MOST << VOTES_SHIFT)) | (min(votes + 1, VOTES_MOST) << VOTES_SHIFT)
    pairs.rows[slot, HISTORY] = (session << 32) | (times << 16) | changed
    return counts


@kernel
def _anticipate(batch: Batch, i: int, listeners: Listeners, pairs: Table, cells: Cells, hours: NDArray[np.uint16]) -> None:
    """Ask for the rows that event i will touch; a wrong guess costs nothing."""
    user, item = batch.user[i], batch.item[i]
    if user < 0 or item < 0:
        return
    expect_key(pairs, pack_key(user, item))
    if batch.action[i] >= A_COMPLETED:
        ring = listeners.entries.shape[1]
        seen = int(np.int64(listeners.counts[user, PLAYS_SEEN]))
        prefetch(listeners.entries, (np.int64(user) * ring + seen % ring) * 2)
        expect_hours(hours, item)
        for level in range(DEPTH):
            expect_key(cells.table, pack_key(cell_of(batch.row[i], part_of(batch.hour[i]), level), item))


@kernel
def fold_events(
    batch: Batch, start: int, listeners: Listeners, pairs: Table, counted: Counted, clock: NDArray[np.int64], life_ms: float
) -> int:
    """Fold events from `start` on: len(batch.user) when done, else the place of the first that cannot be folded yet.

    Then either a table needs room, or the landmark must move: the event is REBASE_AFTER half-lives or more beyond it.
    """
    cells, hours = counted.cells, counted.hours
    for i in range(start, len(batch.user)):
        if not has_room(pairs, 1) or not has_room(cells.table, DEPTH):
            return i
        if i + 2 * AHEAD < len(batch.user):
            prefetch(listeners.counts, np.int64(max(batch.user[i + 2 * AHEAD], 0)) * COUNTS)
            _anticipate(batch, i + AHEAD, listeners, pairs, cells, hours)
        user, item, action = batch.user[i], batch.item[i], batch.action[i]
        if user < 0 or item < 0 or action < A_SHOWN or (action > A_RATED and action != A_HIDDEN):
            continue
        lives = batch.at[i] / life_ms
        if action >= A_COMPLETED and lives - clock[1] >= REBASE_AFTER:
            return i
        counts = _fold_pair(listeners, pairs, hours, batch, i, life_ms)
        if action < A_COMPLETED:
            continue
        what = (np.int64(batch.session[i]) << 32) | item
        push(listeners, user, what, pack_word(batch.at[i], batch.signal[i], batch.share[i]))
        play = action in (A_COMPLETED, A_SKIPPED)
        if counts > 0.0:
            weight = np.exp2(lives - clock[1])
            clock[0] = max(clock[0], batch.at[i])
            share = batch.share[i] if play else batch.worth[i]
            count(cells, batch.row[i], part_of(batch.hour[i]), item, weight * counts, share)
            if play:
                _add_hour(cells, batch, i, weight)
    return len(batch.user)


@njit(cache=True, nogil=True)
def read_recent(
    listeners: Listeners, user: int, session: int
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """(items, signal, share, at, in session) of a listener, newest first."""
    ring = listeners.entries.shape[1]
    seen = np.int64(listeners.counts[user, PLAYS_SEEN])
    n = min(seen, ring)
    items, at = np.empty(n, np.int32), np.empty(n, np.int64)
    signal, share = np.empty(n, np.float32), np.empty(n, np.float32)
    same = np.empty(n, np.bool_)
    for i in range(n):
        place = (seen - 1 - i) % ring
        what, word = listeners.entries[user, place, 0], listeners.entries[user, place, 1]
        fixed = word & SHARE_NONE
        items[i] = what & 0x7FFFFFFF
        at[i] = word >> AT_SHIFT
        signal[i] = ((word >> SIGNAL_SHIFT) & 3) - 1
        share[i] = np.nan if fixed == SHARE_NONE else fixed / SHARE_ONE
        same[i] = session != 0 and ((what >> 32) & 0xFFFFFFFF) == session
    return items, signal, share, at, same


@njit(cache=True, nogil=True)
def read_pairs(
    pairs: Table, user: int, items: NDArray[np.int32]
) -> tuple[NDArray[np.uint16], NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint32]]:
    """(times heard, last heard, marks, last session) of each item for one user; zeros where nothing is known."""
    n = len(items)
    times, last = np.zeros(n, np.uint16), np.zeros(n, np.int64)
    marks, session = np.zeros(n, np.uint8), np.zeros(n, np.uint32)
    for i in range(n):
        if user >= 0 and i + AHEAD < n and items[i + AHEAD] >= 0:
            expect_key(pairs, pack_key(user, items[i + AHEAD]))
        slot = find(pairs, pack_key(user, items[i])) if user >= 0 and items[i] >= 0 else -1
        if slot >= 0:
            word = pairs.rows[slot, HISTORY]
            last[i] = pairs.rows[slot, LAST]
            times[i] = (word >> 16) & 0xFFFF
            marks[i] = word & PUBLIC
            session[i] = (word >> 32) & 0xFFFFFFFF
    return times, last, marks, session
