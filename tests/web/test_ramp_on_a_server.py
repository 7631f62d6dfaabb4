"""The ramp on a real server: killed in every step, a broken arm that goes back by itself, what a shadow tells, what ships."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from segue import wiring
from segue.benchmarks._server import Server
from segue.cli import main
from segue.core.hashing import request_number
from segue.experiments import metrics
from segue.experiments.assignment import ARMS
from segue.experiments.plan import read_plan
from segue.experiments.ramp import Move

QUICK = "[server]\nexperiments_every_s = 0.2\nexperiments_judged = 1.0\ndeadline_ms = 30000\n"
STEPS = [{"new": 0.0, "old": 0.0, "days": 30, "users": 0}, {"new": 0.2, "old": 0.2, "days": 30},
         {"new": 0.4, "old": 0.4, "days": 30, "decides": True}, {"new": 0.6, "old": 0.4, "days": 30}]  # fmt: skip
PLAN = {"name": "ramped", "hypothesis": "listeners forgive a bolder radio", "new": {"radio": {"explore": 0.9}},
        "guardrails": ["skip_rate"], "users": 1000, "ramp": STEPS}  # fmt: skip


def ask(server: Server, user: str) -> dict[str, Any]:
    answer = httpx.post(f"{server.url}/v1/recommendations", json={"user": user}, timeout=60)
    answer.raise_for_status()
    told: dict[str, Any] = answer.json()
    return told


def state(server: Server, name: str) -> dict[str, Any]:
    told: dict[str, Any] = httpx.get(f"{server.url}/v1/experiments/{name}", timeout=60).json()
    return told


def wait_for(held: Callable[[], bool], seconds: float = 60.0) -> float:
    began = time.monotonic()
    while not held():
        assert time.monotonic() < began + seconds, "it did not happen in time"
        time.sleep(0.05)
    return time.monotonic() - began


def until(server: Server, step: int) -> None:
    """Wait until the server serves a step."""
    wait_for(lambda: state(server, "ramped")["step"] == step)


def assigned(home: Path, step: int) -> dict[str, int]:
    """First influences of a step as the log has them."""
    with wiring.open_home(home, writer=False) as opened:
        experiment = opened.book().get("ramped")
        who = metrics.assigned(opened.log, experiment.number, step, "user", experiment.started, 2**62)
        return {arm: int((who.arm == k).sum()) for k, arm in enumerate(ARMS)}


@pytest.fixture
def quick(home: Path) -> Path:
    """A home whose server looks at its experiments five times a second."""
    (home / "segue.toml").write_text(QUICK)
    return home


def test_killed_in_any_step_it_goes_on_where_it_was(quick: Path) -> None:
    server = Server(quick).start()
    try:
        httpx.post(f"{server.url}/v1/experiments", json=PLAN, timeout=60).raise_for_status()
        for step in range(len(STEPS)):
            before = {
                f"listener {n}": ask(server, f"listener {n}")["model_versions"].get("experiment:ramped") for n in range(12)
            }
            assert (set(before.values()) == {None}) == (step == 0), "nobody is served in shadow"
            server.kill()
            server = Server(quick).start()
            found = state(server, "ramped")
            assert (found["step"], found["running"], found["held"]) == (step, True, "")
            after = {user: ask(server, user)["model_versions"].get("experiment:ramped") for user in before}
            assert after == before, "nobody changed arms"
            told = {arm: list(before.values()).count(arm) for arm in ("old", "rest", "new")}
            if step:  # every listener is in the log once for the arm and the step, however often the server was killed
                wait_for(lambda step=step, told=told: assigned(quick, step) == told)  # slates gather for 50 ms
            if step + 1 < len(STEPS):
                with wiring.open_home(quick, writer=False) as opened:
                    assert opened.book().moved("ramped", Move("forward", "a test says so"), time.time_ns() // 1_000_000)
                until(server, step + 1)
    finally:
        server.stop()


def broken_version(home: Path) -> str:
    """A model that loads, and whose ranker raises whenever it is asked; the version."""
    with wiring.open_home(home, writer=False) as opened:
        registry = opened.registry()
        bundle = registry.bundle()
        models = {name: dict(arrays) for name, arrays in bundle.arrays.items() if not name.startswith("ranker.")}
        models["ranker.logistic"] = dict.fromkeys(("mean", "scale", "coef", "line"), np.zeros(1))
        return registry.put(models, {**bundle.manifest, "ranker": "logistic"})


def listeners(server: Server) -> list[str]:
    about = httpx.get(f"{server.url}/v1/about", timeout=60).json()
    return list(about["sample_listeners"])


def test_a_broken_arm_goes_back_within_seconds_and_in_shadow_before_any_listener_gets_it(quick: Path) -> None:
    new = {"model": broken_version(quick)}
    half = {"new": 0.5, "old": 0.5, "days": 30, "decides": True}
    with Server(quick) as server:
        known = listeners(server)
        plan = {**PLAN, "name": "shade", "new": new, "ramp": [STEPS[0], half]}
        httpx.post(f"{server.url}/v1/experiments", json=plan, timeout=60).raise_for_status()
        for n in range(80):
            assert ask(server, known[n % len(known)])["rung"] == "personal"
        wait_for(lambda: state(server, "shade")["ended"] == "rolled back")
        plan = {**PLAN, "name": "bad", "new": new, "split": "request", "ramp": [half]}
        httpx.post(f"{server.url}/v1/experiments", json=plan, timeout=60).raise_for_status()
        for n in range(130):
            assert ask(server, known[n % len(known)])["items"], "the ladder answers for what is broken"
        took = wait_for(lambda: not state(server, "bad")["running"])
        told = state(server, "bad")
        assert told["ended"] == "rolled back"
        assert "answers failed under new" in told["why"]
        assert ask(server, known[0])["rung"] == "personal"
        assert server.said().count("experiment bad: back") == 1
    assert took < 60


def test_a_shadow_is_judged_from_the_slates_that_others_got(quick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Server(quick) as server:
        httpx.post(f"{server.url}/v1/experiments", json=PLAN, timeout=60).raise_for_status()
        slates = [ask(server, user) for user in listeners(server)]
        health = state(server, "ramped")["health"]
        assert health["new"]["answers"] == len(slates), "a trial in shadow is counted"
        assert health["new"]["failed"] == 0.0
    with wiring.open_home(quick, writer=False) as opened:
        shown = [opened.log.exposure(request_number(slate["request_id"])) for slate in slates]
    for one in shown:
        assert one is not None
        chances, logged = one.chances["ramped"], one.slate.propensities
        assert chances.shape == logged.shape
        other = one.instead["ramped"]
        assert len(other) == len(one.slate.items) == len(set(other.tolist())), "what it would have shown is in the log too"
        assert other.tolist() != one.slate.items.tolist(), "explored as boldly as it is, it is another slate"
        assert ((chances > 0) & (chances <= 1)).all(), "the same model, explored more boldly, may show all of it"
        best = logged > 0.9
        assert (chances[best] < logged[best]).all(), "and is less sure to show what the champion likes best"
    later = ["--as-of", str(time.time() + 7200)]
    command = ["--home", str(quick), "evaluate", "--protocol", "off-policy", "--experiment", "ramped", *later]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["slates"], found["verdict"]) == (len(slates), "not informative"), "a dozen slates tell nothing"
    assert main(command) == 0
    assert "effective samples" in capsys.readouterr().out
    assert main(command[:-4]) == 2, "whose new arm?"


def test_what_ships_is_promoted_and_what_is_rolled_back_is_not(quick: Path) -> None:
    with wiring.open_home(quick, writer=False) as opened:
        registry = opened.registry()
        champion = registry.bundle()
        better = registry.put({name: dict(a) for name, a in champion.arrays.items()}, {**champion.manifest, "better": True})
        now = time.time_ns() // 1_000_000
        book = opened.book()
        for name, kind in (("good", "finish"), ("bad", "back")):
            version = (
                better
                if name == "good"
                else registry.put({n: dict(a) for n, a in champion.arrays.items()}, {**champion.manifest, "worse": True})
            )
            plan = {**PLAN, "name": name, "layer": name, "new": {"model": version}, "ramp": STEPS[2:3]}
            book.start(wiring.resolved(opened, read_plan(plan)), now)
            assert version in book.versions()
            assert book.moved(name, Move(kind, "a test says so"), now)  # and the process died before it could promote
        assert book.versions() == {better}
        opened.artifacts.prune("radio", 0, spare=book.versions())
        assert set(opened.artifacts.versions("radio")) >= {champion.version, better}
    with Server(quick) as server:
        wait_for(lambda: httpx.get(f"{server.url}/health/ready", timeout=60).json()["model_version"] == better)
        told = state(server, "good")
        assert told["verdict"] == f"Shipped: a test says so. {better} is the champion now."
        assert [entry["what"] for entry in told["trail"]] == ["start", "finish", "ship"]
        assert state(server, "bad")["verdict"] == "Rolled back: a test says so."
    with wiring.open_home(quick, writer=False) as opened:
        assert opened.registry().version("previous") == champion.version
