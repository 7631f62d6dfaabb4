"""The ratings benchmark: figures by hand, splits as they are named, and the order of models on a planted world."""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segue.benchmarks import ratings
from segue.core.errors import BadInput


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    ratings.add_arguments(parser)
    return parser.parse_args([*given, "--no-peer"])


def write(path: Path, users: np.ndarray, items: np.ndarray, values: np.ndarray, suffix: str = "") -> str:
    pq.write_table(pa.table({f"user{suffix}": users, f"item{suffix}": items, "rating": values}), path)
    return str(path)


@pytest.fixture
def world() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = 3 + rng.normal(0, 0.5, (80, 1)) + rng.normal(0, 0.5, 50) + rng.normal(0, 1, (80, 1)) @ rng.normal(0, 0.8, (1, 50))
    users, items = np.nonzero(rng.random((80, 50)) < 0.5)
    return users + 1000, items + 7, truth[users, items] + rng.normal(0, 0.3, len(users))


def test_better_models_are_measured_as_better(
    tmp_path: Path, world: tuple[np.ndarray, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ratings, "_ours", lambda grid, inner=ratings._ours: inner(grid[:2]))
    write(tmp_path / "inter.parquet", *world, suffix="_id")
    found = ratings.run(arguments("--data", str(tmp_path), "--folds", "2"))
    assert (found["users"], found["items"], found["folds"], found["tested"]) == (80, 50, 2, len(world[0]))
    models = found["models"]
    assert isinstance(models, dict)
    assert models["segue"]["rmse"] < models["biases"]["rmse"] < models["mean"]["rmse"]
    low, high = models["segue"]["rmse_interval"]
    assert low < models["segue"]["rmse"] < high
    assert found["squared_error_less_than"]["biases"]["interval"][0] > 0  # type: ignore[index]


def test_train_and_test_files_and_figures_by_hand(tmp_path: Path) -> None:
    train = write(tmp_path / "a.parquet", np.arange(20) % 4, np.arange(20) % 5, np.tile([2.0, 4.0], 10))
    test = write(tmp_path / "b.parquet", np.array([0, 1, 9]), np.array([0, 1, 2]), np.array([3.0, 4.0, 1.0]))
    found = ratings.run(arguments("--train", train, "--test", test))
    mean = found["models"]["mean"]  # type: ignore[index]
    assert mean["rmse"] == pytest.approx(np.sqrt((0 + 1 + 4) / 3), abs=1e-4)
    assert mean["mae"] == pytest.approx((0 + 1 + 2) / 3, abs=1e-4)
    assert found["tested"] == 3


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="either"):
        ratings.run(arguments())
    with pytest.raises(BadInput, match="no file"):
        ratings.run(arguments("--data", str(tmp_path)))
    pq.write_table(pa.table({"user": [1], "item": [2]}), tmp_path / "inter.parquet")
    with pytest.raises(BadInput, match="no rating"):
        ratings.run(arguments("--data", str(tmp_path)))
