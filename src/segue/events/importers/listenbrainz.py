"""Reads ListenBrainz exports: JSON lines of listens and of feedback, in a zip, a folder or a file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from segue.core.actions import Action
from segue.core.clock import parse_time
from segue.core.errors import BadInput
from segue.events.importers.batch import ImportBatch
from segue.events.importers.files import BOM, LONGEST_LINE, UNREADABLE, lines
from segue.events.importers.history import ME, Heard, History, Part, parts_of, shares


class _Info(msgspec.Struct, gc=False):
    recording_mbid: str | None = None
    duration_ms: float | str | None = None
    duration: float | str | None = None
    duration_played: float | str | None = None


class _Mapped(msgspec.Struct, gc=False):
    recording_mbid: str | None = None


class _Track(msgspec.Struct, gc=False):
    artist_name: str | None = None
    track_name: str | None = None
    release_name: str | None = None
    additional_info: _Info | None = None
    mbid_mapping: _Mapped | None = None


class _Line(msgspec.Struct, gc=False):
    """A listen, or a vote of feedback.jsonl: score and created instead of listened_at."""

    listened_at: int | float | str | None = None
    user_name: str | None = None
    track_metadata: _Track | None = None
    score: int | None = None
    created: int | float | str | None = None


class _User(msgspec.Struct):
    username: str | None = None


_decoder = msgspec.json.Decoder(_Line)
_NO_INFO, _NO_TRACK = _Info(), _Track()


class ListenBrainzReader:
    """Listens as completed plays (a listen is sent when half of the song or four minutes were heard), votes as likes.

    The user is, in this order: the one told, the user_name of the line, the username of user.json, "me".
    """

    name = "listenbrainz"

    def __init__(self, root: Path, now: int, user: str | None = None) -> None:
        self.root, self.now, self.told = root, now, user
        self.parts = parts_of(root, _is_part)
        if not self.parts:
            raise BadInput(f"{root.name}: expected .jsonl files of a ListenBrainz export; found none", str(root))
        self.owner = user or self._owner() or ME

    def _owner(self) -> str | None:
        for part in parts_of(self.root, lambda name: name == "user.json"):
            if Path(part.name).name == "user.json":
                with part.open() as stream:
                    try:
                        return msgspec.json.decode(stream.read(LONGEST_LINE).removeprefix(BOM), type=_User).username
                    except UNREADABLE:
                        return None
        return None

    def __iter__(self) -> Iterator[ImportBatch]:
        for part, before, after in shares(self.parts):
            yield from self._read(part, before, after)

    def _read(self, part: Part, before: float, after: float) -> Iterator[ImportBatch]:
        history = History(part.name, self.now)
        with part.open() as stream:
            for number, line in lines(stream):
                if line is None:
                    history.refuse(number - 1, f"the line is longer than {LONGEST_LINE} bytes")
                elif line.strip():
                    self._line(history, number - 1, line)
                if history.full:
                    yield history.batch(before)
        yield history.batch(after)

    def _line(self, history: History, place: int, line: bytes) -> None:
        try:
            found = _decoder.decode(line)
            heard = self._heard(found)
        except UNREADABLE as error:
            history.refuse(place, f"expected a listen as JSON: {error}", text=line[:200].decode("utf-8", "replace"))
        except BadInput as error:
            history.refuse(place, error.detail, text=line[:200].decode("utf-8", "replace"))
        else:
            history.add(place, heard)

    def _heard(self, line: _Line) -> Heard:
        track = line.track_metadata or _NO_TRACK
        info = track.additional_info or _NO_INFO
        length = _number(info.duration_ms, 1e-3)
        if math.isnan(length):
            length = _number(info.duration, 1.0)
        mapped = track.mbid_mapping.recording_mbid if track.mbid_mapping is not None else None
        mbid = info.recording_mbid or mapped
        return Heard(
            user=self.told or line.user_name or self.owner, artist=track.artist_name or "", title=track.track_name or "",
            at=_time(line), action=_action(line, info), played_s=_number(info.duration_played, 1.0), duration_s=length,
            album=track.release_name, extra=(("recording_mbid", mbid),) if mbid else (),
        )  # fmt: skip


def _is_part(name: str) -> bool:
    stem = name.removesuffix(".gz").removesuffix(".zst")
    return stem.endswith((".jsonl", ".listens")) and not stem.startswith("pinned")


def _number(value: float | str | None, scale: float) -> float:
    """A length of additional_info, which any client may fill in: what is no number says nothing."""
    try:
        found = math.nan if value is None else float(value) * scale
    except ValueError:
        return math.nan
    return found if 0 < found <= 7 * 86_400 else math.nan


def _time(line: _Line) -> int:
    given: Any = line.created if line.listened_at is None else line.listened_at
    if given is None:
        raise BadInput("listened_at is missing: expected Unix seconds")
    try:
        return parse_time(given)
    except (ValueError, OverflowError):
        raise BadInput(f"listened_at: expected Unix seconds, found {str(given)[:60]}") from None


def _action(line: _Line, info: _Info) -> Action | None:
    if line.score is not None and line.listened_at is None:
        if line.score not in (1, -1):
            raise BadInput(f"score is {line.score}: the vote was taken back")
        return Action.LIKED if line.score == 1 else Action.DISLIKED
    return Action.COMPLETED if info.duration_played is None else None
