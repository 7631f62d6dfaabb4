"""What a request is about: its seeds and its session; and what is left to play when nobody has played anything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from segue.core.facts import has_tag
from segue.core.types import MISSING, Candidates, Int32, Items, Query, Recent, Scored
from segue.serving.gathering import IMPERSONAL


def asked_of(query: Query) -> Query:
    """What the sources are asked: a radio that was started from seeds is about them and its session, not about all that the
    listener ever played; that comes back in when the ranker orders what they offer."""
    if not query.seeds:
        return query
    recent, here = query.recent, query.recent.in_session
    session = Recent(recent.items[here], recent.signal[here], recent.share[here], recent.at[here], here[here])
    return replace(query, user=MISSING, recent=session)


def on_topic(query: Query, candidates: Candidates, facts: Items) -> Candidates:
    """What the seeds are about, where that is enough for the slate.

    Without what only impersonal sources offer: popular songs do not drown what was asked for. A radio from tags alone keeps
    to its tags, whatever the session has wandered through.
    """
    telling = [column for column, name in enumerate(candidates.sources) if name not in IMPERSONAL]
    said = np.asarray(~np.isnan(candidates.evidence[:, telling]).all(axis=1), np.bool_)
    if said.sum() >= query.limit:
        candidates = candidates.keep(said)
    seeds = query.seeds
    if len(seeds.tags) and not len(seeds.items) and not len(seeds.artists):
        tagged = has_tag(facts, candidates.items, seeds.tags)
        if tagged.sum() >= query.limit:
            candidates = candidates.keep(tagged)
    return candidates


def anything(facts: Items, query: Query, limit: int, without: Int32 | None = None) -> Scored:
    """Playable songs when nobody has played anything: the newest `limit` of the catalogue, but for these."""
    playable = facts.playable if without is None or not len(without) else facts.playable.copy()
    if without is not None:
        playable[without] = False
    items = np.flatnonzero(playable)[::-1][:limit].astype(np.int32)
    return Scored(items, -np.arange(len(items), dtype=np.float32))
