"""Reads Spotify's "extended streaming history": JSON arrays of plays, in a folder, a zip or a file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import msgspec

from segue.core.actions import Action
from segue.core.clock import parse_time
from segue.core.devices import device_kind
from segue.core.errors import BadInput
from segue.events.importers.batch import ImportBatch
from segue.events.importers.files import BOM, UNREADABLE
from segue.events.importers.history import ME, Heard, History, Part, parts_of, shares

LARGEST = 256 << 20
"""The exports cut their files at about 12 MB; a file is read whole."""
SHORT = "streaminghistory"
"""The last year without seconds, in the account data: the extended history tells the same plays again, at other times."""
PREFIXES = ("streaming_history", "endsong", SHORT)


class _Play(msgspec.Struct, gc=False):
    """The fields that are read. Never named here, so never decoded: username, ip_addr, user agent, city."""

    ts: str | None = None
    ms_played: float | None = None
    master_metadata_track_name: str | None = None
    master_metadata_album_artist_name: str | None = None
    master_metadata_album_album_name: str | None = None
    spotify_track_uri: str | None = None
    episode_name: str | None = None
    episode_show_name: str | None = None
    spotify_episode_uri: str | None = None
    conn_country: str | None = None
    platform: str | None = None
    reason_end: str | None = None
    skipped: bool | int | None = None
    incognito_mode: bool | None = None
    endTime: str | None = None  # the short history of the account data
    artistName: str | None = None
    trackName: str | None = None
    msPlayed: float | None = None


class SpotifyReader:
    """Plays with their time heard; skipped where the source says so, else by how long. Private sessions are refused."""

    name = "spotify"

    def __init__(self, root: Path, now: int, user: str | None = None) -> None:
        self.now, self.user = now, user or ME
        self.parts = parts_of(root, lambda name: name.lower().startswith(PREFIXES) and name.lower().endswith(".json"))
        if not self.parts:
            raise BadInput(f"{root.name}: expected Streaming_History_Audio_*.json; found none", str(root))
        short = [part.name for part in self.parts if Path(part.name).name.lower().startswith(SHORT)]
        if 0 < len(short) < len(self.parts):
            raise BadInput(
                f"{root.name}: the short history ({', '.join(short[:3])}) lies beside the extended one, and plays would count "
                "twice: move the short one away",
                str(root),
            )

    def __iter__(self) -> Iterator[ImportBatch]:
        for part, before, after in shares(self.parts):
            yield from self._read(part, before, after)

    def _read(self, part: Part, before: float, after: float) -> Iterator[ImportBatch]:
        history = History(part.name, self.now)
        for place, play in enumerate(_plays(part)):
            if isinstance(play, str):
                history.refuse(place, play)
            else:
                self._add(history, place, play)
            if history.full:
                yield history.batch(before)
        yield history.batch(after)

    def _add(self, history: History, place: int, play: _Play) -> None:
        try:
            history.add(place, self._heard(play))
        except BadInput as error:
            name = play.master_metadata_track_name or play.episode_name or play.trackName
            history.refuse(place, error.detail, title=name, ts=play.ts or play.endTime)

    def _heard(self, play: _Play) -> Heard:
        if play.incognito_mode:
            raise BadInput("played in a private session: left out, as the listener wanted")
        artist, title = play.master_metadata_album_artist_name or play.artistName, play.master_metadata_track_name
        title, uri, kind = title or play.trackName, play.spotify_track_uri, None
        if title is None and play.episode_name is not None:
            artist, title, uri, kind = play.episode_show_name, play.episode_name, play.spotify_episode_uri, "episode"
        if title is None:
            raise BadInput("no name of a track or an episode: Spotify left it out")
        played = play.msPlayed if play.ms_played is None else play.ms_played
        left = play.skipped in (True, 1) or play.reason_end == "fwdbtn"
        return Heard(
            user=self.user, artist=artist or "", title=title, at=_time(play.ts or play.endTime),
            action=Action.SKIPPED if left else Action.COMPLETED if play.reason_end == "trackdone" else None,
            played_s=math.nan if played is None else played / 1000, album=play.master_metadata_album_album_name, kind=kind,
            region=play.conn_country if play.conn_country not in (None, "", "ZZ") else None,
            device=device_kind(play.platform) if play.platform else None,
            extra=(("spotify_uri", uri),) if uri else (),
        )  # fmt: skip


def _plays(part: Part) -> list[_Play | str]:
    """The plays of one file; an error as text in the place of each that is none."""
    if part.size > LARGEST:
        raise BadInput(f"{part.name}: {part.size >> 20} MB; the files of the export have about 12, and are read whole")
    with part.open() as stream:
        body = stream.read(4 * LARGEST).removeprefix(BOM)
    try:
        return list(msgspec.json.decode(body, type=list[_Play]))
    except UNREADABLE:
        return _one_by_one(body, part.name)


def _one_by_one(body: bytes, name: str) -> list[_Play | str]:
    try:
        raws = msgspec.json.decode(body, type=list[msgspec.Raw])
    except UNREADABLE as error:
        raise BadInput(f"{name}: expected a JSON array of plays, found: {error}") from None
    found: list[_Play | str] = []
    for raw in raws:
        try:
            found.append(msgspec.json.decode(raw, type=_Play))
        except UNREADABLE as error:
            found.append(f"expected a play: {error}")
    return found


def _time(text: str | None) -> int:
    """Of the end of the play, in UTC."""
    if text is None:
        raise BadInput("ts is missing: expected a time such as 2024-01-31T12:00:00Z")
    try:
        return parse_time(text)
    except (ValueError, OverflowError):
        raise BadInput(f"ts: expected a time such as 2024-01-31T12:00:00Z, found {text[:60]!r}") from None
