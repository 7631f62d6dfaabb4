"""Worker processes that listen: bounded memory and time a file, and one that dies takes nothing down."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from segue.core.errors import BadSound, NotReady
from segue.core.types import Float32
from segue.library.worker import Answer, Question
from segue.sound.tags import Tags

DYING_S = 2.0
"""A worker that closed its pipes may take so long to end before it is killed."""
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Bounds:
    """What a worker may take for one file: CPU seconds, seconds of the wall clock, bytes of memory beyond an idle worker."""

    cpu_seconds: int = 60
    wall_seconds: float = 180.0
    memory: int = 1 << 30


@dataclass(frozen=True)
class Identified:
    """Which recording a file is (`digest`), what its container is, and what its tags say."""

    digest: str
    mime: str
    tags: Tags


@dataclass(frozen=True)
class Heard:
    """A file as it was heard: statistics (patches + 1, STATISTICS) float16, and the spectrogram where it was asked for."""

    codec: str
    seconds: float
    cut: bool
    damaged: int
    statistics: NDArray[np.float16]
    spectrogram: Float32 | None


class Ears:
    """`count` worker processes, started when first needed; safe to call from several threads, one file a worker at a time."""

    def __init__(self, count: int, bounds: Bounds | None = None, *, niceness: int = 0) -> None:
        """`niceness` is added to the workers' own, so that a scan leaves the cores to whoever serves."""
        self.count = count
        self._bounds, self._niceness = bounds or Bounds(), niceness
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(None)
        self._closed = False

    def identify(self, path: Path) -> Identified:
        """Which recording the file is; BadSound where it is none."""
        answer, _ = self._ask(Question("identify", os.fsencode(path)))
        return Identified(answer.digest, answer.mime, answer.tags)

    def hear(self, path: Path, *, spectrogram: bool = False) -> Heard:
        """Decode and take the statistics; BadSound, with the reason, for what is no music or breaks a worker."""
        answer, body = self._ask(Question("hear", os.fsencode(path), spectrogram))
        size = 2 * answer.statistics[0] * answer.statistics[1]
        statistics = np.frombuffer(body[:size], np.float16).reshape(answer.statistics)
        spectrum = np.frombuffer(body[size:], np.float32).reshape(answer.spectrogram) if spectrogram else None
        return Heard(answer.codec, answer.seconds, answer.cut, answer.damaged, statistics, spectrum)

    def pids(self) -> list[int]:
        """The process ids of the workers that are idle now."""
        return [worker.pid for worker in list(self._idle.queue) if worker is not None]

    def close(self) -> None:
        """End the workers; those at work end when they are given back."""
        self._closed = True
        for _ in range(self._idle.qsize()):
            try:
                worker = self._idle.get_nowait()
            except queue.Empty:
                break
            if worker is not None:
                worker.end()
        self._idle.put(None)  # whoever waits for one, or comes later, is told

    def _ask(self, question: Question) -> tuple[Answer, bytes]:
        """The answer and its arrays. A worker that dies is replaced; the file is to blame when a second one dies of it."""
        question.cpu_seconds = self._bounds.cpu_seconds
        for attempt in range(2):
            worker = self._idle.get()
            try:
                if self._closed:
                    raise NotReady("the workers that listen were closed")
                if worker is not None and not worker.alive():
                    worker.end()  # it died while idle: its pipes go with it
                    worker = None
                if worker is None:
                    worker = _Worker(self._bounds, self._niceness)
                answer, body = worker.ask(question)
            except _Died as death:
                worker = None
                if attempt or death.final:
                    raise BadSound(death.reason) from None
                continue
            finally:
                if self._closed and worker is not None:
                    worker.end()
                self._idle.put(None if self._closed else worker)
            if answer.refused:
                raise BadSound(answer.refused)
            return answer, body
        raise AssertionError("two attempts either answer or raise")


class _Died(Exception):
    """A worker ended before it answered; `final`: another would end the same way."""

    def __init__(self, reason: str, *, final: bool) -> None:
        super().__init__(reason)
        self.reason, self.final = reason, final


class _Worker:
    """One child process."""

    def __init__(self, bounds: Bounds, niceness: int) -> None:
        self._bounds = bounds
        command = [sys.executable, "-m", "segue.library.worker", str(bounds.memory)]
        environment = os.environ | dict.fromkeys(_ONE_THREAD, "1")
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
            start_new_session=True,  # Ctrl-C is for the scan, which then ends its workers
        )  # fmt: skip
        if niceness:
            os.setpriority(os.PRIO_PROCESS, self._child.pid, os.getpriority(os.PRIO_PROCESS, 0) + niceness)
        self.pid = self._child.pid

    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._child.poll() is None

    def ask(self, question: Question) -> tuple[Answer, bytes]:
        """Ask and wait, at most as long as one file may take; _Died when no answer came."""
        child, late = self._child, threading.Event()
        assert child.stdin is not None
        assert child.stdout is not None

        def give_up() -> None:
            late.set()
            child.kill()

        alarm = threading.Timer(self._bounds.wall_seconds, give_up)
        alarm.start()
        try:
            child.stdin.write(msgspec.json.encode(question) + b"\n")
            child.stdin.flush()
            line = child.stdout.readline()
            answer = msgspec.json.decode(line, type=Answer)
            size = 2 * answer.statistics[0] * answer.statistics[1] + 4 * answer.spectrogram[0] * answer.spectrogram[1]
            body = child.stdout.read(size) if size else b""
            if len(body) == size:
                return answer, body
        except (OSError, msgspec.DecodeError):
            pass  # it died in the middle of a word
        finally:
            alarm.cancel()
        raise self._post_mortem(late.is_set())

    def end(self) -> None:
        """End it and take it off the system's list."""
        self._child.kill()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # what it did not read is lost with it
        self._child.wait()

    def _post_mortem(self, late: bool) -> _Died:
        """Why it ended. Its pipes close a moment before the system can say how: what it died of is waited for."""
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(DYING_S)
        self.end()
        code = self._child.returncode
        if late:
            return _Died(f"hearing it takes longer than {self._bounds.wall_seconds:g} s", final=True)
        if code == -signal.SIGXCPU:
            return _Died(f"hearing it takes more than {self._bounds.cpu_seconds} s of CPU", final=True)
        return _Died(f"the decoder breaks on it (a worker process {_ended(code)})", final=False)


def _ended(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"ended with {code}"
    try:
        return f"died of {signal.Signals(-code).name}"
    except ValueError:  # a signal that has a number only
        return f"died of signal {-code}"
