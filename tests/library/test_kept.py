"""Posted files are kept one an item, within a limit, and found again wherever the home lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from segue.library.kept import Kept


def put(kept: Kept, tmp_path: Path, item: str, content: bytes, mime: str = "audio/flac") -> bool:
    path = tmp_path / "incoming"
    path.write_bytes(content)
    taken = kept.take(item, path, mime)
    assert path.exists() != taken, "what is kept was moved, what is not is left to its owner"
    return taken


def content_of(kept: Kept, item: str) -> bytes:
    found = kept.find(item)
    assert found is not None
    return found[0].read_bytes()


@pytest.mark.parametrize("item", ["a", "with/slash and ünicode", "x" * 500, ".."])
@pytest.mark.parametrize("mime", ["audio/mpeg", "audio/x-wav", "application/ogg", "audio/vnd.wave"])
def test_a_file_comes_back_with_its_type_also_from_a_home_that_moved(tmp_path: Path, item: str, mime: str) -> None:
    kept = Kept(tmp_path / "posted", 100)
    assert kept.find(item) is None
    assert put(kept, tmp_path, item, b"music", mime)
    (tmp_path / "posted").rename(tmp_path / "elsewhere")
    found = Kept(tmp_path / "elsewhere", 100).find(item)
    assert found is not None
    assert (found[0].read_bytes(), found[1]) == (b"music", mime)
    assert (tmp_path / "elsewhere") in found[0].parents


def test_a_new_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "posted", 10)
    assert put(kept, tmp_path, "a", b"12345678")
    assert put(kept, tmp_path, "a", b"123456789", "audio/wav"), "the old one's bytes are free"
    assert content_of(kept, "a") == b"123456789"
    assert len([path for path in (tmp_path / "posted").rglob("*") if path.is_file()]) == 1
    assert put(kept, tmp_path, "b", b"1")
    assert not put(kept, tmp_path, "c", b"1"), "ten bytes are held"


def test_beyond_the_limit_nothing_gives_way_but_what_the_item_is_no_longer(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "posted", 5)
    assert put(kept, tmp_path, "a", b"123")
    assert not put(kept, tmp_path, "b", b"456")
    assert kept.find("b") is None
    assert content_of(kept, "a") == b"123"
    assert not put(Kept(tmp_path / "posted", 5), tmp_path, "b", b"456"), "what an earlier server kept counts"
    assert not put(kept, tmp_path, "a", b"123456"), "another recording, too large"
    assert kept.find("a") is None, "the old recording is not the item's any more"
    assert put(kept, tmp_path, "b", b"45678")


def test_nothing_is_kept_where_nothing_is_wanted(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "posted", 0)
    assert not put(kept, tmp_path, "a", b"1")
    assert not (tmp_path / "posted").exists()
