"""Trees as flat arrays say to the bit what the library that grew them says, and what a tree drawn by hand says."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.core.errors import NotReady
from segue.core.types import Candidates, Query
from segue.evaluation.calibration import auc, calibration
from segue.ranking.boosting import Boosting
from segue.ranking.forest import Forest
from segue.ranking.trees import Trees

INF = np.inf


def grown(rows: np.ndarray, truth: np.ndarray, **more: object) -> lightgbm.Booster:
    common = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5, "num_leaves": 15}
    return lightgbm.train({**common, **more}, lightgbm.Dataset(rows, truth.astype(float)), 20)


def world(seed: int, holes: float = 0.0, n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 6)).astype(np.float32)
    rows[:, 3] = np.round(rows[:, 3])  # ties at thresholds
    truth = rows[:, 0] * rows[:, 1] + rows[:, 3] + 0.5 * rng.normal(size=n) > 0
    rows[rng.random(rows.shape) < holes] = np.nan
    return rows, truth


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.2]), st.integers(1, 40))
def test_equal_to_the_bit_with_and_without_holes(seed: int, holes: float, asked: int) -> None:
    rows, truth = world(seed, holes)
    booster = grown(rows, truth)
    trees = Trees.grown(booster.model_to_string())
    fresh = world(seed + 1, holes)[0][:asked]
    fresh[0, :] = np.nan  # also where the training had no hole
    assert np.array_equal(trees.raw(fresh), booster.predict(fresh, raw_score=True))


def test_values_at_a_threshold_go_left_in_float32_as_in_float64() -> None:
    rows, truth = world(3)
    booster = grown(rows, truth)
    trees = Trees.grown(booster.model_to_string())
    edges = np.unique(trees.threshold[np.isfinite(trees.threshold)])
    edges = edges[np.abs(edges) > 1e-30]  # LightGBM takes 1e-35 for 0; float32 features that small do not occur
    around = np.concatenate([edges, np.nextafter(edges, np.float32(INF)), np.nextafter(edges, np.float32(-INF))])
    asked = np.repeat(around[:, None], 6, axis=1)
    assert np.array_equal(trees.raw(asked), booster.predict(asked, raw_score=True))


def test_a_tree_that_found_nothing_and_a_stump() -> None:
    text = "head\n\nTree=0\nnum_leaves=1\nleaf_value=0.25\n\nTree=1\nnum_leaves=2\nsplit_feature=1\nthreshold=0.5\n"
    text += (
        "decision_type=2\nleft_child=-1\nright_child=-2\nleaf_value=-1 2\nleaf_count=3 4\ninternal_count=7\n\nend of trees\n"
    )
    trees = Trees.grown(text)
    rows = np.array([[9, 0.5], [9, 0.6], [9, np.nan]], np.float32)
    assert trees.raw(rows).tolist() == [-0.75, 2.25, -0.75]
    assert trees.cover.tolist()[-3:] == [7, 3, 4]
    assert trees.raw(np.zeros((0, 2), np.float32)).tolist() == []


def test_categories_and_broken_columns_are_refused() -> None:
    text = "\nTree=0\nsplit_feature=0\nthreshold=0\ndecision_type=1\nleft_child=-1\nright_child=-2\nleaf_value=0 1\n"
    with pytest.raises(ValueError, match="categories"):
        Trees.grown(text)
    arrays = Trees.grown(text.replace("decision_type=1", "decision_type=2")).arrays()
    with pytest.raises(ValueError, match="outside"):
        Trees.of({**arrays, "child": arrays["child"] + np.uint32(1)})
    with pytest.raises(ValueError, match="nodes"):
        Trees.of({**arrays, "value": arrays["value"][:1]})


@pytest.mark.parametrize("make", [Boosting, Forest])
def test_it_learns_what_no_line_can_and_is_calibrated(make: type[Boosting] | type[Forest]) -> None:
    rows, truth = world(1, n=4000)
    fresh, then = world(2, n=3000)
    ones, played = np.ones(len(rows), np.float32), np.ones(len(rows), np.bool_)
    ranker = make().fit_rows(rows, truth, ones, played)
    got = calibration(ranker.probabilities(fresh), then)
    assert got.auc > 0.9
    assert 0.8 < got.slope < 1.25  # of so few examples a fifth more makes trees that are a little too modest


def test_calibration_is_learned_among_the_played() -> None:
    """Half of the examples were never played: the order may learn from them, the probability must not."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(8000, 3)).astype(np.float32)
    played = rng.random(8000) < 0.5
    finished = rng.random(8000) < 1 / (1 + np.exp(-rows[:, 0]))
    listened = finished & played
    ranker = Boosting().fit_rows(rows, listened, np.ones(8000, np.float32), played)
    fresh = rng.normal(size=(4000, 3)).astype(np.float32)
    truth = rng.random(4000) < 1 / (1 + np.exp(-fresh[:, 0]))
    got = calibration(ranker.probabilities(fresh), truth)
    assert abs(ranker.probabilities(fresh).mean() - 0.5) < 0.05
    assert 0.8 < got.slope < 1.2
    assert auc(ranker.probabilities(fresh), truth) > 0.7


def test_what_cannot_be_used_is_refused() -> None:
    rows, truth = world(0)
    ones, played = np.ones(600, np.float32), np.ones(600, np.bool_)
    with pytest.raises(ValueError, match="listened"):
        Boosting().fit_rows(rows, np.zeros(600, np.bool_), ones, played)
    with pytest.raises(ValueError, match="600 labels"):
        Boosting().fit_rows(rows[:5], truth, ones, played)
    with pytest.raises(ValueError, match="learning_rate"):
        Boosting(learning_rate=0)
    with pytest.raises(ValueError, match="columns"):
        Forest(sample=1.0)
    none = Candidates(np.zeros(0, np.int32), np.zeros((0, 1), np.float32), ("a",))
    with pytest.raises(NotReady):
        Boosting().score(Query(1, 0, 0), none, rows[:0])
    with pytest.raises(ValueError, match="6 features"):
        Boosting().fit_rows(rows, truth, ones, played).score(Query(1, 0, 0), none, rows[:0, :5])
