"""The sound of the demo town: every song is heard for some seconds, an encoder learns from them, vectors go into the home."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits

from segue import wiring
from segue.cli.output import Bar
from segue.core.records import ItemRecord
from segue.core.types import Float32, Int32
from segue.library.shelf import present
from segue.simulator.jukebox import COMPOSED
from segue.simulator.music import opening_s, song_of
from segue.sound.encoder import StatisticsEncoder
from segue.sound.spectrogram import RATE, log_mel
from segue.sound.statistics import patch_statistics

FIRST = 1500
"""Songs that are heard before the town's first night; a listener need not wait for the others."""
AT_ONCE = 50
"""Songs whose vectors are stored together while the town plays."""
HEARD_S = 6.0
"""Seconds of each song that are heard: two patches of 3 s, from where the whole band plays."""
ENCODER, SERVING = "encoder", "serving"
"""The artifact of encoders, and the alias of the one whose vectors serve."""


def with_sound(record: ItemRecord) -> ItemRecord:
    """The record of a song that can be played: where, and that it is composed here."""
    extra = {**(record.extra or {}), "audio_url": f"/v1/items/{record.id}/audio", COMPOSED: True}
    return msgspec.structs.replace(record, extra=extra)


def statistics_of(record: ItemRecord) -> Float32:
    """(patches, STATISTICS) of what is heard of a song."""
    heard = song_of(record, RATE, start=opening_s(record), seconds=HEARD_S)
    return patch_statistics(log_mel(heard.mean(axis=0)))


def _alone() -> None:
    """One thread of BLAS for a worker, set where this module has loaded BLAS: what is not loaded yet is not limited."""
    threadpool_limits(1)


def hear(home: wiring.Home, records: Sequence[ItemRecord], items: Int32, bar: Bar, most: int | None = None) -> int:
    """Render, learn, embed: vectors of the songs in place when it returns; how many joined another's work.

    Of more than `most` songs some are heard, evenly spread, and the others by `the_rest` while the town plays.
    """
    step = 1 if most is None else -(-len(records) // max(most, 1))
    records, items = records[::step], items[::step]
    bar.phase("hearing the songs")
    heard: list[Float32] = []
    context = get_context("spawn")  # threads of this process do not survive a fork
    with context.Pool(os.cpu_count() or 1, initializer=_alone) as workers:
        for statistics in workers.imap(statistics_of, records, chunksize=16):
            heard.append(statistics)
            bar.advance(len(heard), len(records))
    encoder = wiring.encoder("lda")().fit(heard, np.random.default_rng(0))
    manifest = encoder.manifest()
    facts = {"encoder": manifest, "setting": "lda", "songs": len(heard)}
    home.artifacts.set_aliases(ENCODER, {SERVING: home.artifacts.put(ENCODER, encoder.arrays(), facts)})
    vectors = np.stack([encoder.encode_statistics(statistics) for statistics in heard])
    return home.put_vectors(str(manifest["version"]), items, vectors)


@contextmanager
def the_rest(home: Path, config: Path | None) -> Iterator[None]:
    """Meanwhile songs of the town that were not heard yet are, by a process of low priority; the next start goes on."""
    process = get_context("spawn").Process(target=_hear_the_rest, args=(home, config), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _hear_the_rest(path: Path, config: Path | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this one
    os.nice(15)
    with threadpool_limits(1), wiring.open_home(path, config, writer=False) as home:
        hear_what_is_left(home)


def hear_what_is_left(home: wiring.Home) -> int:
    """Songs of the town without a vector of the encoder that serves get theirs, some at a time; how many that were."""
    fitted = home.shelf.serving()
    if fitted is None or not isinstance(fitted.encoder, StatisticsEncoder):
        return 0
    everything = np.arange(len(home.catalogue.items), dtype=np.int32)
    left = everything[~present(home.vectors.get(everything, fitted.version))]
    records = ((int(item), home.catalogue.item(int(item))) for item in left)
    composed = [(item, record) for item, record in records if (record.extra or {}).get(COMPOSED)]
    for first in range(0, len(composed), AT_ONCE):
        some = composed[first : first + AT_ONCE]
        vectors = np.stack([fitted.encoder.encode_statistics(statistics_of(record)) for _, record in some])
        home.put_vectors(fitted.version, np.array([item for item, _ in some], np.int32), vectors)
    return len(composed)
