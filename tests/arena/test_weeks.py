"""The ten weeks in small: the engine moves, the log fills, the arms are served by what the engine says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from segue import wiring
from segue.arena import weeks
from segue.arena.weeks import GOOD, WORTH, Weeks, plan
from segue.cli import main
from segue.core.types import empty_events
from segue.experiments.plan import read_plan
from segue.simulator.city import City


def test_days_of_an_experiment_and_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weeks, "STARTS", {GOOD: 1})
    monkeypatch.setattr(weeks, "FAULT", (5, 6))
    with wiring.open_home(tmp_path / "home", None, writer=True) as home:
        service = wiring.service(home, frozenset())
        assert service.arms is not None
        assert service.monitor is not None
        city = City(songs=400, artists=60, listeners=400, seed=1, days=6)
        found = Weeks(city, home, service.arms, service.monitor).live(lambda text: None, lambda done, of: None)
        shown = list(home.log.exposures(0, 1 << 62))
        service.recommender.close()
    assert found["ended"] == {GOOD: ""}, "it runs, and nothing has moved it in so few days"
    assert any("the source taste offers nothing" in one["words"] for one in found["alarms"])
    assert found["events"] > 4000
    by_source = [{name for names in e.slate.sources for name in names} for e in shown]
    assert set.union(*by_source) == {"taste", "anything"}
    last = max(e.at for e in shown) // 86_400_000
    assert set.union(*(s for e, s in zip(shown, by_source, strict=True) if e.at // 86_400_000 == last)) == {"anything"}


def test_plans_are_those_that_the_journal_reads_back() -> None:
    for name in WORTH.keys() - {"champion"}:
        assert read_plan(msgspec.json.decode(msgspec.json.encode(plan(name)))).lock() == plan(name).lock()


def test_a_home_that_holds_events_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = empty_events(1)
    one["at"], one["action"] = 1_767_571_200_000, 4
    with wiring.open_home(tmp_path / "h", None, writer=True) as home:
        home.log.append(one)
    assert main(["--home", str(tmp_path / "h"), "simulate", "--experiment"]) == 2
    assert "empty home" in capsys.readouterr().err
