"""What points at a person never gets as far as log or catalogue: addresses in words, ids and facts; models of devices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from importing import NOW, Town, whole
from test_ingest import Facts, event

from segue.core.devices import DEVICES, device_kind
from segue.core.errors import BadInput
from segue.core.types import EVENT, MISSING, empty_events
from segue.events.checks import holds_email, masked
from segue.events.importers.mapping import parse
from segue.events.importers.table import TableReader
from segue.events.rows import build, put_ids
from segue.events.schema import decode_events, decode_users

EVENT_ROW = {"user": "u", "item": "i", "action": "completed", "at": 1_769_860_800}
MAIL = "anna.smith@example.com"


def body(kind: str, *rows: Any) -> bytes:
    return json.dumps({kind: rows}).encode()


def imported(folder: Path, mapping: str, **files: str) -> Town:
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)
    town = Town(folder)
    assert whole(town.take(TableReader(folder, parse('name = "m"\nabout = ""\n' + mapping, "m.toml"), NOW, 1000)))
    return town


@pytest.mark.parametrize("user", [MAIL, f"Anna Smith <{MAIL}>", f" {MAIL}", f"mailto:{MAIL}?x", f"a@{MAIL}"])
def test_no_user_id_holds_an_address(user: str) -> None:
    found, _, refused = decode_events(body("events", EVENT_ROW, {**EVENT_ROW, "user": user}), NOW)
    assert len(found) == len(refused) == 1
    assert "pseudonymous" in refused[0].error
    assert "anna" not in refused[0].error.lower()
    assert len(decode_users(body("users", {"id": user}), NOW)[2]) == 1


@pytest.mark.parametrize("user", ["anna@home", "@anna", "a@", "deadmau5@", "a @ b.c"])
def test_an_at_sign_alone_is_no_address(user: str) -> None:
    assert len(decode_events(body("events", {**EVENT_ROW, "user": user}), NOW)[0]) == 1


@pytest.mark.parametrize("facts", [{"gender": MAIL[:32]}, {"tags": ["jazz", f"me: {MAIL}"]}, {"artists": [f"<{MAIL}>"]}])
def test_no_fact_of_a_user_holds_an_address(facts: dict[str, Any]) -> None:
    found, _, refused = decode_users(body("users", {"id": "a"}, {"id": "b", **facts}), NOW)
    assert ([u.id for u in found], len(refused)) == (["a"], 1)
    assert next(iter(facts)) in refused[0].error
    assert "example" not in refused[0].error


def test_search_words_are_stored_without_the_address() -> None:
    search = {"user": "u", "action": "searched", "at": 1_769_860_800, "text": f"songs of <{MAIL}> please"}
    (found,), _, _ = decode_events(body("events", search), NOW)
    assert found.text == "songs of [e-mail] please"
    assert build([found], Facts(), bytes).texts == {0: "songs of [e-mail] please"}  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.text(st.sampled_from("a.@ <>\n"), max_size=40))
def test_what_was_masked_holds_no_address(text: str) -> None:
    assert not holds_email(masked(text))
    assert holds_email(text) or masked(text) == text


def test_files_are_held_to_the_same(tmp_path: Path) -> None:
    mapping = """
[[table]]
path = "searches.csv"
role = "searches"
user = "u"
text = "q"
at = "t"
device = "d"
[[table]]
path = "users.csv"
role = "users"
id = "u"
gender = "g"
tags = "likes"
[[table]]
path = "tags.csv"
role = "users"
id = "u"
tags = { column = "tag", collect = 3 }
[[table]]
path = "lists.csv"
role = "playlists"
playlist = "name"
item = "i"
at = "t"
"""
    town = imported(
        tmp_path,
        mapping,
        searches=f"u,q,t,d\na,find {MAIL} now,1600000000,SM-G960F of Anna\nb,jazz,1600000001,iPhone 14\n",
        users=f"u,g,likes\na,f,jazz\nc,{MAIL},pop\nd,f,{MAIL}\n",
        tags=f"u,tag\na,rock\na,{MAIL}\n{MAIL},pop\n",
        lists=f"name,i,t\nroad,x,1600000000\n{MAIL},y,1600000000\n",
    )
    assert town.texts == ["find [e-mail] now", "jazz"]
    assert [d for (d,) in town.rows("device")] == ["other", "phone", None]
    assert len(town.rejected) == 5
    stored = str([town.texts, town.user_facts, town.users.places, town.devices.places, town.rejected])
    assert "example.com" not in stored
    assert "Anna" not in str(town.devices.places)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *((kind, kind) for kind in DEVICES), ("iOS 17.2 (iPhone14,5)", "phone"), ("iOS 13 (iPad)", "tablet"),
        ("Android OS 10 API 29 (samsung, SM-G960F)", "phone"), ("Android TV", "tv"), ("android_tv", "tv"),
        ("Windows 10 (10.0.19045; x64)", "desktop"), ("web_player windows 10", "web"), ("OS X 12", "desktop"),
        ("Apple Watch", "wearable"), ("PlayStation 5", "console"), ("CarPlay", "car"), ("Sonos", "speaker"),
        ("Carla's toaster", "other"), ("the car", "car"), ("oscar", "other"), ("", "other"), ("\ud800", "other"),
    ],
)  # fmt: skip
def test_devices_are_kinds(text: str, kind: str) -> None:
    assert device_kind(text) == kind


def test_five_hundred_device_texts_are_ten_names() -> None:
    rows = [{**EVENT_ROW, "context": {"device": f"model {n} of Anna"}} for n in range(500)]
    found, _, refused = decode_events(body("events", *rows), NOW)
    assert not refused
    assert {e.device for e in found} == {"other"}


@pytest.mark.parametrize("column", ["device", "region"])
def test_an_id_too_large_for_its_column_is_refused_instead_of_wrapped(column: str) -> None:
    most = np.iinfo(EVENT[column]).max
    events = empty_events(2)
    put_ids(events, column, np.array([most, MISSING], np.int32))
    assert events[column].tolist() == [most, MISSING]
    with pytest.raises(BadInput, match=f"{column}: .* {most + 1:,}"):
        put_ids(events, column, np.array([0, most + 1], np.int32))
    catalogue = Facts()
    getattr(catalogue, f"{column}s").known = [f"n{i}" for i in range(most + 1)]
    with pytest.raises(BadInput, match=column):
        build([event("a", **{column: "one more"})], catalogue, bytes)  # type: ignore[arg-type]
