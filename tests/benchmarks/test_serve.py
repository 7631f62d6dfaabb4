"""`segue benchmark serve`: the stopwatch counts a stage once, and a small world is served as it was asked for."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import pytest

from segue import config
from segue.benchmarks import serve
from segue.benchmarks._serve_home import configured
from segue.benchmarks._serve_stages import Stopwatch
from segue.ranking.boosting import Boosting


def busy(seconds: float) -> None:
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass


def test_the_time_of_a_stage_within_another_is_counted_once() -> None:
    watch = Stopwatch()
    inner = watch.timed("inner", lambda: busy(0.02))

    def outer() -> str:
        busy(0.01)
        inner()
        inner()
        return "done"

    began = time.thread_time()
    assert watch.timed("outer", outer)() == "done"
    whole = time.thread_time() - began
    assert watch.spent["inner"] >= 0.04
    assert watch.spent["outer"] >= 0.01
    assert sum(watch.spent.values()) == pytest.approx(whole, abs=0.005)


def test_a_stage_that_raises_is_counted_and_raises() -> None:
    watch = Stopwatch()
    with pytest.raises(ZeroDivisionError):
        watch.timed("fails", lambda: 1 // 0)()
    assert set(watch.spent) == {"fails"}


@pytest.mark.parametrize(
    "text", ["", "[training]\nepochs = 2\n", "[radio]\nexplore = 0.1\nper_source = 7\n[training]\nepochs = 2\n", "[radio]\n"]
)
def test_only_the_number_asked_of_each_source_changes(tmp_path: Path, text: str) -> None:
    (tmp_path / "segue.toml").write_text(text)
    before, after = config.load(tmp_path), config.load(tmp_path, configured(tmp_path, 333))
    assert after.radio.per_source == 333
    assert after.training == before.training
    assert config.changed(after.radio, {"per_source": before.radio.per_source}) == before.radio


@pytest.mark.skipif(bool(Boosting.lacking()), reason="LightGBM cannot be loaded here")
def test_a_small_world_under_load_by_stage(tmp_path: Path) -> None:
    args = argparse.Namespace(
        users=200, items=400, events=6000, seconds=0.5, rate=40.0, limit=10, sustain=False, seed=0, keep=tmp_path / "home",
        ranker="boosting", trees=30, candidates=150, stages=True, active=True,
    )  # fmt: skip
    found: dict[str, Any] = serve.run(args)
    assert "boosting" in found["ranker"]
    assert "30 trees" in found["ranker"]
    assert found["candidates"]["ranked_mean"] >= 150
    assert set(found["statuses"]) == {"200"}
    assert found["items_in_last_answer"] == 10
    stages = found["stages"]
    assert stages["exposures_lost"] == 0
    parts = stages["by_stage_cpu_ms"]
    assert {"query", "features", "ranking", "reranking", "filtering", "source als"} <= parts.keys()
    assert sum(parts.values()) == pytest.approx(stages["whole_cpu_ms"], rel=0.01, abs=0.01)
    assert all(part >= 0 for part in parts.values())
    again: dict[str, Any] = serve.run(argparse.Namespace(**{**vars(args), "stages": False}))
    assert again["ranker"] == found["ranker"], "the same ranker is not stored twice"
    bundles = [one for one in (tmp_path / "home" / "artifacts" / "radio").iterdir() if one.is_dir()]
    assert len(bundles) == 2, "the night's and the one that was made"
