"""Near-duplicates: live takes, remasters and editions of one song by one artist have one key."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from segue.core.records import WORK_PARTS

SEPARATOR = WORK_PARTS

VERSION = (
    r"(?:(?:\d{4}|digital|digitally|new|original|full|super|24 ?bit|expanded|special|anniversary|remaster(?:ed)?) )*"
    r"(?:remaster(?:ed|ing)?|re ?master(?:ed)?|remasterizado)(?: \d{4})?"
    r"(?: (?:album|single|version|edition|mix|stereo|mono|audio|\d{4}))*"
)
EDITIONS = (
    VERSION,
    r"(?:recorded |performed )?live(?: (?:at|from|in|on|version|session|sessions|take|acoustic|recording|\d{4})\b.*)?",
    r"(?:\w+ )?live version",
    r"(?:recorded (?:at|in) |(?:the )?\w+ performance$).*",
    r"(?:en vivo|ao vivo|en directo|dal vivo|en public)(?: .*)?",
    r"(?:bbc|peel|radio|studio|john peel|bbc radio \d|spotify|itunes) sessions?(?: .*)?",
    r"(?:unplugged|mtv unplugged|acoustic|acustico|akustik)(?: (?:version|mix|take|session|live|\d{4}))*",
    r"(?:\d{4} |new )?(?:mono|stereo)(?: (?:version|mix|remaster(?:ed)?|\d{4}))*",
    r"(?:\d{4} )?(?:radio|single|album|lp|ep|45|7|12|original|extended|full length|full|short|long|clean|explicit|video|tv"
    r"|studio|main|us|uk)(?: (?:inch|edit|edited|version|mix|cut|album|single|radio|length))+",
    r"(?:clean|dirty|explicit|original|extended|edit|single|demo|demos|rehearsal)(?: (?:version|take|tape|edit))*",
    r"(?:bonus|hidden) track",
    r"(?:alternate|alternative|alt|early|first|rough|\d{4}) (?:take|version|mix)(?: \d+)?|take \d+|outtake",
    r"(?:super |limited |collectors? |international |japan(?:ese)? )?(?:deluxe|expanded|special|anniversary|bonus)"
    r"(?: (?:edition|version|track|tracks|album|disc|reissue|\d{4}))*",
    r"\d+(?:st|nd|rd|th) anniversary(?: .*)?",
    r"(?:feat|ft|featuring|with)\b.*",
    r"(?:official )?(?:music |lyrics? |hd )?(?:video|audio)|lyrics?|hd|hq",
    r"re ?recorded(?: \d{4})?(?: version)?|taylors version",
    r"digital(?:ly)? (?:re)?master(?:ed)?.*",
    r"(?:from|theme from|music from) .*(?:soundtrack|motion picture|movie|film|series|o ?s ?t).*",
)
"""What in a bracket, or behind a dash at the end, names another edition of the same song. Matched on plain words, in full.

Remixes, instrumentals, covers, karaoke, dubs, parts and medleys are not here: they are other music.
"""

EDITION = re.compile("|".join(f"(?:{pattern})" for pattern in EDITIONS))
BRACKETS = re.compile(r"\(([^()]*)\)|\[([^\[\]]*)\]|\{([^{}]*)\}")
DASH = re.compile(r"\s+[-\u2013\u2014/|]\s+|\s*;\s*")
LONGEST = 400
"""Letters of a title that are looked at."""
GUEST = re.compile(r"\s(?:feat\.?|ft\.?|featuring)\s.*$")
NOT_WORD = re.compile(r"[\W_]+")
SPELLED = str.maketrans({"'": None, "\u2019": None, "&": " and ", "+": " and "})
ARTICLE = re.compile(r"^the (?=.)")


def plain(text: str) -> str:
    """A text without case, marks (NFKD) and punctuation, words with one space between; "&" and "+" are "and"."""
    if text.isascii():
        letters = text.lower()
    else:
        folded = unicodedata.normalize("NFKD", text.casefold()).casefold()
        letters = "".join(letter for letter in folded if not unicodedata.combining(letter))
    return NOT_WORD.sub(" ", letters.translate(SPELLED)).strip()


def _is_edition(words: str) -> bool:
    return not words or EDITION.fullmatch(words) is not None


def _bracket(found: re.Match[str]) -> str:
    inside = next(group for group in found.groups() if group is not None)
    return " " if _is_edition(plain(inside)) else found[0]


def _without_editions(title: str) -> str:
    """The title without brackets and dashed ends that name an edition; others stay."""
    before = None
    while before != title:  # brackets in brackets, dashes behind dashes
        before, title = title, BRACKETS.sub(_bracket, title)
        ends = (dash.start() for dash in DASH.finditer(title) if _is_edition(plain(title[dash.end() :])))
        title = title[: next(ends, len(title))]
    return title


@lru_cache(maxsize=8192)
def _artist_key(artist: str) -> str:
    """The main artist: guests are left out, and so is a leading "The"."""
    main = plain(GUEST.sub("", artist.casefold())) or plain(artist)
    return ARTICLE.sub("", main)


def work_key(title: str, artist: str) -> str:
    """Equal for near-duplicates: live and acoustic takes, remasters, mono, radio edits, deluxe editions, guests or none.

    Case, marks, punctuation, "&" for "and", and a leading "The" of the artist do not matter. What makes other music stays in
    the key: parts and numbers, remixes, instrumentals, covers. "" (a work of its own) where title or artist has no letters.
    """
    kept = plain(GUEST.sub("", _without_editions(title[:LONGEST]).casefold()))
    main = _artist_key(artist)
    kept = kept or plain(title)  # a song that is called "Live"
    return f"{main}{SEPARATOR}{kept}" if kept and main else ""
