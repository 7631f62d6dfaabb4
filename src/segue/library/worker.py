"""The child process that reads strangers' files: one question a line on its input, one answer on its output, under limits."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from segue.core.errors import BadSound
from segue.sound.decode import read
from segue.sound.identity import identify
from segue.sound.spectrogram import log_mel
from segue.sound.statistics import patch_statistics
from segue.sound.tags import Tags, read_tags


class Question(msgspec.Struct):
    """`what` to do with the file at `path` (its bytes, which need be no text): say which recording it is, or hear it."""

    what: str
    path: bytes
    spectrogram: bool = False
    cpu_seconds: int = 60


class Answer(msgspec.Struct):
    """`refused` is the reason where the file is no music; after the line come the arrays, their shapes are here."""

    refused: str = ""
    digest: str = ""
    mime: str = ""
    tags: Tags = Tags()
    codec: str = ""
    seconds: float = 0.0
    cut: bool = False
    damaged: int = 0
    statistics: tuple[int, int] = (0, 0)
    """Shape of the float16 of patch_statistics."""
    spectrogram: tuple[int, int] = (0, 0)
    """Shape of the float32 of log_mel, (0, 0) where it was not asked for."""


def main(memory: int) -> None:
    """Answer until the input ends. `memory`: bytes of address space beyond what the interpreter has taken by now."""
    answers = os.fdopen(os.dup(1), "wb")
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)  # whatever a decoder prints must not get between the answers
    _confine(memory)
    decoder = msgspec.json.Decoder(Question)
    for line in sys.stdin.buffer:
        question = decoder.decode(line)
        _allow(question.cpu_seconds)
        _answer(question, answers)
        answers.flush()


def _confine(memory: int) -> None:
    with open("/proc/self/statm", encoding="ascii") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + memory, taken + memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it has nothing to write but the answer


def _allow(seconds: int) -> None:
    """So many more seconds of CPU; the kernel ends the process when they are used up."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, resource.RLIM_INFINITY))


def _answer(question: Question, answers: BinaryIO) -> None:
    path = Path(os.fsdecode(question.path))
    try:
        if question.what == "identify":
            identity = identify(path)
            _tell(answers, Answer(digest=identity.digest, mime=identity.mime, tags=read_tags(path)))
            return
        samples, facts = read(path)
        spectrogram = log_mel(samples)
        statistics = patch_statistics(spectrogram).astype(np.float16)
    except BadSound as error:
        _tell(answers, Answer(refused=error.detail))
        return
    except MemoryError:
        _tell(answers, Answer(refused="hearing it would take more memory than a song may"))
        return
    except Exception as error:  # strangers' bytes find what nobody thought of: the file is refused, and the worker goes on
        _tell(
            answers, Answer(refused=f"expected a music file, found one that breaks the reader: {type(error).__name__}: {error}")
        )
        return
    asked = question.spectrogram
    told = Answer(
        codec=facts.codec, seconds=facts.seconds, cut=facts.cut, damaged=facts.damaged,
        statistics=(len(statistics), statistics.shape[1]),
        spectrogram=(len(spectrogram), spectrogram.shape[1]) if asked else (0, 0),
    )  # fmt: skip
    _tell(answers, told)
    answers.write(np.ascontiguousarray(statistics).data)
    if asked:
        answers.write(np.ascontiguousarray(spectrogram).data)


def _tell(answers: BinaryIO, answer: Answer) -> None:
    answers.write(msgspec.json.encode(answer) + b"\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
