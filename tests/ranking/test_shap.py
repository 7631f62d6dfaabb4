"""Contributions add up, agree with LightGBM's and with brute force, and know what a line is."""

from itertools import combinations
from math import factorial

import lightgbm
import numpy as np
import pytest

from segue.core.errors import NotReady
from segue.core.stages import Explains
from segue.ranking.boosting import Boosting
from segue.ranking.logistic import Logistic
from segue.ranking.shap import contributions
from segue.ranking.trees import Trees


def grown(depth: int, rounds: int = 12, holes: bool = True) -> tuple[lightgbm.Booster, np.ndarray]:
    rng = np.random.default_rng(depth)
    rows = rng.normal(size=(600, 6)).astype(np.float32)
    if holes:
        rows[rng.random(rows.shape) < 0.1] = np.nan
    label = (np.nan_to_num(rows[:, 0] * rows[:, 1]) + np.nan_to_num(rows[:, 2]) > rng.normal(size=600) * 0.3).astype(float)
    settings = {
        "objective": "binary",
        "verbose": -1,
        "max_depth": depth,
        "num_leaves": 31,
        "min_data_in_leaf": 5,
        "num_threads": 1,
    }
    return lightgbm.train(settings, lightgbm.Dataset(rows, label), rounds), rows


@pytest.mark.parametrize("depth", [1, 3, 8])
def test_they_are_those_of_lightgbm_and_add_up(depth: int) -> None:
    booster, rows = grown(depth)
    trees = Trees.grown(booster.model_to_string())
    base, values = contributions(trees, rows[:40])
    theirs = booster.predict(rows[:40], pred_contrib=True)
    assert np.allclose(values, theirs[:, :-1], atol=1e-6)
    assert np.allclose(base, theirs[:, -1], atol=1e-6)
    assert np.allclose(base + values.sum(axis=1), trees.raw(rows[:40]), atol=1e-9)


def test_one_tree_by_the_definition() -> None:
    booster, rows = grown(3, rounds=1, holes=False)
    trees = Trees.grown(booster.model_to_string())
    row, n = rows[7], 6

    def worth(known: frozenset[int], node: int = 0) -> float:
        left, right = (int(trees.child[2 * node + side]) for side in (0, 1))
        if left == node:
            return float(trees.value[node])
        if int(trees.feature[node]) in known:
            return worth(known, right if row[trees.feature[node]] > trees.threshold[node] else left)
        share = float(trees.cover[left]) / float(trees.cover[node])
        return share * worth(known, left) + (1 - share) * worth(known, right)

    expected = np.zeros(n)
    for j in range(n):
        others = [k for k in range(n) if k != j]
        for size in range(n):
            weight = factorial(size) * factorial(n - 1 - size) / factorial(n)
            for chosen in combinations(others, size):
                expected[j] += weight * (worth(frozenset({*chosen, j})) - worth(frozenset(chosen)))
    base, values = contributions(trees, rows[7:8])
    assert base == pytest.approx(worth(frozenset()))
    assert values[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", [Boosting, Logistic])
def test_of_a_ranker_they_add_up_to_the_log_odds_of_its_score(kind: type) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(500, 4)).astype(np.float32)
    listened = rows[:, 0] + rng.normal(size=500) > 0
    ranker = kind()
    assert isinstance(ranker, Explains)
    with pytest.raises(NotReady):
        ranker.contributions(rows)
    ranker.fit_rows(rows, listened, np.ones(500, np.float32), np.ones(500, np.bool_))
    base, values = ranker.contributions(rows[:20])
    p = ranker.probabilities(rows[:20])
    assert base + values.sum(axis=1) == pytest.approx(np.log(p / (1 - p)), abs=1e-6)
    assert np.abs(values).mean(axis=0).argmax() == 0
