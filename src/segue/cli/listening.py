"""The sound of the demo town: every song is heard for some seconds, an encoder learns from them, vectors go into the home."""

from __future__ import annotations

import os
from collections.abc import Sequence
from multiprocessing import get_context

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits

from segue import wiring
from segue.cli.output import Bar
from segue.core.records import ItemRecord
from segue.core.types import Float32, Int32
from segue.simulator.jukebox import COMPOSED
from segue.simulator.music import opening_s, song_of
from segue.sound.spectrogram import RATE, log_mel
from segue.sound.statistics import patch_statistics

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


def hear(home: wiring.Home, records: Sequence[ItemRecord], items: Int32, bar: Bar) -> int:
    """Render, learn, embed: vectors of all the songs in place when it returns; how many joined another's work."""
    bar.phase("hearing the songs")
    heard: list[Float32] = []
    context = get_context("spawn")  # threads of this process do not survive a fork
    with context.Pool(os.cpu_count() or 1, initializer=threadpool_limits, initargs=(1,)) as workers:
        for statistics in workers.imap(statistics_of, records, chunksize=16):
            heard.append(statistics)
            bar.advance(len(heard), len(records))
    encoder = wiring.encoder("lda")().fit(heard, np.random.default_rng(0))
    manifest = encoder.manifest()
    facts = {"encoder": manifest, "setting": "lda", "songs": len(heard)}
    home.artifacts.set_aliases(ENCODER, {SERVING: home.artifacts.put(ENCODER, encoder.arrays(), facts)})
    vectors = np.stack([encoder.encode_statistics(statistics) for statistics in heard])
    return home.put_vectors(str(manifest["version"]), items, vectors)
