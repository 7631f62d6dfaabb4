"""`segue benchmark rank`: figures against slow ones, the whole command on a small world, and bad input in words."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segue.benchmarks import rank
from segue.benchmarks._rank_judge import draws, interval, versus, weighted_auc, within_users
from segue.core.errors import BadInput
from segue.evaluation.calibration import auc


def world(n: int, start: int, seed: int) -> pa.Table:
    """Listeners stay for a time of their own, songs hold them for one of theirs: no single figure knows both."""
    rng = np.random.default_rng(seed)
    user = rng.integers(0, 25, n)
    length = rng.choice([20.0, 60.0, 180.0, 400.0], n)
    item = rng.integers(0, 40, n)
    stay = 8.0 * (1 + user) * 1.1 ** (item - 10.0) * rng.lognormal(0, 0.3, n)
    at = start + np.sort(rng.integers(0, 86_400, n))
    played = np.where(stay < length, np.minimum(stay, length) * rng.choice([0.05, 1.0], n), length)
    columns = {"user": user, "item": item, "at": at, "played_s": played, "duration_s": length}
    return pa.table({**columns, "device": rng.choice(["phone", "car"], n)})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("rank")
    paths = str(folder / "train.parquet"), str(folder / "test.parquet")
    for path, table in zip(paths, (world(3000, 0, 0), world(800, 86_400, 1)), strict=True):
        pq.write_table(table, path)
    return paths


def test_both_protocols_beat_the_best_single_figure(files: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank, "SEEDS", 1)
    small = {"max_leaves": 7, "epochs": 60, "learning_rate": 0.1}
    monkeypatch.setattr(rank, "GRIDS", {"logistic": [{"reg": 10.0}], "boosting": [small]})
    found: dict[str, Any] = rank.run(argparse.Namespace(train=files[0], test=files[1], models="logistic,boosting"))
    for protocol in ("frozen", "running"):
        got = found[protocol]
        assert got["auc"] > got["best_baseline"]["auc"]
        assert got["logloss"] < got["best_baseline"]["logloss"]
        assert got["auc_interval"][0] < got["auc"] < got["auc_interval"][1]
        assert 0.5 < got["calibration_slope"] < 1.6
        assert {one["model"] for one in got["models"]} == {"logistic", "boosting", "mixture"}
        assert "device_finish" in got["features"]
    assert "gauc" in found["frozen"]
    assert "gauc" not in found["running"], "with running features a user's own answers are in the row"


def test_weighted_auc_is_that_of_repeated_plays() -> None:
    rng = np.random.default_rng(0)
    p, truth = np.round(rng.random(60), 1), rng.random(60) < 0.5
    times = rng.integers(0, 3, (5, 60)).astype(float)
    for row, got in zip(times, weighted_auc(p, truth, times), strict=True):
        again = np.repeat(np.arange(60), row.astype(int))
        assert got == pytest.approx(auc(p[again], truth[again]))


def test_draws_take_users_whole_and_pairs_cancel() -> None:
    user = np.array([3, 3, 9, 9, 9])
    drawn = draws(user)
    assert np.all(drawn[:, 0] == drawn[:, 1])
    assert np.all(drawn[:, [0, 2]].sum(axis=1) == 2)
    p, truth = np.array([0.1, 0.9, 0.3, 0.6, 0.5]), np.array([False, True, True, False, True])
    same = versus(p, p, truth, user)
    assert same["auc_gain"] == 0
    assert same["logloss_gain_interval"] == [0.0, 0.0]
    means, weights, _ = within_users(p, truth, user)
    assert means.tolist() == [1.0, 0.0]
    assert weights.tolist() == [2, 3]
    assert interval(np.arange(101.0)) == [2.5, 97.5]


def test_bad_input_is_told(tmp_path: Path, files: tuple[str, str]) -> None:
    def ask(train: str, test: str, models: str = "logistic") -> None:
        rank.run(argparse.Namespace(train=train, test=test, models=models))

    with pytest.raises(BadInput, match="after"):
        ask(files[1], files[0])
    with pytest.raises(BadInput, match="expected some of"):
        ask(*files, models="magic")
    broken = str(tmp_path / "broken.parquet")
    pq.write_table(world(50, 0, 0).drop_columns(["at"]), broken)
    with pytest.raises(BadInput, match="at not there"):
        ask(broken, files[1])
    with pytest.raises(BadInput, match="cannot be read"):
        ask(str(tmp_path / "none.parquet"), files[1])
    negative = world(50, 0, 0)
    negative = negative.set_column(4, "duration_s", pa.array(np.full(50, -1.0)))
    pq.write_table(negative, broken)
    with pytest.raises(BadInput, match="at least 0"):
        ask(broken, files[1])
    pq.write_table(world(20, 0, 0), broken)
    with pytest.raises(BadInput, match="too few"):
        ask(broken, files[1])
