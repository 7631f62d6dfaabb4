"""Coverage, Gini, novelty and diversity against answers by hand and naive loops over pairs."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.evaluation.beyond import coverage, diversity_by_tags, diversity_by_vectors, gini, novelty, shown, variety


def test_coverage_counts_playable_items_only() -> None:
    ranked = np.array([[0, 1, -1], [1, 4, -1]], np.int32)
    assert shown(ranked, 6).tolist() == [1, 2, 0, 0, 1, 0]
    assert coverage(ranked, np.array([1, 1, 1, 1, 0, 0], np.bool_)) == 0.5
    assert np.isnan(coverage(ranked, np.zeros(6, np.bool_)))


def test_gini_known_answers() -> None:
    assert gini(np.array([3, 3, 3])) == pytest.approx(0.0)
    assert gini(np.array([0, 0, 0, 7])) == pytest.approx(3 / 4)
    assert gini(np.array([1, 3])) == pytest.approx(0.25)
    assert np.isnan(gini(np.zeros(3)))


@given(st.lists(st.integers(0, 30), min_size=2, max_size=12).filter(any))
def test_gini_is_half_the_relative_mean_difference(counts: list[int]) -> None:
    n, mean = len(counts), np.mean(counts)
    differences = sum(abs(a - b) for a in counts for b in counts) / n**2
    assert gini(np.array(counts)) == pytest.approx(differences / (2 * mean))


def test_novelty_is_the_mean_self_information() -> None:
    plays = np.array([6, 0, 6], np.int64)  # 15 with one more each: 7/15, 1/15, 7/15
    got = novelty(np.array([[0, 1], [1, -1], [-1, -1]], np.int32), plays)
    assert got[:2] == pytest.approx([(np.log2(15 / 7) + np.log2(15)) / 2, np.log2(15)])
    assert np.isnan(got[2])


def test_diversity_by_vectors_known_answers() -> None:
    vectors = np.array([[1, 0], [5, 0], [0, 2], [-3, 0], [0, 0]], np.float32)
    ranked = np.array([[0, 1, -1], [0, 2, -1], [0, 3, -1], [0, 1, 2], [0, 4, -1], [0, -1, -1]], np.int32)
    got = diversity_by_vectors(ranked, vectors)
    assert got[:5] == pytest.approx([0.0, 1.0, 2.0, 2 / 3, 1.0])
    assert np.isnan(got[5])


def test_diversity_by_vectors_agrees_with_a_loop_over_pairs() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 5)).astype(np.float32)
    ranked = np.array([rng.permutation(30)[:7] for _ in range(9)], np.int32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    naive = [np.mean([1 - unit[a] @ unit[b] for a, b in combinations(row, 2)]) for row in ranked]
    assert diversity_by_vectors(ranked, vectors) == pytest.approx(naive, abs=1e-6)


def test_diversity_by_tags_agrees_with_a_loop_over_pairs() -> None:
    rng = np.random.default_rng(1)
    sets = [set(rng.choice(9, rng.integers(0, 5), replace=False).tolist()) for _ in range(40)]
    ptr = np.concatenate([[0], np.cumsum([len(s) for s in sets])]).astype(np.int64)
    tags = np.array([tag for s in sets for tag in sorted(s)], np.int32)
    ranked = np.array([rng.permutation(40)[:8] for _ in range(10)], np.int32)
    ranked[0, 3:] = -1
    for row, got in zip(ranked, diversity_by_tags(ranked, ptr, tags), strict=True):
        tagged = [sets[i] for i in row if i >= 0 and sets[i]]
        pairs = [1 - len(a & b) / len(a | b) for a, b in combinations(tagged, 2)]
        assert got == pytest.approx(np.mean(pairs) if pairs else np.nan, nan_ok=True)


def test_nobody_has_tags() -> None:
    assert np.isnan(diversity_by_tags(np.array([[0, 1]], np.int32), np.zeros(3, np.int64), np.zeros(0, np.int32))[0])


def test_variety_is_different_artists_over_songs() -> None:
    artist = np.array([4, 4, 5, -1], np.int32)
    got = variety(np.array([[0, 1, 2], [0, 1, -1], [3, -1, -1], [3, 0, 2]], np.int32), artist)
    assert got[[0, 1, 3]] == pytest.approx([2 / 3, 1 / 2, 1.0])
    assert np.isnan(got[2])
