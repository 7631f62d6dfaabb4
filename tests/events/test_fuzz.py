"""Whatever is sent to the doors: rows that can be stored, refusals that can be sent back, or BadInput; nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from segue.core.errors import BadInput
from segue.core.hashing import request_number
from segue.core.records import ItemRecord, UserRecord
from segue.events.envelope import LARGE
from segue.events.schema import decode_events, decode_items, decode_users

NOW = 1_795_000_000_000
MOST_OF_64 = 2**64

_odd_texts = st.sampled_from(
    ["", " ", "\x00", "\ud800", "a`b", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "-000000000000001", "1e400",
     "nan", "2026-13-01", "2026-01-31T12:00:00Z", "²²²²", "ann@example.org", "\u2028", "0000"]
)  # fmt: skip
_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, 2**64, -(2**63) - 1, 10**400, 10**4000])
    | st.floats()
    | st.text(st.characters(), max_size=12)
    | _odd_texts
)
_json = st.recursive(
    _scalars, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5) | _odd_texts, x, max_size=3)
)
EVENT = {"user": "u", "item": "i", "action": "completed", "at": 1_769_860_800}
_fields = {
    "events": [*EVENT, "event_id", "played_s", "duration_s", "value", "request_id", "position", "session", "context", "text"],
    "items": ["id", "title", "artist", "album", "duration_s", "tags", "released", "kind", "playable", "x"],
    "users": ["id", "age", "age_band", "birth_date", "gender", "country", "region", "lat", "lon", "zip", "tags", "artists"],
}
_bases: dict[str, dict[str, Any]] = {"events": EVENT, "items": {"id": "i"}, "users": {"id": "u"}}


def doors() -> dict[str, Callable[[bytes], tuple[list[Any], list[int], list[Any]]]]:
    return {
        "events": lambda body: decode_events(body, NOW),
        "items": decode_items,
        "users": lambda body: decode_users(body, NOW),
    }


def _row(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    changed = st.dictionaries(st.sampled_from(_fields[kind]) | st.text(max_size=4) | _odd_texts, _json, max_size=2)
    context = st.fixed_dictionaries({"context": st.dictionaries(st.sampled_from(["region", "device"]), _json)})
    return st.builds(lambda c, more: {**_bases[kind], **c, **more}, changed, context if kind == "events" else st.just({}))


@pytest.mark.parametrize("kind", ["events", "items", "users"])
@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_whatever_the_rows_hold_each_is_taken_or_refused_in_words_that_can_be_sent(kind: str, data: st.DataObject) -> None:
    rows = data.draw(st.lists(_row(kind), min_size=1, max_size=3))
    try:
        found, places, refused = doors()[kind](json.dumps({kind: [_bases[kind], *rows]}).encode())
    except BadInput:  # an integer of 4,000 digits: no parser takes the body apart
        assert any(len(digits) > 4_000 for digits in str(rows).split())
        return
    assert sorted(places + [r.index for r in refused]) == list(range(len(rows) + 1))
    assert 0 in places, "the good one goes in"
    for each in refused:
        assert msgspec.json.encode(each.error)
        assert "\n" not in each.error
        assert len(each.error) < 700
    for each in found:
        if isinstance(each, (ItemRecord, UserRecord)):
            assert msgspec.json.decode(msgspec.json.encode(each), type=type(each)) == each, "stored as it was taken"
        elif each.request_id is not None:
            assert 0 <= request_number(each.request_id) < MOST_OF_64


@pytest.mark.parametrize("kind", ["events", "items", "users"])
@settings(deadline=None, max_examples=300)
@given(raw=st.binary(max_size=60), around=st.booleans())
@example(raw=b'{"user": "\\ud800`x": 1}', around=True)
@example(raw=b"[" * 5_000, around=True)
@example(raw=b'{"at":' * 5_000, around=True)
def test_no_bytes_break_a_door(kind: str, raw: bytes, around: bool) -> None:
    body = b'{"%s": [%s]}' % (kind.encode(), raw) if around else raw
    try:
        found, places, refused = doors()[kind](body)
        said = [each.error for each in refused]
        assert len(found) == len(places)
    except BadInput as error:
        said = [error.detail]
    assert all(msgspec.json.encode(line) and len(line) < 700 for line in said)


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", 10**400, "9" * 200])
def test_a_time_outside_every_calendar_costs_its_own_row_alone(at: Any) -> None:
    found, _, refused = decode_events(json.dumps({"events": [EVENT, {**EVENT, "at": at}, EVENT]}).encode(), NOW)
    assert (len(found), [r.index for r in refused]) == (2, [1])
    assert "at" in refused[0].error


@pytest.mark.parametrize(
    "text", ["-000000000000001", "+000000000000001", "0000_0000_0000_1", " 00000000000001 ", "00000000000000FF"]
)
def test_a_request_id_that_is_not_ours_is_hashed(text: str) -> None:
    assert 2**32 < request_number(text) < MOST_OF_64, "a hash, no small number"
    assert request_number("00000000000000ff") == 255


@pytest.mark.parametrize("kind", ["events", "items", "users"])
@pytest.mark.parametrize("row", [b"{}", b"1", b"[1,2]", b'{"a":"],[{\\","}'])
def test_a_body_of_too_many_rows_is_refused_before_its_rows_are_made(
    kind: str, row: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parted(*_: Any) -> list[Any]:
        raise AssertionError("the rows were made")

    monkeypatch.setattr("segue.events.envelope._parted", parted)
    body = b'{"%s": [%s]}' % (kind.encode(), b",".join([row] * 200_000))
    assert len(body) > LARGE
    with pytest.raises(BadInput, match="at most 1000"):
        doors()[kind](body)


def test_a_large_body_of_a_thousand_rows_gets_in_whatever_commas_its_texts_hold() -> None:
    search = {"user": 'u"\\,[', "action": "searched", "at": 1_769_860_800, "text": '],[{,"\\' * 60}
    body = json.dumps({"events": [search] * 1_000}).encode()
    assert len(body) > LARGE
    found, _, refused = decode_events(body, NOW)
    assert (len(found), refused) == (1_000, [])
    with pytest.raises(BadInput, match="at most 1000"):
        decode_events(json.dumps({"events": [search] * 1_001}).encode(), NOW)
