"""The quality page on a real server in Chromium: charts of what the night stored, metrics to choose from, no error."""

from __future__ import annotations

import os
from typing import Any

import httpx
import pytest

from segue.benchmarks._server import Server

CHROMIUM = os.environ.get("SEGUE_CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


def test_the_figures_are_those_of_the_night(client: httpx.Client) -> None:
    told = client.get("/v1/quality").json()
    assert told["version"] == client.get("/health/ready").json()["model_version"]
    assert told["since"] is None, "nobody has judged it since"
    figures = {(f["model"], f["metric"]): f for f in told["figures"]}
    assert figures["radio", "ndcg@20"]["low"] < figures["radio", "ndcg@20"]["mean"] < figures["radio", "ndcg@20"]["high"]
    assert figures["radio", "ndcg@20"]["mean"] > figures["random", "ndcg@20"]["mean"]
    assert {p["dimension"] for p in told["quality"]["segments"]} == {"listening", "region", "age band"}
    assert told["quality"]["days"][0]["group"] == "0"


@pytest.fixture
def page(server: Server) -> Any:
    if not os.path.exists(CHROMIUM):
        pytest.skip(f"no chromium at {CHROMIUM}")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    errors: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        opened = browser.new_page(viewport={"width": 390, "height": 844})
        opened.set_default_timeout(15000)
        opened.on("console", lambda m: m.type == "error" and errors.append(m.text))
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.goto(f"{server.url}/quality")
        opened.locator("#quality[aria-busy=false]").wait_for()
        yield opened
        browser.close()
    assert errors == []


@pytest.mark.browser
def test_the_page_draws_them(page: Any, client: httpx.Client) -> None:
    told = client.get("/v1/quality").json()
    ours = next(f["mean"] for f in told["figures"] if (f["model"], f["metric"]) == ("radio", "ndcg@20"))
    assert f"{ours:.3f}" in page.inner_text("#cards")
    days = [p for p in told["quality"]["days"] if (p["model"], p["metric"]) == ("radio", "ndcg@20")]
    assert page.locator("#day-chart svg circle title").count() == len(days)
    regions = [p["group"] for p in told["quality"]["segments"] if p["dimension"] == "region"]
    drawn = page.locator("#segments svg text.name").all_text_contents()
    assert set(regions) <= set(drawn)
    assert page.locator("#segments svg circle.few").count() > 0, "150 listeners: some groups are too small"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing sticks out of a narrow screen"


@pytest.mark.browser
def test_another_metric_redraws_the_charts(page: Any) -> None:
    before = page.locator("#day-chart svg[role=img]").get_attribute("aria-label")
    page.get_by_role("button", name="Recall@20").click()
    assert page.locator("#day-chart svg[role=img]").get_attribute("aria-label") != before
    assert page.get_by_role("button", name="Recall@20").get_attribute("aria-pressed") == "true"
    assert page.get_by_role("button", name="NDCG@20").get_attribute("aria-pressed") == "false"
