"""Sound: near what was finished, away from what was skipped, newcomers forward, silent where nothing is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segue.candidates._pull import Reading
from segue.candidates.sound import Sound
from segue.core.types import MISSING, History, Items, Seeds
from segue.storage.vectors.file import FileVectors
from worlds import query, recent

FLAT = Reading(recency=1.0, skip=1.0, long_term=0.5)


def seeds(*items: int) -> Seeds:
    return Seeds(np.array(items, np.int32))


def counted(plays: dict[int, int], n_items: int) -> History:
    item = np.concatenate([np.full(times, i, np.int32) for i, times in plays.items()])
    n = len(item)
    return History(
        n_users=1,
        n_items=n_items,
        now=10**9,
        user=np.zeros(n, np.int32),
        item=item,
        at=np.arange(n, dtype=np.uint32),
        signal=np.ones(n, np.int8),
        session=np.zeros(n, np.int32),
        facts=Items.bare(n_items),
    )


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., FileVectors]:
    def make(rows: np.ndarray) -> FileVectors:
        store = FileVectors(tmp_path / "vectors")
        store.put("a", np.arange(len(rows), dtype=np.int32), rows.astype(np.float32))
        return store

    return make


def circle(n: int) -> np.ndarray:
    """Songs around a circle, one a degree."""
    angle = np.radians(np.arange(n))
    return np.column_stack((np.cos(angle), np.sin(angle)))


def test_a_finish_pulls_its_neighbours_and_a_skip_pushes_them_away(put: Callable[..., FileVectors]) -> None:
    store = put(circle(90))
    sound = Sound(vectors=store, reading=FLAT)
    near = sound.retrieve(query(recent=recent((45, 1.0))), 4)
    assert sorted(near.items.tolist()) == [43, 44, 46, 47]
    assert 45 not in near.items
    away = sound.retrieve(query(recent=recent((30, -1.0), (45, 1.0))), 1)
    assert away.items[0] > 45
    other = sound.retrieve(query(recent=recent((60, -1.0), (45, 1.0))), 1)
    assert other.items[0] < 45


def test_the_score_is_the_sum_of_similarities(put: Callable[..., FileVectors]) -> None:
    rows = np.random.default_rng(0).standard_normal((40, 7))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = Sound(vectors=put(rows), reading=FLAT).retrieve(query(recent=recent((3, -1.0), (2, 1.0), (1, 1.0))), 40)
    wanted = unit @ (unit[1] + unit[2] - unit[3])
    wanted[[1, 2, 3]] = 0
    order = np.argsort(-wanted, kind="stable")[: int((wanted > 0).sum())]
    assert found.items.tolist() == order.tolist()
    assert np.allclose(found.scores, wanted[order], atol=1e-5)


def test_seeds_are_where_it_starts(put: Callable[..., FileVectors]) -> None:
    sound = Sound(vectors=put(circle(90)))
    assert sorted(sound.retrieve(query(seeds=seeds(10)), 2).items.tolist()) == [9, 11]


def test_it_is_silent_without_vectors_without_a_finish_and_for_songs_nobody_encoded(put: Callable[..., FileVectors]) -> None:
    assert len(Sound().retrieve(query(recent=recent((1, 1.0))), 5)) == 0
    assert len(Sound().similar(1, 5)) == 0
    sound = Sound(vectors=put(circle(20)))
    assert len(sound.retrieve(query(), 5)) == 0
    assert len(sound.retrieve(query(recent=recent((5, -1.0))), 5)) == 0
    assert len(sound.retrieve(query(recent=recent((500, 1.0))), 5)) == 0
    assert len(sound.similar(500, 5)) == 0
    assert len(sound.similar(MISSING, 5)) == 0
    assert sound.because(query(recent=recent((500, 1.0))), np.array([3, 600], np.int32)).tolist() == [MISSING, MISSING]


def test_similar_leaves_out_the_song_itself(put: Callable[..., FileVectors]) -> None:
    found = Sound(vectors=put(circle(30))).similar(0, 3)
    assert found.items.tolist() == [1, 2, 3]
    assert np.allclose(found.scores, np.cos(np.radians([1, 2, 3])), atol=1e-6)


def test_because_names_the_song_that_it_sounds_like_most(put: Callable[..., FileVectors]) -> None:
    sound = Sound(vectors=put(circle(90)), reading=FLAT)
    asked = query(recent=recent((40, -1.0), (80, 1.0), (10, 1.0)))
    assert sound.because(asked, np.array([12, 79, 10, 700], np.int32)).tolist() == [10, 80, 80, MISSING]


def test_newcomers_come_forward_until_listeners_have_spoken(put: Callable[..., FileVectors]) -> None:
    store = put(np.concatenate((circle(90)[45:46], circle(90)[:89])))  # song i + 1 stands at degree i
    new = (53, 54)
    history = counted({i: 20 for i in range(90) if i not in new}, 90)
    asked = query(recent=recent((0, 1.0)))
    sound = Sound(vectors=store, newcomers=0.25, reading=FLAT)
    before = sound.retrieve(asked, 40).items.tolist()
    assert sorted(before[:20]) == list(range(36, 46)) + list(range(46, 56))  # by sound alone: ten degrees on either side
    assert before.index(53) > 10
    sound.fit(history, np.random.default_rng(0))
    after = sound.retrieve(asked, 40).items.tolist()
    assert after.index(53) in (3, 4)
    assert after.index(54) in (7, 8)
    assert [item for item in after if item not in new] == [item for item in before if item not in new]
    assert sound.retrieve(asked, 6).items.tolist() == after[:6]


def test_a_newcomer_among_the_nearest_holds_its_share_and_a_far_one_gets_nothing(put: Callable[..., FileVectors]) -> None:
    rng = np.random.default_rng(0)
    near = np.column_stack((np.ones(15), 0.02 * np.arange(15)))
    far = -np.ones((50, 2)) + 0.1 * rng.standard_normal((50, 2))
    far[25] = far[35] + 0.01  # song 40 stands beside song 50
    store = put(np.concatenate((near, far)))
    history = counted({i: 20 for i in range(65) if i not in (12, 13, 40)}, 65)
    sound = Sound(vectors=store, newcomers=0.25).fit(history, np.random.default_rng(0))
    found = sound.retrieve(query(recent=recent((0, 1.0))), 10).items.tolist()
    assert 12 in found[:5]
    assert 13 in found[:9]
    assert 40 not in found
    elsewhere = sound.retrieve(query(recent=recent((50, 1.0))), 30).items.tolist()
    assert 12 not in elsewhere
    assert 40 in elsewhere[:5]


def test_live_plays_end_the_newcomers_time(put: Callable[..., FileVectors]) -> None:
    class Counts:
        plays = 0.0

        def popularity(self, items: np.ndarray, region: int, hour_of_week: int) -> np.ndarray:
            return np.column_stack((np.zeros(len(items)), np.log1p(np.full(len(items), self.plays)))).astype(np.float32)

    near = np.column_stack((np.ones(15), 0.02 * np.arange(15)))
    counts = Counts()
    sound = Sound(vectors=put(near), state=counts, newcomers=0.5)
    sound.fit(counted(dict.fromkeys(range(14), 20), 15), np.random.default_rng(0))
    asked = query(recent=recent((0, 1.0)))
    assert sound.retrieve(asked, 3).items.tolist().count(14) == 1
    counts.plays = 6.0
    assert sound.retrieve(asked, 14).items.tolist() == list(range(1, 15))
