"""The tables from names to classes: the only file that knows every name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from segue.core.errors import BadConfig

BACKENDS: Mapping[str, Mapping[str, str]] = {
    "log": {"sqlite": "segue.storage.event_log.sqlite:SqliteEventLog"},
    "catalogue": {"sqlite": "segue.storage.metadata.sqlite:SqliteCatalogue"},
    "state": {"mmap": "segue.storage.online_state.arrays:ArrayState"},
    "artifacts": {"file": "segue.storage.artifacts.folder:FolderArtifacts"},
    "vectors": {
        "file": "segue.storage.vectors.file:FileVectors",
        "exact": "segue.storage.vectors.file:ExactVectors",
        "postgres": "segue.storage.vectors.postgres:PostgresVectors",
        "postgresql": "segue.storage.vectors.postgres:PostgresVectors",
    },
    "recordings": {"sqlite": "segue.storage.recordings.sqlite:SqliteRecordings"},
}
"""What each port may be, by the scheme of its URL in [storage]."""

SOURCES: Mapping[str, str] = {
    "popular": "segue.candidates.popularity:Popularity",
    "artist": "segue.candidates.artist:Artist",
    "cooccurrence": "segue.candidates.cooccurrence:Cooccurrence",
    "als": "segue.candidates.als:Als",
    "fresh": "segue.candidates.fresh:Fresh",
    "session_knn": "segue.candidates.session_knn:SessionKnn",
    "user_knn": "segue.candidates.user_knn:UserKnn",
    "item_knn": "segue.candidates.item_knn:ItemKnn",
    "graph_filter": "segue.candidates.graph_filter:GraphFilter",
    "ease": "segue.candidates.ease:Ease",
    "sparse_ease": "segue.candidates.sparse_ease:SparseEase",
    "sound": "segue.candidates.sound:Sound",
    "content": "segue.candidates.content:Content",
    "two_tower": "segue.candidates.two_tower:TwoTower",
    "session_factors": "segue.candidates.session_factors:SessionFactors",
}
"""The sources of the radio, the cheapest and surest first: the deadline takes from the end."""

OPTIONAL = frozenset({"session_factors"})
"""Sources that are neither trained nor asked unless [radio] sources names them."""
ELECTIVE = frozenset({"item_knn", "graph_filter", "ease", "sparse_ease", "content", "two_tower"})
"""Sources that serve only where the night has shown that the radio is better with them (training.election)."""
DISPENSABLE = frozenset({"session_knn", "user_knn"})
"""Sources that serve unless the night has shown that the radio is no better with them."""
UNTRAINED = frozenset({"popular", "sound"})
"""Sources that may speak before a night: of live counts, and of sound. Others are asked only where the champion holds them."""
EASE_UP_TO = 5_000
"""Songs up to which `ease` is solved as a whole; above it `sparse_ease` takes its place at less than a tenth of the cost."""
ELECTIVE_UP_TO = 20_000_000
"""Events in the log up to which elective sources are tried unasked: all pairs of all listeners cost beyond it."""

RANKERS: Mapping[str, str] = {
    "blend": "segue.ranking.blend:Blend",
    "logistic": "segue.ranking.logistic:Logistic",
    "boosting": "segue.ranking.boosting:Boosting",
    "forest": "segue.ranking.forest:Forest",
    "deep": "segue.ranking.deep:Deep",
}

ENCODERS: Mapping[str, str] = {
    "lda": "segue.sound.lda:ClipLda",
    "pretrained": "segue.sound.network_encoder:Pretrained",
    "autoencoder": "segue.sound.autoencoder:Autoencoder",
    "denoising": "segue.sound.autoencoder:DenoisingAutoencoder",
    "contrastive": "segue.sound.autoencoder:Contrastive",
    "concatenated": "segue.sound.concatenated:Concatenated",
    "cues": "segue.sound.baselines:RecordingCues",
    "mfcc": "segue.sound.baselines:Mfcc",
}
"""What turns sound into vectors, "lda" by default; "cues" and "mfcc" are what it must beat.

`encoder_of` makes one from what is stored.
"""

NEWCOMERS: Mapping[str, float] = {"popular": 1.0, "fresh": 0.3}
"""Rank fusion for listeners of whom nothing is known: what is loved here and now, with some that is new."""


def named(table: Mapping[str, str], name: str, what: str) -> Any:
    """The class behind a name of a table."""
    if name not in table:
        raise BadConfig(f"{what}: expected one of {', '.join(sorted(table))}, found {name!r}", what)
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def given_what_it_takes(make: Callable[..., Any], offers: Mapping[str, Any]) -> Callable[..., Any]:
    """The class with those of the offers bound that its __init__ names."""
    return partial(make, **{name: offers[name] for name in inspect.signature(make).parameters if name in offers})
