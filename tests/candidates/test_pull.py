"""How a query is read: what pulls, what pushes, and how hard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from segue.candidates._pull import SEED_FLOOR, Reading
from segue.core.types import MISSING, Query, Recent, Seeds

READING = Reading(recency=0.5, skip=1.0, long_term=0.2, depth=4)


def read(signal: Sequence[float], inside: list[bool] | None = None, seeds: list[int] | None = None) -> list[tuple[int, Any]]:
    """Pulls for plays 0, 1, 2..., newest first."""
    n = len(signal)
    said = np.array(signal, np.float32)
    session = np.array(inside if inside is not None else [True] * n, np.bool_)
    recent = Recent(np.arange(n, dtype=np.int32), said, said, np.zeros(n, np.int64), session)
    pulls = READING.pulls(Query(1, MISSING, 0, seeds=Seeds(np.array(seeds or [], np.int32)), recent=recent))
    assert pulls.items.dtype == np.int32
    assert pulls.weights.dtype == np.float32
    return [(int(i), pytest.approx(float(w))) for i, w in zip(pulls.items, pulls.weights, strict=True)]


def test_finishes_pull_less_the_older_they_are_and_silence_takes_no_place() -> None:
    assert read([1, 0, 1, 0, 1]) == [(0, 1.0), (2, 0.5), (4, 0.25)]


def test_a_skip_before_the_last_finish_weighs_once() -> None:
    assert read([1, -1, 1]) == [(0, 1.0), (1, -0.5), (2, 0.25)]


def test_skips_in_a_row_weigh_as_many_times_as_they_are() -> None:
    assert read([-1, 1]) == [(0, -1.0), (1, 0.5)]
    assert read([-1, -1, 1]) == [(0, -2.0), (1, -1.0), (2, 0.25)]
    two_skips = sum(weight for _, weight in [(0, -2.0), (1, -1.0)])
    assert abs(two_skips) > sum(0.5**k for k in range(2, 30)), "more than everything that was finished before"
    assert [w for _, w in read([-1, -1, -1, -1])] == [-4.0, -2.0, -1.0, -0.5]


def test_plays_before_the_session_pull_softly_and_never_push() -> None:
    assert read([1, 1, -1, 1], [True, False, False, False]) == [(0, 1.0), (1, 0.2), (3, pytest.approx(0.05))]


def test_seeds_are_the_songs_before_the_first_and_never_fall_silent() -> None:
    assert read([], seeds=[7, 8]) == [(7, 1.0), (8, 1.0)]
    assert read([1], seeds=[7]) == [(0, 1.0), (7, 0.5)]
    assert read([1, 1, 1, 1], seeds=[7])[-1] == (7, SEED_FLOOR)


def test_depth_bounds_each_kind() -> None:
    assert [item for item, _ in read([1] * 6 + [1] * 6, [True] * 6 + [False] * 6)] == [0, 1, 2, 3, 6, 7, 8, 9]
