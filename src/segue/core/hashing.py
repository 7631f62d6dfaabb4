"""Stable hashes: the same text gives the same number on every machine and in every version."""

from __future__ import annotations

import re
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

_REQUEST = re.compile("[0-9a-f]{16}")
_ALL = (1 << 64) - 1


def hash64(text: str) -> int:
    """blake2b-64 of the text as an unsigned integer, never 0 (0 means none)."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little") or 1


def hash128(text: str) -> tuple[int, int]:
    """blake2b-128 of the text as two unsigned 64-bit integers (hi, lo)."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def spread(numbers: NDArray[np.integer]) -> NDArray[np.float64]:
    """A number in [0, 1) for each integer, the same for ever: the finalizer of splitmix64 (Steele, Lea and Flood 2014)."""
    x = (np.asarray(numbers).astype(np.int64).view(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(((x ^ (x >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def spread_one(number: int) -> float:
    """spread of one integer, in a microsecond."""
    x = (number + 1) * 0x9E3779B97F4A7C15 & _ALL
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _ALL
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _ALL
    return float((x ^ (x >> 31)) >> 11) * 2.0**-53


def request_text(request_id: int) -> str:
    """A request id as callers see it: 16 hexadecimal digits."""
    return f"{request_id:016x}"


def request_number(text: str) -> int:
    """The inverse of request_text; any other text is hashed, so that callers may bring their own ids.

    Other text is all that int() would read and request_text never writes: a sign, an underscore, capitals, other digits.
    """
    return int(text, 16) if _REQUEST.fullmatch(text) else hash64(text)
