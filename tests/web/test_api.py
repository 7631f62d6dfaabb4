"""The contract over HTTP, against a real server with a small trained town."""

from __future__ import annotations

import re
import socket
import time
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from segue.benchmarks._server import Server
from segue.web.app import ROUTES

USER, SONG = "contract-listener", "song-000"


def recommend(client: httpx.Client, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/recommendations", json={"user": USER, **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def tell(client: httpx.Client, *events: dict[str, Any]) -> dict[str, Any]:
    now = time.time()
    body = {"events": [{"user": USER, "at": now, **event} for event in events]}
    answer = client.post("/v1/events", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def some_listener(client: httpx.Client) -> str:
    name: str = client.get("/v1/about").json()["sample_listeners"][0]
    return name


def test_a_slate_has_the_shape_of_the_contract(client: httpx.Client) -> None:
    slate = recommend(client, user=some_listener(client), limit=7)
    assert slate.keys() == {"request_id", "policy", "rung", "model_versions", "warnings", "items"}
    assert slate["rung"] == "personal"
    assert len(slate["items"]) == 7
    for item in slate["items"]:
        assert item.keys() == {"id", "title", "artist", "score", "sources", "reason", "explored", "propensity", "new"}
        assert 0 < item["propensity"] <= 1
        assert item["reason"]
        assert item["sources"]
    assert len({item["id"] for item in slate["items"]}) == 7


def test_an_unknown_user_gets_the_newcomers_answer(client: httpx.Client) -> None:
    region = client.get("/v1/about").json()["regions"][0]
    here = recommend(client, user="nobody-has-seen-me", context={"region": region})
    assert here["rung"] == "regional"
    assert any(region in item["reason"] for item in here["items"])
    assert recommend(client, user="nobody-has-seen-me")["rung"] == "global"


def test_an_unknown_region_is_a_warning_and_the_known_one_stays(client: httpx.Client) -> None:
    region = client.get("/v1/about").json()["regions"][0]
    client.put("/v1/users", json={"users": [{"id": "resident", "region": region}]})
    slate = recommend(client, user="resident", context={"region": "Atlantis"})
    assert "Atlantis" in slate["warnings"][0]
    assert slate["rung"] == "regional"


def test_an_unknown_seed_is_a_warning(client: httpx.Client) -> None:
    slate = recommend(client, seeds={"items": ["no such song"]}, exclude=["nor this"])
    assert len(slate["items"]) == 10
    assert "no such song" in slate["warnings"][0]
    assert "nor this" in slate["warnings"][1]


def test_a_seed_steers_the_radio_and_is_not_in_it(client: httpx.Client) -> None:
    tag = client.get(f"/v1/items/{SONG}").json()["tags"][0]
    slate = recommend(client, user="seeded", seeds={"tags": [tag]}, limit=10)
    assert slate["rung"] == "personal"
    tagged = [tag in client.get(f"/v1/items/{item['id']}").json()["tags"] for item in slate["items"]]
    assert sum(tagged) >= 6
    slate = recommend(client, user="seeded", seeds={"items": [SONG]})
    assert SONG not in [item["id"] for item in slate["items"]]


def test_an_acknowledged_event_shows_in_the_next_request(client: httpx.Client) -> None:
    for turn in range(30):
        slate = recommend(client, session="always", limit=5)
        first = slate["items"][0]["id"]
        assert tell(client, {"item": first, "action": "completed", "session": "always", "request_id": slate["request_id"]})[
            "accepted"
        ] == 1  # fmt: skip
        following = [item["id"] for item in recommend(client, session="always", limit=50)["items"]]
        assert first not in following, f"turn {turn}: a song twice in a session"


def test_hidden_and_disliked_songs_never_come_back(client: httpx.Client) -> None:
    slate = recommend(client, user="picky", limit=4)
    hidden, disliked = slate["items"][0]["id"], slate["items"][1]["id"]
    tell(
        client, {"user": "picky", "item": hidden, "action": "hidden"}, {"user": "picky", "item": disliked, "action": "disliked"}
    )
    later = {item["id"] for item in recommend(client, user="picky", limit=100, session="another")["items"]}
    assert not later & {hidden, disliked}


def test_two_quick_skips_change_direction_at_once(client: httpx.Client) -> None:
    tag = client.get(f"/v1/items/{SONG}").json()["tags"][0]
    found = recommend(client, user="turner", seeds={"tags": [tag]}, limit=20)["items"]
    same = [i["id"] for i in found if client.get(f"/v1/items/{i['id']}").json()["tags"][0] == tag]
    for item in same[:3]:
        tell(client, {"user": "turner", "item": item, "action": "completed", "session": "t"})
    for item in same[3:5]:
        tell(client, {"user": "turner", "item": item, "action": "skipped", "played_s": 2, "duration_s": 200, "session": "t"})
    after = recommend(client, user="turner", session="t", limit=10)["items"]
    tags = [client.get(f"/v1/items/{i['id']}").json()["tags"][0] for i in after]
    assert tag not in tags


def test_discovery_zero_and_one(client: httpx.Client) -> None:
    listener = some_listener(client)
    heard_share = []
    for discovery in (0.0, 1.0):
        items = recommend(client, user=listener, discovery=discovery, limit=20)["items"]
        heard_share.append(sum("popular" in i["sources"] for i in items))
        assert len(items) == 20


def test_events_are_idempotent_and_conflicts_are_named(client: httpx.Client) -> None:
    event = {"event_id": "once", "item": SONG, "action": "completed", "at": "2026-01-01T12:00:00Z"}
    assert tell(client, event) == {"accepted": 1, "duplicates": 0, "rejected": []}
    assert tell(client, event) == {"accepted": 0, "duplicates": 1, "rejected": []}
    answer = client.post("/v1/events", json={"events": [{"user": USER, **event, "action": "skipped"}]})
    assert answer.status_code == 422
    assert answer.json()["rejected"][0]["index"] == 0
    assert "event_id" in answer.json()["rejected"][0]["error"]


def test_good_events_go_in_beside_bad_ones(client: httpx.Client) -> None:
    good = {"item": SONG, "action": "liked"}
    told = tell(client, good, {"item": SONG, "action": "like"}, {"item": SONG, "action": "liked", "at": "1932-02-19"})
    assert told["accepted"] == 1
    assert [r["index"] for r in told["rejected"]] == [1, 2]


BAD: list[tuple[str, str, bytes]] = [
    ("POST", "/v1/events", b"not json"),
    ("POST", "/v1/events", b"{}"),
    ("POST", "/v1/events", b'{"events": 3}'),
    ("POST", "/v1/events", b'{"events": [7]}'),
    ("POST", "/v1/events", b"\xff\xfe"),
    ("POST", "/v1/experiments", b"[" * 100_000),
    ("POST", "/v1/experiments", b'{"name": "\xff"}'),
    ("PUT", "/v1/items", b'{"items": [{"title": "no id"}]}'),
    ("PUT", "/v1/users", b'{"users": [{"id": "u", "email": "a@b.example"}]}'),
    ("POST", "/v1/recommendations", b'{"user": ""}'),
    ("POST", "/v1/recommendations", b'{"user": "u", "limit": 0}'),
    ("POST", "/v1/recommendations", b'{"user": "u", "limit": 101}'),
    ("POST", "/v1/recommendations", b'{"user": "u", "discovery": 1.5}'),
    ("POST", "/v1/recommendations", b'{"user": "u", "limt": 3}'),
    ("POST", "/v1/recommendations", b'{"user": "u", "context": {"at": "yesterday"}}'),
    ("POST", "/v1/recommendations", b'{"user": "u", "context": {"at": 1e300}}'),
    ("POST", "/v1/recommendations", b'{"user": "\\ud800"}'),
    ("GET", f"/v1/items/{SONG}/similar?limit=x", b""),
    ("GET", f"/v1/items/{SONG}/similar?by=magic", b""),
    ("GET", "/v1/popular?limit=1000", b""),
    ("GET", "/v1/popular?at=soon", b""),
    ("GET", "/v1/popular?at=1e300", b""),
    ("GET", "/v1/search?q=", b""),
    ("GET", "/v1/popular?limit=" + 5000 * "1", b""),
]


@pytest.mark.parametrize(("method", "path", "body"), BAD)
def test_bad_input_is_a_problem_in_words_and_never_a_5xx(client: httpx.Client, method: str, path: str, body: bytes) -> None:
    answer = client.request(method, path, content=body)
    assert answer.status_code == 422, answer.text
    told = answer.json()
    assert told.get("detail") or told["rejected"][0]["error"]
    if "detail" in told:
        assert answer.headers["content-type"] == "application/problem+json"
        assert told.keys() >= {"status", "title", "detail", "field"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"user": "u", "limit": 0}', "limit"),
        (b'{"user": "u", "limt": 3}', "limt"),
        (b'{"limit": 3}', "user"),
        (b'{"user": "u", "seeds": {"songs": []}}', "seeds.songs"),
        (b'{"user": "u", "context": {"at": "yesterday"}}', "context.at"),
        (b'{"user": "u", "exclude": [1]}', "exclude[0]"),
        (b"[]", None),
    ],
)
def test_a_problem_names_the_field(client: httpx.Client, body: bytes, field: str | None) -> None:
    answer = client.post("/v1/recommendations", content=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/items/nope",
        "/v1/users/nope",
        "/v1/items/nope/similar",
        "/nowhere",
        "/static/nope",
        "/static/" + 300 * "x",
        "/static/..%2fapi.py",
    ],
)
def test_what_is_not_there_is_a_404_problem(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["status"] == 404


@pytest.mark.parametrize("path", ["/v1/events", "/v1/recommendations", f"/v1/items/{SONG}/audio"])
def test_a_caller_who_goes_away_in_the_middle_is_no_failure_of_the_server(
    server: Server, client: httpx.Client, path: str
) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as gone:
        gone.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{".encode())
    route = path.replace(SONG, "{id}")
    counted: list[str] = []
    for _ in range(2000):
        counted = re.findall(rf'requests_total{{route="{re.escape(route)}",status="(400|5..)"', client.get("/metrics").text)
        if counted:
            break
    assert counted == ["400"]
    assert "Traceback" not in server.said()


def test_a_body_that_is_too_large_is_refused(client: httpx.Client) -> None:
    assert client.post("/v1/events", content=b" " * (17 * 2**20)).status_code == 413


def test_facts_round_trip_and_users_are_coarsened(client: httpx.Client) -> None:
    item = {"id": "new song", "title": "Títle", "artist": "Ärtist", "tags": ["x"], "duration_s": 100, "isrc": "AB"}
    assert client.put("/v1/items", json={"items": [item]}).json()["accepted"] == 1
    stored = client.get("/v1/items/new song").json()
    assert stored["title"] == "Títle"
    user = {"id": "someone", "age": 29, "country": "DE", "lat": 52.5163, "lon": 13.3777, "tags": ["x"]}
    assert client.put("/v1/users", json={"users": [user]}).json()["accepted"] == 1
    text = client.get("/v1/users/someone").text
    assert "25-34" in text
    assert "29" not in text.replace("25-34", "")
    assert "52.51" not in text


def test_the_models_on_their_own(client: httpx.Client) -> None:
    for path in (
        f"/v1/items/{SONG}/similar?by=listeners&limit=5",
        f"/v1/users/{some_listener(client)}/collaborative?limit=5",
        "/v1/popular?limit=5",
    ):
        body = client.get(path).json()
        assert len(body["items"]) == 5, path
        assert body["items"][0].keys() == {"id", "title", "artist", "score"}
        assert body["model_version"]


def test_search_finds_by_title_and_artist(client: httpx.Client) -> None:
    song = client.get(f"/v1/items/{SONG}").json()
    for text in (song["title"], song["artist"]):
        assert SONG in [i["id"] for i in client.get("/v1/search", params={"q": text, "limit": 50}).json()["items"]]


def test_health_metrics_schema_and_pages(client: httpx.Client) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json()["status"] == "ready"
    recommend(client)
    text = client.get("/metrics").text
    assert "segue_rung_total" in text
    assert 'route="/v1/recommendations"' in text
    document = client.get("/schema/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert "201" in document["paths"]["/v1/experiments"]["post"]["responses"]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            told = [parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"]
            assert told == re.findall(r"{(\w+)}", path), f"every part of {path} is declared"
    page = client.get("/")
    assert "text/html" in page.headers["content-type"]
    assert "default-src 'self'" in page.headers["content-security-policy"]


def test_every_route_answers_something_else_than_500(client: httpx.Client) -> None:
    for method, path, _ in ROUTES:
        answer = client.request(method, path.replace("{id}", SONG).replace("{name}", "player.js"), content=b"")
        assert answer.status_code < 500, f"{method} {path}"


def test_seeds_may_be_spelled_in_any_case(client: httpx.Client) -> None:
    about = client.get("/v1/about").json()
    artist, tag = about["artists"][0]["name"], about["tags"][0]
    slate = recommend(client, user="shouting", seeds={"artists": [artist.upper()], "tags": [tag.swapcase()]})
    assert slate["warnings"] == []
    slate = recommend(client, user="shouting", seeds={"artists": ["NOBODY AT ALL"], "tags": [tag + "?"]})
    assert len(slate["warnings"]) == 2


def test_an_id_with_slashes_and_spaces_is_an_id(client: httpx.Client) -> None:
    odd = "file/of my band/01 – intro.mp3"
    assert client.put("/v1/items", json={"items": [{"id": odd, "title": "Intro"}]}).status_code == 200
    target = f"/v1/items/{quote(odd, safe='/')}"
    assert client.get(target).json()["title"] == "Intro"
    assert client.get(f"{target}/similar").json()["items"] == []
    assert 'route="/v1/items/{id}/similar"' in client.get("/metrics").text


def test_an_unknown_region_of_the_popular_is_told(client: httpx.Client) -> None:
    answer = client.get("/v1/popular?region=Atlantis&limit=3").json()
    assert len(answer["items"]) == 3
    assert "Atlantis" in answer["warnings"][0]
    assert "warnings" not in client.get("/v1/popular?limit=3").json()
