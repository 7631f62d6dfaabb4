"""Facts about items and users as they travel from outside to the catalogue: already checked, users already coarsened."""

from __future__ import annotations

from pathlib import Path

import msgspec


class ItemRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One item: anything that can be played. Every field but `id` is optional; None leaves a stored value as it is."""

    id: str
    title: str | None = None
    artist: str | None = None
    album: str | None = None
    duration_s: float | None = None
    tags: list[str] | None = None
    released: str | None = None  # ISO date, or a year, or a year and month
    kind: str | None = None  # "track" unless told
    playable: bool | None = None
    language: str | None = None  # of what is sung: core.languages.primary
    extra: dict[str, str | int | float | bool | None] | None = None


class UserRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One user, coarse facts only: exact age, coordinates, zip codes, names and addresses never get here."""

    id: str
    age_band: int | None = None  # index into AGE_BANDS
    gender: str | None = None
    region: str | None = None
    tags: list[str] | None = None  # favourite tags, as told at onboarding
    artists: list[str] | None = None  # favourite artists, as told at onboarding
    language: str | None = None  # core.languages.primary


class Audio(msgspec.Struct, frozen=True):
    """What a player is given for an item: a file that may be read, or the bytes themselves, and the MIME type."""

    source: Path | bytes
    mime: str


class SongFile(msgspec.Struct, frozen=True):
    """A file of a scanned folder as it was when it was last looked at."""

    path: bytes  # absolute, as the system gives it: names need be no text
    folder: bytes  # the scanned folder that it is in
    size: int
    mtime_ns: int
    item: str = ""  # "" where it cannot be read
    mime: str = ""
    refused: str = ""  # why it cannot be read


AGE_BANDS: tuple[str, ...] = ("0-12", "13-17", "18-24", "25-34", "35-44", "45-54", "55-64", "65+")
AGE_BAND_STARTS: tuple[int, ...] = (0, 13, 18, 25, 35, 45, 55, 65)

WORK = "work"
"""The extra field of an item that names a work: items with equal names are one, whatever their titles."""
BY_SOUND = "sound:"
"""Before the name of an item: a work that had no name of its own when two items turned out to sound the same."""
WORK_PARTS = "\x1f"
"""Between artist and title in the name of a work that was made of them."""


def named_work(record: ItemRecord) -> str:
    """What the extra field WORK says, "" where it says nothing."""
    return str((record.extra or {}).get(WORK) or "")


def named_by_sound(record: ItemRecord) -> bool:
    """Whether its work was named by what it sounded like, and not by who put it."""
    return named_work(record).startswith(BY_SOUND) or WORK_PARTS in named_work(record)
