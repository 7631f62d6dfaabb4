"""Diversity, the listener's mix, fatigue, freshness, album caps: what they change, and that propensities stay exact."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from segue.core.types import Candidates, Items
from segue.reranking.radio import Radio
from segue.reranking.variety import newness, passed_over, wanted_mix
from worlds import DictState, facts, query, recent

DAY = 86_400_000


def candidates(n: int) -> Candidates:
    return Candidates(np.arange(n, dtype=np.int32), np.ones((n, 1), np.float32), ("s",))


def chosen(world: Items, scores: list[float], q: Any, state: Any = None, **more: Any) -> list[int]:
    radio = Radio(lambda: world, state or DictState(), explore=0.0, **more)
    picks, _, _ = radio.select(q, candidates(len(scores)), np.array(scores, np.float32), np.random.default_rng(0))
    return picks.tolist()


def test_diversity_takes_the_unlike_song_before_the_slightly_better_alike_one() -> None:
    world = facts([0, 1, 2, 3], tags=[[1, 2], [1, 2], [3], [4]])
    scores = [1.0, 0.9, 0.8, 0.0]
    assert chosen(world, scores, query(limit=2, discovery=1.0)) == [0, 1]
    assert chosen(world, scores, query(limit=2, discovery=1.0), diversity=1.0) == [0, 2]


def test_diversity_hears_likeness_where_there_are_vectors() -> None:
    vectors = np.array([[1, 0], [0.9, np.sqrt(0.19)], [0, 1], [np.nan, np.nan]], np.float32)
    world = facts([0, 1, 2, 3])
    scores = [1.0, 0.9, 0.8, 0.0]
    found = chosen(world, scores, query(limit=2, discovery=1.0), diversity=1.0, vectors=lambda items: vectors[items])
    assert found == [0, 2]


def test_calibration_gives_the_mix_that_was_played() -> None:
    n = 40  # half of what was finished is tag 0, half tag 1; the ranker likes tag 0 better
    world = facts(list(range(n + 10)), tags=[[0] if i < 20 else [1] for i in range(n)] + [[i % 2] for i in range(10)])
    q = query(limit=10, discovery=1.0, recent=recent(*[(n + i, 1.0) for i in range(10)], in_session=False))
    scores = np.linspace(2, 0, n).tolist()
    assert sum(i < 20 for i in chosen(world, scores, q)) == 10
    assert sum(i < 20 for i in chosen(world, scores, q, calibration=20.0)) == 5
    assert 5 < sum(i < 20 for i in chosen(world, scores, q, calibration=1.0)) < 10


def test_the_mix_is_shares_of_songs_and_needs_some() -> None:
    world = facts([0] * 6, tags=[[3, 4], [3], [3], [4], [9], []])
    names, share = wanted_mix(query(recent=recent(*[(i, 1.0) for i in range(6)])), world)
    assert names.tolist() == [3, 4, 9]
    assert share.tolist() == pytest.approx([2.5 / 5, 1.5 / 5, 1 / 5])
    assert len(wanted_mix(query(recent=recent((0, 1.0), (1, 1.0))), world)[0]) == 0
    assert len(wanted_mix(query(recent=recent(*[(i, -1.0) for i in range(6)])), world)[0]) == 0


def test_passed_over_is_shown_and_not_played_or_skipped_lately() -> None:
    items = np.arange(5, dtype=np.int32)
    times = np.array([0, 0, 2, 0, 3], np.uint16)
    marks = np.array([16, 16 | 1, 16, 0, 0], np.uint8)
    q = query(recent=recent((4, -1.0), at=1_000_000), now=1_000_000 + 3 * DAY)
    assert passed_over(q, items, times, marks).tolist() == pytest.approx([1, 0, 0, 0, 0.5])


class Shown(DictState):
    """Song 0 was shown and nothing came of it."""

    def marks(self, user: int, items: np.ndarray) -> np.ndarray:
        return np.where(items == 0, 16, 0).astype(np.uint8)


@pytest.mark.parametrize("by", ["mmr", "dpp"])
def test_a_cool_softmax_stays_finite_where_songs_below_the_rearranged_ones_score_higher(by: str) -> None:
    n = 140  # the best 100 are alike and of five artists: when one is left, what is penalized stands before what is not
    world = facts([i // 20 for i in range(100)] + list(range(100, n)), tags=[[1, 2]] * 100 + [[3]] * 40)
    radio = Radio(lambda: world, DictState(), explore=0.5, temperature=0.001, diversity=5.0, diversity_by=by,
                  max_per_artist=1, newcomers=0.0)  # fmt: skip
    scores = np.linspace(3, 0, n).astype(np.float32)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        _, propensities, _ = radio.select(query(limit=10, discovery=1.0), candidates(n), scores, rng)
        assert ((propensities > 0) & (propensities <= 1)).all()


def test_fatigue_puts_what_was_passed_over_behind() -> None:
    world = facts([0, 1, 2])
    assert chosen(world, [1.0, 0.9, 0.0], query(limit=3, discovery=1.0), Shown()) == [0, 1, 2]
    assert chosen(world, [1.0, 0.9, 0.0], query(limit=3, discovery=1.0), Shown(), fatigue=1.0) == [1, 0, 2]


def test_freshness_halves_in_a_month_and_what_is_not_out_yet_has_none() -> None:
    world = replace(Items.bare(4), released=np.array([100, 70, 101, np.iinfo(np.int32).min], np.int32))
    assert newness(100 * DAY, np.arange(4, dtype=np.int32), world).tolist() == pytest.approx([1, 0.5, 0, 0])
    world = replace(world, artist=np.arange(4, dtype=np.int32))
    assert chosen(world, [0.0, 0.1, 0.2, 0.3], query(limit=1, discovery=1.0, now=100 * DAY), freshness=9.0) == [0]


def test_the_cap_of_an_album_holds_where_artists_differ() -> None:
    world = replace(facts(list(range(30))), album=np.array([7] * 10 + [-1] * 20, np.int32))
    falling = np.linspace(3, 0, 30).tolist()
    assert sum(i < 10 for i in chosen(world, falling, query(limit=10, discovery=1.0))) == 10
    assert sum(i < 10 for i in chosen(world, falling, query(limit=10, discovery=1.0), max_per_album=2)) == 2


def test_jointly_the_greedy_choice_is_that_of_the_determinant() -> None:
    """Against the definition: each place maximizes score + weight * log det of the kernel of the songs so far."""
    n, weight = 25, 0.8
    rng = np.random.default_rng(4)
    tags = [sorted(set(rng.integers(0, 8, rng.integers(0, 5)).tolist())) for _ in range(n)]
    vectors = rng.normal(size=(n, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[::7] = np.nan
    kernel = np.eye(n)
    for i in range(n):
        for j in range(n):
            if i != j:
                shared, either = len(set(tags[i]) & set(tags[j])), len(set(tags[i]) | set(tags[j]))
                jaccard = shared / either if tags[i] and tags[j] else 0.0
                dot = float(vectors[i] @ vectors[j])
                kernel[i, j] = ((1 + dot) / 2 * (not np.isnan(dot)) if not np.isnan(dot) else 0.0) / 2 + jaccard / 2
    assert np.linalg.eigvalsh(kernel).min() > -1e-6, "a kernel, or there is no determinantal process"
    scores = rng.normal(size=n).astype(np.float32)
    standard = (scores - scores.mean()) / (scores.std() + 1e-6)
    slate: list[int] = []
    for _ in range(8):

        def gain(i: int, slate: list[int] = slate) -> float:
            return float(standard[i]) + weight * np.linalg.slogdet(kernel[np.ix_([*slate, i], [*slate, i])])[1]

        slate.append(max((i for i in range(n) if i not in slate), key=gain))
    world = facts(list(range(n)), tags=tags)
    found = chosen(
        world, scores.tolist(), query(limit=8, discovery=1.0), diversity=weight, diversity_by="dpp",
        vectors=lambda items: vectors[items],
    )  # fmt: skip
    assert found == slate


def test_jointly_a_second_copy_of_a_song_comes_last() -> None:
    world = facts([0, 1, 2, 3], tags=[[1], [1], [2], [1, 2]])
    assert chosen(world, [1.0, 0.9, 0.5, 0.4], query(limit=4, discovery=1.0), diversity=3.0, diversity_by="dpp") == [0, 2, 3, 1]
    with pytest.raises(ValueError, match="mmr or dpp"):
        Radio(lambda: world, DictState(), diversity_by="dot")


@pytest.mark.parametrize("by", ["mmr", "dpp"])
def test_over_100_000_draws_the_frequencies_are_the_propensities(by: str) -> None:
    runs = 100_000
    world = replace(facts(list(range(6)), tags=[[1], [1, 2], [1], [2], [3], [3]]), album=np.array([1, 1, 2, 2, 3, 3], np.int32))
    q = query(limit=2, discovery=1.0, recent=recent(*[(i, 1.0) for i in range(6)], in_session=False))
    radio = Radio(
        lambda: world, Shown(), explore=0.4, explore_pool=5, temperature=0.8, max_per_album=1, diversity=0.7, calibration=0.5,
        fatigue=0.5, artist_gap=0, diversity_by=by,
    )  # fmt: skip
    scores, pool = np.array([1.0, 0.9, 0.5, 0.2, 0.1, -2.0], np.float32), candidates(6)
    seen: dict[tuple[int, ...], int] = {}
    chance: dict[tuple[int, ...], float] = {}
    rng = np.random.default_rng(3)
    for _ in range(runs):
        picks, p, _ = radio.select(q, pool, scores, rng)
        key = tuple(picks.tolist())
        seen[key] = seen.get(key, 0) + 1
        chance[key] = float(p[0]) * float(p[1])
    assert abs(sum(chance.values()) - 1.0) < 1e-3  # every slate that can happen happened, and they are all of them
    often = [key for key in seen if runs * chance[key] >= 5]
    statistic = sum((seen[key] - runs * chance[key]) ** 2 / (runs * chance[key]) for key in often)
    assert statistic < chi2.ppf(0.999, len(often) - 1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 150), st.integers(1, 20), st.floats(0, 5), st.floats(0, 5), st.integers(0, 10_000), st.booleans())
def test_slates_stay_lawful(n: int, limit: int, diversity: float, calibration: float, seed: int, joint: bool) -> None:
    rng = np.random.default_rng(seed)
    tags = [rng.integers(0, 5, rng.integers(0, 4)).tolist() for _ in range(n + 20)]
    world = facts(rng.integers(-1, 30, n + 20).tolist(), tags=[sorted(set(t)) for t in tags])
    q = query(limit=limit, recent=recent(*[(n + i, 1.0) for i in range(20)], in_session=False))
    radio = Radio(
        lambda: world, Shown(), explore=0.3, diversity=diversity, calibration=calibration, fatigue=1, freshness=1,
        diversity_by="dpp" if joint else "mmr",
    )  # fmt: skip
    scores = rng.normal(size=n).astype(np.float32)
    picks, propensities, _ = radio.select(q, candidates(n), scores, np.random.default_rng(seed))
    assert len(picks) == len(set(picks.tolist())) == min(limit, n)
    assert np.all((propensities > 0) & (propensities <= 1))
    again = radio.select(q, candidates(n), scores, np.random.default_rng(seed))
    assert np.array_equal(picks, again[0])
    assert np.array_equal(propensities, again[1])
