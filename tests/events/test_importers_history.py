import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from importing import NOW, Town, whole

from segue.core.actions import Action
from segue.core.errors import BadInput, NotFound
from segue.events.importers import FORMATS, open_reader
from segue.events.importers.events_of import play_actions

T0 = 1_600_000_000


def listen(artist: str, title: str, at: object = T0, **info: Any) -> dict[str, Any]:
    return {
        "listened_at": at, "inserted_at": 1, "user_name": "ann",
        "track_metadata": {"artist_name": artist, "track_name": title, "release_name": "LP", "additional_info": info},
    }  # fmt: skip


def lines(*rows: Any) -> str:
    return "\n".join(json.dumps(r) for r in rows) + "\n"


def take(folder: Path, path: Path, **options: Any) -> Town:
    town = Town(folder)
    town.summary = town.take(open_reader(path, NOW, **options))  # type: ignore[attr-defined]
    assert whole(town.summary)  # type: ignore[attr-defined]
    return town


def test_listenbrainz_lines(tmp_path: Path) -> None:
    path = tmp_path / "listens.jsonl"
    path.write_text(
        lines(
            listen("Miles Davis", "So What", recording_mbid="m-1", duration_ms=545_000),
            listen("miles davis", "So What!", at=T0 + 60, duration="545"),
            listen("Miles Davis", "Freddie Freeloader", duration_ms=589_000, duration_played=40),
        )
    )
    town = take(tmp_path, path)
    assert town.rows("user", "item", "at", "action", "duration_s") == [
        ("ann", "miles davis\tso what", T0 * 1000, Action.COMPLETED, 545.0),
        ("ann", "miles davis\tso what", T0 * 1000 + 60_000, Action.COMPLETED, 545.0),
        ("ann", "miles davis\tfreddie freeloader", T0 * 1000, Action.SKIPPED, 589.0),
    ]
    assert town.item_facts["miles davis\tso what"] == {
        "id": "miles davis\tso what", "title": "So What", "artist": "Miles Davis", "album": "LP", "duration_s": 545.0,
        "extra": {"recording_mbid": "m-1"},
    }  # fmt: skip


def test_listenbrainz_bad_lines_are_told(tmp_path: Path) -> None:
    path = tmp_path / "listens.jsonl"
    path.write_bytes(
        lines(listen("A", "x"), listen("", "x"), listen("A", None), listen("A", "x", at=-1_200_000_000)).encode()  # type: ignore[arg-type]
        + b"{broken\n\n"
        + b'{"listened_at": 1600000000, "track_metadata": {"artist_name": "\xff", "track_name": "x"}}\n'
        + b'{"listened_at": "soon", "track_metadata": {"artist_name": "A", "track_name": "x"}}\n'
        + b'{"track_metadata": {"artist_name": "A", "track_name": "x"}}\n'
        + b"[" * 5000
        + b"\n"
        + b"x" * (2 << 20)
        + b"\n"
        + lines(listen("B", "last")).encode()
    )
    town = take(tmp_path, path)
    assert town.rows("item") == [("a\tx",), ("b\tlast",)]
    told = {r["line"]: r["reason"] for r in town.rejected}
    assert sorted(told) == [2, 3, 4, 5, 7, 8, 9, 10, 11]
    expected = {2: "artist is missing", 3: "title is missing", 4: "1931", 5: "JSON", 8: "Unix seconds", 9: "missing"}
    for line, words in {**expected, 11: "longer"}.items():
        assert words in told[line], told


def test_a_listenbrainz_zip_with_votes(tmp_path: Path) -> None:
    vote = {"created": "2021-01-01T00:00:00Z", "score": 1, "track_metadata": {"artist_name": "A", "track_name": "x"}}
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("user.json", '{"user_id": 7, "username": "bea"}')
        archive.writestr("listens/2020/9.jsonl", lines({**listen("A", "x"), "user_name": None}))
        archive.writestr("listens/2020/10.jsonl", lines({**listen("A", "y"), "user_name": None}))
        archive.writestr("feedback.jsonl", lines(vote, {**vote, "score": -1, "created": T0}, {**vote, "score": 0}))
        archive.writestr("pinned_recording.jsonl", lines({"blurb": "?"}))
    town = take(tmp_path, path)
    assert sorted(town.rows("user", "item", "action")) == [
        ("bea", "a\tx", Action.COMPLETED), ("bea", "a\tx", Action.LIKED), ("bea", "a\tx", Action.DISLIKED),
        ("bea", "a\ty", Action.COMPLETED),
    ]  # fmt: skip
    assert [r["reason"] for r in town.rejected] == ["score is 0: the vote was taken back"]
    assert take(tmp_path, path, user="me2").rows("user")[0] == ("me2",)


def spotify(title: str | None, ms: int = 200_000, **fields: Any) -> dict[str, Any]:
    return {
        "ts": "2020-09-13T12:26:40Z", "username": "secret-name", "platform": "Android OS 9 API 28 (samsung, SM-G960F)",
        "ms_played": ms, "conn_country": "DE", "ip_addr_decrypted": "203.0.113.9", "user_agent_decrypted": "agent",
        "master_metadata_track_name": title, "master_metadata_album_artist_name": "Nina Simone" if title else None,
        "master_metadata_album_album_name": "LP", "spotify_track_uri": "spotify:track:1", "episode_name": None,
        "episode_show_name": None, "reason_end": "trackdone", "skipped": None, "incognito_mode": False, **fields,
    }  # fmt: skip


@pytest.mark.parametrize("shape", ["file", "folder", "zip"])
def test_spotify_history(tmp_path: Path, shape: str) -> None:
    plays = [
        spotify("Sinnerman"),
        spotify("Sinnerman", 4_000, reason_end="fwdbtn"),
        spotify("Feeling Good", 90_000, skipped=True),
        spotify("Feeling Good", 12_000, reason_end="logout"),
        spotify("Feeling Good", 45_000, reason_end="endplay"),
        spotify(None, episode_name="One", episode_show_name="Show", spotify_track_uri=None, spotify_episode_uri="e:1"),
        spotify(None),
        spotify("Private", incognito_mode=True),
    ]
    name, body = "Streaming_History_Audio_2020_1.json", json.dumps(plays)
    path = tmp_path / name
    if shape == "zip":
        path = tmp_path / "my_spotify_data.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"Spotify Extended Streaming History/{name}", body)
            archive.writestr("ReadMeFirst.pdf", "%PDF")
    else:
        path.write_text(body)
        path = tmp_path if shape == "folder" else path
    town = take(tmp_path, path, user="ann")
    assert [a for (a,) in town.rows("action")] == [
        Action.COMPLETED,
        Action.SKIPPED,
        Action.SKIPPED,
        Action.SKIPPED,
        Action.COMPLETED,
        Action.COMPLETED,
    ]
    assert town.rows("user", "item", "region", "device", "played_s")[0] == (
        "ann",
        "nina simone\tsinnerman",
        "DE",
        "phone",
        200.0,
    )
    assert town.item_facts["show\tone"]["kind"] == "episode"
    assert ["private session" in r["reason"] for r in town.rejected] == [False, True]
    stored = town.rejected_path.read_text() + json.dumps(town.item_facts) + str(town.users.places) + str(town.devices.places)
    for secret in ("secret-name", "203.0.113.9", "agent", "SM-G960F"):
        assert secret not in stored


def test_one_bad_spotify_play_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "endsong_0.json"
    path.write_text(
        json.dumps([spotify("A"), 7, {**spotify("B"), "ms_played": "x"}, spotify("C", ts="never"), spotify("D", -5)])
    )
    town = take(tmp_path, path)
    assert [r["line"] for r in town.rejected] == [2, 3, 4, 5]
    assert len(town.events) == 1
    path.write_text("{")
    with pytest.raises(BadInput, match="JSON array"):
        take(tmp_path, path, format="spotify")


def test_the_short_spotify_history(tmp_path: Path) -> None:
    path = tmp_path / "StreamingHistory0.json"
    path.write_text(json.dumps([{"endTime": "2020-09-13 12:26", "artistName": "A", "trackName": "x", "msPlayed": 31_000}]))
    assert take(tmp_path, path).rows("user", "item", "at", "action") == [("me", "a\tx", 1_599_999_960_000, Action.COMPLETED)]


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ('"A, B",LP,x,13 Sep 2020 12:26\n"A, B",,y,13 Sep 2020 12:27\n', "me"),
        (
            "uts,utc_time,artist,artist_mbid,album,album_mbid,track,track_mbid\n"
            '1599999960,"13 Sep 2020, 12:26","A, B",,LP,,x,m\n1600000020,,"A, B",,,,y,\n',
            "me",
        ),
        ("Artist;Album;AlbumId;Track;Date#ann\nA, B;LP;1;x;1599999960000\nA, B;;;y;1600000020000\n", "ann"),
    ],
)  # fmt: skip
def test_lastfm_in_three_shapes(tmp_path: Path, text: str, user: str) -> None:
    path = tmp_path / "scrobbles.csv"
    path.write_text(text)
    town = take(tmp_path, path)
    assert town.rows("user", "item", "at", "action") == [
        (user, "a b\tx", 1_599_999_960_000, Action.COMPLETED), (user, "a b\ty", 1_600_000_020_000, Action.COMPLETED),
    ]  # fmt: skip
    assert town.item_facts["a b\tx"]["artist"] == "A, B"
    assert town.item_facts["a b\tx"]["album"] == "LP"
    again = town.take(open_reader(path, NOW, format="lastfm"))
    assert (again.accepted, again.duplicates) == (0, 2)


def test_the_same_play_of_two_services_is_one_event(tmp_path: Path) -> None:
    lastfm = tmp_path / "ann.csv"
    lastfm.write_text("Artist;Album;AlbumId;Track;Date#ann\nMiles Davis;LP;1;So What;1600000000000\n")
    brainz = tmp_path / "ann.jsonl"
    brainz.write_text(lines(listen("Miles Davis", "So What")))
    town = take(tmp_path, lastfm)
    again = town.take(open_reader(brainz, NOW))
    assert (again.accepted, again.duplicates) == (0, 1)


def test_movielens_100k_and_1m_and_latest(tmp_path: Path) -> None:
    files = {
        "100k/u.data": "196\t242\t3\t881250949\n186\t302\t5\t891717742\n",
        "100k/u.item": "242|Kolya (1996)|24-Jan-1997||http://x|" + "|".join("01000000100000000000"[:19]) + "\n",
        "100k/u.user": "196|49|M|writer|55105\n186|39|F|executive|0|\n186|39|F|executive|00000\n",
        "1m/ratings.dat": "1::1193::5::978300760\n1::661::3::978302109\n",
        "1m/movies.dat": "1193::One Flew Over the Cuckoo's Nest (1975)::Drama\n661::Giant \xe9 (1996)::Animation|Children's\n",
        "1m/users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n",
        "new/ratings.csv": "userId,movieId,rating,timestamp\n1,2,3.5,1112486027\n",
        "new/movies.csv": 'movieId,title,genres\n2,"American President, The (1995)",Comedy|Drama\n',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    old = take(tmp_path, tmp_path / "100k")
    assert old.rows("user", "item", "value") == [("196", "242", 3.0), ("186", "302", 5.0)]
    assert old.item_facts["242"]["tags"] == ["Action", "Drama"]
    assert (old.user_facts["196"].age_band, old.user_facts["196"].region) == (5, "zip:5xxxx")
    assert [r["reason"] for r in old.rejected] == ["expected 5 fields, found 6"]
    million = take(tmp_path, tmp_path / "1m")
    assert million.item_facts["661"]["title"] == "Giant é (1996)"
    assert million.item_facts["661"]["released"] == "1996"
    assert [million.user_facts[u].age_band for u in "12"] == [None, 6]
    new = take(tmp_path, tmp_path / "new")
    assert new.item_facts["2"] == {
        "id": "2", "title": "American President, The (1995)", "released": "1995", "tags": ["Comedy", "Drama"], "kind": "movie",
    }  # fmt: skip
    assert new.rows("value", "action") == [(3.5, Action.RATED)]


def test_columns_with_our_own_names_need_no_mapping(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    rows = [
        {"event_id": "e1", "user": "a", "item": "x", "action": "liked", "at": T0},
        {"user": "a", "item": "y", "action": "hidden", "at": T0},
    ]
    path.write_bytes(gzip.compress(lines(*rows).encode()))
    town = take(tmp_path, path)
    assert town.rows("user", "item", "action") == [("a", "x", Action.LIKED), ("a", "y", Action.HIDDEN)]


def test_what_fits_nothing_says_what_was_found_and_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        open_reader(tmp_path / "none", NOW)
    odd = tmp_path / "odd.csv"
    odd.write_text("colour,weight\nred,3\n")
    with pytest.raises(BadInput, match=r"found the columns colour, weight; without user, item, at .*--mapping"):
        open_reader(odd, NOW)
    with pytest.raises(BadInput, match=r"expected a Last\.fm CSV"):
        open_reader(odd, NOW, format="lastfm")
    with pytest.raises(BadInput, match="expected one of auto, listenbrainz"):
        open_reader(odd, NOW, format="itunes")
    with pytest.raises(BadInput, match="no mapping is called"):
        open_reader(odd, NOW, mapping="nothing")
    (tmp_path / "x.bin").write_bytes(bytes(range(256)) * 9)
    with pytest.raises(BadInput, match=r"expected \.parquet"):
        open_reader(tmp_path / "x.bin", NOW)
    (tmp_path / "empty.csv").write_bytes(b"")
    with pytest.raises(BadInput):
        open_reader(tmp_path / "empty.csv", NOW)
    (tmp_path / "sub").mkdir()
    for name in FORMATS:
        with pytest.raises(BadInput):
            open_reader(tmp_path / "sub", NOW, format=name)


def test_damaged_files_are_bad_input(tmp_path: Path) -> None:
    whole_file = gzip.compress(lines(*[listen("A", f"{i}", at=T0 + i) for i in range(5000)]).encode())
    (tmp_path / "cut.jsonl.gz").write_bytes(whole_file[:-2000])
    with pytest.raises(BadInput, match="damaged"):
        take(tmp_path, tmp_path / "cut.jsonl.gz", format="listenbrainz")
    (tmp_path / "short.csv.gz").write_bytes(gzip.compress(b"user,item,at\nu,i,1600000000\n")[:-6])
    with pytest.raises(BadInput, match=r"short\.csv\.gz: .*damaged"):  # seen when the format is looked for
        take(tmp_path, tmp_path / "short.csv.gz")


def test_how_a_play_ended() -> None:
    nan = float("nan")
    played = np.array([50.0, 9.0, 10.0, 29.0, 30.0, nan, nan, 200.0])
    length = np.array([100.0, 100.0, 100.0, nan, nan, 100.0, nan, 100.0])
    skipped = np.array([False, False, False, False, False, False, True, True])
    done, left = Action.COMPLETED, Action.SKIPPED
    assert play_actions(played, length, skipped).tolist() == [done, left, done, left, done, done, left, left]


def test_a_folder_of_two_services_is_not_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "Streaming_History_Audio_2020.json").write_text("[]")
    (tmp_path / "listens.jsonl").write_text("")
    with pytest.raises(BadInput, match=r"several services: spotify .*; listenbrainz .*--format"):
        open_reader(tmp_path, 0)


MARK = b"\xef\xbb\xbf"


def test_a_byte_order_mark_costs_no_play(tmp_path: Path) -> None:
    play = {"ts": "2020-09-13T12:26:40Z", "ms_played": 200_000, "reason_end": "trackdone",
            "master_metadata_track_name": "x", "master_metadata_album_artist_name": "A"}  # fmt: skip
    texts = {
        "listens.jsonl": lines(listen("A", "x"), listen("A", "y", at=T0 + 300)),
        "Streaming_History_Audio_2020.json": json.dumps([play, {**play, "master_metadata_track_name": "y"}]),
        "own.jsonl": lines({"user": "u", "item": "a\tx", "at": T0}, {"user": "u", "item": "a\ty", "at": T0}),
        "own.csv": f"user,item,at\nu,a\tx,{T0}\nu,a\ty,{T0}\n",
    }
    for name, text in texts.items():
        path = tmp_path / name
        path.write_bytes(MARK + text.encode())
        town = take(tmp_path, path)
        assert [item for (item,) in town.rows("item")] == ["a\tx", "a\ty"], name
        assert town.rejected == []


@pytest.mark.parametrize("deep", ['{"track_metadata":' * 3000, '{"zzz":' + "[" * 100_000])
def test_a_line_that_is_nested_too_deeply_costs_itself_alone(tmp_path: Path, deep: str) -> None:
    path = tmp_path / "listens.jsonl"
    path.write_text(lines(listen("A", "x")) + deep + "\n" + lines(listen("A", "y")))
    (tmp_path / "user.json").write_bytes(b'{"username": "\xff"}')
    town = take(tmp_path, path)
    assert [item for (item,) in town.rows("item")] == ["a\tx", "a\ty"]
    assert [r["line"] for r in town.rejected] == [2]
    spotify = tmp_path / "Streaming_History_Audio_2020.json"
    spotify.write_text("[" + deep + "]")
    with pytest.raises(BadInput, match="JSON array"):
        take(tmp_path, spotify, format="spotify")


def test_a_listenbrainz_folder_whose_user_file_is_broken_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "user.json").write_bytes(b'{"username": "\xff"}')
    (folder / "2020.jsonl").write_text(lines({**listen("A", "x"), "user_name": None}))
    assert take(tmp_path, folder).rows("user", "item") == [("me", "a\tx")]


@pytest.mark.parametrize("sign", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lastfm_with_any_delimiter_and_any_line_end(tmp_path: Path, sign: str, end: str) -> None:
    rows = [["uts", "artist", "album", "track"], ["1599999960", '"A; B,\tC; D; E"', "LP", "x"], ["1600000020", "B", "", "y"]]
    path = tmp_path / "scrobbles.csv"
    path.write_text("".join(sign.join(row) + end for row in rows), newline="")
    assert take(tmp_path, path).rows("item", "at") == [("a b c d e\tx", 1_599_999_960_000), ("b\ty", 1_600_000_020_000)]
    path.write_text(sign.join(['"A; B,\tC; D; E"', "LP", "x", "13 Sep 2020 12:26"]) + end, newline="")
    assert take(tmp_path, path).rows("item", "at") == [("a b c d e\tx", 1_599_999_960_000)], "without a header"


def test_two_histories_of_spotify_that_tell_the_same_plays_are_not_added_up(tmp_path: Path) -> None:
    play = {"endTime": "2020-09-13 12:26", "artistName": "A", "trackName": "x", "msPlayed": 31_000}
    (tmp_path / "StreamingHistory_music_0.json").write_text(json.dumps([play]))
    (tmp_path / "Streaming_History_Audio_2020.json").write_text("[]")
    with pytest.raises(BadInput, match=r"StreamingHistory_music_0\.json\) lies beside the extended one.*twice"):
        open_reader(tmp_path, NOW)
