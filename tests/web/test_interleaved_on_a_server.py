"""Two rankers in one slate on a real server: drafted, credited, killed, read again, told, and never shipped."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from segue import wiring
from segue.benchmarks._server import Server
from segue.cli import main
from segue.core.hashing import request_number
from segue.core.types import Exposure
from segue.training.shown import shown_before

PLAN = {"name": "two-in-one", "hypothesis": "listeners like another order better", "new": {"radio": {"explore": 0.9}},
        "mode": "interleave", "users": 1000, "ramp": [{"new": 0.8, "old": 0.0, "decides": True}]}  # fmt: skip


def ask(server: Server, user: str) -> dict[str, Any]:
    answer = httpx.post(f"{server.url}/v1/recommendations", json={"user": user, "limit": 7}, timeout=60)
    answer.raise_for_status()
    told: dict[str, Any] = answer.json()
    return told


def told(server: Server) -> dict[str, Any]:
    answer = httpx.get(f"{server.url}/v1/experiments/two-in-one", timeout=60)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def logged(home: Path, slates: list[dict[str, Any]]) -> list[Exposure]:
    with wiring.open_home(home, writer=False) as opened:
        found = [opened.log.exposure(request_number(slate["request_id"])) for slate in slates]
    assert all(one is not None for one in found)
    return [one for one in found if one is not None]


def test_slates_are_shared_credited_and_survive_a_kill(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "segue.toml").write_text("[server]\ndeadline_ms = 30000\n")
    with Server(home) as server:
        httpx.post(f"{server.url}/v1/experiments", json=PLAN, timeout=60).raise_for_status()
        assert httpx.post(f"{server.url}/v1/experiments", json={**PLAN, "name": "b"}, timeout=60).status_code == 422
        slates = [ask(server, f"somebody {n}") for n in range(30)]
        arms = [slate["model_versions"]["experiment:two-in-one"] for slate in slates]
        assert set(arms) == {"new", "rest"}
        shared = [slate for slate, arm in zip(slates, arms, strict=True) if arm == "new"]
        assert {slate["policy"] for slate in shared} == {"interleaved"}
        assert {slate["policy"] for slate, arm in zip(slates, arms, strict=True) if arm == "rest"} == {"radio"}
        events = [
            {"user": f"somebody {n}", "item": song["id"], "action": "completed", "request_id": slate["request_id"],
             "played_s": 200, "duration_s": 200, "at": time.time()}
            for n, slate in enumerate(slates) for song in slate["items"][:3]
        ]  # fmt: skip
        said = httpx.post(f"{server.url}/v1/events", json={"events": events}, timeout=60).json()
        assert said["accepted"] == len(events)
        before = told(server)
        assert before["assigned"] == {"new": len(shared)}
        assert before["preference"]["listeners"] == 0, "no window has closed yet"
        assert "nothing ships from here" in before["verdict"]
        assert before["health"]["new"] | {"failed": 0.0} == before["health"]["new"], "each was shared in time"
        server.kill()
    with Server(home) as server:
        assert told(server)["assigned"] == before["assigned"]
        assert [ask(server, f"somebody {n}")["policy"] for n in range(30)] == [slate["policy"] for slate in slates]
    for one in logged(home, shared):
        teams, chances = one.teams["two-in-one"], one.slate.propensities
        assert sorted(teams[:2].tolist()) == sorted(teams[2:4].tolist()) == sorted(teams[4:6].tolist()) == [0, 1]
        assert ((chances > 0) & (chances <= 1)).all()
        assert one.features.shape == (7, len(one.feature_names))
    with wiring.open_home(home, writer=False) as opened:
        _votes_of_a_day_later(opened)
    assert main(["--home", str(home), "experiment", "report", "two-in-one"]) == 0
    assert "Delta-AB" in capsys.readouterr().out
    assert main(["--home", str(home), "explain", "--request", shared[0]["request_id"], "--json"]) == 0
    assert "two rankers share it" in capsys.readouterr().out


def _votes_of_a_day_later(opened: wiring.Home) -> None:
    from segue.experiments.votes import Shared

    experiment = opened.book().get("two-in-one")
    later = experiment.started + 3 * 86_400_000
    votes = Shared(opened.log).votes(experiment, later)
    assert (votes.ours + votes.theirs == 3).all(), "three songs of each shared slate were heard"
    assert min(votes.ours.min(), votes.theirs.min()) >= 1, "the first two are of different rankers"
    assert Shared(opened.log).preference(experiment, later).listeners == len(votes.user)
    names = next(e.feature_names for e in opened.log.exposures(0, later) if e.teams)
    shown, counts = shown_before(opened.log, names, 0, later)
    assert counts["slates with other features"] == 0, "what was shown in shared slates teaches too"
    assert np.isfinite(shown.propensity).all()
