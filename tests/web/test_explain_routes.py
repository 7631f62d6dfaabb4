"""What made a slate and where a song dropped out, over HTTP and on the command line, in a trained town."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pytest

from segue import wiring
from segue.benchmarks._server import Server
from segue.cli import main
from segue.core.types import Exposure
from segue.events.schema import decode_events
from segue.serving.query import RecommendIn
from segue.storage.online_state import arrays


def listener(client: httpx.Client) -> str:
    name: str = client.get("/v1/about").json()["sample_listeners"][0]
    return name


def slate(client: httpx.Client, user: str, **more: object) -> dict:  # type: ignore[type-arg]
    return client.post("/v1/recommendations", json={"user": user, "discovery": 0.5, **more}).json()  # type: ignore[no-any-return]


def explained(client: httpx.Client, request: str) -> dict:  # type: ignore[type-arg]
    for _ in range(200):  # the exposure is on its way into the log
        answer = client.get("/v1/explain", params={"request": request})
        if answer.status_code == 200:
            return answer.json()  # type: ignore[no-any-return]
        assert answer.status_code == 404
        time.sleep(0.02)
    raise AssertionError("never logged")


def test_a_slate_is_told_as_it_was_shown(client: httpx.Client) -> None:
    shown = slate(client, listener(client))
    told = explained(client, shown["request_id"])
    assert told["rung"] == shown["rung"] == "personal"
    for a, b in zip(told["items"], shown["items"], strict=True):
        assert {k: a[k] for k in ("id", "reason", "sources", "explored")} == {
            k: b[k] for k in ("id", "reason", "sources", "explored")
        }
        assert a["score"] == pytest.approx(b["score"])
    if told["ranker"] != "blend":
        assert told["repeated"] is True
        assert all(song["features"] for song in told["items"])


def test_each_way_out_is_named(client: httpx.Client) -> None:
    user = listener(client)
    shown = slate(client, user)
    first = shown["items"][0]["id"]

    def stage(item: str, **more: object) -> dict:  # type: ignore[type-arg]
        return client.get("/v1/explain", params={"user": user, "item": item, "discovery": 0.5, **more}).json()  # type: ignore[no-any-return]

    assert stage(first)["stage"] in {"slate", "reranking", "ranking"}  # another draw may explore elsewhere
    assert {"rank", "of", "ranker", "score"} <= stage(first).keys()
    client.post(
        "/v1/events",
        json={"events": [{"event_id": "explain-1", "user": user, "item": first, "action": "disliked", "at": time.time()}]},
    ).raise_for_status()
    told = stage(first)
    assert told["stage"] == "filtering"
    assert "removed it" in told["answer"]


@pytest.mark.parametrize(
    ("params", "status", "says"),
    [
        ({}, 422, "request=ID"),
        ({"user": "x"}, 422, "request=ID"),
        ({"request": "nobody-asked"}, 404, "no request"),
        ({"user": "x", "item": "no such song"}, 404, "no item"),
        ({"user": "x", "item": "ITEM", "discovery": "2"}, 422, "discovery"),
    ],
)
def test_bad_questions_get_one_clear_line(client: httpx.Client, params: dict, status: int, says: str) -> None:  # type: ignore[type-arg]
    if params.get("item") == "ITEM":
        params = {**params, "item": slate(client, listener(client))["items"][0]["id"]}
    answer = client.get("/v1/explain", params=params)
    assert answer.status_code == status
    assert says in answer.json()["detail"]


def test_the_command_says_the_same(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Server(home) as running, httpx.Client(base_url=running.url, timeout=30) as client:
        user = listener(client)
        shown = slate(client, user)
        over_http = explained(client, shown["request_id"])
    capsys.readouterr()
    assert main(["--home", str(home), "explain", "--request", shown["request_id"], "--no-replay", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == over_http
    assert main(["--home", str(home), "explain", "--request", shown["request_id"]]) == 0
    assert shown["items"][0]["title"][:8] in capsys.readouterr().out
    assert main(["--home", str(home), "explain", user, shown["items"][0]["id"]]) == 0
    assert "for " + user in capsys.readouterr().out
    assert main(["--home", str(home), "explain", user]) == 2
    assert main(["--home", str(home), "explain", user, "no such song"]) == 2


def test_a_slate_is_made_again_to_the_bit_whatever_came_after(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a session, a wish, something excluded and draws; then the state moves on, and so does the server's process."""
    (home / "segue.toml").write_text('[radio]\nexplore = 0.5\ndiversity = 0.3\ndiversity_by = "dpp"\nfatigue = 0.5\n')
    with Server(home) as running, httpx.Client(base_url=running.url, timeout=30) as client:
        user, tag = listener(client), client.get("/v1/about").json()["tags"][0]
        first = slate(client, user)
        told = explained(client, first["request_id"])
        assert "replay" not in told, "it takes folding: only where it is asked for"
        others = [
            slate(client, user, session="s1", exclude=[first["items"][0]["id"]], limit=15),
            slate(client, user, seeds={"tags": [tag]}, context={"device": "phone"}),
            slate(client, "nobody-knows-me"),
        ]
        at, asked = time.time(), [first, *others]
        events = [
            {"event_id": f"e{place}", "user": user, "item": song["id"], "action": "liked", "at": at, "session": "s1"}
            for place, song in enumerate(first["items"])
        ]
        client.post("/v1/events", json={"events": events}).raise_for_status()
        after = slate(client, user, session="s1")
        assert after["items"] != first["items"]
        for one in [*asked, after]:
            explained(client, one["request_id"])
            found = client.get("/v1/explain", params={"request": one["request_id"], "replay": "1"}).json()["replay"]
            assert found["replayed"] is True, found
            assert found["items"] == [song["id"] for song in one["items"]]
            assert found["events_folded"] > 1000
    capsys.readouterr()
    assert main(["--home", str(home), "explain", "--request", asked[1]["request_id"]]) == 0
    assert "the same slate to the bit" in " ".join(capsys.readouterr().out.split())
    (home / "segue.toml").write_text("[radio]\nexplore = 0.5\nmax_per_artist = 1\nartist_gap = 9\n")
    assert main(["--home", str(home), "explain", "--request", asked[1]["request_id"], "--json"]) == 0
    changed = json.loads(capsys.readouterr().out)["replay"]
    assert changed["replayed"] is False
    assert "items" in changed["differs"], "other settings make another slate, and that is told"


def test_a_slate_made_with_a_kept_answer_of_popularity_is_made_again_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "LATE", 0.5)
    with wiring.open_home(home, writer=True) as opened:
        service = wiring.service(opened, frozenset())

        def shown(user: str) -> Exposure:
            query, _ = service.maker.make(RecommendIn(user=user), service.now(), service.request_id())
            exposure = service.recommender.recommend(query)
            service.writer.submit_exposure(exposure).result()
            return exposure

        before = shown("a newcomer")
        best = [opened.catalogue.items.name(int(item)) for item in before.slate.items]
        at = time.time()
        played = {"action": "completed", "item": best[-1], "played_s": 200, "duration_s": 200, "at": at}
        heard = [{"event_id": f"k{n}", "user": f"fan {n}", **played} for n in range(300)]
        events, _, rejected = decode_events(json.dumps({"events": heard}).encode(), service.now())
        assert not rejected
        service.writer.submit(events).result()
        after = shown("another newcomer")
        assert after.popular_at == before.applied < after.applied
        stored = opened.log.exposure(after.slate.request_id)
        assert stored is not None
        assert wiring.replay(opened, stored)["replayed"] is True
        service.recommender.close()
