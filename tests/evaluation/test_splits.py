"""Splits: nothing from after the cut is learned, the last rows of each user are held, folds are even."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.evaluation.splits import by_time, leave_last, random_folds


def test_by_time_holds_the_cut_itself_back() -> None:
    assert by_time(np.array([5, 7, 6, 8]), 7).tolist() == [False, True, False, True]


def test_leave_last_known_answer() -> None:
    user = np.array([1, 0, 1, 0, 1, 2])
    at = np.array([3, 1, 9, 1, 3, 4])
    assert leave_last(user, at).tolist() == [False, False, True, True, False, False], "ties: the later row; one row: kept"
    assert leave_last(user, at, 2).tolist() == [False, False, True, False, True, False]
    with pytest.raises(ValueError, match="at least 1"):
        leave_last(user, at, 0)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), max_size=30), st.integers(1, 3))
def test_leave_last_agrees_with_a_loop(rows: list[tuple[int, int]], n: int) -> None:
    user, at = (np.array([row[i] for row in rows], np.int64) for i in (0, 1))
    expected = np.zeros(len(rows), np.bool_)
    for one in set(user.tolist()):
        mine = sorted(np.flatnonzero(user == one).tolist(), key=lambda row: (at[row], row))
        if len(mine) > n:
            expected[mine[-n:]] = True
    assert leave_last(user, at, n).tolist() == expected.tolist()


def test_folds_are_even_and_seeded() -> None:
    got = random_folds(23, 5, np.random.default_rng(0))
    assert sorted(np.bincount(got).tolist()) == [4, 4, 5, 5, 5]
    assert np.array_equal(got, random_folds(23, 5, np.random.default_rng(0)))
    with pytest.raises(ValueError, match="folds"):
        random_folds(3, 4, np.random.default_rng(0))
