"""A recording is known by its sound: tags, covers and names leave its identity alone, other music does not."""

from __future__ import annotations

import sys
from pathlib import Path

import mutagen
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from test_decode import FORMATS, encoded, music

from segue.core.errors import BadSound
from segue.sound.identity import identify
from segue.sound.tags import Tags, read_tags

MIMES = {
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "m4a": "audio/mp4",
    "wav": "audio/wav",
}


@pytest.mark.parametrize("name", FORMATS)
def test_tags_are_read_and_change_nothing(name: str, tmp_path: Path) -> None:
    path = tmp_path / "some name"
    path.write_bytes(encoded(name))
    before = identify(path)
    assert before.mime == MIMES[name]
    named = path.rename(tmp_path / f"song.{name}")  # mutagen looks at names too
    file = mutagen.File(named, easy=name != "wav")
    if name == "wav":
        from mutagen.id3 import TALB, TCON, TDRC, TIT2, TPE1

        file.add_tags()
        for frame in (TIT2, TPE1, TALB, TDRC, TCON):
            text = {TIT2: "Title", TPE1: "Artist", TALB: "Album", TDRC: "2001-02", TCON: "Jazz"}[frame]
            file.tags.add(frame(encoding=3, text=text))
    else:
        if file.tags is None:
            file.add_tags()
        file["title"], file["artist"], file["album"] = "Title\n" * 2, "Artist", "Album"
        file["date"], file["genre"] = "2001-02", "Jazz"
    file.save()
    assert identify(named) == before
    tags = read_tags(named)
    assert (tags.artist, tags.album, tags.released, tags.genres) == ("Artist", "Album", "2001-02", ("jazz",))
    assert tags.title in ("Title", "Title Title")  # one line, whatever was in it


def test_other_music_is_another_recording(tmp_path: Path) -> None:
    one, other = tmp_path / "one.flac", tmp_path / "other.flac"
    one.write_bytes(encoded("flac"))
    other.write_bytes(encoded("flac", 0.9 * music(44_100)))
    assert identify(one) != identify(other)


@pytest.mark.parametrize("content", [b"", b"words\n" * 1000], ids=["nothing", "words"])
def test_what_is_no_music_has_no_identity_and_no_tags(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    path.write_bytes(content)
    with pytest.raises(BadSound):
        identify(path)
    assert read_tags(path) == Tags()
    with pytest.raises(BadSound, match="cannot be read"):
        identify(tmp_path / "not there.mp3")
