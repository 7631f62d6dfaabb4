"""The player on the real thing: `segue demo` in its own process, Chromium in front, an empty home at first."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from segue.benchmarks._server import Server

CHROMIUM = os.environ.get("SEGUE_CHROMIUM", "/usr/bin/chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not os.path.exists(CHROMIUM), reason=f"no chromium at {CHROMIUM}"),
]
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--mute-audio", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("town")
    size = ["--songs", "240", "--listeners", "80", "--days", "12", "--port", "0"]
    command = [sys.executable, "-m", "segue", "--home", str(home), "demo", *size]
    said = Path(home, "said.txt")
    with said.open("w") as out:
        server = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "COLUMNS": "200"})
    try:
        yield _listening(server, said)
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _listening(server: subprocess.Popen[bytes], said: Path) -> str:
    for _ in range(600):
        try:
            server.wait(1)
        except subprocess.TimeoutExpired:
            found = re.search(r"listening on (http://\S+?)/?\s", said.read_text())
            if found:
                return found[1]
            continue
        break
    raise AssertionError(f"the demo did not come up: {said.read_text()}")


def test_from_an_empty_home_to_a_queue_that_listens(address: str) -> None:
    errors: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 390, "height": 844}, reduced_motion="reduce")
        page.set_default_timeout(40000)
        page.on("console", lambda m: m.type == "error" and errors.append(m.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.get_by_text("Northside", exact=True).last.click()
        page.get_by_text("25-34", exact=True).click()
        page.locator(".chip.pick:not(.radio)").first.click()
        page.get_by_role("button", name="Start listening").click()
        page.locator("#queue .song").first.wait_for()
        heard: list[str] = []
        for press in ("finish", "skip", "like", "finish", "hide", "skip", "skip"):
            page.locator("#queue[aria-busy=false]").wait_for(state="attached")
            if press != "like":
                heard.append(page.inner_text("#title") + page.inner_text("#artist"))
            with page.expect_response("**/v1/recommendations") as answer:
                page.click(f'[data-do="{press}"]')
            slate = answer.value.json()
            assert slate["items"]
            assert {item["reason"] != "" for item in slate["items"]} == {True}
        with page.expect_response("**/v1/explain*") as told:
            page.click("#why")
        assert told.value.status == 200
        page.locator("#why-body dd").first.wait_for()
        assert page.locator("#why-body .reason").inner_text()
        page.get_by_role("button", name="Back to the music").locator("visible=true").click()
        assert len(set(heard)) == len(heard)
        page.locator("#queue[aria-busy=false]").wait_for(state="attached")
        past = page.locator("#past .song").evaluate_all("nodes => nodes.map(n => n.dataset.id.split(' ')[0])")
        waiting = page.locator("#queue .song").evaluate_all("nodes => nodes.map(n => n.dataset.id)")
        assert len(past) == 6
        assert not set(past) & set(waiting)  # never a song twice in a session
        kept = "Object.keys(localStorage).filter(k => k.startsWith('segue.event.')).length"
        _until(page, lambda: page.evaluate(kept) == 0)
        browser.close()
    assert errors == []


def _until(page: Any, true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        page.wait_for_timeout(40)
    raise AssertionError("it never came true")


def test_a_song_of_the_town_is_heard_to_its_end(address: str) -> None:
    errors: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
        page.set_default_timeout(40000)
        page.on("console", lambda m: m.type == "error" and errors.append(m.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        with page.expect_response("**/v1/items/*/audio") as sound:
            page.locator(".person").first.click()
        assert sound.value.status in (200, 206)
        assert sound.value.headers["content-type"] == "audio/wav"
        page.locator("#volume-box").wait_for()
        _until(page, lambda: page.inner_text("#elapsed") >= "0:01")  # it really runs
        length = page.inner_text("#length")
        assert "0:20" < length < "0:36"  # the sound's own length, not the catalogue's
        page.click("#mute")
        assert page.get_attribute("#mute", "aria-pressed") == "true"
        title = page.inner_text("#title")
        with page.expect_request(lambda r: r.url.endswith("/v1/events") and "completed" in (r.post_data or "")) as told:
            page.evaluate("const s = document.querySelector('#seek'); s.value = 960; s.dispatchEvent(new Event('input'))")
        events = [event for event in told.value.post_data_json["events"] if event["action"] == "completed"]
        assert events[0]["played_s"] == events[0]["duration_s"]
        assert 20 < events[0]["duration_s"] < 36
        _until(page, lambda: page.inner_text("#title") != title)
        page.locator("#queue[aria-busy=false]").wait_for(state="attached")
        assert page.get_attribute("#mute", "aria-pressed") == "true"  # the next song is as quiet
        # the next song, by its own length: the one before stands at its end, beyond 15 s
        _until(page, lambda: "0:01" <= page.inner_text("#elapsed") < "0:15" and page.inner_text("#length") < "0:36")
        with page.expect_request(lambda r: r.url.endswith("/v1/events") and "skipped" in (r.post_data or "")) as told:
            page.click('[data-do="skip"]')
        skipped = next(event for event in told.value.post_data_json["events"] if event["action"] == "skipped")
        # pressed before its sound told its length, a song has the length of the catalogue
        assert 0 < skipped["played_s"] < skipped["duration_s"]
        browser.close()
    assert errors == []


NEXT_SONG = """async () => {
  const { Deck } = await import("/static/deck.js");
  const blob = (seconds) => {  // silence as a WAV file: 8 kHz, mono, 8 bit
    const size = 8000 * seconds, view = new DataView(new ArrayBuffer(44 + size));
    const text = (at, word) => [...word].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
    text(0, "RIFF"); view.setUint32(4, 36 + size, true); text(8, "WAVEfmt "); view.setUint32(16, 16, true);
    view.setUint16(20, 1, true); view.setUint16(22, 1, true); view.setUint32(24, 8000, true); view.setUint32(28, 8000, true);
    view.setUint16(32, 1, true); view.setUint16(34, 8, true); text(36, "data"); view.setUint32(40, size, true);
    for (let i = 44; i < 44 + size; i++) view.setUint8(i, 128);
    return URL.createObjectURL(new Blob([view], { type: "audio/wav" }));
  };
  const deck = new Deck();
  const until = (name) => new Promise((done) => deck.audio.addEventListener(name, done, { once: true }));
  const loaded = until("loadedmetadata");
  deck.load(200, 0, blob(60));
  deck.play();
  await loaded;
  deck.seek(50);
  await until("seeked");
  const next = until("loadedmetadata");
  deck.load(200, 0, blob(30));
  deck.play();  // at once, while the element still holds the song before
  const before = deck.position;
  await next;
  deck.pause();
  return [before, deck.position, deck.length];
}"""


def test_the_next_song_begins_at_its_beginning(address: str) -> None:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.goto(address)
        before, position, length = page.evaluate(NEXT_SONG)
        browser.close()
    assert before == 0
    assert position < 5  # not where the song before had been
    assert 29 < length < 31


def test_a_song_plays_where_the_server_wants_a_key(home: Path) -> None:
    (home / "keys.txt").write_text("a key of the test\n")
    with Server(home) as server, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
        page.set_default_timeout(40000)
        page.goto(server.url)
        page.get_by_label("API key").fill("a key of the test")
        page.get_by_label("API key").press("Enter")
        with page.expect_response("**/v1/items/*/audio") as sound:
            page.locator(".person").first.click()
        assert sound.value.status == 200
        assert sound.value.request.headers["x-api-key"] == "a key of the test"
        _until(page, lambda: "0:01" <= page.inner_text("#elapsed") < "0:15")  # it really runs
        assert "0:20" < page.inner_text("#length") < "0:36"  # the sound's own length, not the catalogue's
        title = page.inner_text("#title")
        with page.expect_response("**/v1/items/*/audio") as sound:
            page.click('[data-do="skip"]')
        assert sound.value.status == 200
        _until(page, lambda: page.inner_text("#title") != title)
        _until(page, lambda: "0:01" <= page.inner_text("#elapsed") < "0:15" and page.inner_text("#length") < "0:36")
        browser.close()
