import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.core.actions import ACTIONS
from segue.core.errors import BadInput
from segue.core.records import ItemRecord, UserRecord
from segue.events.schema import EventIn, decode_events, decode_items, decode_users

NOW = 1_795_000_000_000


def event(**fields: Any) -> dict[str, Any]:
    return {"user": "u", "item": "i", "action": "completed", "at": 1_769_860_800, **fields}


def body(*events: Any, key: str = "events") -> bytes:
    return json.dumps({key: events}).encode()


def refusal(**fields: Any) -> str:
    found, places, refused = decode_events(body(event(), event(**fields), event()), NOW)
    assert (len(found), places) == (2, [0, 2]), "the others go in"
    assert [r.index for r in refused] == [1]
    return refused[0].error


def test_every_field_arrives() -> None:
    full = event(
        event_id="e", played_s=10, duration_s=200.5, value=3, request_id="00000000000000ab", position=4, session="s",
        context={"region": "DE", "device": "phone"},
    )  # fmt: skip
    found, places, refused = decode_events(body(full), NOW)
    assert (places, refused) == ([0], [])
    assert found == [
        EventIn(
            user="u", item="i", action="completed", at=1_769_860_800_000, event_id="e", played_s=10, duration_s=200.5,
            value=3, request_id="00000000000000ab", position=4, session="s", region="DE", device="phone",
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    "at",
    [
        1_769_860_800, 1_769_860_800.0, "1769860800", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00", "2026-01-31 12:00",
        "2026-01-31T13:00:00+01:00",
    ],
)  # fmt: skip
def test_times_are_iso_or_unix_seconds(at: str | float) -> None:
    (found,), _, refused = decode_events(body(event(at=at)), NOW)
    assert not refused
    assert found.at == 1_769_860_800_000


def test_every_action_of_the_house_is_accepted() -> None:
    found, _, refused = decode_events(body(*(event(action=a, value=3) for a in ACTIONS)), NOW)
    assert [e.action for e in found] == list(ACTIONS)
    assert not refused


def test_a_search_needs_no_item() -> None:
    search = {"user": "u", "action": "searched", "at": 1_769_860_800, "text": "blue train"}
    (found,), _, _ = decode_events(body(search), NOW)
    assert (found.item, found.text) == (None, "blue train")
    assert "item is missing" in refusal(item=None)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"user": ""}, "user"),
        ({"user": "  "}, "user is empty"),
        ({"user": "x" * 257}, "user"),
        ({"user": 7}, "user: expected `str`, got `int`"),
        ({"user": "a\x00b"}, "control characters"),
        ({"item": "a\ud800b"}, "broken Unicode"),
        ({"user": "ann@example.org"}, "pseudonymous"),
        ({"action": "plaid"}, "expected one of shown, started"),
        ({"at": "yesterday"}, "expected ISO 8601"),
        ({"at": True}, "at"),
        ({"at": None}, "at"),
        ({"at": "1932-02-19"}, "1932-02-19T00:00:00Z: expected 1995 or later"),
        ({"at": 1_769_860_800_000}, "looks like milliseconds"),
        ({"at": 1e300}, "at"),
        ({"at": "inf"}, "at"),
        ({"at": (NOW + 2 * 86_400_000) / 1000}, "no later than a day from now"),
        ({"played_s": -1}, "played_s: expected `float` >= 0"),
        ({"played_s": float("nan")}, "played_s"),
        ({"duration_s": float("inf")}, "duration_s"),
        ({"duration_s": 8 * 86_400}, "duration_s"),
        ({"position": -1}, "position"),
        ({"position": 40_000}, "position"),
        ({"position": 1.5}, "position"),
        ({"action": "rated"}, "value is missing"),
        ({"action": "rated", "value": 6}, "stars, 0 to 5"),
        ({"playd_s": 3}, "playd_s is not a field"),
        ({"value": 1e300}, "value: expected `float` <= 3e+38"),
        ({"text": 501 * "x"}, "text: expected `str` of length <= 500"),
        ({"context": {"city": "Berlin"}}, "context.city is not a field"),
        ({"context": {"region": "52.5200, 13.4050"}}, "region: expected a country or region"),
    ],
)
def test_one_bad_event_is_refused_alone_and_says_why(fields: dict[str, Any], says: str) -> None:
    error = refusal(**fields)
    assert says in error
    assert "\n" not in error


@pytest.mark.parametrize("name", ["user", "item", "action", "at"])
def test_a_missing_field_is_named(name: str) -> None:
    bare = event()
    del bare[name]
    _, _, (refused,) = decode_events(body(bare), NOW)
    assert name in refused.error
    assert "missing" in refused.error


def test_invalid_utf8_inside_one_event_costs_that_event_alone() -> None:
    bad = body(event(), event(user="MARK")).replace(b"MARK", b"\xff\xfe")
    found, places, refused = decode_events(bad, NOW)
    assert (len(found), places, refused[0].index) == (1, [0], 1)
    assert "UTF-8" in refused[0].error


@pytest.mark.parametrize(
    "bad", [b"", b"x", b"[]", b"{}", b'{"event": []}', b'{"events": {}}', b'{"events": [}', b"\xff", b"[" * 100_000, b"null"]
)
def test_a_body_that_is_none_is_refused_whole(bad: bytes) -> None:
    for decode in (lambda b: decode_events(b, NOW), decode_items, lambda b: decode_users(b, NOW)):
        with pytest.raises(BadInput):
            decode(bad)


def test_at_most_a_thousand_events() -> None:
    assert len(decode_events(body(*[event()] * 1000), NOW)[0]) == 1000
    with pytest.raises(BadInput, match="at most 1000"):
        decode_events(body(*[event()] * 1001), NOW)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from([*event(), "value", "context", "text", "x"]), _json), max_size=5))
def test_whatever_comes_is_taken_or_refused_once(events: list[dict[str, Any]]) -> None:
    found, places, refused = decode_events(body(*events), NOW)
    assert len(found) == len(places)
    assert sorted(places + [r.index for r in refused]) == list(range(len(events)))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_bytes_never_break_the_door(raw: bytes) -> None:
    for decode in (lambda b: decode_events(b, NOW), decode_items, lambda b: decode_users(b, NOW)):
        try:
            decode(raw)
        except BadInput:
            continue


@settings(deadline=None)
@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_what_gets_in_is_what_was_sent(user: str, item: str) -> None:
    found, _, _ = decode_events(body(event(user=user, item=item)), NOW)
    for e in found:
        assert (e.user, e.item) == (user, item)
        assert not any(ord(c) < 32 and c != "\t" for c in user + item)


def test_items_keep_what_they_do_not_know_as_extra() -> None:
    row = {
        "id": "t1",
        "title": "Blue Train",
        "artist": "John Coltrane",
        "album": "Blue Train",
        "duration_s": 643,
        "tags": ["jazz"],
        "released": "1957-09",
        "kind": "track",
        "playable": True,
        "bpm": 135.5,
        "label": "Blue Note",
        "live": False,
    }
    found, places, refused = decode_items(body(row, {"id": "t2"}, key="items"))
    assert (places, refused) == ([0, 1], [])
    assert found[0] == ItemRecord(
        id="t1", title="Blue Train", artist="John Coltrane", album="Blue Train", duration_s=643, tags=["jazz"],
        released="1957-09", kind="track", playable=True, extra={"bpm": 135.5, "label": "Blue Note", "live": False},
    )  # fmt: skip
    assert found[1] == ItemRecord(id="t2")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({}, "id is missing"),
        ({"id": ""}, "id"),
        ({"id": "x", "duration_s": -3}, "duration_s"),
        ({"id": "x", "tags": "jazz"}, "tags"),
        ({"id": "x", "tags": [""]}, "tags"),
        ({"id": "x", "released": "June"}, "released"),
        ({"id": "x", "playable": "yes"}, "playable"),
        ({"id": "x", "lyrics": ["la"]}, "lyrics"),
        ({"id": "x", "language": "English"}, "language: expected a BCP 47 tag such as en, pt-BR or yue, found 'English'"),
        ({"id": "x", "title": "a\x00"}, "control characters"),
        ({"id": "x", **{f"f{i}": i for i in range(65)}}, "extra fields"),
        (7, "object"),
    ],
)
def test_a_bad_item_is_refused_alone(row: Any, says: str) -> None:
    found, places, refused = decode_items(body(row, {"id": "good"}, key="items"))
    assert ([i.id for i in found], places, refused[0].index) == (["good"], [1], 0)
    assert says in refused[0].error


def test_users_are_coarsened() -> None:
    rows = [
        {"id": "a", "age": 29, "gender": "f", "country": "DE", "tags": ["jazz"], "artists": ["Nina Simone"]},
        {"id": "b", "birth_date": "2000-05-01", "lat": 52.52, "lon": 13.4},
        {"id": "c", "age_band": "65+", "zip": 94043},
        {"id": "d", "language": "pt-BR"},
    ]
    found, _, refused = decode_users(body(*rows, key="users"), NOW)
    assert not refused
    assert found == [
        UserRecord(id="a", age_band=3, gender="f", region="DE", tags=["jazz"], artists=["Nina Simone"]),
        UserRecord(id="b", age_band=3, region="geo:52N012E"),
        UserRecord(id="c", age_band=7, region="zip:9xxxx"),
        UserRecord(id="d", language="pt"),
    ]


@pytest.mark.parametrize("field", ["name", "email", "first_name", "Phone", "address", "ip", "ip-address", "username"])
def test_personal_facts_are_refused_and_never_repeated(field: str) -> None:
    _, _, (refused,) = decode_users(body({"id": "a", field: "secret-value"}, key="users"), NOW)
    assert "personal" in refused.error
    assert "secret-value" not in refused.error


@pytest.mark.parametrize(
    "row",
    [
        {"id": "ann@example.org"},
        {"id": "a", "age": -1},
        {"id": "a", "age": 400},
        {"id": "a", "lat": 91, "lon": 0},
        {"id": "a", "lat": 1},
        {"id": "a", "region": "Main St 12, 94043"},
        {"id": "a", "shoe_size": 43},
        {"id": "a", "birth_date": "31.1.1990"},
        {"id": "a", "language": "pt_BR"},
        {"id": "a", "language": 7},
    ],
)
def test_a_bad_user_is_refused_alone(row: Any) -> None:
    found, places, refused = decode_users(body({"id": "good"}, row, key="users"), NOW)
    assert ([u.id for u in found], places, [r.index for r in refused]) == (["good"], [0], [1])
