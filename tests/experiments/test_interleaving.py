"""Interleaving: exact chances, a preference that is fair between equals and finds the better one, votes from the log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segue.core.actions import Action
from segue.core.errors import BadInput
from segue.core.types import Candidates, Exposure, Slate, empty_events
from segue.experiments.assignment import NEW, REST
from segue.experiments.book import Book
from segue.experiments.interleaving import Draft, interleave, preference
from segue.experiments.metrics import code
from segue.experiments.plan import INTERLEAVED, Plan, Step, read_plan
from segue.experiments.ramp import Move
from segue.experiments.runner import tick
from segue.experiments.votes import SETTLED_MS, Shared
from segue.reranking.radio import Radio
from segue.storage.event_log.sqlite import SqliteEventLog
from segue.storage.journal import Journal
from worlds import DictState, facts, query

DAY, START = 86_400_000, 1_760_000_000_000
PLAN = {"name": "two", "hypothesis": "listeners like the other order better", "new": {"radio": {"explore": 0.9}},
        "mode": "interleave", "users": 2000, "ramp": [{"new": 0.5, "old": 0.0, "decides": True}]}  # fmt: skip


def radio(artists: int = 3) -> Radio:
    world = facts([item % artists for item in range(40)])
    return Radio(lambda: world, DictState(), explore=0.7, explore_pool=4, artist_gap=1)


def drafts(ours: list[int], theirs: list[int], limit: int, runs: int, seed: int = 1) -> Iterator[Draft]:
    """Slates of two radios over some songs each, the first of the list the best."""
    rng, made, asked = np.random.default_rng(seed), radio(), query(limit=limit, discovery=1.0)
    sides = []
    for items in (ours, theirs):
        order = np.argsort(items)
        scores = -order.astype(np.float32)
        sides.append((Candidates(np.array(items, np.int32)[order], np.ones((len(items), 1), np.float32), ("s",)), scores))
    for _ in range(runs):
        a, b = (made.drafting(asked, *side) for side in sides)
        yield interleave((a, b), limit, rng)


def test_the_chances_of_a_place_are_exact_given_the_songs_above_and_whose_they_are() -> None:
    found: dict[Any, dict[int, set[float]]] = defaultdict(lambda: defaultdict(set))
    counts: dict[Any, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for made in drafts([0, 1, 2, 3], [3, 4, 2, 5], limit=3, runs=4000):
        items, teams = made.items.tolist(), made.teams.tolist()
        for place, chance in enumerate(made.propensities.tolist()):
            above = (*items[:place], *teams[:place])
            found[above][items[place]].add(round(chance, 5))
            counts[above][items[place]] += 1
    seen = {above: songs for above, songs in counts.items() if sum(songs.values()) >= 400}
    assert len(seen) > 3
    for above, songs in seen.items():
        assert all(len(chances) == 1 for chances in found[above].values()), "one history, one chance"
        chances = {song: next(iter(told)) for song, told in found[above].items()}
        n = sum(songs.values())
        assert sum(chances.values()) == pytest.approx(1.0, abs=0.02), "and they are all there are"
        off = [(songs[song] - n * p) / np.sqrt(n * p * (1 - p) + 1) for song, p in chances.items()]
        assert np.abs(off).max() < 4.5, "as often as they say"


def test_weights_of_a_policy_that_answers_alone_average_one() -> None:
    made, asked, items = radio(), query(limit=4, discovery=1.0), np.arange(6, dtype=np.int32)
    whole = Candidates(items, np.ones((6, 1), np.float32), ("s",))
    best, other = -items.astype(np.float32), (items * 5 % 6).astype(np.float32)
    rng, weights = np.random.default_rng(2), []
    for _ in range(3000):
        draft = interleave((made.drafting(asked, whole, best), made.drafting(asked, whole, other)), 4, rng)
        alone = made.chances(asked, whole, best, draft.items)
        weights.append(float(np.prod(alone[:1] / draft.propensities[:1])))
    assert abs(np.mean(weights) - 1) < 4 * np.std(weights) / np.sqrt(len(weights))


def test_a_ranker_that_has_nothing_left_passes() -> None:
    [made] = drafts([0], [0, 1, 2], limit=5, runs=1)
    assert sorted(made.items.tolist()) == [0, 1, 2]
    assert [made.teams[k] for k, item in enumerate(made.items.tolist()) if item > 0] == [1, 1]
    [none] = drafts([], [], limit=5, runs=1)
    assert len(none.items) == len(none.teams) == len(none.propensities) == 0


def heard(ours: list[int], theirs: list[int], listeners: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Listeners with a slate each, who like song n with a chance that falls with n: songs heard of either's."""
    rng, counts = np.random.default_rng([seed, 5]), np.zeros((2, listeners), int)
    for who, made in enumerate(drafts(ours, theirs, limit=8, runs=listeners, seed=seed)):
        liked = rng.random(len(made.items)) < 0.9 - 0.04 * made.items
        counts[:, who] = [int((liked & (made.teams == team)).sum()) for team in (0, 1)]
    return counts[0], counts[1]


def test_equals_are_equal_and_the_better_one_is_found() -> None:
    same = preference(*heard(list(range(20)), list(range(20)), 600, 3))
    assert same.always_low < 0 < same.always_high
    assert same.low < 0.02
    assert same.high > -0.02
    better = preference(*heard(list(range(19, -1, -1)), list(range(20)), 300, 4), planned=500)
    assert better.always_low > 0
    assert better.p < 1e-6
    worse = preference(*heard(list(range(20)), list(range(19, -1, -1)), 300, 4), planned=500)
    assert worse.always_high < 0


def test_between_equals_the_interval_is_wrong_at_most_one_time_in_twenty_however_often_one_looks() -> None:
    rng, runs, listeners = np.random.default_rng(11), 2000, 600
    false_always = false_once = 0
    for _ in range(runs):
        taste = rng.beta(2, 2, listeners)  # listeners differ, and play their slates more or less often
        songs = rng.integers(1, 12, listeners)
        ours, theirs = rng.binomial(songs, taste), rng.binomial(songs, taste)
        looks = [preference(ours[:n], theirs[:n], planned=listeners) for n in range(100, listeners + 1, 100)]
        false_always += any(look.always_low > 0 or look.always_high < 0 for look in looks)
        false_once += looks[-1].p <= 0.05
    assert false_always <= 0.05 * runs
    assert 0.02 * runs <= false_once <= 0.065 * runs, "the sign test is exact, and so a little careful"


def slate(number: int, user: int, at: int, items: list[int], teams: list[int] | None) -> Exposure:
    k = len(items)
    ones = np.ones(k, np.float32)
    made = Slate(
        number, np.array(items, np.int32), ones, ones, (("s",),) * k, ("r",) * k, ones < 0, "interleaved", {}, "personal"
    )
    shown = Exposure(made, user, at, 0, "radio", -1, np.zeros((k, 0), np.float32), ())
    return shown if teams is None else replace(shown, teams={"two": np.array(teams, np.int8)})


def append(log: SqliteEventLog, rows: list[dict[str, Any]], exposures: list[Exposure]) -> None:
    events = empty_events(len(rows))
    for place, row in enumerate(rows):
        for name, value in row.items():
            events[name][place] = value
    events["key_lo"] = np.arange(log.last + 1, log.last + 1 + len(rows))
    log.append(events, exposures=exposures)


def play(user: int, item: int, request: int, at: int, share: float = 1.0) -> dict[str, Any]:
    action = Action.COMPLETED if share > 0.8 else Action.SKIPPED
    return {"user": user, "item": item, "request": request, "at": at, "action": action,
            "played_s": 200 * share, "duration_s": 200.0}  # fmt: skip


def joined(user: int, arm: str = NEW, at: int = START) -> dict[str, Any]:
    return {"user": user, "action": Action.ASSIGNED, "at": at, "position": 0, "value": code(0, arm)}


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteEventLog]:
    opened = SqliteEventLog(tmp_path / "log")
    yield opened
    opened.close()


def test_votes_are_the_songs_heard_to_the_end_of_each(log: SqliteEventLog, tmp_path: Path) -> None:
    book = Book(Journal(tmp_path / "book"))
    book.start(read_plan(PLAN), START)
    minute = 60_000
    append(log, [
        joined(3), joined(5), joined(7, REST),
        play(3, 10, 1, START + minute), play(3, 11, 1, START + 2 * minute), play(3, 12, 1, START + 3 * minute, 0.1),
        {**play(3, 10, 1, START + 4 * minute), "action": Action.LIKED},  # said twice, counted once
        play(3, 99, 1, START + minute), play(3, 10, 8, START + minute),  # no song of it; no slate that is shared
        play(5, 20, 2, START + minute), play(5, 21, 2, START + 2 * DAY),  # after the window
        play(7, 30, 3, START + minute),
    ], [slate(1, 3, START + 1, [10, 11, 12], [1, 0, 0]), slate(2, 5, START + 1, [20, 21], [1, 0]),
        slate(3, 7, START + 1, [30], None)])  # fmt: skip
    shared = Shared(log)
    found = shared.votes(book.get("two"), START + 3 * DAY)
    assert found.user.tolist() == [3, 5]
    assert found.ours.tolist() == [1, 0]
    assert found.theirs.tolist() == [1, 1]
    told = shared.preference(book.get("two"), START + 3 * DAY)
    assert (told.ours, told.theirs, told.ties) == (0, 1, 1)
    assert shared.preference(book.get("two"), START + DAY // 2).listeners == 0, "no window has closed"


def test_it_ends_by_itself_is_read_again_after_a_restart_and_never_ships(log: SqliteEventLog, tmp_path: Path) -> None:
    book = Book(Journal(tmp_path / "book"))
    book.start(read_plan(PLAN), START)
    rng, rows, exposures = np.random.default_rng(5), [], []
    for user in range(800):
        at = START + 1000 + user
        rows.append(joined(user, at=at))
        exposures.append(slate(user + 1, user, at, [1, 2, 3, 4], [0, 1, 1, 0]))
        rows += [play(user, item, user + 1, at + item, float(rng.random() < (0.8 if item in (2, 3) else 0.5)))
                 for item in (1, 2, 3, 4)]  # fmt: skip
    append(log, rows, exposures)
    shared, noon = Shared(log), START + DAY // 2
    assert tick(book, log, noon, noon, shared=shared) == [], "no window has closed"
    late = START + DAY + 2000
    assert shared.preference(book.get("two"), late) == Shared(log).preference(book.get("two"), late), "all of it is in the log"
    again = Book(Journal(tmp_path / "book"))  # as another process finds it
    [(name, taken)] = tick(again, log, late, late)
    assert (name, taken.kind) == ("two", "finish")
    assert "new is preferred" in taken.why
    state = again.get("two").state
    assert (state.ended, again.get("two").to_ship) == ("finished", False)
    assert shared._kept
    assert tick(again, log, late, late, shared=shared) == []
    assert not shared._kept, "the slates of what has ended are let go"


def test_a_slate_that_comes_late_into_the_log_is_not_missed(log: SqliteEventLog, tmp_path: Path) -> None:
    book = Book(Journal(tmp_path / "book"))
    book.start(read_plan(PLAN), START)
    shared, now = Shared(log), START + DAY
    append(log, [joined(1), joined(2, at=now)], [slate(1, 1, START + 1, [4], [0])])
    assert len(shared.places("two", START, now, now)) == 1
    log.append_exposures([slate(2, 2, now - 1000, [5], [1])])  # shown before the look, written after it
    assert shared.places("two", START, now + SETTLED_MS, now + SETTLED_MS)["item"].tolist() == [4, 5]


def test_shadow_comes_first_and_what_fails_goes_back(log: SqliteEventLog, tmp_path: Path) -> None:
    book = Book(Journal(tmp_path / "book"))
    plan = read_plan({name: value for name, value in PLAN.items() if name != "ramp"})
    assert plan.ramp == INTERLEAVED
    book.start(plan, START)
    soon = START + DAY // 10
    assert [taken.kind for _, taken in tick(book, log, soon, soon)] == ["forward"]
    [(_, taken)] = tick(book, log, soon + 1, soon, lambda e: "its answers fail")
    assert (taken.kind, book.get("two").state.ended) == ("back", "rolled back")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"split": "session"}, "split"), ({"primary": ["songs"]}, "primary"), ({"guardrails": []}, "guardrails"),
        ({"decision": "precision"}, "decision"), ({"ramp": [{"new": 0.5, "old": 0.5, "decides": True}]}, "ramp"),
        ({"mode": "guess"}, "mode"),
    ],
)  # fmt: skip
def test_a_plan_that_promises_what_it_cannot_keep_is_refused(change: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput) as told:
        read_plan({**PLAN, **change})
    assert told.value.field == field


def test_even_a_last_step_that_is_done_ships_nothing(tmp_path: Path) -> None:
    book = Book(Journal(tmp_path / "book"))
    book.start(Plan(name="x", hypothesis="it would ship if it could", new=read_plan(PLAN).new, mode="interleave",
                    ramp=(Step(0.5, 0.0, decides=True),)), START)  # fmt: skip
    assert book.moved("x", Move("finish", "the last step is done: ship it"), START)
    assert (book.get("x").state.ended, book.get("x").to_ship, book.versions()) == ("finished", False, set())
