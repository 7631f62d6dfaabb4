"""Models that stand ready: what serves, what served before and what challenges stay loaded, so that going back is one step."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from segue.serving.recommender import Model, Recommender

Versions = Callable[[], Sequence[str | None]]
"""The versions that aliases point at now: the champion's first, then those that are kept beside it; None = no such alias."""


class Standby:
    """Keeps a loaded model for each of a few versions, and the recommender at the champion's.

    Arrays are memory-mapped, so a model that waits costs address space and what `load` warmed. Every method may be called
    from any thread; no request waits for any of them.
    """

    def __init__(self, recommender: Recommender, versions: Versions, load: Callable[[str], Model]) -> None:
        """`load` makes a version ready to serve; it may raise, and the version is then not tried again while it is wanted."""
        self._recommender, self._versions, self._load = recommender, versions, load
        self._ready: dict[str, Model] = {}
        self._refused: set[str] = set()
        self._swapping = threading.Lock()
        first = recommender.model.versions.get("bundle")
        if first is not None:
            self._ready[first] = recommender.model

    def follow(self) -> str | None:
        """Serve the champion of now; its version where another one served before. With a model that waits: microseconds."""
        with self._swapping:
            version = self._versions()[0]
            if version is None or version in self._refused or version == self._recommender.model.versions.get("bundle"):
                return None
            model = self._ready.get(version) or self._made(version)
            if model is None:
                return None
            self._ready[version] = model
            self._recommender.swap(model)
            return version

    def keep(self) -> None:
        """Load what is wanted beside the champion, and let go of what no alias names any more."""
        wanted = [version for version in self._versions() if version is not None]
        for version in wanted[1:]:
            if version not in self._ready and version not in self._refused:
                model = self._made(version)
                with self._swapping:
                    self._ready |= {} if model is None else {version: model}
        with self._swapping:  # a champion that `follow` took on while the others were loaded is not let go
            now = {*self._versions(), self._recommender.model.versions.get("bundle")} - {None}
            self._ready = {version: model for version, model in self._ready.items() if version in now}
            self._refused &= now

    def ready(self, version: str) -> Model | None:
        """The loaded model of a version, None where it does not wait here."""
        return self._ready.get(version)

    def _made(self, version: str) -> Model | None:
        try:
            return self._load(version)
        except Exception:  # what cannot be read must not take down what serves; `load` has told why
            self._refused.add(version)
            return None
