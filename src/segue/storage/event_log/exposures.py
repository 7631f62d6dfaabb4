"""Slates of open days, packed in SQLite: arrays as bytes, and what repeats from slate to slate stored once."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import msgspec
import numpy as np

from segue.core.errors import Corrupt
from segue.core.types import MISSING, Context, Exposure, Query, Seeds, Slate

Key = tuple[int, int]
"""When a slate was shown and its request id as SQLite keeps it: the order of slates."""
_NOT_TOLD = (0, MISSING)
"""What the last numbers of Asked are where an older version did not write them."""
SEALED = "EXISTS (SELECT 1 FROM sealed_slates s WHERE s.request_id = e.request_id)"


class Asked(msgspec.Struct, array_like=True, frozen=True):
    """A query without its recent plays and what its slate says already; ids as bytes."""

    items: bytes
    artists: bytes
    tags: bytes
    exclude: bytes
    discovery: float | None
    numbers: list[int]  # Exposure.applied, limit, device, age band, hour of the week, Exposure.popular_at, language

    @staticmethod
    def of(exposure: Exposure) -> Asked | None:
        """Of what an exposure says was asked."""
        query = exposure.asked
        if query is None:
            return None
        seeds, context = query.seeds, query.context
        items, artists, tags, exclude = (
            one.astype("<i4").tobytes() for one in (seeds.items, seeds.artists, seeds.tags, query.exclude)
        )
        numbers = [exposure.applied, query.limit, context.device, context.age_band, context.hour_of_week]
        numbers += [exposure.popular_at, context.language]
        return Asked(items, artists, tags, exclude, query.discovery, numbers)

    def into(self, exposure: Exposure) -> Exposure:
        """The exposure with what was asked."""
        items, artists, tags, exclude = (
            np.frombuffer(x, np.int32) for x in (self.items, self.artists, self.tags, self.exclude)
        )
        applied, limit, device, age_band, hour, popular_at, language = (*self.numbers, *_NOT_TOLD[len(self.numbers) - 5 :])
        query = Query(
            request_id=exposure.slate.request_id,
            user=exposure.user,
            now=exposure.at,
            limit=limit,
            surface=exposure.surface,
            session=exposure.session,
            seeds=Seeds(items, artists, tags),
            exclude=exclude,
            discovery=self.discovery,
            context=Context(exposure.region, device, age_band, hour, language),
        )
        return replace(exposure, asked=query, applied=applied, popular_at=popular_at)


class _Kind(msgspec.Struct, array_like=True, frozen=True):
    """What thousands of slates have in common."""

    policy: str
    model_versions: dict[str, str]
    rung: str
    surface: str
    feature_names: list[str]


class _Shown(msgspec.Struct, array_like=True, frozen=True):
    """What is particular to one slate; arrays are little-endian bytes."""

    items: bytes
    scores: bytes
    propensities: bytes
    explored: bytes
    features: bytes
    sources: list[str]  # distinct names
    offered: list[bytes]  # per item, places in `sources`
    reasons: list[str]
    session: int
    region: int
    chances: dict[str, bytes] = {}  # slates of older versions have none
    asked: Asked | None = None  # neither have they this
    instead: dict[str, bytes] = {}  # nor this
    teams: dict[str, bytes] = {}  # nor this


_kinds = msgspec.msgpack.Decoder(_Kind)
_shown = msgspec.msgpack.Decoder(_Shown)
_pack = msgspec.msgpack.Encoder().encode


def signed(number: int) -> int:
    """An unsigned 64-bit number as SQLite keeps it."""
    return number - (1 << 64) if number >= 1 << 63 else number


def store(connection: sqlite3.Connection, exposures: Sequence[Exposure]) -> None:
    """Insert exposures; a request that is stored already keeps its first exposure, so that a retry is harmless."""
    kinds: dict[bytes, int] = {}
    rows = []
    for exposure in exposures:
        kind = _pack_kind(exposure)
        if kind not in kinds:
            kinds[kind] = _kind_number(connection, kind)
        payload = _pack_shown(exposure)
        key = signed(exposure.slate.request_id)
        rows.append((key, exposure.at, exposure.user, kinds[kind], zlib.crc32(payload), payload))
    connection.executemany(
        "INSERT OR IGNORE INTO exposures SELECT ?1, ?2, ?3, ?4, ?5, ?6"
        " WHERE NOT EXISTS (SELECT 1 FROM sealed_slates s WHERE s.request_id = ?1)",
        rows,
    )


def find(connection: sqlite3.Connection, request_id: int) -> Exposure | None:
    """The exposure of a request, or None."""
    row = connection.execute(f"{_SELECT} WHERE e.request_id = ?", (signed(request_id),)).fetchone()
    return _unpack(row) if row else None


def page(connection: sqlite3.Connection, after: Key, until: Key, limit: int) -> list[tuple[Key, Exposure]]:
    """The next `limit` at most with after < key < until that are not sealed, in order of key."""
    rows = connection.execute(
        f"{_SELECT} WHERE (e.at, e.request_id) > (?, ?) AND (e.at, e.request_id) < (?, ?) AND NOT {SEALED}"
        " ORDER BY e.at, e.request_id LIMIT ?",
        (*after, *until, limit),
    )
    return [((row[1], row[0]), _unpack(row)) for row in rows]


def problems(connection: sqlite3.Connection) -> Iterator[str]:
    """One line for each exposure that cannot be read back."""
    for row in connection.execute(_SELECT):
        try:
            _unpack(row)
        except Corrupt as error:
            yield str(error)


_SELECT = (
    "SELECT e.request_id, e.at, e.user, e.crc, e.payload, k.payload FROM exposures e LEFT JOIN exposure_kinds k USING (kind)"
)


def _kind_number(connection: sqlite3.Connection, payload: bytes) -> int:
    connection.execute("INSERT OR IGNORE INTO exposure_kinds(payload) VALUES (?)", (payload,))
    return int(connection.execute("SELECT kind FROM exposure_kinds WHERE payload = ?", (payload,)).fetchone()[0])


def _pack_kind(exposure: Exposure) -> bytes:
    slate = exposure.slate
    versions = dict(sorted(slate.model_versions.items()))
    return _pack(_Kind(slate.policy, versions, slate.rung, exposure.surface, list(exposure.feature_names)))


def _pack_shown(exposure: Exposure) -> bytes:
    slate = exposure.slate
    names = list(dict.fromkeys(name for offered in slate.sources for name in offered))
    place = {name: number for number, name in enumerate(names)}
    if len(names) > 255:
        raise ValueError(f"a slate names at most 255 sources, got {len(names)}")
    if exposure.features.shape != (len(slate.items), len(exposure.feature_names)):
        raise ValueError(f"features must be ({len(slate.items)}, {len(exposure.feature_names)}), got {exposure.features.shape}")
    return _pack(
        _Shown(
            slate.items.astype("<i4").tobytes(),
            slate.scores.astype("<f4").tobytes(),
            slate.propensities.astype("<f4").tobytes(),
            np.packbits(slate.explored).tobytes(),
            exposure.features.astype("<f4").tobytes(),
            names,
            [bytes([place[name] for name in offered]) for offered in slate.sources],
            list(slate.reasons),
            exposure.session,
            exposure.region,
            {name: chances.astype("<f4").tobytes() for name, chances in exposure.chances.items()},
            Asked.of(exposure),
            {name: items.astype("<i4").tobytes() for name, items in exposure.instead.items()},
            {name: teams.astype("<i1").tobytes() for name, teams in exposure.teams.items()},
        )
    )


def _unpack(row: tuple[int, int, int, int, bytes, bytes | None]) -> Exposure:
    request_id, at, user, crc, payload, kind_payload = row
    if zlib.crc32(payload) != crc or kind_payload is None:
        raise Corrupt(f"the exposure of request {request_id & (1 << 64) - 1:016x} does not match its checksum")
    try:
        shown, kind = _shown.decode(payload), _kinds.decode(kind_payload)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"the exposure of request {request_id & (1 << 64) - 1:016x} cannot be read: {error}") from error
    items = np.frombuffer(shown.items, np.int32)
    slate = Slate(
        request_id=request_id & (1 << 64) - 1,
        items=items,
        scores=np.frombuffer(shown.scores, np.float32),
        propensities=np.frombuffer(shown.propensities, np.float32),
        sources=tuple(tuple(shown.sources[place] for place in offered) for offered in shown.offered),
        reasons=tuple(shown.reasons),
        explored=np.unpackbits(np.frombuffer(shown.explored, np.uint8), count=len(items)).astype(np.bool_),
        policy=kind.policy,
        model_versions=kind.model_versions,
        rung=kind.rung,
    )
    features = np.frombuffer(shown.features, np.float32).reshape(len(items), len(kind.feature_names))
    names = tuple(kind.feature_names)
    chances = {name: np.frombuffer(told, np.float32) for name, told in shown.chances.items()}
    instead = {name: np.frombuffer(told, np.int32) for name, told in shown.instead.items()}
    teams = {name: np.frombuffer(told, np.int8) for name, told in shown.teams.items()}
    exposure = Exposure(
        slate, user, at, shown.session, kind.surface, shown.region, features, names, chances, instead=instead, teams=teams
    )  # fmt: skip
    return exposure if shown.asked is None else shown.asked.into(exposure)
