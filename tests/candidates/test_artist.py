"""Artist: more of who was finished, less of who was skipped, and tags that were asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from segue.candidates.artist import Artist
from segue.core.types import MISSING, Float32, History, Int32, Items, Query, Recent, Scored, Seeds

NOW_S = 1_700_000_000
RNG = np.random.default_rng(0)
# songs 0-3 by artist 0 (albums 0, 0, 1, 1), 4-5 by artist 1, 6 by nobody known, 7 by artist 0 but not playable
FACTS = replace(
    Items.bare(8),
    artist=np.array([0, 0, 0, 0, 1, 1, MISSING, 0], np.int32),
    album=np.array([0, 0, 1, 1, 2, 2, MISSING, 0], np.int32),
    playable=np.arange(8) != 7,
    tags_ptr=np.array([0, 1, 1, 1, 1, 3, 4, 5, 6]),
    tags=np.array([0, 0, 1, 0, 1, 0], np.int32),
)


def history(rows: list[tuple[int, int, int, float]]) -> History:
    """Rows (user, item, signal, days ago), users ascending."""
    user, item, signal, age = np.array(rows, np.float64).reshape(-1, 4).T
    return History(
        n_users=3,
        n_items=8,
        now=NOW_S * 1000,
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        at=(NOW_S - age * 86_400).astype(np.uint32),
        signal=signal.astype(np.int8),
        session=user.astype(np.int32),
        facts=FACTS,
    )


def ids(*values: int) -> Int32:
    return np.array(values, np.int32)


def radio(items: Int32, signal: list[float], user: int = MISSING, seeds: Seeds | None = None) -> Query:
    weights: Float32 = np.array(signal, np.float32)
    n = len(items)
    recent = Recent(items, weights, weights, np.zeros(n, np.int64), np.ones(n, np.bool_))
    return Query(1, user, NOW_S * 1000, recent=recent, seeds=seeds or Seeds())


def score(answer: Scored, item: int) -> float:
    return float(answer.scores[answer.items == item][0])


PLAYS = [(0, 3, 1, 0.0), (0, 3, 1, 0.0), (0, 3, 1, 0.0), (0, 1, 1, 0.0), (1, 4, 1, 0.0), (1, 4, 1, 0.0), (1, 6, 1, 0.0)]


def test_more_of_the_artist_the_most_loved_song_first() -> None:
    model = Artist(album_weight=0.0).fit(history(PLAYS), RNG)
    answer = model.retrieve(radio(ids(0), [1.0]), 9)
    assert answer.items.tolist() == [3, 1, 0, 2], "by finishes, then by id; 7 is not playable"
    assert answer.scores.tolist() == pytest.approx([1.0, np.sqrt(2 / 4), np.sqrt(1 / 4), np.sqrt(1 / 4)])


def test_songs_of_the_same_album_come_forward() -> None:
    answer = Artist(album_weight=1.0).fit(history(PLAYS), RNG).retrieve(radio(ids(0), [1.0]), 9)
    assert score(answer, 1) == pytest.approx(np.sqrt(2 / 4) + 1.0)
    assert answer.items.tolist()[0] == 1


def test_an_artist_who_was_skipped_is_silent_and_takes_from_what_was_earned() -> None:
    model = Artist().fit(history(PLAYS), RNG)
    assert len(model.retrieve(radio(ids(0), [-1.0]), 9)) == 0
    mixed = model.retrieve(radio(ids(4, 0), [-1.0, 1.0]), 9)
    assert set(mixed.items.tolist()) == {0, 1, 2, 3}
    turned = model.retrieve(radio(ids(0, 1), [-1.0, 1.0]), 9)
    assert len(turned) == 0, "the skip came later than the finish and weighs more"


def test_taste_of_old_speaks_where_the_session_is_silent() -> None:
    model = Artist(long_term=0.5).fit(history(PLAYS), RNG)
    assert set(model.retrieve(radio(ids(), [], user=0), 9).items.tolist()) == {0, 1, 2, 3}
    assert set(model.retrieve(radio(ids(), [], user=1), 9).items.tolist()) == {4, 5}
    assert len(model.retrieve(radio(ids(), [], user=2), 9)) == 0
    both = model.retrieve(radio(ids(4), [1.0], user=0), 9)
    assert both.items.tolist()[0] == 4
    assert score(both, 3) == pytest.approx(0.5)


def test_old_finishes_count_less() -> None:
    model = Artist(half_life_days=10.0, album_weight=0.0)
    model.fit(history([(0, 0, 1, 40.0), (0, 0, 1, 40.0), (0, 1, 1, 0.0)]), RNG)
    assert model.retrieve(radio(ids(2), [1.0]), 9).items.tolist()[0] == 1


def test_artist_and_tag_radio() -> None:
    model = Artist(seed_weight=2.0).fit(history(PLAYS), RNG)
    by_artist = model.retrieve(radio(ids(), [], seeds=Seeds(artists=ids(1))), 9)
    assert by_artist.items.tolist() == [4, 5]
    by_tag = model.retrieve(radio(ids(), [], seeds=Seeds(tags=ids(0))), 9)
    assert by_tag.items.tolist() == [4, 0, 5], "the songs of the tag by their finishes; 7 is not playable"
    assert score(by_tag, 4) == pytest.approx(2.0)
    by_song = model.retrieve(radio(ids(), [], seeds=Seeds(items=ids(5))), 9)
    assert by_song.items.tolist()[0] == 4


def test_ids_of_one_kind_never_reach_the_shelves_of_another() -> None:
    model = Artist().fit(history(PLAYS), RNG)
    beyond = Seeds(artists=ids(2, 3, 4, 5, 6, 10**6, MISSING), tags=ids(2, 99, MISSING))
    assert len(model.retrieve(radio(ids(), [], seeds=beyond), 9)) == 0
    assert len(model.retrieve(radio(ids(6), [1.0]), 9)) == 0, "nobody knows its artist"


def test_a_shelf_holds_its_best() -> None:
    model = Artist(shelf=2, album_weight=0.0).fit(history(PLAYS), RNG)
    assert model.retrieve(radio(ids(0), [1.0]), 9).items.tolist() == [3, 1]


def test_a_song_that_came_in_by_day_pulls_its_artist() -> None:
    later = replace(FACTS, artist=np.append(FACTS.artist, np.int32(1)), album=np.append(FACTS.album, np.int32(77)))
    query = radio(ids(8), [1.0])
    assert len(Artist().fit(history(PLAYS), RNG).retrieve(query, 9)) == 0
    assert Artist(facts=lambda: later).fit(history(PLAYS), RNG).retrieve(query, 9).items.tolist() == [4, 5]
