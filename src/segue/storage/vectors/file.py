"""Vectors on one machine: a memory-mapped file for each version, searched exactly while small, by an inverted file above."""

from __future__ import annotations

import shutil
import threading
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from segue.core.errors import BadInput, Corrupt, NotFound
from segue.core.types import Float32, Int32
from segue.storage.durable import locked, replace_file, sync_file, sync_folder
from segue.storage.vectors.cells import Cells, build
from segue.storage.vectors.checked import as_items, as_queries, as_vectors
from segue.storage.vectors.kernels import heaps, lists, scan_rows
from segue.storage.vectors.rows import Roll, RowFile, packed

ABOUT, LOCK, INDEX = "vectors.json", "lock", "cells-"
FORMAT = 1


class Space(msgspec.Struct, frozen=True):
    """One version as the file ABOUT names it; `folder` changes when the rows are written anew."""

    version: str
    dimension: int
    folder: str


class About(msgspec.Struct, frozen=True):
    """What the store holds."""

    format: int = FORMAT
    serving: str = ""
    spaces: list[Space] = []
    written: int = 0  # how often this was changed: folders are never named twice


@dataclass(frozen=True)
class Seen:
    """What a search looks at: the rows as of one moment, and the index over the first of them."""

    version: str
    roll: Roll
    cells: Cells | None
    indexed: int


class FileVectors:
    """Vectors in FOLDER, a folder for each version and one file that names them.

    put appends rows (8 + 4 d bytes each, a checksum in every row), one fsync a call. Up to `index_above` items a search looks
    at all of them. Above, an inverted file (IVF-Flat, Sivic and Zisserman 2003) is built in a thread of whoever puts, whenever
    more than `tail` rows came since. It looks at as many vectors as it took to find `recall` of the true 100 nearest of a
    sample; rows that are newer than the index are looked at one by one, so a song is found as soon as it is put.
    The file is written anew when more than `dead_rows`, and more than half, are nobody's. A damaged row is passed over and
    told by `check`; a torn tail is written over.
    """

    at_once: ClassVar[bool] = True

    def __init__(
        self,
        folder: Path,
        *,
        index_above: int = 50_000,
        recall: float = 0.97,
        tail: int = 32_768,
        dead_rows: int = 10_000,
        seed: int = 0,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._dead_rows = dead_rows
        self._folder, self._index_above, self._recall, self._tail, self._seed = folder, index_above, recall, tail, seed
        self._lock = threading.RLock()
        self._about = About()
        self._stamp: tuple[int, ...] = ()
        self._files: dict[str, RowFile] = {}
        self._indexes: dict[str, tuple[int, Cells]] = {}  # by folder: rows that were written anew have another one
        self._seen = Seen("", Roll.empty(0), None, 0)
        self._builder: threading.Thread | None = None
        self.refresh()

    @property
    def version(self) -> str:
        """The version that serves."""
        return self._seen.version

    @property
    def dimension(self) -> int:
        """Numbers in a vector of it."""
        return int(self._seen.roll.vectors.shape[1])

    def __len__(self) -> int:
        return self._seen.roll.live

    def versions(self) -> list[str]:
        """In the order of their first put."""
        return [space.version for space in self._about.spaces]

    def put(self, version: str, items: Int32, vectors: Float32) -> None:
        """See core.ports.Vectors."""
        items = as_items(items)
        vectors = as_vectors(vectors, len(items))
        if not version:
            raise BadInput("a version needs a name", "version")
        with self._lock, locked(self._folder / LOCK):
            self._take_in()
            known = self._space(version)
            if known is not None and known.dimension != vectors.shape[1]:
                raise BadInput(
                    f"vectors of {version!r} have {known.dimension} numbers, found {vectors.shape[1]}: name another version"
                )
            if known is None:
                self._found(version, vectors.shape[1])
            if len(items):
                self._files[version].append(packed(items, vectors))
                self._tidy(version)
            self._publish()
        self._build_behind()

    def remove(self, items: Int32) -> None:
        """See core.ports.Vectors."""
        items = as_items(items)
        with self._lock, locked(self._folder / LOCK):
            self._take_in()
            for file in self._files.values():
                inside = np.unique(items[items < len(file.roll.row_of)])
                inside = inside[file.roll.row_of[inside] >= 0]
                if len(inside):
                    file.append(packed(~inside, np.zeros((len(inside), file.dimension), np.float32)))
            self._publish()

    def use(self, version: str) -> None:
        """See core.ports.Vectors."""
        with self._lock, locked(self._folder / LOCK):
            self._take_in()
            if self._space(version) is None:
                raise NotFound(f"no vectors of version {version!r}: {self.versions()} are known")
            self._write(self._about.spaces, version)
            self._publish()

    def drop(self, version: str) -> None:
        """See core.ports.Vectors."""
        with self._lock, locked(self._folder / LOCK):
            self._take_in()
            if version == self._about.serving:
                raise BadInput(f"version {version!r} serves: use another one first")
            gone = self._space(version)
            if gone is not None:
                self._write([space for space in self._about.spaces if space.version != version], self._about.serving)
                self._publish()
                shutil.rmtree(self._folder / gone.folder, ignore_errors=True)

    def get(self, items: Int32, version: str | None = None) -> Float32:
        """See core.ports.Vectors."""
        items = np.asarray(items, np.int32)
        seen = self._seen  # one reference: another version may begin to serve at any moment
        if version is None or version == seen.version:
            return seen.roll.get(items)
        file = self._files.get(version)
        return file.roll.get(items) if file is not None else np.zeros((len(items), 0), np.float32)

    def search(self, queries: Float32, limit: int) -> tuple[Int32, Float32]:
        """See core.ports.Vectors; exact up to `index_above` items, above with the recall that the index has measured."""
        seen = self._seen
        queries = as_queries(queries, seen.roll.vectors.shape[1])
        found = heaps(len(queries), max(0, limit))
        if not found[0].size or not seen.roll.live:
            return found
        if seen.cells is not None:
            seen.cells.search(seen.roll.names, queries, found)
        scan_rows(seen.roll.table[seen.indexed :], seen.roll.names[seen.indexed :], queries, *found)
        return lists(*found)

    def refresh(self) -> None:
        """See core.ports.Vectors; a change is seen by the sizes of the files."""
        with self._lock:
            if self._stamp != self._now():
                with locked(self._folder / LOCK):
                    self._take_in()
                    self._publish()

    def check(self) -> list[str]:
        """See core.ports.Vectors: every row of every version is read."""
        self.refresh()
        with self._lock, locked(self._folder / LOCK):
            counts = {version: file.damaged() for version, file in self._files.items()}
        return [f"vectors of {version!r}: {n} rows are damaged: encode those songs again" for version, n in counts.items() if n]

    def measured(self) -> dict[str, float]:
        """What the index is: vectors it holds, vectors a search looks at, recall@100 when built; empty when there is none."""
        cells = self._seen.cells
        if cells is None:
            return {}
        return {"vectors": len(cells.rows), "budget": int(cells.budget[0]), "recall": round(float(cells.recall[0]), 4)}

    def settle(self) -> None:
        """Wait for an index that is being built."""
        builder = self._builder
        if builder is not None:
            builder.join()

    def close(self) -> None:
        """Finish the index that is being built; what is mapped goes with the object."""
        self.settle()

    def _space(self, version: str) -> Space | None:
        return next((space for space in self._about.spaces if space.version == version), None)

    def _now(self) -> tuple[int, ...]:
        """What changes whenever anybody changes anything."""
        out: list[int] = []
        names = [self._folder / ABOUT]
        for space in self._about.spaces:
            names += [self._folder / space.folder, self._files[space.version].path]
        for name in names:
            try:
                found = name.stat()
            except FileNotFoundError:
                out.append(0)
            else:
                out += [found.st_mtime_ns, found.st_ino, found.st_size]
        return tuple(out)

    def _take_in(self) -> None:
        """Read what others did; both locks are held."""
        path = self._folder / ABOUT
        if path.exists():
            try:
                self._about = msgspec.json.decode(path.read_bytes(), type=About)
            except msgspec.DecodeError as error:
                raise Corrupt(f"{path}: {error}") from error
            if self._about.format != FORMAT:
                raise Corrupt(f"{path} has format {self._about.format}, this version reads format {FORMAT}")
        files = {}
        for space in self._about.spaces:
            path, old = self._folder / space.folder / "rows", self._files.get(space.version)
            files[space.version] = old if old is not None and old.path == path else RowFile(path, space.dimension)
            files[space.version].take_in()
        self._files = files
        for space in self._about.spaces:
            self._load_index(space)
        folders = {space.folder for space in self._about.spaces}
        self._indexes = {folder: index for folder, index in self._indexes.items() if folder in folders}

    def _publish(self) -> None:
        """Let searches see what is known now."""
        serving = self._about.serving
        if serving in self._files:
            end, cells = self._indexes.get(self._files[serving].path.parent.name, (0, None))
            self._seen = Seen(serving, self._files[serving].roll, cells, end)
        self._stamp = self._now()

    def _found(self, version: str, dimension: int) -> None:
        """Begin a version; the first one serves."""
        space = Space(version, dimension, self._new_folder(version))
        self._write([*self._about.spaces, space], self._about.serving or version)
        self._files[version] = RowFile(self._folder / space.folder / "rows", dimension)

    def _new_folder(self, version: str) -> str:
        name = f"{blake2b(version.encode(), digest_size=6).hexdigest()}-{self._about.written}"
        shutil.rmtree(self._folder / name, ignore_errors=True)  # of one who died before it was named
        (self._folder / name).mkdir()
        sync_folder(self._folder)
        return name

    def _tidy(self, version: str) -> None:
        """Write the rows anew, into a folder of their own, when most of them are nobody's."""
        old, roll = self._files[version], self._files[version].roll
        dead = len(roll.names) - roll.live
        if dead <= max(self._dead_rows, roll.live):
            return
        space = Space(version, old.dimension, self._new_folder(version))
        fresh = RowFile(self._folder / space.folder / "rows", old.dimension)
        kept = np.flatnonzero(roll.names >= 0)
        fresh.append(packed(roll.names[kept], np.ascontiguousarray(roll.vectors[kept])))
        gone = self._space(version)
        self._write([space if each.version == version else each for each in self._about.spaces], self._about.serving)
        self._files[version] = fresh
        if gone is not None:
            shutil.rmtree(self._folder / gone.folder, ignore_errors=True)

    def _write(self, spaces: list[Space], serving: str) -> None:
        self._about = About(FORMAT, serving, spaces, self._about.written + 1)
        replace_file(self._folder / ABOUT, msgspec.json.encode(self._about), self._folder / f"{ABOUT}.new")

    def _load_index(self, space: Space) -> None:
        """The newest index of a version, when it is newer than what we have; one that cannot be read is passed over."""
        folder = self._folder / space.folder
        names = sorted(path.name for path in folder.iterdir() if path.name.startswith(INDEX) and not path.suffix)
        end = int(names[-1].removeprefix(INDEX)) if names else 0
        held = self._indexes.get(space.folder)
        if not names or (held is not None and held[0] == end):
            return
        try:
            arrays: dict[str, NDArray[np.generic]] = {
                name: np.asarray(np.load(folder / names[-1] / f"{name}.npy", mmap_mode="r")) for name in Cells._fields
            }
        except (OSError, ValueError):
            return
        self._indexes[space.folder] = (end, Cells(**arrays))  # type: ignore[arg-type]

    def _build_behind(self) -> None:
        """Build what is due in a thread of its own; one that is at it looks again before it ends."""
        with self._lock:
            if self._builder is None and self._due({}) is not None:
                self._builder = threading.Thread(target=self._build_all, name="vector index", daemon=True)
                self._builder.start()

    def _due(self, tried: dict[Path, int]) -> str | None:
        """A version that needs an index over more rows than it has, or than were `tried` of its file."""
        for version, file in self._files.items():
            end = max(self._indexes.get(file.path.parent.name, (0, None))[0], tried.get(file.path, 0))
            if file.roll.live > self._index_above and len(file.roll.names) - end > self._tail:
                return version
        return None

    def _build_all(self) -> None:
        """Until nothing is due: whoever put rows meanwhile, of this version or another, found a builder and started none."""
        tried: dict[Path, int] = {}
        try:
            while True:
                with self._lock:
                    version = self._due(tried)
                    if version is None:
                        self._builder = None
                        return
                    file = self._files[version]
                    tried[file.path] = len(file.roll.names)
                with suppress(FileNotFoundError):  # dropped, or written anew into another folder, meanwhile
                    self._build(version)
        except BaseException:
            self._builder = None
            raise

    def _build(self, version: str) -> None:
        with self._lock:
            space, file = self._space(version), self._files.get(version)
        if space is None or file is None:
            return
        roll = file.roll
        rng = np.random.default_rng(self._seed)
        cells = build(roll.vectors, roll.names, self._recall, rng)
        folder, name = self._folder / space.folder, f"{INDEX}{len(roll.names):012d}"
        fresh = folder / f"{name}.{threading.get_native_id()}"  # several processes may build the same one
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        for field, array in cells._asdict().items():
            with (fresh / f"{field}.npy").open("wb") as out:
                np.save(out, array, allow_pickle=False)
                sync_file(out)  # before it has its name: pages of zeros would be an index that finds nothing
        with self._lock, locked(self._folder / LOCK):
            if not (folder / name).exists():
                sync_folder(fresh)
                fresh.rename(folder / name)
            self._take_in()
            self._publish()
            for old in folder.iterdir():  # drafts too, of the dead and of who is at an older one
                if old.name.startswith(INDEX) and (old.name < name or old == fresh):
                    shutil.rmtree(old, ignore_errors=True)


class ExactVectors(FileVectors):
    """The same files, every search looks at every vector: exact at any size, about 0.3 ms for 100,000 of 32 numbers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, index_above=2**62)
