"""A folder of music, scanned again and again: what is new is heard, what moved keeps its name, what is broken harms nothing."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import struct
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import mutagen
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from songs import small_network, song, write

from segue import wiring
from segue.benchmarks.scan import flac
from segue.cli import main
from segue.core.records import ItemRecord
from segue.library.scan import Scan, Summary
from segue.library.shelf import in_step
from segue.library.uploads import Placed, Uploads
from segue.sound.lda import ClipLda
from segue.sound.statistics import STATISTICS_VERSION

SONGS = 6


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(home, folder) after a first scan of six songs; tests take copies."""
    top = tmp_path_factory.mktemp("scanned")
    for number in range(SONGS):
        path = top / "music" / f"album {number % 2}" / f"{number}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(flac(song(number)))
        file = mutagen.File(path, easy=True)
        file["title"], file["artist"], file["date"], file["genre"] = f"Song {number}", "Somebody", "1999-05", "Drone; Ambient"
        file["musicbrainz_trackid"] = f"0000000{number}-0000-0000-0000-000000000000"
        file.save()
    assert main(["--home", str(top / "home"), "scan", str(top / "music")]) == 0
    return top / "home", top / "music"


@pytest.fixture
def home(scanned: tuple[Path, Path], tmp_path: Path) -> Iterator[wiring.Home]:
    """A copy of the scanned home, the folder beside it under its old place."""
    shutil.copytree(scanned[0], tmp_path / "home")
    with wiring.open_home(tmp_path / "home", writer=False) as opened:
        yield opened


@pytest.fixture
def folder(scanned: tuple[Path, Path], home: wiring.Home, tmp_path: Path) -> Path:
    """A copy of the folder that the home has scanned once as well."""
    copy = Path(shutil.copytree(scanned[1], tmp_path / "music"))
    assert again(home, copy).heard_s == 0
    return copy


def again(home: wiring.Home, folder: Path) -> Summary:
    scan = Scan(home.shelf, folder, lambda *_: None)
    try:
        return scan.run()
    finally:
        scan.close()


def item_of(home: wiring.Home, path: Path) -> str:
    (file,) = home.recordings.files([os.path.realpath(os.fsencode(path))])
    assert file is not None
    return file.item


def test_tags_become_facts_and_every_song_has_a_vector(home: wiring.Home, scanned: tuple[Path, Path]) -> None:
    for number in range(SONGS):
        name = item_of(home, scanned[1] / f"album {number % 2}" / f"{number}.flac")
        dense = home.catalogue.items.find([name])
        record = home.catalogue.item(int(dense[0]))
        assert (record.title, record.artist, record.released, record.tags) == (
            f"Song {number}", "Somebody", "1999-05", ["drone", "ambient"],
        )  # fmt: skip
        assert record.duration_s == pytest.approx(7, abs=0.1)
        assert (record.extra or {})["musicbrainz_recording"] == f"0000000{number}-0000-0000-0000-000000000000"
        assert np.isfinite(home.vectors.get(dense)).all()
        near = home.vectors.search(home.vectors.get(dense), 3)[0][0]
        families = {int(home.catalogue.item(int(item)).title[-1]) % 2 for item in near}
        assert families == {number % 2}, "the two nearest of a song are its family"


def test_a_second_scan_opens_nothing(home: wiring.Home, folder: Path) -> None:
    second = again(home, folder)
    assert (second.files, second.unchanged, second.opened) == (SONGS, SONGS, 0)


def test_moved_renamed_and_tagged_anew_it_is_the_same_song(home: wiring.Home, folder: Path) -> None:
    old, new = folder / "album 0" / "0.flac", folder / "else" / "other name.flac"
    name = item_of(home, old)
    new.parent.mkdir()
    old.rename(new)
    file = mutagen.File(new, easy=True)
    file["title"] = "Another title"
    file.save()
    summary = again(home, folder)
    assert (summary.known, summary.gone, summary.new, summary.heard_s) == (1, 0, 0, 0), "moved is not gone"
    assert item_of(home, new) == name
    record = home.catalogue.item(int(home.catalogue.items.find([name])[0]))
    assert (record.title, record.playable) == ("Another title", True)


def test_a_folder_within_a_scanned_one_is_not_opened_again(home: wiring.Home, folder: Path) -> None:
    inner = again(home, folder / "album 0")
    assert (inner.unchanged, inner.opened) == (SONGS // 2, 0)
    (folder / "album 0" / "0.flac").unlink()
    assert again(home, folder / "album 0").gone == 0, "the same recording is in the folder that was scanned first"
    outer = again(home, folder)
    assert (outer.unchanged, outer.opened, outer.gone) == (SONGS - 1, 0, 0)


def test_what_the_system_refuses_is_told_and_tried_again(
    home: wiring.Home, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = os.path.realpath(os.fsencode(write(folder / "mine.wav", 31)))
    listed, closed = os.scandir, os.path.realpath(os.fsencode(folder / "album 0"))

    def scandir(where: bytes) -> object:
        if where == closed:
            raise PermissionError(13, "Permission denied")
        return listed(where)

    with monkeypatch.context() as patched:
        patched.setattr("segue.library.walk.os.scandir", scandir)
        summary = again(home, folder)
    assert summary.refused == [(os.fsdecode(closed), "the folder cannot be listed: Permission denied")]
    assert (summary.unreadable, summary.gone) == (1, 0)
    (file,) = home.recordings.files([path])
    assert file is not None
    home.recordings.note([msgspec.structs.replace(file, item="", refused="cannot be read: Permission denied")])
    assert again(home, folder).known == 1, "a right that was given later leaves the file's time as it is"
    assert item_of(home, folder / "mine.wav") == file.item


def test_a_posted_copy_plays_on_when_the_folder_loses_its_file(home: wiring.Home, folder: Path) -> None:
    path = write(folder / "mine.wav", 32)
    again(home, folder)
    name = item_of(home, path)
    assert home.kept.take(name, Path(shutil.copy(path, home.path / "posted copy")), "audio/wav")
    path.unlink()
    assert again(home, folder).gone == 1
    dense = int(home.catalogue.items.find([name])[0])
    assert home.catalogue.item(dense).playable is True
    assert home.audio_of(dense) is not None


def test_what_is_gone_is_not_played_until_it_comes_back(home: wiring.Home, folder: Path, scanned: tuple[Path, Path]) -> None:
    path = folder / "album 1" / "9.wav"
    write(path, 9)
    assert again(home, folder).new == 1
    name, content = item_of(home, path), path.read_bytes()
    dense = int(home.catalogue.items.find([name])[0])
    path.unlink()
    assert again(home, folder).gone == 1
    assert home.catalogue.item(dense).playable is False
    assert home.audio_of(dense) is None
    path.write_bytes(content)
    back = again(home, folder)
    assert (back.known, back.heard_s) == (1, 0)
    assert home.catalogue.item(dense).playable is True
    assert home.audio_of(dense) is not None


def test_other_music_in_a_file_is_another_song(home: wiring.Home, folder: Path) -> None:
    path = write(folder / "changing.wav", 20)
    again(home, folder)
    before = item_of(home, path)
    write(path, 21, seconds=8)
    again(home, folder)
    assert item_of(home, path) != before
    assert home.catalogue.item(int(home.catalogue.items.find([before])[0])).playable is False


def test_a_library_that_has_doubled_is_learned_anew_and_the_old_vectors_go(home: wiring.Home, folder: Path) -> None:
    before = home.vectors.version
    for number in range(10, 10 + SONGS):
        write(folder / f"{number}.wav", number)
    summary = again(home, folder)
    assert (summary.new, summary.learned) == (SONGS, True)
    assert home.vectors.version != before
    assert home.vectors.versions() == [home.vectors.version]
    assert len(home.vectors) == 2 * SONGS


def test_new_statistics_are_taken_anew_and_the_encoder_that_knows_fewer_hears_until_then(
    home: wiring.Home, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = home.shelf.serving()
    assert fitted is not None
    assert not fitted.outdated
    arrays = dict(fitted.encoder.arrays())
    arrays = {"centre": arrays["centre"][:-50], "projection": arrays["projection"][:-50]}  # of a version that had fewer
    facts = fitted.encoder.manifest()
    facts |= {"version": "lda-of-before", "input": facts["input"] | {"statistics": STATISTICS_VERSION - 1}}
    artifact = home.artifacts.put("encoder", arrays, {"encoder": facts, "setting": "lda", "songs": SONGS})
    home.artifacts.set_aliases("encoder", {"serving": artifact, "of-lda": artifact})
    items = np.arange(SONGS, dtype=np.int32)
    home.vectors.put("lda-of-before", items, home.vectors.get(items))
    home.vectors.use("lda-of-before")
    write(folder / "one more.wav", 20)
    with sqlite3.connect(home.path / "recordings" / "recordings.db") as db:
        db.execute("UPDATE recordings SET version = version - 1")
    heard: list[int] = []
    monkeypatch.setattr(home.shelf, "keep_up", lambda *_, **__: bool(heard.append(len(home.vectors))))
    summary = again(home, folder)
    assert (summary.opened, summary.learned, heard) == (SONGS + 1, False, [SONGS + 1])  # the new one has a vector of before
    assert home.vectors.version == "lda-of-before"
    monkeypatch.undo()
    assert home.shelf.due(), "the whole library was heard again"
    summary = again(home, folder)
    assert (summary.opened, summary.learned) == (0, True)
    assert home.vectors.version == home.shelf.serving().version != "lda-of-before"
    assert len(home.vectors) == SONGS + 1
    assert not home.shelf.due(settled=True)


def test_the_default_beside_a_network_serves_and_hears_new_songs(home: wiring.Home, folder: Path) -> None:
    assert main(["--home", str(home.path), "encoder", "import", str(small_network(folder.parent))]) == 0
    (home.path / "segue.toml").write_text('[sound]\nencoder = "lda+small"\n')
    with wiring.open_home(home.path, writer=False) as other:
        before, told = other.vectors.version, list[tuple[str, int, int]]()
        scan = Scan(other.shelf, folder, lambda *said: told.append(said))
        assert scan.run().learned
        scan.close()
        for what in ("learning how songs sound", "songs to vectors"):  # hearing takes long: how far it is shows at every song
            assert {(what, done, SONGS) for done in range(1, SONGS + 1)} <= set(told)
        assert other.vectors.version.startswith("concatenated-")
        assert other.vectors.version != before
        fitted = other.shelf.serving()
        assert fitted is not None
        assert fitted.setting == "lda+small"
        row = other.vectors.get(np.array([0], np.int32))
        assert row.shape[1] == fitted.encoder.dimension > 64
        assert np.linalg.norm(row) == pytest.approx(1, abs=1e-5)
        write(folder / "one more.wav", 20)
        assert again(other, folder).new == 1
        assert len(other.vectors) == SONGS + 1
        items, cosines = other.vectors.search(other.vectors.get(np.array([SONGS], np.int32)), 3)
        assert items[0, 0] == SONGS
        assert cosines[0, 0] == pytest.approx(1, abs=1e-3)
        near = [other.catalogue.item(item).title for item in items[0, 1:].tolist()]
        assert set(near) <= {"Song 0", "Song 2", "Song 4"}, "low and steady, like song 20"
    with wiring.open_home(home.path, writer=False) as opened:  # another process reads it from the disk
        again_there = opened.shelf.serving()
        assert again_there is not None
        assert again_there.encoder.manifest()["version"] == opened.vectors.version


def test_another_encoder_serves_when_all_is_embedded_and_the_way_back_costs_nothing(home: wiring.Home, folder: Path) -> None:
    before = home.vectors.version
    (home.path / "segue.toml").write_text('[sound]\nencoder = "mfcc"\n')
    with wiring.open_home(home.path, writer=False) as other:
        again(other, folder)
        assert other.vectors.version.startswith("mfcc-")
        assert len(other.vectors) == SONGS
        assert set(other.vectors.versions()) == {before, other.vectors.version}
    (home.path / "segue.toml").unlink()
    with wiring.open_home(home.path, writer=False) as back:
        back.shelf.make = lambda: pytest.fail("the encoder that served before is kept, not learned again")
        again(back, folder)
        assert back.vectors.version == before


def test_a_song_that_comes_while_another_encoder_is_learned_is_never_without_a_vector(
    home: wiring.Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = next(digest for chunk in home.recordings.bound() for _, digest in chunk)
    statistics = home.recordings.statistics(digest)
    assert statistics is not None
    bound, use = home.recordings.bound, home.vectors.use
    said, served = set[str](), list[bool]()

    def bound_before_it_came() -> Iterator[list[tuple[str, str]]]:
        yield from bound()
        if "songs to vectors" not in said or home.catalogue.items.find(["late"])[0] >= 0:
            return  # still learning, or it has come already
        home.catalogue.put_items([ItemRecord("late", title="Late")])
        home.recordings.keep("e" * 24, 7.0, statistics)
        home.recordings.bind([("late", "e" * 24)])
        assert home.shelf.place(["late"], [None], ["e" * 24])

    def used(version: str) -> None:
        served.append(bool(np.isfinite(home.vectors.get(home.catalogue.items.find(["late"]), version)).all()))
        use(version)

    monkeypatch.setattr(home.recordings, "bound", bound_before_it_came)
    monkeypatch.setattr(home.vectors, "use", used)
    home.shelf.setting, home.shelf.make = "another", lambda: ClipLda(size=4)
    assert home.shelf.keep_up(lambda what, done, total: said.add(what), anew=True)
    assert served == [True]


def test_what_a_crash_left_without_a_vector_gets_one(home: wiring.Home, folder: Path) -> None:
    name = item_of(home, folder / "album 0" / "2.flac")
    dense = home.catalogue.items.find([name])
    before = home.vectors.get(dense)
    home.vectors.remove(dense)
    assert again(home, folder).opened == 0
    np.testing.assert_array_equal(home.vectors.get(dense), before)


def test_an_imported_history_that_knows_the_recording_meets_its_file(tmp_path: Path) -> None:
    recording = "12345678-0000-0000-0000-000000000000"
    path = tmp_path / "music" / "a.flac"
    path.parent.mkdir()
    path.write_bytes(flac(song(3)))
    file = mutagen.File(path, easy=True)
    file["musicbrainz_trackid"] = recording
    file.save()
    with wiring.open_home(tmp_path / "home", writer=False) as home:
        home.catalogue.items.intern([recording])
        again(home, path.parent)
        assert item_of(home, path) == recording


def hostile(folder: Path) -> None:
    """Files that are no music, or more than music may be."""
    folder.mkdir(parents=True, exist_ok=True)
    good = flac(song(1))
    (folder / "empty.mp3").write_bytes(b"")
    (folder / "text.mp3").write_text("just some words\n" * 500)
    (folder / "truncated.flac").write_bytes(good[:60])
    (folder / "list.m4a").write_text("#EXTM3U\n/etc/hostname\n")

    def pcm(rate: int, channels: int, size: int) -> bytes:
        form = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * channels * 2, channels * 2, 16)
        return b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + form + b"data" + struct.pack("<I", size)

    (folder / "one hertz.wav").write_bytes(pcm(1, 1, 64_000) + bytes(64_000))
    (folder / "many channels.wav").write_bytes(pcm(16_000, 32, 64_000) + bytes(64_000))
    with (folder / "ten hours.wav").open("wb") as file:  # a hole: it takes no room on the disk
        file.write(pcm(16_000, 1, 2 * 16_000 * 36_000))
        file.truncate(44 + 2 * 16_000 * 36_000)
    (folder / "leads out.flac").symlink_to("/etc/hostname")
    (folder / "circle.flac").symlink_to(folder / "circle.flac")


def test_a_folder_of_broken_files_is_survived_and_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile(tmp_path / "music")
    for number in range(3):
        write(tmp_path / "music" / f"{number}.wav", number)
    command = ["--home", str(tmp_path / "home"), "scan", str(tmp_path / "music"), "--json"]
    for _ in range(2):  # the second scan opens none of them, and tells of them again
        assert main(command) == 0
        facts = json.loads(capsys.readouterr().out)
        lines = (tmp_path / "home" / "unreadable.jsonl").read_text().splitlines()
        reasons = {Path(row["path"]).name: row["reason"] for row in map(json.loads, lines)}
        assert facts["unreadable"] == len(reasons) == 6, reasons
    assert facts["opened"] == 0
    assert facts["songs"] == 4  # three, and the first ten minutes of the ten hours
    assert "32" in reasons["many channels.wav"]
    assert "found 1" in reasons["one hertz.wav"]
    assert "empty" in reasons["empty.mp3"]


def test_a_folder_that_is_none_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--home", str(tmp_path / "home"), "scan", str(tmp_path / "nowhere")]) == 2
    assert "expected a folder of music, found nothing" in capsys.readouterr().err


def test_only_files_inside_a_scanned_folder_are_played(home: wiring.Home, folder: Path, tmp_path: Path) -> None:
    path = write(folder / "mine.wav", 30)
    again(home, folder)
    dense = int(home.catalogue.items.find([item_of(home, path)])[0])
    found = home.audio_of(dense)
    assert found is not None
    assert (found.source, found.mime) == (Path(os.path.realpath(path)), "audio/wav")
    outside = tmp_path / "secret.wav"
    path.rename(outside)
    path.symlink_to(outside)  # the file gives way to a link that leads out
    assert home.audio_of(dense) is None
    path.unlink()
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")  # so does the folder
    assert home.audio_of(dense) is None


def test_songs_are_heard_ahead_and_come_in_order() -> None:
    assert (
        list(in_step(lambda n: n * n, range(20), 3))
        == [n * n for n in range(20)]
        == list(in_step(lambda n: n * n, range(20), 0))
    )
    begun: list[int] = []
    some = in_step(lambda n: begun.append(n) or n, iter(range(1_000)), 2)
    assert next(some) == 0
    some.close()  # type: ignore[attr-defined]
    assert len(begun) <= 4, "who has heard enough does not wait for the rest of the library"


def test_a_file_stands_for_its_song_or_says_why_not(
    home: wiring.Home, folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    strange = folder / os.fsdecode(b"latin\xe9 [red].wav")
    write(strange, 33)
    (folder / "text.mp3").write_text("no music")
    again(home, folder)

    def near(name: object) -> tuple[int, str, str]:
        code = main(["--home", str(home.path), "similar", str(name), "--by", "sound"])
        return code, *capsys.readouterr()

    code, out, _ = near(strange)
    assert code == 0
    assert "latin? [red].wav" in out
    assert near(folder / "text.mp3")[2].startswith(
        f"segue: '{folder}/text.mp3' could not be read when it was scanned: expected"
    )
    assert "was not scanned" in near(write(tmp_path / "other.wav", 34))[2]
    code, _, error = near("Song 3")
    assert code == 2
    assert f"did you mean '{item_of(home, folder / 'album 1' / '3.flac')}' (Song 3)" in error


def test_encoder_fit_learns_now_and_says_what_it_needs(
    home: wiring.Home, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = home.vectors.version
    assert main(["--home", str(home.path), "encoder", "fit", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["version"], facts["vectors"]) == (before, SONGS)  # the same library gives the same encoder
    home.vectors.refresh()
    assert home.vectors.version == before
    assert main(["--home", str(tmp_path / "empty"), "encoder", "fit"]) == 2
    assert "two songs" in capsys.readouterr().err


def older(home: wiring.Home) -> None:
    """All statistics of a version before: what an upgrade of Segue finds."""
    with sqlite3.connect(home.path / "recordings" / "recordings.db") as db:
        db.execute("UPDATE recordings SET version = version - 1")


def posted(home: wiring.Home, item: str, path: Path) -> Placed:
    uploads = Uploads(home.shelf, home.kept)
    try:
        return uploads.submit(item, path).result()
    finally:
        uploads.close()


def vector_of(home: wiring.Home, item: str) -> np.ndarray:
    return home.vectors.get(home.catalogue.items.find([item]))[0]


def test_after_an_upgrade_nothing_is_opened_twice_for_songs_that_are_gone(home: wiring.Home, folder: Path) -> None:
    (folder / "album 0" / "0.flac").unlink()
    again(home, folder)
    older(home)
    assert again(home, folder).opened == SONGS - 1
    assert again(home, folder).opened == 0, "the song that is gone can be heard by nobody"


def test_after_an_upgrade_what_was_posted_is_heard_again(home: wiring.Home, folder: Path, tmp_path: Path) -> None:
    assert posted(home, "mine", write(tmp_path / "posted.wav", 30)).vector
    older(home)
    again(home, folder)
    assert len(home.recordings) == SONGS + 1
    older(home)
    uploads = Uploads(home.shelf, home.kept)  # a server without a folder to scan
    uploads._learner.submit(lambda: None).result()
    uploads.close()
    assert [item for chunk in home.recordings.bound() for item, _ in chunk] == ["mine"]


def test_unchanged_files_cost_no_look_at_the_whole_library(
    home: wiring.Home, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    unheard = home.recordings.unheard
    monkeypatch.setattr(home.recordings, "unheard", lambda items: (asked.append(len(items)), unheard(items))[1])
    scan = Scan(home.shelf, folder, lambda *_: None)
    assert scan.take_in([], 0) == 0
    assert asked == [], "a watcher that sees no change asks nothing"
    scan.run()
    scan.close()
    assert asked == [SONGS]


def test_songs_of_a_folder_that_was_scanned_by_itself_go_with_the_folder_above(home: wiring.Home, folder: Path) -> None:
    path = write(folder / "album 2" / "9.wav", 9)
    again(home, path.parent)
    name = item_of(home, path)
    shutil.rmtree(path.parent)
    assert again(home, folder).gone == 1
    assert home.catalogue.item(int(home.catalogue.items.find([name])[0])).playable is False


def test_who_posts_a_file_for_a_scanned_song_replaces_it(home: wiring.Home, folder: Path, tmp_path: Path) -> None:
    assert main(["--home", str(home.path), "encoder", "import", str(small_network(folder.parent))]) == 0
    (home.path / "segue.toml").write_text('[sound]\nencoder = "small"\n')
    with wiring.open_home(home.path, writer=False) as other:
        assert again(other, folder).learned
        assert posted(other, "new", write(tmp_path / "posted.wav", 31)).vector
        name = item_of(other, folder / "album 1" / "1.flac")
        dense = int(other.catalogue.items.find([name])[0])
        assert posted(other, name, write(tmp_path / "posted.wav", 31)).known
        np.testing.assert_array_equal(vector_of(other, name), vector_of(other, "new"))
        audio = other.audio_of(dense)
        assert audio is not None
        assert audio.source == other.kept.find(name)[0]
        other.vectors.remove(np.array([dense], np.int32))
        other.shelf.catch_up(lambda *_: None)
        np.testing.assert_array_equal(vector_of(other, name), vector_of(other, "new"))
        os.utime(folder / "album 1" / "1.flac", (1, 1))  # the file of before is looked at again: it has not the last word
        assert again(other, folder).opened == 1
        np.testing.assert_array_equal(vector_of(other, name), vector_of(other, "new"))
        assert other.recordings.items_of(other.ears.identify(audio.source).digest) == [name, "new"]
        assert again(other, folder).opened == 0


def test_what_a_wrong_file_made_a_duplicate_is_none_after_the_right_one(
    home: wiring.Home, folder: Path, tmp_path: Path
) -> None:
    name = item_of(home, folder / "album 0" / "0.flac")
    home.catalogue.put_items([ItemRecord("mine", extra={"isrc": "x"}), ItemRecord("named", extra={"work": "an own word"})])

    def works() -> list[int]:
        return home.catalogue.facts.work[home.catalogue.items.find([name, "mine"])].tolist()

    posted(home, "mine", write(tmp_path / "posted", 0))
    assert len(set(works())) == 1
    posted(home, "mine", write(tmp_path / "posted", 31))
    assert len(set(works())) == 2
    assert (home.catalogue.item(int(home.catalogue.items.find(["mine"])[0])).extra or {})["isrc"] == "x"
    posted(home, "named", write(tmp_path / "posted", 33))
    posted(home, "named", write(tmp_path / "posted", 35))
    assert (home.catalogue.item(int(home.catalogue.items.find(["named"])[0])).extra or {})["work"] == "an own word"


def test_what_is_posted_again_and_not_kept_has_a_vector_of_a_network(home: wiring.Home, folder: Path, tmp_path: Path) -> None:
    assert main(["--home", str(home.path), "encoder", "import", str(small_network(folder.parent))]) == 0
    (home.path / "segue.toml").write_text('[sound]\nencoder = "small"\nkeep_gib = 0\n')
    with wiring.open_home(home.path, writer=False) as other:
        assert again(other, folder).learned
        first, second = (posted(other, item, write(tmp_path / "posted.wav", 31)) for item in ("one", "two"))
        assert (first.vector, second.vector, second.known, second.kept) == (True, True, True, False)


def test_damaged_statistics_are_taken_anew_when_the_file_comes_again(home: wiring.Home, folder: Path) -> None:
    path = folder / "album 0" / "0.flac"
    for pack in (home.path / "recordings").glob("pack-*"):
        pack.write_bytes(bytes(pack.stat().st_size))
    os.utime(path)
    assert again(home, folder).new == 1
    assert item_of(home, path) in [item for chunk in home.recordings.bound() for item, digest in chunk
                                   if home.recordings.statistics(digest) is not None]  # fmt: skip


def test_vectors_of_an_encoder_that_was_given_up_are_freed(home: wiring.Home, folder: Path) -> None:
    serving = home.shelf.serving()
    assert serving is not None
    facts = serving.encoder.manifest() | {"version": "lda-given-up"}
    artifact = home.artifacts.put("encoder", serving.encoder.arrays(), {"encoder": facts, "setting": "other", "songs": SONGS})
    home.artifacts.set_aliases("encoder", {"next": artifact})  # killed while it embedded, then the setting was taken back
    home.vectors.put("lda-given-up", np.arange(2, dtype=np.int32), home.vectors.get(np.arange(2, dtype=np.int32)))
    again(home, folder)
    assert home.vectors.versions() == [home.vectors.version]


def test_of_two_files_for_one_item_at_once_one_is_kept_and_bound(
    home: wiring.Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads, bind, other = Uploads(home.shelf, home.kept), home.recordings.bind, threading.Event()

    def late(pairs: Sequence[tuple[str, str]]) -> None:
        if pairs and pairs[0][1] == first:
            other.wait(0.5)  # as long as the other file may come between
        bind(pairs)
        if pairs and pairs[0][1] != first:
            other.set()

    paths = [write(tmp_path / f"{number}.wav", number) for number in (31, 33)]
    first = home.ears.identify(paths[0]).digest
    monkeypatch.setattr(home.recordings, "bind", late)
    done = [uploads.submit("x", path) for path in paths]
    assert all(one.result().kept for one in done)
    uploads.close()
    assert home.recordings.items_of(home.ears.identify(home.kept.find("x")[0]).digest) == ["x"]


def test_the_way_back_to_an_encoder_is_not_to_another_recording(home: wiring.Home, folder: Path, tmp_path: Path) -> None:
    name = item_of(home, folder / "album 0" / "0.flac")
    (home.path / "segue.toml").write_text('[sound]\nencoder = "mfcc"\n')
    with wiring.open_home(home.path, writer=False) as other:
        again(other, folder)
        assert posted(other, name, write(tmp_path / "posted.wav", 31)).vector
    (home.path / "segue.toml").unlink()
    with wiring.open_home(home.path, writer=False) as back:
        again(back, folder)
        fitted = back.shelf.serving()
        assert fitted is not None
        assert fitted.setting == "lda"
        digest = back.ears.identify(back.kept.find(name)[0]).digest
        wanted = fitted.encoder.encode_statistics(back.recordings.statistics(digest).astype(np.float32))
        np.testing.assert_allclose(vector_of(back, name), wanted, atol=1e-5)


def test_a_song_whose_file_goes_after_a_crash_is_not_played(
    home: wiring.Home, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(folder / "9.wav", 9)

    def killed(pairs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(home.recordings, "bind", killed)
        with pytest.raises(KeyboardInterrupt):
            again(home, folder)
    name = f"sound-{home.ears.identify(path).digest}"
    path.unlink()
    assert again(home, folder).gone == 1
    assert home.catalogue.item(int(home.catalogue.items.find([name])[0])).playable is False
    write(path, 9)
    assert again(home, folder).opened == 1
    assert home.catalogue.item(int(home.catalogue.items.find([name])[0])).playable is True
