"""Candidates as rows of numbers: what each source said, what the listener has done, what the song is, when it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segue.core.clock import part_of_week
from segue.core.types import MISSING, NO_DAY, Candidates, Float32, Int32, Int64, Items, Query
from segue.features.kernels import fill_evidence, fill_own
from segue.features.taste import LATEST, TASTE, fill_taste, tags_of
from segue.features.wide import GROUPS, WIDE, Around, fill_wide

CONTEXT = ("night", "morning", "daytime", "weekend", "in_session", "session_length", "session_skips", "known")
"""The same for every candidate of a query: they move P(listen), not the order."""
OWN = (
    "agreement",
    "expected_share",
    "plays",
    "heard",
    "heard_times",
    "heard_ago",
    "wanted_lately",
    "refused_lately",
    "artist_finished",
    "artist_skipped",
    "artist_finished_here",
    "artist_skipped_here",
    "artist_of_last",
    "album_of_last",
    "new_release",
    "age",
    "age_unknown",
    "length",
)


PROVEN: frozenset[str] = frozenset({*GROUPS["vectors"], *GROUPS["ways"]})
"""Columns of TASTE and WIDE that `segue benchmark stages` has shown to carry something of their own."""


EXTRA: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "tags": ("tags_finished", "tags_skipped", "tags_here", "tags_of_last"),
        "habits": ("era", "length_rate", "artist_rate", "own_rate"),
        **{group: names for group, names in GROUPS.items() if not set(names) <= PROVEN},
    }
)
"""Groups of columns that [features] groups may name, to be learned from beside the others."""


def proven(sources: Sequence[str], groups: Sequence[str] = ()) -> tuple[str, ...]:
    """The columns that the night learns from: of TASTE and WIDE those that are proven or in one of the groups of EXTRA that
    are named. What no model names no request makes."""
    optional = {*TASTE, *WIDE} - PROVEN - {name for group in groups for name in EXTRA[group]}
    return tuple(name for name in Features(sources).names if name not in optional)


class RemembersPlays(Protocol):
    """The part of OnlineState that features ask; the night answers the same from the history."""

    def heard(self, user: int, items: Int32) -> tuple[NDArray[np.uint16], Int64]:
        """Times played and when last (ms, 0 never), per item."""
        ...

    def popularity(self, items: Int32, region: int, hour_of_week: int) -> Float32:
        """(expected share heard, log(1 + decayed plays)), (n, 2)."""
        ...

    def by_hour(self, items: Int32, now: int) -> NDArray[np.uint16]:
        """Listeners in the hour of `now` (ms) and in each of the 23 before, (n, 24), newest first."""
        ...


@dataclass(frozen=True)
class Memory:
    """What is remembered of n candidates: columns, from the state by day and from the history by night."""

    times: NDArray[np.uint16]  # (n,) how often this listener has played it
    last: Int64  # (n,) when last, ms, 0 never
    popularity: Float32  # (n, 2) expected share heard, log(1 + decayed plays)
    hours: NDArray[np.uint16] | None = None  # (n, 24) listeners by hour, newest first; None where nobody asks


def remember(state: RemembersPlays, query: Query, items: Int32, *, hourly: bool = False) -> Memory:
    """Ask the state, or whoever stands in for it, what it knows of the items; `hourly`: the listeners by hour too."""
    times, last = state.heard(query.user, items)
    place = query.context
    hours = state.by_hour(items, query.now) if hourly else None
    return Memory(times, last, state.popularity(items, place.region, place.hour_of_week), hours)


class Features:
    """Rows for the candidates of the sources named, (n, F) float32, finite; `names` are the columns.

    For each source and its rank r from 0: <source> = (k + 1) / (k + 1 + r); <source>_top = the same with the steeper `top`
    in place of k; <source>_score = its score between its worst (0) and best (1) for this query; each 0 where silent. The
    same three with _here inside a session, 0 outside of one, so that a linear model may trust sources differently there.
    <source>_said = 1 or 0. Then OWN (made in segue.features.kernels), TASTE (segue.features.taste), CONTEXT, and the groups
    of segue.features.wide, which look at `around`. No raw scores: a refit changes their scale every night. `only` names the
    columns that are wanted, in that order: what a model of another version learned from; ValueError for others. What it
    does not name of TASTE and WIDE is not computed. A source of the candidates that is not named is not seen; a named one
    that is absent (it was late) is silent.
    """

    def __init__(
        self,
        sources: Sequence[str],
        *,
        k: float = 20.0,
        top: float = 3.0,
        only: Sequence[str] | None = None,
        around: Around | None = None,
    ) -> None:
        self.sources = tuple(sources)
        self.k = k
        self.top = top
        kinds = ("", "_top", "_score", "_here", "_top_here", "_score_here", "_said")
        evidence = [f"{source}{kind}" for kind in kinds for source in self.sources]
        usual = (*evidence, *OWN, *TASTE, *CONTEXT)
        self._usual, self._around, self._kept = len(usual), around or Around.nothing(), None
        wanted = {*usual, *WIDE} if only is None else set(only)
        self._groups = tuple(group for group, names in GROUPS.items() if not wanted.isdisjoint(names))
        made = (*usual, *(name for group in self._groups for name in GROUPS[group]))
        if only is not None and tuple(only) != made:
            if not wanted <= set(made):
                raise ValueError(f"no such features: {', '.join(sorted(wanted - set(made)))}")
            self._kept = np.array([made.index(name) for name in only], np.intp)
        self._width = len(made)
        self.names: tuple[str, ...] = made if only is None else tuple(only)
        self.hourly = "hours" in self._groups  # whether rows() needs Memory.hours
        self._tasteful = any(name in TASTE for name in self.names)

    def rows(self, query: Query, candidates: Candidates, facts: Items, memory: Memory) -> Float32:
        """The row of every candidate, in their order. Items beyond `facts` are items of which nothing is known."""
        n, m = len(candidates), len(self.sources)
        out = np.zeros((n, self._width), np.float32)
        if n == 0:
            return np.zeros((0, len(self.names)), np.float32)
        here = bool(query.recent.in_session.any())
        evidence, said = self._evidence(candidates)
        out[:, : 3 * m] = evidence
        if here:
            out[:, 3 * m : 6 * m] = evidence
        out[:, 6 * m : 7 * m] = said
        out[:, 7 * m + len(OWN) + len(TASTE) : self._usual] = _context(query)
        if self._groups:
            fill_wide(out[:, self._usual :], self._groups, query, candidates.items, facts, self._around, memory.hours)
        recent, song = query.recent, _song(candidates.items, facts)
        fill_own(
            out[:, 7 * m :],
            said.sum(axis=1) / np.float32(max(m, 1)),
            song,
            (np.array(memory.times), np.array(memory.last), np.array(memory.popularity)),
            (np.array(candidates.items), np.array(recent.items), np.array(recent.signal), np.array(recent.in_session)),
            (_of(facts.artist, recent.items), _of(facts.album, recent.items)),
            query.now,
        )
        if self._tasteful:
            latest = recent.items[:LATEST]
            artist, _, released, length = _song(latest, facts)
            fill_taste(
                out[:, 7 * m + len(OWN) :],
                tags_of(facts, candidates.items),
                (song[0], song[2], song[3]),
                tags_of(facts, latest),
                (artist, released, length),
                (np.array(recent.signal[:LATEST]), np.array(recent.in_session[:LATEST])),
            )
        return out if self._kept is None else np.take(out, self._kept, axis=1)

    def _evidence(self, candidates: Candidates) -> tuple[Float32, NDArray[np.bool_]]:
        """What each source thinks, (n, 3 m), and whether it spoke, (n, m), in the order of self.sources."""
        evidence = np.zeros((len(candidates), 3 * len(self.sources)), np.float32)
        said = np.zeros((len(candidates), len(self.sources)), np.bool_)
        place = {source: column for column, source in enumerate(candidates.sources)}
        columns = np.array([place.get(source, -1) for source in self.sources], np.int64)
        fill_evidence(evidence, said, candidates.evidence, columns, self.k, self.top)
        return evidence, said


def _song(items: Int32, facts: Items) -> tuple[Int32, Int32, Int32, Float32]:
    """Artist, album, day of release and length of the items; what is unknown is marked as such."""
    known = (items >= 0) & (items < len(facts))
    if known.all():  # copies, never read-only views: the kernel is compiled once
        return facts.artist[items], facts.album[items], facts.released[items], facts.duration_s[items]
    length = np.full(len(items), np.nan, np.float32)
    length[known] = facts.duration_s[items[known]]
    return _of(facts.artist, items), _of(facts.album, items), _of(facts.released, items, NO_DAY), length


def _context(query: Query) -> Float32:
    """One row for all: part of the day, weekend, the session so far, and whether anything is known of the listener."""
    part = part_of_week(query.context.hour_of_week)
    recent = query.recent
    here = int(recent.in_session.sum())
    skips = int((recent.signal[recent.in_session] < 0).sum())
    return np.array(
        [
            part % 4 == 0,
            part % 4 == 1,
            part % 4 == 2,
            part >= 4,
            here > 0,
            np.log1p(here),
            skips / here if here else 0.0,
            len(recent) > 0,
        ],
        np.float32,
    )


def _of(column: Int32, items: Int32, nothing: int = MISSING) -> Int32:
    """column[items], `nothing` for items that the column does not have."""
    known = (items >= 0) & (items < len(column))
    if known.all():
        return column[items]  # a copy of its own, never a read-only view: the kernel is compiled once
    out = np.full(len(items), nothing, np.int32)
    out[known] = column[items[known]]
    return out
