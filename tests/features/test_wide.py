"""Groups of features that a model may name: every column from its definition, and nothing made that nobody names."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from segue.core.clock import calendar_days, hour_of_week
from segue.core.languages import language_code
from segue.core.types import Candidates, Context, Items, Query, Recent, Seeds
from segue.features import compute, wide
from segue.features.compute import Features, Memory, proven
from segue.features.taste import LATEST
from segue.features.wide import GROUPS, WIDE, Around, lift_of

HOUR, DAY = 3_600_000, 86_400_000
NOW = 20_000 * DAY + 5 * HOUR
N = 30


def world(seed: int = 0) -> Items:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 4, N)
    tags = np.concatenate([rng.choice(6, size, replace=False) for size in sizes]).astype(np.int32)
    return replace(
        Items.bare(N),
        artist=rng.integers(-1, 8, N).astype(np.int32),
        added=rng.integers(19_000, 20_010, N).astype(np.int32),
        tags_ptr=np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
        tags=tags,
        language=np.array([language_code(tag) for tag in ("en", "pt", None, "zxx", "yue") * (N // 5)], np.int16),
    )


def around(seed: int = 1, d: int = 5) -> Around:
    rng = np.random.default_rng(seed)
    users, items = rng.normal(size=(4, d)).astype(np.float32), rng.normal(size=(N - 5, d)).astype(np.float32)
    tables = rng.normal(size=(N - 3, 8)).astype(np.float32), rng.normal(size=(N, 3)).astype(np.float32)
    return Around(users, items, *tables, np.array([0, -1, 2, 1], np.int32))


def plays(n: int, seed: int = 2) -> Recent:
    rng = np.random.default_rng(seed)
    return Recent(
        rng.integers(0, N + 5, n).astype(np.int32),
        rng.integers(-1, 2, n).astype(np.float32),
        rng.random(n).astype(np.float32),
        NOW - np.cumsum(rng.integers(1, HOUR, n)).astype(np.int64),
        np.arange(n) < n // 3,
    )


def column(query: Query, name: str, items: np.ndarray | None = None, near: Around | None = None) -> np.ndarray:
    pool = np.arange(N + 4, dtype=np.int32) if items is None else items.astype(np.int32)
    n = len(pool)
    memory = Memory(np.zeros(n, np.uint16), np.zeros(n, np.int64), np.zeros((n, 2), np.float32))
    features = Features((), only=[name], around=near or around())
    return features.rows(query, Candidates(pool, np.zeros((n, 0), np.float32), ()), world(), memory)[:, 0]


@pytest.mark.parametrize("n", [0, 1, 7, 80])
@pytest.mark.parametrize("user", [-1, 2, 9])
def test_vectors(n: int, user: int) -> None:
    near, recent = around(), plays(n)
    table = near.items.astype(np.float64)
    query = Query(1, user, NOW, recent=recent)
    wanted = [j for j in range(min(n, LATEST)) if recent.signal[j] > 0 and recent.items[j] < len(table)]
    units = [table[recent.items[j]] / np.linalg.norm(table[recent.items[j]]) for j in wanted]
    fading = [0.95**k * unit for k, unit in enumerate(units)]
    here = [part for j, part in zip(wanted, fading, strict=True) if recent.in_session[j]]
    means = {"vector_taste": fading, "vector_here": here, "vector_last": units[:1]}
    for name, parts in means.items():
        want = np.zeros(N + 4)
        mean = np.sum(parts, axis=0) if parts else None
        if mean is not None:
            want[: len(table)] = table @ mean / np.linalg.norm(mean) / np.linalg.norm(table, axis=1)
        assert column(query, name) == pytest.approx(want, abs=1e-5), name
    liking = np.zeros(N + 4)
    if 0 <= user < len(near.users):
        liking[: len(table)] = table @ near.users[user].astype(np.float64)
        liking = (liking - liking.mean()) / liking.std()
    assert column(query, "vector_user") == pytest.approx(liking, abs=1e-4)


def test_without_vectors_their_columns_are_zeros() -> None:
    query = Query(1, 2, NOW, recent=plays(20))
    for name in GROUPS["vectors"]:
        assert not column(query, name, near=Around.nothing()).any()


def test_ways_by_hand() -> None:
    at = NOW - np.array([1, 2, 3, 50, 51, 200], np.int64) * HOUR // 2
    signal = np.array([-1, 0, -1, 1, -1, 1], np.float32)
    recent = Recent(np.arange(6, dtype=np.int32), signal, np.ones(6, np.float32), at, np.zeros(6, np.bool_))
    query = Query(1, 0, NOW, recent=recent)
    want = {
        "lately": math.log1p(6),
        "span": math.log1p(100 / 24),
        "idle": math.log1p(0.5),
        "session_mean": math.log(6 / 3),
        "skips_in_a_row": 2.0,
    }
    for name, value in want.items():
        assert column(query, name) == pytest.approx(np.full(N + 4, value), rel=1e-6), name
        assert not column(Query(1, 0, NOW), name).any(), "of a newcomer nothing is known"
    ahead = replace(query, now=NOW - DAY * 9)
    assert not column(ahead, "idle").any(), "a clock that is ahead counts as now"


def test_clock_is_a_circle() -> None:
    late, early = (Query(1, 0, NOW, context=Context(hour_of_week=hour)) for hour in (23, 0))
    for name in ("hour_sin", "hour_cos"):
        assert abs(column(late, name)[0] - column(early, name)[0]) < 0.3
    noon = Query(1, 0, NOW, context=Context(hour_of_week=12))
    assert column(noon, "hour_cos")[0] == pytest.approx(-1)
    assert column(noon, "week_sin")[0] == pytest.approx(math.sin(2 * math.pi * 12 / 168))
    summer, winter = (Query(1, 0, round(day * DAY)) for day in (171, 171 + 365.2425 / 2))
    assert column(summer, "season_sin")[0] == pytest.approx(-column(winter, "season_sin")[0], abs=1e-5)


def test_audience() -> None:
    near = around()
    query = Query(1, 0, NOW, context=Context(region=2, device=1, age_band=3))
    age = np.zeros(N + 4)
    age[: len(near.by_age)] = near.by_age[:, 3]
    assert column(query, "age_match") == pytest.approx(age)
    assert column(query, "region_match")[:N] == pytest.approx(near.by_region[:, 2])
    assert column(query, "age_band").tolist() == [4.0] * (N + 4)
    assert column(query, "device").tolist() == [2.0] * (N + 4)
    assert column(Query(1, 0, NOW, context=Context(region=3)), "region_match")[:N] == pytest.approx(near.by_region[:, 1])
    for region in (1, 4):
        unknown = Query(1, 0, NOW, context=Context(region=region))
        assert not column(unknown, "region_match").any(), "a region without a column, and one that came after the table"
    assert not column(unknown, "age_match").any()


def test_lifts_are_logs_of_shares_over_shares() -> None:
    user, item = np.array([0, 0, 1, 2, 3], np.int32), np.array([0, 0, 0, 1, 1], np.int32)
    group = np.array([0, 1, 1, -1])
    got = lift_of(user, item, group, (3, 2), strength=2.0)
    share = np.array([(2 + 1) / (4 + 2), (2 + 1) / (4 + 2)])  # plays of listeners whose group is known: 2 and 2
    want = np.log(np.array([[2 + 2 * share[0], 1 + 2 * share[1]], [2 * share[0], 1 + 2 * share[1]], [1, 1]]))
    want -= np.log(np.array([[3 + 2.0], [1 + 2.0], [2.0]]) * share)
    assert got == pytest.approx(want, rel=1e-5)
    assert got[2].tolist() == [0, 0], "nobody has played it"


def test_wishes() -> None:
    facts = world()
    tags = np.array([0, 3], np.int32)
    query = Query(1, 0, NOW, seeds=Seeds(items=np.array([4], np.int32), artists=np.array([1], np.int32), tags=tags))
    wanted = {1, int(facts.artist[4])} - {-1}
    for i in range(N):
        mine = set(facts.tags[facts.tags_ptr[i] : facts.tags_ptr[i + 1]].tolist())
        assert column(query, "asked_tags")[i] == pytest.approx(len(mine & {0, 3}) / 2)
        assert column(query, "asked_artist")[i] == (int(facts.artist[i]) in wanted)
    assert column(query, "asked").all()
    for name in GROUPS["wishes"]:
        assert not column(Query(1, 0, NOW), name).any()


def test_shelf() -> None:
    facts = world()
    got = column(Query(1, 0, NOW), "on_platform")
    assert got[:N] == pytest.approx(np.log1p(np.maximum(20_000 - facts.added, 0)), rel=1e-6)
    assert column(Query(1, 0, NOW), "tags_number")[:N] == pytest.approx(np.log1p(np.diff(facts.tags_ptr)), rel=1e-6)
    assert not got[N:].any()


def test_language_is_the_same_another_or_not_known() -> None:
    got = column(Query(1, 0, NOW, context=Context(language=language_code("pt"))), "language_match")
    assert got.tolist() == [-1, 1, 0, 0, -1] * (N // 5) + [0] * 4, "beyond the catalogue nothing is known"
    assert not column(Query(1, 0, NOW), "language_match").any()


def test_holidays_by_the_local_day() -> None:
    days = calendar_days(["12-25", "2024-10-08"])
    near = replace(around(), holidays=days)

    def told(when: datetime, offset: int = 0) -> tuple[float, float]:
        now = round(when.timestamp() * 1000)
        query = Query(1, 0, now, context=Context(hour_of_week=hour_of_week(now, offset)))
        return tuple(column(query, name, near=near)[0] for name in GROUPS["holidays"])  # type: ignore[return-value]

    assert told(datetime(2024, 10, 8, 0, 0, tzinfo=UTC)) == (1, 14), "Christmas is far"
    assert told(datetime(2024, 10, 7, 23, 59, tzinfo=UTC)) == (0, 1)
    assert told(datetime(2024, 10, 7, 23, 59, tzinfo=UTC), 60) == (1, 14), "it is past midnight there"
    assert told(datetime(2024, 10, 8, 0, 15, tzinfo=UTC), -30) == (0, 1), "and not yet here"
    assert told(datetime(2025, 12, 23, 12, 0, tzinfo=UTC)) == (0, 2)
    assert told(datetime(2025, 12, 25, 12, 0, tzinfo=UTC)) == (1, 14)
    assert told(datetime(2150, 12, 24, 12, 0, tzinfo=UTC)) == (0, 14), "no calendar goes on for ever"
    query = Query(1, 0, round(datetime(2025, 12, 25, tzinfo=UTC).timestamp() * 1000))
    assert not column(query, "holiday").any(), "without a list there are none"


def test_plays_by_the_hour() -> None:
    hours = np.random.default_rng(0).integers(0, 5, (N + 4, 24)).astype(np.uint16)
    hours[3] = 0
    memory = Memory(np.zeros(N + 4, np.uint16), np.zeros(N + 4, np.int64), np.zeros((N + 4, 2), np.float32), hours)
    pool = Candidates(np.arange(N + 4, dtype=np.int32), np.zeros((N + 4, 0), np.float32), ())
    features = Features((), only=GROUPS["hours"])
    assert features.hourly
    got = features.rows(Query(1, 0, NOW), pool, world(), memory)
    lately = np.log1p(hours @ 0.5 ** (np.arange(24) / 3))
    day = np.log1p(hours.sum(axis=1))
    assert got[:, 0] == pytest.approx(lately - lately.mean(), abs=1e-5)
    assert got[:, 1] == pytest.approx(day - day.mean(), abs=1e-5)
    assert not Features((), only=["idle"]).hourly
    assert not features.rows(Query(1, 0, NOW), pool, world(), replace(memory, hours=None)).any()


def test_what_nobody_names_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a column nor a call."""
    made: list[tuple[str, ...]] = []
    real = wide.fill_wide
    monkeypatch.setattr(compute, "fill_wide", lambda out, groups, *more: (made.append(groups), real(out, groups, *more)))
    plain = [name for name in Features(("a",)).names if name not in WIDE]
    pool = Candidates(np.arange(3, dtype=np.int32), np.ones((3, 1), np.float32), ("a",))
    memory = Memory(np.zeros(3, np.uint16), np.zeros(3, np.int64), np.zeros((3, 2), np.float32))
    given = Query(1, 0, NOW, recent=plays(9)), pool, world(), memory
    rows = Features(("a",), only=plain, around=around()).rows(*given)
    assert made == []
    more = Features(("a",), only=[*plain, "idle"], around=around()).rows(*given)
    assert made == [("ways",)]
    assert more[:, :-1].tobytes() == rows.tobytes(), "what is beside it stays the same to the bit"
    every = Features(("a",), around=around())
    together = every.rows(*given)
    for place, name in enumerate(every.names):
        alone = Features(("a",), only=[name], around=around()).rows(*given)
        assert alone[:, 0].tobytes() == np.ascontiguousarray(together[:, place]).tobytes(), name


def test_the_night_learns_from_what_is_proven() -> None:
    names = proven(("a", "b"))
    assert {"vector_taste", "idle", "heard_times", "a_said"} <= set(names)
    assert not {"tags_finished", "age_match", "hour_sin", "asked"} & set(names)
