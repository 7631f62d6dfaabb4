"""Every event log of storage/event_log, found by itself, keeps the promises of core/ports.py."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import segue.storage.event_log
from segue.core.ports import ACCEPTED, CONFLICT, DUPLICATE, EventLog
from segue.core.types import EVENT, Context, Events, Exposure, Query, Recent, Seeds, Slate, empty_events

NEVER, EVER = -(1 << 63), (1 << 63) - 1
DAY = 86_400_000


def backends() -> list[type[Any]]:
    """The public classes that append, read and scan. Each is opened as cls(folder)."""
    found: dict[str, type[Any]] = {}
    for module in pkgutil.walk_packages(segue.storage.event_log.__path__, "segue.storage.event_log."):
        for name, thing in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            own = thing.__module__ == module.name and not name.startswith("_")
            if own and all(hasattr(thing, method) for method in ("append", "read", "scan")):
                found[f"{module.name}.{name}"] = thing
    assert found
    return [found[key] for key in sorted(found)]


@pytest.fixture(params=backends(), ids=lambda cls: cls.__name__)
def backend(request: pytest.FixtureRequest) -> type[Any]:
    cls: type[Any] = request.param
    return cls


@pytest.fixture
def log(backend: type[Any], tmp_path: Path) -> Iterator[EventLog]:
    opened = backend(tmp_path / "log")
    yield opened
    opened.close()


def some(keys: list[int], body: int = 7, at: int = 1_000) -> Events:
    """Events with these keys, a second apart."""
    events = empty_events(len(keys))
    events["key_lo"] = keys
    events["key_hi"] = np.array(keys, np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    events["body"] = body
    events["at"] = at + 1_000 * np.arange(len(keys))
    events["user"] = np.array(keys) % 5
    events["item"] = np.array(keys) % 11
    events["action"] = 4
    events["played_s"] = np.array(keys, np.float32) / 2
    return events


def same(a: Events, b: Events) -> bool:
    """Equal in every field but seq; NaN equals NaN."""
    return len(a) == len(b) and all(a[n].tobytes() == b[n].tobytes() for n in EVENT.names or () if n != "seq")


def everything(log: EventLog) -> Events:
    return np.concatenate([np.zeros(0, EVENT), *log.scan(NEVER, EVER)])


def exposure(request_id: int, at: int = 5_000, k: int = 3) -> Exposure:
    slate = Slate(
        request_id=request_id,
        items=np.arange(10, 10 + k, dtype=np.int32),
        scores=np.linspace(1, 0.5, k, dtype=np.float32),
        propensities=np.full(k, 0.25, np.float32),
        sources=tuple(("als", "popular") if i % 2 else ("popular", "als") for i in range(k)),
        reasons=tuple(f"because of {i} — ü" for i in range(k)),
        explored=np.arange(k) % 2 == 1,
        policy="radio-1",
        model_versions={"als": "abc", "popular": "live"},
        rung="personal",
    )
    features = np.arange(2 * k, dtype=np.float32).reshape(k, 2)
    features[:1, 0] = np.nan
    chances = {"trial": np.linspace(0.0, 1.0, k, dtype=np.float32)} if request_id % 2 else {}
    asked = None
    if request_id % 4 != 0:
        seeds = Seeds(np.array([3, 1], np.int32), np.zeros(0, np.int32), np.array([7], np.int32))
        exclude, context = np.arange(k, dtype=np.int32), Context(3, 2, -1, 167, 755)
        asked = Query(request_id, 4, at, k + 1, "radio", (1 << 64) - 5, seeds, Recent.none(), exclude, 1 / 3, context)
    instead = {"trial": np.arange(k, dtype=np.int32)[::-1]} if request_id % 2 else {}
    applied = 99 if asked else 0
    teams = {"trial": np.arange(k, dtype=np.int8) % 2} if request_id % 3 == 0 else {}
    shown = Exposure(slate, 4, at, (1 << 64) - 5, "radio", 3, features, ("rank", "age"), chances, asked, applied, instead)
    return replace(shown, popular_at=97 if asked else 0, teams=teams)


def same_exposure(a: Exposure, b: Exposure) -> bool:
    plain = (a.user, a.at, a.session, a.surface, a.region, a.feature_names) == (
        b.user, b.at, b.session, b.surface, b.region, b.feature_names,
    )  # fmt: skip
    for name in Slate.__dataclass_fields__:
        x, y = getattr(a.slate, name), getattr(b.slate, name)
        plain &= (x.dtype == y.dtype and x.tobytes() == y.tobytes()) if isinstance(x, np.ndarray) else x == y
    plain &= {n: c.tobytes() for n, c in a.chances.items()} == {n: c.tobytes() for n, c in b.chances.items()}
    plain &= (a.applied, a.popular_at) == (b.applied, b.popular_at) and told(a.asked) == told(b.asked)
    plain &= {n: c.tobytes() for n, c in a.teams.items()} == {n: c.tobytes() for n, c in b.teams.items()}
    plain &= {n: c.tolist() for n, c in a.instead.items()} == {n: c.tolist() for n, c in b.instead.items()}
    return plain and a.features.dtype == b.features.dtype and a.features.tobytes() == b.features.tobytes()


def told(query: Query | None) -> list[object] | None:
    """Everything of a query in values that compare."""
    if query is None:
        return None
    ids = [one.tolist() for one in (query.seeds.items, query.seeds.artists, query.seeds.tags, query.exclude)]
    plain = (query.request_id, query.user, query.now, query.limit, query.surface, query.session, query.discovery, query.context)
    return [*ids, *plain, len(query.recent)]


def test_an_empty_log_says_so(log: EventLog) -> None:
    assert log.last == 0
    assert len(log.read(0, 10)) == 0
    assert list(log.scan(NEVER, EVER)) == []
    assert log.exposure(1) is None
    assert list(log.exposures(NEVER, EVER)) == []
    assert log.check() == []
    assert log.seal(EVER) == []
    assert log.append(some([])).status.tolist() == []


def test_what_goes_in_comes_out_in_order_with_seq_from_one(log: EventLog) -> None:
    first, second = some([5, 3, 9]), some([1, 2])
    assert log.append(first).seq.tolist() == [1, 2, 3]
    assert log.append(second).seq.tolist() == [4, 5]
    out = log.read(0, 100)
    assert same(out, np.concatenate([first, second]))
    assert out["seq"].tolist() == [1, 2, 3, 4, 5]
    assert log.last == 5


def test_the_caller_keeps_its_array(log: EventLog) -> None:
    events = some([1, 2])
    before = events.tobytes()
    log.append(events)
    assert events.tobytes() == before


def test_a_known_key_is_a_duplicate_or_a_conflict(log: EventLog) -> None:
    log.append(some([1, 2]))
    again = log.append(np.concatenate([some([2]), some([3]), some([1], body=8)]))
    assert again.status.tolist() == [DUPLICATE, ACCEPTED, CONFLICT]
    assert again.seq.tolist() == [0, 3, 0]
    assert log.read(0, 10)["key_lo"].tolist() == [1, 2, 3]


def test_the_first_of_a_batch_wins(log: EventLog) -> None:
    batch = np.concatenate([some([1]), some([1]), some([1], body=8), some([2], body=9), some([2], body=9)])
    assert log.append(batch).status.tolist() == [ACCEPTED, DUPLICATE, CONFLICT, ACCEPTED, DUPLICATE]
    assert log.last == 2


@pytest.mark.parametrize("hi", [0, 1 << 63])
def test_both_halves_of_a_key_count_and_extreme_keys_are_keys(log: EventLog, hi: int) -> None:
    events = some([0, 0, 0])
    events["key_hi"] = [hi, hi, hi + 1]
    events["key_lo"] = [0, (1 << 64) - 1, 0]
    assert log.append(events).status.tolist() == [ACCEPTED] * 3
    assert log.append(events).status.tolist() == [DUPLICATE] * 3


def test_uniqueness_outlives_sealing_and_the_process(backend: type[Any], tmp_path: Path) -> None:
    log = backend(tmp_path / "log")
    log.append(some([1, 2, 3]))
    log.seal(EVER)
    log.append(some([4]))
    log.close()
    log = backend(tmp_path / "log")
    assert log.append(some([1, 4, 5])).status.tolist() == [DUPLICATE, DUPLICATE, ACCEPTED]
    assert log.append(some([2], body=8)).status.tolist() == [CONFLICT]
    assert log.read(0, 10)["key_lo"].tolist() == [1, 2, 3, 4, 5]
    log.close()


def test_two_that_hold_one_folder_are_one_log(backend: type[Any], tmp_path: Path) -> None:
    a, b = backend(tmp_path / "log"), backend(tmp_path / "log")
    assert a.append(some([1, 2])).seq.tolist() == [1, 2]
    assert b.last == 2
    assert b.append(some([2, 3])).seq.tolist() == [0, 3]
    a.seal(EVER)
    assert b.append(some([4, 1])).seq.tolist() == [4, 0]
    assert a.append(some([4, 3, 5], body=8)).status.tolist() == [CONFLICT, CONFLICT, ACCEPTED]
    assert same(a.read(0, 9), b.read(0, 9))
    a.close()
    b.close()


def test_read_pages_through_hot_and_sealed(log: EventLog) -> None:
    for start in range(0, 60, 6):
        log.append(some(list(range(start, start + 6))))
        if start in (12, 30):
            log.seal(EVER)
    whole = log.read(0, 1000)
    assert whole["key_lo"].tolist() == list(range(60))
    for limit in (1, 5, 7, 60):
        pages, after = [], 0
        while len(page := log.read(after, limit)):
            assert len(page) <= limit
            pages.append(page)
            after = int(page["seq"][-1])
        assert np.concatenate(pages).tobytes() == whole.tobytes()
    assert len(log.read(60, 5)) == len(log.read(10, 0)) == 0


def test_sealing_changes_nothing_that_readers_see(log: EventLog) -> None:
    for start in range(0, 40, 4):
        log.append(some(list(range(start, start + 4)), at=start * 1_000))
    before = log.read(0, 100), everything(log)
    assert log.seal(NEVER) == []
    assert log.seal(EVER) != []
    assert log.seal(EVER) == []
    after = log.read(0, 100), everything(log)
    assert [e.tobytes() for e in before] == [e.tobytes() for e in after]
    assert log.check() == []


def test_an_iterator_under_way_sees_one_log_while_it_is_sealed(log: EventLog) -> None:
    for start in range(0, 40, 4):
        log.append(some(list(range(start, start + 4))))
        if start == 16:
            log.seal(EVER)
    under_way = log.scan(NEVER, EVER)
    parts = [next(under_way)]
    log.append(some([100]))
    log.seal(EVER)
    parts.extend(under_way)
    assert np.concatenate(parts)["key_lo"].tolist()[:40] == list(range(40))
    assert np.concatenate(parts)["seq"].tolist()[:40] == list(range(1, 41))


@pytest.mark.parametrize("sealed", [False, True])
def test_scan_takes_an_interval_and_columns(log: EventLog, sealed: bool) -> None:
    log.append(some(list(range(10)), at=0))
    log.append(some(list(range(10, 20)), at=100_000))
    if sealed:
        log.seal(EVER)
    out = np.concatenate(list(log.scan(3_000, 102_000, ["item", "played_s"])))
    keys = [*range(3, 10), 10, 11]
    assert out["item"].tolist() == [k % 11 for k in keys]
    assert out["played_s"].tolist() == [k / 2 for k in keys]
    untouched = [n for n in EVENT.names or () if n not in ("item", "played_s")]
    assert all((out[n] == 0).all() for n in untouched)
    assert [len(c) for c in log.scan(50_000, 60_000)] == []
    with_seq = np.concatenate(list(log.scan(NEVER, 2_000, ["seq", "at"])))
    assert with_seq["seq"].tolist() == [1, 2]
    assert with_seq["at"].tolist() == [0, 1_000]


def test_exposures_come_back_as_shown(log: EventLog) -> None:
    shown = [exposure((1 << 64) - 1, 3_000), exposure(1 << 63, 1_000), exposure(5, 2_000), exposure(6, 2_000, k=0)]
    log.append_exposures(shown)
    for one in shown:
        found = log.exposure(one.slate.request_id)
        assert found is not None
        assert same_exposure(found, one)
    assert log.exposure(77) is None
    assert [e.at for e in log.exposures(NEVER, EVER)] == [1_000, 2_000, 2_000, 3_000]
    assert [e.slate.request_id for e in log.exposures(2_000, 3_000)] == [5, 6]
    log.append(some([1]), None, [exposure(9), exposure(5, 9_000)])
    assert log.exposure(9) is not None
    again = log.exposure(5)
    assert again is not None
    assert again.at == 2_000, "the first exposure of a request stays"
    assert log.check() == []


def test_sealing_slates_changes_nothing_that_readers_see(log: EventLog) -> None:
    shown = [exposure(n, at=DAY * (n % 4) + 1_000 - n, k=n % 6) for n in range(1, 40)] + [exposure((1 << 63) + 7, at=DAY)]
    log.append_exposures(shown)
    ordered = list(log.exposures(NEVER, EVER))
    half = list(log.exposures(900, 2 * DAY + 990))
    under_way = log.exposures(NEVER, EVER)
    first = next(under_way)
    assert len(log.seal(2 * DAY)) == 2, "a day is a segment, and only days before are sealed"
    log.append_exposures([exposure(99, at=DAY + 5)])
    seen = [first, *(one for one in under_way if one.slate.request_id != 99)]
    assert all(same_exposure(a, b) for a, b in zip(seen, ordered, strict=True))
    for one in shown:
        found = log.exposure(one.slate.request_id)
        assert found is not None
        assert same_exposure(found, one)
    log.seal(EVER)
    assert all(same_exposure(a, b) for a, b in zip(within(log, NEVER, EVER), ordered, strict=True))
    assert all(same_exposure(a, b) for a, b in zip(half, within(log, 900, 2 * DAY + 990), strict=True))
    assert log.check() == []


def test_a_sealed_slate_is_not_stored_again(log: EventLog) -> None:
    log.append_exposures([exposure(5, at=1_000)])
    log.seal(EVER)
    log.append_exposures([exposure(5, at=9_000), exposure(6, at=9_000)])
    assert [(e.slate.request_id, e.at) for e in log.exposures(NEVER, EVER)] == [(5, 1_000), (6, 9_000)]
    again = log.exposure(5)
    assert again is not None
    assert again.at == 1_000


def within(log: EventLog, at_from: int, at_to: int) -> list[Exposure]:
    """All but number 99, which came later."""
    return [e for e in log.exposures(at_from, at_to) if e.slate.request_id != 99]


def test_a_refused_append_leaves_nothing(log: EventLog) -> None:
    log.append(some([1]))
    broken = exposure(1)
    object.__setattr__(broken, "features", np.zeros((9, 9), np.float32))
    with pytest.raises(ValueError, match="features"):
        log.append(some([2, 3]), {0: "words"}, [broken])
    assert log.last == 1
    assert log.append(some([2, 3])).seq.tolist() == [2, 3]
    assert log.exposure(1) is None
