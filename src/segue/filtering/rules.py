"""The rules: what was excluded, heard in this session, disliked, hidden or cannot be played is never recommended."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from segue.core.actions import DISLIKED_BIT as DISLIKED
from segue.core.actions import HIDDEN_BIT as HIDDEN
from segue.core.clock import HOUR_MS
from segue.core.facts import has_tag
from segue.core.ports import OnlineState
from segue.core.stages import Filter
from segue.core.types import Bool, Candidates, Int32, Items, Query, Recent

LONGEST_MS = 12 * HOUR_MS
"""How far a session may reach back beyond the plays that are remembered one by one."""
MIN_LEFT = 20
"""A turn away from a direction needs at least this many songs left, else it would empty the radio."""


def _outside(facts: Items, items: Int32, banned: Int32) -> Bool:
    """True where an item is not banned and is no near-duplicate of a banned one."""
    if not len(banned):
        return np.ones(len(items), np.bool_)
    banned = banned[(banned >= 0) & (banned < len(facts))]
    mask: Bool = ~np.isin(facts.work[items], facts.work[banned])
    return mask


def excluded(facts: Callable[[], Items]) -> Filter:
    """Not what the caller excludes, nor the seeds themselves, nor their other versions."""

    def rule(query: Query, candidates: Candidates) -> Bool:
        return _outside(facts(), candidates.items, np.concatenate((query.exclude, query.seeds.items)))

    return rule


def _began(recent: Recent) -> int:
    """When a session without a name began, ms; well before what is remembered where all of that is of this session."""
    first = int(recent.at[recent.in_session].min())
    return first - LONGEST_MS if recent.in_session.all() else first


def heard_in_session(facts: Callable[[], Items], state: OnlineState) -> Filter:
    """Never a song twice in a session, live and remastered versions included."""

    def rule(query: Query, candidates: Candidates) -> Bool:
        mask = _outside(facts(), candidates.items, query.recent.items[query.recent.in_session])
        if query.session:
            mask &= ~state.in_session(query.user, query.session, candidates.items)
        elif query.recent.in_session.any():
            _, last = state.heard(query.user, candidates.items)
            mask &= (last == 0) | (last < _began(query.recent))
        return mask

    return rule


def refused(state: OnlineState) -> Filter:
    """Never what the listener disliked or hid."""

    def rule(query: Query, candidates: Candidates) -> Bool:
        mask: Bool = (state.marks(query.user, candidates.items) & (DISLIKED | HIDDEN)) == 0
        return mask

    return rule


def playable(facts: Callable[[], Items]) -> Filter:
    """Only what can be played: known to the catalogue and not withdrawn."""

    def rule(query: Query, candidates: Candidates) -> Bool:
        items = facts()
        known = candidates.items < len(items)
        mask: Bool = known & items.playable[np.where(known, candidates.items, 0)] if len(items) else known
        return mask

    return rule


def turned_away(facts: Callable[[], Items]) -> Filter:
    """Two quick skips in a row change direction at once: their artists go, and so does the tag that both share.

    A tag that the caller seeds stays: a tag radio does not leave its tag.
    """

    def rule(query: Query, candidates: Candidates) -> Bool:
        skips = quick_skips(query)
        everything = np.ones(len(candidates), np.bool_)
        if len(skips) < 2:
            return everything
        items = facts()
        skips = skips[skips < len(items)]
        mask = ~np.isin(items.artist[candidates.items], items.artist[skips][items.artist[skips] >= 0])
        shared = _shared_tags(items, skips[:2])
        shared = shared[~np.isin(shared, query.seeds.tags)]
        narrower = mask & ~has_tag(items, candidates.items, shared) if len(shared) else mask
        for choice in (narrower, mask):
            if choice.sum() >= min(MIN_LEFT, 2 * query.limit):
                return choice
        return everything

    return rule


def quick_skips(query: Query) -> Int32:
    """The songs of the unbroken run of skips at the head of this session, newest first, each once.

    A song that is hidden or disliked is skipped as well: two events, and one song.
    """
    recent = query.recent
    run = recent.in_session & (recent.signal < 0)
    items = recent.items[: int(np.argmin(run)) if not run.all() else len(run)]
    return items[np.sort(np.unique(items, return_index=True)[1])] if len(items) > 1 else items


def _shared_tags(items: Items, pair: Int32) -> Int32:
    """Tags that every item of the pair has."""
    if len(pair) < 2:
        return np.zeros(0, np.int32)
    first, second = (items.tags[items.tags_ptr[i] : items.tags_ptr[i + 1]] for i in pair)
    return np.intersect1d(first, second).astype(np.int32)
