"""Finds the reader for a path: by the format that is named, else by what the files look like."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa

from segue.core.errors import BadInput, NotFound
from segue.events.importers.batch import BATCH_ROWS, ImportBatch, Reader
from segue.events.importers.files import BOM, UNREADABLE, first_line, kind_of, open_parquet
from segue.events.importers.history import open_bytes
from segue.events.importers.lastfm import delimiter_of, first_row, lastfm_mapping, lastfm_reader
from segue.events.importers.listenbrainz import ListenBrainzReader
from segue.events.importers.mapping import Mapping, Table, load, shipped
from segue.events.importers.spotify import PREFIXES, SpotifyReader
from segue.events.importers.table import TableReader, columns_of

FORMATS = ("auto", "listenbrainz", "lastfm", "spotify", "movielens", "table")
DAMAGE = (pa.ArrowException, OSError, EOFError, zipfile.BadZipFile, zlib.error)
"""What reading a file that was cut or broken raises."""
_OURS = (
    "user", "item", "action", "at", "played_s", "duration_s", "value", "event_id", "request_id", "position", "session",
    "region", "device", "text", "playlist", "title", "artist", "album", "tags",
)  # fmt: skip


def open_reader(
    path: Path, now: int, format: str = "auto", mapping: str | None = None, user: str | None = None,
    batch_rows: int = BATCH_ROWS,
) -> Reader:  # fmt: skip
    """The reader for a file or folder.

    `mapping` is a TOML file or the name of a shipped mapping, and wins over `format`; `user` names the listener of exports
    that do not (Last.fm, Spotify, ListenBrainz). NotFound for a path that is not there; BadInput, with what was found and
    how to go on, when nothing fits.
    """
    if not path.exists():
        raise NotFound(f"{path}: no such file or folder")
    if format not in FORMATS:
        raise BadInput(f"format is {format!r}: expected one of {', '.join(FORMATS)}", "format")
    try:
        return Guarded(_reader(path, now, format, mapping, user, batch_rows))
    except DAMAGE as error:
        raise BadInput(f"{path.name}: a file is damaged or cannot be read: {error}", str(path)) from None


def _reader(path: Path, now: int, format: str, mapping: str | None, user: str | None, batch_rows: int) -> Reader:
    if mapping is not None:
        return TableReader(path, load(mapping), now, batch_rows)
    found = guess(path) if format == "auto" else format
    if found == "listenbrainz":
        return ListenBrainzReader(path, now, user)
    if found == "spotify":
        return SpotifyReader(path, now, user)
    if found == "lastfm":
        return lastfm_reader(path, now, user, batch_rows)
    if found == "movielens":
        return TableReader(path, load("movielens"), now, batch_rows)
    return TableReader(path, mapping_for(path), now, batch_rows)


class Guarded:
    """A reader whose damaged files (a cut gzip, a broken zip or Parquet) are BadInput."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.name = reader, reader.name

    def __iter__(self) -> Iterator[ImportBatch]:
        batches = iter(self.reader)
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except DAMAGE as error:
                raise BadInput(f"{self.name}: a file is damaged or cannot be read: {error}") from None
            yield batch


def guess(path: Path) -> str:
    """The format of a file or folder by its names and first bytes: one of FORMATS, "table" when no other fits."""
    if path.is_dir():
        return _of_names([p.name for p in path.rglob("*") if p.is_file()])
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            found = _of_names([Path(n).name for n in archive.namelist()])
        if found == "table":
            raise BadInput(f"{path.name}: a zip with no export that Segue knows: unzip it and name the folder", str(path))
        return found
    if path.name in ("u.data", "u.user", "u.item", "ratings.dat", "movies.dat", "users.dat"):
        return "movielens"
    if kind_of(path) == "parquet":
        return "table"
    return _of_content(path)


def _of_names(names: list[str]) -> str:
    low = {n.lower() for n in names}
    telling = {
        "spotify": sorted(n for n in low if n.startswith(PREFIXES) and n.endswith(".json")),
        "movielens": sorted(
            low & {"u.data", "ratings.dat"} or ({"ratings.csv"} if {"ratings.csv", "movies.csv"} <= low else ())
        ),
        "listenbrainz": sorted(n for n in low if n.endswith((".jsonl", ".listens", ".jsonl.gz", ".jsonl.zst"))),
    }
    found = {name: files for name, files in telling.items() if files}
    if len(found) > 1:
        told = "; ".join(f"{name} ({', '.join(files[:3])})" for name, files in found.items())
        raise BadInput(f"found exports of several services: {told}; import one after the other with --format")
    return next(iter(found), "table")


def _of_content(path: Path) -> str:
    with open_bytes(path) as stream:
        head = stream.read(65_536)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:1] == b"[" and (b'"ms_played"' in head or b'"msPlayed"' in head):
        return "spotify"
    if start[:1] == b"{" and (b'"track_metadata"' in head or b'"listened_at"' in head):
        return "listenbrainz"
    if start[:1] in b"[{":
        return "table"
    if kind_of(path) == "csv" and lastfm_mapping(first_row(path), None) is not None and not _is_ours(first_row(path)):
        return "lastfm"
    return "movielens" if b"::" in head.partition(b"\n")[0] else "table"


def _is_ours(row: list[str]) -> bool:
    return {"user", "item"} <= set(row)


def mapping_for(path: Path) -> Mapping:
    """The shipped mapping that fits most of its files, else one made from columns that bear our own names; BadInput."""
    best: tuple[float, str, Mapping] | None = None
    for mapping in shipped():
        fit = _fit(path, mapping)
        if fit > 0 and (best is None or (-fit, mapping.name) < (-best[0], best[1])):
            best = (fit, mapping.name, mapping)
    if best is not None:
        return best[2]
    if path.is_dir():
        names = ", ".join(sorted(p.name for p in path.iterdir())[:12])
        raise BadInput(f"{path}: no shipped mapping fits the files {names}: describe them with --mapping FILE", str(path))
    return _own_mapping(path)


def _fit(path: Path, mapping: Mapping) -> float:
    """The share of a mapping's tables whose files are there with all their columns; 0 as soon as one file lacks a column."""
    fitting = 0
    for table in mapping.table:
        files = [path] if path.is_file() and path.match(table.path) else []
        files = [p for p in path.glob(table.path) if p.is_file()] if path.is_dir() else files
        for file in files:
            found = _columns(file, table)
            if found is None or not set(table.sources()) <= set(found):
                return 0.0
        fitting += bool(files)
    return fitting / len(mapping.table)


def _columns(file: Path, table: Table) -> tuple[str, ...] | None:
    """The columns of a file; None when it cannot be read as the table wants."""
    try:
        found = columns_of(file, table)
    except BadInput:
        return None
    if found is not None:
        return None if table.header and not _as_wide(file, table) else found
    return tuple(_first_object(file))


def _as_wide(file: Path, table: Table) -> bool:
    """Whether the first row has as many fields as the header that the mapping gives."""
    with open_bytes(file) as stream:
        first = first_line(stream.read(65_536).decode("utf-8", "replace"))
    return len(first.split(table.delimiter)) == len(table.header)


def _first_object(file: Path) -> list[str]:
    with open_bytes(file) as stream:
        first = stream.read(1 << 20).removeprefix(BOM).partition(b"\n")[0]
    try:
        return list(msgspec.json.decode(first, type=dict[str, object]))
    except UNREADABLE:
        return []


def _own_mapping(path: Path) -> Mapping:
    """For a table whose columns have the names of the contract: user, item, at, and what else there is."""
    kind = kind_of(path)
    if not kind:
        raise BadInput(
            f"{path.name}: expected .parquet, .csv, .tsv or .jsonl (plain, .gz or .zst), or an export of another service; "
            "name the format with --format or describe the file with --mapping FILE",
            str(path),
        )
    delimiter = delimiter_of("\t" if ".tsv" in path.name else ",")
    if kind == "parquet":
        found = list(open_parquet(path).schema_arrow.names)
    elif kind == "jsonl":
        found = _first_object(path)
    else:
        found = first_row(path)
        with open_bytes(path) as stream:
            delimiter = delimiter_of(first_line(stream.read(65_536).decode("utf-8", "replace")))
    fields = {name: name for name in found if name in _OURS}
    missing = [n for n in ("user", "item", "at") if n not in fields and not (n == "user" and "playlist" in fields)]
    if missing:
        raise BadInput(
            f"{path.name}: found the columns {', '.join(found)[:300] or '(none)'}; without {', '.join(missing)} their meaning "
            "must be told: --mapping FILE (docs/data-formats.md), or --format for an export of another service",
            str(path),
        )
    role = "playlists" if "playlist" in fields else "events" if "action" in fields else "plays"
    table = msgspec.convert({"path": "*", "role": role, "delimiter": delimiter, **fields}, Table)
    return Mapping(name="table", about="Columns that bear the names of the contract.", table=(table,))
