"""What the routes for events, items and users accept: typed decoding, checks, and one clear line for each row refused."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


class EventIn(msgspec.Struct, kw_only=True, gc=False):
    """One event as it came in, checked: names are the caller's own strings, times are integers.

    `action` is a key of core.actions.ACTIONS, `item` is None only for a search, `at` is milliseconds since 1970-01-01 UTC,
    `played_s` and `duration_s` are seconds, `value` is in stars (0 to 5) for a rating, `position` counts from 0.
    """

    user: str
    action: str
    at: int
    item: str | None = None
    event_id: str | None = None
    played_s: float | None = None
    duration_s: float | None = None
    value: float | None = None
    request_id: str | None = None
    position: int | None = None
    session: str | None = None
    region: str | None = None
    device: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class Rejection:
    """A row that was refused: its index in the body, from 0, and one line that says what to change."""

    index: int
    error: str
