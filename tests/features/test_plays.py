"""Features of plays: sums of the past as a loop would make them, known answers, and nothing of the future or of oneself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.features.asof import Before, shrunk
from segue.features.plays import HISTORY, PlayFeatures, Plays, refreshed, sparse_of_plays

HOUR = 3_600_000


def plays(n: int = 300, seed: int = 0) -> Plays:
    rng = np.random.default_rng(seed)
    at = np.sort(rng.integers(0, 40, n)) * HOUR  # many at the very same time
    return Plays(
        user=rng.integers(0, 12, n),
        item=rng.integers(0, 30, n),
        at=at,
        played_s=rng.gamma(2.0, 40.0, n),
        duration_s=rng.choice([30.0, 90.0, 240.0], n),
        labels={"device": rng.integers(0, 3, n)},
        numbers={"volume": rng.random(n)},
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 20))
def test_sums_before_a_moment_are_those_of_a_loop(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    key, at = rng.integers(0, 4, n), rng.integers(0, 6, n)
    asked_key, asked_at = rng.integers(-1, 6, m), rng.integers(-1, 8, m)
    values = rng.integers(0, 9, (n, 2)).astype(float)
    before = Before.of(key, at, asked_key, asked_at)
    got, last = before.sums(values), before.last(2)
    for i in range(m):
        rows = np.flatnonzero((key == asked_key[i]) & (at < asked_at[i]))
        assert got[i].tolist() == values[rows].sum(axis=0).tolist()
        rows = rows[np.argsort(at[rows], kind="stable")]
        assert last[i] == (rows[-2] if len(rows) > 1 else -1)


@pytest.mark.parametrize("running", [True, False])
def test_shuffling_the_future_changes_no_feature_of_the_past(running: bool) -> None:
    """The leak test: what was heard after a moment is given to other plays; every row up to then stays, to the bit."""
    one = plays()
    moment = 25 * HOUR
    late = np.flatnonzero(one.at >= moment)
    order = np.random.default_rng(1).permutation(late)
    played, item, user = one.played_s.copy(), one.item.copy(), one.user.copy()
    played[late], item[late], user[late] = one.played_s[order] * 3, one.item[order], one.user[order]
    other = replace(one, played_s=played, item=item, user=user)
    known = one.at if running else refreshed(one.at, 40 * HOUR, 5 * HOUR)
    first, second = (PlayFeatures(running=running).rows(each, known) for each in (one, other))
    early = one.at < moment
    assert np.array_equal(first[early], second[early], equal_nan=True)
    assert not np.array_equal(first[~early], second[~early], equal_nan=True)


@pytest.mark.parametrize("running", [True, False])
def test_a_row_knows_nothing_of_its_own_outcome(running: bool) -> None:
    one = plays()
    known = one.at if running else refreshed(one.at, 40 * HOUR, 5 * HOUR)
    base = PlayFeatures(running=running).rows(one, known)
    for row in (0, 150, 299):
        played = one.played_s.copy()
        played[row] = 5 * one.duration_s[row] - played[row]
        changed = PlayFeatures(running=running).rows(replace(one, played_s=played), known)
        assert np.array_equal(base[row], changed[row], equal_nan=True)


def test_plays_at_the_same_time_know_nothing_of_each_other() -> None:
    one = Plays(*(np.array(x) for x in ([1, 1], [2, 2], [HOUR, HOUR])), np.array([100.0, 1.0]), np.array([100.0, 100.0]))
    features = PlayFeatures(running=True)
    rows = features.rows(one, one.at)
    assert rows[:, features.names.index("user_plays")].tolist() == [0, 0]


def test_known_answers() -> None:
    """One listener: finished 100 s of 100, skipped a song as long, and is asked about the first again."""
    one = Plays(
        np.array([7, 7, 7]), np.array([1, 2, 1]), np.array([0, 1, 5]) * HOUR, np.array([100.0, 5.0, 0.0]), np.full(3, 100.0)
    )
    features = PlayFeatures(running=True, ids_ordered=True)
    rows = features.rows(one, one.at)
    got = dict(zip(features.names, rows[2].tolist(), strict=True))
    assert got["length"] == pytest.approx(np.log(100))
    rate = 1.5 / 3
    near = (1 + 10 * rate) / 12
    assert got["length_finish"] == pytest.approx(near)
    assert got["item_plays"] == pytest.approx(np.log(2))
    assert got["item_finish"] == pytest.approx((1 + 10 * rate) / 11)
    assert got["user_plays"] == pytest.approx(np.log(3))
    assert got["own_near"] == pytest.approx(np.log(3))
    assert got["own_finish"] == pytest.approx((1 + 3 * near) / 5)
    assert got["own_lasts"] == pytest.approx((1 + 3 * near) / 5), "they stayed 100 s once and 5 s once; 80 s are needed"
    assert got["item_order"] == 1
    assert got["user_ago"] == pytest.approx(np.log(5))
    assert got["last1_share"] == pytest.approx(0.05)
    assert got["last2_share"] == pytest.approx(1.0)
    assert np.isnan(got["last3_share"])
    assert rows[0, features.names.index("user_plays")] == 0


def test_a_play_of_a_short_song_that_was_finished_does_not_tell_how_long_they_stay() -> None:
    one = Plays(np.array([1, 1]), np.array([1, 2]), np.array([0, HOUR]), np.array([30.0, 0]), np.array([30.0, 300.0]))
    features = PlayFeatures(running=True)
    rows = features.rows(one, one.at)
    got = dict(zip(features.names, rows[1].tolist(), strict=True))
    assert got["own_lasts"] == pytest.approx(got["length_finish"]), "nothing was learned: the prior stands"


def test_context_columns_and_shrinkage() -> None:
    features = PlayFeatures(running=True)
    rows = features.rows(plays(), plays().at)
    assert {"device_finish", "device_residual", "volume"} <= set(features.names)
    assert rows[:, features.names.index("volume")].tolist() == plays().numbers["volume"].astype(np.float32).tolist()
    assert shrunk(np.array([3.0]), np.array([4.0]), 0.5, 2.0).tolist() == [4 / 6]
    assert len(features.names) == rows.shape[1] == len(set(features.names))


def test_refreshes() -> None:
    at = np.array([0, 9, 10, 19, 20, 25, 99])
    assert refreshed(at, 20, 10).tolist() == [0, 0, 10, 10, 20, 20, 20]
    assert np.all(refreshed(at, 20, 7) <= np.maximum(at, 0))


def test_ids_are_those_of_the_past() -> None:
    one = plays()
    got = sparse_of_plays(one, one.at)
    _, item = np.unique(one.item, return_inverse=True)
    for row in (5, 100, 299):
        mine = np.flatnonzero((one.user == one.user[row]) & (one.at < one.at[row]) & one.finished)
        want = item[mine[np.argsort(one.at[mine], kind="stable")]][::-1][:HISTORY]
        assert got.history[row][: len(want)].tolist() == want.tolist()
        assert np.all(got.history[row][len(want) :] == -1)
