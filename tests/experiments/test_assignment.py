"""Assignment: uniform, independent between layers, and nobody changes sides while an arm grows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from segue.experiments.assignment import NEW, OLD, REST, Shares, place, unit_of
from segue.experiments.interleaving import preference, team_draft

KEY = b"k" * 32


def test_a_million_ids_are_uniform_and_independent_across_layers() -> None:
    first, second = (
        np.fromiter((place(KEY, layer, f"user-{n}") for n in range(1_000_000)), np.float64, 1_000_000) for layer in ("a", "b")
    )
    table = np.bincount((first * 100).astype(int) * 100 + (second * 100).astype(int), minlength=10_000)
    statistic = ((table - 100.0) ** 2 / 100.0).sum()
    assert chi2.sf(statistic, 9_999) > 1e-4, "cells of (layer a, layer b)"
    for values in (first, second):
        counts = np.bincount((values * 1000).astype(int), minlength=1000)
        assert chi2.sf(((counts - 1000.0) ** 2 / 1000.0).sum(), 999) > 1e-4
    assert abs(np.corrcoef(first, second)[0, 1]) < 4e-3


def test_another_home_has_another_order_and_the_same_home_the_same() -> None:
    assert place(KEY, "a", "anna") == place(KEY, "a", "anna")
    assert place(KEY, "a", "anna") != place(b"other", "a", "anna")
    assert 0 <= place(KEY, "a" * 500, "\ud800") < 1


@given(st.floats(0, 1, exclude_max=True), st.lists(st.floats(0, 0.5), min_size=2, max_size=6))
def test_nobody_changes_between_old_and_new_while_arms_grow(where: float, sizes: list[float]) -> None:
    arms = [Shares(size, size).arm(where) for size in sorted(sizes)]
    told = [arm for arm in arms if arm != REST]
    assert len(set(told)) <= 1
    assert arms == [REST] * (len(arms) - len(told)) + told, "once in an arm, always in it"


def test_shares_are_kept_and_nonsense_is_refused() -> None:
    shares = Shares(0.1, 0.1)
    arms = [shares.arm(x) for x in np.linspace(0, 1, 1000, endpoint=False)]
    assert (arms.count(NEW), arms.count(REST), arms.count(OLD)) == (100, 800, 100)
    assert shares.share(REST) == pytest.approx(0.8)
    with pytest.raises(ValueError):
        Shares(0.7, 0.4)


def test_units() -> None:
    assert unit_of("user", "u", "s", "r") == "u"
    assert unit_of("session", "u", "s", "r") != unit_of("session", "u", "t", "r")
    assert unit_of("session", "u", None, "r") == "u"
    assert unit_of("request", "u", "s", "r") == "r"


def test_team_draft_is_fair_and_its_list_is_made_of_both() -> None:
    rng = np.random.default_rng(9)
    ours, theirs = np.arange(10, dtype=np.int32), np.arange(5, 15, dtype=np.int32)
    firsts = []
    for _ in range(400):
        items, teams = team_draft(ours, theirs, 8, rng)
        assert len(set(items.tolist())) == 8
        assert (teams == 0).sum() == (teams == 1).sum() == 4
        firsts.append(int(teams[0]))
    assert abs(np.mean(firsts) - 0.5) < 0.1
    items, _ = team_draft(ours[:2], theirs[:1], 8, rng)
    assert sorted(items.tolist()) == [0, 1, 5]


def test_a_preference_counts_each_user_once() -> None:
    said = preference(np.array([30, 1, 1, 0, 2]), np.array([0, 0, 0, 0, 2]))
    assert (said.ours, said.theirs, said.ties) == (3, 0, 1), "who heard none of either has no vote"
    assert (said.margin, said.delta) == (-0.5, -0.375)
    assert said.p == pytest.approx(0.25)
    assert preference(np.zeros(3, int), np.zeros(3, int)).p == 1.0
