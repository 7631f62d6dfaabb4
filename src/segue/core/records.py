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
