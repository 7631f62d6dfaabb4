"""What the routes for events, items and users accept: typed decoding, checks, and one clear line for each row refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from segue.core.actions import STARS
from segue.core.clock import EARLIEST_MS, FUTURE_SLACK_MS, LATEST_S, iso, parse_time
from segue.core.devices import device_kind
from segue.core.errors import BadInput
from segue.core.records import ItemRecord, UserRecord
from segue.events.checks import (
    LARGEST,
    NAME_LIMIT,
    POSITION_LIMIT,
    TEXT_LIMIT,
    WEEK_S,
    broken,
    cleaned,
    masked,
    name_error,
    shorten,
    user_error,
)
from segue.events.coarsen import PlaceFacts, band_of, language_of, refuse_emails, refuse_personal, region_name, region_of
from segue.events.envelope import MOST_ROWS, UNREADABLE, check_rows, explained, rows_of_body

T = TypeVar("T")
MOST_TEXT: Final = 1_000


class EventIn(msgspec.Struct, kw_only=True, gc=False):
    """One event as it came in, checked: names are the caller's own strings, times are integers.

    `action` is a key of core.actions.ACTIONS, `item` is None only for a search, `at` is milliseconds since 1970-01-01 UTC,
    `played_s` and `duration_s` are seconds, `value` is in stars (0 to 5) for a rating, `position` counts from 0.
    """

    user: str
    action: str
    at: int
    item: str | None = None
    event_id: str | None = None
    played_s: float | None = None
    duration_s: float | None = None
    value: float | None = None
    request_id: str | None = None
    position: int | None = None
    session: str | None = None
    region: str | None = None
    device: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class Rejection:
    """A row that was refused: its index in the body, from 0, and one line that says what to change."""

    index: int
    error: str


_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LIMIT)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=WEEK_S)]
_Value = Annotated[float, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
_Place = Annotated[int, msgspec.Meta(ge=0, le=POSITION_LIMIT)]
_Action = Literal[
    "shown", "started", "progress", "completed", "skipped", "liked", "disliked", "saved", "rated", "searched", "clicked",
    "hidden",
]  # fmt: skip


class _Context(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    region: _Name | None = None
    device: _Name | None = None


class _Wire(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An event as the contract shows it."""

    user: _Name
    action: _Action
    at: str | int | float
    item: _Name | None = None
    event_id: _Name | None = None
    played_s: _Seconds | None = None
    duration_s: _Seconds | None = None
    value: _Value | None = None
    request_id: _Name | None = None
    position: _Place | None = None
    session: _Name | None = None
    context: _Context | None = None
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_LIMIT)] | None = None


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    events: list[_Wire]


_SUSPECT: Final = (b"\\", b"@", b"\x7f", b"\xc2", b"\xef\xbb\xbf", b"\xed", b"NaN", b"Infinity")
"""Bytes without which no name can hold a control character, a surrogate or an e-mail address, and no number be infinite."""
_NOWHERE: Final = _Context()
_body = msgspec.json.Decoder(_Body)
_object = msgspec.json.Decoder(dict[str, Any])
_event = msgspec.json.Decoder(_Wire)


def decode_events(body: bytes, now: int) -> tuple[list[EventIn], list[int], list[Rejection]]:
    """The events of a POST /v1/events, their indices in the body, and the refused ones, all in the order of the body.

    `now` is in milliseconds. A body that is no {"events": [...]} of at most 1,000 raises BadInput; one bad event is refused
    alone. The whole body is decoded in one typed call; only when that fails is each event decoded by itself.
    """
    check_rows(body, "events")
    try:
        wires: list[tuple[int, _Wire]] = list(enumerate(_body.decode(body).events))
        refused: list[Rejection] = []
    except UNREADABLE:
        wires, refused = _one_by_one(body)
    if len(wires) > MOST_ROWS:
        raise BadInput(f"events: expected at most {MOST_ROWS}, found {len(wires)}; send several bodies", "events")
    plain = not any(mark in body for mark in _SUSPECT)
    events, places = [], []
    for index, wire in wires:
        try:
            events.append(_checked(wire, now, plain))
            places.append(index)
        except BadInput as error:
            refused.append(Rejection(index, error.detail))
    refused.sort(key=lambda r: r.index)
    return events, places, refused


def _one_by_one(body: bytes) -> tuple[list[tuple[int, _Wire]], list[Rejection]]:
    wires, refused = [], []
    for index, raw in enumerate(rows_of_body(body, "events")):
        try:
            wires.append((index, _event.decode(raw) if isinstance(raw, msgspec.Raw) else msgspec.convert(raw, _Wire)))
        except UNREADABLE as error:
            refused.append(Rejection(index, explained(error)))
    return wires, refused


def _checked(wire: _Wire, now: int, plain: bool) -> EventIn:
    """The event with its time read, or BadInput with what to change; `plain` bodies hold no sign that a name could be wrong."""
    context = wire.context or _NOWHERE
    if not plain or wire.user.isspace() or (wire.item or "x").isspace():
        _check_names(wire, context)
    if wire.item is None and wire.action != "searched":
        raise BadInput(f"item is missing: an event of action '{wire.action}' needs one", "item")
    if wire.action == "rated" and (wire.value is None or not 0 <= wire.value <= STARS):
        found = "missing" if wire.value is None else f"{wire.value:g}"
        raise BadInput(f"value is {found}: a rating needs its stars, 0 to {STARS:g}", "value")
    return EventIn(
        user=wire.user, action=wire.action, at=moment(wire.at, now), item=wire.item, event_id=wire.event_id,
        played_s=wire.played_s, duration_s=wire.duration_s, value=wire.value, request_id=wire.request_id,
        position=wire.position, session=wire.session, device=None if context.device is None else device_kind(context.device),
        text=None if wire.text is None else masked(wire.text),
        region=None if context.region is None else _region(context.region),
    )  # fmt: skip


_region = lru_cache(10_000)(region_name)


def _check_names(wire: _Wire, context: _Context) -> None:
    if wrong := user_error(wire.user):
        raise BadInput(wrong, "user")
    for field, name in (
        ("item", wire.item), ("event_id", wire.event_id), ("request_id", wire.request_id), ("session", wire.session),
        ("region", context.region), ("device", context.device),
    ):  # fmt: skip
        if name is not None and (wrong := name_error(field, name)):
            raise BadInput(wrong, field)
    if wire.text is not None and (cleaned(wire.text) or "") != " ".join(wire.text.split()):
        raise BadInput("text holds control characters or broken Unicode", "text")
    for field, number in (("played_s", wire.played_s), ("duration_s", wire.duration_s), ("value", wire.value)):
        if number is not None and not math.isfinite(number):
            raise BadInput(f"{field}: expected a finite number", field)


def moment(at: str | int | float, now: int) -> int:
    """Milliseconds of ISO 8601 text or Unix seconds; BadInput before 1995 and more than a day after `now`."""
    try:
        found = _iso_ms(at) if isinstance(at, str) and at[4:5] == "-" else parse_time(at)
    except (ValueError, OverflowError):
        _check_milliseconds(at, now)
        expected = "expected ISO 8601 such as 2026-01-31T12:00:00Z, or Unix seconds"
        raise BadInput(f"at: {expected}; found {shorten(str(at))}", "at") from None
    if found < EARLIEST_MS or found > now + FUTURE_SLACK_MS:
        raise BadInput(f"at is {iso(found)}: expected 1995 or later, and no later than a day from now", "at")
    return found


def _iso_ms(text: str) -> int:
    """core.clock.parse_time of text that starts like a date, without first trying it as a number."""
    found = datetime.fromisoformat(text.rstrip())
    seconds = (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    if abs(seconds) > LATEST_S:
        raise ValueError("an offset can carry a date out of every calendar")
    return round(seconds * 1000)


def _check_milliseconds(at: str | int | float, now: int) -> None:
    """BadInput that says so when a time would be a good one in milliseconds."""
    try:
        found = float(at)
    except (ValueError, OverflowError):
        return
    if EARLIEST_MS <= found <= now + FUTURE_SLACK_MS:
        raise BadInput(f"at is {found:.0f}: that looks like milliseconds; send Unix seconds or ISO 8601", "at")


_TAGS_LIMIT: Final = 100
_EXTRA_LIMIT: Final = 64
_Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LIMIT)]
_Tags = Annotated[list[_Tag], msgspec.Meta(max_length=_TAGS_LIMIT)]
_Label = Annotated[str, msgspec.Meta(max_length=MOST_TEXT)]
_RELEASED = r"^\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?$"


class _ItemWire(msgspec.Struct):
    id: _Name
    title: _Label | None = None
    artist: _Label | None = None
    album: _Label | None = None
    duration_s: _Seconds | None = None
    tags: _Tags | None = None
    released: Annotated[str, msgspec.Meta(pattern=_RELEASED)] | None = None
    kind: _Name | None = None
    playable: bool | None = None
    language: str | None = None


class _UserWire(msgspec.Struct, forbid_unknown_fields=True):
    id: _Name
    age: float | None = None
    age_band: str | None = None
    birth_date: str | None = None
    gender: Annotated[str, msgspec.Meta(max_length=32)] | None = None
    country: str | None = None
    region: str | None = None
    lat: float | None = None
    lon: float | None = None
    zip: str | int | None = None
    tags: _Tags | None = None
    artists: _Tags | None = None
    language: str | None = None


_FACTS: Final = frozenset(_ItemWire.__struct_fields__)


def decode_items(body: bytes) -> tuple[list[ItemRecord], list[int], list[Rejection]]:
    """The items of a PUT /v1/items, their indices, and the refused ones; fields beyond the contract's go to `extra`.

    At most 1,000 items. Extra values are text, numbers, booleans or null. A body that is no {"items": [...]} raises BadInput.
    """
    return _decoded(body, "items", _item)


def decode_users(body: bytes, now: int) -> tuple[list[UserRecord], list[int], list[Rejection]]:
    """The users of a PUT /v1/users, coarsened: an age or a date of birth is a band, a place a region (see coarsen).

    At most 1,000 users; unknown fields are refused, and personal ones with the reason. `now` (ms) ages a date of birth.
    """
    return _decoded(body, "users", lambda row: _user(row, now))


def _decoded(body: bytes, field: str, read: Callable[[dict[str, Any]], T]) -> tuple[list[T], list[int], list[Rejection]]:
    found, places, refused = [], [], []
    for index, raw in enumerate(rows_of_body(body, field)):
        try:
            row = _object.decode(raw) if isinstance(raw, msgspec.Raw) else msgspec.convert(raw, dict[str, Any])
            found.append(read(row))
            places.append(index)
        except BadInput as error:
            refused.append(Rejection(index, error.detail))
        except UNREADABLE as error:
            refused.append(Rejection(index, explained(error)))
    return found, places, refused


def _item(row: dict[str, Any]) -> ItemRecord:
    wire = msgspec.convert(row, _ItemWire)
    extra = {k: v for k, v in row.items() if k not in _FACTS}
    if len(extra) > _EXTRA_LIMIT:
        raise BadInput(f"expected at most {_EXTRA_LIMIT} extra fields, found {len(extra)}")
    for key, value in extra.items():
        if wrong := name_error("the name of an extra field", key):
            raise BadInput(wrong, shorten(key))
        if not _storable(value):
            raise BadInput(f"{key}: expected text of at most {MOST_TEXT} characters, a number, true, false or null", key)
    texts = [wire.title, wire.artist, wire.album, wire.kind, *(wire.tags or []), *extra.values()]
    _check_texts("id", wire.id, [t for t in texts if isinstance(t, str)])
    if wire.duration_s is not None and not math.isfinite(wire.duration_s):
        raise BadInput("duration_s: expected a finite number", "duration_s")
    return ItemRecord(
        id=wire.id, title=wire.title, artist=wire.artist, album=wire.album, duration_s=wire.duration_s, tags=wire.tags,
        released=wire.released, kind=wire.kind, playable=wire.playable, extra=extra or None,
        language=language_of(wire.language),
    )  # fmt: skip


def _storable(value: object) -> bool:
    """Whether JSON can hold an extra value as it is: not NaN, which would come back as null, nor whole numbers past 64 bits."""
    if isinstance(value, str):
        return len(value) <= MOST_TEXT
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or (isinstance(value, int) and -(2**63) <= value < 2**63)


def _user(row: dict[str, Any], now: int) -> UserRecord:
    refuse_personal(row)
    if isinstance(name := row.get("id"), str) and (wrong := user_error(name)):
        raise BadInput(wrong, "id")
    wire = msgspec.convert(row, _UserWire)
    _check_texts("id", wire.id, [t for t in (wire.gender, *(wire.tags or []), *(wire.artists or [])) if t])
    refuse_emails({"gender": [wire.gender], "tags": wire.tags, "artists": wire.artists})
    facts = PlaceFacts(wire.region, wire.country, wire.lat, wire.lon, None if wire.zip is None else str(wire.zip))
    return UserRecord(
        id=wire.id, age_band=band_of(wire.age, wire.age_band, wire.birth_date, now), gender=wire.gender,
        region=region_of(facts), tags=wire.tags, artists=wire.artists, language=language_of(wire.language),
    )  # fmt: skip


def _check_texts(field: str, name: str, texts: list[str]) -> None:
    if wrong := name_error(field, name):
        raise BadInput(wrong, field)
    for text in texts:
        if broken(text):
            raise BadInput(f"{shorten(text)} holds control characters or broken Unicode: expected plain text")
