"""Sound in and out of a running server: posted files, a watched folder beside it, and the player's own files."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "library"))

from songs import song, write

from segue.benchmarks._server import Server
from segue.benchmarks.scan import flac
from segue.library.uploads import Uploads
from segue.wiring import open_home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("heard") / "home"
    home.mkdir()
    (home / "segue.toml").write_text("[sound]\nworkers = 1\nupload_mib = 1\n")
    return home


@pytest.fixture(scope="module")
def client(home: Path) -> Iterator[httpx.Client]:
    with Server(home) as server, httpx.Client(base_url=server.url, timeout=120) as opened:
        yield opened


def wait_for(held: Any, seconds: float = 90.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := held()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return found


def similar(client: httpx.Client, item: str) -> list[str]:
    answer = client.get(f"/v1/items/{item}/similar", params={"by": "sound", "limit": 20})
    return [row["id"] for row in answer.json()["items"]] if answer.status_code == 200 else []


def test_posted_files_have_their_vectors_when_answered(client: httpx.Client, home: Path) -> None:
    client.put("/v1/items", json={"items": [{"id": "p0", "title": "Mine"}]}).raise_for_status()
    answers = [client.post(f"/v1/items/p{number}/audio", content=flac(song(number))) for number in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 5
    bodies = [answer.json() for answer in answers]
    assert [body["vector"] for body in bodies] == [False, True, True, True, True]  # nothing can be learned from one song
    assert bodies[0]["warnings"]
    assert bodies[4]["model_version"].startswith("lda-")
    assert similar(client, "p4")[0] in ("p0", "p2")  # its own family
    assert "p4" in similar(client, "p0")
    facts = client.get("/v1/items/p0").json()
    assert (facts["title"], round(facts["duration_s"])) == ("Mine", 7)
    again = client.post("/v1/items/p9/audio", content=flac(song(4))).json()
    assert (again["known"], again["recording"], again["vector"]) == (True, bodies[4]["recording"], True)
    assert again["duration_s"] == bodies[4]["duration_s"] is not None
    assert not list((home / "incoming").iterdir())


def test_a_posted_file_can_be_played_and_another_takes_its_place(client: httpx.Client) -> None:
    client.put("/v1/items", json={"items": [{"id": "mine own", "isrc": "x"}]}).raise_for_status()
    first, second = flac(song(6)), flac(song(7))
    assert client.post("/v1/items/mine%20own/audio", content=first).json()["kept"] is True
    extra = client.get("/v1/items/mine%20own").json()["extra"]
    assert {"isrc": "x", "audio_url": "/v1/items/mine%20own/audio"}.items() <= extra.items()
    played = client.get(extra["audio_url"], headers={"Range": "bytes=100-199"})
    assert (played.status_code, played.headers["content-type"]) == (206, "audio/flac")
    assert played.content == first[100:200]
    client.post("/v1/items/mine%20own/audio", content=second).raise_for_status()
    assert client.get(extra["audio_url"]).content == second


def test_an_encoder_that_hears_songs_anew_finds_a_posted_file(tmp_path: Path) -> None:
    with open_home(tmp_path / "home", writer=True) as home:
        path = tmp_path / "posted.flac"
        path.write_bytes(flac(song(3)))
        uploads = Uploads(home.shelf, home.kept)
        assert uploads.submit("s", path).result().kept
        uploads.close()
        assert not path.exists()
        digest = home.recordings.bound().__next__()[0][1]
        heard = home.shelf._heard_again("s", digest)
        assert heard is not None
        assert len(heard) > 0
        assert home.shelf._heard_again("unknown", digest) is None


@pytest.mark.parametrize(
    ("content", "headers", "status", "said"),
    [
        (b"", {}, 422, "empty"),
        (b"just some words\n" * 500, {}, 422, "cannot be opened"),
        (flac(song(1))[:60], {}, 422, "expected"),
        (bytes(1 << 21), {}, 413, "upload_mib"),
        (b"x", {"content-type": "multipart/form-data; boundary=x"}, 422, "--data-binary"),
    ],
    ids=["nothing", "words", "truncated", "large", "form"],
)
def test_what_is_no_music_is_refused_with_the_reason(
    client: httpx.Client, home: Path, content: bytes, headers: dict[str, str], status: int, said: str
) -> None:
    answer = client.post("/v1/items/bad/audio", content=content, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert said in answer.json()["detail"]
    assert client.get("/v1/items/bad").status_code == 404
    assert not list((home / "incoming").iterdir())


def test_a_file_dropped_into_a_watched_folder_is_a_neighbour_and_can_be_played(
    client: httpx.Client, home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "music"
    for number in range(10, 14):
        write(folder / f"{number}.wav", number)
    command = [sys.executable, "-m", "segue", "--home", str(home), "scan", str(folder), "--watch"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as watcher:
        try:
            assert watcher.stderr is not None
            while b"watching" not in (line := watcher.stderr.readline()):
                assert line, "the watcher ended"
            path = write(folder / "deeper" / "dropped here.wav", 16)
            found = wait_for(lambda: client.get("/v1/search", params={"q": "dropped here"}).json()["items"])[0]
            near = wait_for(lambda: similar(client, found["id"]))
            assert any(found["id"] in similar(client, other) for other in near)
            url = client.get(f"/v1/items/{found['id']}").json()["extra"]["audio_url"]
            played = client.get(url, headers={"Range": "bytes=100-199"})
            assert (played.status_code, played.headers["content-type"]) == (206, "audio/wav")
            assert played.content == path.read_bytes()[100:200]
            assert client.get(url).content == path.read_bytes()
            path.write_text("no music any more")
            wait_for(lambda: client.get(f"/v1/items/{found['id']}").json().get("playable") is False)
            assert client.get(url).status_code == 404
        finally:
            watcher.send_signal(signal.SIGTERM)
            watcher.stderr.close()
        assert watcher.wait(60) == 0
