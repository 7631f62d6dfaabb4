"""Sound that comes over the wire: one file for one item, heard in a worker process, its vector in place when answered."""

from __future__ import annotations

import logging
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import msgspec

from segue.core.errors import NotReady, SegueError
from segue.core.records import WORK, ItemRecord, named_by_sound
from segue.core.types import MISSING
from segue.library.ears import Heard, Identified
from segue.library.kept import Kept
from segue.library.shelf import Shelf, present
from segue.sound.tags import Tags

logger = logging.getLogger("segue")
WAITING = 16
"""Files that may wait for a worker; more are refused for now, for each waits on the disk."""


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a file: which recording it is, whether it was heard before, and the vector's version and length."""

    id: str
    recording: str
    known: bool
    duration_s: float | None
    vector: bool
    model_version: str
    dimension: int
    kept: bool = False  # whether the file can be played from here
    warnings: list[str] = []


class Uploads:
    """Hears files for items in a few threads of its own, and learns an encoder behind the answers when one is due."""

    def __init__(self, shelf: Shelf, kept: Kept) -> None:
        self._shelf, self._kept = shelf, kept
        self._threads = ThreadPoolExecutor(shelf.ears.count, thread_name_prefix="upload")
        self._learner = ThreadPoolExecutor(1, thread_name_prefix="learn")
        self._waiting = threading.BoundedSemaphore(WAITING)
        self._closing = threading.Event()
        self._turns = [threading.Lock() for _ in range(4 * shelf.ears.count)]
        self._learner.submit(self._hear_again)

    def submit(self, item: str, path: Path) -> Future[Placed]:
        """Hear the file for this item; it is moved to what is kept, or removed. BadSound in the future where it is no music."""
        if not self._waiting.acquire(blocking=False):
            raise NotReady(f"{WAITING} files wait to be heard: send this one again in a while")
        done: Future[Placed] = self._threads.submit(self._take, item, path)
        done.add_done_callback(lambda _: self._finish(path))
        return done

    def close(self) -> None:
        """Finish what is being heard and drop what waits."""
        self._closing.set()
        self._threads.shutdown(cancel_futures=True)
        self._learner.shutdown(cancel_futures=True)

    def _finish(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._waiting.release()

    def _take(self, item: str, path: Path) -> Placed:
        shelf = self._shelf
        identified = shelf.ears.identify(path)
        known = shelf.recordings.heard(identified.digest)
        spectrogram = shelf.wants_spectrogram()  # then statistics do not do, and here is the file
        heard = None if known and not spectrogram else shelf.ears.hear(path, spectrogram=spectrogram)
        with self._turns[hash(item) % len(self._turns)]:  # of two files for one item the later one is kept, bound and placed
            return self._put(item, path, (identified, heard, known))

    def _put(self, item: str, path: Path, found: tuple[Identified, Heard | None, bool]) -> Placed:
        """Keep the file, write down what it is and holds, and place its vector."""
        (identified, heard, known), shelf = found, self._shelf
        digest = identified.digest
        kept = self._kept.take(item, path, identified.mime)
        facts = self._facts(item, identified.tags, shelf.length(digest, heard))
        shelf.catalogue.put_items([msgspec.structs.replace(facts, extra=self._extra(item, digest, kept))])
        if heard is not None and not known:
            shelf.recordings.keep(digest, heard.seconds, heard.statistics)
        shelf.bind([(item, digest)])
        placed = shelf.place([item], [heard], [digest], anew=True)
        if not placed:
            placed = shelf.keep_up(_quiet)
        elif shelf.due():
            self._learner.submit(self._learn)
        return self._answer(item, digest, known, placed, kept)

    def _facts(self, item: str, tags: Tags, seconds: float | None) -> ItemRecord:
        """What the file says where the catalogue says nothing: facts that were put have the last word."""
        dense = int(self._shelf.catalogue.items.find([item])[0])
        old = self._shelf.catalogue.item(dense) if dense != MISSING else ItemRecord(item)
        return ItemRecord(
            id=item,
            title=None if old.title else tags.title or None,
            artist=None if old.artist else tags.artist or None,
            album=None if old.album else tags.album or None,
            released=None if old.released else tags.released or None,
            tags=None if old.tags else list(tags.genres) or None,
            duration_s=None if old.duration_s is not None else seconds,
        )

    def _extra(self, item: str, digest: str, kept: bool) -> dict[str, str | int | float | bool | None]:
        """What changes of an item's further facts: where its sound is played, unless they say so already; and what another
        recording was a near-duplicate of is not said of this one."""
        dense = int(self._shelf.catalogue.items.find([item])[0])
        old = self._shelf.catalogue.item(dense) if dense != MISSING else ItemRecord(item)
        extra: dict[str, str | int | float | bool | None] = {}
        if kept and "audio_url" not in (old.extra or {}):
            extra["audio_url"] = f"/v1/items/{quote(item, safe='')}/audio"
        if named_by_sound(old) and item not in self._shelf.recordings.items_of(digest):
            extra[WORK] = None
        return extra

    def _answer(self, item: str, digest: str, known: bool, placed: bool, kept: bool) -> Placed:
        fitted, dense = self._shelf.serving(), self._shelf.catalogue.items.find([item])
        vector = placed and fitted is not None and bool(present(self._shelf.vectors.get(dense, fitted.version))[0])
        few = "the library is too small to learn how songs sound: the vector comes with the next songs, or `segue scan`"
        full = "the file is not kept: [sound] keep_gib says how much is; it cannot be played from here"
        warnings = ([] if vector else [few]) + ([] if kept else [full])
        return Placed(
            id=item, recording=digest, known=known, vector=vector, kept=kept, warnings=warnings,
            duration_s=self._shelf.catalogue.item(int(dense[0])).duration_s,
            model_version=fitted.version if fitted else "", dimension=fitted.encoder.dimension if fitted else 0,
        )  # fmt: skip

    def _hear_again(self) -> None:
        """After an upgrade of statistics: what was posted is in no folder that a scan would come by."""
        try:
            if self._shelf.hear_posted(_quiet, self._closing.is_set) and self._shelf.due(settled=True):
                self._learn()
        except SegueError as error:
            logger.warning("posted files could not be heard again: %s", error)

    def _learn(self) -> None:
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 5)  # this thread only: listeners come first
        except OSError:
            logger.debug("the learner keeps the server's priority")
        try:
            self._shelf.keep_up(_quiet)
        except SegueError as error:
            logger.warning("an encoder was due and could not be learned: %s", error)


def _quiet(what: str, done: int, total: int) -> None:
    """A server says nothing of how far it is."""
