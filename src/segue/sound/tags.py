"""What a file says of itself: title, artist, album, year, genre and MusicBrainz ids, read by mutagen."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mutagen

MOST_TEXT = 500
MOST_GENRES = 10
_KEYS: dict[str, tuple[str, ...]] = {
    "title": ("title", "TIT2"),
    "artist": ("artist", "TPE1"),
    "album": ("album", "TALB"),
    "released": ("date", "originaldate", "year", "TDRC", "TYER"),
    "genre": ("genre", "TCON"),
    "recording": ("musicbrainz_trackid",),
    "mb_release": ("musicbrainz_albumid",),
    "mb_artist": ("musicbrainz_artistid",),
}
"""What easy keys (mp3, m4a), Vorbis comments (flac, ogg, opus) and bare ID3 frames (wav) call the same thing."""
_DATE = re.compile(r"\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?")
_UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


@dataclass(frozen=True)
class Tags:
    """What a file says, "" and () where it says nothing; ids are MusicBrainz's, lower case."""

    title: str = ""
    artist: str = ""
    album: str = ""
    released: str = ""
    genres: tuple[str, ...] = ()
    recording: str = ""
    release: str = ""
    artist_id: str = ""


def read_tags(path: Path) -> Tags:
    """The tags of a file; none where it has none or where they are damaged: tags decide nothing about whether it is music."""
    try:
        file = mutagen.File(path, easy=True)
    except Exception:  # a parser of strangers' bytes: whatever it raises, the file has no tags
        return Tags()
    if file is None or file.tags is None:
        return Tags()
    found = {field: _texts(file.tags, keys) for field, keys in _KEYS.items()}
    first = {field: texts[0] if texts else "" for field, texts in found.items()}
    date, ids = _DATE.match(first["released"]), {field: _UUID.fullmatch(first[field].lower()) for field in _KEYS}
    return Tags(
        title=first["title"],
        artist=first["artist"],
        album=first["album"],
        released=date[0] if date and date[0] > "0000" else "",
        genres=_genres(found["genre"]),
        recording=first["recording"].lower() if ids["recording"] else "",
        release=first["mb_release"].lower() if ids["mb_release"] else "",
        artist_id=first["mb_artist"].lower() if ids["mb_artist"] else "",
    )


def _texts(tags: Any, keys: tuple[str, ...]) -> list[str]:
    """The cleaned texts of the first of the keys that has any."""
    for key in keys:
        try:
            value = tags.get(key)
        except Exception:  # an easy key that this container does not know, or a frame that cannot be read
            continue
        texts = value if isinstance(value, list) else getattr(value, "text", [value] if value else [])
        cleaned = [text for text in (clean(str(text)) for text in texts) if text]
        if cleaned:
            return cleaned
    return []


def _genres(texts: list[str]) -> tuple[str, ...]:
    parts = [part.strip().lower() for text in texts for part in re.split(r"[;/,|]", text)]
    return tuple(dict.fromkeys(part[:100] for part in parts if part))[:MOST_GENRES]


def clean(text: str) -> str:
    """One line of plain text: no control characters, no broken Unicode, at most MOST_TEXT characters."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(plain.split())[:MOST_TEXT].strip()
