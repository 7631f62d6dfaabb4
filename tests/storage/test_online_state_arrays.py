"""The embedded online state: growth, crashes, other processes and other threads."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from segue.core.actions import Action
from segue.core.clock import hour_of_week, zone
from segue.core.errors import Corrupt, NotReady
from segue.core.types import MISSING, Events, empty_events
from segue.storage.online_state import arrays
from segue.storage.online_state import file as files
from segue.storage.online_state import store as stores
from segue.storage.online_state.arrays import ArrayState
from segue.storage.online_state.tops import TOP

T0 = 1_767_225_600_000
DAY_MS = 86_400_000


def generated(n: int, users: int = 500, items: int = 2000, regions: int = 4, seed: int = 1) -> Events:
    """n events of every kind, the same for the same arguments and the same prefix for a larger n of one block."""
    rng = np.random.default_rng(seed)
    events = empty_events(n)
    events["seq"] = np.arange(1, n + 1)
    events["at"] = T0 + np.arange(n) * 700 - rng.integers(0, 100_000, n)
    events["user"] = rng.integers(0, users, n)
    events["item"] = np.minimum(rng.pareto(0.8, n) * items / 50, items - 1)
    events["region"] = rng.integers(-1, regions, n)
    events["session"] = rng.integers(1, 2**63, n).astype(np.uint64) * 2
    events["action"] = rng.choice([1, 2, 3, 4, 4, 4, 4, 5, 5, 6, 7, 8, 9, 10, 11, 12], n)
    events["duration_s"] = 200
    events["played_s"] = rng.uniform(0, 220, n)
    events["value"] = rng.integers(0, 6, n)
    return events


class ListLog:
    """The two parts of an event log that a state asks."""

    def __init__(self, events: Events) -> None:
        self.events = events

    @property
    def last(self) -> int:
        return len(self.events)

    def read(self, after: int, limit: int) -> Events:
        return self.events[after : after + limit]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[ArrayState]:
    with closing(ArrayState(tmp_path / "state")) as opened:
        yield opened


def digest_of(events: Events, folder: Path) -> str:
    with closing(ArrayState(folder)) as fresh:
        fresh.fold(events)
        return fresh.digest()


# -- tables and lists that grow ----------------------------------------------------------------------------------------


def test_a_table_that_split_many_times_still_knows_every_pair(state: ArrayState) -> None:
    events = generated(400_000, users=3000, items=5000)
    events["action"] = Action.COMPLETED
    for part in np.array_split(events, 7):
        state.fold(part)
    pairs, times = np.unique(events["user"].astype(np.int64) << 32 | events["item"], return_counts=True)
    assert state.sizes()["pairs"] == len(pairs) > 5 * 12_288
    for user in (0, 17, 2999):
        heard, _ = state.heard(user, np.arange(5000, dtype=np.int32))
        mine = pairs >> 32 == user
        expected = np.zeros(5000, np.uint16)
        expected[pairs[mine] & 0xFFFFFFFF] = times[mine]
        np.testing.assert_array_equal(heard, expected)


def test_users_and_regions_appear_at_any_time(state: ArrayState) -> None:
    events = generated(6)
    events["action"], events["item"], events["user"], events["region"] = Action.COMPLETED, 3, [0, 70_000, 5, 1023, 1024, 9], [
        0, 700, 2, MISSING, 30, 700,
    ]  # fmt: skip
    for i in range(6):
        state.fold(events[i : i + 1])
    assert all(len(state.recent(user)) == 1 for user in (0, 70_000, 5, 1023, 1024, 9))
    assert state.hours(700)[:, 0].sum() == pytest.approx(2, rel=1e-3)
    assert state.hours(5).sum() == 0


def test_the_top_list_stays_the_exact_top_of_many_items(state: ArrayState) -> None:
    events = generated(60_000, items=3000, regions=1)
    events["action"], events["region"], events["user"] = Action.COMPLETED, 0, np.arange(60_000)  # everybody hears one song
    share = np.clip(events["played_s"] / np.float32(200), 0, 1)
    for part in np.array_split(events, 5):
        state.fold(part)
    view = state._store.view()
    sums = np.zeros(3000)
    lives = events["at"] / (14.0 * DAY_MS)
    np.add.at(sums, events["item"], share * 2.0 ** (lives - np.floor(lives[0])))
    assert np.count_nonzero(sums) > 4 * TOP
    for cell in (0, 1 + 9):
        assert sorted(view.cells.top_items[cell].tolist()) == sorted(np.argsort(-sums, kind="stable")[:TOP].tolist())


def test_a_kept_answer_of_popularity_is_never_later_than_it_says(state: ArrayState, monkeypatch: pytest.MonkeyPatch) -> None:
    def plays(number: int, item: int, first: int) -> Events:
        events = generated(number)
        events["action"], events["item"], events["user"] = Action.COMPLETED, item, first + np.arange(number)
        events["played_s"], events["duration_s"], events["region"] = 200, 200, MISSING
        events["seq"], events["at"] = first + 1 + np.arange(number), DAY_MS
        return events

    def best() -> int:
        return int(state.popular(MISSING, MISSING, 0, 1).items[0])

    state.fold(plays(100, item=1, first=0))
    assert best() == 1
    state.fold(plays(1, item=2, first=100))
    assert len(state.popular(MISSING, MISSING, 0, 5)) == 2  # on a small service each event shows at once
    monkeypatch.setattr(arrays, "LATE", 0.6)
    state.fold(plays(120, item=2, first=101))  # of 221 plays: less than 0.6 of them have come since
    assert best() == 1
    assert (state.popular_as_of(MISSING, 0), state.applied) == (101, 221)
    state.fold(plays(60, item=2, first=221))
    assert best() == 2
    assert state.popular_as_of(MISSING, 0) == state.applied
    state.start_over()
    assert len(state.popular(MISSING, MISSING, 0, 5)) == 0


def test_decades_between_events_move_the_landmark_and_keep_the_answer(tmp_path: Path) -> None:
    events = generated(5)
    events["action"], events["item"], events["played_s"], events["region"] = Action.COMPLETED, [1, 1, 2, 3, 3], 200, MISSING
    events["user"] = np.arange(5)
    day = np.array([0, 0, 0, 5000, 5000])
    events["at"] = T0 + day * DAY_MS
    with closing(ArrayState(tmp_path, half_life_days=1.0)) as state:
        state.fold(events)
        answer = state.popular(MISSING, MISSING, 0, 3)
        assert answer.items.tolist() == [3, 1, 2]
        assert np.expm1(state.popularity(np.array([3], np.int32), 7, 0)[0, 1]) == pytest.approx(2.0, rel=1e-6)
        assert np.isfinite(answer.scores).all()


def test_the_local_hour_decides_the_part_of_the_week(tmp_path: Path) -> None:
    events = generated(1)
    events["action"], events["region"], events["at"] = Action.COMPLETED, 3, T0
    with closing(ArrayState(tmp_path, utc_offsets={3: 330})) as state:
        state.fold(events)
        assert np.flatnonzero(state.hours(3)[:, 0]).tolist() == [hour_of_week(T0, 330)]
        seconds = min(float(events["played_s"][0]), 220.0)
        assert state.hours(3)[:, 3].sum() == pytest.approx(seconds, rel=1e-5)


def test_summer_time_moves_the_local_hour_and_is_part_of_what_a_state_is(tmp_path: Path) -> None:
    berlin, number = zone("Europe/Berlin"), np.datetime64("2026-01-15T19:30", "ms").astype(np.int64)
    events = generated(3)
    events["action"], events["region"] = Action.COMPLETED, [3, 3, 4]
    events["at"] = [number, number + 181 * DAY_MS, number]  # a winter's evening, a summer's at the same hour of UTC; elsewhere
    with closing(ArrayState(tmp_path, utc_offsets={3: berlin, 4: 330})) as state:
        state.fold(events)
        hours = {hour_of_week(int(number), 60), hour_of_week(int(number) + 181 * DAY_MS, 120)}
        assert set(np.flatnonzero(state.hours(3)[:, 0]).tolist()) == hours
        assert {hour % 24 for hour in hours} == {20, 21}
        assert np.flatnonzero(state.hours(4)[:, 0]).tolist() == [hour_of_week(int(number), 330)]
    with closing(ArrayState(tmp_path, utc_offsets={3: berlin, 4: 330})) as state:
        assert state.applied == 3
    with closing(ArrayState(tmp_path, utc_offsets={3: 60, 4: 330})) as state:
        assert state.applied == 0, "other hours: the log is folded anew"


# -- the log is the truth ----------------------------------------------------------------------------------------------


def test_catching_up_and_rebuilding_give_the_same_bytes(state: ArrayState, tmp_path: Path) -> None:
    log = ListLog(generated(5000))
    assert state.catch_up(log, batch=777) == 5000
    assert state.catch_up(log) == 0
    digest = state.digest()
    assert state.rebuild(log, batch=1234) == 5000
    assert state.digest() == digest == digest_of(log.events, tmp_path / "other")


def test_a_state_ahead_of_its_log_is_rebuilt(state: ArrayState) -> None:
    state.catch_up(ListLog(generated(300)))
    shorter = ListLog(generated(100, seed=2))
    assert state.catch_up(shorter) == 100
    assert state.applied == 100


def test_other_parameters_or_another_layout_start_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(ArrayState(tmp_path)) as state:
        state.fold(generated(50))
    with closing(ArrayState(tmp_path)) as same:
        assert same.applied == 50
    with closing(ArrayState(tmp_path, half_life_days=7.0)) as other:
        assert other.applied == 0
        assert len(other.recent(int(generated(50)["user"][-1]))) == 0
        other.fold(generated(50))
    monkeypatch.setattr(stores, "LAYOUT", files.LAYOUT + 1)
    with closing(ArrayState(tmp_path, half_life_days=7.0)) as newer:
        assert newer.applied == 0


def test_a_torn_fold_is_refused_and_then_folded_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = ListLog(generated(500))
    with closing(ArrayState(tmp_path / "torn")) as state:
        state.fold(log.events[:200])

        def explode(*args: object) -> int:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("segue.storage.online_state.arrays.fold_events", explode)
            with pytest.raises(KeyboardInterrupt):
                state.fold(log.events[200:])
        with pytest.raises(Corrupt):
            state.fold(log.events[200:])
    with closing(ArrayState(tmp_path / "torn")) as state:
        assert state.applied == 0
        state.catch_up(log)
        assert state.digest() == digest_of(log.events, tmp_path / "fresh")


def test_pages_are_trusted_over_a_reboot_only_after_a_clean_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(ArrayState(tmp_path)) as state:
        state.fold(generated(50))
    monkeypatch.setattr(stores, "boot_id", lambda: b"another boot")
    with closing(ArrayState(tmp_path)) as clean:
        assert clean.applied == 50
        clean._store.header["boot"] = b"one that lost its power"
        monkeypatch.setattr(clean._store, "close", lambda: clean._store._lock.release())  # type: ignore[union-attr]
    with closing(ArrayState(tmp_path)) as lost:
        assert lost.applied == 0


LENGTH = 120_000
NURSERY = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from test_online_state_arrays import LENGTH, ListLog, digest_of, generated
    from segue.storage.online_state.arrays import ArrayState

    def fold(folder, stop):
        print(os.getpid(), flush=True)
        state = ArrayState(folder)
        while state.applied < log.last:
            state.fold(log.read(state.applied, 1 + state.applied * 7919 % 3000))
            print(state.applied, flush=True)
            if state.applied > stop:
                signal.pause()

    log = ListLog(generated(LENGTH))
    digest_of(log.events[:10], Path(sys.argv[2]))  # kernels are loaded once
    for line in sys.stdin:
        folder, stop = line.split()
        child = os.fork()
        if child == 0:
            fold(Path(folder), int(stop))
            os._exit(0)
        os.waitpid(child, 0)
        print("gone", flush=True)
""")


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that starts children which fold, so that each need not import the world again."""
    arguments = [sys.executable, "-c", NURSERY, str(Path(__file__).parent), str(tmp_path / "warm")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def kill_after(nursery: subprocess.Popen[str], folder: Path, folds: int, stop: int = LENGTH) -> int:
    """Start a child, kill it in the middle of what follows its n-th fold; `applied` as it last said."""
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.write(f"{folder} {stop}\n")
    nursery.stdin.flush()
    child, said, line = int(nursery.stdout.readline()), 0, ""
    for _ in range(folds):
        line = nursery.stdout.readline()
        if line == "gone\n":
            return said
        said = int(line)
        if said > stop:
            break
    os.kill(child, signal.SIGKILL)
    while (line := nursery.stdout.readline()) != "gone\n":
        said = int(line)
    return said


def test_killed_at_any_moment_of_folding_it_comes_back_to_the_bit(tmp_path: Path, nursery: subprocess.Popen[str]) -> None:
    log, rng = ListLog(generated(LENGTH)), random.Random(5)
    for _ in range(10):
        said = kill_after(nursery, tmp_path / "killed", rng.randint(1, 60))
        with closing(ArrayState(tmp_path / "killed")) as state:
            assert state.applied == 0 or state.applied >= said
            state.catch_up(ListLog(log.events[: max(said, state.applied)]))
            applied, digest = state.applied, state.digest()
        with closing(ArrayState(tmp_path / "fresh")) as fresh:  # folds on from where the last cycle left it
            if applied < fresh.applied:
                fresh.rebuild(ListLog(log.events[:applied]))
            fresh.fold(log.events[:applied])
            assert fresh.digest() == digest


def test_killed_between_folds_nothing_is_folded_again(tmp_path: Path, nursery: subprocess.Popen[str]) -> None:
    said = kill_after(nursery, tmp_path / "killed", 1_000, stop=5_000)
    with closing(ArrayState(tmp_path / "killed")) as state:
        assert state.applied == said > 5_000
        assert state.digest() == digest_of(generated(LENGTH)[:said], tmp_path / "fresh")


# -- other processes and other threads ---------------------------------------------------------------------------------


def test_one_writer_a_folder(state: ArrayState, tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="another process folds"):
        ArrayState(tmp_path / "state")


def test_a_reader_follows_growth_and_starting_over_and_never_writes(state: ArrayState, tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="no online state yet"):
        ArrayState.open(tmp_path / "nowhere")
    events = generated(3000, users=5000)
    state.fold(events[:10])
    with closing(ArrayState.open(tmp_path / "state")) as reader:
        for fold in (lambda: reader.fold(events), lambda: reader.rebuild(ListLog(events))):
            with pytest.raises(NotReady, match="read-only"):
                fold()
        state.fold(events)
        assert reader.applied == 3000
        assert reader.digest() == state.digest()
        state.rebuild(ListLog(events[:1500]))
        assert reader.applied == 1500
        assert reader.recent(int(events["user"][0])).at.tolist() == state.recent(int(events["user"][0])).at.tolist()
        assert reader.digest() == state.digest()


def test_readers_in_other_threads_never_leave_the_arrays(state: ArrayState) -> None:
    events = generated(150_000, users=20_000, items=20_000, regions=40)
    items, wrong, done = np.arange(500, dtype=np.int32), list[str](), threading.Event()

    def read() -> None:
        rng = random.Random(3)
        while not done.is_set():
            user, region = rng.randrange(25_000), rng.randrange(60)
            recent, (times, _) = state.recent(user, 1), state.heard(user, items)
            answer = state.popular(region, MISSING, rng.randrange(168), 300)
            sane = np.all(recent.items >= 0) and np.all(times < 2000) and np.all(np.isfinite(answer.scores))
            if not (sane and len(np.unique(answer.items)) == len(answer.items) and np.all(answer.items < 20_000)):
                wrong.append(f"user {user} region {region}")

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for part in np.array_split(events, 60):
        state.fold(part)
    state.rebuild(ListLog(events[:20_000]))
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_closed_it_refuses_and_bad_settings_are_told(tmp_path: Path) -> None:
    state = ArrayState(tmp_path)
    state.close()
    for look in (lambda: state.recent(0), lambda: state.applied, lambda: state.fold(generated(1)), state.digest):
        with pytest.raises(NotReady, match="closed"):
            look()
    for bad in ({"recent_plays": 0}, {"half_life_days": 0.0}, {"share_prior": 0.0}):
        with pytest.raises(ValueError, match="needs recent_plays"):
            ArrayState(tmp_path, **bad)
