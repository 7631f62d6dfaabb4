"""Leave-one-out retrieval: known answers by hand, and what chance gives."""

import numpy as np
import pytest

from segue.evaluation.retrieval import leave_one_out


def test_known_answers() -> None:
    labels = np.array(["a", "a", "b", "a", "lone"])
    similarity = np.array(
        [
            [9, 5, 8, 1, 7],  # ranks 2, 4, 1, 3: its own at places 3 and 4
            [5, 9, 1, 4, 2],  # ranks 0, 3, 4, 2: places 1 and 2
            [0, 0, 9, 0, 0],  # no query
            [1, 1, 1, 9, 1],  # ties: 0, 1, 2, 4: places 1 and 2
            [0, 0, 0, 0, 9],  # no query
        ],
        np.float32,
    )
    out = leave_one_out(similarity, labels, k=3)
    np.testing.assert_allclose(out["precision@3"], [1 / 3, 2 / 3, 2 / 3])
    np.testing.assert_allclose(out["map"], [(1 / 3 + 2 / 4) / 2, 1, 1])
    np.testing.assert_allclose(out["mrr"], [1 / 3, 1, 1])


def test_a_perfect_similarity_scores_one() -> None:
    labels = np.repeat(np.arange(5), 7)
    out = leave_one_out((labels[:, None] == labels[None]).astype(np.float32), labels)
    assert all(np.all(values == 1) for values in out.values())


def test_the_diagonal_never_counts() -> None:
    labels = np.repeat(np.arange(4), 3)
    similarity = np.random.default_rng(0).random((12, 12)).astype(np.float32)
    high, low = similarity.copy(), similarity.copy()
    np.fill_diagonal(high, 9)
    np.fill_diagonal(low, -9)
    for key, values in leave_one_out(high, labels).items():
        np.testing.assert_array_equal(values, leave_one_out(low, labels)[key])


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="3 x 3"):
        leave_one_out(np.zeros((2, 3), np.float32), np.arange(3))
