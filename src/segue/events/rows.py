"""From checked events to rows of the log: names become dense ids, ids become keys, column by column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.actions import CODES
from segue.core.errors import BadInput
from segue.core.hashing import hash64, request_number
from segue.core.ports import Catalogue, Names
from segue.core.types import EVENT, MISSING, Events, UInt64, empty_events
from segue.events import envelope
from segue.events.schema import EventIn

_FACTS_START = sum(EVENT[name].itemsize for name in ("seq", "key_hi", "key_lo", "body"))


@dataclass(frozen=True)
class Rows:
    """Rows for EventLog.append, in the order of the events they came from, and their search words by row."""

    events: Events
    texts: dict[int, str]


def join(parts: Sequence[Rows]) -> Rows:
    """All rows in order, as one."""
    if len(parts) == 1:
        return parts[0]
    texts: dict[int, str] = {}
    start = 0
    for part in parts:
        texts.update({row + start: text for row, text in part.texts.items()})
        start += len(part.events)
    return Rows(np.concatenate([np.zeros(0, EVENT), *(part.events for part in parts)]), texts)


def build(batch: Sequence[EventIn], catalogue: Catalogue, entropy: Callable[[int], bytes]) -> Rows:
    """EVENT rows of checked events, (n,); new names get their dense ids, durably, on the way.

    The key is core.hashing.hash128 of the event id, or 128 bits of `entropy` where there is none. The body is a
    splitmix64 chain over everything else as the caller sent it: what is filled in afterwards from the catalogue (the
    duration of the item, the region of the user) does not enter, so a retry is a duplicate whatever was learned since.
    """
    events = empty_events(len(batch))
    texts = {row: event.text for row, event in enumerate(batch) if event.text}
    events["key_hi"], events["key_lo"] = _keys(batch, entropy).T
    events["at"] = [event.at for event in batch]
    events["action"] = [CODES[event.action] for event in batch]
    events["user"] = catalogue.users.intern([event.user for event in batch])
    events["item"] = _named([event.item for event in batch], catalogue.items)
    put_ids(events, "region", _named([event.region for event in batch], catalogue.regions))
    put_ids(events, "device", _named([event.device for event in batch], catalogue.devices))
    events["played_s"] = np.array([event.played_s for event in batch], np.float32)
    events["duration_s"] = np.array([event.duration_s for event in batch], np.float32)
    events["value"] = np.array([event.value for event in batch], np.float32)
    events["position"] = [MISSING if event.position is None else event.position for event in batch]
    events["session"] = _numbers([event.session for event in batch], hash64)
    events["request"] = _numbers([event.request_id for event in batch], request_number)
    words = np.zeros(len(batch), np.uint64)
    for row, text in texts.items():
        words[row] = hash64(text)
    events["body"] = bodies(events.view(np.uint8).reshape(len(batch), EVENT.itemsize), words)
    _fill_in(events, catalogue)
    return Rows(events, texts)


def warm_up() -> None:
    """Compile what the door and `build` need, so that the first event does not wait for it."""
    envelope.warm_up()
    bodies(np.zeros((0, EVENT.itemsize), np.uint8), np.zeros(0, np.uint64))


def _keys(batch: Sequence[EventIn], entropy: Callable[[int], bytes]) -> UInt64:
    """(n, 2) uint64: the same halves as core.hashing.hash128."""
    digests = b"".join(
        [
            entropy(16)
            if event.event_id is None
            else blake2b(event.event_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            for event in batch
        ]
    )
    return np.frombuffer(digests, "<u8").reshape(-1, 2)


def _named(values: list[str | None], names: Names) -> NDArray[np.int32]:
    """Dense ids, MISSING where there is no name; each name is looked up once."""
    distinct = {value: place for place, value in enumerate(dict.fromkeys(values))}
    given = [value for value in distinct if value is not None]
    if not given:
        return np.full(len(values), MISSING, np.int32)
    dense = dict(zip(given, names.intern(given).tolist(), strict=True))
    return np.array([MISSING if value is None else dense[value] for value in values], np.int32)


def put_ids(events: Events, column: str, ids: NDArray[np.int32]) -> None:
    """Write dense ids (n,) into a column; BadInput where the column is too narrow for one, which would name another thing."""
    most = int(np.iinfo(EVENT[column]).max)
    if ids.max(initial=MISSING) > most:
        raise BadInput(f"{column}: this home knows more than {most + 1:,} of them; send coarser ones", column)
    events[column] = ids


def _numbers(values: list[str | None], number: Callable[[str], int]) -> UInt64:
    """A 64-bit number a text, 0 where there is none; each text is hashed once."""
    known: dict[str | None, int] = {value: number(value) for value in dict.fromkeys(values) if value is not None}
    return np.array([known.get(value, 0) for value in values], np.uint64)


def _fill_in(events: Events, catalogue: Catalogue) -> None:
    """Durations that the catalogue knows, where none or 0 was told, and the region of users who did not say where they are."""
    durations = catalogue.facts.duration_s
    item = events["item"]
    open_rows = np.flatnonzero(~(events["duration_s"] > 0) & (item >= 0) & (item < len(durations)))
    events["duration_s"][open_rows] = durations[item[open_rows]]
    nowhere = np.flatnonzero(events["region"] == MISSING)
    users, inverse = np.unique(events["user"][nowhere], return_inverse=True)
    regions = np.array([catalogue.user_context(user)[0] for user in users.tolist()], np.int16)
    events["region"][nowhere] = regions[inverse]


@njit(cache=True, nogil=True)
def bodies(records: NDArray[np.uint8], words: UInt64) -> UInt64:
    """One 64-bit hash a record over its bytes past the body, then its word: splitmix64 (Steele, Lea and Flood 2014)."""
    out = np.empty(len(records), np.uint64)
    for i in range(len(records)):
        h = np.uint64(0x53454755454F4E45)
        byte = _FACTS_START
        while byte < records.shape[1]:
            word = np.uint64(0)
            for k in range(min(8, records.shape[1] - byte)):
                word |= np.uint64(records[i, byte + k]) << np.uint64(8 * k)
            h = _mix(h, word)
            byte += 8
        out[i] = _mix(h, words[i])
    return out


@njit(cache=True, nogil=True, inline="always")
def _mix(h, word):  # type: ignore[no-untyped-def]
    x = (h ^ word) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
