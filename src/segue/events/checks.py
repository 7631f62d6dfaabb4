"""The checks that every door shares: what a name may look like, the same over HTTP and in files."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

NAME_LIMIT: Final = 256
TEXT_LIMIT: Final = 500
"""Characters of words that people write: of a search, and of titles in files."""
WEEK_S: Final = 7 * 86_400.0
POSITION_LIMIT: Final = 32_767
SAMPLE: Final = 60
LARGEST: Final = 3e38
"""The log keeps numbers in 32 bits: anything larger would be infinite there."""

_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff\ufeff]")
_EMAIL = re.compile(r"(?<![^@\s])[^@\s]+@[^@\s]+\.[^@\s]+")
"""Tried from the beginning of each word only, so that a long text costs no more than its length."""
_APART = re.compile(r"[\W_]+")


def shorten(text: str) -> str:
    """The text as an error may quote it: at most 60 characters, escaped, in quotes."""
    return f"'{printable(text, SAMPLE)}'"


def printable(text: str, limit: int) -> str:
    """The text on one line that every encoder takes: at most `limit` characters, escaped where it is broken."""
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return short if not _CONTROL.search(short) else short.encode("unicode_escape").decode("ascii")


def broken(text: str) -> bool:
    """Whether the text holds control characters (a tab apart) or lone surrogates."""
    return _CONTROL.search(text) is not None


def name_error(kind: str, text: str) -> str | None:
    """Why the text cannot name a user, an item, a session ...; None when it can.

    A name has 1 to 256 characters and no control characters (a tab is allowed: it joins artist and title).
    """
    if not text or text.isspace():
        return f"{kind} is empty: expected 1 to {NAME_LIMIT} characters"
    if len(text) > NAME_LIMIT:
        return f"{kind} has {len(text)} characters: expected at most {NAME_LIMIT}"
    if _CONTROL.search(text):
        return f"{kind} {shorten(text)} holds control characters or broken Unicode: expected plain text"
    return None


def all_names(kind: str, values: list[str]) -> bool:
    """Whether every text can name a user, item ...: a fast test over all at once; False means that each must be looked at."""
    together = "".join(values)
    return (
        (together.isprintable() or together.replace("\t", " ").isprintable())
        and max(map(len, values), default=1) <= NAME_LIMIT
        and min(map(len, values), default=1) > 0
        and not (kind == "user" and "@" in together)
        and (" " not in together or not any(map(str.isspace, values)))
    )


def user_error(text: str) -> str | None:
    """Why the text cannot be a user id; e-mail addresses are refused, because ids are stored and shown."""
    if holds_email(text):
        return "user looks like an e-mail address: send a pseudonymous id instead, for example a number or a keyed hash"
    return name_error("user", text)


def holds_email(text: str) -> bool:
    """Whether an e-mail address stands anywhere in the text, in brackets too."""
    return "@" in text and _EMAIL.search(text) is not None


def masked(text: str) -> str:
    """The text, with "[e-mail]" in place of each word that holds an address: for search words and logs of refused rows."""
    return _EMAIL.sub("[e-mail]", text) if "@" in text else text


def cleaned(text: str) -> str | None:
    """Text for people without control characters, at most 500 characters; None when nothing is left."""
    return " ".join(_CONTROL.sub(" ", text).split())[:TEXT_LIMIT] or None


def normalize(text: str) -> str:
    """Names that people type in many ways as one key: no case, no punctuation, '&' is 'and', no leading 'the'.

    >>> normalize("The Clash"), normalize("Surfin' Dave & The Absent Legends")
    ('clash', 'surfin dave and the absent legends')

    A name of punctuation only ("!!!") keeps it.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = _APART.sub(" ", folded.replace("&", " and ")).strip()
    if words.startswith("the ") and len(words) > 4:
        words = words[4:]
    return words or " ".join(folded.split())
