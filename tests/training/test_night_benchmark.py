"""The world of the night benchmark has what it says, and the benchmark runs the real command on it."""

from __future__ import annotations

import argparse

import numpy as np

from segue.benchmarks import night
from segue.core.actions import signals


def test_a_world_is_its_seed_and_its_days_are_in_order() -> None:
    days = [night._day(night.World.make(500, 300, 3), 4, 5000, np.random.default_rng(1)) for _ in range(2)]
    assert days[0].tobytes() == days[1].tobytes()
    events = days[0]
    assert len(events) == 5000
    assert np.all(np.diff(events["at"]) >= 0)
    assert events["at"].min() >= night.END - 86 * 86_400_000
    assert events["at"].max() < night.END
    assert len(np.unique(events["key_hi"])) == 5000
    assert ((events["item"] >= 0) & (events["item"] < 300)).all()
    got = signals(events["action"], events["played_s"], events["duration_s"], events["value"])
    assert 0.5 < (got > 0).mean() < 0.9
    assert 0.05 < (got < 0).mean() < 0.3


def test_the_benchmark_runs_the_night() -> None:
    parser = argparse.ArgumentParser()
    night.add_arguments(parser)
    got = night.run(parser.parse_args(["--users", "300", "--items", "200", "--events", "20000"]))
    assert got["data"]["rows"] == 20_000  # type: ignore[index]
    assert {"wall_s", "cpu_s", "peak_rss_mb", "phases", "figures"} <= set(got)
    figures: dict[str, float] = got["figures"]  # type: ignore[assignment]
    assert figures["radio next hit@20"] > figures["most played next hit@20"] > figures["random next hit@20"]
