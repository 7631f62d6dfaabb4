"""A Parquet file in the making: a draft that is locked, finished with its checksum, and then given its name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from segue.core.errors import Corrupt
from segue.storage.event_log.files import Draft


class ParquetDraft:
    """One file: a row group a `write`; `finish` makes it durable, `publish` gives it its place, `close` removes it if neither.

    Pages carry checksums. `options` are those of pyarrow's ParquetWriter.
    """

    def __init__(self, folder: Path, schema: pa.Schema, **options: Any) -> None:
        self._draft = Draft(folder)
        self._sink = pa.OSFile(str(self._draft.path), "wb")
        self._writer = pq.ParquetWriter(self._sink, schema, write_page_checksum=True, **options)
        self.bytes, self.sha256 = 0, ""

    def write(self, table: pa.Table) -> None:
        """Append a row group."""
        self._writer.write_table(table, row_group_size=max(len(table), 1))

    def finish(self) -> None:
        """Close the file and put it on disk: `bytes` and `sha256` are known from here on."""
        self._writer.close()
        self._sink.close()
        self.bytes = self._draft.sync()
        self.sha256 = checksum(self._draft.path)

    def publish(self, name: str) -> None:
        """Name the file; the caller holds the write lock and stores the row that registers it in the same transaction."""
        self._draft.publish(name)

    def close(self) -> None:
        """Release the file, and remove it unless it was published."""
        if not self._sink.closed:
            with suppress(OSError, pa.ArrowException):  # of a disk that is full: nobody wants this file
                self._writer.close()  # else pyarrow does it when the writer is collected, into a file that is closed by then
            self._sink.close()
        self._draft.discard()


def checksum(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def opened(path: Path, rows: int) -> pq.ParquetFile:
    """A published file; FileNotFoundError where there is none, Corrupt when it cannot be the file of so many rows."""
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise Corrupt(f"segment {path} cannot be opened: {error}") from error
    if file.metadata.num_rows != rows:
        raise Corrupt(f"segment {path} holds {file.metadata.num_rows} rows, the manifest says {rows}")
    return file


def row_groups(file: pq.ParquetFile, column: int) -> Iterator[tuple[int, int, int, int, int]]:
    """(number, offset of its first row, rows, smallest and largest of a column) of every row group, in order."""
    offset = 0
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        statistics = group.column(column).statistics
        low, high = (statistics.min, statistics.max) if statistics is not None else (-(1 << 63), (1 << 63) - 1)
        yield number, offset, group.num_rows, low, high
        offset += group.num_rows


def read(file: pq.ParquetFile, number: int, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """One row group; None = every column. Corrupt when a page fails its checksum."""
    try:
        return file.read_row_group(number, columns=None if columns is None else list(columns), use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise Corrupt(f"segment {name}, row group {number}: {error}") from error


def damage(path: Path, size: int, sha256: str) -> str:
    """What is wrong with a published file, "" nothing: it is missing, or not the bytes that were written."""
    try:
        whole = path.stat().st_size == size and checksum(path) == sha256
    except FileNotFoundError:
        return f"segment {path} is missing"
    return "" if whole else f"segment {path} does not match its checksum"
