"""User kNN: who is near, what the query is made of, what is kept of a history."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from segue.candidates._pull import Reading
from segue.candidates.user_knn import UserKnn
from segue.core.types import MISSING, History, Items, Query, Recent

NOW_S = 1_700_000_000
RNG = np.random.default_rng(0)
FLAT = Reading(recency=1.0, long_term=1.0, depth=40)


def history(users: list[list[int]], n_items: int) -> History:
    """What each user played, oldest first, a minute apart; ~item was skipped."""
    rows = [
        (user, item if item >= 0 else ~item, NOW_S - 60 * (len(items) - place), 1 if item >= 0 else -1)
        for user, items in enumerate(users)
        for place, item in enumerate(items)
    ]
    user, item, at, signal = np.array(rows, np.int64).reshape(-1, 4).T
    return History(
        n_users=len(users),
        n_items=n_items,
        now=NOW_S * 1000,
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        at=at.astype(np.uint32),
        signal=signal.astype(np.int8),
        session=user.astype(np.int32),
        facts=Items.bare(n_items),
    )


def ask(model: UserKnn, user: int, played: list[int] | None = None) -> dict[int, float]:
    """Answer for a listener with recent plays before the session, newest first; ~item was skipped."""
    ids = np.array([i if i >= 0 else ~i for i in played or []], np.int32)
    signal = np.array([1.0 if i >= 0 else -1.0 for i in played or []], np.float32)
    n = len(ids)
    recent = Recent(ids, signal, signal, np.zeros(n, np.int64), np.zeros(n, np.bool_))
    found = model.retrieve(Query(1, user, NOW_S * 1000, recent=recent), 50)
    return dict(zip(found.items.tolist(), found.scores.tolist(), strict=True))


def test_the_formula_by_hand() -> None:
    world = history([[0, 1], [0, 2, 3], [4]], 5)
    model = UserKnn(length_norm=1.0, decay=0.5, reading=FLAT).fit(world, RNG)
    idf = np.log1p(3 / 2)
    assert ask(model, MISSING, [0]) == pytest.approx(
        {0: idf / 2 / 2 + idf / 3 / 4, 1: idf / 2, 2: idf / 3 / 2, 3: idf / 3}, rel=1e-5
    )


def test_a_listener_is_not_their_own_neighbour() -> None:
    model = UserKnn(reading=FLAT).fit(history([[0, 1], [0, 2]], 3), RNG)
    assert 1 not in ask(model, 0, [0])
    assert 2 not in ask(model, 1, [0])
    assert {1, 2} <= set(ask(model, MISSING, [0]))


def test_a_known_listener_without_recent_plays_is_asked_by_the_stored_ones() -> None:
    model = UserKnn(reading=FLAT).fit(history([[0, 1], [0, 2], [5, 6]], 7), RNG)
    assert 2 in ask(model, 0)
    assert 6 not in ask(model, 0)
    assert ask(model, MISSING) == {}
    assert ask(model, 99) == {}


def test_recent_plays_turn_a_listener_to_others_the_same_minute() -> None:
    model = UserKnn(reading=Reading(recency=0.5, long_term=1.0)).fit(history([[0], [0, 2], [5, 6]], 7), RNG)
    before, after = ask(model, 0), ask(model, 0, [5])
    assert 6 not in before
    assert after[6] > after[2]


def test_only_the_last_distinct_songs_are_kept_and_the_last_word_counts() -> None:
    model = UserKnn(history=3).fit(history([[0, 1, 2, 1, 3, 3, ~2]], 4), RNG)
    assert model.groups_.items.tolist() == [1, 3, ~2]
    everything = UserKnn(history=10).fit(history([[0, 1, 2, 1, 3, 3, ~2]], 4), RNG)
    assert everything.groups_.items.tolist() == [0, 1, 3, ~2]


def test_what_neighbours_skipped_is_held_back() -> None:
    world = history([[0, 1, 2], [0, 1, ~2], [0, 1, ~2]], 3)
    model = UserKnn(skip_weight=0.5, decay=1.0).fit(world, RNG)
    assert set(ask(model, MISSING, [0])) == {0, 1}
    assert 2 in ask(UserKnn(skip_weight=0.4, decay=1.0).fit(world, RNG), MISSING, [0])


def test_rows_that_say_nothing_are_not_kept() -> None:
    world = history([[0, 1], [0, 2]], 3)
    quiet = replace(world, signal=np.array([1, 0, 1, 1], np.int8))
    assert UserKnn().fit(quiet, RNG).groups_.items.tolist() == [0, 0, 2]


def test_the_index_is_capped_by_the_latest_listeners() -> None:
    world = history([[9, 0], [9, 1], [9, 2]], 10)
    later = replace(world, at=(NOW_S - np.array([500, 400, 90, 80, 50, 40])).astype(np.uint32))
    model = UserKnn(sample=2, reading=FLAT).fit(later, RNG)
    assert set(ask(model, MISSING, [9])) == {9, 1, 2}


@pytest.mark.parametrize("songs", [0, 70_000])
def test_a_history_that_an_index_cannot_name_is_refused(songs: int) -> None:
    with pytest.raises(ValueError, match="history must be between 1 and 65535"):
        UserKnn(history=songs)
