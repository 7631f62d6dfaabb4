"""The SQLite log: its two ways in, its key index, its crashes, its neighbours and its corruption."""

from __future__ import annotations

import multiprocessing as mp
import sqlite3
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from contracts.test_event_log import everything, exposure, same, same_exposure, some
from segue.benchmarks import crash
from segue.core.errors import BadInput, Corrupt, NotReady
from segue.core.ports import ACCEPTED, CONFLICT, DUPLICATE
from segue.core.types import EVENT, Events, Exposure
from segue.storage.event_log import database, reader, sealing, segments, slate_segments, sqlite, uniqueness
from segue.storage.event_log.files import DRAFT, Draft
from segue.storage.event_log.runs import Run, RunRow, RunWriter, find, open_run
from segue.storage.event_log.sqlite import SqliteEventLog
from segue.wiring import open_home

EVER = (1 << 63) - 1
HOUR = 3_600_000
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where a model is compared with hundreds of logs, a disk's fsync proves nothing and takes minutes on a busy machine."""


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every threshold so small that a few events reach all of the code."""
    monkeypatch.setattr(sqlite, "BULK_ROWS", 6)
    monkeypatch.setattr(uniqueness, "FLUSH_KEYS", 8)
    monkeypatch.setattr(uniqueness, "_SMALLEST", 4)
    monkeypatch.setattr(segments, "ROW_GROUP", 5)
    monkeypatch.setattr(sealing, "SEAL_ROWS", 40)
    monkeypatch.setattr(reader, "CHUNK_ROWS", 7)
    monkeypatch.setattr(slate_segments, "PAGE", 3)
    monkeypatch.setattr(slate_segments, "PAGES", 2)
    monkeypatch.setattr(slate_segments, "_SWEEP", 2)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteEventLog]:
    opened = SqliteEventLog(tmp_path)
    yield opened
    opened.close()


def tally(tree: Path, pattern: str) -> int:
    return len(list(tree.glob(pattern)))


APPEND = st.tuples(
    st.just("append"), st.integers(0, 1), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2)), max_size=14)
)
STEPS = st.lists(
    st.one_of(APPEND, APPEND, APPEND, st.tuples(st.sampled_from(["seal", "reopen"]), st.integers(0, 1))), max_size=14
)


@pytest.mark.usefixtures("tiny")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_is_done_the_log_is_a_list_and_a_dict(steps: list[tuple[Any, ...]]) -> None:
    """Two handles stand for two processes; the model is a dict from key to body, and the keys in order."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        logs = [SqliteEventLog(Path(folder)), SqliteEventLog(Path(folder))]
        model: dict[int, int] = {}
        for step in steps:
            who = step[1]
            if step[0] == "seal":
                logs[who].seal(EVER)
            elif step[0] == "reopen":
                logs[who].close()
                logs[who] = SqliteEventLog(Path(folder))
            else:
                expected = []
                for key, body in step[2]:
                    known = model.get(key)
                    expected.append(ACCEPTED if known is None else DUPLICATE if known == body else CONFLICT)
                    model.setdefault(key, body)
                batch = some([key for key, _ in step[2]])
                batch["body"] = [body for _, body in step[2]]
                appended = logs[who].append(batch)
                assert appended.status.tolist() == expected
                assert appended.seq[appended.seq > 0].tolist() == list(
                    range(len(model) - expected.count(ACCEPTED) + 1, len(model) + 1)
                )
        for log in logs:
            out = log.read(0, 10_000)
            assert out["key_lo"].tolist() == list(model)
            assert out["body"].tolist() == list(model.values())
            assert out["seq"].tolist() == list(range(1, len(model) + 1))
            assert out.tobytes() == everything(log).tobytes()
            assert log.last == len(model)
            assert log.check() == []
            log.close()


WALKED = st.lists(st.sampled_from(["append", "append", "seal", "look", "step", "step", "step"]), max_size=24)


@pytest.mark.usefixtures("tiny")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=WALKED)
@example(steps=["append"] * 4 + ["look", "step", "seal"])
def test_who_walks_while_others_seal_and_merge_meets_each_event_once(steps: list[str]) -> None:
    """The night's scan and a fold of the whole log last minutes; meanwhile what they read is sealed and merged."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        log, other = SqliteEventLog(Path(folder)), SqliteEventLog(Path(folder))
        walks: list[tuple[Iterator[Events], list[int], int]] = []
        for number, step in enumerate(steps):
            if step == "append":
                log.append(some(list(range(4 * number, 4 * number + 4))))
            elif step == "seal":
                other.seal(EVER)
            elif step == "look":
                walks.append((log.scan(-EVER, EVER, ["seq"]), [], log.last))
            else:
                for walk, seen, _ in walks:
                    seen.extend(seq for events in islice(walk, 1) for seq in events["seq"].tolist())
        for walk, seen, last in walks:
            seen.extend(seq for events in walk for seq in events["seq"].tolist())
            assert seen == list(range(1, last + 1))
        log.close()
        other.close()


SLATES = st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 15)), max_size=8)
"""When, in hours, and the request."""


@pytest.mark.usefixtures("tiny")
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(["show", "show", "seal", "reopen"]), st.integers(0, 1), SLATES), max_size=6))
def test_whatever_is_sealed_slates_are_a_dict_in_order_of_time(steps: list[tuple[str, int, list[tuple[int, int]]]]) -> None:
    """Two handles stand for two processes, with a reader under way in each step; the model keeps the first of a request."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        logs = [SqliteEventLog(Path(folder)), SqliteEventLog(Path(folder))]
        model: dict[int, Exposure] = {}
        for what, who, slates in steps:
            reading = logs[1 - who].exposures(-EVER, EVER)
            before, begun = in_order(model), list(islice(reading, 1))
            if what == "seal":
                logs[who].seal(slates[0][0] * HOUR if slates else EVER)
            elif what == "reopen":
                logs[who].close()
                logs[who] = SqliteEventLog(Path(folder))
            else:
                shown = [exposure(number, at=at * HOUR, k=number % 4) for at, number in slates]
                logs[who].append_exposures(shown)
                for one in shown:
                    model.setdefault(one.slate.request_id, one)
            seen = [one.slate.request_id for one in (*begun, *reading)]
            assert len(seen) == len(set(seen))
            assert {one.slate.request_id for one in before} <= set(seen) <= set(model)
        for log in logs:
            assert all(map(same_exposure, log.exposures(-EVER, EVER), in_order(model)))
            assert len(list(log.exposures(-EVER, EVER))) == len(model)
            middle = [one for one in in_order(model) if -HOUR <= one.at < HOUR]
            assert [one.slate.request_id for one in log.exposures(-HOUR, HOUR)] == [one.slate.request_id for one in middle]
            for number in range(16):
                found = log.exposure(number)
                assert (found is None) == (number not in model)
                assert found is None or same_exposure(found, model[number])
            assert log.check() == []
            log.close()


def in_order(model: dict[int, Exposure]) -> list[Exposure]:
    return sorted(model.values(), key=lambda one: (one.at, one.slate.request_id))


def test_slates_that_a_crash_left_beside_their_segment_are_read_once_and_swept(
    log: SqliteEventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append_exposures([exposure(number) for number in range(200)])
    with monkeypatch.context() as patch:
        patch.setattr(slate_segments.SlateLog, "sweep", lambda _: None)
        assert log.seal(EVER) == ["000000001.parquet"]
    assert len(list(log.exposures(0, EVER))) == 200
    assert log.check() == []
    log.append_exposures([exposure(3, at=9_000)])
    assert log.seal(EVER) == []
    with sqlite3.connect(tmp_path / "log.db") as connection:
        assert connection.execute("SELECT count(*) FROM exposures").fetchone() == (0,)
    connection.close()
    assert [one.slate.request_id for one in log.exposures(0, EVER)] == list(range(200))


def test_a_seal_that_is_killed_before_it_is_registered_leaves_the_slates_where_they_were(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path)
    log.append_exposures([exposure(number) for number in range(9)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slate_segments, "astuple", lambda _: 1 / 0)  # the file has its name by then, the row is not written
        with pytest.raises(ZeroDivisionError):
            log.seal(EVER)
    log.close()
    assert tally(tmp_path, "slates/*.parquet") == 1
    log = SqliteEventLog(tmp_path)
    assert tally(tmp_path, "slates/*") == 0
    assert len(list(log.exposures(0, EVER))) == 9
    assert len(log.seal(EVER)) == 1
    assert log.check() == []
    log.close()


def test_another_process_that_sealed_the_same_slates_was_faster(
    log: SqliteEventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append_exposures([exposure(number) for number in range(9)])
    other = SqliteEventLog(tmp_path)
    finish, calls = slate_segments.ParquetDraft.finish, list[str]()

    def overtaken(draft: slate_segments.ParquetDraft) -> None:
        finish(draft)
        calls.append("finished")
        if len(calls) == 1:
            other.seal(EVER)

    monkeypatch.setattr(slate_segments.ParquetDraft, "finish", overtaken)
    assert log.seal(EVER) == []
    assert tally(tmp_path, "slates/*") == 1
    assert len(list(log.exposures(0, EVER))) == 9
    assert log.check() == []
    other.close()


def test_a_log_of_the_first_layout_learns_to_seal_slates(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path)
    log.append_exposures([exposure(1), exposure(2)])
    log.close()
    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.executescript("DROP TABLE slate_segments; DROP TABLE sealed_slates; PRAGMA user_version = 1")
    connection.close()
    log = SqliteEventLog(tmp_path)
    assert len(log.seal(EVER)) == 1
    assert [one.slate.request_id for one in log.exposures(0, EVER)] == [1, 2]
    log.close()


@pytest.mark.parametrize("share", [0.3, 0.6, 0.999])
def test_a_spoiled_segment_of_slates_is_noticed(log: SqliteEventLog, tmp_path: Path, share: float) -> None:
    log.append_exposures([exposure(number, k=9) for number in range(300)])
    log.seal(EVER)
    spoil(tmp_path / "slates" / "000000001.parquet", share)
    assert any("does not match its checksum" in line for line in log.check())


def test_a_missing_segment_of_slates_is_corrupt(log: SqliteEventLog, tmp_path: Path) -> None:
    log.append_exposures([exposure(1)])
    log.seal(EVER)
    (tmp_path / "slates" / "000000001.parquet").unlink()
    with pytest.raises(Corrupt, match="missing"):
        log.exposure(1)
    with pytest.raises(Corrupt, match="missing"):
        list(log.exposures(0, EVER))
    assert len(log.check()) == 1


def test_a_bulk_append_is_a_segment_at_once_and_reads_like_any_other(log: SqliteEventLog, tmp_path: Path) -> None:
    events = some(list(range(60_000)))
    log.append(some([70_000]))
    assert log.append(events).seq.tolist() == list(range(2, 60_002))
    log.append(some([70_001]))
    assert tally(tmp_path, "segments/*.parquet") == 1
    out = everything(log)
    assert same(out, np.concatenate([some([70_000]), events, some([70_001])]))
    assert out["seq"].tolist() == list(range(1, 60_003))
    assert log.read(30_000, 3)["seq"].tolist() == [30_001, 30_002, 30_003]
    assert (log.append(events[::-1]).status == DUPLICATE).all()
    assert log.check() == []


def test_a_bulk_append_that_fails_leaves_nothing(log: SqliteEventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = some(list(range(50_000)))

    def full(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "register", full)
        with pytest.raises(OSError, match="full"):
            log.append(events)
    assert log.last == 0
    assert list((tmp_path / "segments").iterdir()) == []
    assert (log.append(events).status == ACCEPTED).all()


def test_a_bulk_append_that_is_overtaken_by_the_same_event_starts_over(
    log: SqliteEventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = SqliteEventLog(tmp_path)
    finish = segments.SegmentWriter.finish
    calls = []

    def overtake(writer: segments.SegmentWriter) -> None:
        calls.append(1)
        if len(calls) == 1:
            other.append(some([7, 90_000]))
        elif len(calls) == 2:
            other.append(some([90_001]))  # another event: no reason to start over
        finish(writer)

    monkeypatch.setattr(segments.SegmentWriter, "finish", overtake)
    appended = log.append(some(list(range(50_001))))
    assert len(calls) == 2
    assert np.flatnonzero(appended.status).tolist() == [7]
    assert log.last == other.last == 50_003
    assert appended.seq[0] == 4
    out = everything(log)
    assert len(np.unique(out["key_lo"])) == len(out) == 50_003
    assert tally(tmp_path, f"segments/*{DRAFT}") == 0
    other.close()


def test_opening_sweeps_what_a_crash_left_but_not_what_lives(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path)
    log.append(some(list(range(50_000))))
    kept = set((tmp_path / "segments").iterdir())
    for name in (
        f"segments/dead{DRAFT}",
        "segments/000000000000001-000000000000009.parquet",
        f"keys/dead{DRAFT}",
        "keys/x.keys",
    ):
        (tmp_path / name).write_bytes(b"half")
    alive = Draft(tmp_path / "segments")
    SqliteEventLog(tmp_path).close()
    assert set((tmp_path / "segments").iterdir()) == kept | {alive.path}
    assert list((tmp_path / "keys").iterdir()) == []
    alive.discard()
    log.close()


def test_batches_that_a_crash_left_beside_their_segment_are_read_once_and_swept(
    log: SqliteEventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in range(5):
        log.append(some([key]))
    with monkeypatch.context() as patch:
        patch.setattr(sealing, "sweep_batches", lambda _: None)
        assert log.seal(EVER)
    assert everything(log)["key_lo"].tolist() == list(range(5))
    assert log.check() == []
    count = "SELECT count(*) FROM batches"
    with sqlite3.connect(tmp_path / "log.db") as connection:
        assert connection.execute(count).fetchone() == (5,)
        SqliteEventLog(tmp_path).close()
        assert connection.execute(count).fetchone() == (0,)
    connection.close()
    assert everything(log)["key_lo"].tolist() == list(range(5))


def test_only_what_arrived_before_is_sealed_and_days_apart(tmp_path: Path) -> None:
    now = [86_400_000 * 20_000]
    log = SqliteEventLog(tmp_path, clock=lambda: now[0])
    for day in range(3):
        log.append(some([10 * day, 10 * day + 1]))
        log.append(some([10 * day + 2]))
        now[0] += 86_400_000
    assert len(log.seal(86_400_000 * 20_002)) == 2
    assert tally(tmp_path, "segments/*") == 2
    assert log.seal(86_400_000 * 20_002) == []
    assert len(log.seal(EVER)) == 1
    assert everything(log)["key_lo"].tolist() == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    log.close()


def test_many_small_segments_become_few(log: SqliteEventLog, tmp_path: Path) -> None:
    for key in range(20):
        log.append(some([2 * key, 2 * key + 1]))
        log.seal(EVER)
    assert tally(tmp_path, "segments/*") < 8
    assert everything(log)["key_lo"].tolist() == list(range(40))
    assert log.check() == []


def test_search_words_stay_with_their_event(log: SqliteEventLog) -> None:
    log.append(some([1, 2, 3]), {0: "björk", 2: "radio"})
    log.append(some([3, 4]), {0: "a duplicate's words are not kept", 1: "songs"})
    assert log.texts(0, 10) == {1: "björk", 3: "radio", 4: "songs"}
    assert log.texts(1, 3) == {3: "radio"}


def test_an_unknown_column_is_refused_before_the_walk(log: SqliteEventLog) -> None:
    with pytest.raises(BadInput, match="plays"):
        log.scan(0, 1, ["plays"])


def spoil(path: Path, share: float) -> None:
    """Flip one bit of a file, at a share of its length."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * share)] ^= 1
    path.write_bytes(content)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("others", [8, 12, 24])
def test_each_key_lies_in_one_run_though_another_process_flushes_while_runs_merge(
    others: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = SqliteEventLog(tmp_path), SqliteEventLog(tmp_path)
    merge, waiting = RunWriter.merge, [some(list(range(1000, 1000 + others)))]

    def beside(writer: RunWriter, runs: Any) -> None:
        if waiting:
            other.append(waiting.pop())
        merge(writer, runs)

    monkeypatch.setattr(RunWriter, "merge", beside)
    for start in range(0, 64, 2):
        assert one.append(some([start, start + 1])).seq.all()
        with sqlite3.connect(tmp_path / "log.db") as connection:
            keys, last = connection.execute("SELECT coalesce(sum(keys), 0), coalesce(max(last_seq), 0) FROM runs").fetchone()
        connection.close()
        assert keys == last, "as many keys as events that the runs reach to"
    assert not waiting
    assert not one.append(some([*range(64), *range(1000, 1000 + others)])).seq.any(), "every one is known"
    assert one.check() == []
    one.close()
    other.close()


def test_a_spoiled_batch_is_noticed(log: SqliteEventLog, tmp_path: Path) -> None:
    log.append(some([1, 2]))
    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.execute("UPDATE batches SET payload = zeroblob(length(payload))")
    connection.close()
    assert any("1-2" in line for line in log.check())
    with pytest.raises(Corrupt, match="1-2"):
        log.read(0, 10)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_spoiled_segment_is_noticed(log: SqliteEventLog, tmp_path: Path, share: float) -> None:
    log.append(some(list(range(50_000))))
    (path,) = (tmp_path / "segments").iterdir()
    spoil(path, share)
    assert any(path.name in line for line in log.check())
    with pytest.raises(Corrupt, match=path.name):
        everything(log)


def test_a_missing_segment_is_corrupt(log: SqliteEventLog, tmp_path: Path) -> None:
    log.append(some(list(range(50_000))))
    (path,) = (tmp_path / "segments").iterdir()
    path.unlink()
    assert any(path.name in line for line in log.check())
    with pytest.raises(Corrupt, match=path.name):
        everything(log)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("harm", ["remove", "cut"])
def test_a_lost_key_run_is_made_again_from_the_log(tmp_path: Path, harm: str) -> None:
    log = SqliteEventLog(tmp_path)
    for start in range(0, 60, 10):
        log.append(some(list(range(start, start + 10))))
    log.close()
    run = min((tmp_path / "keys").iterdir())
    run.unlink() if harm == "remove" else run.write_bytes(run.read_bytes()[:-8])
    log = SqliteEventLog(tmp_path)
    assert (log.append(some(list(range(60)), body=8)).status == CONFLICT).all()
    log.append(some(list(range(100, 110))))
    assert log.check() == []
    log.close()


@pytest.mark.usefixtures("tiny")
def test_a_run_that_another_process_strikes_is_not_forgotten(log: SqliteEventLog, tmp_path: Path) -> None:
    for start in range(0, 60, 10):
        log.append(some(list(range(start, start + 10))))
    max((tmp_path / "keys").iterdir()).unlink()
    SqliteEventLog(tmp_path).close()
    assert (log.append(some(list(range(60)), body=8)).status == CONFLICT).all()
    assert log.append(some([61])).status.tolist() == [ACCEPTED]


@pytest.mark.usefixtures("tiny")
def test_a_spoiled_key_run_is_noticed(log: SqliteEventLog, tmp_path: Path) -> None:
    log.append(some(list(range(10))))
    (path,) = (tmp_path / "keys").iterdir()
    spoil(path, 0.5)
    assert any(path.name in line for line in log.check())


def test_a_file_that_is_no_log_and_a_layout_of_the_future_are_corrupt(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"x" * 8192)
    with pytest.raises(Corrupt, match=r"log\.db"):
        SqliteEventLog(tmp_path)
    (tmp_path / "log.db").unlink()
    SqliteEventLog(tmp_path).close()
    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(Corrupt, match="newer"):
        SqliteEventLog(tmp_path)


def test_a_log_that_another_holds_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.01)
    log, other = SqliteEventLog(tmp_path), SqliteEventLog(tmp_path)
    with other._database.transaction(), pytest.raises(NotReady, match="locked"):
        log.append(some([1]))
    assert log.append(some([1])).status.tolist() == [ACCEPTED]
    log.close()
    other.close()


@settings(max_examples=30, deadline=None)
@given(
    groups=st.lists(st.lists(st.integers(0, 300), max_size=80), min_size=1, max_size=4),
    asked=st.lists(st.integers(0, 300), min_size=1, max_size=50),
)
def test_merged_runs_know_each_key_once(groups: list[list[int]], asked: list[int]) -> None:
    """Keys share few values of hi, so that equal halves are met; the model is a dict."""
    bodies: dict[int, int] = {}
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        folder, runs, at = Path(name), [], 0
        for group in groups:
            keys = [key for key in dict.fromkeys(group) if key not in bodies]
            bodies |= {key: key * 3 for key in keys}
            values = np.array(keys, np.uint64)
            writer = RunWriter(folder, len(keys))
            writer.sort(values // np.uint64(7), values % np.uint64(7), values * np.uint64(3))
            runs.append(write(folder, writer, at))
            at += len(keys) + 1
        writer = RunWriter(folder, len(bodies))
        writer.merge(runs)
        merged = write(folder, writer, at)
        order = np.lexsort((merged.lo, merged.hi))
        assert order.tolist() == list(range(len(bodies)))
        values = np.array(asked, np.uint64)
        status = np.full(len(values), 255, np.uint8)
        body = np.array([key * 3 if key % 2 else 1 for key in asked], np.uint64)
        find(merged, values // np.uint64(7), values % np.uint64(7), body, status)
        known = [
            255 if key not in bodies else 1 if bodies[key] == wanted else 2 for key, wanted in zip(asked, body, strict=True)
        ]
        assert status.tolist() == known


def write(folder: Path, writer: RunWriter, at: int) -> Run:
    row: RunRow = writer.finish(at, at + 1)
    writer.publish(row)
    return open_run(folder, row)


def append_numbers(folder: Path, seed: int, rounds: int) -> None:
    """What a process does in the test below."""
    rng = np.random.default_rng(seed)
    log = SqliteEventLog(folder)
    for _ in range(rounds):
        log.append(some(rng.integers(0, 3_000, 100).tolist()))
        if rng.random() < 0.2:
            log.seal(EVER)
    log.close()


def test_processes_that_append_at_once_double_nothing(tmp_path: Path) -> None:
    context = mp.get_context("spawn")
    processes = [context.Process(target=append_numbers, args=(tmp_path, seed, 40)) for seed in (1, 2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    log = SqliteEventLog(tmp_path)
    out: Events = everything(log)
    given_keys = {int(k) for seed in (1, 2) for k in numbers(seed)}
    assert sorted(out["key_lo"].tolist()) == sorted(given_keys)
    assert out["seq"].tolist() == list(range(1, len(out) + 1))
    assert out.dtype == EVENT
    assert log.check() == []
    log.close()


def numbers(seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    out: list[int] = []
    for _ in range(40):
        out += rng.integers(0, 3_000, 100).tolist()
        rng.random()
    return out


def test_twenty_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    tally = crash.torture(tmp_path / "home", cycles=20, seed=3, longest_s=0.05)
    assert (tally.lost, tally.doubled, tally.problems) == (0, 0, [])
    assert sum(count for _, count in tally.events) > 0  # as many as the machine had time for
    assert crash.state_follows(tmp_path / "home")


def test_the_count_after_a_kill_would_see_a_lost_and_a_doubled_event(tmp_path: Path) -> None:
    with open_home(tmp_path / "home", writer=True) as home:
        home.log.append(crash.bulk(0, 5))
        again = crash.bulk(3, 2)
        again["key_hi"] += np.uint64(1)  # the same events under keys of their own: no index can tell
        home.log.append(again)
    tally = crash.Tally(events=[(0, 7)], exposures=[9])
    crash.examine(tmp_path / "home", tally, thorough=True)
    assert (tally.stored, tally.doubled) == (7, 2)
    assert tally.lost == 2 + 1, "two events, which the doubled ones do not hide, and the slate"
