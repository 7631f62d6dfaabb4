"""The learned share of new songs."""

from hypothesis import given
from hypothesis import strategies as st

from segue.serving.discovery import learned_share

counts = st.tuples(*[st.floats(0, 1e6)] * 4)


def test_nothing_known_stays_at_the_start() -> None:
    assert abs(learned_share((0, 0, 0, 0), 0.7) - 0.7) < 1e-9


def test_follows_how_new_songs_are_taken() -> None:
    lover, hater = learned_share((20, 2, 10, 10), 0.7), learned_share((2, 20, 10, 10), 0.7)
    assert lover > 0.9
    assert hater < 0.2


@given(counts, st.floats(0, 1))
def test_always_a_share(novelty: tuple[float, float, float, float], start: float) -> None:
    assert 0.05 <= learned_share(novelty, start) <= 0.95


@given(counts, st.floats(0.1, 0.9))
def test_one_more_finished_new_song_never_lowers_it(novelty: tuple[float, float, float, float], start: float) -> None:
    more = (novelty[0] + 1, *novelty[1:])
    assert learned_share(more, start) >= learned_share(novelty, start) - 1e-12
