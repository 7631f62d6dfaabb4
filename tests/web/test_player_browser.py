"""The player in a real browser: it plays, reacts, survives an absent server and hostile titles, on a phone and a desktop."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from player_stub import Stub, serve

CHROMIUM = os.environ.get("SEGUE_CHROMIUM", "/usr/bin/chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not os.path.exists(CHROMIUM), reason=f"no chromium at {CHROMIUM}"),
]
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 800}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serve(Stub()) as running:
        yield running


KEPT = "Object.keys(localStorage).filter(k => k.startsWith('segue.event.')).length"
"""How many events wait in the page for the server."""


GUESSED = "3:30"
"""The length that the page takes while it does not know one."""


class Player:
    """A page that fails the test for every console error it did not expect."""

    def __init__(self, browser: Any, stub: Stub, viewport: dict[str, int]) -> None:
        context = browser.new_context(viewport=viewport, reduced_motion="reduce")
        context.set_default_timeout(30000)
        self.stub, self.page, self.errors = stub, context.new_page(), []
        self.page.on("console", lambda m: m.type == "error" and self.errors.append(m.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(stub.address)

    def begin(self, person: int = 0, *, known: bool = True) -> Any:
        """The radio plays; with `known`, the page has heard how long the song is."""
        self.page.locator(".person").nth(person).click()
        self.page.locator("#queue .song").first.wait_for()
        self.until(lambda: not known or self.page.inner_text("#length") not in ("0:00", GUESSED))
        return self.page

    def settled(self) -> None:
        """Wait until the newest question was answered and shown."""
        self.page.locator("#queue[aria-busy=false]").wait_for(state="attached")

    def do(self, what: str) -> None:
        asked = len(self.stub.questions)
        self.page.click(f'[data-do="{what}"]')
        self.until(lambda: len(self.stub.questions) > asked)
        self.settled()

    def until(self, true: Any) -> None:
        for _ in range(1500):
            if true():
                return
            self.page.wait_for_timeout(20)
        raise AssertionError("it never came true")

    def title(self) -> str:
        return str(self.page.inner_text("#title"))

    def waiting(self) -> list[str]:
        return list(self.page.locator("#queue .song").evaluate_all("nodes => nodes.map(n => n.dataset.id)"))

    def actions(self) -> list[str]:
        return [event["action"] for event in self.stub.events]


@pytest.fixture(params=[PHONE, DESKTOP], ids=["phone", "desktop"])
def player(browser: Any, stub: Stub, request: pytest.FixtureRequest) -> Iterator[Player]:
    opened = Player(browser, stub, request.param)
    yield opened
    opened.page.context.close()
    assert opened.errors == []


@pytest.fixture
def desktop(browser: Any, stub: Stub) -> Iterator[Player]:
    opened = Player(browser, stub, DESKTOP)
    yield opened
    opened.page.context.close()


def test_a_press_is_an_event_first_and_a_new_queue_second(player: Player) -> None:
    page = player.begin()
    first, queue = player.title(), player.waiting()
    page.evaluate(
        "document.querySelector('#seek').value = 250; document.querySelector('#seek').dispatchEvent(new Event('input'))"
    )
    player.do("skip")
    assert player.actions() == ["started", "skipped", "started"]
    assert player.title() != first
    started, skipped, _ = player.stub.events
    assert started["item"] == skipped["item"]
    assert 0.249 <= skipped["played_s"] / skipped["duration_s"] < 0.4
    assert skipped["position"] == 0
    assert re.fullmatch(r"[0-9a-f]{16}", skipped["request_id"])
    question = player.stub.questions[-1]
    assert question["session"] == skipped["session"]
    assert {queue[0], skipped["item"]} <= set(question["exclude"])
    assert player.waiting() != queue[1:]
    assert skipped["item"] not in player.waiting()
    fits = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert fits


def test_finish_like_and_never_again_say_what_they_mean(desktop: Player) -> None:
    page = desktop.begin()
    desktop.do("like")
    assert page.get_attribute('[data-do="like"]', "aria-pressed") == "true"
    desktop.do("finish")
    desktop.do("hide")
    assert desktop.actions() == ["started", "liked", "completed", "started", "hidden", "skipped", "started"]
    finished = desktop.stub.events[2]
    assert finished["played_s"] == finished["duration_s"]
    page.click("#tab-past")
    assert [line.split("\n")[-1] for line in page.locator("#past .song-words").all_inner_texts()] == [
        "Never again",
        "Finished · liked",
    ]
    assert len({event["event_id"] for event in desktop.stub.events}) == 7


def test_the_last_word_on_a_song_counts_and_a_reason_is_read_whole_on_a_phone(browser: Any, stub: Stub) -> None:
    player = Player(browser, stub, PHONE)
    page = player.begin()
    assert page.locator("#volume-box").is_hidden()  # the stub's songs have no sound: the clock runs
    clipped = page.locator("#queue .song-reason").evaluate_all(
        "nodes => nodes.filter(n => n.scrollWidth > n.clientWidth || n.scrollHeight > n.clientHeight + 1)"
        ".map(n => n.textContent)"
    )
    assert clipped == []
    player.do("like")
    player.do("hide")
    page.click("#tab-past")
    assert page.locator("#past .song-words").first.inner_text().split("\n")[-1] == "Never again"
    page.context.close()
    assert player.errors == []


def test_keys_do_what_the_buttons_do_and_leave_typing_alone(desktop: Player) -> None:
    page = desktop.begin()
    page.keyboard.press("s")
    page.keyboard.press("f")
    page.keyboard.press("l")
    page.keyboard.press("Space")
    assert page.inner_text('[data-do="toggle"] .label') == "Play"
    page.keyboard.press("x")
    desktop.until(lambda: "hidden" in desktop.actions() and "liked" in desktop.actions())
    before = len(desktop.stub.events)
    page.keyboard.press("/")
    page.keyboard.type("sfx l")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.locator("#about").is_visible()
    page.keyboard.press("s")
    page.keyboard.press("Escape")
    page.wait_for_timeout(100)
    assert len(desktop.stub.events) == before


def test_an_invented_listener_is_stored_before_the_radio_starts(player: Player) -> None:
    page = player.page
    page.get_by_text("Riverbend", exact=True).last.click()
    page.get_by_text("25-34", exact=True).click()
    page.fill(".filter", "jazz")
    page.locator(".chip.pick", has_text="jazz").click()
    page.get_by_role("button", name="Start listening").click()
    page.locator("#queue .song").first.wait_for()
    (user,) = player.stub.users
    assert user["region"] == "Riverbend"
    assert user["age_band"] == "25-34"
    assert user["tags"] == ["jazz"]
    assert player.stub.questions[0]["user"] == user["id"]
    assert player.stub.questions[0]["context"] == {"region": "Riverbend"}


def test_the_dial_and_the_station_change_the_question(desktop: Player) -> None:
    page = desktop.begin()
    assert "discovery" not in desktop.stub.questions[-1]
    page.focus("#dial")
    page.keyboard.press("End")
    desktop.until(lambda: desktop.stub.questions[-1].get("discovery") == 1)
    page.click("#auto")
    desktop.until(lambda: "discovery" not in desktop.stub.questions[-1])
    song = desktop.stub.card(5)
    page.fill("#search", song["title"])
    page.locator(".found-row .kind-items").first.wait_for()
    page.locator(".found-row", has_text="Song").filter(has_text=song["artist"]).first.click()
    desktop.until(lambda: "seeds" in desktop.stub.questions[-1])
    assert desktop.stub.questions[-1]["seeds"] == {"items": [song["id"]]}
    assert desktop.title() == song["title"]  # a radio from a song begins with it
    desktop.until(lambda: desktop.actions()[-3:] == ["progress", "clicked", "started"])  # what played is left unjudged
    page.get_by_role("button", name="Back to your own radio").click()
    desktop.until(lambda: "seeds" not in desktop.stub.questions[-1])


def test_nothing_is_lost_while_the_server_is_away(desktop: Player) -> None:
    page = desktop.begin()
    desktop.until(lambda: desktop.actions() == ["started"])
    desktop.stub.down = True
    heard = []
    for _ in range(3):
        heard.append(desktop.title())
        page.click('[data-do="finish"]')
    page.get_by_text("The server is resting.").wait_for()
    assert desktop.actions() == ["started"]
    assert len(set(heard)) == 3  # the songs that waited went on playing
    page.reload()  # and a reload keeps what waits
    again = page.get_by_role("button", name="Try again")
    again.wait_for()
    desktop.stub.down = False
    again.click()
    desktop.until(lambda: desktop.actions().count("completed") == 3)
    page.locator("#banner").wait_for(state="hidden")
    assert len({e["event_id"] for e in desktop.stub.events}) == len(desktop.stub.events)
    desktop.until(lambda: page.evaluate(KEPT) == 0)


def test_a_refused_event_is_told_and_not_sent_for_ever(desktop: Player) -> None:
    desktop.stub.refuse = True
    page = desktop.begin()
    page.get_by_text("item: unknown").wait_for()
    desktop.until(lambda: page.evaluate(KEPT) == 0)


def test_titles_are_data(browser: Any, stub: Stub) -> None:
    evil = '<img src=x onerror="document.body.dataset.owned=1"><script>document.body.dataset.owned=1</script>'
    long = "Unbrokenlylongtitle" * 30
    words = [evil, long, "مدينة الليل الطويل", "夜の海を渡る歌", "‮drow drow", "", "a\nb\tc", "&amp;&lt;b&gt;"]
    stub.titles = {i: (words[i % len(words)], words[(i + 1) % len(words)]) for i in range(400)}
    for viewport in (PHONE, DESKTOP):
        player = Player(browser, stub, viewport)
        page = player.begin()
        for tab in ("#tab-near", "#tab-past", "#tab-next"):
            player.do("finish")
            page.click(tab)
        assert page.evaluate("document.body.dataset.owned") is None
        assert page.locator("main img, main script").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert any(evil in text for text in page.locator("#past .song-title, #queue .song-title").all_text_contents())
        page.context.close()
        assert player.errors == []


def test_what_was_on_the_screen_is_told_once(player: Player) -> None:
    page, stub = player.begin(), player.stub
    waiting = player.waiting()
    player.until(lambda: waiting[0] in [event["item"] for event in stub.shown])
    page.locator("#queue .song").last.scroll_into_view_if_needed()
    player.until(lambda: waiting[-1] in [event["item"] for event in stub.shown])
    assert all(event["position"] == waiting.index(event["item"]) + 1 for event in stub.shown)
    player.do("skip")
    page.locator("#queue .song").first.scroll_into_view_if_needed()
    player.until(lambda: player.waiting()[0] in [event["item"] for event in stub.shown])
    told = [event["item"] for event in stub.shown]
    assert len(told) == len(set(told))


def test_what_is_below_the_screen_is_not_told(browser: Any, stub: Stub) -> None:
    opened = Player(browser, stub, {"width": 390, "height": 500})
    page = opened.begin()
    waiting = opened.waiting()
    page.locator("#queue .song").nth(1).scroll_into_view_if_needed()
    opened.until(lambda: waiting[0] in [event["item"] for event in stub.shown])
    assert waiting[-1] not in [event["item"] for event in stub.shown]
    page.context.close()


def test_a_reload_goes_on_where_it_stopped(desktop: Player) -> None:
    page = desktop.begin()
    desktop.do("finish")
    title, session = desktop.title(), desktop.stub.questions[-1]["session"]
    page.reload()
    page.locator("#queue .song").first.wait_for()
    assert desktop.title() == title
    assert desktop.stub.questions[-1]["session"] == session
    assert page.inner_text("#past-count") == "1"


def test_the_song_that_runs_out_is_finished(desktop: Player) -> None:
    page = desktop.begin()
    page.evaluate(
        "document.querySelector('#seek').value = 1000; document.querySelector('#seek').dispatchEvent(new Event('input'))"
    )
    desktop.until(lambda: "completed" in desktop.actions())


def test_a_jump_to_the_end_before_the_length_is_known_goes_to_the_end(desktop: Player) -> None:
    held: list[Any] = []
    desktop.page.route("**/v1/items/*", lambda route: held.append(route))
    page = desktop.begin(known=False)
    page.keyboard.press("Space")
    playing = page.locator('[data-do="toggle"] .label', has_text="Play")
    playing.wait_for()
    desktop.until(lambda: desktop.actions() == ["started"])
    item = desktop.stub.events[0]["item"]
    desktop.until(lambda: any(route.request.url.endswith(item) for route in held))
    page.evaluate(
        "document.querySelector('#seek').value = 1000; document.querySelector('#seek').dispatchEvent(new Event('input'))"
    )
    for route in held:
        route.fulfill(json={"id": item, "duration_s": 900.0})
    page.unroute_all()
    page.get_by_text("15:00").first.wait_for()
    page.keyboard.press("Space")
    desktop.until(lambda: "completed" in desktop.actions())
    assert desktop.stub.events[1]["played_s"] == 900.0


def test_a_radio_that_nobody_touches_pauses_instead_of_inventing_plays(desktop: Player) -> None:
    page = desktop.begin()
    run_out = "const s = document.querySelector('#seek'); s.value = 1000; s.dispatchEvent(new Event('input'))"
    for _ in range(5):
        ended = desktop.actions().count("completed")
        page.evaluate(f"(() => {{ {run_out} }})()")
        desktop.until(lambda ended=ended: desktop.actions().count("completed") > ended)
    page.get_by_text("Still there?").wait_for()
    assert page.inner_text('[data-do="toggle"] .label') == "Play"
    page.evaluate(f"(() => {{ {run_out} }})()")
    page.wait_for_timeout(400)
    assert desktop.actions().count("completed") == 5
    page.keyboard.press("Space")
    desktop.until(lambda: desktop.actions().count("completed") == 6)


def test_a_station_from_a_tag_starts_at_once_and_judges_nothing(desktop: Player) -> None:
    page = desktop.begin()
    playing, asked = desktop.title(), len(desktop.stub.questions)
    page.fill("#search", "jaz")
    page.locator(".found-row", has_text="Tag").first.wait_for()
    page.keyboard.press("Enter")
    desktop.until(lambda: len(desktop.stub.questions) >= asked + 2)
    assert desktop.stub.questions[-1]["seeds"] in ({"tags": ["jazz"]}, {"artists": [page.inner_text(".station-name")]})
    assert desktop.title() != playing
    assert desktop.actions() == ["started", "progress", "started"]


def test_everything_can_be_reached_and_seen_with_the_keyboard(player: Player) -> None:
    page = player.begin()
    names = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        style = page.evaluate(
            "(() => { const e = document.activeElement, s = getComputedStyle(e);"
            " return [e.id || e.dataset.do || e.className, s.outlineStyle, parseFloat(s.outlineWidth)]; })()"
        )
        if style[0]:
            names.add(style[0])
            assert style[1] != "none", f"no focus ring on {style[0]}"
            assert style[2] >= 2, f"no focus ring on {style[0]}"
    assert {"search", "who", "help", "seek", "hide", "like", "toggle", "skip", "finish", "dial", "auto", "tab-next"} <= names
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input')].filter(e => !e.closest('[hidden], dialog:not([open])') &&"
        " !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length)).map(e => e.outerHTML)"
    )
    assert unnamed == []


CONTRAST = (Path(__file__).parent / "contrast.js").read_text()


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_contrast_holds_for_every_hue(browser: Any, stub: Stub, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    page.goto(stub.address)
    assert page.evaluate(CONTRAST) == []  # WCAG 2.2: 4.5 for text, 3 for the edges of controls
    context.close()


def test_nothing_is_fetched_from_elsewhere(browser: Any, stub: Stub) -> None:
    context = browser.new_context(viewport=DESKTOP)
    page, asked = context.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(stub.address)
    page.locator(".person").first.click()
    page.locator("#queue .song").first.wait_for()
    assert asked
    assert all(url.startswith(stub.address) for url in asked)
    context.close()
