"""The kinds of device: free text about a device becomes one of ten, because models and versions point at a person."""

from __future__ import annotations

import re
from functools import lru_cache

_SIGNS = (
    ("console", r"console|playstation|xbox|nintendo"),
    ("wearable", r"wearable|watch|wear os|fitbit|garmin"),
    ("tablet", r"tablet|ipad|kindle|galaxy tab"),
    ("tv", r"tv\b|\btv|television|roku|chromecast|fire stick"),
    ("speaker", r"speaker|sonos|alexa|\becho\b|homepod|google home|cast\b"),
    ("car", r"\bcar\b|carplay|\bauto\b|automotive"),
    ("web", r"\bweb|browser"),
    ("phone", r"phone|mobile|android|\bios\b"),
    ("desktop", r"desktop|laptop|computer|windows|mac ?os|\bmac\b|macbook|imac|os ?x|linux|\bpc\b"),
)
"""Tried in this order: an Android TV is a TV, an iPad with iOS a tablet, a web player on Windows is the web."""
_PATTERNS = tuple((kind, re.compile(pattern)) for kind, pattern in _SIGNS)
OTHER = "other"
DEVICES: tuple[str, ...] = (*(kind for kind, _ in _SIGNS), OTHER)
"""Every name that the catalogue's dictionary of devices can hold: few enough for the int8 of an event."""


@lru_cache(maxsize=4096)
def device_kind(text: str) -> str:
    """The kind of a device, one of DEVICES: by the first sign that the text holds, whatever the case; else "other".

    >>> device_kind("iOS 17.2 (iPhone14,5)"), device_kind("tv"), device_kind("SM-G990B of Anna")
    ('phone', 'tv', 'other')
    """
    low = text.lower().replace("_", " ")
    return next((kind for kind, pattern in _PATTERNS if pattern.search(low)), OTHER)
