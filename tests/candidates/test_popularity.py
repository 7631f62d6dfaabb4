"""M3 as a source: the live answer, the lift of age bands, and what the night hands over."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.candidates.popularity import Popularity
from segue.core.types import MISSING, Context, Float32, History, Int32, Items, Query, Scored

N_ITEMS = 6


@dataclass
class Counts:
    """Live counts that stand still: an item's plays, all of them heard by half."""

    plays: dict[int, float]

    def popular(self, region: int, age_band: int, hour_of_week: int, limit: int) -> Scored:
        order = sorted(self.plays, key=lambda item: (-self.plays[item], item))[:limit]
        world = sum(self.plays.values())
        scores = np.array([0.5 * self.plays[item] / world for item in order], np.float32)
        return Scored(np.array(order, np.int32), scores)

    def popularity(self, items: Int32, region: int, hour_of_week: int) -> Float32:
        plays = [self.plays.get(item, 0.0) for item in items.tolist()]
        return np.stack([np.full(len(items), 0.5), np.log1p(plays)], axis=1).astype(np.float32)


def history(rows: list[tuple[int, int, int]], n_users: int) -> History:
    """(user, item, signal)."""
    rows = sorted(rows, key=lambda row: row[0])
    user, item, signal = (
        (np.array(column, np.int32) for column in zip(*rows, strict=True)) if rows else (np.zeros(0, np.int32),) * 3
    )
    n = len(rows)
    at = np.full(n, 1000, np.uint32)
    facts = Items.bare(N_ITEMS)
    return History(n_users, N_ITEMS, 2_000_000, user, item, at, signal.astype(np.int8), np.arange(n, dtype=np.int32), facts)


def asked(age_band: int = MISSING) -> Query:
    return Query(request_id=1, user=MISSING, now=0, context=Context(age_band=age_band))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_without_bands_it_is_the_live_answer() -> None:
    state = Counts({0: 10.0, 1: 30.0, 2: 20.0})
    source = Popularity(state).fit(history([(0, 1, 1)], 1), rng())
    for band in (MISSING, 0, 7):
        answer = source.retrieve(asked(band), 2)
        assert answer.items.tolist() == [1, 2]
        np.testing.assert_array_equal(answer.scores, state.popular(0, 0, 0, 2).scores)


def test_the_lift_is_the_shrunk_ratio_of_observed_to_expected() -> None:
    bands = np.array([0, 1, MISSING], np.int8)
    rows = [(0, 3, 1)] * 30 + [(1, 4, 1)] * 30 + [(1, 3, -1)] * 9 + [(2, 5, 1)] * 9
    source = Popularity(Counts({}), bands=lambda: bands, prior=20.0).fit(history(rows, 3), rng())
    np.testing.assert_allclose(source.lift_[0], [1, 1, 1, 50 / 35, 20 / 35, 1])
    np.testing.assert_allclose(source.lift_[1], [1, 1, 1, 20 / 35, 50 / 35, 1])
    assert source.tops_[0, :2].tolist() == [3, MISSING]
    assert source.tops_[1, :2].tolist() == [4, MISSING]


def test_an_age_band_lifts_its_songs_and_brings_its_own() -> None:
    bands = np.array([0, 1], np.int8)
    source = Popularity(Counts({0: 100.0, 1: 99.0, 2: 90.0}), bands=lambda: bands, pool=2)
    source.fit(history([(0, 2, 1)] * 40 + [(0, 1, 1)] * 5 + [(1, 0, 1)] * 45, 2), rng())
    young, old = source.retrieve(asked(0), 2), source.retrieve(asked(1), 2)
    assert young.items.tolist() == [2, 1]  # 2 is beyond the live pool: the band brought it
    assert old.items.tolist() == [0, 1]
    assert young.scores[0] == pytest.approx(0.5 * 90 / 289 * (40 + 20) / (20 + 20), rel=1e-4)


def test_a_user_or_item_newer_than_the_night_is_served() -> None:
    source = Popularity(Counts({N_ITEMS + 3: 5.0, 1: 4.0}), bands=lambda: np.array([0], np.int8))
    source.fit(history([(0, 2, 1), (4, 1, 1)], 5), rng())
    assert source.retrieve(asked(0), 5).items.tolist()[:2] == [N_ITEMS + 3, 1]


def test_what_the_night_hands_over_answers_the_same() -> None:
    state, bands = Counts({0: 5.0, 1: 6.0}), np.array([0, 1, 1], np.int8)
    fitted = Popularity(state, bands=lambda: bands).fit(history([(0, 1, 1), (1, 0, 1), (2, 0, 1)], 3), rng())
    loaded = Popularity(state).load(fitted.arrays())
    for band in range(2):
        one, other = fitted.retrieve(asked(band), 5), loaded.retrieve(asked(band), 5)
        np.testing.assert_array_equal(one.items, other.items)
        np.testing.assert_array_equal(one.scores, other.scores)


def test_nothing_played_is_no_opinion() -> None:
    source = Popularity(Counts({}), bands=lambda: np.array([0], np.int8)).fit(history([], 1), rng())
    assert len(source.retrieve(asked(0), 10)) == 0


@settings(deadline=None, max_examples=60)
@given(
    plays=st.dictionaries(st.integers(0, 9), st.sampled_from([1.0, 2.0, 50.0]), max_size=10),
    rows=st.lists(st.tuples(st.integers(0, 2), st.integers(0, N_ITEMS - 1), st.integers(-1, 1)), max_size=30),
    limit=st.integers(0, 12),
)
def test_distinct_best_first_finite_ties_by_smaller_id(
    plays: dict[int, float], rows: list[tuple[int, int, int]], limit: int
) -> None:
    source = Popularity(Counts(plays), bands=lambda: np.array([0, 1, 0], np.int8)).fit(history(rows, 3), rng())
    answer = source.retrieve(asked(1), limit)
    pairs = [*zip((-answer.scores).tolist(), answer.items.tolist(), strict=True)]
    assert len(pairs) <= limit
    assert pairs == sorted(pairs)
    assert len(set(answer.items.tolist())) == len(pairs)
    assert np.isfinite(answer.scores).all()
    assert answer.items.dtype == np.int32
    assert answer.scores.dtype == np.float32
