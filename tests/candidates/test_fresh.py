"""Fresh: what counts as new, whose new songs come first, and how a song grows out of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from segue.candidates.fresh import REBUILD_MS, Fresh
from segue.core.clock import DAY_MS
from segue.core.types import MISSING, NO_DAY, Float32, History, Int32, Items, Query, Recent, Seeds

DAY = 20_000
NOW = DAY * DAY_MS + 1000
RNG = np.random.default_rng(0)


def items(released: list[int], artist: list[int] | None = None, added: list[int] | None = None) -> Items:
    """Days relative to DAY, None-like NO_DAY kept."""
    n = len(released)
    days = np.array([day if day == NO_DAY else DAY + day for day in released], np.int64).astype(np.int32)
    return replace(
        Items.bare(n),
        released=days,
        added=np.array([DAY + day for day in added], np.int32) if added else np.zeros(n, np.int32),
        artist=np.array(artist, np.int32) if artist else np.full(n, MISSING, np.int32),
    )


def history(facts: Items, rows: list[tuple[int, int, int]] | None = None) -> History:
    """Rows (user, item, signal), yesterday."""
    user, item, signal = np.array(rows or [], np.int64).reshape(-1, 3).T
    return History(
        n_users=3,
        n_items=len(facts),
        now=NOW,
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        at=np.full(len(user), (DAY - 1) * 86_400, np.uint32),
        signal=signal.astype(np.int8),
        session=user.astype(np.int32),
        facts=facts,
    )


def ids(*values: int) -> Int32:
    return np.array(values, np.int32)


def radio(played: Int32 | None = None, signal: float = 1.0, user: int = MISSING, now: int = NOW) -> Query:
    played = ids() if played is None else played
    weights: Float32 = np.full(len(played), signal, np.float32)
    recent = Recent(played, weights, weights, np.zeros(len(played), np.int64), np.ones(len(played), np.bool_))
    return Query(1, user, now, recent=recent)


def offered(model: Fresh, query: Query) -> list[int]:
    return [int(item) for item in model.retrieve(query, 50).items]


def test_new_is_the_last_days_before_now_and_never_the_future() -> None:
    facts = items([0, -29, -30, -400, 1, NO_DAY])
    model = Fresh(days=30).fit(history(facts), RNG)
    assert sorted(offered(model, radio())) == [0, 1]
    assert sorted(offered(model, radio(now=NOW + DAY_MS))) == [0, 4], "a day later one has aged and one has come out"
    assert sorted(offered(model, radio(now=NOW + 400 * DAY_MS))) == []


def test_songs_without_a_release_day_are_new_when_they_arrive_but_an_import_is_not() -> None:
    released = [NO_DAY] * 600
    added = [-5] * 590 + [-3] * 10
    model = Fresh().fit(history(items(released, added=added)), RNG)
    assert sorted(offered(model, radio())) == list(range(590, 600))


def test_an_old_song_that_arrives_is_not_a_new_release() -> None:
    model = Fresh().fit(history(items([-4000, NO_DAY], added=[-1, -1])), RNG)
    assert offered(model, radio()) == [1]


def test_songs_that_cannot_be_played_are_not_offered() -> None:
    facts = replace(items([-1, -1]), playable=np.array([False, True]))
    assert offered(Fresh().fit(history(facts), RNG), radio()) == [1]


def test_the_artists_of_the_session_come_first_and_skipped_ones_stay_away() -> None:
    facts = items([-500, -1, -1, -1], artist=[1, 0, 1, 2])
    model = Fresh().fit(history(facts), RNG)
    assert offered(model, radio()) == [1, 2, 3]
    assert offered(model, radio(ids(0))) == [2, 1, 3]
    assert offered(model, radio(ids(0), -1.0)) == [1, 3]


def test_taste_of_old_and_seeds_count_as_well() -> None:
    facts = items([-500, -1, -1], artist=[1, 0, 1])
    model = Fresh().fit(history(facts, [(0, 0, 1), (1, 0, -1)]), RNG)
    assert offered(model, radio(user=0)) == [2, 1]
    assert offered(model, radio(user=1)) == [1]
    assert offered(model, replace(radio(), seeds=Seeds(artists=ids(1)))) == [2, 1]


def test_tags_of_what_was_finished_pull() -> None:
    facts = replace(items([-500, -1, -1]), tags_ptr=np.array([0, 1, 2, 3]), tags=np.array([7, 3, 7], np.int32))
    model = Fresh().fit(history(facts), RNG)
    assert offered(model, radio(ids(0))) == [2, 1]
    assert offered(model, replace(radio(), seeds=Seeds(tags=ids(7)))) == [2, 1]


def test_the_share_shrinks_as_plays_come_in_and_finishes_lift() -> None:
    facts = items([-1, -1, -1, -1])
    plays = [(0, 1, 1), (0, 1, -1)] * 200 + [(0, 2, 1), (0, 2, 1), (0, 3, -1), (0, 3, -1)]
    answer = Fresh(long_term=0.0).fit(history(facts, plays), RNG).retrieve(radio(), 9)
    assert answer.items.tolist() == [2, 0, 3, 1]


def test_the_score_is_the_upper_bound_times_the_share() -> None:
    facts = items([-1])
    model = Fresh(prior=4.0, bonus=1.5, evidence=20.0, newcomer=1.0).fit(history(facts, [(0, 0, 1)] * 5), RNG)
    world = 6 / 7  # one finish and one skip are assumed of the world
    a, b = 5 + 4 * world, 4 * (1 - world)
    expected = (a / (a + b) + 1.5 * np.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))) * np.sqrt(20 / 25)
    assert model.retrieve(radio(), 1).scores[0] == pytest.approx(expected, rel=1e-5)


def test_a_new_song_of_a_loved_artist_is_trusted_more() -> None:
    facts = items([-500, -500, -1, -1], artist=[0, 1, 0, 1])
    model = Fresh().fit(history(facts, [(0, 0, -1)] * 9 + [(0, 1, 1)] * 9), RNG)
    assert offered(model, radio()) == [3, 2]


def test_a_song_that_came_in_by_day_is_offered_by_day() -> None:
    now = [items([-1, -500], artist=[0, 0])]
    model = Fresh(facts=lambda: now[0]).fit(history(now[0]), RNG)
    assert offered(model, radio()) == [0]
    now[0] = items([-1, -500, 0], artist=[0, 0, 0])
    assert offered(model, radio(now=NOW + 1)) == [0], "not rebuilt for every change"
    assert offered(model, radio(now=NOW + REBUILD_MS)) == [0, 2]
    assert 2 in offered(model, radio(ids(1), now=NOW + REBUILD_MS))


def test_the_pool_is_bounded_by_the_newest() -> None:
    model = Fresh(pool=2).fit(history(items([-3, -1, -2, -1])), RNG)
    assert sorted(offered(model, radio())) == [1, 3]


def test_moments_of_several_days_do_not_build_the_pool_again(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []
    build = Fresh._build

    def counted(self: Fresh, facts: Items, now: int) -> Any:
        built.append(now // 86_400_000)
        return build(self, facts, now)

    monkeypatch.setattr(Fresh, "_build", counted)
    source = Fresh()
    for day in (10, 11, 10, 11, 12, 10):
        source.retrieve(Query(1, 0, day * 86_400_000 + 5), 3)
    assert built == [10, 11, 12]
    for day in range(20, 40):
        source.retrieve(Query(1, 0, day * 86_400_000), 3)
    assert len(source._pools) == 8
