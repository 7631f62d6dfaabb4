"""The learned share of new songs: where it starts, how it follows, what a segment lends, and that draws replay."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.serving.discovery import MOST, PRIOR, Discovery, Prior, learned_share, segment_of

counts = st.tuples(*[st.floats(0, 1e6)] * 4)
NOTHING = (0.0, 0.0, 0.0, 0.0)


def test_nothing_known_stays_at_the_start() -> None:
    assert abs(learned_share(NOTHING, 0.7) - 0.7) < 1e-9


def test_follows_how_new_songs_are_taken() -> None:
    lover, hater = learned_share((20, 2, 10, 10), 0.7), learned_share((2, 20, 10, 10), 0.7)
    assert lover > 0.9
    assert hater < 0.2


@given(counts, st.floats(0, 1), st.integers(0, 2**63))
def test_always_a_share(novelty: tuple[float, float, float, float], start: float, seed: int) -> None:
    assert 0.05 <= learned_share(novelty, start) <= 0.95
    assert 0.05 <= Discovery(start).share(novelty, 0, seed) <= 0.95


@given(counts, st.floats(0.1, 0.9))
def test_one_more_finished_new_song_never_lowers_it(novelty: tuple[float, float, float, float], start: float) -> None:
    more = (novelty[0] + 1, *novelty[1:])
    assert learned_share(more, start) >= learned_share(novelty, start) - 1e-12


def test_a_draw_replays_and_another_id_or_key_draws_anew() -> None:
    one = Discovery(0.7, b"key")
    assert one.share(NOTHING, 0, 5) == one.share(NOTHING, 0, 5)
    assert one.share(NOTHING, 0, 5) != one.share(NOTHING, 0, 6)
    assert one.share(NOTHING, 0, 5) != Discovery(0.7, b"other").share(NOTHING, 0, 5)


def test_draws_lie_around_the_mean_and_the_closer_the_more_is_known() -> None:
    sampler = Discovery(0.5)
    little, much = ([sampler.share(n, 0, seed) for seed in range(4000)] for n in ((3, 3, 3, 3), (300, 300, 300, 300)))
    assert np.median(little) == pytest.approx(0.5, abs=0.03)
    assert np.median(much) == pytest.approx(0.5, abs=0.02)
    assert np.std(little) > 4 * np.std(much)


def world(rng: np.random.Generator, rates: list[float], listeners: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Listeners of several segments who finish new songs at their own rates around their segment's."""
    segments = np.repeat(np.arange(len(rates)), listeners)
    own = rng.beta(np.array(rates)[segments] * spread, (1 - np.array(rates)[segments]) * spread)
    plays = rng.integers(10, 60, len(segments))
    new, known = rng.binomial(plays, own), rng.binomial(plays, 0.6)
    return np.column_stack((new, plays - new, known, plays - known)).astype(float), segments.astype(np.int64)


def test_a_segment_lends_its_listeners_what_it_knows() -> None:
    novelty, segments = world(np.random.default_rng(0), [0.3, 0.8], 400, 30.0)
    learned = Discovery(0.5).learn(novelty, segments)
    means = [learned.segments[s].new[0] / sum(learned.segments[s].new) for s in (0, 1)]
    assert means == pytest.approx([0.3, 0.8], abs=0.03)
    assert learned_share(NOTHING, 0.5, learned.segments[0]) < 0.35 < 0.65 < learned_share(NOTHING, 0.5, learned.segments[1])
    assert learned.service.familiar[0] / sum(learned.service.familiar) == pytest.approx(0.6, abs=0.02)
    own = (40.0, 4.0, 20.0, 20.0)  # a listener who loves new songs in a segment that does not
    assert learned_share(own, 0.5, learned.segments[0]) > 0.6


def test_a_segment_of_one_listener_is_shrunk_to_the_service() -> None:
    novelty, segments = world(np.random.default_rng(1), [0.5], 300, 30.0)
    alone = np.vstack((novelty, [[6.0, 0.0, 1.0, 1.0]]))
    learned = Discovery(0.5).learn(alone, np.append(segments, 9))
    mean = learned.segments[9].new[0] / sum(learned.segments[9].new)
    assert 0.5 < mean < 0.65


def test_the_strength_of_a_prior_is_how_alike_listeners_are() -> None:
    rng = np.random.default_rng(2)
    alike, unlike = (sum(Discovery(0.5).learn(*world(rng, [0.5], 2000, s)).service.new) for s in (25.0, 8.0))
    assert alike == pytest.approx(25, rel=0.25)
    assert unlike == pytest.approx(8, rel=0.25)
    assert sum(Discovery(0.5).learn(*world(rng, [0.5], 2000, 1e6)).service.new) == MOST


def test_nobody_to_learn_from_leaves_the_hyperprior() -> None:
    learned = Discovery(0.5).learn(np.zeros((3, 4)), np.array([0, 1, 1]))
    assert learned.service == Prior()
    assert sum(learned.service.new) == PRIOR
    assert learned.segments == {}


def test_segments_are_told_apart() -> None:
    assert len({segment_of(region, band) for region in range(-1, 20) for band in range(-1, 8)}) == 21 * 9
