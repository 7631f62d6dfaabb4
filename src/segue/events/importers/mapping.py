"""The mapping language: a small TOML file that says which column of which file means what."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Literal

import msgspec

from segue.core.errors import BadConfig

Role = Literal["plays", "events", "ratings", "playlists", "searches", "items", "users"]


class Lookup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Replace each value by another file's column: {path, key, value}."""

    path: str
    key: str
    value: str


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a field comes from. A plain string in TOML is {column = ...}, a list is {columns = [...]}."""

    column: str | None = None
    columns: tuple[str, ...] = ()  # joined by a tab
    constant: str | int | float | None = None
    normalize: bool = False  # names typed by people as one key (checks.normalize), each column by itself
    prefix: str = ""  # put before a name
    digest: bool = False  # 16 hexadecimal digits of the name's hash instead of the name
    unit: Literal["s", "ms", "us", "min"] = "s"  # of times as numbers and of durations
    format: str | None = None  # strptime format of times as text
    max: float | None = None  # the best rating of the scale: it becomes 5 stars
    start: int = 0  # the first position of the scale
    values: dict[str, str] | None = None  # found value -> ours; others are refused
    split: str | None = None  # a text of several tags, parted by this
    lookup: Lookup | None = None
    collect: int = 0  # facts: gather the most frequent so many values over all rows of an item
    order: bool = False  # position: count the rows of each session in the order of the file
    spread: bool = False  # at: add the position in seconds, for times that are days
    explode: bool = False  # a column of lists: one row for each of its values
    one_hot: bool = False  # tags: the names of those of the columns that hold 1

    @property
    def sources(self) -> tuple[str, ...]:
        """The columns of the file that this one reads."""
        return (self.column,) if self.column is not None else self.columns


Spec = str | tuple[str, ...] | Column


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file, or several of one shape, of a mapping."""

    path: str  # a glob below the folder
    role: Role
    header: tuple[str, ...] = ()  # names of the columns where the file has none
    delimiter: str = ","
    quoted: bool = True  # fields may be in double quotes
    encoding: str = "utf-8"
    kind: Literal["", "parquet", "csv", "jsonl"] = ""  # told by the name of the file unless given
    since: str = ""  # rows before this time are refused: another table tells them
    drop_repeated_blocks: bool = False
    unordered: bool = False  # playlists: the order of the rows says nothing, so no position is given
    user: Spec | None = None
    item: Spec | None = None
    action: Spec | None = None
    at: Spec | None = None
    played_s: Spec | None = None
    duration_s: Spec | None = None
    skipped: Spec | None = None
    value: Spec | None = None
    event_id: Spec | None = None
    request_id: Spec | None = None
    position: Spec | None = None
    session: Spec | None = None
    playlist: Spec | None = None
    region: Spec | None = None
    device: Spec | None = None
    text: Spec | None = None
    id: Spec | None = None
    title: Spec | None = None
    artist: Spec | None = None
    album: Spec | None = None
    tags: Spec | None = None
    released: Spec | None = None
    media: Spec | None = None
    playable: Spec | None = None
    extra: tuple[str, ...] = ()
    age: Spec | None = None
    birth_date: Spec | None = None
    gender: Spec | None = None
    country: Spec | None = None
    lat: Spec | None = None
    lon: Spec | None = None
    zip: Spec | None = None
    artists: Spec | None = None
    language: Spec | None = None

    def spec(self, field: str) -> Column | None:
        """Where a field comes from, None when the mapping does not say."""
        found: Spec | None = getattr(self, field)
        if found is None or isinstance(found, Column):
            return found
        return Column(column=found) if isinstance(found, str) else Column(columns=found)

    def sources(self) -> tuple[str, ...]:
        """Every column of the file that the table reads, in order of first mention."""
        names: dict[str, None] = {}
        for field in FIELDS:
            column = self.spec(field)
            if column is not None:
                names.update(dict.fromkeys(column.sources))
        names.update(dict.fromkeys(self.extra))
        return tuple(n for n in names if n != ROW)


ROW = "#row"
"""As a column: the number of the row, from 0."""

_PLAIN = {
    "path",
    "role",
    "header",
    "delimiter",
    "quoted",
    "encoding",
    "kind",
    "since",
    "drop_repeated_blocks",
    "unordered",
    "extra",
}
FIELDS = tuple(f for f in Table.__struct_fields__ if f not in _PLAIN)
NEEDED: dict[str, tuple[str, ...]] = {
    "plays": ("user", "item", "at"),
    "events": ("user", "item", "action", "at"),
    "ratings": ("user", "item", "value", "at"),
    "playlists": ("playlist", "item", "at"),
    "searches": ("user", "text", "at"),
    "items": ("id",),
    "users": ("id",),
}


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping file."""

    name: str
    about: str
    table: tuple[Table, ...]


FOLDER = resources.files("segue.events") / "mappings"


def parse(text: str, where: str) -> Mapping:
    """A mapping from TOML; BadConfig names the file and what to change."""
    try:
        mapping = msgspec.convert(tomllib.loads(text), Mapping)
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(f"{where}: expected TOML, found: {error}") from None
    except msgspec.ValidationError as error:
        raise BadConfig(f"{where}: {error}; see docs/data-formats.md for what a mapping may say") from None
    for table in mapping.table:
        _check(table, where)
    return mapping


def _check(table: Table, where: str) -> None:
    for field in NEEDED[table.role]:
        if table.spec(field) is None:
            raise BadConfig(f'{where}: a table of role {table.role!r} needs {field!r}: add {field} = "COLUMN" to it')
    for field in FIELDS:
        spec = table.spec(field)
        if spec is None:
            continue
        ways = (spec.column is not None) + bool(spec.columns) + (spec.constant is not None) + spec.order
        if ways != 1:
            raise BadConfig(f"{where}: {field} needs exactly one of column, columns, constant, order")


def load(name: str) -> Mapping:
    """A mapping by the path of its file or by the name of one that Segue ships."""
    path = Path(name)
    if path.suffix == ".toml" or path.exists():
        try:
            return parse(path.read_text("utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise BadConfig(f"mapping {name}: {error}") from None
    if name not in names():
        raise BadConfig(f"no mapping is called {name!r}: expected a .toml file or one of {', '.join(names())}")
    return parse((FOLDER / f"{name}.toml").read_text("utf-8"), f"{name}.toml")


def names() -> list[str]:
    """The names of the mappings that Segue ships, sorted."""
    return sorted(f.name.removesuffix(".toml") for f in FOLDER.iterdir() if f.name.endswith(".toml"))


def shipped() -> Iterator[Mapping]:
    """The mappings that Segue ships, by name."""
    for name in names():
        yield load(name)
