"""Reads Last.fm histories as CSV, in the three shapes that the common export tools write."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from segue.core.errors import BadInput
from segue.events.importers.batch import BATCH_ROWS
from segue.events.importers.files import first_line
from segue.events.importers.history import ME, open_bytes
from segue.events.importers.mapping import Column, Mapping, Table
from segue.events.importers.table import TableReader

PLAIN = ("artist", "album", "track", "date")
TOOL_TIME = "%d %b %Y %H:%M"
_QUOTED = re.compile(r'"[^"]*"')


def first_row(path: Path) -> list[str]:
    """The first row of a file, whatever parts its fields: comma, semicolon or tab."""
    text = _head(path)
    return next(csv.reader([text], delimiter=delimiter_of(text)), [])


def _head(path: Path) -> str:
    """The first line of a file, at most 64 kB of it."""
    with open_bytes(path) as stream:
        return first_line(stream.read(65_536).decode("utf-8", "replace"))


def delimiter_of(text: str) -> str:
    """The likeliest of comma, semicolon and tab: the one that stands most often outside quotes."""
    bare = _QUOTED.sub("", text)
    return max(",;\t", key=lambda sign: (bare.count(sign), sign == ","))


def lastfm_mapping(row: list[str], user: str | None, delimiter: str = ",") -> Mapping | None:
    """How to read a file whose first row is this, parted by the delimiter; None when it is no Last.fm export.

    - artist,album,track,date without a header, dates like "31 Jan 2024 12:34";
    - uts,utc_time,artist,artist_mbid,album,album_mbid,track,track_mbid with a header;
    - Artist;Album;AlbumId;Track;Date#user with a header, dates in milliseconds.
    """
    low = [name.strip().lower() for name in row]
    if {"artist", "track"} <= set(low):
        names = {name.strip().lower(): name for name in row}
        return _headed(names, user, delimiter)
    if len(row) == 4 and _is_tool_time(row[3]):
        return _mapping(PLAIN, {n: n for n in PLAIN}, Column(column="date", format=TOOL_TIME), user or ME, delimiter)
    return None


def _headed(names: dict[str, str], user: str | None, delimiter: str) -> Mapping | None:
    owned = next((n for n in names if n.startswith("date#")), None)
    if owned is not None:
        at, owner = Column(column=names[owned], unit="ms"), names[owned].partition("#")[2]
        return _mapping((), names, at, user or owner or ME, delimiter)
    for field in ("uts", "timestamp", "date", "utc_time", "time", "datetime"):
        if field in names:
            return _mapping((), names, Column(column=names[field], format=TOOL_TIME), user or ME, delimiter)
    return None


def _mapping(header: tuple[str, ...], names: dict[str, str], at: Column, user: str, delimiter: str) -> Mapping:
    item = Column(columns=(names["artist"], names["track"]), normalize=True)
    table = Table(
        path="*", role="plays", kind="csv", header=header, delimiter=delimiter, user=Column(constant=user), item=item,
        at=at, title=names["track"], artist=names["artist"], album=names.get("album"),
        extra=(names["track_mbid"],) if "track_mbid" in names else (),
    )  # fmt: skip
    return Mapping(name="lastfm", about="A Last.fm history as CSV.", table=(table,))


def _is_tool_time(text: str) -> bool:
    parts = text.strip().split()
    return len(parts) == 4 and parts[0].isdigit() and parts[2].isdigit() and ":" in parts[3]


def lastfm_reader(root: Path, now: int, user: str | None = None, batch_rows: int = BATCH_ROWS) -> TableReader:
    """A reader of one CSV file; BadInput when its first row fits none of the shapes."""
    row = first_row(root)
    mapping = lastfm_mapping(row, user, delimiter_of(_head(root)))
    if mapping is None:
        raise BadInput(
            f"{root.name}: expected a Last.fm CSV (artist,album,track,date; or a header with artist, track and uts); "
            f"the first row is {','.join(row)[:120]!r}",
            str(root),
        )
    return TableReader(root, mapping, now, batch_rows)
