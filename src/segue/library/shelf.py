"""The library in a home: what was heard, and which encoder turns it into the vectors that serve."""

from __future__ import annotations

import fcntl
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from segue.core.errors import BadInput, BadSound
from segue.core.ports import ArtifactStore, Catalogue, Recordings, Vectors
from segue.core.types import Bool, Float32, Int32
from segue.library.ears import Ears, Heard
from segue.library.kept import Kept
from segue.sound.decode import Limits
from segue.sound.encoder import Encoder, StatisticsEncoder, outdated

ENCODER, SERVING, NEXT = "encoder", "serving", "next"
"""The artifact that holds encoders, and its aliases: what serves, and what is still being embedded with."""
GROWTH = 2.0
"""An encoder is learned anew when the library has grown by this factor since it was."""
LEARNT = 20_000
"""Recordings that an encoder learns from at most, evenly spread over the library."""
LEARNING, EMBEDDING = "learning how songs sound", "songs to vectors"
"""What is told to whoever waits."""
BATCH = 512
"""Vectors that are stored at once."""
Given = TypeVar("Given")
Made = TypeVar("Made")
Tell = Callable[[str, int, int], None]
"""(what goes on, done, of how many)."""


@dataclass(frozen=True)
class Fitted:
    """An encoder as it is stored: the vectors' version, which setting asked for it, the recordings that there were, and whether
    statistics have changed since."""

    encoder: Encoder
    artifact: str
    version: str
    setting: str
    songs: int
    outdated: bool = False


@dataclass
class Shelf:
    """The stores of a home, the makers of encoders, and the workers that listen.

    `setting` names the encoder that is wanted, `make` a fresh one of it, `load` one that was stored; `put` stores vectors
    and joins near-duplicates (wiring.Home.put_vectors). `lock` is a file that whoever learns and embeds holds.
    """

    recordings: Recordings
    catalogue: Catalogue
    vectors: Vectors
    artifacts: ArtifactStore
    put: Callable[[str, Int32, Float32], int]
    make: Callable[[], Encoder]
    load: Callable[[Mapping[str, Any], Mapping[str, NDArray[np.generic]]], Encoder]
    setting: str
    ears: Ears
    lock: Path
    kept: Kept
    _loaded: Fitted | None = None
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def serving(self) -> Fitted | None:
        """The encoder whose vectors serve, None before the first; what another process changed is seen at once."""
        artifact = self.artifacts.alias(ENCODER, SERVING)
        if artifact is None:
            return None
        with self._guard:
            if self._loaded is None or self._loaded.artifact != artifact:
                self._loaded = self._open(artifact)
            return self._loaded

    def wants_spectrogram(self) -> bool:
        """Whether the encoder that serves needs more of a file than its statistics."""
        fitted = self.serving()
        return fitted is not None and fitted.encoder.needs == "spectrogram"

    def length(self, digest: str, heard: Heard | None) -> float | None:
        """Seconds of a recording, None where it was cut and may be any longer; `heard` is None where it was known."""
        seconds = heard.seconds if heard is not None else self.recordings.seconds(digest)
        return round(seconds, 2) if seconds is not None and seconds < Limits().seconds else None

    def bind(self, pairs: Sequence[tuple[str, str]]) -> None:
        """(item, digest) each: what items sound like from now on. Vectors of another recording go first, those of encoders that
        served before or are next included: none may serve again for a recording that is gone."""
        other = [item for item, digest in pairs if item not in self.recordings.items_of(digest)]
        dense = self.catalogue.items.find(other)
        if len(other):
            self.vectors.remove(dense[dense >= 0])
        self.recordings.bind(pairs)

    def place(self, items: Sequence[str], heard: Sequence[Heard | None], digests: Sequence[str], *, anew: bool = False) -> bool:
        """Vectors of these items by the encoder that serves, in place when it returns; False when there is no encoder.

        `heard` is None where the recording was known: its statistics are read then. Items that have a vector keep it, unless
        `anew` says that they may have got another recording.
        """
        with self._locked(self._swapping, fcntl.LOCK_SH):
            return self._place(items, heard, digests, anew)

    def _place(self, items: Sequence[str], heard: Sequence[Heard | None], digests: Sequence[str], anew: bool) -> bool:
        fitted = self.serving()
        if fitted is None:
            return False
        dense = self.catalogue.items.find(list(items))
        known = self.vectors.get(dense, fitted.version)
        missing = ~present(known)
        rows: dict[int, Float32] = {}
        for item, one, digest, name, wanted in zip(dense.tolist(), heard, digests, items, missing.tolist(), strict=True):
            if wanted or anew or one is not None:
                row = self._encoded(fitted.encoder, name, digest, one)
                if row is not None:
                    rows[item] = row
        self._store(fitted.version, rows)
        return True

    def due(self, *, settled: bool = False) -> bool:
        """Whether an encoder is to be learned: there is none, another one is wanted, the library has outgrown it, or was heard
        again since statistics changed (when it is `settled`, no more being heard now, half of it is enough).
        """
        if self.artifacts.alias(ENCODER, NEXT) is not None:
            return True
        fitted, songs = self.serving(), len(self.recordings)
        if fitted is None or fitted.setting != self.setting:
            return songs > 1
        if fitted.outdated:
            return songs > 1 and songs * (GROWTH if settled else 1) >= fitted.songs
        return fitted.encoder.needs == "statistics" and songs >= GROWTH * fitted.songs

    def keep_up(self, tell: Tell, *, anew: bool = False, settled: bool = False) -> bool:
        """Learn when it is due (or `anew`), embed everything under the new version, then let it serve; what was begun is
        finished first. The old version serves until all the new vectors are there. False where nothing was due, another
        process is at it, or the library is too small to learn from.
        """
        with self._alone() as mine:
            if not mine or not (anew or self.due(settled=settled)):
                return False
            artifact = self.artifacts.alias(ENCODER, NEXT)
            if artifact is not None and self._open(artifact).setting != self.setting:
                self._abandon(self._open(artifact))
                artifact = None
            if artifact is None and not anew:
                artifact = self._kept()
            if artifact is None:
                try:
                    artifact = self._learn(tell)
                except BadInput:
                    return False  # too few songs, or too short ones: it is due again with the next
            fitted = self._open(artifact)
            self._embed(fitted, tell)
            with self._locked(self._swapping, fcntl.LOCK_EX):
                self._embed(fitted, tell)  # what came under the old one meanwhile: nothing that was in place goes missing
                self._swap(fitted)
            return True

    def catch_up(self, tell: Tell) -> None:
        """Vectors for whatever was heard and has none by the encoder that serves: what a crash left undone."""
        fitted = self.serving()
        if fitted is not None:
            self._embed(fitted, tell)

    def hear_posted(self, tell: Tell, stop: Callable[[], bool]) -> int:
        """Hear what was posted and has no statistics of this version any more; how many files. `stop` ends it between two."""
        done, bound = 0, list[tuple[str, str]]()
        for chunk in self.recordings.all_unheard():
            for item, digest in chunk:
                found = None if stop() else self.kept.find(item)
                heard = None if found is None else self._heard_as(found[0], digest)
                if heard is None:
                    continue
                self.recordings.keep(digest, heard.seconds, heard.statistics)
                bound.append((item, digest))
                done += 1
                tell("hearing what was posted", done, done)
            self.recordings.bind(bound)
            bound.clear()
        return done

    def _heard_as(self, path: Path, digest: str) -> Heard | None:
        """A file, heard, where it holds this recording; None where it holds another, or none."""
        try:
            return self.ears.hear(path) if self.ears.identify(path).digest == digest else None
        except BadSound:
            return None

    def _abandon(self, fitted: Fitted) -> None:
        """Free what was embedded for an encoder that is not wanted any more before it served."""
        own = self.artifacts.alias(ENCODER, _own(fitted.setting))
        if own != fitted.artifact and fitted.version in self.vectors.versions() and fitted.version != self.vectors.version:
            self.vectors.drop(fitted.version)

    def _kept(self) -> str | None:
        """The encoder that served under the wanted setting before, unless it serves now: its vectors are there still."""
        fitted, kept = self.serving(), self.artifacts.alias(ENCODER, _own(self.setting))
        return None if fitted is None or fitted.setting == self.setting else kept

    def _learn(self, tell: Tell) -> str:
        songs = len(self.recordings)
        tell(LEARNING, 0, 1)
        encoder = self.make()
        learnt = _Learnt(self, encoder.needs == "spectrogram", max(1, -(-songs // LEARNT)), tell)
        with threadpool_limits(limits=1, user_api="blas"):  # on busy cores threads of BLAS mostly wait
            encoder.fit(learnt, np.random.default_rng(0))
        manifest = {"encoder": encoder.manifest(), "setting": self.setting, "songs": songs}
        artifact = self.artifacts.put(ENCODER, encoder.arrays(), manifest)
        self.artifacts.set_aliases(ENCODER, {NEXT: artifact})
        return artifact

    def _embed(self, fitted: Fitted, tell: Tell) -> None:
        """Encode whatever has no vector of this version; silent where nothing is to be done."""
        rows: dict[int, Float32] = {}
        done, total = 0, len(self.recordings)
        for chunk in self.recordings.bound():
            dense = self.catalogue.items.find([item for item, _ in chunk])
            known = self.vectors.get(dense, fitted.version)
            places = np.flatnonzero(~present(known) & (dense >= 0)).tolist()
            done += len(chunk) - len(places)
            for place, row in zip(places, self._all_encoded(fitted.encoder, [chunk[at] for at in places]), strict=True):
                done += 1
                tell(EMBEDDING, done, total)
                if row is not None:
                    rows[int(dense[place])] = row
                if len(rows) >= BATCH:
                    self._store(fitted.version, rows)
        self._store(fitted.version, rows)

    def _all_encoded(self, encoder: Encoder, pairs: Sequence[tuple[str, str]]) -> Iterator[Float32 | None]:
        """The vector of each (item, digest), in order; files that must be heard again are, on all cores."""
        if isinstance(encoder, StatisticsEncoder):
            return (self._encoded(encoder, *pair, None) for pair in pairs)
        return in_step(lambda pair: self._encoded(encoder, *pair, None), pairs, self.ears.count)

    def _store(self, version: str, rows: dict[int, Float32]) -> None:
        if rows:
            self.put(version, np.fromiter(rows, np.int32, len(rows)), np.stack(list(rows.values())))
            rows.clear()

    def _encoded(self, encoder: Encoder, item: str, digest: str, heard: Heard | None) -> Float32 | None:
        """The vector of a recording; None where it would have to be heard again and no file of it can be."""
        if isinstance(encoder, StatisticsEncoder):
            statistics = heard.statistics if heard is not None else self.recordings.statistics(digest)
            return None if statistics is None else encoder.encode_statistics(statistics.astype(np.float32))
        spectrogram = heard.spectrogram if heard is not None else None
        if spectrogram is None:
            spectrogram = self._heard_again(item, digest)
        return None if spectrogram is None else encoder.encode(spectrogram)

    def _heard_again(self, item: str, digest: str) -> Float32 | None:
        """The spectrogram of a recording from a file of the item; of several, from one that holds this recording."""
        paths = [Path(os.fsdecode(file.path)) for file in self.recordings.files_of(item)]
        posted = self.kept.find(item)
        paths += [posted[0]] if posted else []
        for path in paths:
            try:
                if len(paths) > 1 and self.ears.identify(path).digest != digest:
                    continue  # another one was posted for the item, or is tagged as it
                return self.ears.hear(path, spectrogram=True).spectrogram
            except BadSound:
                continue  # gone or changed since: the next scan says so
        return None

    def _swap(self, fitted: Fitted) -> None:
        """Let the new encoder serve; of every setting the newest stays, so that going back costs nothing."""
        if fitted.version in self.vectors.versions():
            self.vectors.use(fitted.version)
        own = _own(fitted.setting)
        before = self.artifacts.alias(ENCODER, own)
        self.artifacts.set_aliases(ENCODER, {SERVING: fitted.artifact, NEXT: None, own: fitted.artifact})
        if before is not None and before != fitted.artifact:
            old = self._open(before).version
            if old != fitted.version and old in self.vectors.versions():
                self.vectors.drop(old)
        self.artifacts.prune(ENCODER, 1)

    def _open(self, artifact: str) -> Fitted:
        arrays, manifest = self.artifacts.get(ENCODER, artifact)
        facts: Any = manifest
        encoder = self.load(facts["encoder"], arrays)
        return Fitted(
            encoder, artifact, str(facts["encoder"]["version"]), str(facts["setting"]), int(facts["songs"]),
            outdated(facts["encoder"]),
        )  # fmt: skip

    @property
    def _swapping(self) -> Path:
        """The file that those who place vectors share, and whoever lets another encoder serve has alone."""
        return self.lock.with_suffix(".swap")

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether nobody else learns and embeds now; a killed holder lets go."""
        with ExitStack() as held:
            try:
                held.enter_context(self._locked(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True

    @staticmethod
    @contextmanager
    def _locked(path: Path, how: int) -> Iterator[None]:
        """Hold a file's lock; a killed holder lets go. BlockingIOError where it is held and `how` does not wait."""
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, how)
            yield
        finally:
            os.close(handle)


def in_step(work: Callable[[Given], Made], given: Iterable[Given], threads: int) -> Iterator[Made]:
    """`work` on each, the results in order: in so many threads, two for each under way; in the caller's for none."""
    if not threads:
        yield from map(work, given)
        return
    waiting = deque[Future[Made]]()
    with ThreadPoolExecutor(threads, thread_name_prefix="hearing") as pool:
        try:
            for one in given:
                waiting.append(pool.submit(work, one))
                if len(waiting) >= 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # who takes them may have had enough
            for future in waiting:
                future.cancel()


def present(vectors: Float32) -> Bool:
    """Which rows of (n, d) hold a vector, (n,); none where d is 0, as a store answers for a version that it does not have."""
    return np.asarray(np.isfinite(vectors).all(axis=1) if vectors.shape[1] else np.zeros(len(vectors)), np.bool_)


def _own(setting: str) -> str:
    """The alias under which the newest encoder of a setting is kept."""
    return f"of-{setting.replace('+', '-and-')}"


class _Learnt:
    """What an encoder learns from: every `step`-th recording of the library, anew for each iteration; `tell` hears how far.

    Files that must be heard for it are heard ahead, on all cores, while the encoder is at work on those before.
    """

    def __init__(self, shelf: Shelf, spectrograms: bool, step: int, tell: Tell) -> None:
        self._shelf, self._spectrograms, self._step, self._tell = shelf, spectrograms, step, tell

    def __iter__(self) -> Iterator[Float32]:
        total = max(1, -(-len(self._shelf.recordings) // self._step))
        workers = self._shelf.ears.count if self._spectrograms else 0
        for done, found in enumerate(in_step(lambda pair: self._one(*pair), self._chosen(), workers)):
            self._tell(LEARNING, min(done + 1, total), total)
            if found is not None:
                yield found

    def _chosen(self) -> Iterator[tuple[str, str]]:
        place, seen = 0, set[str]()
        for chunk in self._shelf.recordings.bound():
            for item, digest in chunk:
                place += 1
                if digest not in seen and (place - 1) % self._step == 0:
                    seen.add(digest)
                    yield item, digest

    def _one(self, item: str, digest: str) -> Float32 | None:
        if self._spectrograms:
            return self._shelf._heard_again(item, digest)
        statistics = self._shelf.recordings.statistics(digest)
        return None if statistics is None else statistics.astype(np.float32)
