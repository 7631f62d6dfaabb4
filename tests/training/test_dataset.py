"""The history out of a log: order, sessions, signals, what is left out, and a split that leaks nothing."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from night_toys import ListLog

from segue.core.actions import Action
from segue.core.types import MISSING, Events, Items, empty_events
from segue.training import dataset
from segue.training.dataset import build_history, park, split_by_time, unpark

SECOND = 1000
T0 = 1_700_000_000 * SECOND


def events_of(rows: list[dict[str, object]]) -> Events:
    events = empty_events(len(rows))
    for place, row in enumerate(rows):
        for name, value in row.items():
            events[place][name] = value
    events["seq"] = np.arange(1, len(rows) + 1)
    return events


def play(user: int, item: int, at_s: float, action: Action = Action.COMPLETED, **more: object) -> dict[str, object]:
    return {"user": user, "item": item, "at": T0 + int(at_s * SECOND), "action": int(action), **more}


def history_of(rows: list[dict[str, object]], n_users: int = 5, n_items: int = 50, chunk: int = 1000):  # type: ignore[no-untyped-def]
    log = ListLog(events_of(rows), chunk)
    day = 86_400_000
    return build_history(log, Items.bare(n_items), now=T0 + day, window_ms=2 * day, n_users=n_users, n_items=n_items)  # type: ignore[arg-type]


def test_sorted_by_user_then_time_then_place() -> None:
    got = history_of(
        [
            play(3, 1, 50),
            play(0, 2, 90),
            play(3, 3, 10),
            play(0, 4, 90, position=1),
            play(0, 5, 90, position=0),
            play(0, 6, 5),
        ]
    )
    assert got.user.tolist() == [0, 0, 0, 0, 3, 3]
    assert got.item.tolist() == [6, 2, 5, 4, 3, 1]
    assert got.user_ptr().tolist() == [0, 4, 4, 4, 6, 6]
    assert (got.user.dtype, got.item.dtype, got.at.dtype) == (np.int32, np.int32, np.uint32)
    assert (got.signal.dtype, got.session.dtype) == (np.int8, np.int32)


def test_signals_and_what_is_left_out() -> None:
    got = history_of(
        [
            play(0, 1, 1),
            play(0, 2, 2, Action.SKIPPED),
            play(0, 3, 3, Action.SKIPPED, played_s=95, duration_s=100),
            play(0, 4, 4, Action.COMPLETED, played_s=50, duration_s=100),
            play(0, 5, 5, Action.RATED, value=2),
            play(0, 6, 6, Action.HIDDEN),
            play(0, 7, 7, Action.STARTED),
            play(0, 8, 8, Action.SEARCHED),
            play(0, 9, 9, Action.SHOWN),
            play(0, MISSING, 10),
            play(MISSING, 1, 11),
            play(0, 50, 12),  # newer than the facts
            play(5, 1, 13),
            play(0, 1, -3 * 86_400),  # before the window
            play(0, 1, 86_400),  # at its end: not in it
        ]
    )
    assert got.item.tolist() == [1, 2, 3, 4, 5, 6]
    assert got.signal.tolist() == [1, -1, 1, 0, -1, -1]


def test_sessions_by_gap() -> None:
    got = history_of([play(0, 1, 0), play(0, 2, 1800), play(0, 3, 3601), play(1, 4, 3602)])
    assert got.session.tolist() == [0, 0, 1, 2]
    assert got.n_sessions == 3


def test_sessions_of_the_caller() -> None:
    got = history_of(
        [
            play(0, 1, 0, session=7),
            play(0, 2, 9000, session=7),  # a name outlives the gap
            play(0, 3, 9001, Action.LIKED),  # a vote without a name belongs to where it falls
            play(0, 4, 9002, session=7),
            play(0, 5, 9003, session=8),
            play(0, 6, 20_000),
            play(0, 7, 20_001, session=9),
        ]
    )
    assert got.session.tolist() == [0, 0, 0, 0, 1, 2, 3]


def test_playlists_of_one_moment_stay_apart_and_in_order() -> None:
    rows = [play(0, 10 * p + i, 0, Action.SAVED, session=p + 1, position=i) for i in (2, 0, 1) for p in (1, 0, 2)]
    got = history_of(rows)
    sessions = [got.item[got.session == s].tolist() for s in range(got.n_sessions)]
    assert sorted(sessions) == [[0, 1, 2], [10, 11, 12], [20, 21, 22]]


def test_empty() -> None:
    got = history_of([])
    assert len(got) == 0
    assert got.n_sessions == 0
    before, after = split_by_time(got, T0)
    assert len(before) == 0
    assert len(after) == 0


rows_strategy = st.lists(
    st.builds(
        lambda u, i, t, p, s: play(u, i, t, position=p, session=s),
        st.integers(-1, 5),
        st.integers(0, 51),
        st.integers(0, 6).map(lambda x: x * 700),
        st.integers(-1, 2),
        st.sampled_from([0, 0, 11, (5 << 32) + 5, 1 << 40]),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(rows_strategy, st.integers(1, 7))
def test_agrees_with_a_naive_sort(rows: list[dict[str, int]], chunk: int) -> None:
    """Order, sessions contiguous and dense; nothing lost; blocks and chunks cut anywhere change nothing."""
    before = dataset._BLOCK
    dataset._BLOCK = 5
    try:
        got = history_of(rows, chunk=chunk)  # type: ignore[arg-type]
    finally:
        dataset._BLOCK = before
    fold = {0: 0, 11: 11, (5 << 32) + 5: 1, 1 << 40: 1 << 8}
    kept = [r for r in rows if 0 <= r["user"] < 5 and r["item"] < 50]
    want = sorted(kept, key=lambda r: (r["user"], r["at"], fold[r["session"]], r["position"]))
    assert [(r["user"], r["item"], r["at"] // 1000) for r in want] == list(
        zip(got.user.tolist(), got.item.tolist(), got.at.tolist(), strict=True)
    )
    steps = np.diff(got.session, prepend=-1)
    assert np.all((steps == 0) | (steps == 1))
    assert np.all(steps[np.flatnonzero(np.diff(got.user)) + 1] == 1)


@settings(deadline=None)
@given(rows_strategy, st.integers(-100, 5000))
def test_split_leaks_nothing_and_loses_nothing(rows: list[dict[str, object]], cut_s: int) -> None:
    whole = history_of(rows)
    cut = T0 + cut_s * SECOND
    before, after = split_by_time(whole, cut)
    assert np.all(before.at.astype(np.int64) * SECOND < cut)
    assert np.all(after.at.astype(np.int64) * SECOND >= cut)
    assert len(before) + len(after) == len(whole)
    assert np.array_equal(whole.item[after.row], after.item)
    assert before.now == cut
    assert before.n_sessions == len(set(before.session.tolist()))
    same = np.diff(whole.session[whole.at < np.uint32(cut // SECOND)]) != 0
    assert np.array_equal(same, np.diff(before.session) != 0)


def test_shares_go_with_their_rows_through_sorting_splitting_and_parking(tmp_path: Path) -> None:
    got = history_of(
        [
            play(1, 1, 30, played_s=25, duration_s=100),
            play(1, 2, 10, Action.SKIPPED),
            play(0, 3, 20, Action.LIKED),
            play(1, 4, 20, Action.SKIPPED, played_s=100, duration_s=100),
        ]
    )
    assert got.item.tolist() == [3, 2, 4, 1]
    assert np.allclose(got.shares(), [1, 0, 1, 0.25], atol=1e-4), "a like has no share: its signal stands in"
    before, _ = split_by_time(got, T0 + 25 * SECOND)
    assert np.allclose(before.shares(), [1, 0, 1], atol=1e-4)
    park(got, tmp_path)
    again = unpark(tmp_path, got.facts, n_users=got.n_users, now=got.now)
    assert again.share is not None
    assert (again.share == got.share).all()
