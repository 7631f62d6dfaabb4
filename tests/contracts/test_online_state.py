"""What every backend of the port OnlineState promises, against an oracle of plain dictionaries that is easy to believe."""

import importlib
import inspect
import pkgutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import segue.storage.online_state as room
from segue.core.actions import Action, shares, signals
from segue.core.clock import HOUR_MS, hour_of_week, part_of_week
from segue.core.types import MISSING, empty_events

T0 = 1_767_225_600_000  # a Thursday
HALF_LIFE_MS = 14 * 86_400_000
RING = 64
VOTES = (Action.LIKED, Action.DISLIKED, Action.SAVED, Action.RATED, Action.HIDDEN)
PLAYS = (Action.COMPLETED, Action.SKIPPED)


def backends() -> list[type[Any]]:
    """Every class of the room that folds, remembers and answers."""
    found = []
    for module in pkgutil.iter_modules(room.__path__, room.__name__ + "."):
        for _, value in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            port = all(hasattr(value, name) for name in ("fold", "recent", "heard", "novelty", "popular", "digest"))
            if port and value.__module__ == module.name:
                found.append(value)
    return found


@pytest.fixture(params=backends(), ids=lambda backend: backend.__name__)
def backend(request: pytest.FixtureRequest) -> type[Any]:
    return request.param


@pytest.fixture
def state(backend: type[Any], tmp_path: Path) -> Iterator[Any]:
    with closing(backend(tmp_path)) as opened:
        yield opened


@contextmanager
def scratch(backend: type[Any]) -> Iterator[Any]:
    """A state for one example, in memory where the system has a folder for that: closing waits for the disk."""
    with (
        TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder,
        closing(backend(Path(folder))) as opened,
    ):
        yield opened


def log(*rows: dict[str, Any]) -> np.ndarray:
    events = empty_events(len(rows))
    events["at"] = T0
    for i, row in enumerate(rows):
        events["seq"][i] = i + 1
        for name, value in row.items():
            events[name][i] = value
    return events


def play(user: int, item: int, share: float, **more: Any) -> dict[str, Any]:
    action = Action.COMPLETED if share > 0.5 else Action.SKIPPED
    return {"user": user, "item": item, "action": action, "played_s": 200 * share, "duration_s": 200, **more}


EVENT = st.fixed_dictionaries(
    {
        "user": st.integers(0, 3),
        "item": st.integers(0, 6),
        "action": st.sampled_from([*PLAYS * 3, *Action]),
        "at": st.integers(T0, T0 + 40 * 86_400_000),
        "session": st.sampled_from([0, 1, 2**63 + 5, 5 << 32]),
        "played_s": st.sampled_from([float("nan"), 0.0, 5.0, 90.0, 200.0]),
        "duration_s": st.sampled_from([float("nan"), 200.0]),
        "value": st.sampled_from([float("nan"), 0.5, 3.0, 5.0]),
        "region": st.integers(MISSING, 2),
    }
)
LOGS = st.lists(EVENT, max_size=120).map(lambda rows: log(*rows))


class Oracle:
    """The same promises kept by dictionaries, one event at a time."""

    def __init__(self, events: np.ndarray) -> None:
        self.times: dict[tuple[int, int], int] = defaultdict(int)
        self.last: dict[tuple[int, int], int] = defaultdict(int)
        self.bits: dict[tuple[int, int], int] = defaultdict(int)
        self.rated: set[tuple[int, int]] = set()
        self.session: dict[tuple[int, int], int] = defaultdict(int)
        self.recent: dict[int, list[tuple[int, int, int, float, float, int]]] = defaultdict(list)
        self.taste: dict[int, list[float]] = defaultdict(lambda: [0.0] * 4)
        self.votes: dict[tuple[int, int], int] = defaultdict(int)
        self.counted: list[tuple[int, int, int, int, float, float]] = []  # item, region, hour, at, share, what it counts
        share = shares(events["action"], events["played_s"], events["duration_s"])
        signal = signals(events["action"], events["played_s"], events["duration_s"], events["value"])
        for row, heard, sign in zip(events, share.tolist(), signal.tolist(), strict=True):
            self.take(row, heard, sign)

    def take(self, row: Any, share: float, signal: float) -> None:
        user, item, action, at = int(row["user"]), int(row["item"]), int(row["action"]), int(row["at"])
        pair = (user, item)
        if action in (Action.STARTED, Action.PROGRESS, *PLAYS):
            self.session[pair] = int(row["session"])
        counts = 0.0
        if action in PLAYS:
            gone = 1 - 0.5 ** (max(at - self.last[pair], 0) / HALF_LIFE_MS)
            counts = max(gone, 0.5 ** self.times[pair])
            if signal:
                self.taste[user][(0 if signal > 0 else 1) + (2 if self.times[pair] else 0)] += 1
            self.times[pair] += 1
            self.last[pair] = max(self.last[pair], at)
        told = self.vote(pair, action, signal)
        if action not in PLAYS + VOTES:
            return
        self.recent[user].append((at, int(row["seq"]), item, signal, share if action in PLAYS else np.nan, int(row["session"])))
        region = int(row["region"])
        if action in PLAYS:
            self.counted.append((item, region, hour_of_week(at), at, share, counts))
        elif told:
            stars = 0.0 if np.isnan(row["value"]) else float(row["value"]) / 5
            worth = {Action.LIKED: 1.0, Action.SAVED: 1.0, Action.RATED: stars}.get(Action(action), 0.0)
            self.counted.append((item, region, hour_of_week(at), at, worth, 0.5 ** min(self.votes[pair], 15)))
            self.votes[pair] += 1

    def vote(self, pair: tuple[int, int], action: int, signal: float) -> bool:
        before = (self.bits[pair], pair in self.rated)
        liked, disliked, hidden, saved, shown = 1, 2, 4, 8, 16
        bits = self.bits[pair]
        if action == Action.LIKED:
            bits = bits & ~disliked & ~hidden | liked
        elif action == Action.SAVED:
            bits = bits & ~disliked & ~hidden | saved
        elif action == Action.DISLIKED:
            bits = bits & ~liked | disliked
        elif action == Action.HIDDEN:
            bits = bits & ~liked | hidden
        elif action == Action.RATED:
            bits = bits & ~liked & ~disliked | (liked if signal > 0 else disliked if signal < 0 else 0)
            self.rated.add(pair)
        elif action == Action.SHOWN:
            self.bits[pair] |= shown
            return False
        self.bits[pair] = bits
        return before != (bits, pair in self.rated)

    def expected(self, region: int, hour: int, mu: float = 500.0, m: float = 20.0) -> dict[int, tuple[float, float, float]]:
        """item -> (demand, share heard, decayed plays of the world), by the formulas of tops.expect."""
        if not self.counted:
            return {}
        now = max(row[3] for row in self.counted)
        cells: list[list[tuple[int, float, float]]] = [[], [], []]
        for item, place, when, at, share, counts in self.counted:
            weight = counts * 2.0 ** ((at - now) / HALF_LIFE_MS)
            cells[0].append((item, weight, share))
            if place == region:
                cells[1].append((item, weight, share))
                if part_of_week(when) == part_of_week(hour):
                    cells[2].append((item, weight, share))
        world = sum(w for _, w, _ in cells[0])
        overall = sum(w * share for _, w, share in cells[0]) / world
        out = {}
        for item in {row[0] for row in cells[0]}:
            p, q = 0.0, overall
            for level, cell in enumerate(cells):
                n = sum(w for i, w, _ in cell if i == item)
                s = sum(w * share for i, w, share in cell if i == item)
                prior = mu if level else 0.0
                p = (n + prior * p) / (sum(w for _, w, _ in cell) + prior)
                q = (s + m * q) / (n + m)
            out[item] = (p, q, world)
        return out


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=LOGS)
def test_answers_what_a_dictionary_would(backend: type[Any], events: np.ndarray) -> None:
    items = np.arange(8, dtype=np.int32)
    oracle = Oracle(events[(events["item"] >= 0)])
    with scratch(backend) as state:
        state.fold(events)
        assert state.applied == len(events)
        for user in range(5):
            times, last = state.heard(user, items)
            assert times.tolist() == [oracle.times[user, i] for i in range(8)]
            assert last.tolist() == [oracle.last[user, i] for i in range(8)]
            assert state.marks(user, items).tolist() == [oracle.bits[user, i] for i in range(8)]
            assert state.novelty(user) == tuple(oracle.taste[user])
            for session in (1, 2**63 + 5, 5 << 32):
                same = [oracle.session[user, i] == session for i in range(8)]
                assert state.in_session(user, session, items).tolist() == same
            check_recent(state.recent(user, 2**63 + 5), oracle, user)
        for region, hour in ((0, 80), (1, 130), (MISSING, 20), (9, 0)):
            check_popularity(state, oracle, region, hour)


def check_recent(recent: Any, oracle: Oracle, user: int) -> None:
    rows = sorted(oracle.recent[user], key=lambda row: row[:2], reverse=True)[:RING]
    assert recent.items.tolist() == [row[2] for row in rows]
    assert recent.at.tolist() == [row[0] for row in rows]
    assert recent.signal.tolist() == [row[3] for row in rows]
    np.testing.assert_allclose(recent.share, [row[4] for row in rows], atol=1e-5)
    assert recent.in_session.tolist() == [row[5] == 2**63 + 5 for row in rows]


def check_popularity(state: Any, oracle: Oracle, region: int, hour: int) -> None:
    expected = oracle.expected(region, hour)
    answer = state.popular(region, 2, hour, 100)
    assert sorted(answer.items.tolist()) == sorted(expected)
    assert [*zip(-answer.scores, answer.items, strict=True)] == sorted(zip(-answer.scores, answer.items, strict=True))
    np.testing.assert_allclose(answer.scores, [np.prod(expected[i][:2]) for i in answer.items.tolist()], rtol=1e-5)
    features = state.popularity(answer.items, region, hour)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features[:, 0], [expected[i][1] for i in answer.items.tolist()], rtol=1e-5)
    plays = [np.log1p(expected[i][0] * expected[i][2]) for i in answer.items.tolist()]
    np.testing.assert_allclose(features[:, 1], plays, rtol=1e-5)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=LOGS, cuts=st.lists(st.integers(0, 120), max_size=8))
def test_however_batched_the_bytes_are_the_same(backend: type[Any], events: np.ndarray, cuts: list[int]) -> None:
    with scratch(backend) as whole, scratch(backend) as parts:
        whole.fold(events)
        for part in np.split(events, sorted(min(cut, len(events)) for cut in cuts)):
            parts.fold(part)
        assert parts.digest() == whole.digest()


def test_an_event_is_folded_once(state: Any) -> None:
    events = log(play(1, 2, 1.0), play(1, 2, 1.0), play(1, 3, 0.0))
    state.fold(events[:2])
    before = state.digest()
    state.fold(events[:2])
    assert state.digest() == before
    state.fold(events)
    assert state.applied == 3
    assert state.heard(1, np.array([2, 3], np.int32))[0].tolist() == [2, 1]
    assert state.digest() != before


def test_knows_nothing_of_strangers(state: Any) -> None:
    items = np.array([0, 5, MISSING, 2**31 - 2], np.int32)
    for user in (MISSING, 0, 2**31 - 2):
        assert len(state.recent(user, 1)) == 0
        assert not state.heard(user, items)[0].any()
        assert not state.marks(user, items).any()
        assert not state.in_session(user, 1, items).any()
        assert state.novelty(user) == (0.0, 0.0, 0.0, 0.0)
    assert len(state.popular(MISSING, MISSING, 0, 10)) == 0
    assert np.isfinite(state.popularity(items, 30_000, 167)).all()
    assert state.applied == 0


def test_searches_and_unknown_users_only_move_the_place_in_the_log(state: Any) -> None:
    state.fold(log({"user": 0, "action": Action.SEARCHED}, {"user": MISSING, "item": 3, "action": Action.COMPLETED}))
    assert state.applied == 2
    assert len(state.popular(MISSING, MISSING, 0, 10)) == 0


def test_the_ring_keeps_the_newest_by_time_when_events_arrive_late(state: Any) -> None:
    late = [play(0, i, 1.0, at=T0 + (i * 37 % 100) * HOUR_MS) for i in range(100)]
    state.fold(log(*late))
    newest = sorted(range(100), key=lambda i: -(i * 37 % 100))[:RING]
    assert state.recent(0).items.tolist() == newest


def test_a_session_of_any_length_is_remembered(state: Any) -> None:
    state.fold(
        log(
            *[play(0, i, 1.0, session=9) for i in range(1000)],
            {"user": 0, "item": 1000, "action": Action.STARTED, "session": 9},
        )
    )
    assert state.in_session(0, 9, np.arange(1002, dtype=np.int32)).tolist() == [True] * 1001 + [False]
    assert not state.in_session(0, 8, np.arange(5, dtype=np.int32)).any()
    assert not state.in_session(0, 0, np.arange(5, dtype=np.int32)).any()


def test_a_region_sways_its_own_answer_and_skips_count_against_a_song(state: Any) -> None:
    rows = [play(u, 1, 1.0, region=0) for u in range(900)] + [play(u, 2, 1.0, region=1) for u in range(800)]
    rows += [play(u, 3, 0.02, region=0) for u in range(1000)]
    state.fold(log(*rows))
    hour = hour_of_week(T0)
    assert state.popular(0, MISSING, hour, 3).items.tolist() == [1, 2, 3]
    assert state.popular(1, MISSING, hour, 3).items.tolist() == [2, 1, 3]
    assert state.popular(MISSING, MISSING, hour, 2).items.tolist() == [1, 2]


def test_the_past_fades_by_half_lives(state: Any) -> None:
    old = [play(u, 1, 1.0, at=T0) for u in range(30)]
    new = [play(u, 2, 1.0, at=T0 + 2 * HALF_LIFE_MS) for u in range(10)]
    state.fold(log(*old, *new))
    answer = state.popular(MISSING, MISSING, 0, 2)
    assert answer.items.tolist() == [2, 1]
    decayed = np.expm1(state.popularity(answer.items, 5, 0)[:, 1])
    np.testing.assert_allclose(decayed, [10.0, 7.5], rtol=1e-5)


def test_one_listener_never_weighs_more_than_two(state: Any) -> None:
    """Twenty plays by one lift a song less than three listeners do, and playing it for weeks adds what decay took."""
    again = [play(0, 1, 1.0, at=T0 + hour * HOUR_MS) for hour in range(20)]
    crowd = [play(user, 2, 1.0, at=T0 + 19 * HOUR_MS) for user in (1, 2, 3)]
    state.fold(log(*again, *crowd))
    answer = state.popular(MISSING, MISSING, 0, 2)
    assert answer.items.tolist() == [2, 1]
    one, three = np.expm1(state.popularity(np.array([1, 2], np.int32), 5, 0)[:, 1])
    assert 1.5 < one < 2.0
    assert three == pytest.approx(3.0, rel=1e-5)


def test_a_listener_who_comes_back_after_a_half_life_counts_half_anew(state: Any) -> None:
    state.fold(log(*[play(0, 1, 1.0, at=T0 + k * HALF_LIFE_MS) for k in range(12)]))
    decayed = np.expm1(state.popularity(np.array([1], np.int32), 5, 0)[:, 1])
    np.testing.assert_allclose(decayed, [1.0], rtol=1e-3)  # 1/2 + 1/2 of what was there


def test_a_vote_taken_back_and_given_again_fades(state: Any) -> None:
    rows = [{"user": 0, "item": 1, "action": (Action.LIKED, Action.DISLIKED)[k % 2]} for k in range(40)]
    state.fold(log(*rows))
    assert np.expm1(state.popularity(np.array([1], np.int32), 5, 0)[0, 1]) == pytest.approx(2.0, rel=1e-3)
    assert state.marks(0, np.array([1], np.int32)).tolist() == [2]


def test_closed_means_closed(backend: type[Any], tmp_path: Path) -> None:
    state = backend(tmp_path)
    state.fold(log(play(0, 1, 1.0)))
    digest = state.digest()
    state.close()
    state.close()
    with closing(backend(tmp_path)) as again:
        assert again.applied == 1
        assert again.digest() == digest


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(st.integers(0, 30 * 60), st.integers(0, 3), st.integers(0, 4)), max_size=40).map(sorted))
def test_by_hour_is_distinct_listeners_of_the_last_day(backend: type[Any], rows: list[tuple[int, int, int]]) -> None:
    """Plays only, each listener once an hour; an unknown item and MISSING have none."""
    plays = [play(user, item, 1.0, at=T0 + minute * 60_000) for minute, user, item in rows]
    votes = [{"user": 3, "item": 4, "action": Action.LIKED, "at": T0 + 31 * HOUR_MS}]
    items, now = np.array([3, 0, 1, 2, 4, 99, MISSING], np.int32), T0 + 31 * HOUR_MS
    with scratch(backend) as state:
        state.fold(log(*plays, *votes))
        got = state.by_hour(items, now)
    assert (got.dtype, got.shape) == (np.uint16, (len(items), 24))
    for item, row in zip(items.tolist(), got.tolist(), strict=True):
        for k, found in enumerate(row):
            hour = now // HOUR_MS - k
            assert found == len({u for minute, u, i in rows if i == item and (T0 // 60_000 + minute) // 60 == hour})
