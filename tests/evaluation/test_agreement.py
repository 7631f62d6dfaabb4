"""Our metrics against public implementations, ranx and (for AUC) `implicit`, on random lists: the same to 1e-9."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from segue.evaluation.ranking import at_cutoffs, auc, r_precision

THEIRS = {
    "recall": "recall", "precision": "precision", "f1": "f1", "ndcg": "ndcg", "hit": "hit_rate", "mrr": "mrr", "map": "map",
}  # fmt: skip
CUTOFFS = (1, 3, 10, 25)
needs_ranx = pytest.mark.skipif(importlib.util.find_spec("ranx") is None, reason="ranx is not installed")


@pytest.fixture(scope="module")
def lists() -> tuple[list[list[int]], list[list[int]]]:
    rng = np.random.default_rng(5)
    relevant = [rng.choice(90, rng.integers(1, 40), replace=False).tolist() for _ in range(200)]
    ranked = [rng.permutation(90)[: rng.integers(1, 31)].tolist() for _ in range(200)]
    return ranked, relevant


@pytest.fixture(scope="module")
def theirs(lists: tuple[list[list[int]], list[list[int]]]) -> dict[str, list[float]]:
    metrics = [f"{name}@{k}" for name in THEIRS.values() for k in CUTOFFS] + ["r-precision"]
    metrics += [f"recall@{k}" for k in range(1, max(CUTOFFS) + 1)]
    asked = {"ranked": lists[0], "relevant": lists[1], "metrics": metrics}
    script = Path(__file__).with_name("ranx_says.py")
    done = subprocess.run(
        [sys.executable, str(script)],
        input=json.dumps(asked), capture_output=True, text=True, timeout=120, env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said: dict[str, list[float]] = json.loads(done.stdout)
    return said


class Said:
    """What `implicit` asks of a model: the lists, as they are."""

    def __init__(self, ranked: np.ndarray) -> None:
        self.ranked = ranked

    def recommend(self, users: np.ndarray, *_: object, N: int = 10, **__: object) -> tuple[np.ndarray, np.ndarray]:
        return self.ranked[users, :N], np.zeros((len(users), N), np.float32)


def test_auc_agrees_with_implicit() -> None:
    evaluation = pytest.importorskip("implicit.evaluation", reason="implicit is not installed")
    rng = np.random.default_rng(2)
    ranked = np.array([rng.permutation(60)[:20] for _ in range(50)], np.int32)
    wanted = [rng.choice(60, rng.integers(1, 30), replace=False).tolist() for _ in range(50)]
    ptr = np.concatenate([[0], np.cumsum([len(want) for want in wanted])]).astype(np.int64)
    relevant = np.array([item for want in wanted for item in sorted(want)], np.int32)
    test = sparse.csr_matrix((np.ones(len(relevant)), relevant, ptr), shape=(50, 60))
    train = sparse.csr_matrix((50, 60))
    theirs = evaluation.ranking_metrics_at_k(Said(ranked), train, test, K=20, show_progress=False, num_threads=1)
    assert auc(ranked, ptr, relevant, 60).mean() == pytest.approx(theirs["auc"], abs=1e-9)
    assert at_cutoffs(ranked, ptr, relevant, [20])["ndcg@20"].mean() == pytest.approx(theirs["ndcg"], abs=1e-9)


def columns(lists: tuple[list[list[int]], list[list[int]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ranked = np.full((len(lists[0]), 30), -1, np.int32)
    for row, one in enumerate(lists[0]):
        ranked[row, : len(one)] = one
    ptr = np.concatenate([[0], np.cumsum([len(want) for want in lists[1]])]).astype(np.int64)
    return ranked, ptr, np.array([item for want in lists[1] for item in want], np.int32)


@needs_ranx
@pytest.mark.parametrize("metric", THEIRS)
def test_agrees_with_ranx(metric: str, lists: tuple[list[list[int]], list[list[int]]], theirs: dict[str, list[float]]) -> None:
    ours = at_cutoffs(*columns(lists), CUTOFFS)
    for k in CUTOFFS:
        assert ours[f"{metric}@{k}"] == pytest.approx(theirs[f"{THEIRS[metric]}@{k}"], abs=1e-9, rel=0)


@needs_ranx
def test_r_precision_agrees_with_ranx(lists: tuple[list[list[int]], list[list[int]]], theirs: dict[str, list[float]]) -> None:
    ranked, ptr, relevant = columns(lists)
    assert r_precision(ranked, ptr, relevant) == pytest.approx(theirs["r-precision"], abs=1e-9, rel=0)


@needs_ranx
def test_average_recall_is_the_mean_of_what_ranx_calls_recall(
    lists: tuple[list[list[int]], list[list[int]]], theirs: dict[str, list[float]]
) -> None:
    ours = at_cutoffs(*columns(lists), CUTOFFS)
    for k in CUTOFFS:
        mean = np.mean([theirs[f"recall@{i}"] for i in range(1, k + 1)], axis=0)
        assert ours[f"mar@{k}"] == pytest.approx(mean, abs=1e-9, rel=0)
