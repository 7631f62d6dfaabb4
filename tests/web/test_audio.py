"""An item's sound over a real socket: whole, in ranges, and never what is no sound of an item."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn

from segue.core.records import Audio
from segue.monitoring.counters import Counters
from segue.web import app
from segue.web.one_write import OneWriteProtocol

SONG = bytes(np.random.default_rng(1).integers(0, 256, 700_001, np.uint8))


class Names:
    """Items "0" to "4"."""

    def find(self, names: list[str]) -> np.ndarray:
        return np.array([int(name) if name.isdigit() and int(name) < 5 else -1 for name in names], np.int32)


@contextmanager
def serving(sounds: dict[int, Audio]) -> Iterator[httpx.Client]:
    """The application on a socket, with these sounds."""
    service: Any = SimpleNamespace(
        catalogue=SimpleNamespace(items=Names()), audio_of=sounds.get, counters=Counters(), keys=frozenset(), botify=None
    )
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(16)
    config = uvicorn.Config(app.create(service), log_level="error", http=OneWriteProtocol, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("sounds")
    (folder / "song.mp3").write_bytes(SONG)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "link.mp3").symlink_to("/etc/hostname")
    sounds = {
        0: Audio(folder / "song.mp3", "audio/mpeg"),
        1: Audio(SONG, "audio/wav"),
        2: Audio(folder / "gone.ogg", "audio/ogg"),
        3: Audio(folder / "link.mp3", "audio/mpeg"),
        4: Audio(folder / "empty.wav", "audio/wav"),
    }
    with serving(sounds) as opened:
        yield opened


@pytest.mark.parametrize(("item", "mime"), [("0", "audio/mpeg"), ("1", "audio/wav")])
def test_whole_and_in_ranges(client: httpx.Client, item: str, mime: str) -> None:
    url = f"/v1/items/{item}/audio"
    whole = client.get(url)
    assert (whole.status_code, whole.content == SONG) == (200, True)
    assert whole.headers["content-type"] == mime
    assert whole.headers["accept-ranges"] == "bytes"
    size = len(SONG)
    for asked, first, last in (
        ("bytes=0-0", 0, 0),
        ("bytes=100-299999", 100, 299_999),
        ("bytes=700000-", 700_000, size - 1),
        ("bytes=-7", size - 7, size - 1),
        ("bytes=0-", 0, size - 1),
        ("bytes=5-99999999999", 5, size - 1),
        ("bytes=-99999999999", 0, size - 1),
    ):
        part = client.get(url, headers={"Range": asked})
        assert part.status_code == 206, asked
        assert part.headers["content-range"] == f"bytes {first}-{last}/{size}"
        assert part.content == SONG[first : last + 1], asked


def test_what_cannot_be_had_is_416_and_what_is_no_range_is_the_whole(client: httpx.Client) -> None:
    for asked in ("bytes=700001-", "bytes=9-3", "bytes=-0"):
        refused = client.get("/v1/items/0/audio", headers={"Range": asked})
        assert refused.status_code == 416, asked
        assert refused.headers["content-range"] == f"bytes */{len(SONG)}"
        assert refused.headers["content-type"] == "application/problem+json"
    for asked in ("bytes=0-1,5-9", "rows=1-2", "bytes=-", "bytes=a-b", "bytes=" + "9" * 40 + "-"):
        whole = client.get("/v1/items/0/audio", headers={"Range": asked})
        assert (whole.status_code, len(whole.content)) == (200, len(SONG)), asked


def test_tags_spare_what_the_player_has_and_keep_ranges_of_one_file_together(client: httpx.Client) -> None:
    url = "/v1/items/0/audio"
    tag = client.get(url).headers["etag"]
    assert client.get(url, headers={"If-None-Match": tag}).status_code == 304
    same = client.get(url, headers={"Range": "bytes=1-2", "If-Range": tag})
    other = client.get(url, headers={"Range": "bytes=1-2", "If-Range": '"other"'})
    assert (same.status_code, other.status_code) == (206, 200)
    head = client.head(url)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(SONG)), b"")


def test_nothing_else_can_be_read(client: httpx.Client) -> None:
    for item in ("2", "3", "4", "5", "nobody", "../../etc/passwd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd"):
        answer = client.get(f"/v1/items/{item}/audio")
        assert answer.status_code == 404, item
        assert b"root:" not in answer.content
