"""Co-occurrence counts what its docstring says, to the last digit, on worlds small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.candidates import cooccurrence
from segue.candidates._pull import Reading
from segue.candidates.cooccurrence import Cooccurrence
from segue.core.types import MISSING, History, Items, Query, Recent, Seeds

NOW_S = 1_700_000_000
RNG = np.random.default_rng(0)


def history(sessions: list[list[tuple[int, int]]], n_items: int, days_ago: list[float] | None = None) -> History:
    """One listener a session; rows are (item, signal)."""
    ages = days_ago or [0.0] * len(sessions)
    rows = [
        (user, item, NOW_S - round(age * 86_400), signal)
        for user, (rows, age) in enumerate(zip(sessions, ages, strict=True))
        for item, signal in rows
    ]
    user, item, at, signal = np.array(rows, np.int64).reshape(-1, 4).T
    return History(
        n_users=len(sessions),
        n_items=n_items,
        now=NOW_S * 1000,
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        at=at.astype(np.uint32),
        signal=signal.astype(np.int8),
        session=user.astype(np.int32),
        facts=Items.bare(n_items),
    )


def radio(played: list[tuple[int, float]], **more: object) -> Query:
    """A session of (item, signal), newest first."""
    n = len(played)
    items = np.array([item for item, _ in played], np.int32)
    signal = np.array([signal for _, signal in played], np.float32)
    recent = Recent(items, signal, np.ones(n, np.float32), np.zeros(n, np.int64), np.ones(n, np.bool_))
    return Query(1, MISSING, NOW_S * 1000, recent=recent, **more)  # type: ignore[arg-type]


def test_the_cosine_of_two_songs_that_always_meet_is_one_before_shrinkage() -> None:
    model = Cooccurrence(shrink=0.0).fit(history([[(0, 1), (1, 1)]] * 3, 2), RNG)
    assert model.near_.tolist() == [1, 0]
    assert model.weight_.tolist() == pytest.approx([1.0, 1.0])


def test_distance_age_popularity_and_shrinkage_multiply_as_written() -> None:
    sessions = [[(0, 1), (2, 1), (1, 1)], [(0, 1), (1, 1)], [(1, 1)]]
    model = Cooccurrence(place_decay=0.5, half_life_days=10.0, popularity_exponent=0.25, shrink=2.0, backward=0.5)
    answer = model.fit(history(sessions, 3, [0.0, 10.0, 20.0]), RNG).similar(0, 2)
    pulled = {1: 0.5 + 0.5, 2: 1.0}  # two places apart today, next to each other ten days ago
    mass = {0: 1.5, 1: 1.75, 2: 1.0}
    expected = {j: c / (mass[0] ** 0.75 * mass[j] ** 0.25) * c / (c + 2) for j, c in pulled.items()}
    assert dict(zip(answer.items.tolist(), answer.scores.tolist(), strict=True)) == pytest.approx(expected)
    back = model.similar(1, 3)
    assert back.scores[back.items == 0][0] == pytest.approx(0.5 / (1.75**0.75 * 1.5**0.25) * 0.5 / 2.5)


def test_a_session_ends_at_its_border_and_the_window_at_its_size() -> None:
    model = Cooccurrence(window=1).fit(history([[(0, 1), (1, 1), (2, 1)], [(3, 1)]], 4), RNG)
    assert model.similar(0, 9).items.tolist() == [1]
    assert sorted(model.similar(1, 9).items.tolist()) == [0, 2]
    assert len(model.similar(3, 9)) == 0


def test_skipped_songs_pull_nobody_and_count_against_those_they_follow() -> None:
    sessions = [[(0, 1), (1, 1), (2, -1)], [(0, 1), (1, 1)], [(0, 1), (2, 1)]]
    lenient = Cooccurrence(skip_weight=0.0, place_decay=1.0).fit(history(sessions, 3), RNG)
    strict = Cooccurrence(skip_weight=0.5, place_decay=1.0).fit(history(sessions, 3), RNG)
    harsh = Cooccurrence(skip_weight=1.0, place_decay=1.0).fit(history(sessions, 3), RNG)
    assert set(lenient.similar(0, 9).items.tolist()) == {1, 2}
    of_two = [model.similar(0, 9) for model in (lenient, strict)]
    weights = [float(answer.scores[answer.items == 2][0]) for answer in of_two]
    assert weights[1] < weights[0]
    assert harsh.similar(0, 9).items.tolist() == [1]
    assert lenient.similar(2, 9).items.tolist() == [0], "only where 2 was finished did it pull"


def test_rows_that_say_nothing_keep_their_place_but_do_not_pull() -> None:
    model = Cooccurrence(window=1).fit(history([[(0, 1), (1, 0), (2, 1)]], 3), RNG)
    assert len(model.near_) == 0


def test_a_query_is_the_union_of_what_was_finished_minus_what_was_skipped() -> None:
    pairs = [[(0, 1), (4, 1)], [(1, 1), (5, 1)], [(1, 1), (4, 1)], [(2, 1), (6, 1)]]
    model = Cooccurrence(reading=Reading(recency=1.0)).fit(history(pairs, 7), RNG)
    both = model.retrieve(radio([(1, 1.0), (0, 1.0)]), 9)
    assert both.items[0] == 4, "a neighbour of both"
    assert set(both.items.tolist()) == {4, 5}
    turned = model.retrieve(radio([(1, -1.0), (0, 1.0)]), 9)
    assert 5 not in turned.items
    assert turned.scores[turned.items == 4][0] < both.scores[0]
    assert len(model.retrieve(radio([(1, -1.0)]), 9)) == 0


def test_seeds_count_as_finished_and_late_plays_count_more() -> None:
    pairs = [[(0, 1), (3, 1)], [(1, 1), (4, 1)]]
    model = Cooccurrence(reading=Reading(recency=0.5)).fit(history(pairs, 5), RNG)
    assert model.retrieve(radio([], seeds=Seeds(items=np.array([0], np.int32))), 5).items.tolist() == [3]
    assert model.retrieve(radio([(1, 1.0), (0, 1.0)]), 5).items.tolist() == [4, 3]
    assert model.retrieve(radio([(0, 1.0), (1, 1.0)]), 5).items.tolist() == [3, 4]


def test_without_a_session_the_plays_before_it_speak_softly() -> None:
    model = Cooccurrence().fit(history([[(0, 1), (3, 1)], [(1, 1), (4, 1)]], 5), RNG)
    recent = Recent(
        np.array([1, 0], np.int32),
        np.ones(2, np.float32),
        np.ones(2, np.float32),
        np.zeros(2, np.int64),
        np.array([False, True]),
    )
    answer = model.retrieve(Query(1, MISSING, 0, recent=recent), 5)
    assert answer.items.tolist() == [3, 4]
    assert answer.scores[1] == pytest.approx(0.2 * answer.scores[0])


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 6), st.sampled_from([-1, 0, 1])), max_size=8), min_size=1, max_size=6),
    st.integers(1, 9),
    st.floats(0.1, 1.0),
)
def test_agrees_with_counting_pair_by_pair(sessions: list[list[tuple[int, int]]], window: int, decay: float) -> None:
    model = Cooccurrence(window=window, place_decay=decay, popularity_exponent=0.5, shrink=0.5).fit(history(sessions, 7), RNG)
    counts, mass = np.zeros((7, 7)), np.zeros(7)
    for rows in sessions:
        for a, (i, liked) in enumerate(rows):
            mass[i] += liked == 1
            for b, (j, other) in enumerate(rows):
                if liked == 1 and i != j and 1 <= abs(a - b) <= window:
                    counts[i, j] += {1: 1.0, 0: 0.0, -1: -0.5}[other] * decay ** (abs(a - b) - 1)
    for i in range(7):
        positive = (counts[i] > 0) & (mass > 0)
        expected = np.zeros(7)
        expected[positive] = counts[i][positive] ** 2 / (np.sqrt(mass[i] * mass[positive]) * (counts[i][positive] + 0.5))
        answer, got = model.similar(i, 9), np.zeros(7)
        got[answer.items] = answer.scores
        assert got == pytest.approx(expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("threads", [1, 3])
def test_item_blocks_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    rng = np.random.default_rng(5)
    sessions = [[(int(i), 1) for i in rng.integers(0, 40, 12)] for _ in range(30)]
    whole = Cooccurrence(neighbours=5).fit(history(sessions, 40), RNG)
    monkeypatch.setattr(cooccurrence, "BLOCK", 7)
    pieces = Cooccurrence(neighbours=5, threads=threads).fit(history(sessions, 40), RNG)
    for name, array in whole.arrays().items():
        assert np.array_equal(array, pieces.arrays()[name])
    assert np.diff(whole.ptr_).max() == 5
