"""Artifacts in a folder: immutable, content-addressed versions of memory-mapped arrays, and aliases that move atomically.

FOLDER/NAME/VERSION/manifest.json     what is in it, and a sha256 per file
FOLDER/NAME/VERSION/ARRAY.npy
FOLDER/NAME/aliases.json              champion, previous, ... -> VERSION
FOLDER/NAME/.lock                     held by whoever writes; readers need no lock
FOLDER/NAME/.tmp-*                    a version or file that is being written, or was when its writer died
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import msgspec
import numpy as np
from numpy.typing import NDArray

from segue.core.errors import BadInput, Corrupt, NotFound
from segue.core.types import Arrays
from segue.storage.durable import HashedFile, file_digest, locked, replace_file, sync_file, sync_folder

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
VERSION = re.compile(r"[0-9a-f]{16}")
MANIFEST = "manifest.json"
ALIASES = "aliases.json"


class _File(msgspec.Struct, frozen=True):
    """One array on disk."""

    file: str
    size: int
    sha256: str


class _Manifest(msgspec.Struct, frozen=True):
    """What a version holds; `place` is when it was put, counted from 1, and not part of the version."""

    place: int
    files: dict[str, _File]
    manifest: dict[str, object]


class FolderArtifacts:
    """An ArtifactStore in a folder.

    A version is the first 16 hexadecimal digits of a sha256 over names, dtypes, shapes, bytes and the canonical JSON of the
    manifest: the same content is the same version and is stored once. `get` always checks that every file has its size, and its
    sha256 too when `verify`. Several processes may read and write one folder.
    """

    def __init__(self, folder: Path, *, verify: bool = False) -> None:
        self._folder = folder
        self._verify = verify

    def put(self, name: str, arrays: Arrays, manifest: Mapping[str, object]) -> str:
        """Store arrays and manifest, durably, all or nothing; returns the version.

        Content that is there already is a no-op, unless its files are damaged: then it is written anew. NaN in the manifest is
        stored as null. BadInput for an unusable name, an array of Python objects or a manifest that JSON cannot hold.
        """
        for key, array in arrays.items():
            if array.dtype.hasobject:
                raise BadInput(f"array {key!r} of {name!r} holds Python objects; artifacts hold numbers and bytes only", key)
        with self._writing(name) as home:
            temporary = home / ".tmp-version"
            temporary.mkdir()
            files = {key: _write_array(temporary, key, arrays[key]) for key in sorted(arrays)}
            version, facts = _address(name, files, manifest)
            if self._intact(home / version):
                shutil.rmtree(temporary)
                return version
            places = [_place(home / v) for v in self._listed(home) if v != version]
            _write_manifest(temporary, _Manifest(max(places, default=0) + 1, files, facts))
            _discard(home / version, home / ".tmp-damaged")
            temporary.rename(home / version)
            sync_folder(home)
        return version

    def get(
        self, name: str, version: str, *, verify: bool | None = None, private: bool = False
    ) -> tuple[Arrays, dict[str, object]]:
        """Read-only, memory-mapped arrays and the manifest; `private` ones may be written, which the file never sees.

        NotFound for a version that is not there; Corrupt, naming the file, when its bytes are not those that were put.
        """
        home = self._home(name) / version
        if not VERSION.fullmatch(version) or not home.is_dir():
            raise NotFound(f"no version {version!r} of artifact {name!r}")
        found = _read_manifest(home)
        if _address(name, found.files, found.manifest)[0] != version:
            raise Corrupt(f"{home / MANIFEST}: its content is not that of version {version}")
        for entry in found.files.values():
            _check(home, entry, self._verify if verify is None else verify)
        return {
            key: _open_array(home / entry.file, "c" if private else "r") for key, entry in found.files.items()
        }, found.manifest

    def alias(self, name: str, alias: str) -> str | None:
        """The version an alias points at, None where there is no such alias."""
        return self.aliases(name).get(alias)

    def aliases(self, name: str) -> dict[str, str]:
        """Every alias of an artifact and its version."""
        path = self._home(name) / ALIASES
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}
        except msgspec.DecodeError as error:
            raise Corrupt(f"{path}: {error}") from error

    def set_aliases(self, name: str, aliases: Mapping[str, str | None]) -> None:
        """Repoint several aliases at once, atomically and durably; None removes one; NotFound for an unknown version."""
        self.move_aliases(name, lambda _: aliases)

    def move_aliases(self, name: str, moves: Callable[[Mapping[str, str]], Mapping[str, str | None]]) -> dict[str, str]:
        """See the port; the lock is held from the look to the write, so `moves` must not write to this artifact itself."""
        with self._writing(name) as home:
            before = self.aliases(name)
            aliases = moves(before)
            for version in aliases.values():
                if version is not None and not (VERSION.fullmatch(version) and (home / version).is_dir()):
                    raise NotFound(f"no version {version!r} of artifact {name!r}")
            merged = {**before, **aliases}
            kept = {alias: version for alias, version in merged.items() if version is not None}
            replace_file(home / ALIASES, msgspec.json.encode(kept, order="sorted"), home / ".tmp-aliases")
        return kept

    def versions(self, name: str) -> list[str]:
        """Versions, oldest first (in the order they were first put)."""
        home = self._home(name)
        return sorted(self._listed(home), key=lambda version: (_place(home / version), version))

    def prune(self, name: str, keep: int, *, spare: Collection[str] = ()) -> list[str]:
        """Remove all but the newest `keep` versions; those that an alias points at, and `spare`, stay. What was removed."""
        with self._writing(name) as home:
            pointed = {*self.aliases(name).values(), *spare}
            versions = self.versions(name)
            gone = [version for version in versions[: max(len(versions) - keep, 0)] if version not in pointed]
            for version in gone:
                _discard(home / version, home / ".tmp-pruned")
            sync_folder(home)
        return gone

    def _home(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise BadInput(f"an artifact is named with letters, digits, '.', '_' and '-', not {name!r}", "name")
        return self._folder / name

    @contextmanager
    def _writing(self, name: str) -> Iterator[Path]:
        """The folder of an artifact, locked, and swept of what a killed writer left (nobody else can be writing)."""
        home = self._home(name)
        home.mkdir(parents=True, exist_ok=True)
        with locked(home / ".lock"):
            for leftover in home.glob(".tmp-*"):
                if leftover.is_dir():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink()
            yield home

    @staticmethod
    def _listed(home: Path) -> list[str]:
        if not home.is_dir():
            return []
        return sorted(path.name for path in home.iterdir() if VERSION.fullmatch(path.name) and path.is_dir())

    @staticmethod
    def _intact(home: Path) -> bool:
        if not home.is_dir():
            return False
        try:
            for entry in _read_manifest(home).files.values():
                _check(home, entry, digest=True)
        except Corrupt:
            return False
        return True


def _address(name: str, files: Mapping[str, _File], manifest: Mapping[str, object]) -> tuple[str, dict[str, object]]:
    """(version, manifest as JSON gives it back)."""
    digests = {key: entry.sha256 for key, entry in files.items()}
    try:
        facts = msgspec.json.encode(dict(manifest), order="deterministic")
    except TypeError as error:
        raise BadInput(f"the manifest of {name!r} must be plain JSON: {error}", "manifest") from error
    content = msgspec.json.encode(digests, order="deterministic") + b"\n" + facts
    return hashlib.sha256(content).hexdigest()[:16], msgspec.json.decode(facts, type=dict[str, object])


def _write_array(folder: Path, key: str, array: NDArray[np.generic]) -> _File:
    name = quote(key, safe="") + ".npy"
    with (folder / name).open("wb") as raw:
        hashed = HashedFile(raw)
        np.lib.format.write_array(hashed, np.asarray(array, order="C"), allow_pickle=False)
        sync_file(raw)
    return _File(name, hashed.size, hashed.digest())


def _open_array(path: Path, mode: Literal["r", "c"]) -> NDArray[np.generic]:
    try:
        array = np.load(path, mmap_mode=mode, allow_pickle=False)
    except ValueError as error:
        raise Corrupt(f"{path}: {error}") from error
    return np.asarray(array)  # a plain array: indexing a memmap is slower


def _write_manifest(folder: Path, manifest: _Manifest) -> None:
    """One line of JSON and one with its sha256; then the folder itself is made durable."""
    body = msgspec.json.encode(manifest, order="deterministic")
    with (folder / MANIFEST).open("wb") as file:
        file.write(body + b"\n" + hashlib.sha256(body).hexdigest().encode() + b"\n")
        sync_file(file)
    sync_folder(folder)


def _read_manifest(folder: Path) -> _Manifest:
    path = folder / MANIFEST
    try:
        body, digest, end = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise Corrupt(f"{path}: is not there") from None
    except ValueError:
        raise Corrupt(f"{path}: is not two lines") from None
    if end or digest != hashlib.sha256(body).hexdigest().encode():
        raise Corrupt(f"{path}: its bytes do not match its sha256")
    return msgspec.json.decode(body, type=_Manifest)


def _place(folder: Path) -> int:
    try:
        return _read_manifest(folder).place
    except Corrupt:
        return 0


def _check(folder: Path, entry: _File, digest: bool) -> None:
    path = folder / entry.file
    try:
        size = path.stat().st_size
        if size != entry.size:
            raise Corrupt(f"{path}: {size} bytes, expected {entry.size}")
        if digest and file_digest(path) != entry.sha256:
            raise Corrupt(f"{path}: its bytes do not match its sha256")
    except FileNotFoundError:
        raise Corrupt(f"{path}: is not there") from None


def _discard(folder: Path, temporary: Path) -> None:
    """Remove a version: renamed first, so that a crash never leaves half of it under its name."""
    if folder.exists():
        folder.rename(temporary)
        shutil.rmtree(temporary)
