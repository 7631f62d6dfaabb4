"""A server's life: exposures kept, models swapped under load, killed and started again, keys, one writer."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from segue import wiring
from segue.benchmarks._server import Server
from segue.cli import main
from segue.core.hashing import request_number


def slate_for(url: str, user: str, **body: Any) -> dict[str, Any]:
    answer = httpx.post(f"{url}/v1/recommendations", json={"user": user, **body}, timeout=30)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_every_slate_is_an_exposure_in_the_log_as_shown(home: Path) -> None:
    with Server(home) as server:
        slates = [slate_for(server.url, f"listener {i}", limit=3) for i in range(5)]
    with wiring.open_home(home, writer=False) as opened:
        for slate in slates:
            exposure = opened.log.exposure(request_number(slate["request_id"]))
            assert exposure is not None
            shown = opened.catalogue.items.all(exposure.slate.items)
            assert shown == [item["id"] for item in slate["items"]]
            assert [round(float(p), 5) for p in exposure.slate.propensities] == [
                round(item["propensity"], 5) for item in slate["items"]
            ]


def test_a_new_champion_is_swapped_in_without_a_failed_request(home: Path) -> None:
    (home / "segue.toml").write_text("[server]\ndeadline_ms = 30000\n")  # a busy machine must not decide this test
    stop, answers = threading.Event(), []
    with Server(home) as server:
        before = httpx.get(f"{server.url}/health/ready").json()["model_version"]
        listener = httpx.get(f"{server.url}/v1/about").json()["sample_listeners"][0]

        def ask() -> None:
            with httpx.Client(base_url=server.url, timeout=30) as client:
                while not stop.is_set():
                    answer = client.post("/v1/recommendations", json={"user": listener})
                    answers.append((answer.status_code, answer.json()["rung"]))

        asking = threading.Thread(target=ask)
        asking.start()
        command = [sys.executable, "-m", "segue", "--home", str(home), "train", "--force", "--window", "10d"]
        subprocess.run(command, check=True, capture_output=True)
        wait_for(lambda: httpx.get(f"{server.url}/health/ready").json()["model_version"] != before)
        assert main(["--home", str(home), "rollback"]) == 0
        wait_for(lambda: httpx.get(f"{server.url}/health/ready").json()["model_version"] == before)
        stop.set()
        asking.join()
        counted = httpx.get(f"{server.url}/metrics").text
    assert answers
    assert set(answers) == {(200, "personal")}  # the whole way each time: no rung of the ladder was needed
    assert "source_failed" not in counted
    assert "rung_failed" not in counted


def wait_for(held: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not held():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_killed_it_loses_nothing_that_was_acknowledged_and_the_state_is_the_log_s(home: Path) -> None:
    with wiring.open_home(home, writer=False) as opened:
        before = opened.log.last
    server, everything = Server(home).start(), 0
    for cycle in range(3):
        acknowledged = []
        deadly = threading.Timer(0.3 + 0.2 * cycle, server.kill)
        deadly.start()
        with httpx.Client(base_url=server.url, timeout=30) as client:
            for number in range(10_000):
                event = {
                    "event_id": f"{cycle}-{number}",
                    "user": "k",
                    "item": f"song-{number % 300:03d}",
                    "action": "completed",
                    "at": 1767225600 + number,
                }
                try:
                    answer = client.post("/v1/events", json={"events": [event]})
                except httpx.TransportError:
                    break
                if answer.status_code == 200 and answer.json()["accepted"] == 1:
                    acknowledged.append(event)
        deadly.join()
        assert acknowledged, "killed before the first acknowledgement: nothing was tried"
        server.kill()
        server = Server(home).start()
        with httpx.Client(base_url=server.url, timeout=30) as client:
            for start in range(0, len(acknowledged), 1000):
                told = client.post("/v1/events", json={"events": acknowledged[start : start + 1000]}).json()
                assert told["accepted"] == 0, "an acknowledged event was lost"
                assert told["duplicates"] == len(acknowledged[start : start + 1000])
        everything += len(acknowledged)
    server.stop()
    with wiring.open_home(home, writer=False) as opened:
        keys = np.concatenate([chunk[["key_hi", "key_lo"]] for chunk in opened.log.scan(0, 2**62, ("key_hi", "key_lo"))])
        assert len(np.unique(keys)) == len(keys), "an event is in the log twice"
        # one event a kill may be durable though its acknowledgement did not get out
        assert before + everything <= opened.log.last <= before + everything + 3
        served = opened.state.digest()  # type: ignore[attr-defined]
        assert opened.state.applied == opened.log.last
        opened.state.rebuild(opened.log)  # type: ignore[attr-defined]
        assert opened.state.digest() == served


def test_an_import_beside_the_server_reaches_it(home: Path, tmp_path: Path) -> None:
    table = tmp_path / "plays.csv"
    table.write_text("user,item,at\nimported listener,song-001,2026-01-02T03:04:05Z\n")
    with Server(home) as server:
        command = [sys.executable, "-m", "segue", "--home", str(home), "import", str(table), "--json"]
        done = subprocess.run(command, capture_output=True, check=True)
        assert b'"accepted": 1' in done.stdout
        wait_for(lambda: httpx.get(f"{server.url}/v1/users/imported%20listener").status_code == 200)
        wait_for(lambda: server_applied(server) == 1 + int(wiring_last(home)) - 1)


def server_applied(server: Server) -> int:
    return int(httpx.get(f"{server.url}/health/ready").json()["applied"])


def wiring_last(home: Path) -> int:
    with wiring.open_home(home, writer=False) as opened:
        return opened.log.last


def test_a_second_server_on_the_same_home_is_refused_in_words(home: Path) -> None:
    with Server(home):
        command = [sys.executable, "-m", "segue", "--home", str(home), "serve", "--port", "0"]
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert "Traceback" not in second.stderr


def test_with_keys_only_those_who_have_one_get_in(home: Path) -> None:
    (home / "keys.txt").write_text("# ours\nlet-me-in\n")
    with Server(home) as server:
        assert httpx.get(f"{server.url}/health/live").status_code == 200
        assert httpx.get(f"{server.url}/v1/popular").status_code == 401
        assert httpx.get(f"{server.url}/v1/popular", headers={"X-API-Key": "let-me-in"}).status_code == 200
        assert httpx.get(f"{server.url}/v1/popular", headers={"Authorization": "Bearer let-me-in"}).status_code == 200
        assert httpx.get(f"{server.url}/v1/popular", headers={"X-API-Key": "let-me"}).status_code == 401


def test_without_keys_it_listens_on_this_machine_only(home: Path) -> None:
    command = [sys.executable, "-m", "segue", "--home", str(home), "serve", "--host", "0.0.0.0", "--port", "0"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2
    assert "keys.txt" in refused.stderr
