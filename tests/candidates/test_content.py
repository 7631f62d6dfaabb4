"""Content: the cosine of TF-IDF by hand, between 0 and 1, and songs that nobody has played."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.candidates._pull import Reading
from segue.candidates.content import Content
from segue.core.types import History, Query, Seeds
from worlds import facts, query, recent

TAGS = [[0, 1], [0], [1], [2], [2, 3], [0, 1], []]
ARTISTS = [0, 0, 1, 2, 2, 3, -1]


def history(plays: list[tuple[int, int]], tags: list[list[int]] = TAGS, artists: list[int] = ARTISTS) -> History:
    user, item = (np.array(column, np.int32) for column in zip(*plays, strict=True))
    return History(
        n_users=int(user.max()) + 1,
        n_items=len(artists),
        now=10**9,
        user=user,
        item=item,
        at=np.arange(len(user), dtype=np.uint32),
        signal=np.ones(len(user), np.int8),
        session=user.astype(np.int32),
        facts=facts(artists, tags=tags),
    )


def fitted(**more: float) -> Content:
    plays = [(0, 0), (0, 1), (1, 0), (2, 3)]
    return Content(reading=Reading(recency=1.0), **more).fit(history(plays), np.random.default_rng(0))  # type: ignore[arg-type]


def vector(item: int, weight: float = 0.7) -> np.ndarray:
    """The TF-IDF vector of a song by the docstring, dense: 4 tags, then 4 artists."""
    n = len(TAGS)
    out = np.zeros(8)
    for tag in TAGS[item]:
        out[tag] = np.log1p(n / sum(tag in row for row in TAGS))
    if ARTISTS[item] >= 0:
        out[4 + ARTISTS[item]] = weight * np.log1p(n / ARTISTS.count(ARTISTS[item]))
    return out / max(float(np.linalg.norm(out)), 1e-9)


def test_compatibility_is_the_cosine_of_taste_and_song() -> None:
    model = fitted()
    asked = query(recent=recent((0, 1.0), (3, 1.0)))
    taste = vector(0) + vector(3)
    expected = [float(vector(item) @ taste / np.linalg.norm(taste)) for item in range(7)]
    got = model.compatibility(asked, np.arange(7, dtype=np.int32))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert model.compatibility(query(recent=recent((4, 1.0))), np.array([4], np.int32))[0] == pytest.approx(1)


def test_a_skip_pushes_away_and_never_below_nothing() -> None:
    model = fitted()
    items = np.arange(7, dtype=np.int32)
    mixed = model.compatibility(query(recent=recent((0, 1.0), (3, -1.0))), items)
    assert mixed[4] == 0
    assert mixed[1] > 0
    assert not model.compatibility(query(recent=recent((3, -1.0))), items).any()


def test_a_song_without_plays_is_offered_and_wanted_ones_come_first() -> None:
    model = fitted()
    answer = model.retrieve(query(recent=recent((0, 1.0))), 10)
    assert 5 in answer.items.tolist(), "same tags, nobody has played it"
    assert answer.items[0] == 0, "itself: filters remove it"
    flat = fitted(popularity=0.0).retrieve(query(recent=recent((0, 1.0))), 10)
    scores = dict(zip(flat.items.tolist(), flat.scores.tolist(), strict=True))
    expected = model.compatibility(query(recent=recent((0, 1.0))), flat.items)
    np.testing.assert_allclose([scores[i] for i in flat.items.tolist()], expected, rtol=1e-6)


def test_newcomers_of_a_full_shelf_keep_a_quarter() -> None:
    tags, artists = [[0]] * 100, list(range(100))
    plays = [(user, item) for item in range(40) for user in range(3)]
    model = Content(shelf=16).fit(history(sorted(plays), tags, artists), np.random.default_rng(0))
    offered = model.retrieve(Query(1, 0, 0, seeds=Seeds(tags=np.array([0], np.int32))), 50).items
    assert len(offered) == 16
    assert (offered >= 96).sum() == 4
    assert (offered < 40).sum() == 12


def test_unplayable_songs_stand_on_no_shelf() -> None:
    past = history([(0, 0), (0, 1)])
    past = replace(past, facts=replace(past.facts, playable=np.arange(7) != 5))
    model = Content().fit(past, np.random.default_rng(0))
    assert 5 not in model.retrieve(query(recent=recent((0, 1.0))), 10).items.tolist()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 9), st.sampled_from([-1.0, 0.0, 1.0])), max_size=12))
def test_between_zero_and_one(plays: list[tuple[int, float]]) -> None:
    got = fitted().compatibility(query(recent=recent(*plays)), np.arange(-1, 12, dtype=np.int32))
    assert ((got >= 0) & (got <= 1)).all()
