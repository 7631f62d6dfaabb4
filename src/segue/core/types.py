"""The nouns: events as columns, the query, the candidates, the slate and the exposure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Int8 = NDArray[np.int8]
Int16 = NDArray[np.int16]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]
Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]
Arrays = dict[str, NDArray[np.generic]]

MISSING = -1
"""The dense id of nothing: no item, no region, no device, an unknown user."""
NO_DAY = np.iinfo(np.int32).min
"""A release day that is not known (days since 1970-01-01 may be negative)."""

EVENT = np.dtype(
    [
        ("seq", "<i8"),  # place in the log, from 1, given by the log
        ("key_hi", "<u8"),  # blake2b-128 of the event id, two halves: unique for ever
        ("key_lo", "<u8"),
        ("body", "<u8"),  # blake2b-64 of everything else: same key, other body = conflict
        ("at", "<i8"),  # milliseconds since 1970-01-01 UTC
        ("session", "<u8"),  # blake2b-64 of the caller's session or playlist id, 0 = none
        ("request", "<u8"),  # the request that recommended it, 0 = none
        ("user", "<i4"),
        ("item", "<i4"),  # MISSING for a search
        ("played_s", "<f4"),  # NaN = not known, so are the next two
        ("duration_s", "<f4"),
        ("value", "<f4"),
        ("position", "<i2"),  # from 0, MISSING = none
        ("region", "<i2"),
        ("device", "<i1"),
        ("action", "<i1"),
    ]
)
Events = NDArray[np.void]
"""A record array of dtype EVENT: 88 bytes an event, no Python object."""


def empty_events(n: int) -> Events:
    """n events with every optional field marked as absent; the caller fills in the rest."""
    events = np.zeros(n, EVENT)
    for name in ("played_s", "duration_s", "value"):
        events[name] = np.nan
    for name in ("item", "position", "region", "device"):
        events[name] = MISSING
    return events


@dataclass(frozen=True)
class Items:
    """Facts about items as columns, indexed by dense item id: n rows. Arrays may be memory-mapped and are read-only."""

    artist: Int32  # (n,) dense artist id, MISSING unknown
    album: Int32
    work: Int32  # (n,) items with the same work are near-duplicates: live, remaster, single and album
    released: Int32  # (n,) days since 1970-01-01, NO_DAY unknown
    added: Int32  # (n,) day the catalogue first saw it
    duration_s: Float32  # (n,) NaN unknown
    playable: Bool  # (n,) False: never recommend
    tags_ptr: Int64  # (n + 1,) CSR over tags
    tags: Int32  # dense tag ids
    language: Int16  # (n,) core.languages.language_code, MISSING unknown

    def __len__(self) -> int:
        return len(self.artist)

    @staticmethod
    def bare(n: int) -> Items:
        """n items of which nothing is known."""
        return Items(
            artist=np.full(n, MISSING, np.int32),
            album=np.full(n, MISSING, np.int32),
            work=np.arange(n, dtype=np.int32),
            released=np.full(n, NO_DAY, np.int32),
            added=np.zeros(n, np.int32),
            duration_s=np.full(n, np.nan, np.float32),
            playable=np.ones(n, np.bool_),
            tags_ptr=np.zeros(n + 1, np.int64),
            tags=np.zeros(0, np.int32),
            language=np.full(n, MISSING, np.int16),
        )


@dataclass(frozen=True)
class Users:
    """Coarse facts about listeners as columns, indexed by dense user id: n rows, MISSING where unknown; read-only."""

    region: Int16  # (n,) dense region id
    age_band: Int8  # (n,) index into core.records.AGE_BANDS
    language: Int16  # (n,) core.languages.language_code

    def __len__(self) -> int:
        return len(self.region)

    @staticmethod
    def unknown(n: int) -> Users:
        """n listeners of whom nothing is known."""
        return Users(np.full(n, MISSING, np.int16), np.full(n, MISSING, np.int8), np.full(n, MISSING, np.int16))


@dataclass(frozen=True)
class Recent:
    """What a listener did last, newest first, one row a play or vote: (n,) columns."""

    items: Int32
    signal: Float32  # +1 finished or liked, -1 skipped or disliked, 0 neither (core.actions.signals)
    share: Float32  # heard share, NaN unknown
    at: Int64  # milliseconds
    in_session: Bool  # belongs to the session of the query

    def __len__(self) -> int:
        return len(self.items)

    @staticmethod
    def none() -> Recent:
        """Nothing heard yet."""
        return Recent(
            np.zeros(0, np.int32),
            np.zeros(0, np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.int64),
            np.zeros(0, np.bool_),
        )


@dataclass(frozen=True)
class Seeds:
    """Where a radio starts: dense ids of items, artists and tags, each (k,) int32."""

    items: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    artists: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    tags: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))

    def __bool__(self) -> bool:
        return bool(len(self.items) or len(self.artists) or len(self.tags))


@dataclass(frozen=True)
class Context:
    """Coarse facts of the moment, dense ids or MISSING."""

    region: int = MISSING
    device: int = MISSING
    age_band: int = MISSING
    hour_of_week: int = 0
    """0 = Monday 00:00 to 168, local time of the region."""
    language: int = MISSING
    """core.languages.language_code of the listener's."""


@dataclass(frozen=True)
class Query:
    """One "next?": everything that a stage may know. `now` is in it, so no stage reads a clock."""

    request_id: int
    user: int  # dense id, MISSING for a newcomer nobody has seen
    now: int  # milliseconds
    limit: int = 10
    surface: str = "radio"
    session: int = 0
    seeds: Seeds = field(default_factory=Seeds)
    recent: Recent = field(default_factory=Recent.none)
    exclude: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    discovery: float | None = None  # share of never-heard songs wanted; None = learned for the user
    context: Context = field(default_factory=Context)


@dataclass(frozen=True)
class Scored:
    """An answer of a source: items (n,) int32 distinct, scores (n,) float32 finite, best first, ties by smaller item id."""

    items: Int32
    scores: Float32

    def __len__(self) -> int:
        return len(self.items)

    @staticmethod
    def none() -> Scored:
        """No opinion."""
        return Scored(np.zeros(0, np.int32), np.zeros(0, np.float32))


@dataclass(frozen=True)
class Candidates:
    """The union of the sources: items (n,) distinct ascending; evidence (n, sources) float32, NaN = that source is silent."""

    items: Int32
    evidence: Float32
    sources: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.items)

    def keep(self, mask: Bool) -> Candidates:
        """The candidates where mask is True, in order."""
        return Candidates(self.items[mask], self.evidence[mask], self.sources)


@dataclass(frozen=True)
class Sparse:
    """The ids behind m rows of features, for rankers that learn a vector for each id; MISSING where there is none."""

    user: Int32  # (m,)
    item: Int32  # (m,)
    history: Int32  # (m, h) what the listener wanted last, newest first, padded with MISSING
    terms: Int32  # (m, t) the words or tags that were asked for, padded with MISSING

    def __len__(self) -> int:
        return len(self.item)

    def take(self, rows: slice | Bool | NDArray[np.intp]) -> Sparse:
        """Some of the rows."""
        return Sparse(self.user[rows], self.item[rows], self.history[rows], self.terms[rows])


@dataclass(frozen=True)
class Slate:
    """What is answered: k items in order. It cannot be built without propensities in (0, 1]."""

    request_id: int
    items: Int32  # (k,)
    scores: Float32  # (k,) the ranker's
    propensities: Float32  # (k,) probability that this item was chosen for this place, given those before it
    sources: tuple[tuple[str, ...], ...]  # per item, the sources that offered it
    reasons: tuple[str, ...]  # per item, words for a listener
    explored: Bool  # (k,)
    policy: str
    model_versions: dict[str, str]
    rung: str  # personal, cached, regional or global

    def __post_init__(self) -> None:
        k = len(self.items)
        lengths = {len(self.scores), len(self.propensities), len(self.sources), len(self.reasons), len(self.explored)}
        if lengths != {k}:
            raise ValueError(f"a slate of {k} items needs {k} scores, propensities, sources, reasons; got lengths {lengths}")
        if k and not (np.all(self.propensities > 0) and np.all(self.propensities <= 1)):
            raise ValueError("propensities must be in (0, 1]: without them no policy can be judged off-line")
        if len(set(self.items.tolist())) != k:
            raise ValueError("a slate holds an item twice")


@dataclass(frozen=True)
class Exposure:
    """A slate as it was shown, with the ranker's rows: stored when shown, so training never recomputes the past."""

    slate: Slate
    user: int
    at: int  # milliseconds
    session: int
    surface: str
    region: int
    features: Float32  # (k, F)
    feature_names: tuple[str, ...]
    chances: Mapping[str, Float32] = field(default_factory=dict)
    """By experiment, the chance of each item at its place under the new arm, given those above it, (k,); of some slates."""
    asked: Query | None = None
    """What was asked, so that the slate can be made again; its recent plays are not stored but read from the state of then."""
    applied: int = 0
    """seq of the last event that the state had folded in when it was asked."""
    instead: Mapping[str, Int32] = field(default_factory=dict)
    """By experiment, what the new arm would have shown, best first: computed beside the answer, never shown; of some slates."""
    popular_at: int = 0
    """seq of the last event in the answer about what is popular at its place, which may be kept for a while; 0 = not told."""
    teams: Mapping[str, Int8] = field(default_factory=dict)
    """By interleaved experiment, whose ranker put each item there, (k,): 0 the one that serves, 1 the one that is tried."""


SHARE_STEPS, SHARE_UNKNOWN = 65_534, 65_535
"""How a History keeps heard shares in 16 bits."""


@dataclass(frozen=True)
class History:
    """What the night learns from: plays, votes and playlist places as columns, sorted by (user, at, position, seq).

    Bounded: 20 bytes a row. A row is an event with a taste or a place: COMPLETED, SKIPPED, LIKED, DISLIKED, SAVED, RATED,
    HIDDEN. Sessions are contiguous within a user: the caller's session id where given, else a gap of 30 minutes.
    """

    n_users: int
    n_items: int
    now: int  # milliseconds, the end of the window; nothing later is in it
    user: Int32  # (m,) ascending
    item: Int32  # (m,)
    at: NDArray[np.uint32]  # (m,) seconds since 1970-01-01
    signal: Int8  # (m,) -1, 0, +1
    session: Int32  # (m,) dense session number, ascending, 0-based
    facts: Items  # n_items rows
    share: NDArray[np.uint16] | None = None  # (m,) heard share in steps of 1 / SHARE_STEPS, SHARE_UNKNOWN; None = not kept
    device: Int8 | None = None  # (m,) dense device id, MISSING not told; None = not kept

    def __len__(self) -> int:
        return len(self.user)

    def shares(self) -> Float32:
        """The heard share of each row, (m,) float32, NaN unknown; where none was kept, 1 or 0 by the signal."""
        said = np.where(self.signal > 0, np.float32(1), np.where(self.signal < 0, np.float32(0), np.float32(np.nan)))
        if self.share is None:
            return np.asarray(said, np.float32)
        known = self.share.astype(np.float32) / np.float32(SHARE_STEPS)
        return np.where(self.share == SHARE_UNKNOWN, said, known).astype(np.float32)

    @property
    def n_sessions(self) -> int:
        """How many sessions the rows fall into."""
        return int(self.session[-1]) + 1 if len(self.session) else 0

    def user_ptr(self) -> Int64:
        """Row offsets of users: rows of user u are user_ptr[u]:user_ptr[u + 1]; (n_users + 1,) int64."""
        return np.searchsorted(self.user, np.arange(self.n_users + 1, dtype=np.int32)).astype(np.int64)
