"""The monitor's page on a real server in Chromium: figures of the log, drift folded away, an alarm seen at once, no error."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from segue import wiring
from segue.benchmarks._server import Server
from segue.core.clock import DAY_MS
from segue.monitoring.alarms import Ledger, Signal
from segue.storage.journal import Journal

CHROMIUM = os.environ.get("SEGUE_CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
WORDS = "share of recommended songs listened to: -36.1% (± 8.2%) against what is usual"


@pytest.fixture(scope="module")
def watched(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose record holds an alarm that is open and one that is over."""
    home = Path(shutil.copytree(trained_home, tmp_path_factory.mktemp("watched") / "home"))
    (home / "segue.toml").write_text("[monitoring]\nevery_s = 0.2\n")
    with wiring.open_home(home, writer=False) as opened:
        ledger = Ledger(Journal(opened.path / "monitoring" / "journal"))
        now = time.time_ns() // 1_000_000
        source = Signal("source", "als", "alarm", now - DAY_MS, "the source als offers nothing", "the last night", 0.0, 0.8)
        metric = Signal("metric", "listened_share", "alarm", now - DAY_MS, WORDS, "the sources below", -0.36, 0.0)
        ledger.hear([source, metric], now - DAY_MS)
        ledger.hear([metric], now - DAY_MS // 2)
        ledger.hear([metric], now)
    with Server(home) as running:
        until = time.monotonic() + 60
        while not httpx.get(f"{running.url}/v1/monitor", timeout=60).json()["metrics"]:
            assert time.monotonic() < until, "the first look never came"
            time.sleep(0.05)
        yield running


def test_the_record_is_told(watched: Server) -> None:
    told = httpx.get(f"{watched.url}/v1/monitor", timeout=60).json()
    stands = {a["words"]: a["closed"] is None for a in told["alarms"]}
    assert stands[WORDS], "heard a moment ago: still open"
    assert not stands["the source als offers nothing"], "quiet for half a day: over"


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_shows_what_is_off_what_was_and_the_metrics(watched: Server, width: int) -> None:
    if not os.path.exists(CHROMIUM):
        pytest.skip(f"no chromium at {CHROMIUM}")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    errors: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page: Any = browser.new_page(viewport={"width": width, "height": 844})
        page.set_default_timeout(15000)
        page.on("console", lambda m: m.type == "error" and errors.append(m.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{watched.url}/monitor")
        page.locator("#monitor[aria-busy=false]").wait_for()
        assert "open alarm" in page.inner_text("#lead")
        assert WORDS[1:] in page.inner_text("#alarms")
        assert "The source als offers nothing" in page.inner_text("#alarms"), "what changed first"
        assert "the source als offers nothing" in page.inner_text("#past")
        assert page.locator("#metrics .card").count() >= 9
        page.get_by_role("button", name="By hour").click()
        assert page.get_by_role("button", name="By hour").get_attribute("aria-pressed") == "true"
        assert "The model" in page.inner_text("#rest")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert errors == []
