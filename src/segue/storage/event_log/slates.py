"""Slates as columns: one row a slate in Parquet, lists of its songs in order, read back to the bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segue.core.types import Exposure, Slate
from segue.storage.event_log.exposures import Asked

_pack, _asked = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Asked)
_STRINGS, _FLOATS, _INTS = pa.list_(pa.string()), pa.list_(pa.float32()), pa.list_(pa.int32())
SCHEMA = pa.schema(
    {
        "request": pa.uint64(),
        "at": pa.int64(),  # milliseconds
        "user": pa.int32(),
        "session": pa.uint64(),
        "region": pa.int32(),
        "surface": pa.string(),
        "policy": pa.string(),
        "rung": pa.string(),
        "model_versions": pa.map_(pa.string(), pa.string()),
        "items": pa.list_(pa.int32()),
        "scores": _FLOATS,
        "propensities": _FLOATS,
        "explored": pa.list_(pa.bool_()),
        "sources": pa.list_(_STRINGS),
        "reasons": _STRINGS,
        "feature_names": _STRINGS,
        "features": _FLOATS,  # of the songs, one after the other: k * F
        "chances": pa.map_(pa.string(), _FLOATS),
        "asked": pa.binary(),  # MessagePack of exposures.Asked; null in what older versions wrote
        "instead": pa.map_(pa.string(), _INTS),
        "teams": pa.map_(pa.string(), pa.list_(pa.int8())),
    }
)
WRITTEN: dict[str, Any] = {
    "compression": "ZSTD",
    "compression_level": 3,
    "write_statistics": ["at"],
    "use_dictionary": [
        "surface", "policy", "rung", "model_versions.key_value.key", "model_versions.key_value.value",
        "sources.list.element.list.element", "reasons.list.element", "feature_names.list.element", "chances.key_value.key",
    ],
    "use_byte_stream_split": [
        "scores.list.element", "propensities.list.element", "features.list.element", "chances.key_value.value.list.element",
    ],
}  # fmt: skip
"""How pyarrow writes it: words by dictionary, floats byte by byte, which halves them again."""


def table_of(exposures: Sequence[Exposure]) -> pa.Table:
    """Exposures as a table of SCHEMA, in the order given."""
    slates = [exposure.slate for exposure in exposures]
    columns: dict[str, Any] = {
        "request": np.array([slate.request_id for slate in slates], np.uint64),
        "at": np.array([exposure.at for exposure in exposures], np.int64),
        "user": np.array([exposure.user for exposure in exposures], np.int32),
        "session": np.array([exposure.session for exposure in exposures], np.uint64),
        "region": np.array([exposure.region for exposure in exposures], np.int32),
        "surface": [exposure.surface for exposure in exposures],
        "policy": [slate.policy for slate in slates],
        "rung": [slate.rung for slate in slates],
        "model_versions": [sorted(slate.model_versions.items()) for slate in slates],
        "items": _lists([slate.items for slate in slates], np.int32),
        "scores": _lists([slate.scores for slate in slates], np.float32),
        "propensities": _lists([slate.propensities for slate in slates], np.float32),
        "explored": _lists([slate.explored for slate in slates], np.bool_),
        "sources": [slate.sources for slate in slates],
        "reasons": [slate.reasons for slate in slates],
        "feature_names": [exposure.feature_names for exposure in exposures],
        "features": _lists([exposure.features.ravel() for exposure in exposures], np.float32),
        "asked": [None if asked is None else _pack(asked) for asked in map(Asked.of, exposures)],
        "chances": _by_experiment([exposure.chances for exposure in exposures], np.float32),
        "instead": _by_experiment([exposure.instead for exposure in exposures], np.int32),
        "teams": _by_experiment([exposure.teams for exposure in exposures], np.int8),
    }
    for name, value in columns.items():
        if not isinstance(value, pa.Array):
            columns[name] = pa.array(value, SCHEMA.field(name).type)
    return pa.Table.from_pydict(columns, schema=SCHEMA)


def exposures_of(table: pa.Table) -> Iterator[Exposure]:
    """The rows of a table of SCHEMA, in order."""
    plain = {name: table.column(name).to_pylist() for name in ("request", "at", "user", "session", "region")}
    words = {
        name: table.column(name).to_pylist()
        for name in ("surface", "policy", "rung", "model_versions", "chances", "asked", "instead", "teams")
        if name in table.column_names  # the last ones came later: files of before lack them
    }
    for later in ("asked", "instead", "teams"):
        words.setdefault(later, [None] * len(table))
    sources, reasons, names = _offered(table), _tuples(_whole(table, "reasons")), _tuples(_whole(table, "feature_names"))
    items, explored = _arrays(table, "items"), _arrays(table, "explored")
    scores, propensities, features = _arrays(table, "scores"), _arrays(table, "propensities"), _arrays(table, "features")
    for row in range(len(table)):
        slate = Slate(
            request_id=plain["request"][row],
            items=items[row],
            scores=scores[row],
            propensities=propensities[row],
            sources=sources[row],
            reasons=reasons[row],
            explored=explored[row],
            policy=words["policy"][row],
            model_versions=dict(words["model_versions"][row]),
            rung=words["rung"][row],
        )
        shaped = features[row].reshape(len(slate.items), len(names[row]))
        told = {name: np.array(chance, np.float32) for name, chance in words["chances"][row]}
        instead = {name: np.array(ids, np.int32) for name, ids in words["instead"][row] or ()}
        teams = {name: np.array(team, np.int8) for name, team in words["teams"][row] or ()}
        exposure = Exposure(
            slate, plain["user"][row], plain["at"][row], plain["session"][row], words["surface"][row], plain["region"][row],
            shaped, names[row], told, instead=instead, teams=teams,
        )  # fmt: skip
        yield exposure if words["asked"][row] is None else _asked.decode(words["asked"][row]).into(exposure)


def _lists(rows: Sequence[NDArray[Any]], dtype: type[np.generic]) -> pa.ListArray:
    """Arrays of any lengths as one list column; NaN stays NaN."""
    values = np.concatenate([np.zeros(0, dtype), *rows]).astype(dtype, copy=False)
    return pa.ListArray.from_arrays(_offsets(map(len, rows)), pa.array(values, from_pandas=False))


def _by_experiment(rows: Sequence[Mapping[str, NDArray[Any]]], dtype: type[np.generic]) -> pa.MapArray:
    """By slate an array of each experiment in it."""
    told = [list(row.items()) for row in rows]
    pairs = list(chain.from_iterable(told))
    values = _lists([array for _, array in pairs], dtype)
    return pa.MapArray.from_arrays(_offsets(map(len, told)), pa.array([name for name, _ in pairs], pa.string()), values)


def _offsets(lengths: Iterable[int]) -> pa.Array:
    return pa.array(np.fromiter(accumulate(lengths, initial=0), np.int32))


def _whole(table: pa.Table, name: str) -> Any:
    """A column in one piece."""
    return table.column(name).combine_chunks()


def _spans(column: Any) -> Iterator[tuple[int, int]]:
    """First and last + 1 of each list of a column."""
    return pairwise(column.offsets.to_numpy().tolist())


def _arrays(table: pa.Table, name: str) -> list[NDArray[Any]]:
    """The arrays of a list column, one a row; they share one buffer."""
    column = _whole(table, name)
    values = column.values.to_numpy(zero_copy_only=False)
    return [values[low:high] for low, high in _spans(column)]


def _tuples(column: Any) -> list[tuple[str, ...]]:
    """The strings of a column of lists, equal lists as one tuple."""
    coded = column.values.dictionary_encode()
    codes, words = coded.indices.to_numpy(), coded.dictionary.to_pylist()
    known: dict[bytes, tuple[str, ...]] = {}
    out = []
    for low, high in _spans(column):
        key = codes[low:high].tobytes()
        if key not in known:
            known[key] = tuple(words[code] for code in codes[low:high].tolist())
        out.append(known[key])
    return out


def _offered(table: pa.Table) -> list[tuple[tuple[str, ...], ...]]:
    """Per slate and song the sources that offered it."""
    column = _whole(table, "sources")
    offered = _tuples(column.values)
    return [tuple(offered[low:high]) for low, high in _spans(column)]
