"""One listener and one slate: taste shows, repeats tire, patience ends, and a radio that adapts beats one that does not."""

from __future__ import annotations

import numpy as np
import pytest

from segue.core.types import Int64
from segue.simulator.listeners import Listener
from segue.simulator.town import Town


@pytest.fixture(scope="module")
def town() -> Town:
    return Town(11, songs=900, artists=180, listeners=120, days=2)


def loved(listener: Listener) -> Int64:
    """Town song numbers, the most liked first."""
    likes = np.array([listener.likes(i) for i in range(len(listener.songs))])
    return np.argsort(-likes, kind="stable")


def test_the_same_dice_give_the_same_shares(town: Town) -> None:
    slate = np.arange(0, 200, 10)
    first, second = (town.listener(3, np.random.default_rng(1)).listen(slate) for _ in range(2))
    assert np.array_equal(first, second, equal_nan=True)
    assert first.dtype == np.float32
    heard = first[~np.isnan(first)]
    assert np.all((heard >= 0) & (heard <= 1))


def test_what_is_liked_is_heard_and_what_is_not_is_skipped(town: Town) -> None:
    good, bad = [], []
    for user in range(60):
        rng = np.random.default_rng(user)
        order = loved(town.listener(user, np.random.default_rng(user)))
        good.append(np.nanmean(town.listener(user, rng).listen(order[:6])))
        bad.append(np.nanmean(town.listener(user, np.random.default_rng(user)).listen(order[-6:])))
    assert np.mean(good) > 0.75
    assert np.mean(bad) < 0.35


def test_a_repeat_in_the_session_tires(town: Town) -> None:
    for user in range(20):
        listener = town.listener(user, np.random.default_rng(user))
        song = int(loved(listener)[0])
        before = listener.likes(song)
        listener.listen(np.array([song, song]))
        assert listener.likes(song) < before


def test_too_many_skips_in_a_row_and_the_listener_leaves(town: Town) -> None:
    left = 0
    for user in range(40):
        listener = town.listener(user, np.random.default_rng(user))
        shares = listener.listen(loved(listener)[::-1][:40])
        if listener.left:
            left += 1
            end = int(np.flatnonzero(np.isnan(shares))[0])
            assert np.all(np.isnan(shares[end:]))
            assert np.all(shares[end - 3 : end] <= 0.5)
            assert np.all(np.isnan(listener.listen(np.array([0, 1]))))
    assert left > 30


def test_the_mood_of_a_session_is_one_of_the_interests(town: Town) -> None:
    for user in range(30):
        for seed in range(5):
            listener = town.listener(user, np.random.default_rng(seed))
            assert town.people.traits.leaning[user, listener.want] > 0


def test_a_radio_that_adapts_beats_one_that_does_not(town: Town) -> None:
    """A radio that follows the neighbours of what was finished: the world rewards it, or it would teach nothing."""
    vectors = town.songs.vectors
    adaptive, static = [], []
    for user in range(80):
        start = np.random.default_rng(1000 + user).choice(len(vectors), 60, replace=False)
        static.append(np.nan_to_num(town.listener(user, np.random.default_rng(user)).listen(start[:20])).sum())
        listener = town.listener(user, np.random.default_rng(user))
        pull, total, played = np.zeros(vectors.shape[1]), 0.0, list[int]()
        for step in range(20):
            scores = vectors @ pull
            scores[played] = -np.inf
            scores[np.isin(town.songs.artist, town.songs.artist[played[-4:]])] = -np.inf  # a gap between songs of one artist
            song = int(start[step]) if not pull.any() else int(np.argmax(scores))
            played.append(song)
            share = float(listener.listen(np.array([song]))[0])
            if np.isnan(share):
                break
            total += share
            if share > 0.8:
                pull = pull + vectors[song]
            elif share < 0.3:
                pull = pull - 0.5 * vectors[song] if pull.any() else pull
        adaptive.append(total)
    assert np.mean(adaptive) > 1.3 * np.mean(static)
