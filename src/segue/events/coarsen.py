"""Personal facts made coarse before anything is stored: age to a band, places to a region, names and addresses refused."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from segue.core.errors import BadInput
from segue.core.languages import primary
from segue.core.records import AGE_BAND_STARTS, AGE_BANDS
from segue.events.checks import holds_email, shorten

OLDEST: Final = 130
CELL: Final = 2
"""Degrees of latitude of a cell, about 220 km."""
_WIDTHS: Final = ((60, 2), (74, 4), (86, 12))
"""Below this latitude a cell is so many degrees of longitude wide: never under 90 km. Nearer to a pole it goes all round."""
FORBIDDEN: Final = frozenset(
    [
        "name", "first_name", "firstname", "last_name", "lastname", "surname", "full_name", "fullname", "username",
        "user_name", "nickname", "display_name", "email", "e_mail", "mail", "email_address", "phone", "phone_number",
        "telephone", "mobile", "address", "street", "street_address", "house_number", "ip", "ip_addr", "ip_address", "ipv4",
        "ipv6", "ssn", "passport", "iban", "credit_card", "mac", "device_id", "advertising_id", "user_agent",
    ]
)  # fmt: skip
"""Fields that no part of Segue needs and that point at a person."""
_REGION_LIMIT: Final = 64
_POSTAL = re.compile(r"\d{3}|\d[\d .,-]*\d[\d .,-]*\d")
_CELL_NAME = re.compile(r"geo:\d{2}[NS](\d{3}[EW])?")
_ZIP_NAME = re.compile(r"zip:[0-9A-Z]x*")


def age_band(age: float) -> int:
    """Index into core.records.AGE_BANDS of an age in years, 0 to 130; BadInput otherwise."""
    if not (isinstance(age, (int, float)) and math.isfinite(age) and 0 <= age < OLDEST + 1):
        raise BadInput(f"age: expected years from 0 to {OLDEST}, found {shorten(str(age))}", "age")
    return sum(age >= start for start in AGE_BAND_STARTS) - 1


def band_of_name(name: str) -> int:
    """Index of a band by its name, "25-34"; BadInput otherwise."""
    if name not in AGE_BANDS:
        raise BadInput(f"age_band: expected one of {', '.join(AGE_BANDS)}, found {shorten(name)}", "age_band")
    return AGE_BANDS.index(name)


def band_of_birth(born: str, now: int) -> int:
    """Age band at `now` (ms) of an ISO date of birth, or of a year alone; BadInput otherwise, without repeating the date."""
    today = datetime.fromtimestamp(now / 1000, UTC).date()
    try:
        day = date(int(born), 7, 1) if born.isdigit() and len(born) == 4 else date.fromisoformat(born[:10])
    except ValueError:
        raise BadInput("birth_date: expected a date such as 1990-01-31, or send age", "birth_date") from None
    years = today.year - day.year - ((today.month, today.day) < (day.month, day.day))
    if not -1 <= years <= OLDEST:
        raise BadInput(f"birth_date: expected an age from 0 to {OLDEST}", "birth_date")
    return age_band(max(years, 0))


def cell(lat: float, lon: float) -> str:
    """The grid cell of a place, named by its south-west corner: 52.52, 13.40 lies in geo:52N012E.

    Cells are 2 degrees of latitude high and 2, 4 or 12 of longitude wide, all round beyond 86 degrees; BadInput outside
    -90 .. 90 and -180 .. 180, without repeating the place.
    """
    if not (math.isfinite(lat) and math.isfinite(lon) and abs(lat) <= 90 and abs(lon) <= 180):
        raise BadInput("lat, lon: expected degrees from -90 to 90 and from -180 to 180", "lat")
    south = min(math.floor(lat / CELL) * CELL, 90 - CELL)
    nearest = min(abs(south), abs(south + CELL))
    name = f"geo:{abs(south):02d}{'N' if south >= 0 else 'S'}"
    for limit, width in _WIDTHS:
        if nearest < limit:
            west = math.floor((lon if lon < 180 else -180.0) / width) * width
            return f"{name}{abs(west):03d}{'E' if west >= 0 else 'W'}"
    return name


def zip_region(code: str) -> str:
    """The first character of a postal code, the rest blotted out: 94043 -> zip:9xxxx, SW1A 1AA -> zip:Sxxxxxx."""
    plain = "".join(c for c in code.upper() if c.isascii() and c.isalnum())
    if not 2 <= len(plain) <= 12:
        raise BadInput("zip: expected a postal code of 2 to 12 letters and digits", "zip")
    return f"zip:{plain[0]}{'x' * (len(plain) - 1)}"


def region_name(text: str, field: str = "region") -> str:
    """A country or region by its name or code ("DE", "Bavaria", "US-CA"); BadInput for what looks finer than a region."""
    name = " ".join(text.split())
    if _CELL_NAME.fullmatch(name) or _ZIP_NAME.fullmatch(name):
        return name
    if not name or len(name) > _REGION_LIMIT:
        raise BadInput(f"{field}: expected a name of 1 to {_REGION_LIMIT} characters, found {len(name)}", field)
    if "@" in name or _POSTAL.search(name):
        raise BadInput(f"{field}: expected a country or region, found numbers or an address; send zip, or lat and lon", field)
    return name


@dataclass(frozen=True)
class PlaceFacts:
    """What a source tells of where a user lives, each part or None."""

    region: str | None = None
    country: str | None = None
    lat: float | None = None
    lon: float | None = None
    zip: str | None = None


def region_of(place: PlaceFacts) -> str | None:
    """The coarse region: region, else country, else the cell of lat and lon, else the first character of zip; BadInput."""
    if place.region is not None:
        return region_name(place.region, "region")
    if place.country is not None:
        return region_name(place.country, "country")
    if place.lat is not None or place.lon is not None:
        if place.lat is None or place.lon is None:
            raise BadInput("lat, lon: expected both or neither", "lat")
        return cell(place.lat, place.lon)
    return None if place.zip is None else zip_region(place.zip)


def band_of(age: float | None, band: str | None, born: str | None, now: int) -> int | None:
    """The age band of an age in years, else of a band's name, else of a date of birth; None when nothing is told; BadInput."""
    if age is not None:
        return age_band(age)
    if band is not None:
        return band_of_name(band)
    return None if born is None else band_of_birth(born, now)


def region_error(text: str) -> str | None:
    """What region_name has against the text; None when it can be stored."""
    try:
        region_name(text)
    except BadInput as error:
        return error.detail
    return None


def language_of(text: str | None) -> str | None:
    """The primary language of a BCP 47 tag ("pt-BR": "pt"); None and "" as they are; BadInput for what is no such tag."""
    if not text:
        return text
    found = primary(text.strip())
    if found is None:
        raise BadInput(f"language: expected a BCP 47 tag such as en, pt-BR or yue, found {shorten(text)}", "language")
    return found


def refuse_emails(fields: Mapping[str, Iterable[str | None] | None]) -> None:
    """BadInput when a text of one of the fields holds an e-mail address, without repeating it."""
    for field, texts in fields.items():
        if any(text is not None and holds_email(text) for text in texts or ()):
            raise BadInput(f"{field}: an e-mail address is refused; leave it out", field)


def refuse_personal(fields: Mapping[str, object]) -> None:
    """BadInput when a field is one that points at a person: names, e-mail and postal addresses, phone numbers, IPs."""
    for field in fields:
        if field.lower().replace("-", "_") in FORBIDDEN:
            raise BadInput(f"{field}: personal data is refused; leave the field out", field)
