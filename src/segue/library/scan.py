"""A scan: what changed in a folder of music goes through the workers, into the catalogue and the vectors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import msgspec

from segue.core.errors import BadInput, BadSound
from segue.core.records import ItemRecord, SongFile
from segue.library.ears import Heard, Identified
from segue.library.shelf import Shelf, Tell
from segue.library.walk import Found, inside, walk
from segue.sound.decode import CLOSED
from segue.sound.tags import clean

FLUSHED = 64
"""Songs that are stored together while more are coming."""
EARLY = 256
"""Songs of a first scan after which an encoder is learned, so that there are neighbours long before the end."""
CHUNK = 1_000


@dataclass
class Summary:
    """What a scan found and did: files by what became of them, songs that are new to the library, sound that was decoded."""

    files: int = 0
    unchanged: int = 0
    new: int = 0
    known: int = 0  # files that changed, moved or came again, with a recording that was heard before
    unreadable: int = 0
    gone: int = 0  # files that are no more, with a recording that no other file holds
    opened: int = 0  # files that a worker looked at
    heard_s: float = 0.0
    refused: list[tuple[str, str]] = field(default_factory=list)  # (path, reason) of every unreadable file, old ones too
    learned: bool = False


@dataclass(frozen=True)
class _Studied:
    """What the workers said of a file."""

    found: Found
    identified: Identified | None = None
    heard: Heard | None = None
    refused: str = ""


@dataclass
class Scan:
    """One folder, scanned; `tell` hears how far it is, `stop` ends it between two files."""

    shelf: Shelf
    folder: Path
    tell: Tell
    stop: Callable[[], bool] = lambda: False
    summary: Summary = field(default_factory=Summary)

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise BadInput(
                f"expected a folder of music, found {'a file' if self.folder.exists() else 'nothing'} at {self.folder}"
            )
        self.root = os.path.realpath(os.fsencode(self.folder))
        self._threads = ThreadPoolExecutor(self.shelf.ears.count, thread_name_prefix="scan")

    def close(self) -> None:
        """Wait for what is under way."""
        self._threads.shutdown(cancel_futures=True)

    def run(self, folders: dict[bytes, int] | None = None) -> Summary:
        """Look at everything, take in what changed, forget what is gone, keep the encoder up with the library."""
        total = sum(1 for _ in walk(self.root))
        self.shelf.recordings.add_folder(self.root)
        closed: dict[bytes, str] = {}
        self.take_in(walk(self.root, folders, closed=closed), total)
        for path, reason in sorted(closed.items()):
            self._refuse(path, f"the folder cannot be listed: {reason}")
        if not self.stop():
            self._forget_gone()
            self.shelf.hear_posted(self.tell, self.stop)
            self.shelf.catch_up(self.tell)
            self.summary.learned |= self.shelf.keep_up(self.tell, settled=True)
        return self.summary

    def take_in(self, files: Iterable[Found], total: int) -> int:
        """Study the files that changed, in step with the workers, and store what they are; how many changed."""
        before, studied = self.summary.opened, list[_Studied]()
        self.tell("hearing", 0, total)
        for one in self._studied(self._changed(files)):
            studied.append(one)
            self.tell("hearing", self.summary.unchanged + self.summary.opened + len(studied), total)
            if len(studied) >= FLUSHED:
                self._store(studied)
        self._store(studied)
        self.tell("hearing", self.summary.unchanged + self.summary.opened, total)
        return self.summary.opened - before

    def _changed(self, files: Iterable[Found]) -> Iterator[Found]:
        """Those that are not as they were when they were last looked at."""
        part: list[Found] = []
        for found in files:
            part.append(found)
            if len(part) == CHUNK:
                yield from self._differing(part)
                part = []
        if part:
            yield from self._differing(part)

    def _differing(self, files: list[Found]) -> Iterator[Found]:
        recordings = self.shelf.recordings
        known = recordings.files([found.path for found in files])
        unheard = recordings.unheard([old.item for old in known if old is not None and old.item])
        for found, old in zip(files, known, strict=True):
            self.summary.files += 1
            same = old is not None and (old.size, old.mtime_ns) == (found.size, found.mtime_ns)
            if old is not None and same and old.item not in unheard and not old.refused.startswith(CLOSED):
                self.summary.unchanged += 1
                self._refuse(old.path, old.refused)
            else:
                yield found

    def _studied(self, files: Iterator[Found]) -> Iterator[_Studied]:
        """What the workers say, in the order in which they are done; a few files for each are under way."""
        waiting: set[Future[_Studied]] = set()
        for found in files:
            if self.stop():
                break
            waiting.add(self._threads.submit(self._study, found))
            if len(waiting) >= 2 * self.shelf.ears.count:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)

    def _study(self, found: Found) -> _Studied:
        """Which recording it is, and how it sounds where that is not known."""
        path, shelf = Path(os.fsdecode(found.path)), self.shelf
        try:
            identified = shelf.ears.identify(path)
            if shelf.recordings.heard(identified.digest) and shelf.recordings.items_of(identified.digest):
                return _Studied(found, identified)
            return _Studied(found, identified, shelf.ears.hear(path, spectrogram=shelf.wants_spectrogram()))
        except BadSound as error:
            return _Studied(found, refused=error.detail)

    def _store(self, studied: list[_Studied]) -> None:
        """Catalogue, statistics, vectors, and last the files: a crash in between repeats a little, and loses nothing."""
        if not studied:
            return
        recordings, sound = self.shelf.recordings, [one for one in studied if one.identified is not None]
        names: dict[str, str] = {}
        for one in sound:
            assert one.identified is not None
            names.setdefault(one.identified.digest, self._item_of(one.identified))
        files = [self._file(one, names) for one in studied]
        self._announce(files)
        self.shelf.catalogue.put_items([self._record(one, names) for one in sound])
        for one in sound:
            assert one.identified is not None
            if one.heard is not None:
                recordings.keep(one.identified.digest, one.heard.seconds, one.heard.statistics)
                self.summary.heard_s += one.heard.seconds
        unique = {o.identified.digest: o for o in sound if o.identified is not None and self._speaks(o.identified, names)}
        self.shelf.bind([(names[digest], digest) for digest in unique])
        self.shelf.place([names[digest] for digest in unique], [o.heard for o in unique.values()], list(unique))
        self._note(files)
        self._count(studied)
        studied.clear()
        if len(recordings) >= EARLY:
            self.summary.learned |= self.shelf.keep_up(self.tell)

    def _item_of(self, identified: Identified) -> str:
        """The item that a recording is: as before, else the one with its MusicBrainz id, else one of its own."""
        known = self.shelf.recordings.items_of(identified.digest)
        if known:
            return known[0]
        recording = identified.tags.recording
        if recording and self.shelf.catalogue.items.find([recording])[0] >= 0:
            return recording
        return f"sound-{identified.digest}"

    def _speaks(self, identified: Identified, names: dict[str, str]) -> bool:
        """Whether the item sounds like this file: not where another recording was posted for it, which has the last word."""
        item = names[identified.digest]
        return item in self.shelf.recordings.items_of(identified.digest) or self.shelf.kept.find(item) is None

    def _file(self, one: _Studied, names: dict[str, str]) -> SongFile:
        found, who = one.found, one.identified
        return SongFile(
            path=found.path, folder=self.root, size=found.size, mtime_ns=found.mtime_ns,
            item=names[who.digest] if who else "", mime=who.mime if who else "", refused=one.refused,
        )  # fmt: skip

    def _announce(self, files: list[SongFile]) -> None:
        """Say which items new files hold, as files to be looked at again: whatever a crash leaves half done, a song whose file
        goes before the next scan is found to be without one."""
        old = self.shelf.recordings.files([file.path for file in files])
        fresh = [file for file, known in zip(files, old, strict=True) if known is None and file.item]
        self.shelf.recordings.note([msgspec.structs.replace(file, mtime_ns=-1) for file in fresh])

    def _note(self, files: list[SongFile]) -> None:
        """Store the files; what was in them before and is in none now is no longer played."""
        recordings = self.shelf.recordings
        before = {old.item for old in recordings.files([file.path for file in files]) if old is not None and old.item}
        recordings.note(files)
        self._silence(sorted(item for item in before - {file.item for file in files} if not recordings.files_of(item)))

    def _silence(self, items: list[str]) -> None:
        """These have no file in a folder any more: they are not played, unless one was posted."""
        silent = [ItemRecord(item, playable=False) for item in items if self.shelf.kept.find(item) is None]
        self.shelf.catalogue.put_items(silent)

    def _refuse(self, path: bytes, reason: str) -> None:
        if reason:
            self.summary.unreadable += 1
            self.summary.refused.append((os.fsdecode(path), reason))

    def _count(self, studied: list[_Studied]) -> None:
        for one in studied:
            self.summary.new += one.heard is not None
            self.summary.known += one.heard is None and one.identified is not None
            self.summary.opened += 1
            self._refuse(one.found.path, one.refused)

    def _forget_gone(self) -> None:
        """Files that are no more; an item without any is no longer played, and keeps its vector for when it comes back."""
        gone = [path for path in self.shelf.recordings.within(self.root) if not os.path.isfile(path)]
        for start in range(0, len(gone), CHUNK):
            part = gone[start : start + CHUNK]
            items = [file.item for file in self.shelf.recordings.files(part) if file is not None]
            silent = self.shelf.recordings.forget(part)
            self.summary.gone += len(set(silent) & set(items))
            self._silence(silent)

    def _record(self, one: _Studied, names: dict[str, str]) -> ItemRecord:
        """The catalogue's entry: what the tags say, the file's name for a missing title."""
        assert one.identified is not None
        tags, digest = one.identified.tags, one.identified.digest
        item, stem = names[digest], clean(Path(os.fsdecode(one.found.path)).stem.encode("utf-8", "replace").decode())
        ids = {
            "musicbrainz_recording": tags.recording,
            "musicbrainz_release": tags.release,
            "musicbrainz_artist": tags.artist_id,
        }
        extra: dict[str, str | int | float | bool | None] = {key: value for key, value in ids.items() if value}
        return ItemRecord(
            id=item, title=tags.title or stem or item, artist=tags.artist or None, album=tags.album or None,
            duration_s=self.shelf.length(digest, one.heard), tags=list(tags.genres) or None, released=tags.released or None,
            kind="track", playable=True, extra=extra | {"audio_url": f"/v1/items/{quote(item, safe='')}/audio"},
        )  # fmt: skip


def file_of(shelf_files: list[SongFile], folders: list[bytes]) -> SongFile | None:
    """The first of these files that may be read now: a plain file that is, links resolved, inside a scanned folder."""
    for file in shelf_files:
        real = os.path.realpath(file.path)
        if any(inside(real, folder) for folder in folders) and os.path.isfile(real):
            return SongFile(real, file.folder, file.size, file.mtime_ns, file.item, file.mime)
    return None
