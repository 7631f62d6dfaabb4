"""Session kNN: the formula by hand, caps by time, the listener's own sessions, and what skips do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.candidates._neighbours import build_groups
from segue.candidates._pull import Reading
from segue.candidates.session_knn import SessionKnn
from segue.core.types import MISSING, History, Items, Query, Recent

NOW_S = 1_700_000_000
RNG = np.random.default_rng(0)
FLAT = Reading(recency=1.0)


def history(sessions: list[tuple[int, float, list[int]]], n_items: int, n_users: int = 3) -> History:
    """Sessions of (user, days ago, items), users ascending; ~item was skipped."""
    rows = [
        (user, item if item >= 0 else ~item, NOW_S - round(age * 86_400), 1 if item >= 0 else -1, s)
        for s, (user, age, items) in enumerate(sessions)
        for item in items
    ]
    user, item, at, signal, session = np.array(rows, np.int64).reshape(-1, 5).T
    return History(
        n_users=n_users,
        n_items=n_items,
        now=NOW_S * 1000,
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        at=at.astype(np.uint32),
        signal=signal.astype(np.int8),
        session=session.astype(np.int32),
        facts=Items.bare(n_items),
    )


def radio(items: list[int], user: int = MISSING) -> Query:
    """A session, newest first; ~item was skipped."""
    n = len(items)
    ids = np.array([i if i >= 0 else ~i for i in items], np.int32)
    signal = np.array([1.0 if i >= 0 else -1.0 for i in items], np.float32)
    return Query(1, user, NOW_S * 1000, recent=Recent(ids, signal, signal, np.zeros(n, np.int64), np.ones(n, np.bool_)))


def answer(model: SessionKnn, query: Query) -> dict[int, float]:
    found = model.retrieve(query, 50)
    return dict(zip(found.items.tolist(), found.scores.tolist(), strict=True))


def test_the_formula_by_hand() -> None:
    sessions = [(0, 0.0, [0, 1, 2]), (1, 10.0, [3, 1, 4, 5]), (2, 0.0, [6, 7])]
    model = SessionKnn(half_life_days=10.0, length_norm=1.0, place_decay=0.5, reading=FLAT).fit(history(sessions, 8), RNG)
    idf = np.log1p(3 / 2)
    near, old = idf / 3, idf / 4 / 2
    expected = {0: near / 2, 1: near + old, 2: near / 2, 3: old / 2, 4: old / 2, 5: old / 4}
    assert answer(model, radio([1])) == pytest.approx(expected, rel=1e-5)


def test_rare_songs_say_more_and_shared_songs_add_up() -> None:
    common = [(0, 0.0, [0, 9])] + [(1, 0.0, [0, k]) for k in (4, 5, 6)]
    model = SessionKnn(reading=FLAT).fit(history([*common, (2, 0.0, [1, 7]), (2, 0.0, [0, 1, 8])], 10), RNG)
    best = model.retrieve(radio([1, 0]), 10).items.tolist()
    assert best.index(8) < best.index(7) < best.index(4)


def test_only_the_latest_sessions_of_a_song_are_indexed() -> None:
    sessions = [(0, float(age), [0, 1 + age]) for age in range(9, -1, -1)]
    model = SessionKnn(sample=3, reading=FLAT).fit(history(sessions, 11), RNG)
    assert set(answer(model, radio([0]))) == {0, 1, 2, 3}


def test_the_listeners_own_sessions_count_more() -> None:
    world = history([(0, 0.0, [0, 1]), (1, 0.0, [0, 2])], 3)
    model = SessionKnn(own_boost=3.0, reading=FLAT).fit(world, RNG)
    of_zero, of_one, of_nobody = (answer(model, radio([0], user)) for user in (0, 1, MISSING))
    assert of_zero[1] == pytest.approx(3 * of_zero[2])
    assert of_one[2] == pytest.approx(3 * of_one[1])
    assert of_nobody[1] == of_nobody[2]


def test_the_newest_match_is_the_place_that_counts() -> None:
    model = SessionKnn(place_decay=0.5, reading=FLAT).fit(history([(0, 0.0, [0, 1, 2, 3, 4])], 5), RNG)
    at_the_end = answer(model, radio([4, 0]))
    assert at_the_end[3] > at_the_end[2] > at_the_end[1]
    at_the_start = answer(model, radio([0, 4]))
    assert at_the_start[1] > at_the_start[2] > at_the_start[3]


def test_beyond_reach_nothing_is_offered() -> None:
    model = SessionKnn(reach=2, reading=FLAT).fit(history([(0, 0.0, list(range(9)))], 9), RNG)
    assert set(answer(model, radio([4]))) == {2, 3, 4, 5, 6}


def test_skips_push_sessions_away_and_a_neighbours_skip_counts_against() -> None:
    world = history([(0, 0.0, [0, 1, 5]), (1, 0.0, [0, 2, 6]), (2, 0.0, [0, 3, ~5])], 7)
    model = SessionKnn(reading=FLAT).fit(world, RNG)
    liked, turned = answer(model, radio([0])), answer(model, radio([~1, 0]))
    assert liked[5] < liked[6], "the third session skipped 5"
    assert turned.get(5, 0.0) < liked[5]
    assert turned[6] == pytest.approx(liked[6])
    assert answer(model, radio([~0])) == {}


def test_a_skipped_song_is_not_a_way_into_a_session() -> None:
    model = SessionKnn(reading=FLAT).fit(history([(0, 0.0, [~0, 1])], 2), RNG)
    assert answer(model, radio([0])) == {}


def test_rows_that_say_nothing_are_as_if_they_were_not() -> None:
    world = history([(0, 0.0, [0, 1, 2])], 3)
    quiet = replace(world, signal=np.array([1, 0, 1], np.int8))
    without = history([(0, 0.0, [0, 2])], 3)
    a, b = SessionKnn().fit(quiet, RNG), SessionKnn().fit(without, RNG)
    assert answer(a, radio([0])) == answer(b, radio([0]))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.lists(st.integers(0, 5), max_size=7)), min_size=1, max_size=12),
    st.integers(1, 5),
)
def test_the_index_holds_each_group_once_at_its_last_place(groups: list[tuple[int, list[int]]], sample: int) -> None:
    group = np.array([g for g, (_, items) in enumerate(groups) for _ in items], np.int32)
    item = np.array([i for _, items in groups for i in items], np.int32)
    at = np.array([time for time, items in groups for _ in items], np.uint32)
    built = build_groups(group, item, np.ones(len(item), np.bool_), at, (len(groups), 6), sample)
    for i in range(6):
        row = slice(built.index_ptr[i], built.index_ptr[i + 1])
        got = dict(zip(built.index_group[row].tolist(), built.index_place[row].tolist(), strict=True))
        holders = [g for g, (_, items) in enumerate(groups) if i in items]
        latest = sorted(holders, key=lambda g: (-groups[g][0], g))[:sample]
        assert got == {g: max(p for p, x in enumerate(groups[g][1]) if x == i) for g in latest}
        assert built.index_ptr[i + 1] - built.index_ptr[i] == len(latest)
