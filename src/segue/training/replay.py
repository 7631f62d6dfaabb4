"""The past asked again: queries exactly as they could have been put then, and what the listener did next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from segue.core.clock import hour_of_week
from segue.core.types import MISSING, SHARE_STEPS, SHARE_UNKNOWN, Context, History, Int32, Int64, Query, Recent
from segue.training.dataset import Held

RECENT = 100
"""Rows of the past that a query carries, as by day."""


@dataclass(frozen=True)
class Tasks:
    """Queries with their answers: lists of m, and the distinct relevant items of each as CSR."""

    queries: list[Query]
    ptr: Int64  # (m + 1,)
    relevant: Int32

    def __len__(self) -> int:
        return len(self.queries)

    @staticmethod
    def of(queries: list[Query], relevant: list[Int32]) -> Tasks:
        """Tasks out of one array of relevant items a query."""
        ptr = np.concatenate([[0], np.cumsum([len(r) for r in relevant], dtype=np.int64)]).astype(np.int64)
        return Tasks(queries, ptr, np.concatenate(relevant) if relevant else np.zeros(0, np.int32))

    @staticmethod
    def joined(parts: Sequence[Tasks]) -> Tasks:
        """Several tasks one after the other."""
        queries = [query for part in parts for query in part.queries]
        return Tasks.of(queries, [part.relevant[a:b] for part in parts for a, b in pairwise(part.ptr.tolist())])


def recent_before(history: History, start: int, row: int, session: int) -> Recent:
    """Up to RECENT rows of start:row, newest first; `session` is the session number of the query, -1 = a new one."""
    first = max(start, row - RECENT)
    back = slice(row - 1, first - 1 if first > 0 else None, -1) if row > first else slice(0, 0)
    signal = history.signal[back].astype(np.float32)
    share = np.where(signal > 0, np.float32(1), np.where(signal < 0, np.float32(0), np.float32(np.nan)))
    if history.share is not None:
        kept = history.share[back]
        share = np.where(kept == SHARE_UNKNOWN, share, kept.astype(np.float32) / np.float32(SHARE_STEPS))
    return Recent(
        items=history.item[back].copy(),
        signal=signal,
        share=share,
        at=history.at[back].astype(np.int64) * 1000,
        in_session=history.session[back] == session,
    )


def query_before(history: History, start: int, row: int, *, now: int, session: int, limit: int) -> Query:
    """The query of the user of rows start:... just before `row`, from the device that the row came from.

    Facts that a History does not keep (region, age) are MISSING: training.people knows them.
    """
    device = MISSING if history.device is None else int(history.device[row])
    return Query(
        request_id=row + 1,
        user=int(history.user[row]),
        now=now,
        limit=limit,
        session=session + 1,
        recent=recent_before(history, start, row, session),
        context=Context(device=device, hour_of_week=hour_of_week(now)),
    )


def eligible(held: Held, history: History) -> Int32:
    """Users who wanted something after the cut and did something before it, ascending."""
    users = np.unique(held.user[held.signal > 0])
    first = np.searchsorted(history.user, users)
    return users[first < held.row[np.searchsorted(held.user, users)]]


def days_ahead(history: History, held: Held, users: Int32, cut: int, limit: int) -> Tasks:
    """One query a user at the cut; relevant is everything wanted after it, heard before or not."""
    queries, relevant = [], []
    starts = np.searchsorted(history.user, users)
    low, high = np.searchsorted(held.user, users), np.searchsorted(held.user, users, side="right")
    for start, a, b in zip(starts.tolist(), low.tolist(), high.tolist(), strict=True):
        queries.append(query_before(history, start, int(held.row[a]), now=cut, session=-1, limit=limit))
        relevant.append(np.unique(held.item[a:b][held.signal[a:b] > 0]))
    return Tasks.of(queries, relevant)


def next_play(history: History, held: Held, users: Int32, limit: int, rng: np.random.Generator) -> Tasks:
    """One moment a user after the cut, just before something that was wanted; relevant is that item alone.

    A moment inside a session is taken where there is one (a radio that goes on), else the start of one. An item that the
    session has had is never the answer: a radio does not repeat itself. Users without such a moment have no task.

    Inside a session it is the second after the play before, when a player asks: a row is dated by its end, so to ask then would
    tell by the pause how long the answer is, and by day no such pause is ever seen.
    """
    queries, relevant = [], []
    starts = np.searchsorted(history.user, users)
    low, high = np.searchsorted(held.user, users), np.searchsorted(held.user, users, side="right")
    cut = int(held.at.min(initial=np.iinfo(np.uint32).max))
    for start, a, b in zip(starts.tolist(), low.tolist(), high.tolist(), strict=True):
        rows = _moments(history, start, held.row[a:b][held.signal[a:b] > 0])
        if len(rows) == 0:
            continue
        row = int(rng.choice(rows))
        session = int(history.session[row])
        now = int(history.at[row])
        if row > start and history.session[row - 1] == session:
            now = min(now, max(int(history.at[row - 1]) + 1, cut))
        queries.append(query_before(history, start, row, now=now * 1000, session=session, limit=limit))
        relevant.append(history.item[row : row + 1].copy())
    return Tasks.of(queries, relevant)


def _moments(history: History, start: int, rows: Int64) -> NDArray[np.int64]:
    """Those of the rows whose item is new to its session; only those with something before them in it, if there are any."""
    fresh: list[int] = []
    inside: list[int] = []
    for row in rows.tolist():
        first = start + int(np.searchsorted(history.session[start:row], history.session[row]))
        if np.any(history.item[first:row] == history.item[row]):
            continue
        (inside if first < row else fresh).append(row)
    return np.array(inside or fresh, np.int64)
