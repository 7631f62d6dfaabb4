"""Features: known answers for every column, finite for anything, and the night's rows equal the day's to the bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from segue.core.types import NO_DAY, Candidates, Context, Items, Query, Recent
from segue.features.compute import CONTEXT, OWN, Features, Memory, remember
from segue.features.taste import TASTE
from segue.features.wide import WIDE

HOUR, DAY = 3_600_000, 86_400_000
NOW = 20_000 * DAY
NAN = np.nan


def facts(n: int = 10) -> Items:
    return replace(
        Items.bare(n),
        artist=np.array([0, 0, 1, 1, 2, -1, -1, 3, 3, 4], np.int32),
        album=np.array([0, 0, 1, 2, 3, -1, -1, 4, 4, 5], np.int32),
        released=np.array([19_999, 19_000, NO_DAY, 20_010, 0, 19_970, 19_969, 0, 0, 0], np.int32),
        duration_s=np.array([210, 420, NAN, 0, 105, 1e9, 210, 210, 210, 210], np.float32),
    )


def memory(n: int, **columns: Any) -> Memory:
    blank = Memory(np.zeros(n, np.uint16), np.zeros(n, np.int64), np.zeros((n, 2), np.float32))
    return replace(blank, **columns)


def pool(evidence: list[list[float]], sources: tuple[str, ...] = ("a", "b")) -> Candidates:
    table = np.array(evidence, np.float32)
    return Candidates(np.arange(len(table), dtype=np.int32), table, sources)


def recent(*rows: tuple[int, int, bool]) -> Recent:
    n = len(rows)
    return Recent(
        np.array([r[0] for r in rows], np.int32),
        np.array([r[1] for r in rows], np.float32),
        np.ones(n, np.float32),
        NOW - 1000 * np.arange(n, dtype=np.int64),
        np.array([r[2] for r in rows], np.bool_),
    )


def columns_of(query: Query, candidates: Candidates, mem: Memory | None = None) -> dict[str, list[float]]:
    features = Features(("a", "b"), k=1.0)
    rows = features.rows(query, candidates, facts(), mem or memory(len(candidates)))
    assert rows.shape == (len(candidates), len(features.names))
    assert rows.dtype == np.float32
    return {name: rows[:, column].tolist() for column, name in enumerate(features.names)}


def test_names_are_one_a_column() -> None:
    names = Features(("a", "b")).names
    kinds = ("", "_top", "_score", "_here", "_top_here", "_score_here", "_said")
    assert names == (*(source + kind for kind in kinds for source in "ab"), *OWN, *TASTE, *CONTEXT, *WIDE)
    assert len(set(names)) == len(names)


def test_evidence() -> None:
    pair = pool([[9, NAN], [7, 5], [NAN, NAN]])
    got = columns_of(Query(1, 0, NOW), pair)
    assert got["a"] == pytest.approx([1, 2 / 3, 0])
    assert got["b"] == [0, 1, 0]
    assert got["a_said"] == [1, 1, 0]
    assert got["agreement"] == [0.5, 1, 0]
    assert got["a_top"] == pytest.approx([1, 4 / 5, 0])
    assert got["a_score"] == [1, 0, 0]
    assert got["b_score"] == [0, 1, 0]
    assert got["a_here"] == got["a_top_here"] == got["a_score_here"] == [0, 0, 0]
    inside = columns_of(Query(1, 0, NOW, recent=recent((5, 1, True))), pair)
    for kind in ("", "_top", "_score"):
        assert inside[f"a{kind}_here"] == inside[f"a{kind}"] == got[f"a{kind}"]


def test_scores_are_relative_to_the_query() -> None:
    got = columns_of(Query(1, 0, NOW), pool([[-5, 3e38], [15, -3e38], [0, NAN]]))
    assert got["a_score"] == pytest.approx([0, 1, 0.25])
    assert got["b_score"] == [1, 0, 0]
    assert columns_of(Query(1, 0, NOW), pool([[2, NAN], [2, NAN]]))["a_score"] == [1, 1]


def test_sources_are_found_by_name() -> None:
    """Another order, one more and one fewer: the columns mean the same; a late source is silent."""
    got = columns_of(Query(1, 0, NOW), pool([[5, 1], [4, 2]], ("new", "b")))
    assert got["b"] == pytest.approx([2 / 3, 1])
    assert got["a"] == got["a_said"] == [0, 0]


def test_what_is_remembered() -> None:
    mem = memory(
        3,
        times=np.array([0, 1, 3], np.uint16),
        last=np.array([0, NOW - 5 * HOUR, NOW + HOUR]),
        popularity=np.array([[0.5, 1], [0.25, 2], [1, 6]], np.float32),
    )
    got = columns_of(Query(1, 0, NOW), pool([[1, 1]] * 3), mem)
    assert got["expected_share"] == [0.5, 0.25, 1]
    assert got["plays"] == [-2, -1, 3]
    assert got["heard"] == [0, 1, 1]
    assert got["heard_times"] == pytest.approx(np.log1p([0, 1, 3]))
    assert got["heard_ago"] == pytest.approx([0, np.log(6), 0])


def test_what_was_done_lately() -> None:
    """Candidates 0 to 4 with artists 0 0 1 1 2; newest first: skipped 2, finished 1 (here), finished 1 and skipped 0 before."""
    played = recent((2, -1, True), (1, 1, True), (1, 1, False), (0, -1, False), (4, 0, True))
    got = columns_of(Query(1, 0, NOW, recent=played), pool([[1, 1]] * 6))
    assert got["wanted_lately"] == [0, 1, 0, 0, 0, 0]
    assert got["refused_lately"] == [1, 0, 1, 0, 0, 0]
    assert got["artist_finished"] == pytest.approx(np.log1p([2, 2, 0, 0, 0, 0]))
    assert got["artist_skipped"] == pytest.approx(np.log1p([1, 1, 1, 1, 0, 0]))
    assert got["artist_finished_here"] == pytest.approx(np.log1p([1, 1, 0, 0, 0, 0]))
    assert got["artist_skipped_here"] == pytest.approx(np.log1p([0, 0, 1, 1, 0, 0]))
    assert got["artist_of_last"] == [1, 1, 0, 0, 0, 0]
    assert got["album_of_last"] == [1, 1, 0, 0, 0, 0]
    assert got["in_session"] == [1] * 6
    assert got["session_length"] == pytest.approx([np.log1p(3)] * 6)
    assert got["session_skips"] == pytest.approx([1 / 3] * 6)


def test_an_unknown_artist_is_nobody() -> None:
    """Songs 5 and 6 both have no artist: that does not make it the same one."""
    got = columns_of(Query(1, 0, NOW, recent=recent((5, 1, True))), pool([[1, 1]] * 7))
    assert got["artist_finished"][6] == got["artist_of_last"][6] == got["album_of_last"][6] == 0


def test_the_song() -> None:
    got = columns_of(Query(1, 0, NOW), pool([[1, 1]] * 7))
    assert got["new_release"] == [1, 0, 0, 1, 0, 1, 0]
    assert got["age"] == pytest.approx(np.log1p([1, 1000, 0, 0, 20_000, 30, 31]))
    assert got["age_unknown"] == [0, 0, 1, 0, 0, 0, 0]
    assert got["length"] == pytest.approx([0, np.log(2), 0, 0, -np.log(2), 3, 0])


@pytest.mark.parametrize(
    ("hour", "on"), [(0, {"night"}), (9, {"morning"}), (13, {"daytime"}), (20, set()), (120, {"night", "weekend"})]
)
def test_the_moment(hour: int, on: set[str]) -> None:
    got = columns_of(Query(1, 0, NOW, context=Context(hour_of_week=hour)), pool([[1, 1]]))
    assert {name for name in ("night", "morning", "daytime", "weekend") if got[name] == [1]} == on
    assert got["known"] == [0]


def test_anything_is_finite() -> None:
    """Ids from nowhere, no candidates, no sources, times in the future."""
    strange = Candidates(np.array([3, 99, 2**31 - 1], np.int32), np.full((3, 1), NAN, np.float32), ("a",))
    played = recent((-1, 1, True), (2**31 - 1, -1, False), (99, 1, True))
    rows = Features(("a", "b")).rows(Query(1, -1, 0, recent=played), strange, facts(), memory(3))
    assert np.isfinite(rows).all()
    none = strange.keep(np.zeros(3, np.bool_))
    assert Features(("a",)).rows(Query(1, 0, NOW), none, facts(), memory(0)).shape == (0, len(Features(("a",)).names))
    assert np.isfinite(Features(()).rows(Query(1, 0, NOW), strange, facts(), memory(3))).all()


def test_read_only_facts_and_columns_are_fine() -> None:
    """Facts and states are memory-mapped: the same bits come out."""
    frozen = facts()
    for column in vars(frozen).values():
        column.flags.writeable = False
    played, pair = recent((2, -1, True), (1, 1, True)), pool([[1, 1]] * 6)
    for column in (*vars(played).values(), pair.items, pair.evidence):
        column.flags.writeable = False
    query = Query(1, 0, NOW, recent=played)
    features = Features(("a", "b"))
    assert np.array_equal(
        features.rows(query, pair, frozen, memory(6)), features.rows(query, pool([[1, 1]] * 6), facts(), memory(6))
    )


def test_remember_asks_the_state_once_each() -> None:
    class State:
        def heard(self, user: int, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.full(len(items), user, np.uint16), np.full(len(items), 7)

        def popularity(self, items: np.ndarray, region: int, hour: int) -> np.ndarray:
            return np.full((len(items), 2), [region, hour], np.float32)

    got = remember(State(), Query(1, 5, NOW, context=Context(region=3, hour_of_week=9)), np.arange(2, dtype=np.int32))
    assert (got.times.tolist(), got.last.tolist(), got.popularity.tolist()) == ([5, 5], [7, 7], [[3, 9], [3, 9]])
