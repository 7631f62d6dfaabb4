"""What an event says, by tables: equal to the formula written out, for every action and every odd number."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.core.actions import ACTIONS, FINISHED_SHARE, SKIPPED_SHARE, Action, shares, signals

NUMBERS = st.sampled_from([0.0, 10.0, 19.9, 20.0, 160.0, 160.1, 200.0, 300.0, math.nan, math.inf]) | st.floats(0, 6, width=32)


def plainly(action: int, share: np.float32, value: np.float32) -> float:
    """core.actions.signals of one event, as its docstring says."""
    if action in (Action.COMPLETED, Action.SKIPPED):
        return 1.0 if share > FINISHED_SHARE else -1.0 if share < SKIPPED_SHARE else 0.0
    if action == Action.RATED:
        return 1.0 if value >= 4 else -1.0 if value <= 2 else 0.0
    if action in (Action.LIKED, Action.SAVED):
        return 1.0
    return -1.0 if action in (Action.DISLIKED, Action.HIDDEN) else 0.0


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.sampled_from([-1, 0, 13, 127, *ACTIONS.values()]), NUMBERS, NUMBERS, NUMBERS), max_size=20))
def test_signals_are_the_formula(rows: list[tuple[int, float, float, float]]) -> None:
    actions = np.array([row[0] for row in rows], np.int8)
    played, duration, value = (np.array([row[k] for row in rows], np.float32) for k in (1, 2, 3))
    share = shares(actions, played, duration)
    found = signals(actions, played, duration, value)
    assert found.dtype == np.float32
    assert found.tolist() == [plainly(int(a), s, v) for a, s, v in zip(actions, share, value, strict=True)]


def test_a_column_of_a_record_array_will_do() -> None:
    rows = np.array([(6, 0), (7, 0)], np.dtype([("action", "i1"), ("x", "i8")]))
    nothing = np.full(2, np.nan, np.float32)
    assert signals(rows["action"], nothing, nothing, nothing).tolist() == [1.0, -1.0]


def test_a_length_of_0_is_no_length() -> None:
    actions = np.array([Action.SKIPPED, Action.COMPLETED, Action.SKIPPED], np.int8)
    played, nothing = np.array([5.0, 5.0, 0.0], np.float32), np.full(3, np.nan, np.float32)
    no_length = np.zeros(3, np.float32)
    assert shares(actions, played, no_length).tolist() == [0.0, 1.0, 0.0]
    assert signals(actions, played, no_length, nothing).tolist() == [-1.0, 1.0, -1.0], "a skip is no song heard to the end"
