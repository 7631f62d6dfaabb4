"""Plays out of Parquet for `segue benchmark rank`: the columns that it needs, and whatever else tells of the moment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from segue.core.errors import BadInput
from segue.core.types import Int64
from segue.features.plays import Plays

NEEDED = ("user", "item", "at", "played_s", "duration_s")
MOST_NAMES = 1000
"""A context column with more values than this is an id of its own kind, and is left out."""


def read(train: str, test: str) -> tuple[Plays, int, bool]:
    """(all plays in order of time, the first moment of the test in ms, whether song ids are numbers).

    Ids of both files share their codes. Context columns: text, booleans and whole numbers of up to MOST_NAMES values become
    labels, other numbers stay numbers; what is only in one of the files is left out. BadInput where columns are missing,
    a value cannot be used, or the test begins before train ends.
    """
    tables = [_table(path) for path in (train, test)]
    shared = [name for name in tables[0].column_names if name in tables[1].column_names]
    both = pa.concat_tables([table.select(shared) for table in tables], promote_options="permissive")
    at = _times(both["at"])
    cut = int(at[len(tables[0]) :].min())
    if int(at[: len(tables[0])].max()) > cut:
        raise BadInput(f"{test} must begin after {train} ends: features of the past would know what is asked", "at")
    plays, ordered = _plays(both, at)
    order = np.argsort(at, kind="stable")
    return _take(plays, order), cut, ordered


def _table(path: str) -> Any:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise BadInput(f"{path} cannot be read as Parquet: {error}", "path") from None
    missing = [name for name in NEEDED if name not in table.column_names]
    if missing:
        raise BadInput(
            f"{path}: expected columns {', '.join(NEEDED)}; {', '.join(missing)} not there: rename yours", missing[0]
        )
    if len(table) == 0:
        raise BadInput(f"{path} has no rows", "path")
    return table


def _times(column: Any) -> Int64:
    """Milliseconds of timestamps, or of seconds as numbers."""
    if pa.types.is_timestamp(column.type):
        return np.asarray(column.cast(pa.timestamp("ms"), safe=False).cast(pa.int64()).to_numpy(), np.int64)
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return np.asarray(np.round(column.to_numpy().astype(np.float64) * 1000), np.int64)
    raise BadInput(f"at: expected timestamps or Unix seconds, found {column.type}: cast it", "at")


def _number(table: Any, name: str) -> NDArray[np.float64]:
    try:
        values = np.asarray(table[name].cast(pa.float64()).to_numpy(), np.float64)
    except pa.ArrowInvalid:
        raise BadInput(f"{name}: expected seconds, found {table[name].type}", name) from None
    bad = ~np.isfinite(values) | (values < 0)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise BadInput(f"{name}: expected seconds of at least 0, found {values[row]} in row {row}", name)
    return values


def _codes(column: Any) -> Int64:
    """0, 1, ... by value."""
    return np.asarray(
        column.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64
    )


def _plays(table: Any, at: Int64) -> tuple[Plays, bool]:
    labels: dict[str, Int64] = {}
    numbers: dict[str, NDArray[np.float64]] = {}
    for name in table.column_names:
        kind = table[name].type
        if name in NEEDED:
            continue
        if pa.types.is_floating(kind):
            numbers[name] = np.asarray(pc.fill_null(table[name].cast(pa.float64()), np.nan).to_numpy(), np.float64)
        elif (
            pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
        ):
            codes = _codes(table[name])
            if codes.max() < MOST_NAMES:
                labels[name] = codes
            elif pa.types.is_integer(kind):
                numbers[name] = np.asarray(table[name].cast(pa.float64()).to_numpy(), np.float64)
    ordered = pa.types.is_integer(table["item"].type)
    item = table["item"].to_numpy().astype(np.int64) if ordered else _codes(table["item"])
    length, played = _number(table, "duration_s"), _number(table, "played_s")
    return Plays(_codes(table["user"]), item, at, played, length, labels, numbers), ordered


def _take(plays: Plays, rows: NDArray[Any]) -> Plays:
    taken = {name: getattr(plays, name)[rows] for name in ("user", "item", "at", "played_s", "duration_s")}
    labels = {name: codes[rows] for name, codes in plays.labels.items()}
    numbers = {name: values[rows] for name, values in plays.numbers.items()}
    return replace(plays, **taken, labels=labels, numbers=numbers)


def until(plays: Plays, end: int) -> Plays:
    """The plays before `end` (ms)."""
    return _take(plays, np.flatnonzero(plays.at < end))
