"""The writer: what it builds, what it acknowledges, who gets which error, and that its thread outlives them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.core.actions import Action
from segue.core.errors import Corrupt, NotReady
from segue.core.hashing import hash64, hash128, request_number
from segue.core.ports import ACCEPTED, CONFLICT, DUPLICATE, Appended
from segue.core.types import EVENT, MISSING, Events, Exposure, Int32, Slate, empty_events
from segue.events.ingest import Ingest
from segue.events.rows import build
from segue.events.schema import EventIn


class Words:
    """Names in a list; "cursed" cannot be stored."""

    def __init__(self) -> None:
        self.known: list[str] = []

    def intern(self, names: Sequence[str]) -> Int32:
        if "cursed" in names:
            raise ValueError("cursed")
        self.known += [name for name in dict.fromkeys(names) if name not in self.known]
        return np.array([self.known.index(name) for name in names], np.int32)


class Facts:
    """A catalogue: song 0 lasts 120 s, user 0 lives in region 5."""

    def __init__(self) -> None:
        self.users, self.items, self.regions, self.devices = Words(), Words(), Words(), Words()
        self.facts = SimpleNamespace(duration_s=np.array([120.0], np.float32))

    def user_context(self, user: int) -> tuple[int, int]:
        return (5 if user == 0 else MISSING, MISSING)


class Log:
    """A log in memory. While `gate` is cleared, appends wait; `trouble` is raised once."""

    def __init__(self) -> None:
        self.rows = np.zeros(0, EVENT)
        self.known: dict[tuple[int, int], int] = {}
        self.appends: list[int] = []
        self.shown: list[Exposure] = []
        self.words: dict[int, str] = {}
        self.trouble: list[Exception] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    @property
    def last(self) -> int:
        return len(self.rows)

    def append(self, events: Events, texts: Mapping[int, str] | None = None, exposures: Sequence[Exposure] = ()) -> Appended:
        self.entered.set()
        assert self.gate.wait(10)
        if self.trouble:
            raise self.trouble.pop()
        status = np.zeros(len(events), np.uint8)
        seq = np.zeros(len(events), np.int64)
        for row, event in enumerate(events):
            key = (int(event["key_hi"]), int(event["key_lo"]))
            if key in self.known:
                status[row] = DUPLICATE if self.known[key] == int(event["body"]) else CONFLICT
            else:
                self.known[key] = int(event["body"])
                seq[row] = len(self.rows) + 1
                stored = events[row : row + 1].copy()
                stored["seq"] = seq[row]
                self.rows = np.concatenate([self.rows, stored])
        self.words |= {int(seq[row]): text for row, text in (texts or {}).items() if seq[row]}
        self.shown += exposures
        self.appends.append(len(events))
        return Appended(status, seq)

    def read(self, after: int, limit: int) -> Events:
        return self.rows[after : after + limit]


class State:
    """Remembers what was folded, in order."""

    def __init__(self) -> None:
        self.folded: list[int] = []
        self.trouble: list[Exception] = []
        self.permits: threading.Semaphore | None = None
        self.entered = threading.Event()

    @property
    def applied(self) -> int:
        return self.folded[-1] if self.folded else 0

    def fold(self, events: Events) -> None:
        if self.trouble:
            raise self.trouble.pop()
        self.entered.set()
        assert self.permits is None or self.permits.acquire(timeout=10)
        assert events["seq"][0] == self.applied + 1
        self.folded += events["seq"].tolist()


class World:
    """A writer and the three things it writes to."""

    def __init__(self, **limits: Any) -> None:
        self.log, self.state, self.catalogue = Log(), State(), Facts()
        self.ingest = Ingest(self.log, self.state, self.catalogue, **{"idle_s": 0.01, **limits})  # type: ignore[arg-type]

    def busy(self) -> Future[Any]:
        """Hold the thread inside an append, so that what is submitted now has to queue."""
        self.log.gate.clear()
        self.log.entered.clear()
        first = self.ingest.submit([event("busy")])
        assert self.log.entered.wait(10)
        return first


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.log.gate.set()
    made.ingest.close()


def event(event_id: str | None, **fields: Any) -> EventIn:
    return EventIn(**{"event_id": event_id, "user": "u", "item": "i", "action": "completed", "at": 1_000, **fields})


def columns(keys: list[int]) -> Events:
    events = empty_events(len(keys))
    events["key_lo"] = keys
    return events


def slate(request_id: int) -> Exposure:
    none, f = np.zeros(0, np.int32), np.zeros(0, np.float32)
    made = Slate(request_id, none, f, f, (), (), none.astype(bool), "p", {}, "global")
    return Exposure(made, 0, 0, 0, "radio", 0, np.zeros((0, 1), np.float32), ("x",))


def test_every_field_finds_its_column() -> None:
    batch = [
        event("a", user="anna", item="x", action="skipped", at=7, played_s=3.0, duration_s=9.0, position=4, session="s",
              region="DE", device="phone", request_id="00000000000000ff"),
        event("b", user="ben", item=None, action="searched", text="jazz"),
        event("c", user="anna", item="y", action="rated", value=4.5, request_id="own", region="FR"),
    ]  # fmt: skip
    rows = build(batch, Facts(), bytes)  # type: ignore[arg-type]
    e = rows.events
    assert [(int(h), int(lo)) for h, lo in zip(e["key_hi"], e["key_lo"], strict=True)] == [hash128(i) for i in "abc"]
    assert e["at"].tolist() == [7, 1_000, 1_000]
    assert e["user"].tolist() == [0, 1, 0]
    assert e["item"].tolist() == [0, MISSING, 1]
    assert e["action"].tolist() == [Action.SKIPPED, Action.SEARCHED, Action.RATED]
    np.testing.assert_array_equal(e["played_s"], np.array([3, np.nan, np.nan], np.float32))
    np.testing.assert_array_equal(e["value"], np.array([np.nan, np.nan, 4.5], np.float32))
    assert e["position"].tolist() == [4, MISSING, MISSING]
    assert e["session"].tolist() == [hash64("s"), 0, 0]
    assert e["request"].tolist() == [255, 0, request_number("own")]
    assert e["region"].tolist() == [0, MISSING, 1]
    assert e["device"].tolist() == [0, MISSING, MISSING]
    assert rows.texts == {1: "jazz"}


def test_what_the_catalogue_knows_is_filled_in_and_what_was_said_stays() -> None:
    batch = [event("a"), event("b", duration_s=9.0, region="DE"), event("c", item="j", user="v"), event("d", duration_s=0.0)]
    e = build(batch, Facts(), bytes).events  # type: ignore[arg-type]
    np.testing.assert_array_equal(e["duration_s"], np.array([120, 9, np.nan, 120], np.float32))
    assert e["region"].tolist() == [5, 0, MISSING, 5]


def test_what_is_filled_in_does_not_change_the_body() -> None:
    catalogue = Facts()
    before = build([event("a")], catalogue, bytes).events  # type: ignore[arg-type]
    catalogue.facts = SimpleNamespace(duration_s=np.array([99.0], np.float32))
    after = build([event("a")], catalogue, bytes).events  # type: ignore[arg-type]
    assert before["duration_s"] != after["duration_s"]
    assert before["body"] == after["body"]


CHANGES = st.sampled_from(
    [{"user": "v"}, {"item": "j"}, {"action": "skipped"}, {"at": 1_001}, {"played_s": 1.0}, {"duration_s": 1.0}, {"value": 1.0},
     {"position": 0}, {"session": "s"}, {"request_id": "r"}, {"region": "DE"}, {"device": "tv"}, {"text": "words"}]
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(a=st.lists(CHANGES, max_size=5), b=st.lists(CHANGES, max_size=5))
def test_the_body_is_equal_exactly_when_the_content_is(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> None:
    merged = [{k: v for change in changes for k, v in change.items()} for changes in (a, b)]
    catalogue = Facts()
    catalogue.users.intern(["u", "v"])
    bodies = [build([event("id", **fields)], catalogue, bytes).events["body"][0] for fields in merged]  # type: ignore[arg-type]
    assert (bodies[0] == bodies[1]) == (merged[0] == merged[1])


def test_without_an_id_every_event_is_its_own(world: World) -> None:
    assert world.ingest.submit([event(None), event(None)]).result(10).accepted == 2
    assert world.ingest.submit([event(None)]).result(10).accepted == 1


def test_acknowledged_is_durable_and_folded(world: World) -> None:
    for n in range(5):
        result = world.ingest.submit([event(f"{n}"), event(f"{n}b")]).result(10)
        assert result.seq.tolist() == [2 * n + 1, 2 * n + 2]
        assert world.log.last == world.state.applied == 2 * n + 2


def test_each_event_is_told_what_became_of_it(world: World) -> None:
    world.ingest.submit([event("a")]).result(10)
    result = world.ingest.submit([event("b"), event("a"), event("a", at=9), event("b")]).result(10)
    assert result.status.tolist() == [ACCEPTED, DUPLICATE, CONFLICT, DUPLICATE]
    assert (result.accepted, result.duplicates, result.conflicts.tolist()) == (1, 2, [2])


def test_what_comes_while_the_disk_is_busy_goes_in_one_transaction(world: World) -> None:
    first = world.busy()
    some = [world.ingest.submit([event(f"{n}", text=f"word {n}"), event(f"{n}b")]) for n in range(10)]
    built = world.ingest.submit_columns(columns([1, 2, 3]), {1: "built"})
    shown = world.ingest.submit_exposure(slate(1))
    late = world.ingest.submit([event("late")])
    world.log.gate.set()
    wait([first, *some, built, shown, late], 10)
    assert world.log.appends == [1, 24]
    assert [f.result().seq.tolist() for f in some] == [[2 * n + 2, 2 * n + 3] for n in range(10)]
    assert built.result().seq.tolist() == [22, 23, 24]
    assert late.result().seq.tolist() == [25]
    assert shown.result() is None
    assert world.log.shown[0].slate.request_id == 1
    assert world.log.words == {2 * n + 2: f"word {n}" for n in range(10)} | {23: "built"}
    assert world.state.folded == list(range(1, 26))


def test_a_transaction_has_a_limit() -> None:
    world = World(commit_rows=5)
    first = world.busy()
    some = [world.ingest.submit([event(f"{n}{k}") for k in range(2)]) for n in range(5)]
    world.log.gate.set()
    wait([first, *some], 10)
    assert world.log.appends == [1, 4, 4, 2]
    world.ingest.close()


def test_a_full_queue_is_not_ready_and_takes_more_later() -> None:
    world = World(queue_rows=4)
    first = world.busy()
    queued = world.ingest.submit([event("a"), event("b"), event("c")])
    with pytest.raises(NotReady, match="3 events wait"):
        world.ingest.submit([event("d"), event("e")])
    world.log.gate.set()
    wait([first, queued], 10)
    assert world.ingest.submit([event(f"{n}") for n in range(9)]).result(10).accepted == 9, "an empty queue takes anything"
    world.ingest.close()


def test_one_bad_call_fails_alone(world: World) -> None:
    first = world.busy()
    good = [world.ingest.submit([event(f"{n}")]) for n in range(2)]
    bad = world.ingest.submit([event("x", user="cursed")])
    odd = world.ingest.submit([event("y", position=1 << 20)])
    more = world.ingest.submit([event("z")])
    world.log.gate.set()
    wait([first, *good, bad, odd, more], 10)
    assert [f.result().accepted for f in (*good, more)] == [1, 1, 1]
    assert isinstance(bad.exception(), ValueError)
    assert isinstance(odd.exception(), OverflowError)
    assert world.log.last == world.state.applied == 4


def test_a_disk_that_fails_fails_the_calls_of_that_transaction_only(world: World) -> None:
    first = world.busy()
    hit = [world.ingest.submit([event(f"{n}")]) for n in range(2)]
    world.log.trouble.append(OSError("disk full"))
    world.log.gate.set()
    assert isinstance(first.exception(10), OSError)
    assert [f.result(10).accepted for f in hit] == [1, 1]
    assert world.ingest.submit([event("busy")]).result(10).accepted == 1


def test_a_fold_that_fails_is_not_acknowledged_and_caught_up_with(world: World) -> None:
    world.state.trouble.append(OSError("no memory"))
    assert isinstance(world.ingest.submit([event("a")]).exception(10), OSError)
    assert world.ingest.submit([event("a"), event("b")]).result(10).status.tolist() == [DUPLICATE, ACCEPTED]
    assert world.state.folded == [1, 2]


def test_a_caller_that_gave_up_is_not_written(world: World) -> None:
    first = world.busy()
    gone, stays = world.ingest.submit([event("gone")]), world.ingest.submit([event("stays")])
    assert gone.cancel()
    world.log.gate.set()
    wait([first, stays], 10)
    assert world.log.last == 2


def test_what_others_append_is_folded_in_order_and_when_idle(world: World) -> None:
    world.ingest.submit([event("a")]).result(10)
    world.log.append(columns([7, 8]))
    assert world.ingest.submit([event("b")]).result(10).seq.tolist() == [4]
    assert world.state.folded == [1, 2, 3, 4]
    world.log.append(columns([9]))
    world.ingest.catch_up()
    assert world.state.applied == 5


def test_what_others_append_is_taken_in_while_slates_never_stop() -> None:
    ticks = count(step=400)
    world = World(idle_s=1_000, clock=lambda: float(next(ticks)))
    world.log.append(columns([7, 8]))
    for n in range(10):
        world.ingest.submit_exposure(slate(n)).result(10)
    assert world.state.folded == [1, 2]
    world.ingest.close()


def test_a_slate_does_not_wait_for_a_fold(world: World) -> None:
    world.state.permits = threading.Semaphore(1)
    first = world.busy()
    own, shown = world.ingest.submit([event("a")]), world.ingest.submit_exposure(slate(1))
    world.log.gate.set()
    assert shown.result(10) is None
    assert first.done()
    assert not own.done(), "not folded yet"
    world.state.permits.release()
    assert own.result(10).seq.tolist() == [2]


def test_behind_a_backlog_of_others_writing_goes_on_and_events_wait_for_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segue.events.follow.FOLD_ROWS", 10)
    world = World(idle_s=1_000)
    world.state.permits = threading.Semaphore(0)
    world.log.append(columns(list(range(1, 31))))
    world.state.entered.clear()
    own = world.ingest.submit([event("a")])
    assert world.state.entered.wait(10)
    shown, more = world.ingest.submit_exposure(slate(1)), world.ingest.submit([event("b"), event("a")])
    world.state.permits.release()
    assert shown.result(10) is None, "written between two steps"
    assert not own.done()
    assert not more.done()
    world.state.permits.release(10)
    assert own.result(10).seq.tolist() == [31]
    assert more.result(10).status.tolist() == [ACCEPTED, DUPLICATE]
    assert world.state.folded == list(range(1, 33))
    world.ingest.close()


def test_calls_that_wait_for_a_backlog_count_as_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segue.events.follow.FOLD_ROWS", 1)
    world = World(idle_s=1_000, queue_rows=4)
    world.state.permits = threading.Semaphore(0)
    world.log.append(columns([1, 2]))
    own = world.ingest.submit([event("a"), event("b"), event("c")])
    assert world.state.entered.wait(10)
    with pytest.raises(NotReady, match="3 events wait"):
        world.ingest.submit([event("d"), event("e")])
    world.state.permits.release(10)
    assert own.result(10).accepted == 3
    assert world.ingest.submit([event("d"), event("e")]).result(10).accepted == 2
    world.ingest.close()


def test_a_state_left_half_folded_is_folded_anew_from_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from segue.storage.event_log.sqlite import SqliteEventLog
    from segue.storage.online_state import arrays
    from segue.storage.online_state.fold import fold_events

    log, state = SqliteEventLog(tmp_path / "log"), arrays.ArrayState(tmp_path / "state")
    ingest = Ingest(log, state, Facts(), idle_s=0.01)  # type: ignore[arg-type]
    ingest.submit([event(f"{n}", item=f"i{n % 7}") for n in range(50)]).result(30)
    calls: list[int] = []

    def grown_too_far(*args: Any) -> int:
        calls.append(fold_events(*args))
        if len(calls) == 1:
            raise OSError("no room to grow")
        return calls[-1]

    monkeypatch.setattr(arrays, "fold_events", grown_too_far)
    assert isinstance(ingest.submit([event("x")]).exception(30), OSError)
    again = ingest.submit([event("x"), event("y")]).result(30)
    assert again.status.tolist() == [DUPLICATE, ACCEPTED]
    assert ingest.submit([event("z")]).result(30).accepted == 1, "and goes on"
    ingest.close()
    fresh = arrays.ArrayState(tmp_path / "fresh")
    fresh.catch_up(log)
    assert state.applied == log.last == 53
    assert state.digest() == fresh.digest()
    for each in (state, fresh, log):
        each.close()


def test_a_state_that_breaks_again_and_again_is_not_rebuilt_for_ever() -> None:
    class Broken(State):
        started_over = 0

        def fold(self, events: Events) -> None:
            raise Corrupt("a fold was interrupted")

        def start_over(self) -> None:
            self.started_over += 1

    log, state, now = Log(), Broken(), [0.0]
    ingest = Ingest(log, state, Facts(), idle_s=0.01, clock=lambda: now[0])  # type: ignore[arg-type]
    for n in range(5):
        assert isinstance(ingest.submit([event(f"{n}")]).exception(10), Corrupt)
    assert state.started_over == 1
    now[0] = 100.0
    assert isinstance(ingest.submit([event("later")]).exception(10), Corrupt)
    assert state.started_over == 2
    ingest.close()


def test_opening_catches_up_first() -> None:
    log, state = Log(), State()
    log.append(columns([1, 2, 3]))
    Ingest(log, state, Facts()).close()  # type: ignore[arg-type]
    assert state.folded == [1, 2, 3]


def test_closing_writes_what_is_queued_and_takes_no_more(world: World) -> None:
    first = world.busy()
    queued = [world.ingest.submit([event(f"{n}")]) for n in range(3)]
    threading.Timer(0.01, world.log.gate.set).start()
    world.ingest.close()
    assert all(f.done() and f.result().accepted == 1 for f in (first, *queued))
    with pytest.raises(NotReady, match="stopping"):
        world.ingest.submit([event("late")])
    world.ingest.close()


def test_many_threads_get_their_own_answers(tmp_path: Path) -> None:
    from segue.storage.event_log.sqlite import SqliteEventLog

    log, state = SqliteEventLog(tmp_path), State()
    ingest = Ingest(log, state, Facts())  # type: ignore[arg-type]
    seen: list[list[int]] = []

    def caller(number: int) -> None:
        for n in range(20):
            batch = [event(f"{number}-{n}-{k}", at=number * 1_000 + n) for k in range(3)] + [event("shared")]
            seen.append([s for s in ingest.submit(batch).result(30).seq.tolist() if s])

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ingest.close()
    assert sorted(s for some in seen for s in some) == list(range(1, 4 * 20 * 3 + 2))
    assert state.folded == list(range(1, log.last + 1))
    log.close()


def test_slates_gather_for_one_transaction_and_an_event_takes_them_along_at_once() -> None:
    world = World(linger_s=1_000.0, idle_s=1_000.0)
    shown = [world.ingest.submit_exposure(slate(n)) for n in range(3)]
    assert not any(future.done() for future in shown), "they wait for company"
    acknowledged = world.ingest.submit([event("about slate 2")])
    assert acknowledged.result(10).accepted == 1
    assert [future.result(0) for future in shown] == [None] * 3, "durable before the event about them is acknowledged"
    assert [exposure.slate.request_id for exposure in world.log.shown] == [0, 1, 2]
    assert world.log.appends == [1], "one transaction for all"
    last = world.ingest.submit_exposure(slate(4))
    world.ingest.close()
    assert last.result(0) is None, "closing does not wait and loses nothing"


def test_a_lone_slate_is_written_without_company() -> None:
    world = World(linger_s=0.001, idle_s=1_000.0)
    assert world.ingest.submit_exposure(slate(1)).result(10) is None
    world.ingest.close()
