"""Who gets which arm: a keyed hash of the unit, layers that know nothing of each other, and arms that only ever grow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final, Literal

Split = Literal["user", "session", "request"]
OLD, REST, NEW = "old", "rest", "new"
"""Control; everybody else, served as control is (old against rest is a permanent A/A); the challenger."""
ARMS: Final = (OLD, REST, NEW)
_SCALE: Final = 2.0**-53


def place(key: bytes, layer: str, unit: str) -> float:
    """Where a unit stands in a layer, uniform in [0, 1): blake2b keyed with the home's secret, personalized by the layer.

    The same unit stands elsewhere, independently, in every other layer (test: a million ids). 53 bits, so exact as a float.
    """
    hasher = _hasher(key, layer).copy()
    hasher.update(unit.encode("utf-8", "surrogatepass"))
    return (int.from_bytes(hasher.digest(), "little") >> 11) * _SCALE


@lru_cache(maxsize=256)
def _hasher(key: bytes, layer: str) -> blake2b:
    """blake2b as it is before a unit; the personalization is a digest of the layer's name, so that names may be long."""
    person = blake2b(layer.encode("utf-8"), digest_size=16).digest()
    return blake2b(key=key[:64], digest_size=8, person=person, usedforsecurity=False)


@dataclass(frozen=True)
class Shares:
    """How much of the traffic is new and how much is control; the rest is served as control is.

    New lies at the left end and control at the right end of the unit interval, rest between them. When either grows it takes
    from rest, so nobody ever changes between old and new (only the last step, 100 %, gives control up to its holdback).
    """

    new: float
    old: float

    def __post_init__(self) -> None:
        if not (0 <= self.new <= 1 and 0 <= self.old <= 1 and self.new + self.old <= 1 + 1e-12):
            raise ValueError(f"expected shares of 0 to 1 that add up to at most 1, found new={self.new}, old={self.old}")

    def arm(self, place: float) -> str:
        """The arm at a place of [0, 1)."""
        if place < self.new:
            return NEW
        return OLD if place >= 1.0 - self.old else REST

    def share(self, arm: str) -> float:
        """The share of an arm."""
        return {NEW: self.new, OLD: self.old, REST: max(0.0, 1.0 - self.new - self.old)}[arm]


def unit_of(split: Split, user: str, session: str | None, request: str) -> str:
    """What the hash is taken of: the user, the user's session (the user where none is named), or the request."""
    if split == "user":
        return user
    if split == "session":
        return f"{user}\x1f{session}" if session else user
    return request
