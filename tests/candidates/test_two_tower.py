"""The towers: sums over pairs by their definition, the ratio that they approximate, songs and listeners without plays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from segue.candidates.two_tower import BANDS, Sums, TwoTower, facts_of, moments, towers
from segue.core.types import Context, History, Query
from worlds import facts, query, recent


def test_sums_over_listeners_are_the_sums_over_pairs() -> None:
    rng = np.random.default_rng(0)
    described = sparse.csr_matrix(rng.random((9, 4)) * (rng.random((9, 4)) < 0.6))
    played = rng.random((12, 9)) < 0.5
    played[:, :2] = True
    told = facts_of(rng.integers(-1, BANDS, 12).astype(np.int8))
    got = moments(described, sparse.csr_matrix(played.astype(np.float32)), told, 0.3)
    x = described.toarray()
    left, right, weight = [], [], []
    for user, item in zip(*np.nonzero(played), strict=True):
        others = [i for i in np.flatnonzero(played[user]) if i != item]
        for history, share in ((x[others].mean(0), 0.7), (np.zeros(4), 0.3)):
            left.append(np.concatenate((history, told[user])))
            right.append(np.append(x[item], 1.0))
            weight.append(share)
    h, y, w = np.array(left), np.array(right), np.array(weight)
    for ours, theirs in zip(got, (h.T @ (h * w[:, None]), y.T @ (y * w[:, None]), h.T @ (y * w[:, None])), strict=True):
        np.testing.assert_allclose(ours, theirs / w.sum(), rtol=1e-9, atol=1e-12)


def test_the_towers_reach_the_ratio_where_it_is_linear() -> None:
    """One-hot on both sides: the score is p(a, b) / (p(a) p(b)) itself."""
    rng = np.random.default_rng(1)
    joint = rng.random((4, 5))
    joint /= joint.sum()
    sums = Sums(np.diag(joint.sum(1)), np.diag(joint.sum(0)), joint)
    user, item = towers(sums, 4, 1e-12)
    expected = joint / np.outer(joint.sum(1), joint.sum(0))
    np.testing.assert_allclose(user @ item.T, expected, rtol=1e-6)
    low = [np.abs(np.subtract(u @ v.T, expected)).max() for u, v in (towers(sums, size, 1e-12) for size in (1, 2, 3))]
    assert low[0] > low[2]
    np.testing.assert_allclose(towers(sums, 1, 1e-12)[0][:, 0] * towers(sums, 1, 1e-12)[1][0, 0], 1, rtol=1e-6)


def world(seed: int = 0) -> tuple[History, np.ndarray]:
    """Two tastes: even songs carry tag 0, odd ones tag 1; the last ten songs were never played."""
    rng = np.random.default_rng(seed)
    rows = []
    bands = (np.arange(80) % 2 * 3).astype(np.int8)
    for user in range(80):
        songs = rng.permutation(np.arange(user % 2, 50, 2))[:8]
        rows += [(user, int(item)) for item in songs]
    user, item = (np.array(column, np.int32) for column in zip(*rows, strict=True))
    known = facts([i % 12 for i in range(60)], tags=[[i % 2, 2 + i % 3] for i in range(60)])
    history = History(
        n_users=80,
        n_items=60,
        now=10**9,
        user=user,
        item=item,
        at=np.full(len(user), 10, np.uint32),
        signal=np.ones(len(user), np.int8),
        session=user.astype(np.int32),
        facts=known,
    )
    return history, bands


def test_it_offers_songs_nobody_has_played_to_those_of_that_taste() -> None:
    history, _ = world()
    model = TwoTower(size=8, popularity=0.0).fit(history, np.random.default_rng(0))
    for taste in (0, 1):
        got = model.retrieve(query(user=999, recent=recent((taste, 1.0), (taste + 2, 1.0))), 20).items
        assert (got % 2 == taste).all()
    ahead = model.retrieve(query(user=999, recent=recent((0, 1.0), (2, 1.0))), 60).items
    assert {50, 52, 54} <= set(ahead.tolist())


def test_a_listener_without_a_history_is_answered_by_age() -> None:
    history, bands = world()
    model = TwoTower(size=8, bands=lambda: bands).fit(history, np.random.default_rng(0))
    for taste, band in ((0, 0), (1, 3)):
        got = model.retrieve(Query(1, -1, 0, context=Context(age_band=band)), 10).items
        assert (got % 2 == taste).all()
    assert len(model.retrieve(Query(1, -1, 0), 10)) == 10


def test_what_was_wanted_more_comes_first_where_popularity_counts() -> None:
    history, _ = world()
    plays = np.bincount(history.item, minlength=60)
    asked = query(user=999, recent=recent((0, 1.0), (2, 1.0)))
    mean = [
        plays[TwoTower(size=8, popularity=power).fit(history, np.random.default_rng(0)).retrieve(asked, 10).items].mean()
        for power in (0.0, 1.0)
    ]
    assert mean[1] > mean[0]


def test_unplayable_songs_are_not_offered() -> None:
    history, _ = world()
    history = replace(history, facts=replace(history.facts, playable=np.arange(60) != 4))
    model = TwoTower(size=8).fit(history, np.random.default_rng(0))
    assert 4 not in model.retrieve(query(recent=recent((0, 1.0))), 60).items.tolist()


def test_the_sound_of_a_song_is_part_of_its_tower() -> None:
    """Songs without tags and artists: only their vectors tell the tastes apart."""

    class Store:
        def __len__(self) -> int:
            return 60

        def get(self, items: np.ndarray) -> np.ndarray:
            return np.column_stack((items % 2, 1 - items % 2)).astype(np.float32)

    history, _ = world()
    history = replace(history, facts=facts([-1] * 60, tags=[[] for _ in range(60)]))
    model = TwoTower(size=4, vectors=Store()).fit(history, np.random.default_rng(0))  # type: ignore[arg-type]
    got = model.retrieve(query(user=999, recent=recent((1, 1.0))), 10).items
    assert (got % 2 == 1).all()


@pytest.mark.parametrize("size", [1, 200])
def test_any_width(size: int) -> None:
    history, _ = world()
    model = TwoTower(size=size).fit(history, np.random.default_rng(0))
    assert np.isfinite(model.songs_).all()
    assert model.songs_.shape == (60, size)
