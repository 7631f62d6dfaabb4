"""The ten weeks in small, with the real recommender: arms are served and logged, a fault is seen, a challenger waits."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from segue import config, wiring
from segue.arena import weeks as story
from segue.arena.weeks import BAD, BOLD, GOOD, Weeks, plan, settings_of, start_of
from segue.cli import main
from segue.core.clock import DAY_MS
from segue.core.types import empty_events
from segue.experiments.plan import Treatment, read_plan
from segue.simulator.town import Town
from segue.training.report import Quiet


@pytest.fixture
def begun(tmp_path: Path) -> Weeks:
    town = Town(3, songs=240, artists=48, listeners=160, days=14)
    weeks = Weeks(town, tmp_path / "home", config.Settings(), Quiet(), lambda text: None)
    weeks.begin()
    return weeks


def test_days_of_an_experiment_and_a_fault(begun: Weeks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "DAYS", 5)
    monkeypatch.setattr(story, "STARTS", {BAD: 0})
    monkeypatch.setattr(story, "FAULT", (4, 5))
    bold = msgspec.structs.replace(plan(BAD), new=Treatment(radio={k: float(v) for k, v in BOLD.items()}))
    monkeypatch.setattr(story, "plan", lambda name: bold)
    with wiring.Home(begun.path, settings_of(begun.settings, plain=False), writer=True) as home:
        service = replace(wiring.service(home, frozenset()), now=lambda: begun.now)
        found = begun.live(home, service, lambda: None)
        shown = [e for e in home.log.exposures(0, 1 << 62) if e.at >= begun.town.until_ms]
        events = home.log.read(0, home.log.last)
        service.recommender.close()
    assert [move["kind"] for move in found["moves"]][:1] == ["forward"], "out of the shadow after a day"
    assert found["ended"] == {BAD: ""}, "it runs, and nothing has decided in so few days"
    arms = {e.slate.model_versions.get(f"experiment:{BAD}") for e in shown}
    assert arms == {None, "old", "rest", "new"}
    by_arm = {arm: [e.slate for e in shown if e.slate.model_versions.get(f"experiment:{BAD}") == arm] for arm in arms}
    explored = {arm: [bool(x) for slate in slates for x in slate.explored] for arm, slates in by_arm.items()}
    assert sum(explored["new"]) > 0.5 * len(explored["new"])
    assert sum(explored["rest"]) < 0.2 * len(explored["rest"])
    assert any(BAD in e.chances for e in shown), "some slates tell what the new arm would have done, in shadow too"
    asked = set(events["request"].tolist()) - {0}
    assert asked <= {e.slate.request_id for e in shown}, "every song that was recommended names its slate"
    fault = begun.town.until_ms + 4 * DAY_MS + 4 * 3_600_000  # who came late the evening before has gone to bed
    control = [e for e in shown if e.slate.model_versions.get(f"experiment:{BAD}") != "new"]
    sources = {late: {name for e in control if (e.at >= fault) == late for names in e.slate.sources for name in names}
               for late in (False, True)}  # fmt: skip
    assert sources[False] > sources[True] == {"popular"}
    assert any("offers nothing" in one["words"] for one in found["alarms"])


def test_the_challenger_is_a_night_of_everything_and_serves_nobody_yet(begun: Weeks) -> None:
    with wiring.Home(begun.path, begun.settings, writer=False) as home:
        champion = home.registry().version()
        version = begun.challenge()
        assert home.registry().version() == champion
        assert home.registry().version("challenger") == version
        plain, whole = (set(home.registry().open(v).manifest["sources"]) for v in (champion, version))
        assert plain <= {"popular", "artist", "sound"}
        assert whole >= {"als", "cooccurrence"}


def test_plans_are_those_that_the_journal_reads_back() -> None:
    for name in (GOOD, BAD):
        assert read_plan(msgspec.json.decode(msgspec.json.encode(plan(name)))).lock() == plan(name).lock()
    config.changed(config.Radio(), BOLD)  # settings that a home would take


def test_the_weeks_end_by_now_and_begin_on_a_monday() -> None:
    now = time.time_ns() // 1_000_000
    start = start_of(now)
    assert start + story.DAYS * DAY_MS <= now < start + (story.DAYS + 7) * DAY_MS
    assert start % (7 * DAY_MS) == 4 * DAY_MS


def test_a_home_that_holds_events_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = empty_events(1)
    one["at"], one["action"] = 1_767_571_200_000, 4
    with wiring.open_home(tmp_path / "h", None, writer=True) as home:
        home.log.append(one)
    assert main(["--home", str(tmp_path / "h"), "simulate", "--experiment"]) == 2
    assert "empty home" in capsys.readouterr().err
