"""An experiment on a real server: started, served by arm, written down once, told over HTTP and on its page, stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from segue.benchmarks._server import Server
from segue.cli import main

CHROMIUM = os.environ.get("SEGUE_CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
QUICK = "[training]\nsources = ['popular', 'artist', 'cooccurrence']\nrankers = []\n"
PLAN = {
    "name": "more-exploration", "hypothesis": "listeners forgive a bolder radio", "new": {"radio": {"explore": 0.9}},
    "guardrails": ["skip_rate"], "users": 1000,
    "ramp": [{"new": 0.3, "old": 0.3, "days": 30, "decides": True}],
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a small silent town whose night trains three cheap sources: arms are served whatever the model is."""
    home = tmp_path_factory.mktemp("experiments") / "home"
    home.mkdir()
    (home / "segue.toml").write_text(QUICK)
    sizes = ["--songs", "160", "--listeners", "60", "--days", "10", "--silent", "--no-serve"]
    assert main(["--home", str(home), "demo", *sizes]) == 0
    with Server(home) as running:
        yield running


def ask(client: httpx.Client, user: str) -> dict[str, Any]:
    answer = client.post("/v1/recommendations", json={"user": user})
    answer.raise_for_status()
    told: dict[str, Any] = answer.json()
    return told


def test_arms_are_served_written_down_and_stopped(server: Server, client: httpx.Client) -> None:
    assert ask(client, "u1")["model_versions"].keys() == {"bundle"}
    started = client.post("/v1/experiments", json=PLAN)
    assert started.status_code == 201, started.text
    assert client.post("/v1/experiments", json=PLAN).status_code == 422
    slates = {f"listener {n}": ask(client, f"listener {n}") for n in range(60)}
    arms = {user: told["model_versions"]["experiment:more-exploration"] for user, told in slates.items()}
    assert set(arms.values()) == {"old", "rest", "new"}
    assert {user: ask(client, user)["model_versions"]["experiment:more-exploration"] for user in arms} == arms
    explored = {arm: [i["explored"] for u, t in slates.items() if arms[u] == arm for i in t["items"]] for arm in ("old", "new")}
    assert sum(explored["new"]) > 0.5 * len(explored["new"])
    assert sum(explored["old"]) < 0.2 * len(explored["old"])
    told = client.get("/v1/experiments/more-exploration").json()
    assert told["assigned"] == {arm: list(arms.values()).count(arm) for arm in ("old", "rest", "new")}, "each listener once"
    assert told["running"]
    assert told["metrics"][0]["words"].startswith("nothing to compare yet")
    for name in ("ann@example.org", "bell \x07", "  "):
        assert ask(client, name)["model_versions"].keys() == {"bundle"}, "no event may bear the name, so no arm is written down"
        assert client.get(f"/v1/users/{quote(name)}").status_code == 404
    stopped = client.post("/v1/experiments/more-exploration/stop?why=enough").json()
    assert stopped["verdict"] == "Stopped: enough."
    assert ask(client, "listener 1")["model_versions"].keys() == {"bundle"}
    listed = client.get("/v1/experiments").json()["experiments"]
    assert [one["name"] for one in listed] == ["more-exploration"]


@pytest.mark.parametrize(
    ("change", "field"),
    [({"primary": ["daily_active"]}, "primary"), ({"new": {"radio": {"explore": 7}}}, "new.radio"), ({"wish": 1}, None)],
)
def test_a_plan_that_cannot_hold_is_a_422(client: httpx.Client, change: dict[str, object], field: str | None) -> None:
    answer = client.post("/v1/experiments", json={**PLAN, "name": "bad", "layer": "other", **change})
    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert client.get("/v1/experiments/bad").status_code == 404
    assert client.post("/v1/experiments", content=b"{").status_code == 422


def test_the_command_line_shares_the_book(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.toml"
    lines = ['name = "cli"', 'hypothesis = "the same book everywhere"', "[new]", "radio = {explore = 0.1}", "[[ramp]]"]
    plan.write_text("\n".join([*lines, "new = 0.1", "old = 0.1", "decides = true"]))
    home = ["--home", str(tmp_path / "home")]
    assert main([*home, "experiment", "start", str(plan), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["running"]
    assert main([*home, "experiment", "status"]) == 0
    assert "10% of listeners get the new arm" in capsys.readouterr().out
    assert main([*home, "experiment", "report", "cli"]) == 0
    assert "listened_share" in capsys.readouterr().out
    assert main([*home, "experiment", "stop", "cli", "--why", "done"]) == 0
    assert main([*home, "experiment", "report", "unknown"]) == 2
    assert main([*home, "experiment", "start", str(tmp_path / "none.toml")]) == 2
    capsys.readouterr()
    plans = ["--mean", "0.6", "--sd", "0.3", "--lift", "0.02", "--daily-users", "50000", "--json"]
    assert main(["experiment", "plan", *plans]) == 0
    assert 9_000 < json.loads(capsys.readouterr().out)["users_new"] < 11_000


@pytest.mark.browser
def test_the_page_tells_the_verdict(server: Server, client: httpx.Client) -> None:
    if not os.path.exists(CHROMIUM):
        pytest.skip(f"no chromium at {CHROMIUM}")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    client.post("/v1/experiments", json={**PLAN, "name": "seen", "layer": "page"}).raise_for_status()
    errors: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.on("console", lambda m: m.type == "error" and errors.append(m.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{server.url}/experiments")
        page.locator("#experiments[aria-busy=false]").wait_for()
        assert "30% of listeners get the new arm" in page.inner_text("#lead")
        assert "start" in page.inner_text("#table")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        two = {**{key: PLAN[key] for key in ("hypothesis", "new", "users")}, "name": "two", "layer": "slates",
               "mode": "interleave", "ramp": [{"new": 0.5, "old": 0.0, "decides": True}]}  # fmt: skip
        client.post("/v1/experiments", json=two).raise_for_status()
        page.reload()
        page.locator("#lead", has_text="old and new fill in turn").wait_for()
        assert "Nobody has heard of both yet." in page.inner_text("#lead")
        page.route("**/v1/experiments/two", _heard_by_three)
        page.locator("#lead", has_text="Of 3 listeners 2 heard more of new, 0 more of old, 1 as much of both").wait_for()
        assert "preferred by 83.3 %, ties halved, 0.0 % to 100.0 % valid at any time (too few" in page.inner_text("#lead")
        browser.close()
    assert errors == []


def _heard_by_three(route: Any) -> None:
    """The answer of the server as it is, but for three listeners whose windows have closed."""
    told = route.fetch().json()
    told["preference"] |= {"listeners": 3, "theirs": 2, "ours": 0, "ties": 1, "delta": 1 / 3}
    route.fulfill(json=told)
