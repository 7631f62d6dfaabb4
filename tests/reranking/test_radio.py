"""The radio's reranker: order, gaps, discovery, and propensities that are exact."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.core.types import Candidates
from segue.reranking.radio import Radio
from worlds import DictState, facts, query, recent


def candidates(n: int) -> Candidates:
    return Candidates(np.arange(n, dtype=np.int32), np.ones((n, 1), np.float32), ("s",))


def falling(n: int) -> np.ndarray:
    return np.linspace(3, 0, n).astype(np.float32)


def picks(radio: Radio, q, scores: np.ndarray, seed: int = 0):  # type: ignore[no-untyped-def]
    return radio.select(q, candidates(len(scores)), scores, np.random.default_rng(seed))


def test_without_exploration_and_rules_it_is_best_first_with_propensity_one() -> None:
    world = facts(list(range(20)))
    radio = Radio(lambda: world, DictState(), explore=0.0)
    order, propensities, explored = picks(radio, query(limit=5, discovery=1.0), falling(20))
    assert order.tolist() == [0, 1, 2, 3, 4]
    assert propensities.tolist() == [1.0] * 5
    assert not explored.any()


def test_ties_go_to_the_smaller_item() -> None:
    world = facts(list(range(6)))
    order, _, _ = picks(Radio(lambda: world, DictState(), explore=0.0), query(limit=6, discovery=1.0), np.zeros(6, np.float32))
    assert order.tolist() == [0, 1, 2, 3, 4, 5]


def test_gap_between_songs_of_an_artist_and_the_session_before_counts() -> None:
    world = facts([0, 0, 0, 1, 2, 3, 4, 5])
    radio = Radio(lambda: world, DictState(), explore=0.0, artist_gap=2, max_per_artist=3)
    q = query(limit=6, discovery=1.0, recent=recent((2, 1.0)))
    order, _, _ = picks(radio, q, falling(8))
    artists = [0, *world.artist[order].tolist()]
    for place, artist in enumerate(artists):
        assert artist not in artists[place + 1 : place + 3]


def test_second_versions_never_share_a_slate() -> None:
    world = facts([0, 1, 2, 3], works=[0, 0, 2, 2])
    order, _, _ = picks(Radio(lambda: world, DictState(), explore=0.0), query(limit=4, discovery=1.0), falling(4))
    assert order.tolist() == [0, 2]


def test_discovery_is_the_share_of_unheard_songs() -> None:
    world = facts(list(range(100)))
    state = DictState(heard_pairs={(0, i) for i in range(50)})
    radio = Radio(lambda: world, state, explore=0.0)
    for share in (0.0, 0.3, 0.5, 1.0):
        order, _, _ = picks(radio, query(limit=20, discovery=share), falling(100))
        assert abs((order >= 50).sum() - 20 * share) <= 1


def test_rules_give_way_rather_than_leave_a_place_empty() -> None:
    world = facts([0] * 10)
    state = DictState(heard_pairs={(0, i) for i in range(10)})
    order, _, _ = picks(Radio(lambda: world, state, explore=0.0), query(limit=8, discovery=1.0), falling(10))
    assert len(order) == 8


def test_observed_frequencies_equal_the_propensities() -> None:
    n, runs = 6, 40_000
    world = facts(list(range(n)))
    radio = Radio(lambda: world, DictState(), explore=0.4, explore_pool=5, temperature=0.8)
    scores = np.array([1.0, 0.9, 0.5, 0.2, 0.1, -2.0], np.float32)
    q = query(limit=2, discovery=1.0)
    seen: dict[tuple[int, int], int] = {}
    chance: dict[tuple[int, int], float] = {}
    rng = np.random.default_rng(3)
    for _ in range(runs):
        order, p, _ = radio.select(q, candidates(n), scores, rng)
        key = (int(order[0]), int(order[1]))
        seen[key] = seen.get(key, 0) + 1
        chance[key] = float(p[0]) * float(p[1])
    assert abs(sum(chance.values()) - 1.0) < 1e-3  # every slate that can happen happened, and they are all of them
    for key, times in seen.items():
        sd = np.sqrt(chance[key] * (1 - chance[key]) / runs)
        assert abs(times / runs - chance[key]) < 5 * sd


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(1, 30), st.floats(0, 1), st.floats(0, 1), st.integers(0, 10_000))
def test_slates_are_always_lawful(n: int, limit: int, discovery: float, explore: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    world = facts(rng.integers(-1, 6, n).tolist(), works=rng.integers(0, max(n, 1), n).tolist())
    state = DictState(heard_pairs={(0, int(i)) for i in rng.integers(0, 40, 10)})
    radio = Radio(lambda: world, state, explore=explore, explore_pool=5)
    q = query(limit=limit, discovery=discovery)
    scores = rng.normal(size=n).astype(np.float32)
    order, propensities, _ = picks(radio, q, scores, seed)
    assert len(order) == min(limit, len(set(world.work.tolist())))
    assert len(set(order.tolist())) == len(order)
    assert np.all((propensities > 0) & (propensities <= 1))
    again = picks(radio, q, scores, seed)
    assert order.tolist() == again[0].tolist()


def test_the_side_gives_way_before_the_cap_of_an_artist() -> None:
    world = facts([0] * 6 + list(range(1, 20)))  # the best songs are all of one artist, and nothing is familiar
    radio = Radio(lambda: world, DictState(), explore=0.0, artist_gap=1, max_per_artist=2)
    order, _, _ = picks(radio, query(limit=10, discovery=0.3), falling(25))
    assert (world.artist[order] == 0).sum() == 2


def test_a_song_that_was_rated_is_not_new() -> None:
    world = facts(list(range(20)))
    state = DictState(refused_pairs={(0, i) for i in range(10)})  # disliked, so met
    order, _, _ = picks(Radio(lambda: world, state, explore=0.0), query(limit=10, discovery=1.0), falling(20))
    assert set(order.tolist()) == set(range(10, 20))


class Played(DictState):
    """A state where songs below 100 are well known."""

    def popularity(self, items: np.ndarray, region: int, hour_of_week: int) -> np.ndarray:
        return np.column_stack((np.zeros(len(items)), np.where(items < 100, 4.0, 0.0))).astype(np.float32)


def carried(items: list[int], near: list[float]) -> Candidates:
    evidence = np.column_stack((np.ones(len(items)), near)).astype(np.float32)
    return Candidates(np.array(items, np.int32), evidence, ("s", "sound"))


def test_newcomers_that_are_near_get_their_share_of_the_draws_with_exact_propensities() -> None:
    world = facts(list(range(200)))
    radio = Radio(lambda: world, Played(), explore=0.4, explore_pool=3, newcomers=0.5)
    pool = carried([0, 1, 2, 3, 100, 101, 102], [0.8, 0.9, np.nan, 0.2, 0.6, 0.9, 0.3])  # 102 is not near
    scores = np.array([2.0, 1.0, 0.5, 0.0, 1.5, -3.0, -3.0], np.float32)
    runs, rng = 30_000, np.random.default_rng(1)
    times, chance = np.zeros(7), np.zeros(7)
    for _ in range(runs):
        order, p, explored = radio.select(query(limit=1, discovery=1.0), pool, scores, rng)
        times[order[0]] += 1
        chance[order[0]] = p[0]
        assert explored[0] or order[0] == 0
    assert times[6] == times[3] == 0
    assert times[5] > 0.1 * runs  # 0.4 * 0.5 * 0.9 / 1.5
    assert abs(chance.sum() - 1.0) < 1e-6
    assert np.all(np.abs(times / runs - chance) < 5 * np.sqrt(chance * (1 - chance) / runs) + 1e-9)


def test_without_newcomers_the_draws_are_those_of_the_softmax() -> None:
    world = facts(list(range(200)))
    known = carried([0, 1, 2, 3], [0.8, 0.9, 0.7, 0.6])
    scores = falling(4)
    for seed in range(50):
        with_, without = (
            Radio(lambda: world, Played(), explore=0.5, newcomers=share).select(
                query(limit=3, discovery=1.0), known, scores, np.random.default_rng(seed)
            )
            for share in (0.5, 0.0)
        )
        assert all(np.array_equal(a, b) for a, b in zip(with_, without, strict=True))
