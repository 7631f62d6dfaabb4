"""From a real log to rows of users: known answers for windows, sessions, churn, splits, and the ramp's tick on top of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from segue.core.actions import Action
from segue.core.types import empty_events
from segue.experiments.assignment import NEW, OLD, Shares
from segue.experiments.assignment import place as drawn_at
from segue.experiments.book import Book
from segue.experiments.looking import decided, mismatch
from segue.experiments.metrics import SUMS, Table, assigned, code, collect
from segue.experiments.plan import Plan, Step, Treatment
from segue.experiments.ramp import Move
from segue.experiments.runner import table_of, tick
from segue.storage.event_log.sqlite import SqliteEventLog
from segue.storage.journal import Journal

DAY, MINUTE = 86_400_000, 60_000
START = 1_760_000_000_000
Row = dict[str, Any]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteEventLog]:
    opened = SqliteEventLog(tmp_path / "log")
    yield opened
    opened.close()


def append(log: SqliteEventLog, rows: list[Row]) -> None:
    events = empty_events(len(rows))
    for place, row in enumerate(rows):
        for name, value in row.items():
            events[name][place] = value
    first = log.last + 1
    events["key_lo"] = np.arange(first, first + len(rows))
    log.append(events)


def joined(user: int, arm: str, at: int = START, number: int = 0, step: int = 0, **more: Any) -> Row:
    return {"user": user, "action": Action.ASSIGNED, "at": at, "position": number, "value": code(step, arm), **more}


def play(user: int, at: int, share: float, *, asked: bool = True, **more: Any) -> Row:
    action = Action.COMPLETED if share > 0.8 else Action.SKIPPED
    return {"user": user, "item": 3, "action": action, "at": at, "played_s": 200 * share, "duration_s": 200.0,
            "request": 9 if asked else 0, **more}  # fmt: skip


def table(
    log: SqliteEventLog, split: Any = "user", now: int = START + 20 * DAY, window: int = DAY, before: int = 7 * DAY
) -> Table:
    who = assigned(log, 0, 0, split, START, now)
    return collect(log, who, split, now, window_ms=window, before_ms=before)


def row(sums: np.ndarray, which: int) -> dict[str, float]:
    return dict(zip(SUMS, sums[which].tolist(), strict=True))


def test_a_listener_is_counted_within_the_window_after_first_influence_and_before_it(log: SqliteEventLog) -> None:
    append(log, [
        play(5, START - 2 * DAY, 1.0), play(5, START - 8 * DAY, 1.0),
        joined(5, NEW), joined(5, NEW, START + 5), joined(6, OLD, START + 10),
        play(5, START + MINUTE, 1.0), play(5, START + 2 * MINUTE, 0.05), play(5, START + 3 * MINUTE, 0.5, asked=False),
        play(5, START + 60 * MINUTE, 1.0),
        {"user": 5, "item": 3, "action": Action.LIKED, "at": START + 61 * MINUTE},
        play(5, START + DAY, 1.0), play(7, START + MINUTE, 1.0),
    ])  # fmt: skip
    found = table(log)
    assert found.who.user.tolist() == [5, 6], "each once, by time"
    told = row(found.inside, 0)
    assert told == {"one": 1, "plays": 4, "finished": 2, "skipped": 1, "asked": 3, "asked_finished": 2,
                    "seconds": pytest.approx(200 + 10 + 100 + 200), "sessions": 2, "votes": 1, "gone_7": 0,
                    "gone_14": 0}  # fmt: skip
    past = row(found.before, 0)
    assert (past["plays"], past["sessions"]) == (1, 1), "eight days before is too long ago"
    silent = row(found.inside, 1)
    assert (silent["plays"], silent["gone_7"], silent["gone_14"]) == (0, 1, 1)


def test_churn_needs_its_days_and_sessions_are_told_by_their_ids(log: SqliteEventLog) -> None:
    append(log, [
        joined(1, OLD), joined(2, NEW), play(1, START + 9 * DAY, 1.0), play(2, START + DAY - 1, 1.0),
        *(play(2, START + k * MINUTE, 1.0, session=4 + k // 2) for k in range(4)),
    ])  # fmt: skip
    found = table(log)
    one, two = row(found.inside, 0), row(found.inside, 1)
    assert (one["gone_7"], one["gone_14"], two["gone_7"], two["gone_14"]) == (1, 0, 1, 1)
    assert two["sessions"] == 3, "two named ones, and one that nobody named"
    early = found.samples("churn_7", (OLD, NEW), START + 7 * DAY, DAY)
    assert [len(s) for s in early] == [0, 0], "eight days have not passed"
    assert [len(s) for s in found.samples("churn_7", (OLD, NEW), START + 8 * DAY, DAY)] == [1, 1]


def test_chunks_do_not_change_the_sums(log: SqliteEventLog) -> None:
    rng = np.random.default_rng(3)
    rows = [joined(u, NEW if u % 2 else OLD, START + u) for u in range(20)]
    rows += [play(int(rng.integers(20)), START + 100 + k * 4 * MINUTE, float(rng.random()), session=int(rng.integers(3)))
             for k in range(300)]  # fmt: skip
    append(log, rows)

    class Small:
        def scan(self, at_from: int, at_to: int, columns: Any = None) -> Iterator[Any]:
            for events in log.scan(at_from, at_to, columns):
                for start in range(0, len(events), 7):
                    yield events[start : start + 7]

    whole, parts = table(log, window=10 * DAY), table(Small(), window=10 * DAY)  # type: ignore[arg-type]
    np.testing.assert_allclose(whole.inside, parts.inside, rtol=1e-6)


def test_a_split_by_session_counts_what_carries_the_session_for_its_arm(log: SqliteEventLog) -> None:
    append(log, [
        joined(1, OLD, session=11, request=1), joined(1, NEW, START + DAY, session=22, request=2),
        *(play(1, START + k * MINUTE, 1.0, session=11) for k in range(1, 4)),
        play(1, START + DAY + MINUTE, 0.0, session=22), play(1, START + DAY + 2 * MINUTE, 1.0, session=33),
    ])  # fmt: skip
    found = table(log, "session", window=30 * DAY)
    assert [row(found.inside, k)["plays"] for k in range(2)] == [3, 1]
    assert row(found.inside, 1)["skipped"] == 1


def test_many_listeners_may_call_their_session_alike_and_who_names_none_is_a_unit(log: SqliteEventLog) -> None:
    append(log, [
        joined(1, OLD, session=7), joined(2, NEW, session=7), joined(3, NEW), joined(3, OLD, START + 1, session=7),
        *(play(u, START + MINUTE, 1.0, session=7) for u in (1, 2, 3)), play(3, START + 2 * MINUTE, 0.0),
        play(2, START + DAY, 1.0, session=7),
    ])  # fmt: skip
    found = table(log, "session")
    told = {(int(u), int(a)): row(found.inside, k) for k, (u, a) in enumerate(zip(found.who.user, found.who.arm, strict=True))}
    assert {key: (one["plays"], one["finished"]) for key, one in told.items()} == {
        (1, 0): (1, 1), (2, 2): (1, 1), (3, 2): (1, 0), (3, 0): (1, 1),
    }, "each session its own, and nothing after the window has closed"  # fmt: skip


@pytest.mark.parametrize("split", ["session", "request", "user"])
def test_many_units_are_those_of_some_listeners_whole(log: SqliteEventLog, split: Any) -> None:
    users = [user for _ in range(10) for user in range(100)]
    append(log, [joined(user, (OLD, NEW)[at % 3 > 0], START + at, session=at, request=at + 5) for at, user in enumerate(users)])

    class Small:
        def scan(self, at_from: int, at_to: int, columns: Any = None) -> Iterator[Any]:
            for events in log.scan(at_from, at_to, columns):
                for start in range(0, len(events), 70):
                    yield events[start : start + 70]

    every = assigned(log, 0, 0, split, START, START + DAY)
    some, parts = (assigned(each, 0, 0, split, START, START + DAY, most_units=300) for each in (log, Small()))  # type: ignore[arg-type]
    if split == "user":
        assert np.array_equal(some.user, every.user), "listeners bound themselves"
        return
    kept = set(some.user.tolist())
    assert 10 < len(kept) < 31
    assert len(some.drawn) == 10 * len(kept) <= 300, "all that a listener did counts, or nothing"
    whole = np.isin(every.user, list(kept))
    assert np.array_equal(some.user, every.user[whole])
    assert np.array_equal(some.first, every.first[whole])
    assert np.array_equal(parts.user, some.user)
    assert np.array_equal(parts.unit_key, some.unit_key)


@pytest.mark.parametrize("split", ["session", "request"])
def test_a_sound_split_by_session_or_request_is_no_mismatch(log: SqliteEventLog, split: str) -> None:
    key, shares, units = b"k" * 32, Shares(0.1, 0.1), [(user, number) for number in range(15) for user in range(100)]
    append(log, [
        joined(user, shares.arm(drawn_at(key, "radio", f"{user}/{number}")), START + at, **{split: 100 * number + user + 1})
        for at, (user, number) in enumerate(units)
    ])  # fmt: skip
    found = table(log, split)
    counts = np.bincount(found.who.arm, minlength=3)
    assert counts[1] == 100, "everybody has been in rest"
    assert counts[[0, 2]].min() > 60, "and nearly everybody in the other arms"
    assert mismatch(found, Step(0.1, 0.1)) > 0.05
    assert mismatch(found, Step(0.2, 0.1)) < 0.001


@pytest.mark.parametrize("split", ["user", "session"])
def test_who_is_resumed_after_a_mismatch_is_judged_by_what_came_since(log: SqliteEventLog, tmp_path: Path, split: Any) -> None:
    plan = Plan(name="lost", hypothesis="a proxy lost some of the new", new=Treatment("challenger"), split=split,
                guardrails=(), before_days=0.0, stale_hours=500.0, ramp=(Step(0.5, 0.5, days=20.0, decides=True),))  # fmt: skip
    book = Book(Journal(tmp_path / "book"))
    book.start(plan, START)
    every = [NEW if user % 4 == 0 else OLD for user in range(1500)] + [NEW if user % 2 else OLD for user in range(1500)]
    append(log, [joined(user, arm, START + user, session=user + 1) for user, arm in enumerate(every)])
    now = START + DAY // 2
    [(_, taken)] = tick(book, log, now, now)
    assert taken.kind == "hold"
    assert "mismatch" in taken.why
    book.resume("lost", "the proxy is mended", START + 1500)
    assert tick(book, log, now, now) == [], "those before are known to be wrong, those since are as they were drawn"
    append(log, [joined(5000 + user, OLD, START + 5000 + user, session=5001 + user) for user in range(400)])
    [(_, taken)] = tick(book, log, now, now)
    assert taken.kind == "hold"


def test_a_look_at_a_metric_that_nobody_moved_can_be_read_again(log: SqliteEventLog, tmp_path: Path) -> None:
    plan = Plan(name="votes", hypothesis="there will be more likes", new=Treatment("challenger"), primary=("engagement",),
                guardrails=(), before_days=0.0, users=100, ramp=(Step(0.5, 0.5, days=7.0, decides=True),))  # fmt: skip
    book = Book(Journal(tmp_path / "book"))
    book.start(plan, START)
    rows = [joined(u, NEW if u % 2 else OLD, START + u) for u in range(220)]
    append(log, [*rows, *(play(u, START + MINUTE + u, 1.0) for u in range(220))])
    tick(book, log, START + DAY + MINUTE, START + DAY)
    [look] = Book(Journal(tmp_path / "book")).get("votes").looks
    assert (look.z, look.lift_half_width) == ({"engagement": 0.0}, None)
    exact = msgspec.structs.replace(plan, decision="precision")
    assert (decided(plan, [look]), decided(exact, [look])) == ("", "")


def test_what_an_earlier_step_did_to_a_listener_is_no_history_to_adjust_by(log: SqliteEventLog, tmp_path: Path) -> None:
    plan = Plan(name="steps", hypothesis="the second step counts afresh", new=Treatment("challenger"), before_days=10.0,
                ramp=(Step(0.0, 0.0), Step(0.1, 0.1), Step(0.2, 0.1, decides=True)))  # fmt: skip
    book = Book(Journal(tmp_path / "book"))
    book.start(plan, START)
    for days in (1, 5):
        assert book.moved("steps", Move("forward", "on"), START + days * DAY)
    append(log, [
        play(1, START - 8 * DAY, 1.0), play(1, START - DAY, 1.0), play(1, START + MINUTE, 1.0),
        joined(1, NEW, START + DAY, step=1), play(1, START + 2 * DAY, 1.0),
        joined(1, NEW, START + 6 * DAY, step=2), play(1, START + 6 * DAY + MINUTE, 1.0),
        joined(2, OLD, START + 6 * DAY, step=2), play(2, START + 3 * DAY, 1.0),
    ])  # fmt: skip
    steps = book.get("steps")
    assert steps.steps == (START, START + DAY, START + 5 * DAY)
    assert row(table_of(steps, log, START + 9 * DAY, 1).before, 0)["plays"] == 3, "ten days before the first influence"
    second = table_of(steps, log, START + 9 * DAY)
    assert row(second.before, 0)["plays"] == 3, "ten days before anybody met the new arm, not what it did to them since"
    assert row(second.before, 1)["plays"] == 0
    assert row(second.inside, 0)["plays"] == 1


def test_the_tick_rolls_a_bad_model_back_from_the_log_itself(log: SqliteEventLog, tmp_path: Path) -> None:
    plan = Plan(name="bad", hypothesis="it is worse and must come back", new=Treatment("challenger"), guardrails=(),
                before_days=0.0, users=400, ramp=(Step(0.5, 0.5, days=7.0, decides=True),))  # fmt: skip
    book = Book(Journal(tmp_path / "book"))
    book.start(plan, START)
    rng = np.random.default_rng(4)
    rows = []
    for u in range(600):
        rows.append(joined(u, NEW if u % 2 else OLD, START + 1 + u))
        chance = 0.3 if u % 2 else 0.7
        rows += [play(u, START + 1000 + u + k * MINUTE, 1.0 if rng.random() < chance else 0.0) for k in range(5)]
    append(log, rows)
    assert tick(book, log, START + DAY // 2, START + DAY // 2) == [], "no window has closed"
    [(name, taken)] = tick(book, log, START + DAY + 2000, START + DAY)
    assert (name, taken.kind) == ("bad", "back")
    assert "listened_share is certainly worse" in taken.why
    assert tick(book, log, START + 2 * DAY, START + 2 * DAY) == []
    assert book.get("bad").state.ended == "rolled back"
