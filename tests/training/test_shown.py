"""Slates as they were shown: whose event is whose, labels by the rules, nothing of the future, weights that keep the rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from night_toys import DAY_MS, DAYS, T0, Counts, First, ListLog, Loved, Ring, walks

from segue.core.actions import Action
from segue.core.types import Events, Exposure, Query, Slate, empty_events
from segue.features.compute import Features
from segue.ranking.logistic import Logistic, platt, sigmoid
from segue.storage.artifacts.folder import FolderArtifacts
from segue.training.exam import nameless
from segue.training.nightly import Recipe, Settings, run_night
from segue.training.registry import Registry
from segue.training.shown import Judging, judged_by, lessons_of, rolling, shown_before, thinned

HOUR = 3_600_000
NAMES = ("a", "b")


def slate(request: int, user: int, at: int, items: list[int], session: int = 0, names: tuple[str, ...] = NAMES) -> Exposure:
    k = len(items)
    column = np.array(items, np.int32)
    one = Slate(
        request_id=request,
        items=column,
        scores=np.zeros(k, np.float32),
        propensities=np.linspace(1, 0.1, k).astype(np.float32),
        sources=((),) * k,
        reasons=("",) * k,
        explored=np.zeros(k, np.bool_),
        policy="",
        model_versions={},
        rung="personal",
    )
    rows = np.outer(column, np.arange(1, len(names) + 1)).astype(np.float32)
    return Exposure(one, user, at, session, "radio", -1, rows, names)


def events(*rows: dict[str, Any]) -> Events:
    out = empty_events(len(rows))
    for place, row in enumerate(sorted(rows, key=lambda row: row["at"])):
        out[place]["seq"] = place + 1
        for name, value in row.items():
            out[place][name] = value
    return out


def log(shown: list[Exposure], happened: Events) -> ListLog:
    made = ListLog(happened, chunk=3)
    made.shown = sorted(shown, key=lambda one: one.at)
    return made


def labels(shown: list[Exposure], *rows: dict[str, Any], how: Judging | None = None) -> dict[tuple[int, int], int]:
    """(request, item) -> label."""
    made = log(shown, events(*rows))
    table, _ = shown_before(made, NAMES, 0, 10**12)  # type: ignore[arg-type]
    got, _ = judged_by(made, table, how or Judging(), 10**12)  # type: ignore[arg-type]
    return dict(zip(zip(table.request.tolist(), table.item.tolist(), strict=True), got.tolist(), strict=True))


def play(at: int, item: int, share: float, **more: Any) -> dict[str, Any]:
    action = Action.COMPLETED if share > 0.5 else Action.SKIPPED
    return {"at": at, "user": 1, "item": item, "action": action, "played_s": 100 * share, "duration_s": 100.0} | more


@pytest.mark.parametrize(("share", "label"), [(1.0, 1), (0.81, 1), (0.79, 0), (0.5, 0), (0.11, 0), (0.09, -1), (0.0, -1)])
def test_the_share_heard_decides(share: float, label: int) -> None:
    assert labels([slate(9, 1, 1000, [5])], play(2000, 5, share)) == {(9, 5): label}


def test_thresholds_are_settings() -> None:
    how = Judging(finished=0.5, skipped=0.3)
    said = [labels([slate(9, 1, 1000, [5])], play(2000, 5, share), how=how)[9, 5] for share in (0.6, 0.4, 0.2)]
    assert said == [1, 0, -1]


def test_votes_outweigh_plays_and_the_last_one_decides() -> None:
    shown = [slate(9, 1, 1000, [5, 6, 7, 8])]
    said = labels(
        shown,
        play(2000, 5, 1.0),
        {"at": 2500, "user": 1, "item": 5, "action": Action.DISLIKED},
        play(2000, 6, 0.02),
        {"at": 2600, "user": 1, "item": 6, "action": Action.SAVED},
        {"at": 2700, "user": 1, "item": 7, "action": Action.LIKED},
        {"at": 2800, "user": 1, "item": 7, "action": Action.HIDDEN},
    )
    assert said == {(9, 5): -1, (9, 6): 1, (9, 7): -1, (9, 8): 0}, "a position that was not reached says nothing"


def test_an_event_is_of_the_request_that_it_names_else_of_the_latest_showing() -> None:
    shown = [slate(9, 1, 1000, [5]), slate(10, 1, 5000, [5]), slate(11, 2, 5000, [5])]
    assert labels(shown, play(6000, 5, 1.0, request=9)) == {(9, 5): 1, (10, 5): 0, (11, 5): 0}
    assert labels(shown, play(6000, 5, 1.0)) == {(9, 5): 0, (10, 5): 1, (11, 5): 0}
    assert labels(shown, play(4000, 5, 1.0)) == {(9, 5): 1, (10, 5): 0, (11, 5): 0}
    assert not any(labels(shown, play(6000, 5, 1.0, request=77)).values()), "of a request that is not here"
    assert not any(labels(shown, play(6000, 5, 1.0, request=11)).values()), "of a request of somebody else"
    assert not any(labels(shown, play(500, 5, 1.0)).values()), "before it was shown"


def test_windows_and_sessions_bound_what_counts() -> None:
    shown = [slate(9, 1, 1000, [5], session=3)]
    assert labels(shown, play(1000 + 7 * HOUR, 5, 1.0)) == {(9, 5): 0}
    assert labels(shown, play(1000 + 7 * HOUR, 5, 1.0, request=9)) == {(9, 5): 0}
    assert labels(shown, play(2000, 5, 1.0, session=4)) == {(9, 5): 0}
    assert labels(shown, play(2000, 5, 1.0, session=3)) == {(9, 5): 1}
    assert labels(shown, play(2000, 5, 1.0)) == {(9, 5): 1}


def test_features_are_those_stored_in_the_order_asked_and_others_are_left_out() -> None:
    made = log(
        [slate(1, 1, 10, [3, 4]), slate(2, 1, 20, [5], names=("a",)), slate(3, 1, 30, [6], names=("x", "b", "a"))], events()
    )
    table, counts = shown_before(made, ("b", "a"), 0, 100)  # type: ignore[arg-type]
    assert table.item.tolist() == [3, 4, 6]
    assert table.rows.tolist() == [[6, 3], [8, 4], [12, 18]]
    assert table.position.tolist() == [0, 1, 0]
    assert counts == {"slates": 3, "slates with other features": 1, "slates beyond memory": 0}


def test_memory_is_bounded_by_whole_slates() -> None:
    shown = [slate(request, request, 10 * request, [1, 2, 3, 4]) for request in range(1, 400)]
    table, counts = shown_before(log(shown, events()), NAMES, 0, 10**6, most=200)  # type: ignore[arg-type]
    assert 40 < len(table) <= 200
    assert np.array_equal(np.bincount(table.request.astype(np.int64))[np.unique(table.request)], np.full(len(table) // 4, 4))
    assert counts["slates beyond memory"] == 399 - len(table) // 4
    again, _ = shown_before(log(shown[:300], events()), NAMES, 0, 10**6, most=200)  # type: ignore[arg-type]
    assert set(table.request[table.at <= 3000]) <= set(again.request)


def busy(rng: np.random.Generator, n: int = 60) -> ListLog:
    shown, happened = [], []
    for request in range(1, n):
        at, user = int(rng.integers(0, 40)) * HOUR, int(rng.integers(0, 5))
        items = rng.permutation(12)[:4].tolist()
        shown.append(slate(request, user, at, items))
        for place, item in enumerate(items[: int(rng.integers(0, 5))]):
            more = {"request": request} if rng.random() < 0.5 else {}
            happened.append(play(at + 1000 * (place + 1), item, float(rng.random()), user=user, **more))
    return log(shown, events(*happened))


def test_what_came_after_changes_nothing_before() -> None:
    """The leak test: the future is shuffled, events and slates; every example of the past is the same to the bit."""
    rng = np.random.default_rng(4)
    made, cut = busy(rng), 20 * HOUR
    how = Judging(within_ms=2 * HOUR)
    before = lessons_of(made, NAMES, how, (0, cut), np.random.default_rng(1))  # type: ignore[arg-type]
    assert len(before) > 20
    late = made.events["at"] >= cut
    future = made.events[late]
    for name in ("item", "user", "action", "played_s", "request"):
        future[name] = rng.permutation(future[name])
    made.events[late] = future
    made.shown = [one for one in made.shown if one.at < cut] + [slate(10**6 + k, 1, cut + k, [1, 2]) for k in range(9)]
    after = lessons_of(made, NAMES, how, (0, cut), np.random.default_rng(1))  # type: ignore[arg-type]
    for name in ("rows", "listened", "weights", "played"):
        assert np.array_equal(getattr(before.examples, name), getattr(after.examples, name)), name
    assert before.facts == after.facts
    assert before.at.max() < cut - how.within_ms, "a slate whose time is not over is not judged"


def test_a_shuffled_past_does_change_it() -> None:
    """The test above would see a leak: the same shuffle before the cut is seen."""
    made = busy(np.random.default_rng(4))
    before = lessons_of(made, NAMES, Judging(), (0, 30 * HOUR), np.random.default_rng(1))  # type: ignore[arg-type]
    made.events["played_s"] = np.random.default_rng(5).permutation(made.events["played_s"])
    after = lessons_of(made, NAMES, Judging(), (0, 30 * HOUR), np.random.default_rng(1))  # type: ignore[arg-type]
    assert before.facts != after.facts


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), max_size=60), st.floats(0.2, 5))
def test_negatives_that_are_kept_weigh_for_those_that_are_not(positive: list[bool], ratio: float) -> None:
    truth = np.array(positive, np.bool_)
    kept, weights = thinned(truth, ratio, np.random.default_rng(0))
    assert truth[kept].sum() == truth.sum()
    assert (~truth[kept]).sum() <= max(np.ceil(ratio * truth.sum()), (~truth).sum() if not truth.any() else 0)
    assert weights[kept][~truth[kept]].sum() == pytest.approx((~truth).sum())
    assert np.all(np.diff(kept) > 0)


def test_probabilities_are_those_of_all_rows_though_most_negatives_were_left_out() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 1)).astype(np.float32)
    truth = rng.random(len(x)) < sigmoid(x[:, 0].astype(np.float64) - 3)
    kept, weights = thinned(truth, 1.0, rng)
    weights = weights[kept].astype(np.float32)
    ranker = Logistic(reg=1e-3).fit_rows(x[kept], truth[kept], weights, np.ones(len(kept), np.bool_))
    p = ranker.score(Query(1, 0, 0), nameless(len(x)), x)
    assert p.mean() == pytest.approx(truth.mean(), rel=0.1)
    careless = Logistic(reg=1e-3).fit_rows(x[kept], truth[kept], np.ones_like(weights), np.ones(len(kept), np.bool_))
    assert careless.score(Query(1, 0, 0), nameless(len(x)), x).mean() > 3 * truth.mean()


def test_a_weighted_line_is_the_line_of_repeated_examples() -> None:
    rng = np.random.default_rng(1)
    logit = rng.normal(size=300)
    truth, times = rng.random(300) < sigmoid(logit), rng.integers(1, 4, 300)
    repeated = platt(np.repeat(logit, times), np.repeat(truth, times))
    np.testing.assert_allclose(platt(logit, truth, times.astype(np.float64)), repeated, rtol=1e-6)


def test_weights_by_time_and_propensity_keep_the_totals() -> None:
    made = busy(np.random.default_rng(2), 200)
    span = (0, 45 * HOUR)

    def of(**more: Any) -> Any:
        return lessons_of(made, NAMES, Judging(negatives=100.0, **more), span, np.random.default_rng(0))  # type: ignore[arg-type]

    plain, timed, clipped = of(by_time=False), of(), of(by_time=False, clip=4.0)
    assert np.all(plain.examples.weights == 1)
    listened = timed.examples.listened
    assert timed.examples.weights[listened].mean() == pytest.approx(1, abs=1e-5)
    assert timed.examples.weights[listened].std() > 0
    assert np.all(timed.examples.weights[~listened] == 1)
    expected = np.minimum(1 / clipped.propensity, 4)
    np.testing.assert_allclose(clipped.examples.weights, expected / expected.mean(), rtol=1e-5)


def test_weeks_roll() -> None:
    at = np.arange(0, 28 * DAY_MS, 6 * HOUR)
    parts = list(rolling(at, DAY_MS))
    assert len(parts) == 3
    for week, (train, test) in enumerate(parts, 1):
        assert at[train].max() < week * 7 * DAY_MS - DAY_MS
        assert at[test].min() == week * 7 * DAY_MS
        assert at[test].max() < (week + 1) * 7 * DAY_MS


def test_a_night_reads_its_slates_and_says_what_it_learned_from(tmp_path: Path) -> None:
    """Slates whose features say which source is right: the manifest tells of them, and what they taught by the week."""
    names = Features(["loved", "ring"]).names
    happened = walks()
    made = ListLog(happened)
    rng = np.random.default_rng(0)
    for request in range(1, 1500):
        row = happened[int(rng.integers(len(happened)))]
        shown = slate(
            request, int(row["user"]), int(row["at"]) - 1000, [int(row["item"]), (int(row["item"]) + 9) % 60], names=names
        )
        made.shown.append(shown)
    made.shown.sort(key=lambda one: one.at)
    report = run_night(
        made,  # type: ignore[arg-type]
        Counts(),  # type: ignore[arg-type]
        FolderArtifacts(tmp_path),
        Recipe({"loved": Loved, "ring": Ring}, First, Logistic),
        Settings(k=5, judging=Judging(within_ms=HOUR)),
        now=T0 + DAYS * DAY_MS,
    )
    (note,) = [note for note in report.notes if note.startswith("slates")]
    assert " turned away" in note
    facts = Registry(FolderArtifacts(tmp_path)).open(report.version).manifest["ranker_facts"]
    assert facts["shown"]["slates"] > 1000
    assert facts["shown"]["slates with other features"] == 0
    assert facts["shown"]["listened"] > 100
    assert facts["shown"]["turned away"] > 50
    assert len(facts["shown"]["rolling"]) == 2
    assert facts["logistic"]["taught by"].startswith("replay")
    assert "with slates" in facts["logistic"]["taught by"]
