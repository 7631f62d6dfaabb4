"""The botify protocol against a real server: the course simulator's own loop, raw on a socket, and bad input in words."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from segue.benchmarks._server import Server
from segue.cli import main

WORLD = ["--songs", "400", "--listeners", "60", "--seed", "5"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("botify") / "home"
    home.mkdir()
    (home / "segue.toml").write_text("[botify]\nenabled = true\n")
    assert main(["--home", str(home), "simulate", *WORLD, "--learn", "300", "--settle"]) == 0
    with Server(home) as running:
        yield running


def test_a_session_hears_each_track_once_and_ends_with_last(server: Server) -> None:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        before = client.get("/health/ready").json()["applied"]
        track, heard = 3, [3]
        for _ in range(12):
            answer = client.post("/next/7", json={"track": track, "time": 0.9})
            assert answer.status_code == 200
            assert answer.json()["user"] == 7
            track = answer.json()["track"]
            heard.append(track)
        assert len(set(heard)) == len(heard), "no repeats within a session"
        assert client.post("/last/7", json={"track": track, "time": 0.05}).json() == {"user": 7, "track": track}
        assert client.get("/health/ready").json()["applied"] == before + 13, "every answer is folded before the next track"


def test_its_listeners_are_in_the_experiments_too(server: Server) -> None:
    plan = {"name": "tracks", "hypothesis": "sessions of tracks have arms", "new": {"radio": {"explore": 0.9}}, "users": 1000,
            "ramp": [{"new": 0.4, "old": 0.4, "days": 30, "decides": True}]}  # fmt: skip
    with httpx.Client(base_url=server.url, timeout=60) as client:
        assert client.post("/v1/experiments", json=plan).status_code == 201
        for user in range(20, 32):
            client.post(f"/next/{user}", json={"track": 3, "time": 1.0}).raise_for_status()
            client.post(f"/next/{user}", json={"track": 4, "time": 1.0}).raise_for_status()
        told = client.get("/v1/experiments/tracks").json()
        client.post("/v1/experiments/tracks/stop").raise_for_status()
    assert sum(told["assigned"].values()) == 12, "each listener once"
    assert told["assigned"]["new"] > 0
    assert sum(row["answers"] for row in told["health"].values()) == 24


def test_an_answer_is_one_packet_without_delay(server: Server) -> None:
    body = json.dumps({"track": 1, "time": 1.0}).encode()
    head = f"POST /next/8 HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw:
        for _ in range(5):
            raw.sendall(head.encode() + body)
            packet = raw.recv(65_536)
            assert packet.startswith(b"HTTP/1.1 200")
            assert json.loads(packet.partition(b"\r\n\r\n")[2])["user"] == 8, "head and body came in one piece"


@pytest.mark.parametrize(
    ("path", "body", "status", "told"),
    [
        ("/next/seven", {"track": 1, "time": 1.0}, 422, "whole number"),
        ("/next/7", {"track": 999_999, "time": 1.0}, 404, "999999"),
        ("/next/7", {"track": 1, "time": 1.5}, 422, "<= 1"),
        ("/next/7", {"track": 1}, 422, "time"),
    ],
)
def test_bad_input_is_a_problem_in_words(server: Server, path: str, body: dict[str, object], status: int, told: str) -> None:
    answer = httpx.post(server.url + path, json=body, timeout=30)
    assert answer.status_code == status
    assert told in answer.json()["detail"]


def test_the_simulator_drives_a_server(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", *WORLD, "--learn", "60", "--sessions", "20", "--policy", server.url, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["policies"]
    assert told["sessions"] == 20
    assert told["time"] >= 1


def test_without_the_setting_the_routes_are_not_there(tmp_path: Path) -> None:
    with Server(tmp_path / "plain") as running:
        assert httpx.post(running.url + "/next/1", json={"track": 1, "time": 1.0}, timeout=30).status_code == 404


def test_a_body_that_is_nested_too_deeply_is_refused_in_words(server: Server) -> None:
    answer = httpx.post(f"{server.url}/next/7", content=b'{"track": 3, "time": 1, "more": ' + b"[" * 100_000, timeout=30)
    assert answer.status_code == 422, answer.text
