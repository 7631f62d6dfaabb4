from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.core.hashing import hash64, hash128
from segue.events.importers.batch import Coded, EventColumns
from segue.events.importers.keys import NameHashes, Repeats, event_keys, hashes, hashes64, mix


def columns(n: int, **fields: object) -> EventColumns:
    nothing = np.full(n, np.nan, np.float32)
    base: dict[str, object] = {
        "row": np.arange(n), "user": Coded.same(n, "u"), "item": Coded.same(n, "i"), "action": np.full(n, 4, np.int8),
        "at": np.full(n, 10**12), "played_s": nothing, "duration_s": nothing, "value": nothing,
        "position": np.full(n, -1, np.int64), "session": Coded.none(n), "request": Coded.none(n), "region": Coded.none(n),
        "device": Coded.none(n), "event_id": Coded.none(n),
    }  # fmt: skip
    return EventColumns(**{**base, **fields})  # type: ignore[arg-type]


def keys_of(events: EventColumns) -> list[tuple[int, int]]:
    hi, lo, _ = event_keys(events, Repeats())
    return list(zip(hi.tolist(), lo.tolist(), strict=True))


@settings(deadline=None)
@given(st.lists(st.text(max_size=8), min_size=1, max_size=20))
def test_names_are_hashed_as_everywhere(values: list[str]) -> None:
    assert [tuple(h) for h in hashes(values).tolist()] == [hash128(v) for v in values]
    assert hashes64(values).tolist() == [hash64(v) for v in values]


def test_mix_is_splitmix64() -> None:
    # Steele, Lea and Flood's generator from seed 0: its first outputs are well known.
    gamma = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        states = np.array([gamma, gamma * np.uint64(2)], np.uint64)
    assert [f"{x:016x}" for x in mix(states).tolist()] == ["e220a8397b1dcdaf", "6e789e6aa1b965f4"]


@settings(deadline=None)
@given(st.lists(st.integers(1, 6), max_size=60), st.integers(1, 7))
def test_repeats_are_numbered_whatever_the_batches(values: list[int], size: int) -> None:
    keys = np.array(values, np.uint64)
    repeats, found = Repeats(), []
    for start in range(0, len(keys), size):
        stop = min(start + size, len(keys))
        found += repeats.number(keys[start:stop], np.arange(start, stop)).tolist()
    seen: Counter[int] = Counter()
    for value, number in zip(values, found, strict=True):
        assert number == seen[value]
        seen[value] += 1


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=80), st.integers(1, 9))
def test_generations_depend_on_rows_not_on_batches(values: list[int], size: int) -> None:
    keys = np.array(values, np.uint64)
    rows = np.cumsum(np.array(values) % 3 + 1)
    once = Repeats(generation=8).number(keys, rows).tolist()
    repeats, parts = Repeats(generation=8), []
    for start in range(0, len(keys), size):
        parts += repeats.number(keys[start : start + size], rows[start : start + size]).tolist()
    assert parts == once


def test_many_keys_grow_the_table_and_lose_nothing() -> None:
    keys = np.random.default_rng(1).integers(1, 2**63, 5_000).astype(np.uint64)
    repeats = Repeats()
    assert not repeats.number(keys, np.arange(5_000)).any()
    assert (repeats.number(keys, np.arange(5_000, 10_000)) == 1).all()


def test_equal_rows_get_distinct_ids_and_the_same_at_every_run() -> None:
    found = keys_of(columns(5))
    assert len(set(found)) == 5
    assert keys_of(columns(5)) == found
    assert keys_of(columns(3)) == found[:3], "a longer export keeps the ids of its beginning"


def test_every_part_of_the_content_makes_another_id() -> None:
    told = [
        columns(1),
        columns(1, user=Coded.same(1, "v")),
        columns(1, item=Coded.same(1, "j")),
        columns(1, action=np.full(1, 5, np.int8)),
        columns(1, at=np.full(1, 10**12 + 1)),
        columns(1, position=np.zeros(1, np.int64)),
        columns(1, session=Coded.same(1, "s")),
        columns(1, item=Coded.none(1), texts={0: "words"}),
        columns(1, item=Coded.none(1)),
    ]
    assert len({keys_of(c)[0] for c in told}) == len(told)


def test_user_and_item_do_not_change_places() -> None:
    a = columns(1, user=Coded.same(1, "x"), item=Coded.same(1, "y"))
    b = columns(1, user=Coded.same(1, "y"), item=Coded.same(1, "x"))
    assert keys_of(a) != keys_of(b)


def test_facts_are_body_and_not_key() -> None:
    told = columns(1, played_s=np.full(1, 3, np.float32))
    assert keys_of(told) == keys_of(columns(1))
    assert event_keys(told, Repeats())[2] != event_keys(columns(1), Repeats())[2]


def test_an_event_id_is_the_key() -> None:
    events = columns(2, event_id=Coded(np.array([0, -1], np.int32), ["order-7"]))
    found = keys_of(events)
    assert found[0] == hash128("order-7")
    assert found[1] != found[0]


def test_name_hashes_are_remembered_by_dense_id() -> None:
    known = NameHashes()
    first = known.of(["a", "b"], np.array([0, 5], np.int32))
    again = known.of(["c", "b"], np.array([2, 5], np.int32))
    assert (first == hashes(["a", "b"])).all()
    assert (again == hashes(["c", "b"])).all()
    assert known.of([], np.zeros(0, np.int32)).shape == (0, 2)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=20), st.data())
def test_coded_keeps_rows(values: list[str | None], data: st.DataObject) -> None:
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))), np.bool_)
    kept = Coded.of(values).keep(mask)
    assert [kept.get(i) for i in range(len(kept))] == [v for v, m in zip(values, mask.tolist(), strict=True) if m]
    assert mask.all() or set(kept.values) == {v for v in kept.values if v in [kept.get(i) for i in range(len(kept))]}
