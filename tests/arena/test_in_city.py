"""The real recommender in a city: songs are known when they arrive, a model learns from the day before, the log has it all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from segue import config, wiring
from segue.arena.games import joined
from segue.arena.in_city import InCity
from segue.cli import main
from segue.core.clock import DAY_MS
from segue.simulator.baselines import Random
from segue.simulator.city import START_MS, City, Ways, live
from segue.training.report import Quiet

QUICK = "[training]\nsources = ['popular', 'artist', 'cooccurrence']\nrankers = []\n"


def city(days: int) -> City:
    return City(songs=300, artists=40, listeners=30, seed=4, days=days, ways=Ways(arriving=0.1))


def test_songs_are_offered_when_they_arrive_and_every_night_learns_from_the_day(tmp_path: Path) -> None:
    (tmp_path / "segue.toml").write_text(QUICK)
    logs = joined([game.plays for game in live(city(2), Random(300, seed=1))[1]])
    world = city(8)
    with wiring.Home(tmp_path / "home", config.load(tmp_path), writer=True) as home:
        policy = InCity(home, world, logs, Quiet(), name="segue")
        assert home.log.last == len(logs), "what was played before"
        assert len(home.catalogue.items) == 300
        before = home.registry().version()
        _, games = live(world, policy)
        policy.close()
        assert len(home.catalogue.items) == int((world.released <= 7).sum()) == 330, "Monday's songs came on Monday"
        assert home.log.last == len(logs) + sum(len(game.plays) for game in games), "every song heard is in the log"
        assert policy.promoted
        assert home.registry().version() != before
        events = home.log.read(0, home.log.last)
    offered = np.concatenate([world.released[game.plays.item] <= day for day, game in enumerate(games)])
    assert offered.all(), "nothing is played before it is there"
    assert (events["at"][: len(logs)] < START_MS).all()
    assert (events["at"][len(logs) :] >= START_MS).all()
    assert events["at"].max() < START_MS + 9 * DAY_MS


def test_simulate_lets_it_live_and_tells_every_week(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "segue.toml").write_text(QUICK)
    small = ["--songs", "300", "--listeners", "20", "--days", "8", "--policy", "segue-once", "--policy", "random"]
    command = ["--home", str(tmp_path), "simulate", "--world", "city", *small, "--json"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["policy"] for one in told["policies"]] == ["segue-once", "random"]
    assert len(told["weeks"]) == 2
    whole, parts = told["policies"][0], [week[0] for week in told["weeks"]]
    assert whole["time"] == pytest.approx(sum(part["time"] for part in parts)), "weeks add up"
    assert not (tmp_path / "log").exists(), "its home is one of its own"
