"""Workers that listen: killed, hung or short of memory, they take nothing down."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from songs import write

from segue.core.errors import BadSound, NotReady
from segue.library.ears import Bounds, Ears, _Died, _Worker
from segue.library.worker import Question
from segue.sound.decode import read
from segue.sound.spectrogram import log_mel
from segue.sound.statistics import patch_statistics


def test_what_a_worker_hears_is_what_the_process_itself_would(tmp_path: Path) -> None:
    path, ears = write(tmp_path / "song.wav", 1), Ears(1)
    try:
        heard = ears.hear(path, spectrogram=True)
        spectrogram = log_mel(read(path)[0])
        np.testing.assert_array_equal(heard.spectrogram, spectrogram)
        np.testing.assert_array_equal(heard.statistics, patch_statistics(spectrogram).astype(np.float16))
        (pid,) = ears.pids()
        os.kill(pid, signal.SIGKILL)  # while it has nothing to do
        assert len(ears.hear(path).statistics) == 2 + 1  # patches, and the channel
        (other,) = ears.pids()
        assert other != pid
        hanging = tmp_path / "pipe.wav"
        os.mkfifo(hanging)
        said: list[str] = []

        def hear() -> None:
            try:
                ears.identify(hanging)
            except BadSound as error:
                said.append(error.detail)

        thread = threading.Thread(target=hear)
        thread.start()
        os.kill(other, signal.SIGKILL)  # at work, or about to: the next worker takes the file up
        with hanging.open("wb") as pipe:  # opens when a worker reads
            pipe.write(b"no music")
        thread.join()
        assert len(said) == 1
        assert ears.identify(path).mime == "audio/wav"
    finally:
        ears.close()


def test_who_asks_closed_workers_is_told(tmp_path: Path) -> None:
    path, ears = write(tmp_path / "song.wav", 1), Ears(1)
    ears.identify(path)
    ears.close()
    said: list[str] = []

    def ask() -> None:
        try:
            ears.identify(path)
        except NotReady as error:
            said.append(str(error))

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert said == ["the workers that listen were closed"] * 2


def test_a_file_that_hangs_is_given_up(tmp_path: Path) -> None:
    good, hanging = write(tmp_path / "song.wav", 1), tmp_path / "pipe.wav"
    os.mkfifo(hanging)
    ears = Ears(1, Bounds(wall_seconds=0.3))
    try:
        with pytest.raises(BadSound, match=r"longer than 0\.3 s"):
            ears.identify(hanging)
    finally:
        ears.close()
    ears = Ears(1)
    try:
        assert ears.identify(good).digest
    finally:
        ears.close()


def test_memory_and_time_are_bounded_by_the_system(tmp_path: Path) -> None:
    long = write(tmp_path / "long.wav", 1, seconds=300.0)
    for bounds, reason in ((Bounds(memory=1 << 23), "memory|breaks"), (Bounds(cpu_seconds=-1), "CPU")):
        ears = Ears(1, bounds)
        try:
            with pytest.raises(BadSound, match=reason):
                ears.hear(long)
        finally:
            ears.close()


def test_what_a_worker_died_of_is_said(tmp_path: Path) -> None:
    hanging = tmp_path / "pipe.wav"
    os.mkfifo(hanging)
    worker, said = _Worker(Bounds(), 0), list[str]()

    def ask() -> None:
        try:
            worker.ask(Question("hear", os.fsencode(hanging)))
        except _Died as death:
            said.append(death.reason)

    thread = threading.Thread(target=ask)
    thread.start()
    os.kill(worker.pid, signal.SIGTERM)
    thread.join()
    assert said == ["the decoder breaks on it (a worker process died of SIGTERM)"]
