"""Rows of a mapped file as facts about items and users; what a person could be found by is coarsened on the way."""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np

from segue.core.errors import BadInput
from segue.core.records import ItemRecord, UserRecord
from segue.events.checks import holds_email
from segue.events.coarsen import PlaceFacts, band_of, language_of, refuse_emails, region_of
from segue.events.importers.batch import Coded, ImportBatch
from segue.events.importers.columns import TO_SECONDS, Frame, numbers
from segue.events.importers.files import Raw
from segue.events.importers.mapping import Column, Table

_IN_TITLE = re.compile(r"\((\d{4})\)\s*$")
RELEASED = re.compile(r"(\d{4})(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?")
MOST_TAGS = 32
PLACES = ("region", "country", "zip", "birth_date")
Pairs = dict[tuple[str, str, str], int]


def released_of(text: str | None) -> str | None:
    """A year, a year and month, or a date, out of the text that a source gives, "Heat (1995)" too; None when it is none."""
    if text is None:
        return None
    if title := _IN_TITLE.search(text):
        text = title.group(1)
    found = RELEASED.fullmatch(text[:10]) or RELEASED.fullmatch(text[:4])
    return found.group(0) if found and "1000" <= found.group(1) <= "2999" else None


def split_tags(text: str | None, spec: Column | None) -> list[str] | None:
    """The tags of one field."""
    if text is None or spec is None:
        return None
    parts = text.split(spec.split or "\t")
    found = list(dict.fromkeys(p.strip() for p in parts if p.strip()))
    return found[:MOST_TAGS] or None


def item_records(frame: Frame, table: Table, rows: list[int], ids: list[str]) -> list[ItemRecord]:
    """What the rows tell of the items `ids`, one record each."""
    texts = {f: frame.words(table.spec(f), f) for f in ("title", "artist", "album", "released", "media", "language")}
    tags = item_tags(frame, table.spec("tags"), rows)
    lengths = frame.numbers(table.spec("duration_s"), "duration_s").tolist()
    spec = table.spec("duration_s")
    scale = TO_SECONDS[spec.unit] if spec is not None else 1.0
    playable = frame.numbers(table.spec("playable"), "playable").tolist()
    out = []
    for place, (row, name) in enumerate(zip(rows, ids, strict=True)):
        length = lengths[row] * scale
        record = ItemRecord(
            id=name, title=texts["title"][row], artist=texts["artist"][row], album=texts["album"][row],
            duration_s=length if 0 < length < 7 * 86_400 else None,
            tags=tags[place], released=released_of(texts["released"][row]),
            kind=texts["media"][row], playable=None if math.isnan(playable[row]) else playable[row] > 0,
            extra=_extra(frame, table, row), language=_language(texts["language"][row]),
        )  # fmt: skip
        out.append(record)
    return out


def _language(text: str | None) -> str | None:
    """The language of a row that tells something else as well: nothing where it cannot be read."""
    try:
        return language_of(text)
    except BadInput:
        return None


def _wrong_language(text: str | None) -> str:
    try:
        language_of(text)
    except BadInput as error:
        return error.detail
    return ""


def item_tags(frame: Frame, spec: Column | None, rows: list[int]) -> list[list[str] | None]:
    """The tags of each of the rows."""
    if spec is None or not spec.one_hot:
        words = frame.words(spec, "tags")
        return [split_tags(words[row], spec) for row in rows]
    flags = [numbers(frame.raw(name))[0] == 1 for name in spec.columns]
    return [[name for name, flag in zip(spec.columns, flags, strict=True) if flag[row]] or None for row in rows]


def _extra(frame: Frame, table: Table, row: int) -> dict[str, str | int | float | bool | None] | None:
    found: dict[str, str | int | float | bool | None] = {}
    for name in table.extra:
        try:
            value = frame.raw(name)[row].as_py()
        except UnicodeDecodeError:
            continue
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if value is not None and value == value and value != "":
            plain = isinstance(value, (str, int, bool)) or (isinstance(value, float) and math.isfinite(value))
            found[name] = value if plain else str(value)
    return found or None


class FactMaker:
    """Turns the frames of one file of facts into records; gathers lists that a file spreads over many rows."""

    def __init__(self, table: Table, now: int) -> None:
        self.table, self.now = table, now
        self.gathers = [f for f in ("tags", "artists") if (s := table.spec(f)) is not None and s.collect]
        self.pairs: dict[str, Counter[tuple[str, str]]] = {f: Counter() for f in self.gathers}

    def batch(self, frame: Frame, raw: Raw, file: str) -> ImportBatch:
        """The records of some rows. Rejected user rows keep the names of their columns only."""
        users = self.table.role == "users"
        ids = frame.names(self.table.spec("id"), "user" if users else "id", needed=True)
        for field in self.gathers:
            self._gather(frame, field, ids, frame.coded_words(self.table.spec(field), field))
        items: list[ItemRecord] = []
        people: list[UserRecord] = []
        if users:
            people = self._users(frame, [ids.get(i) for i in range(frame.n)])
        elif not self.gathers:
            wrong = [_wrong_language(word) for word in frame.words(self.table.spec("language"), "language")]
            frame.flag(np.array([bool(why) for why in wrong], np.bool_), wrong.__getitem__)
            rows = [i for i in range(frame.n) if not frame.bad[i]]
            items = item_records(frame, self.table, rows, [str(ids.get(i)) for i in rows])
        rejected = frame.refused(self.table.sources(), hide=users) + raw.lost
        rows_read = frame.n + len(raw.lost)
        return ImportBatch(file, rows_read, None, items, people, rejected, fact_rows=rows_read - len(rejected), share=raw.share)

    def _gather(self, frame: Frame, field: str, ids: Coded, values: Coded) -> None:
        """Count the pairs of name and value; rows of users whose value holds an e-mail address are refused."""
        if self.table.role == "users":
            mails = np.array([holds_email(value) for value in values.values], np.bool_)
            frame.flag(values.spread(mails, 0).astype(np.bool_), lambda _: f"{field}: an e-mail address is refused")
        both = (ids.codes >= 0) & (values.codes >= 0) & ~frame.bad
        pairs = ids.codes[both].astype(np.int64) * max(len(values.values), 1) + values.codes[both]
        found, counts = np.unique(pairs, return_counts=True)
        for pair, count in zip(found.tolist(), counts.tolist(), strict=True):
            name, value = divmod(pair, len(values.values))
            self.pairs[field][ids.values[name], values.values[value]] += count

    def rest(self, file: str) -> ImportBatch:
        """What was gathered over the whole file."""
        items, users = [], []
        lists: dict[str, dict[str, list[str]]] = {}
        for field, pairs in self.pairs.items():
            spec = self.table.spec(field)
            for (name, value), _ in sorted(pairs.items(), key=lambda p: (p[0][0], -p[1], p[0][1])):
                found = lists.setdefault(name, {}).setdefault(field, [])
                if spec is not None and len(found) < spec.collect:
                    found.append(value)
        for name, found_lists in lists.items():
            if self.table.role == "items":
                items.append(ItemRecord(id=name, tags=found_lists.get("tags")))
            else:
                users.append(UserRecord(id=name, tags=found_lists.get("tags"), artists=found_lists.get("artists")))
        return ImportBatch(file, 0, None, items, users, share=1.0)

    def _users(self, frame: Frame, ids: list[str | None]) -> list[UserRecord]:
        table = self.table
        fields = ("birth_date", "gender", "region", "country", "zip", "tags", "artists", "language")
        words = {f: frame.words(table.spec(f), f) for f in fields if f not in self.gathers}
        numbers = {f: frame.numbers(table.spec(f), f).tolist() for f in ("age", "lat", "lon")}
        out = []
        for row, name in enumerate(ids):
            if frame.bad[row] or name is None or self.gathers:
                continue
            told: dict[str, str | float | None] = {f: v[row] for f, v in words.items()}
            told.update({f: None if math.isnan(v[row]) else v[row] for f, v in numbers.items()})
            try:
                out.append(user_record(name, told, self.now, table))
            except BadInput as error:
                frame.bad[row] = True
                frame.reasons[row] = error.detail
        return out


def user_record(name: str, told: dict[str, str | float | None], now: int, table: Table) -> UserRecord:
    """The coarse facts of a user out of the fine ones; BadInput when one cannot be read."""
    age, lat, lon = (None if (v := told.get(f)) is None else float(v) for f in ("age", "lat", "lon"))
    region, country, code, born = (None if (v := told.get(f)) is None else str(v) for f in PLACES)
    tags, artists = (split_tags(v if isinstance(v := told.get(f), str) else None, table.spec(f)) for f in ("tags", "artists"))
    gender, language = told.get("gender"), told.get("language")
    refuse_emails({"gender": [None if gender is None else str(gender)], "tags": tags, "artists": artists})
    return UserRecord(
        id=name, age_band=band_of(age, None, born, now), gender=None if gender is None else str(gender)[:32],
        region=region_of(PlaceFacts(region, country, lat, lon, code)), tags=tags, artists=artists,
        language=language_of(None if language is None else str(language)),
    )  # fmt: skip
