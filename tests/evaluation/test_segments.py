"""Segments: the mean of each group, who is counted, and who is too few."""

import numpy as np
import pytest

from segue.evaluation.segments import by_group


def test_each_group_has_its_own_mean_and_says_when_it_is_small() -> None:
    values = np.concatenate([np.full(40, 0.25), [1.0, 0.0, np.nan], [np.nan]])
    groups = ["north"] * 40 + ["south"] * 3 + ["west"]
    north, south = by_group(values, groups, np.random.default_rng(0))
    assert (north.group, north.mean, north.low, north.high, north.n, north.enough) == ("north", 0.25, 0.25, 0.25, 40, True)
    assert (south.group, south.mean, south.n, south.enough) == ("south", 0.5, 2, False)
    assert south.low < 0.5 < south.high


def test_lengths_must_match() -> None:
    with pytest.raises(ValueError, match="a group"):
        by_group(np.zeros(2), ["a"], np.random.default_rng(0))
    assert by_group(np.zeros(0), [], np.random.default_rng(0)) == []
