"""A home folder: every store of it opened when it is first asked for, and closed with the rest."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from segue import config
from segue.catalogue.duplicates import join_duplicates
from segue.catalogue.works import work_key
from segue.core.clock import Offset, calendar_days, zone
from segue.core.errors import BadConfig, NotReady
from segue.core.ports import ArtifactStore, Catalogue, EventLog, OnlineState, Recordings, Vectors
from segue.core.records import Audio
from segue.core.types import Int32, Items
from segue.events.ingest import Ingest
from segue.experiments.book import Book
from segue.storage.durable import sync_file, sync_folder
from segue.storage.journal import Journal
from segue.training.registry import Registry
from segue.web.service import Uploading
from segue.wiring.encoders import encoder_of, wanted_encoder
from segue.wiring.tables import BACKENDS, named

if TYPE_CHECKING:
    from segue.library.ears import Ears
    from segue.library.kept import Kept
    from segue.library.shelf import Shelf


class Home:
    """One home folder: each part is opened when it is first asked for, closed with the rest."""

    def __init__(self, path: Path, settings: config.Settings, *, writer: bool) -> None:
        self.path, self.settings, self._writer = path, settings, writer
        self._opened: list[Any] = []
        # who may have the sound of an item, asked in order: who posts a file for a scanned song replaces it
        self.sounds: list[Callable[[int], Audio | None]] = [self.posted, self.scanned]
        self._folds = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened, the last first."""
        while self._opened:
            self._opened.pop().close()

    def _open(self, port: str, **given: Any) -> Any:
        url = getattr(self.settings.storage, port)
        scheme, _, rest = url.partition(":")
        make = named(BACKENDS[port], scheme, f"storage.{port}")
        place = url if rest.startswith("//") else self.path / (rest or port)  # the URL of a server, or a folder of this home
        opened = make(place, **given)
        if hasattr(opened, "close"):
            self._opened.append(opened)
        return opened

    @cached_property
    def log(self) -> EventLog:
        """The durable truth."""
        opened: EventLog = self._open("log")
        return opened

    @cached_property
    def catalogue(self) -> Catalogue:
        """Names and facts."""
        opened: Catalogue = self._open("catalogue", today=lambda: int(time.time() // 86_400), work_key=work_key)
        return opened

    @cached_property
    def artifacts(self) -> ArtifactStore:
        """Models."""
        opened: ArtifactStore = self._open("artifacts")
        return opened

    @cached_property
    def vectors(self) -> Vectors:
        """Vectors of items, by encoder version: what a song sounds like."""
        opened: Vectors = self._open("vectors")
        return opened

    @cached_property
    def recordings(self) -> Recordings:
        """Files that were scanned, and what encoders learn from."""
        from segue.sound.statistics import STATISTICS_VERSION

        opened: Recordings = self._open("recordings", version=STATISTICS_VERSION)
        return opened

    @cached_property
    def ears(self) -> Ears:
        """The worker processes that listen; none runs before the first file."""
        from segue.library.ears import Ears

        opened = Ears(self.settings.sound.workers or os.cpu_count() or 1, niceness=5)
        self._opened.append(opened)
        return opened

    @cached_property
    def kept(self) -> Kept:
        """The files that were posted."""
        from segue.library.kept import Kept

        return Kept(self.path / "posted", self.settings.sound.keep_gib << 30)

    @cached_property
    def shelf(self) -> Shelf:
        """The library: what was heard, and the encoder that it is heard with."""
        from segue.library.shelf import Shelf

        wanted = self.settings.sound.encoder
        return Shelf(
            recordings=self.recordings, catalogue=self.catalogue, vectors=self.vectors, artifacts=self.artifacts,
            put=self.put_vectors, make=partial(wanted_encoder, wanted, self.artifacts), load=encoder_of, setting=wanted,
            ears=self.ears, lock=self.path / "encoder.lock", kept=self.kept,
        )  # fmt: skip

    def uploading(self) -> Uploading:
        """What hears the files that are posted."""
        from segue.library.uploads import Uploads

        folder = self.path / "incoming"
        folder.mkdir(exist_ok=True)
        for left in folder.iterdir():  # by a server that was killed
            left.unlink()
        uploads = Uploads(self.shelf, self.kept)
        self._opened.append(uploads)
        return Uploading(uploads, folder, self.settings.sound.upload_mib << 20)

    def scanned(self, item: int) -> Audio | None:
        """The file that holds an item, as long as it lies in a scanned folder."""
        from segue.library.scan import file_of

        files = self.recordings.files_of(self.catalogue.items.name(item))
        file = file_of(files, self.recordings.folders()) if files else None
        return Audio(Path(os.fsdecode(file.path)), file.mime) if file is not None else None

    def posted(self, item: int) -> Audio | None:
        """The file that was posted for an item, where it was kept."""
        found = self.kept.find(self.catalogue.items.name(item))
        return Audio(*found) if found else None

    def put_vectors(self, version: str, items: NDArray[np.int32], vectors: NDArray[np.float32]) -> int:
        """Store what songs sound like, durably, and make one work of those that are near-duplicates; how many were joined.

        Only vectors of the version that serves are compared: a new encoder's are when all of them are there (`vectors.use`).
        """
        self.vectors.put(version, items, vectors)
        return join_duplicates(items, self.vectors, self.catalogue) if version == self.vectors.version else 0

    @cached_property
    def state(self) -> OnlineState:
        """The present: ours to write when no other process has it, else read as that process keeps it."""
        given = self._state_settings()
        try:
            opened: Any = self._open("state", **given)
            self._folds = True
        except NotReady:
            if self._writer:
                raise NotReady(f"a server already runs on {self.path}: stop it first, or choose another --home") from None
            opened = self._open("state", **given, read_only=True)
            self._folds = False
        if self._folds:
            opened.catch_up(self.log)
        state: OnlineState = opened
        return state

    def _state_settings(self) -> dict[str, Any]:
        wanted = self.settings.state
        return {
            "recent_plays": wanted.recent_plays,
            "half_life_days": wanted.half_life_days,
            "utc_offsets": self.utc_offsets,
        }

    def fresh_state(self, folder: Path) -> OnlineState:
        """An empty state with the settings of this home's, in a folder of its own; the caller closes it."""
        scheme = self.settings.storage.state.partition(":")[0]
        made: OnlineState = named(BACKENDS["state"], scheme, "storage.state")(folder, **self._state_settings())
        return made

    def catch_up(self) -> None:
        """Fold what the log has and the state has not, when the state is ours to write; else its writer does."""
        state: Any = self.state
        if self._folds:
            state.catch_up(self.log)

    @cached_property
    def utc_offsets(self) -> dict[int, Offset]:
        """Minutes east of UTC of the regions that [regions] names, by season for a time zone; naming one makes it known."""
        names = list(self.settings.regions)
        if not names:
            return {}
        dense = self.catalogue.regions.intern(names)
        places = (self.settings.regions[name] for name in names)
        told = [zone(place) if isinstance(place, str) else place for place in places]
        return {int(region): offset for region, offset in zip(dense, told, strict=True)}

    @cached_property
    def holidays(self) -> Int32:
        """Days since 1970-01-01 of [features] holidays."""
        return calendar_days(self.settings.features.holidays)

    def facts(self) -> Items:
        """The item columns as of now."""
        return self.catalogue.facts

    def listeners(self) -> int:
        """How many listeners there are."""
        return len(self.catalogue.users)

    def registry(self) -> Registry:
        """Champion, previous, challenger."""
        return Registry(self.artifacts)

    def book(self) -> Book:
        """The experiments."""
        return Book(Journal(self.path / "experiments" / "journal"))

    def audio_of(self, item: int) -> Audio | None:
        """What plays an item by dense id, None where nothing does."""
        for source in self.sounds:
            if (found := source(item)) is not None:
                return found
        return None

    def ingest(self) -> Ingest:
        """The one that writes."""
        made = Ingest(self.log, self.state, self.catalogue)
        self._opened.append(made)
        return made

    def seal(self) -> None:
        """Closed days into Parquet: what arrived before today."""
        day = 86_400_000
        self.log.seal(time.time_ns() // 1_000_000 // day * day)


def open_home(path: Path, config_path: Path | None = None, *, writer: bool) -> Home:
    """The home at a path, made when it is not there; `writer` insists on being the one process that serves it."""
    if path.exists() and not path.is_dir():
        raise BadConfig(f"--home: expected a folder, found a file at {path}", "home")
    settings = config.load(path, config_path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadConfig(f"--home: {path} cannot be made: {error.strerror}", "home") from None
    return Home(path, settings, writer=writer)


def secret(path: Path) -> bytes:
    """The key that exploration draws and the arms of experiments are seeded with: made once, readable by its owner only.

    It gets its name when it is whole and on disk, and the first of several processes gives it: no two ever see another key.
    """
    file = path / "secret.key"
    if not file.exists():
        handle, draft = tempfile.mkstemp(dir=path, prefix=".secret-")
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(secrets.token_bytes(32))
                sync_file(out)
            with suppress(FileExistsError):
                os.link(draft, file)
        finally:
            os.unlink(draft)
        sync_folder(path)
    return file.read_bytes()


def keys(path: Path) -> frozenset[str]:
    """API keys: one a line in keys.txt of the home, # starts a comment."""
    file = path / "keys.txt"
    if not file.exists():
        return frozenset()
    lines = (line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    return frozenset(line for line in lines if line)
