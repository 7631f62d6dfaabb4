"""Which bundle of models serves: champion, previous and challenger, as aliases that move at once or not at all."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.core.errors import NotFound, NotReady
from segue.core.ports import ArtifactStore
from segue.core.stages import CandidateSource, Ranker
from segue.core.types import Arrays, Int32
from segue.features.compute import Features
from segue.features.wide import Around

BUNDLE = "radio"
RANKER = "ranker."
"""Before the name of a ranker among the models of a bundle, whose other models are sources."""
VECTORS = "als"
"""The source whose vectors of listeners and songs features look at."""
AUDIENCE = "audience"
"""The tables of who listens to what, among the models of a bundle."""
CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"


NO_HOLIDAYS: Int32 = np.zeros(0, np.int32)

Factory = Callable[..., Any]
"""Builds a model from keyword hyperparameters: its class, or functools.partial of it."""


@dataclass(frozen=True)
class Bundle:
    """Everything that one night learned: arrays by model, memory-mapped, and how they came to be."""

    version: str
    manifest: dict[str, Any]
    arrays: dict[str, dict[str, NDArray[np.generic]]]  # model -> array name -> array

    def revive(self, name: str, factory: Factory) -> Any:
        """The model `name` as it was trained: its hyperparameters from the manifest, its arrays without a copy."""
        if name not in self.arrays:
            raise NotFound(f"bundle {self.version} holds no model {name!r}; it holds {', '.join(sorted(self.arrays))}")
        hyperparameters = self.manifest.get("hyperparameters", {}).get(name, {})
        return factory(**hyperparameters).load(self.arrays[name])

    def sources(self, factories: Mapping[str, Factory]) -> dict[str, CandidateSource]:
        """The sources that both the bundle and the caller know, in the caller's order."""
        return {name: self.revive(name, factory) for name, factory in factories.items() if name in self.arrays}


def ranker_of(bundle: Bundle, factories: Mapping[str, Factory]) -> Ranker:
    """The ranker that a bundle was promoted with, as it learned it; NotFound if the caller does not know its name."""
    name = str(bundle.manifest["ranker"])
    if name not in factories:
        raise NotFound(f"bundle {bundle.version} is ranked by {name!r}; known are {', '.join(sorted(factories))}")
    saved = f"{RANKER}{name}"
    ranker: Ranker = bundle.revive(saved, factories[name]) if saved in bundle.arrays else factories[name]()
    return ranker


def features_of(bundle: Bundle, holidays: Int32 = NO_HOLIDAYS) -> Features:
    """The columns that the ranker of a bundle was trained on: by name, so that a model of last week serves after an update.

    holidays: days since 1970-01-01 as the settings have them now; a calendar is no part of a model.
    """
    only = bundle.manifest.get("ranker_facts", {}).get("features")
    around = around_of(bundle.arrays.get(VECTORS, {}), bundle.arrays.get(AUDIENCE, {}), holidays)
    return Features(bundle.manifest["sources"], only=only, around=around)


def around_of(
    factors: Mapping[str, NDArray[Any]],
    audience: Mapping[str, NDArray[Any]] | None = None,
    holidays: Int32 = NO_HOLIDAYS,
) -> Around:
    """What features look at besides the answers: the vectors that VECTORS has learned, the tables of People.audience, the
    holidays; nothing where there are none."""
    given = dict(vars(Around.nothing()))
    if {"users", "items"} <= factors.keys():
        given |= {name: factors[name] for name in ("users", "items")}
    given |= {**(audience or {}), "holidays": holidays}
    return Around(**given)


class Registry:
    """The aliases of one bundle over an ArtifactStore. Every move is one atomic write of the store, so a crash moves
    all of them or none, and takes no longer than that write: nothing is copied."""

    def __init__(self, store: ArtifactStore, name: str = BUNDLE) -> None:
        self.store = store
        self.name = name

    def version(self, alias: str = CHAMPION) -> str | None:
        """The version an alias points at, None where it points at nothing."""
        return self.store.alias(self.name, alias)

    def bundle(self, alias: str = CHAMPION) -> Bundle:
        """The bundle behind an alias, or NotReady: nothing was trained yet."""
        version = self.version(alias)
        if version is None:
            raise NotReady(f"there is no {alias} of {self.name!r} yet: run `segue train`")
        return self.open(version)

    def open(self, version: str) -> Bundle:
        """The bundle of a version; NotFound or Corrupt from the store."""
        arrays, manifest = self.store.get(self.name, version)
        return Bundle(version, manifest, unpack(arrays))

    def put(self, models: Mapping[str, Arrays], manifest: Mapping[str, object]) -> str:
        """Store a bundle; it serves nobody until it is promoted."""
        return self.store.put(self.name, pack(models), manifest)

    def promote(self, version: str) -> None:
        """Make a version champion; the champion before it becomes previous, unless it is the same one."""

        def moves(now: Mapping[str, str]) -> dict[str, str | None]:
            old = now.get(CHAMPION, version)
            return {CHAMPION: version, CHALLENGER: None} | ({} if old == version else {PREVIOUS: old})

        self.store.move_aliases(self.name, moves)

    def challenge(self, version: str) -> None:
        """Keep a version beside the champion, to be looked at."""
        self.store.set_aliases(self.name, {CHALLENGER: version})

    def rollback(self) -> str:
        """Swap champion and previous, so that a second rollback undoes the first; the version that serves now."""

        def moves(now: Mapping[str, str]) -> dict[str, str | None]:
            if PREVIOUS not in now:
                raise NotFound(f"there is no previous version of {self.name!r} to go back to")
            return {CHAMPION: now[PREVIOUS], PREVIOUS: now.get(CHAMPION)}

        return self.store.move_aliases(self.name, moves)[CHAMPION]


def for_some(source: Any, users: Int32) -> Any:
    """Tell a source that keeps answers for everyone that the next fit is only asked about some users; others ignore it.

    A source may offer `only_for(users)`, which returns self: the trial then skips most of the longest loop of the night.
    What is learned must not depend on it.
    """
    only = getattr(source, "only_for", None)
    return source if only is None else only(users)


def pack(models: Mapping[str, Arrays]) -> Arrays:
    """One flat table of arrays, named model/array."""
    return {f"{model}/{name}": array for model, arrays in models.items() for name, array in arrays.items()}


def unpack(arrays: Mapping[str, NDArray[np.generic]]) -> dict[str, dict[str, NDArray[np.generic]]]:
    """The inverse of pack."""
    models: dict[str, dict[str, NDArray[np.generic]]] = {}
    for name, array in arrays.items():
        model, _, rest = name.partition("/")
        models.setdefault(model, {})[rest] = array
    return models


def hyperparameters(model: object) -> dict[str, object]:
    """The keyword arguments of the model's __init__ as the model keeps them.

    What JSON cannot hold (a callable, a state) is left out, and so is None: both are for the factory to say again.
    """
    found: dict[str, object] = {}
    for name in inspect.signature(type(model)).parameters:
        value = getattr(model, name, None)
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, Mapping):
            value = dict(value)
        if hasattr(model, name) and isinstance(value, (bool, int, float, str, list, tuple, dict)):
            found[name] = value
    return found
