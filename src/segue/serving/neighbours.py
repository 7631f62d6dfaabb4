"""The neighbours of an item from whichever source knows them, the same over HTTP and on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from segue.core.types import Scored
from segue.serving.recommender import Model

SIMILAR: Mapping[str, tuple[str, ...]] = MappingProxyType({"sound": ("sound",), "listeners": ("als", "cooccurrence")})
"""By what, and the sources that are asked, the first that has an answer gives it."""


def similar(model: Model, by: str, item: int, limit: int) -> Scored:
    """The nearest items of an item, best first; none when no source knows it. `by` is a key of SIMILAR."""
    sources = {source.name: source for source in model.sources}
    for name in SIMILAR[by]:
        near = getattr(sources.get(name), "similar", None)
        if near is not None:
            found: Scored = near(item, limit)
            if len(found):
                return found
    return Scored.none()
