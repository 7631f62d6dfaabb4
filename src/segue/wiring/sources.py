"""The candidate sources as a home's settings make them, by day and by night."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.core.types import Scored
from segue.wiring.home import Home
from segue.wiring.tables import EASE_UP_TO, ELECTIVE, ELECTIVE_UP_TO, OPTIONAL, SOURCES, given_what_it_takes, named


class NoCounts:
    """The live counts by night: silent, since what is live knows the days that the night holds out."""

    def popular(self, region: int, age_band: int, hour_of_week: int, limit: int) -> Scored:
        """Nothing."""
        return Scored.none()

    def popularity(self, items: NDArray[np.int32], region: int, hour_of_week: int) -> NDArray[np.float32]:
        """Nothing, (n, 2) zeros."""
        return np.zeros((len(items), 2), np.float32)


def factories(home: Home, *, live: bool, **more: Any) -> dict[str, Callable[..., Any]]:
    """A factory for each source; without `live` those that the night trains, which know no state."""
    training = home.settings.training
    offers: dict[str, Any] = {
        "embedding_size": training.embedding_size,
        "epochs": training.epochs,
        "top_k": training.top_k,
        "threads": training.threads or os.cpu_count() or 1,
    }
    offers |= more
    offers |= {"state": home.state, "facts": home.facts} if live else {"state": NoCounts(), "bands": partial(_bands, home)}
    offers["vectors"] = home.vectors
    known = [name for name in SOURCES if name not in OPTIONAL or name in home.settings.radio.sources]
    names = known if live else _trained(home, known)
    return {name: given_what_it_takes(named(SOURCES, name, "source"), offers) for name in names}


def _trained(home: Home, known: Sequence[str]) -> list[str]:
    """Of the known sources those that a night trains: the named ones, less those that cannot speak or cost much here."""
    wanted = home.settings.training.sources
    for name in wanted:
        named(SOURCES, name, "training.sources")
    useless = {"sparse_ease" if len(home.catalogue.items) <= EASE_UP_TO else "ease"}
    if not len(home.vectors):
        useless.add("sound")
    if not wanted and (home.log.last > ELECTIVE_UP_TO or home.settings.radio.weights):
        useless |= ELECTIVE
    elif not wanted and len(home.catalogue.items) > EASE_UP_TO:
        useless |= {"item_knn", "graph_filter"}
    return [name for name in known if name not in useless and (not wanted or name in wanted)]


def _bands(home: Home) -> NDArray[np.int8]:
    """The age band of every user, MISSING unknown."""
    return home.catalogue.user_facts.age_band
