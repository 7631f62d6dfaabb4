"""Turns in a shared slate: alone they are the radio's own slate, and below foreign songs the chances are still all there is."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.core.types import Candidates, Float32, Int32
from segue.reranking.drafting import Drafting
from segue.reranking.radio import Radio
from worlds import DictState, facts, query

N = 12
WORLD = facts([k // 2 for k in range(N)], works=[*range(N - 2), N - 2, N - 2])
STATE = DictState(heard_pairs={(0, item) for item in range(0, N, 3)})


def radio(**settings: float) -> Radio:
    """Few songs of few artists: every rule has something to say."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(N, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def of(items: Int32) -> Float32:
        return vectors[items]

    return Radio(lambda: WORLD, STATE, explore=0.6, explore_pool=5, artist_gap=1, vectors=of, **settings)  # type: ignore[arg-type]


def candidates(items: list[int]) -> Candidates:
    return Candidates(np.array(items, np.int32), np.ones((len(items), 1), np.float32), ("s",))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), diversity=st.sampled_from([0.0, 0.7]), discovery=st.sampled_from([0.3, 1.0]))
def test_alone_its_turns_are_the_slate_that_it_would_have_made(seed: int, diversity: float, discovery: float) -> None:
    made, asked = radio(diversity=diversity), query(limit=8, discovery=discovery)
    scores = np.random.default_rng(seed).permutation(N).astype(np.float32)
    whole = candidates(list(range(N)))
    picks, propensities, explored = made.select(asked, whole, scores, np.random.default_rng(seed))
    turns, draws = made.drafting(asked, whole, scores), np.random.default_rng(seed).random((8, 2))
    above = np.zeros(0, np.int32)
    for place, pick in enumerate(picks.tolist()):
        item, chance, drawn = turns.next(above, draws[place])
        assert (item, np.float32(chance), drawn) == (pick, propensities[place], explored[place])
        assert turns.chance(above, item) == chance
        above = np.append(above, np.int32(item))


@settings(max_examples=40, deadline=None)
@given(above=st.lists(st.integers(0, N - 2), unique=True, max_size=5), own=st.sets(st.integers(0, N - 1), min_size=1))
def test_below_any_songs_the_chances_of_its_own_add_up_to_one(above: list[int], own: set[int]) -> None:
    scores = np.random.default_rng(0).permutation(N).astype(np.float32)[sorted(own)]
    turns = radio().drafting(query(limit=8, discovery=1.0), candidates(sorted(own)), scores)
    shown = np.array(above, np.int32)
    item, chance, _ = turns.next(shown, np.array([0.9, 0.5]))
    chances = {one: turns.chance(shown, one) for one in sorted(own - set(above))}
    if item < 0:
        assert sum(chances.values()) == 0, "it has nothing left that may stand there"
    else:
        assert item in own - set(above)
        assert chances[item] == chance
        assert abs(sum(chances.values()) - 1) < 1e-6
    assert all(turns.chance(shown, one) == 0 for one in range(N) if one not in own)


def test_songs_of_the_other_count_for_artists() -> None:
    best = np.array([3.0, 2.0, 1.0], np.float32)
    never, nobody = np.array([0.9, 0.0]), np.zeros(0, np.int32)

    def turns() -> Drafting:
        return radio().drafting(query(limit=8, discovery=1.0), candidates([2, 4, 8]), best)

    assert turns().next(nobody, never)[0] == 2
    assert turns().next(np.array([3], np.int32), never)[0] == 4, "song 3 is by the artist of song 2"
