"""The rules that remove."""

from dataclasses import replace

import numpy as np

from segue.core.types import Candidates, Seeds
from segue.filtering import rules
from worlds import DictState, facts, query, recent


def candidates(n: int) -> Candidates:
    return Candidates(np.arange(n, dtype=np.int32), np.ones((n, 1), np.float32), ("s",))


def kept(rule, q, n: int) -> list[int]:  # type: ignore[no-untyped-def]
    c = candidates(n)
    return c.keep(rule(q, c)).items.tolist()


def test_excluded_items_go_with_their_other_versions() -> None:
    world = facts([0, 0, 1, 2], works=[0, 0, 2, 3])
    q = query(exclude=np.array([1], np.int32), seeds=Seeds(items=np.array([3], np.int32)))
    assert kept(rules.excluded(lambda: world), q, 4) == [2]


def test_excluding_an_id_beyond_the_catalogue_is_harmless() -> None:
    world = facts([0, 1])
    assert kept(rules.excluded(lambda: world), query(exclude=np.array([99, -1], np.int32)), 2) == [0, 1]


def test_never_a_song_twice_in_a_session_however_long_it_is() -> None:
    world = facts([0, 1, 2, 3], works=[0, 1, 1, 3])
    state = DictState(session_pairs={(0, 5, 3)})  # long ago in this session: out of the ring of recent plays
    q = query(session=5, recent=recent((1, 1.0)))
    assert kept(rules.heard_in_session(lambda: world, state), q, 4) == [0]


def test_another_session_does_not_count() -> None:
    world = facts([0, 1])
    q = query(recent=recent((1, 1.0), in_session=False))
    assert kept(rules.heard_in_session(lambda: world, DictState()), q, 2) == [0, 1]


def test_refused_songs_go() -> None:
    assert kept(rules.refused(DictState(refused_pairs={(0, 1), (9, 0)})), query(), 3) == [0, 2]


def test_unplayable_and_unknown_songs_go() -> None:
    world = facts([0, 1])
    world.playable[1] = False
    assert kept(rules.playable(lambda: world), query(), 3) == [0]


def test_two_quick_skips_turn_away_from_their_artists_and_shared_tag() -> None:
    n = 60
    tags = [[0, 2]] * 20 + [[1, 2]] * 40
    world = facts(list(range(n)), tags=tags)
    turn = rules.turned_away(lambda: world)
    q = query(recent=recent((0, -1.0), (1, -1.0), (2, 1.0)))
    left = kept(turn, q, n)
    # both skipped songs have tags 0 and 2; all songs have 2, so the whole catalogue would go: only their artists do
    assert left == list(range(2, n))
    narrower = facts(list(range(n)), tags=[[0]] * 20 + [[1]] * 40)
    assert kept(rules.turned_away(lambda: narrower), q, n) == list(range(20, n))


def test_one_skip_or_a_skip_after_a_finish_turns_nothing() -> None:
    world = facts(list(range(50)), tags=[[0]] * 50)
    turn = rules.turned_away(lambda: world)
    assert len(kept(turn, query(recent=recent((0, -1.0), (1, 1.0))), 50)) == 50
    assert len(kept(turn, query(recent=recent((0, 1.0), (1, -1.0), (2, -1.0))), 50)) == 50


def test_a_song_that_is_hidden_and_skipped_is_one_song() -> None:
    world = facts(list(range(60)), tags=[[0]] * 20 + [[1]] * 40)
    turn = rules.turned_away(lambda: world)
    assert len(kept(turn, query(recent=recent((0, -1.0), (0, -1.0))), 60)) == 60, "not all songs of its tag"
    assert kept(turn, query(recent=recent((1, -1.0), (1, -1.0), (0, -1.0))), 60) == list(range(20, 60))


def test_a_tag_radio_does_not_leave_its_tag() -> None:
    world = facts(list(range(60)), tags=[[0]] * 30 + [[1]] * 30)
    q = query(recent=recent((0, -1.0), (1, -1.0)), seeds=Seeds(tags=np.array([0], np.int32)))
    assert kept(rules.turned_away(lambda: world), q, 60) == list(range(2, 60))


def test_a_session_without_a_name_remembers_more_than_the_recent_plays() -> None:
    world, now, hour = facts([0, 1, 2]), 10**10, 3_600_000

    class Remembers(DictState):
        def heard(self, user: int, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            last = {0: now - hour, 1: now - 48 * hour, 2: 0}  # this session; the day before yesterday; never
            return np.ones(len(items), np.uint16), np.array([last[i] for i in items.tolist()])

    full = recent((2, 0.0), (2, 0.0), at=now)  # nothing but this session is remembered: it may have begun long before
    assert kept(rules.heard_in_session(lambda: world, Remembers()), query(session=0, recent=full), 3) == [1]
    begun = replace(full, in_session=np.array([True, False]))  # it is known when it began
    assert kept(rules.heard_in_session(lambda: world, Remembers()), query(session=0, recent=begun), 3) == [0, 1]
