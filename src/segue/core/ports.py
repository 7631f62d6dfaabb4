"""The ports: what the house needs from storage, one small protocol each; backends live in storage/, a file each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segue.core.records import ItemRecord, SongFile, UserRecord
from segue.core.types import Arrays, Events, Exposure, Float32, Int32, Int64, Items, Recent, Scored, Users

ACCEPTED, DUPLICATE, CONFLICT = 0, 1, 2


@dataclass(frozen=True)
class Appended:
    """What became of each event: status (n,) uint8 (ACCEPTED, DUPLICATE, CONFLICT), seq (n,) int64, 0 if not accepted."""

    status: NDArray[np.uint8]
    seq: Int64


class EventLog(Protocol):
    """The durable truth. Everything else can be rebuilt from it."""

    @property
    def last(self) -> int:
        """seq of the newest event, 0 when empty; includes what other processes appended."""
        ...

    def append(self, events: Events, texts: Mapping[int, str] | None = None, exposures: Sequence[Exposure] = ()) -> Appended:
        """Store the events (seq is ignored and given) and return only when they are on disk.

        An event whose key is known with the same body is a DUPLICATE, with another body a CONFLICT; neither is stored. This
        holds within the batch as well. `texts` maps row -> search words. `exposures` are stored in the same transaction, as by
        append_exposures. Atomic: all accepted rows and exposures or none.
        """
        ...

    def read(self, after: int, limit: int) -> Events:
        """Up to `limit` events with seq > after, in order of seq: sealed or not, one log."""
        ...

    def scan(self, at_from: int, at_to: int, columns: Sequence[str] | None = None) -> Iterator[Events]:
        """Every event with at_from <= at < at_to (ms) in chunks of bounded size, in order of seq; unnamed columns are zero."""
        ...

    def append_exposures(self, exposures: Sequence[Exposure]) -> None:
        """Store slates as shown; durable when it returns."""
        ...

    def exposure(self, request_id: int) -> Exposure | None:
        """The exposure of a request, or None."""
        ...

    def exposures(self, at_from: int, at_to: int) -> Iterator[Exposure]:
        """Exposures shown in the interval (ms), oldest first."""
        ...

    def seal(self, before: int) -> list[str]:
        """Move closed days into checksummed Parquet segments: events that arrived before `before` ms, slates shown before it.

        Returns the names of the segments. Readers see no difference.
        """
        ...

    def check(self) -> list[str]:
        """Verify every checksum; a list of what is wrong, empty when all is well."""
        ...

    def close(self) -> None:
        """Release files and locks."""
        ...


class OnlineState(Protocol):
    """What serving knows of the present, folded from the log alone: the same events in the same order give the same bytes."""

    @property
    def applied(self) -> int:
        """seq of the last event that was folded in."""
        ...

    def fold(self, events: Events) -> None:
        """Apply events in order of seq; those at or below `applied` are skipped."""
        ...

    def recent(self, user: int, session: int = 0) -> Recent:
        """The listener's last plays and votes, newest first; empty for MISSING."""
        ...

    def heard(self, user: int, items: Int32) -> tuple[NDArray[np.uint16], Int64]:
        """Per item: times this user played it (ends of plays), and when last (ms, 0 never)."""
        ...

    def marks(self, user: int, items: Int32) -> NDArray[np.uint8]:
        """Per item the bits LIKED=1, DISLIKED=2, HIDDEN=4, SAVED=8, SHOWN=16 of this user, last word wins."""
        ...

    def in_session(self, user: int, session: int, items: Int32) -> NDArray[np.bool_]:
        """Per item whether this user started or played it in this session, however long the session is."""
        ...

    def novelty(self, user: int) -> tuple[float, float, float, float]:
        """(finished new, rejected new, finished familiar, rejected familiar): counts, how the user takes new songs."""
        ...

    def popular(self, region: int, age_band: int, hour_of_week: int, limit: int) -> Scored:
        """The live answer of M3 at this place and time; MISSING region or band falls back to the parent."""
        ...

    def popular_as_of(self, region: int, hour_of_week: int) -> int:
        """seq of the last event that popular() knows of here and now: `applied`, or less where an answer is kept a while."""
        ...

    def popularity(self, items: Int32, region: int, hour_of_week: int) -> NDArray[np.float32]:
        """Per item (expected share heard, log decayed plays), (n, 2): features for the ranker, shrunk to the parent."""
        ...

    def by_hour(self, items: Int32, now: int) -> NDArray[np.uint16]:
        """Per item the listeners who played it in the hour (UTC) of `now` (ms) and in each of the 23 before, (n, 24), newest
        first; a listener counts once an hour."""
        ...

    def digest(self) -> str:
        """A hash over every byte of the state."""
        ...

    def flush(self) -> None:
        """Write back to disk; nothing is lost without it, since the log can rebuild the state."""
        ...

    def close(self) -> None:
        """Flush and release."""
        ...


class Names(Protocol):
    """External id <-> dense id, from 0, never reused; durable when intern returns."""

    def __len__(self) -> int: ...

    def intern(self, names: Sequence[str]) -> Int32:
        """Dense ids, giving new ones to names not seen before, in order of first appearance."""
        ...

    def find(self, names: Sequence[str]) -> Int32:
        """Dense ids, MISSING where unknown."""
        ...

    def name(self, dense: int) -> str:
        """The external id; NotFound for an id never given."""
        ...

    def all(self, dense: Int32) -> list[str]:
        """The external ids of many."""
        ...


class ArtifactStore(Protocol):
    """Models on disk: content-addressed, immutable, never pickle."""

    def put(self, name: str, arrays: Arrays, manifest: Mapping[str, object]) -> str:
        """Store arrays and manifest under a version made from their content; all or nothing; returns the version."""
        ...

    def get(self, name: str, version: str) -> tuple[Arrays, dict[str, object]]:
        """Memory-mapped arrays and manifest; NotFound or Corrupt."""
        ...

    def alias(self, name: str, alias: str) -> str | None:
        """The version an alias (champion, previous, challenger) points at."""
        ...

    def set_aliases(self, name: str, aliases: Mapping[str, str | None]) -> None:
        """Repoint several aliases at once, atomically and durably; None removes one."""
        ...

    def move_aliases(self, name: str, moves: Callable[[Mapping[str, str]], Mapping[str, str | None]]) -> dict[str, str]:
        """set_aliases by what `moves` makes of the aliases as they are, with nobody else moving one; all of them, moved."""
        ...

    def versions(self, name: str) -> list[str]:
        """Versions, oldest first."""
        ...

    def prune(self, name: str, keep: int, *, spare: Collection[str] = ()) -> list[str]:
        """Remove all but the newest `keep` versions, those that an alias points at and `spare`; what was removed."""
        ...


class Catalogue(Protocol):
    """Facts about items and users by dense id, and the dictionaries of every name; durable when a put returns.

    Several processes may open one catalogue; what one put, the others see after `refresh` (called by every put and intern).
    """

    users: Names
    items: Names
    artists: Names
    albums: Names
    tags: Names
    regions: Names
    devices: Names

    @property
    def facts(self) -> Items:
        """The item columns as of now, len(items) rows; a new object after each change, so a request takes it once."""
        ...

    @property
    def user_facts(self) -> Users:
        """The coarse facts of all listeners as of now, len(users) rows: a copy, for the night."""
        ...

    def put_items(self, records: Sequence[ItemRecord]) -> Int32:
        """Insert or update; the dense ids. Fields that are None keep what was stored."""
        ...

    def put_users(self, records: Sequence[UserRecord]) -> Int32:
        """Insert or update coarse facts of users; the dense ids."""
        ...

    def item(self, dense: int) -> ItemRecord:
        """All that is known of an item; a bare record with its id when it is known from events only."""
        ...

    def user(self, dense: int) -> UserRecord:
        """All that is known of a user."""
        ...

    def user_context(self, dense: int) -> tuple[int, int]:
        """(region, age band) of a user, MISSING where unknown: an array look-up, for the hot path."""
        ...

    def user_language(self, dense: int) -> int:
        """core.languages.language_code of a user, MISSING where unknown: an array look-up, for the hot path."""
        ...

    def titles(self, dense: Int32) -> list[tuple[str, str]]:
        """(title, artist) of items, for slates: under 2 us an item; the external id stands in for a missing title."""
        ...

    def search(self, text: str, limit: int) -> Int32:
        """Items whose title or artist contains the words, best first; for the player and the command line."""
        ...

    def refresh(self) -> None:
        """Take in what other processes wrote."""
        ...

    def close(self) -> None:
        """Release files."""
        ...


class Vectors(Protocol):
    """Vectors of items by dense id, one set for each version of an encoder; one version serves, the others wait or are old.

    Vectors are kept at unit length (one of length 0 stays so: it is near nothing), so inner products are cosines. Several
    processes may open one store and put; what one put or decided, the others see after `refresh` (called by every put).
    Safe to call from several threads; a search sees the store as it was when it began.
    """

    @property
    def version(self) -> str:
        """The version that serves: what `get` and `search` read unless told; "" while nothing was put."""
        ...

    @property
    def dimension(self) -> int:
        """Numbers in a vector of the version that serves, 0 while nothing was put."""
        ...

    def __len__(self) -> int:
        """Items with a vector of the version that serves."""
        ...

    def versions(self) -> list[str]:
        """Every version that something was put for, in the order of their first put."""
        ...

    def put(self, version: str, items: Int32, vectors: Float32) -> None:
        """Store or replace: items (n,) >= 0, vectors (n, d) finite; of an item named twice the last row counts.

        Durable when it returns; a crash before that may keep some of the rows. The first put of a version fixes its d, and
        the first version ever put serves. BadInput for other shapes, another d, or what is not finite.
        """
        ...

    def remove(self, items: Int32) -> None:
        """Forget these items in every version; durable when it returns, unknown ones do not matter."""
        ...

    def use(self, version: str) -> None:
        """Let this version serve, durably and at once; NotFound when nothing was put for it."""
        ...

    def drop(self, version: str) -> None:
        """Forget a version and free its room; BadInput for the one that serves."""
        ...

    def get(self, items: Int32, version: str | None = None) -> Float32:
        """(n, d) float32, a row of NaN where an item has none; (n, 0) for a version nobody knows."""
        ...

    def search(self, queries: Float32, limit: int) -> tuple[Int32, Float32]:
        """The nearest items of each query by cosine, times the length of the query: ids and scores, (m, limit) each.

        queries (m, d) finite, of the version that serves. Best first, equal scores by smaller id; MISSING and -inf where there
        are fewer than `limit`. A store may answer approximately where it is large; what it does then is in its docstring.
        """
        ...

    def refresh(self) -> None:
        """Take in what other processes did; a few microseconds when they did nothing."""
        ...

    def check(self) -> list[str]:
        """Verify what is stored; a list of what is wrong, empty when all is well."""
        ...

    def close(self) -> None:
        """Finish what goes on in the background and release files."""
        ...


class Recordings(Protocol):
    """What was scanned and heard: files, the recordings in them, and the statistics that encoders learn from.

    A recording is named by its digest (sound.identity), an item by its external id. Several processes may open one store;
    every call sees what the others made durable. Safe to call from several threads.
    """

    def add_folder(self, folder: bytes) -> None:
        """Remember a scanned folder, as an absolute path without links."""
        ...

    def folders(self) -> list[bytes]:
        """The scanned folders, sorted."""
        ...

    def files(self, paths: Sequence[bytes]) -> list[SongFile | None]:
        """What is known of files by path, None where nothing is."""
        ...

    def note(self, files: Sequence[SongFile]) -> None:
        """Store or replace what is known of files; durable when it returns."""
        ...

    def forget(self, paths: Sequence[bytes]) -> list[str]:
        """Files that are gone; the items that no file has any more, sorted. Statistics stay: the file may come back."""
        ...

    def within(self, folder: bytes) -> Iterator[bytes]:
        """Paths of the known files below a folder, sorted, whichever scanned folder they were found by."""
        ...

    def files_of(self, item: str) -> list[SongFile]:
        """The files that hold an item, sorted by path."""
        ...

    def keep(self, digest: str, seconds: float, statistics: NDArray[np.float16]) -> None:
        """Store the statistics (patches, p) of a recording; on disk when `bind` returns, later when it does not."""
        ...

    def bind(self, pairs: Sequence[tuple[str, str]]) -> None:
        """(item, digest) each: what an item sounds like; replaces what it was bound to. Durable when it returns."""
        ...

    def items_of(self, digest: str) -> list[str]:
        """The items of a recording, the first bound first."""
        ...

    def heard(self, digest: str) -> bool:
        """Whether statistics of this version are there, undamaged."""
        ...

    def seconds(self, digest: str) -> float | None:
        """How much of a recording was heard, None where it was not."""
        ...

    def statistics(self, digest: str) -> NDArray[np.float16] | None:
        """(patches, p), None where there are none or where they are damaged."""
        ...

    def unheard(self, items: Sequence[str]) -> set[str]:
        """Of these items those whose recording has no statistics of this version: their files must be heard again."""
        ...

    def all_unheard(self) -> Iterator[list[tuple[str, str]]]:
        """(item, digest) of every item whose recording has no statistics of this version, in chunks."""
        ...

    def bound(self) -> Iterator[list[tuple[str, str]]]:
        """(item, digest) of every item whose recording was heard, in chunks, in the order of binding."""
        ...

    def __len__(self) -> int:
        """Items whose recording was heard."""
        ...

    def close(self) -> None:
        """Release files."""
        ...
