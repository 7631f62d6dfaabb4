"""Folders of music: every file that may be one, and what changed since the last look."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from segue.sound.decode import SUFFIXES

_ENDINGS = tuple(os.fsencode(suffix) for suffix in SUFFIXES)
YOUNG_NS = 60_000_000_000
"""A file changed less than a minute ago may still be written to: it is looked at again."""


@dataclass(frozen=True)
class Found:
    """A file with the name of a music file: absolute path, size and time of change."""

    path: bytes
    size: int
    mtime_ns: int


def walk(
    folder: bytes, folders: dict[bytes, int] | None = None, top: bytes | None = None, *, closed: dict[bytes, str] | None = None
) -> Iterator[Found]:
    """Every file below an absolute folder whose name ends like music, folder by folder, sorted by name.

    Hidden names are passed over, links to folders are not followed, and links to files only where they stay inside `top`,
    by default the folder. What cannot be listed is passed over; `closed` takes such folders with the reason.
    `folders` takes the time of change of every folder, as it was before it was listed.
    """
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        deeper: list[bytes] = []
        try:
            if folders is not None:
                folders[here] = os.stat(here).st_mtime_ns
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            if closed is not None and not isinstance(error, FileNotFoundError):
                closed[here] = error.strerror or str(error)
            continue
        for entry in entries:
            if entry.name.startswith(b"."):
                continue
            if entry.is_dir(follow_symlinks=False):
                deeper.append(entry.path)
            elif entry.name.lower().endswith(_ENDINGS) and (found := look(entry.path, top or folder)) is not None:
                yield found
        waiting += reversed(deeper)


def look(path: bytes, folder: bytes) -> Found | None:
    """A plain file as it is now; None where it is gone, something else, or outside the folder."""
    try:
        if os.path.islink(path) and not inside(os.path.realpath(path), folder):
            return None
        found = os.stat(path)
    except OSError:
        return None
    return Found(path, found.st_size, found.st_mtime_ns) if found.st_mode & 0o170000 == 0o100000 else None


def inside(path: bytes, folder: bytes) -> bool:
    """Whether an absolute path lies below a folder, both without links."""
    return path.startswith(folder.rstrip(b"/") + b"/")


@dataclass
class Watch:
    """Finds what changed in a folder at little cost: only folders are looked at, and files that are young.

    A new, moved or removed file changes the time of its folder; one that is written to in place is found by `walk`, which the
    caller runs now and then. A folder changed within the last two seconds is listed again, since clocks of files are coarse.
    """

    folder: bytes
    folders: dict[bytes, int] = field(default_factory=dict)
    young: dict[bytes, Found] = field(default_factory=dict)

    def changed(self, now_ns: int) -> list[Found]:
        """Files of folders that changed since the last call, and young ones that did, once their size stands still.

        A file is given when it looks the same in two calls in a row.
        """
        seen: dict[bytes, Found] = {}
        for path, before in list(self.folders.items()):
            try:
                mtime = os.stat(path).st_mtime_ns
            except OSError:
                del self.folders[path]
                continue
            if mtime != before or now_ns - mtime < 2_000_000_000:
                seen |= {found.path: found for found in self._listed(path)}
        for path in self.young:
            if path not in seen and (found := look(path, self.folder)) is not None:
                seen[path] = found
        steady = [found for path, found in sorted(seen.items()) if self.young.get(path) == found]
        self.young = {path: found for path, found in seen.items() if now_ns - found.mtime_ns < YOUNG_NS or found not in steady}
        return steady

    def gone(self) -> bool:
        """Whether the folder itself is not there."""
        return not os.path.isdir(self.folder)

    def _listed(self, path: bytes) -> Iterator[Found]:
        """The files of one folder; folders that are new are walked."""
        try:
            self.folders[path] = os.stat(path).st_mtime_ns
            entries = list(os.scandir(path))
        except OSError:
            return
        for entry in entries:
            if entry.name.startswith(b"."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if entry.path not in self.folders:
                    yield from walk(entry.path, self.folders, self.folder)
            elif entry.name.lower().endswith(_ENDINGS) and (found := look(entry.path, self.folder)) is not None:
                yield found
