"""Files of any shape as raw columns, a batch at a time: Parquet, delimited text and JSON lines, plain or compressed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from segue.core.errors import BadInput
from segue.core.types import Int64
from segue.events.importers.batch import BATCH_ROWS, Rejected
from segue.events.importers.mapping import Table

BLOCK_BYTES = 8 << 20
LONGEST_LINE = 1 << 20
KINDS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".dat": "csv", ".data": "csv",
         ".user": "csv", ".item": "csv", ".ascii": "csv", ".txt": "csv", ".json": "jsonl", ".jsonl": "jsonl",
         ".ndjson": "jsonl", ".listens": "jsonl"}  # fmt: skip
COMPRESSED = (".gz", ".zst", ".bz2")
BOM = b"\xef\xbb\xbf"
"""What some editors of Windows put before the first character of a file."""
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding one row of JSON can raise."""


@dataclass(frozen=True)
class Raw:
    """Some rows of a file as they came: columns by name, places in the file (from 0), lines that no row came of."""

    columns: dict[str, pa.Array]
    rows: Int64
    lost: list[Rejected] = field(default_factory=list)
    share: float | None = None  # of the file, read so far

    @property
    def n(self) -> int:
        """How many rows."""
        return len(self.rows)


def kind_of(path: Path) -> str:
    """parquet, csv or jsonl by the name of the file, "" for any other; .gz, .zst and .bz2 are looked through."""
    name = Path(path.stem) if path.suffix in COMPRESSED else path
    return KINDS.get(name.suffix.lower(), "")


class _Counted(io.RawIOBase):
    """A file that knows how far it was read, and that can write one delimiter for another on the way."""

    def __init__(self, path: Path, delimiter: bytes = b"") -> None:
        self.raw = path.open("rb")
        self.size = max(path.stat().st_size, 1)
        kind = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}.get(path.suffix)
        self.source: Any = pa.CompressedInputStream(pa.PythonFile(self.raw, "r"), kind) if kind else self.raw
        self.delimiter, self.held, self.ended = delimiter, b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.take(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def take(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end."""
        if not self.delimiter:
            return cast(bytes, self.source.read(size))
        while not self.ended and len(self.held) < size:
            more = self.source.read(size)
            self.ended = not more
            whole = (self.held + more).replace(self.delimiter, b"\x1f")
            self.held = whole
        ready = self.held if self.ended else self.held[: -len(self.delimiter)]
        out, self.held = ready[:size], self.held[len(ready[:size]) :]
        return out

    def share(self) -> float:
        """How much of the file was read, 0 to 1."""
        return min(self.raw.tell() / self.size, 1.0)

    def close(self) -> None:
        if not self.closed:
            self.raw.close()
        super().close()


def lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines (from 1) without their ends, nor a byte order mark; None for one longer than a megabyte, read past."""
    number, tail, skipping, begun = 0, b"", False, False
    while block := stream.read(BLOCK_BYTES):
        block, begun = block if begun else block.removeprefix(BOM), True
        parts = (tail + block).split(b"\n")
        tail = parts.pop()
        for part in parts:
            number += 1
            yield number, None if skipping or len(part) > LONGEST_LINE else part
            skipping = False
        if len(tail) > LONGEST_LINE:
            tail, skipping = b"", True
    if tail or skipping:
        yield number + 1, None if skipping else tail


def raw_batches(path: Path, table: Table, rows: int = BATCH_ROWS) -> Iterator[Raw]:
    """The rows of a file in order, with the columns that the table reads."""
    kind = table.kind or kind_of(path)
    if kind == "parquet":
        yield from _parquet(path, table.sources(), rows)
    elif kind == "csv":
        yield from _delimited(path, table)
    elif kind == "jsonl":
        yield from _json_lines(path, table.sources(), rows)
    else:
        raise BadInput(f"{path.name}: expected .parquet, .csv, .tsv or .jsonl (or kind = ... in the mapping)", str(path))


def open_parquet(path: Path, columns: Sequence[str] = ()) -> pq.ParquetFile:
    """A Parquet file with its text columns dictionary-encoded on reading; BadInput when it is none."""
    try:
        plain = pq.ParquetFile(path)
        schema = plain.schema_arrow
        coded = [n for n in columns if n in schema.names and _text(schema.field(n).type)]
        return pq.ParquetFile(path, read_dictionary=coded, memory_map=True) if coded else plain
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(f"{path.name}: expected a Parquet file, found: {error}", str(path)) from None


def _text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind))


def _parquet(path: Path, columns: Sequence[str], rows: int) -> Iterator[Raw]:
    file = open_parquet(path, columns)
    total, start = max(file.metadata.num_rows, 1), 0
    for batch in file.iter_batches(batch_size=rows, columns=list(columns) or None, use_threads=False):
        places = np.arange(start, start + batch.num_rows)
        start += batch.num_rows
        yield Raw({n: batch.column(n) for n in batch.schema.names}, places, share=start / total)


def header_of(path: Path, table: Table) -> list[str]:
    """The column names of a delimited file: its first line, or those that the mapping gives."""
    if table.header:
        return list(table.header)
    stream = _Counted(path, table.delimiter.encode() if len(table.delimiter) > 1 else b"")
    try:
        first = io.BufferedReader(stream).readline(LONGEST_LINE).decode(table.encoding, "replace")
    finally:
        stream.close()
    delimiter = "\x1f" if len(table.delimiter) > 1 else table.delimiter
    return next(csv.reader([first_line(first)], delimiter=delimiter), [])


def first_line(text: str) -> str:
    """What stands before the first line end, of Unix, of Windows, or the bare one of old Macs and some spreadsheets."""
    return text.lstrip("\ufeff").partition("\n")[0].rstrip("\r").partition("\r")[0]


def _delimited(path: Path, table: Table) -> Iterator[Raw]:
    long = len(table.delimiter) > 1
    names, lost = header_of(path, table), _Lost(0 if table.header else 1)
    stream = _Counted(path, table.delimiter.encode() if long else b"")
    try:
        reader = pcsv.open_csv(
            io.BufferedReader(stream, BLOCK_BYTES) if long or table.encoding != "utf-8" else stream,
            pcsv.ReadOptions(
                use_threads=False, block_size=BLOCK_BYTES, column_names=names, encoding=table.encoding,
                skip_rows=0 if table.header else 1,
            ),
            pcsv.ParseOptions(
                delimiter="\x1f" if long else table.delimiter, quote_char='"' if table.quoted else False,
                invalid_row_handler=lost,
            ),
            pcsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.binary()), strings_can_be_null=False, check_utf8=False,
                include_columns=[n for n in table.sources() if n in names] or names[:1],
            ),
        )  # fmt: skip
        start = 0
        for batch in reader:
            rows = lost.places(start, batch.num_rows)
            start += batch.num_rows
            yield Raw({n: batch.column(n) for n in batch.schema.names}, rows, lost.taken(), stream.share())
        if late := lost.taken():
            yield Raw({}, np.zeros(0, np.int64), late, 1.0)
    except pa.ArrowInvalid as error:
        raise BadInput(f"{path.name}: cannot be read as delimited text: {error}", str(path)) from None
    finally:
        stream.close()


class _Lost:
    """Collects the rows that have too many or too few fields, and knows the places of the others."""

    def __init__(self, header_lines: int) -> None:
        self.header_lines = header_lines
        self.known: list[int] = []
        self.fresh: list[Rejected] = []

    def __call__(self, row: Any) -> str:
        place = int(row.number) - 1 - self.header_lines if row.number is not None else 0
        self.known.append(place)
        reason = f"expected {row.expected_columns} fields, found {row.actual_columns}"
        self.fresh.append(Rejected(place + self.header_lines + 1, reason, {"text": row.text[:500]}))
        return "skip"

    def taken(self) -> list[Rejected]:
        """Those not yet handed out."""
        out, self.fresh = self.fresh, []
        return out

    def places(self, start: int, n: int) -> Int64:
        """Places in the file of the good rows start .. start + n."""
        good = np.arange(start, start + n)
        if not self.known:
            return good
        bad = np.array(self.known) - np.arange(len(self.known))
        return good + np.searchsorted(bad, good, side="right")


def _json_lines(path: Path, columns: Sequence[str], rows: int) -> Iterator[Raw]:
    stream = _Counted(path)
    decoder = msgspec.json.Decoder(dict[str, Any])
    found: list[dict[str, Any]] = []
    places: list[int] = []
    lost: list[Rejected] = []
    try:
        for number, line in lines(cast(IO[bytes], stream)):
            if line is None or not line.strip():
                if line is None:
                    lost.append(Rejected(number, f"the line is longer than {LONGEST_LINE} bytes", {}))
                continue
            try:
                found.append(decoder.decode(line))
                places.append(number - 1)
            except UNREADABLE as error:
                lost.append(
                    Rejected(number, f"expected one JSON object: {error}", {"text": line[:200].decode("utf-8", "replace")})
                )
            if len(found) + len(lost) >= rows:
                yield Raw(_columns(found, columns), np.array(places, np.int64), lost, stream.share())
                found, places, lost = [], [], []
        if found or lost:
            yield Raw(_columns(found, columns), np.array(places, np.int64), lost, 1.0)
    finally:
        stream.close()


def _columns(rows: list[dict[str, Any]], names: Sequence[str]) -> dict[str, pa.Array]:
    return {n: _array([_dig(row, n) for row in rows]) for n in names}


def exploded(raws: Iterator[Raw], name: str) -> Iterator[Raw]:
    """One row for each value of a column of lists, the other columns repeated; an empty list stays one row without a value."""
    for raw in raws:
        column = raw.columns[name]
        if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
            yield raw
            continue
        lists = [found or [None] for found in column.to_pylist()]
        parents = np.repeat(np.arange(len(lists)), [len(found) for found in lists])
        columns = {n: c.take(pa.array(parents)) for n, c in raw.columns.items() if n != name}
        columns[name] = _array([value for found in lists for value in found])
        yield Raw(columns, raw.rows[parents], raw.lost, raw.share)


def _dig(row: dict[str, Any], name: str) -> Any:
    """A value by its name, or by a path of names with dots between them."""
    if name in row or "." not in name:
        return row.get(name)
    value: Any = row
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _array(values: list[Any]) -> pa.Array:
    """Values of one kind as they are; mixed ones as text."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if v is None else v if isinstance(v, str) else msgspec.json.encode(v).decode() for v in values])
