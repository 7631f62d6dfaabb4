"""What the last plays say of a song by what it is: every column from its definition, written out row by row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from segue.core.types import NO_DAY, Candidates, Items, Query, Recent
from segue.features.compute import Features, Memory
from segue.features.taste import LATEST, TASTE

N = 40


def facts(seed: int = 0) -> Items:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 4, N)
    tags = np.concatenate([rng.choice(6, size, replace=False) for size in sizes]).astype(np.int32)
    released = rng.integers(0, 20_000, N).astype(np.int32)
    released[::7] = NO_DAY
    length = rng.uniform(60, 600, N).astype(np.float32)
    length[::9] = np.nan
    return replace(
        Items.bare(N),
        artist=rng.integers(-1, 8, N).astype(np.int32),
        released=released,
        duration_s=length,
        tags_ptr=np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
        tags=tags,
    )


def plays(seed: int, n: int) -> Recent:
    rng = np.random.default_rng(seed)
    return Recent(
        rng.integers(0, N, n).astype(np.int32),
        rng.integers(-1, 2, n).astype(np.float32),
        rng.random(n).astype(np.float32),
        10**9 - np.arange(n, dtype=np.int64),
        np.arange(n) < n // 2,
    )


def rows(recent: Recent, known: Items, items: np.ndarray) -> np.ndarray:
    n = len(items)
    memory = Memory(np.zeros(n, np.uint16), np.zeros(n, np.int64), np.zeros((n, 2), np.float32))
    pool = Candidates(items.astype(np.int32), np.zeros((n, 0), np.float32), ())
    return Features((), only=TASTE).rows(Query(1, 0, 10**12, recent=recent), pool, known, memory)


def definition(recent: Recent, known: Items, item: int) -> list[float]:
    """The columns of one candidate, by the docstring of fill_taste."""

    def tags(of: int) -> set[int]:
        return set(known.tags[known.tags_ptr[of] : known.tags_ptr[of + 1]].tolist())

    def alike(a: int, b: int) -> float:
        return len(tags(a) & tags(b)) / np.sqrt(max(len(tags(a)), 1) * max(len(tags(b)), 1))

    spoke = [j for j in range(min(len(recent), LATEST)) if recent.signal[j] != 0]
    weight = {j: 0.95**place for place, j in enumerate(spoke)}
    finished = [j for j in spoke if recent.signal[j] > 0]
    out = []
    for part in (finished, [j for j in spoke if recent.signal[j] < 0], [j for j in finished if recent.in_session[j]]):
        total = sum(weight[j] for j in part)
        out.append(sum(weight[j] * alike(item, int(recent.items[j])) for j in part) / (total + 3))
    out.append(alike(item, int(recent.items[finished[0]])) if finished else 0.0)
    dated = [j for j in finished if known.released[recent.items[j]] != NO_DAY]
    era = 0.0
    if dated and known.released[item] != NO_DAY:
        w = np.array([weight[j] for j in dated])
        mean = float(w @ known.released[recent.items[dated]] / w.sum())
        era = min(abs(float(known.released[item]) - mean) / 3652.5, 3.0)
    base = (len(finished) + 1) / (len(spoke) + 2)
    near = done = 0.0
    for j in spoke:
        a, b = float(known.duration_s[item]), float(known.duration_s[recent.items[j]])
        if a > 0 and b > 0:
            far = np.floor(10 * np.log(b) + 0.5) - np.floor(10 * np.log(a) + 0.5)
            close = np.exp(-0.5 * (far / 3) ** 2) * (abs(far) <= 12)
            near, done = near + close, done + close * (recent.signal[j] > 0)
    theirs = [j for j in spoke if known.artist[item] >= 0 and known.artist[recent.items[j]] == known.artist[item]]
    liked = sum(recent.signal[j] > 0 for j in theirs)
    rate = (liked + 2 * base) / (len(theirs) + 2) - base
    return [*out, era, (done + 3 * base) / (near + 3) - base, rate, base]


@pytest.mark.parametrize("n", [0, 1, 7, 30, 80])
def test_every_column_is_its_definition(n: int) -> None:
    for seed in range(3):
        known, recent = facts(seed), plays(seed + 10, n)
        got = rows(recent, known, np.arange(N))
        expected = [definition(recent, known, item) for item in range(N)]
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_songs_beyond_the_facts_and_plays_of_them_are_of_nothing() -> None:
    recent = replace(plays(1, 6), items=np.array([1, 99, -1, 3, 4, 500], np.int32), signal=np.ones(6, np.float32))
    got = rows(recent, facts(), np.array([-1, 2, 70]))
    assert np.isfinite(got).all()
    assert (got[[0, 2], :5] == 0).all()


def test_what_is_older_than_the_latest_changes_nothing() -> None:
    recent = plays(3, 80)
    cut = Recent(*(column[:LATEST] for column in vars(recent).values()))
    assert rows(recent, facts(), np.arange(N)).tobytes() == rows(cut, facts(), np.arange(N)).tobytes()


def test_only_names_columns_in_their_order_and_refuses_others() -> None:
    whole, some = Features(("a",)), Features(("a",), only=("era", "a_said", "plays"))
    memory = Memory(np.zeros(2, np.uint16), np.zeros(2, np.int64), np.array([[0, 1], [0, 3]], np.float32))
    pool = Candidates(np.array([1, 2], np.int32), np.array([[1.0], [np.nan]], np.float32), ("a",))
    asked = Query(1, 0, 10**12, recent=plays(1, 5)), pool, facts(), memory
    full = whole.rows(*asked)
    expected = full[:, [whole.names.index(name) for name in some.names]]
    assert np.array_equal(some.rows(*asked), expected)
    assert some.rows(asked[0], pool.keep(np.zeros(2, np.bool_)), facts(), memory).shape == (0, 3)
    with pytest.raises(ValueError, match="no such features: nonsense"):
        Features(("a",), only=("nonsense",))
