"""Raw columns of a file into checked columns of ours, a batch at a time and without a Python object a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from segue.core.clock import DAY_MS, EARLIEST_MS, FUTURE_SLACK_MS, iso, parse_time
from segue.core.devices import device_kind
from segue.core.hashing import hash64
from segue.core.types import MISSING, Bool, Int64
from segue.events.checks import all_names, cleaned, masked, name_error, normalize, shorten, user_error
from segue.events.coarsen import region_error
from segue.events.importers.batch import Coded, Rejected
from segue.events.importers.files import Raw
from segue.events.importers.mapping import ROW, Column

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
TO_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0}
EMPTY = ("", "\\N", "null", "NULL", "NaN", "nan", "None", "NA")


class Frame:
    """Some rows of a file: raw columns, which rows are refused, and why (the first reason counts)."""

    def __init__(self, raw: Raw, lookups: Mapping[str, dict[str, str]], header_lines: int = 0) -> None:
        self.columns, self.n, self.rows, self.lookups = raw.columns, raw.n, raw.rows, lookups
        self.header_lines = header_lines
        n = self.n
        self.bad = np.zeros(n, np.bool_)
        self.reasons: dict[int, str] = {}

    def flag(self, mask: Bool, why: Callable[[int], str]) -> None:
        """Refuse the rows where mask is True."""
        for row in np.flatnonzero(mask & ~self.bad).tolist():
            self.reasons[row] = why(row)
        self.bad |= mask

    def raw(self, name: str) -> pa.Array:
        """A column of the file."""
        if name == ROW:
            return pa.array(self.rows)
        found = self.columns.get(name)
        return pa.nulls(self.n) if found is None else found

    def names(self, spec: Column | None, field: str, needed: bool = False) -> Coded:
        """A column of names, checked; rows without one are refused when it is needed."""
        if spec is None:
            return Coded.none(self.n)
        if spec.constant is not None:
            fixed = spec.prefix + str(spec.constant)
            return Coded.same(self.n, device_kind(fixed) if field == "device" else fixed)
        parts = [self._texts(name, field) for name in spec.sources]
        if spec.normalize:
            parts = [Coded(p.codes, [normalize(v) for v in p.values]) for p in parts]
        coded = parts[0]
        for part in parts[1:]:
            coded = joined(coded, part)
        coded = self._told(coded, spec, field)
        if field == "device":
            coded = Coded(coded.codes, [device_kind(v) for v in coded.values])
        if spec.normalize or spec.values is not None or spec.lookup is not None or field == "device":
            coded = coded.distinct()
        self._check_names(coded, field)
        if needed:
            self.flag(coded.codes < 0, lambda row: f"{field} is missing: {self._nothing_in(spec.sources, row)}")
        return coded

    def _nothing_in(self, names: tuple[str, ...], row: int) -> str:
        empty = [n for n in names if not plain(self.raw(n), row).strip() or self.raw(n)[row].as_py() is None]
        return f"nothing in column {', '.join(empty or names)}"

    def _texts(self, name: str, field: str) -> Coded:
        coded, broken = texts(self.raw(name))
        if len(broken):
            self.flag(np.isin(coded.codes, broken), lambda _: f"{field}: column {name} is not valid UTF-8 here")
        return coded

    def _told(self, coded: Coded, spec: Column, field: str) -> Coded:
        """Lookups, told values, digests and prefixes, on the values alone."""
        if spec.lookup is None and spec.values is None and not (spec.digest or spec.prefix):
            return coded
        values: list[str | None] = list(coded.values)
        if spec.lookup is not None:
            table = self.lookups[lookup_key(spec)]
            values = [table.get(v) for v in coded.values]
        if spec.values is not None:
            values = [None if v is None else spec.values.get(v) for v in values]
            unknown = np.array([v is None for v in values], np.bool_)
            expected = ", ".join(sorted(spec.values))
            self.flag(
                coded.spread(unknown, 0).astype(np.bool_),
                lambda row: f"{field} is {shorten(str(coded.get(row)))}: expected one of {expected}",
            )
        if spec.digest:
            values = [None if v is None else f"{hash64(v):016x}" for v in values]
        if spec.prefix:
            values = [None if v is None else spec.prefix + v for v in values]
        return without_none(coded.codes, values)

    def _check_names(self, coded: Coded, field: str) -> None:
        if field != "region" and all_names(field, coded.values):
            return
        errors = [
            region_error(v) if field == "region" else user_error(v) if field == "user" else name_error(field, v)
            for v in coded.values
        ]
        if any(errors):
            wrong = np.array([e is not None for e in errors], np.bool_)
            self.flag(coded.spread(wrong, 0).astype(np.bool_), lambda row: str(errors[int(coded.codes[row])]))

    def check_users(self, coded: Coded) -> None:
        """Refuse the rows of a column whose names cannot name a user; for names that are made of something else."""
        self._check_names(coded, "user")

    def words(self, spec: Column | None, field: str) -> list[str | None]:
        """A column of text for people, see coded_words, as a list."""
        coded = self.coded_words(spec, field)
        values: list[str | None] = [*coded.values, None]
        return [values[code] for code in coded.codes.tolist()]

    def masked_words(self, spec: Column | None, field: str) -> list[str | None]:
        """A column of words that listeners wrote, as a list, e-mail addresses masked."""
        return [None if word is None else masked(word) for word in self.words(spec, field)]

    def coded_words(self, spec: Column | None, field: str) -> Coded:
        """A column of text for people: cleaned of control characters and cut at 500; only broken UTF-8 refuses a row."""
        if spec is None:
            return Coded.none(self.n)
        if spec.constant is not None:
            return Coded.same(self.n, str(spec.constant))
        parts = [self._texts(name, field) for name in spec.sources]
        parts = [without_none(p.codes, [cleaned(v) for v in p.values]) for p in parts]
        coded = parts[0]
        for part in parts[1:]:
            coded = joined(coded, part)
        values: list[str | None] = list(coded.values)
        if spec.lookup is not None:
            values = [self.lookups[lookup_key(spec)].get(v or "") for v in coded.values]
        if spec.values is not None:
            values = [spec.values.get(v or "", v) for v in values]
        return without_none(coded.codes, [None if v is None else spec.prefix + v for v in values])

    def numbers(self, spec: Column | None, field: str, needed: bool = False) -> Floats:
        """A column of numbers, NaN where there is none; what is no number is refused."""
        if spec is None:
            return np.full(self.n, np.nan)
        if spec.constant is not None:
            return np.full(self.n, float(spec.constant))
        name = spec.sources[0]
        found, broken = numbers(self.raw(name), spec.values)
        self.flag(broken, lambda row: f"{field}: expected a number in column {name}, found {self.quote(name, row)}")
        if needed:
            self.flag(np.isnan(found), lambda _: f"{field} is missing (column {name})")
        return found

    def seconds(self, spec: Column | None, field: str) -> Floats:
        """A column of durations in seconds, NaN unknown; negative and infinite ones are refused, as is more than a week."""
        found = self.numbers(spec, field)
        if spec is None:
            return found
        found = found * TO_SECONDS[spec.unit]
        with np.errstate(invalid="ignore"):
            wrong = (found < 0) | (found > 7 * DAY_MS / 1000)
        self.flag(wrong, lambda row: f"{field} is {found[row]:g} s: expected 0 to 604800; is the unit {spec.unit!r} right?")
        return found

    def times(self, spec: Column, field: str, now: int) -> Int64:
        """A column of moments in milliseconds; refused outside 1995 to a day after `now`."""
        if spec.constant is not None:
            at = np.full(self.n, parse_time(spec.constant), np.int64)
            none = np.zeros(self.n, np.bool_)
        else:
            name = spec.sources[0]
            at, broken, none = moments(self.raw(name), spec)
            self.flag(broken, lambda row: f"{field}: expected a time in column {name}, found {self.quote(name, row)}")
            self.flag(none, lambda _: f"{field} is missing (column {name})")
        early = at < EARLIEST_MS
        self.flag(
            early, lambda row: f"{field} is {stamp(int(at[row]))}: expected 1995 or later; a wrong date, or another unit?"
        )
        late = at > now + FUTURE_SLACK_MS
        self.flag(late, lambda row: f"{field} is {stamp(int(at[row]))}: expected no later than a day from now; another unit?")
        return at

    def quote(self, name: str, row: int) -> str:
        """A raw value as an error may quote it."""
        return shorten(plain(self.raw(name), row))

    def refused(self, names: tuple[str, ...], hide: bool = False) -> list[Rejected]:
        """The refused rows with what they held; only the names of the columns where the values are personal facts."""
        out = []
        for row in np.flatnonzero(self.bad).tolist():
            held: dict[str, object] = {
                n: "(hidden)" if hide else masked(plain(self.raw(n), row))[:500] for n in names if n in self.columns
            }
            out.append(Rejected(int(self.rows[row]) + self.header_lines + 1, self.reasons[row], held))
        return out


def stamp(at: int) -> str:
    """A moment for an error: its date, or the number when no calendar has it."""
    try:
        return iso(at)
    except (ValueError, OverflowError, OSError):
        return f"{at / 1000:g} s"


def lookup_key(spec: Column) -> str:
    """The key of a lookup table in Frame.lookups."""
    lookup = spec.lookup
    return "" if lookup is None else "\t".join((lookup.path, lookup.key, lookup.value))


def plain(column: pa.Array, row: int) -> str:
    """One raw value as text; broken UTF-8 is shown with replacement signs."""
    try:
        value = column[row].as_py()
    except UnicodeDecodeError:
        value = pc.cast(column.slice(row, 1), pa.binary())[0].as_py()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def joined(a: Coded, b: Coded) -> Coded:
    """Two columns of names as one, joined by a tab; nothing where either has none."""
    pairs = a.codes.astype(np.int64) * max(len(b.values), 1) + b.codes
    pairs[(a.codes < 0) | (b.codes < 0)] = -1
    found = pc.dictionary_encode(pa.array(pairs))
    codes, values = found.indices.to_numpy().astype(np.int32), found.dictionary.to_numpy()
    names: list[str | None] = [
        None if v < 0 else f"{a.values[v // len(b.values)]}\t{b.values[v % len(b.values)]}" for v in values.tolist()
    ]
    return without_none(codes, names)


def without_none(codes: np.ndarray[tuple[int, ...], np.dtype[np.int32]], values: list[str | None]) -> Coded:
    """A column whose values may be None: those rows have no name."""
    if None not in values:
        return Coded(codes, cast(list[str], values))
    kept = [v for v in values if v is not None]
    places = np.cumsum([v is not None for v in values], dtype=np.int32) - 1
    places[[i for i, v in enumerate(values) if v is None]] = MISSING
    return Coded(np.append(places, np.int32(MISSING))[codes].astype(np.int32), kept)


def texts(column: pa.Array) -> tuple[Coded, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
    """A raw column as names, and the codes whose bytes are not UTF-8. Empty text and NULL are no name."""
    if pa.types.is_null(column.type):
        return Coded.none(len(column)), np.zeros(0, np.int64)
    if not pa.types.is_dictionary(column.type):
        column = pc.dictionary_encode(column)
    codes = pc.fill_null(column.indices, MISSING).to_numpy(zero_copy_only=False).astype(np.int32)
    values, broken = _names(column.dictionary)
    return without_none(codes, values), _renumber(values, broken)


def _renumber(values: list[str | None], broken: list[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Where the broken values lie after the empty ones were taken out."""
    if not broken:
        return np.zeros(0, np.int64)
    places = np.cumsum([v is not None for v in values]) - 1
    return places[broken].astype(np.int64)


def _names(values: pa.Array) -> tuple[list[str | None], list[int]]:
    kind = values.type
    if pa.types.is_floating(kind):
        return [None if v is None or v != v else _number_name(v) for v in values.to_pylist()], []
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or _is_text(kind):
        return _decoded(values)
    return [None if v is None else _other_name(v) for v in values.to_pylist()], []


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _decoded(values: pa.Array) -> tuple[list[str | None], list[int]]:
    try:
        text = values if _is_text(values.type) else values.cast(pa.large_string())
        found = pc.utf8_trim_whitespace(text).to_pylist()
    except (pa.ArrowInvalid, UnicodeDecodeError):
        found = []
    if found or not len(values):
        return (found if all(found) else [v or None for v in found]), []
    broken, names = [], []
    for i, raw in enumerate(values.cast(pa.large_binary()).to_pylist()):
        try:
            names.append(raw.decode("utf-8").strip() or None)
        except UnicodeDecodeError:
            broken.append(i)
            names.append(raw.decode("utf-8", "replace"))
    return names, broken


def _number_name(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)


def _other_name(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, (date, datetime)) else str(value)


def numbers(column: pa.Array, told: dict[str, str] | None = None) -> tuple[Floats, Bool]:
    """A raw column as numbers (NaN where there is none), and which rows hold something else; `told` replaces values first."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if told is None and (_is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind)):
        found = pc.cast(column, pa.float64(), safe=False)
        values = pc.fill_null(found, np.nan).to_numpy(zero_copy_only=False).astype(np.float64)
        return values, np.isinf(values)
    coded, _ = texts(column)
    parsed = [_parsed(v) for v in (coded.values if told is None else [told.get(v, v) for v in coded.values])]
    table = np.array([np.nan if v is None else v for v in parsed], np.float64)
    wrong = np.array([v is None for v in parsed], np.bool_)
    spread = coded.spread(table, np.nan).astype(np.float64)
    return spread, coded.spread(wrong, 0).astype(np.bool_) | np.isinf(spread)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _parsed(text: str) -> float | None:
    if text in EMPTY:
        return float("nan")
    try:
        return float(text)
    except ValueError:
        return {"true": 1.0, "false": 0.0}.get(text.lower())


def moments(column: pa.Array, spec: Column) -> tuple[Int64, Bool, Bool]:
    """A raw column as milliseconds, which rows hold no time, and which are empty."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        found = pc.cast(pc.cast(column, pa.timestamp("ms", getattr(kind, "tz", None)), safe=False), pa.int64())
        none = column.is_null().to_numpy(zero_copy_only=False)
        return pc.fill_null(found, EARLIEST_MS).to_numpy(zero_copy_only=False), np.zeros(len(column), np.bool_), none
    if _is_number(kind):
        values, wrong = numbers(column)
        return (*_whole(values * (TO_SECONDS[spec.unit] * 1000), wrong), np.isnan(values) & ~wrong)
    coded, _ = texts(column)
    told = coded.values if spec.values is None else [spec.values.get(v, "?") for v in coded.values]
    parsed = [_moment(v, spec) for v in told]
    wrong = coded.spread(np.array([v is None for v in parsed], np.bool_), 0).astype(np.bool_)
    table = np.array([EARLIEST_MS if v is None else v for v in parsed], np.float64)
    at, wrong = _whole(coded.spread(table, EARLIEST_MS).astype(np.float64), wrong)
    return at, wrong, coded.codes < 0


def _whole(values: Floats, wrong: Bool) -> tuple[Int64, Bool]:
    """Milliseconds as integers; what is too large for a calendar is wrong."""
    with np.errstate(invalid="ignore"):
        wrong = wrong | (np.abs(values) > 2.0**52)
    clean = np.where(wrong | np.isnan(values), float(EARLIEST_MS), values)
    return np.rint(clean).astype(np.int64), wrong


def _moment(text: str, spec: Column) -> float | None:
    try:
        if spec.format is not None:
            try:
                moment = datetime.strptime(text, spec.format)
                return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000
            except ValueError:
                pass  # some exports change their format half way: read what ISO 8601 or a number can
        try:
            return float(text) * TO_SECONDS[spec.unit] * 1000
        except ValueError:
            return float(parse_time(text))
    except (ValueError, OverflowError):
        return None
