"""Stable hashes: the same text gives the same number on every machine and in every version."""

from __future__ import annotations

import re
from hashlib import blake2b

_REQUEST = re.compile("[0-9a-f]{16}")


def hash64(text: str) -> int:
    """blake2b-64 of the text as an unsigned integer, never 0 (0 means none)."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little") or 1


def hash128(text: str) -> tuple[int, int]:
    """blake2b-128 of the text as two unsigned 64-bit integers (hi, lo)."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def request_text(request_id: int) -> str:
    """A request id as callers see it: 16 hexadecimal digits."""
    return f"{request_id:016x}"


def request_number(text: str) -> int:
    """The inverse of request_text; any other text is hashed, so that callers may bring their own ids.

    Other text is all that int() would read and request_text never writes: a sign, an underscore, capitals, other digits.
    """
    return int(text, 16) if _REQUEST.fullmatch(text) else hash64(text)
