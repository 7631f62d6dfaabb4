"""Every rule is set off by its fault, by nothing else, and says what changed first; the record lasts; the webhook insists."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import msgspec
import numpy as np
import pytest
from listening_days import MONDAY, Days, Record, hour_of_events, slate

from segue.core.actions import Action
from segue.core.clock import DAY_MS, HOUR_MS
from segue.core.hashing import spread, spread_one
from segue.core.types import Bool, Exposure, Int32, Slate, empty_events
from segue.monitoring import rules, webhook
from segue.monitoring.alarms import Ledger, Signal
from segue.monitoring.counters import Counters
from segue.monitoring.drift import Drift
from segue.monitoring.monitor import Around, Monitor
from segue.monitoring.retraining import Facts
from segue.monitoring.slates import Slates
from segue.monitoring.tallies import GROUPS, Tallies
from segue.monitoring.webhook import Webhook
from segue.storage.journal import Journal

WEEKS = 5


def weeks(seed: int = 3, hours: int = WEEKS * 168, fault_from: int | None = None, **fault: object) -> Days:
    """Plays of every hour and some slates; from an hour on with a fault."""
    rng, log = np.random.default_rng(seed), Days()
    for hour in range(hours):
        off = fault if fault_from is not None and hour >= fault_from else {}
        events = hour_of_events(rng, hour, finished=0.6 * float(str(off.get("finished", 1.0))))
        if "timeless" in off:
            events["played_s"][::2] = np.nan
        if "region" in off:
            hit = (events["region"] == 1) & (rng.random(len(events)) < 0.3)
            events["played_s"][hit] = 10
        if "gone" not in off:
            log.append(events)
        for _ in range(2 if hour >= hours - 16 * 24 else 0):
            sources = ("popular", "fresh") if "silent" in off else ("als", "popular", "fresh")
            made = slate(rng, MONDAY + hour * HOUR_MS + 1, len(log.shown) + 1, sources=sources, heard="constant" not in off)
            log.shown.append(made)
    return log


def watched(log: Days, now: int, **around: object) -> tuple[Monitor, dict[str, Signal]]:
    monitor = Monitor(log, Ledger(Record()), Around(**around))  # type: ignore[arg-type]
    told = monitor.tick(now)
    return monitor, {alarm.signal.key: alarm.signal for alarm in told}


END = MONDAY + WEEKS * 7 * DAY_MS - HOUR_MS // 2


def test_nothing_is_off_when_nothing_is() -> None:
    monitor, told = watched(weeks(), END)
    assert told == {}
    status = monitor.status(END)
    assert status["alarms"] == []
    assert status["behind"] == 0
    share = next(m for m in status["metrics"] if m["metric"] == "listened_share")
    assert share["days"][-2]["value"] == pytest.approx(share["days"][-2]["expected"], rel=0.08)
    msgspec.json.encode(status)


def test_a_worse_share_is_found_and_its_reference_tells_whether_the_world_changed() -> None:
    def of(users: Int32) -> Bool:
        return users % 4 == 0

    log = weeks(fault_from=4 * 168 + 48, finished=0.85)
    _, told = watched(log, END, reference=of)
    assert told["metric/listened_share"].level == "alarm"
    assert "the world changed" in told["metric/listened_share"].words
    assert abs(told["metric/listened_share"].since - (MONDAY + (4 * 168 + 48) * HOUR_MS)) < 36 * HOUR_MS
    assert told["metric/skip_rate"].value == pytest.approx(0.2, abs=0.1)
    healthy = np.random.default_rng(0)
    for part in log.events:  # the same fall, but the reference listeners never saw it
        mine = of(part["user"]) & (part["played_s"] < 100) & (part["at"] > MONDAY + (4 * 168 + 48) * HOUR_MS)
        heal = mine & (healthy.random(len(part)) < 0.18)
        part["played_s"][heal], part["action"][heal] = 200, 4
    _, told = watched(log, END, reference=of)
    assert "look at the model" in told["metric/listened_share"].words


def test_a_segment_of_its_own() -> None:
    _, told = watched(weeks(fault_from=4 * 168 + 24, region=True), END, names=lambda groups: {("region", 1): "Kerala"})
    assert "segment/listened_share region 1" in told
    assert "Kerala" in told["segment/listened_share region 1"].words
    assert "segment/listened_share region 0" not in told


def test_a_source_that_answers_nothing_is_what_changed_first() -> None:
    monitor = Monitor(weeks(fault_from=WEEKS * 168 - 60, silent=True, finished=0.6), Ledger(Record()))
    told = {alarm.signal.key: alarm for alarm in monitor.tick(END)}
    assert set(told) >= {"source/als", "metric/listened_share"}
    assert "als offers nothing" in told["metric/listened_share"].first
    assert "als" in told["source/als"].signal.look


def test_a_feature_that_turns_constant() -> None:
    _, told = watched(weeks(fault_from=WEEKS * 168 - 60, constant=True), END)
    assert set(told) >= {"feature/times heard", "drift/feature times heard"}
    assert not {key for key in told if "taste" in key}


def test_events_that_stop_and_come_back() -> None:
    log = weeks(fault_from=WEEKS * 168 - 6, gone=True)
    monitor, told = watched(log, END)
    assert told["events/stopped"].level == "alarm"
    assert "no event since" in told["events/stopped"].words
    rng = np.random.default_rng(1)
    for hour in range(WEEKS * 168, WEEKS * 168 + 9):
        log.append(hour_of_events(rng, hour))
        monitor.tick(MONDAY + (hour + 1) * HOUR_MS)
    stopped = next(a for a in monitor.ledger.all() if a.signal.key == "events/stopped")
    assert stopped.closed, "it closes after six quiet hours"


def test_heard_times_that_go_missing() -> None:
    _, told = watched(weeks(fault_from=WEEKS * 168 - 24, timeless=True), END)
    assert told["missing/timeless"].value == pytest.approx(0.5, abs=0.05)


def night(metric: str, value: float, high: float | None = None) -> dict[str, object]:
    return {"model": "radio", "metric": metric, "mean": value, "low": value, "high": value if high is None else high}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"trained_to": END - 8 * DAY_MS}, "model/age"),
        ({"since": [night("ndcg@20", 0.1, 0.12)]}, "model/gap"),
        ({"calibration": {"slope": 0.4}}, "model/calibration"),
        ({"coverage": 0.1, "coverage_before": 0.4}, "model/coverage"),
        ({"overlap": 0.02}, "model/overlap"),
    ],
)
def test_signs_of_the_model(change: dict[str, object], key: str) -> None:
    good: dict[str, object] = {
        "version": "v1", "trained_to": END - DAY_MS, "figures": [night("ndcg@20", 0.2)], "since": [night("ndcg@20", 0.19)],
        "calibration": {"slope": 1.0}, "coverage": 0.4, "coverage_before": 0.4, "overlap": 0.7,
    }  # fmt: skip
    log = Days()
    assert watched(log, END, facts=lambda: Facts(**good))[1] == {}  # type: ignore[arg-type]
    assert set(watched(log, END, facts=lambda: Facts(**{**good, **change}))[1]) == {key}  # type: ignore[arg-type]


def test_churn_is_counted_once_a_day() -> None:
    rng, log = np.random.default_rng(4), Days()
    for hour in range(30 * 24):
        events = hour_of_events(rng, hour, plays=60)
        if hour >= 10 * 24:
            events = events[events["user"] < 200]  # half of them have left for good
        log.append(events)
    monitor = Monitor(log, Ledger(Record()))
    monitor.catch_up(MONDAY + 30 * DAY_MS)
    for day, share in ((10, 0.0), (17, 0.5), (20, 0.0)):
        gone, of = (monitor.tallies.total(c, MONDAY + day * DAY_MS, MONDAY + (day + 1) * DAY_MS) for c in ("gone_7", "of_7"))
        assert of > 150
        assert gone / of == pytest.approx(share, abs=0.02), f"of those of day {day - 8}"


def test_a_tick_reads_no_more_than_its_bounds() -> None:
    from segue.monitoring.monitor import Bounds

    log = weeks(hours=168)
    monitor = Monitor(log, Ledger(Record()), bounds=Bounds(events=5000))
    assert monitor.tick(MONDAY + 7 * DAY_MS) == []
    assert monitor.status(MONDAY + 7 * DAY_MS)["behind"] == log.last - 5000


def test_the_record_lasts_and_one_cause_is_one_alarm(tmp_path: Path) -> None:
    signal = Signal("source", "als", "warning", MONDAY, "als is silent", "the log")
    ledger = Ledger(Journal(tmp_path / "monitoring" / "journal"))
    assert [a.number for a in ledger.hear([signal], MONDAY)] == [0]
    assert ledger.hear([signal], MONDAY + HOUR_MS) == []
    graver = msgspec.structs.replace(signal, level="alarm")
    assert [a.level for a in ledger.hear([graver], MONDAY + 2 * HOUR_MS)] == ["alarm"]
    again = Ledger(Journal(tmp_path / "monitoring" / "journal"))
    assert [(a.number, a.level, a.told) for a in again.open()] == [(0, "alarm", False)]
    assert again.hear([], MONDAY + 3 * HOUR_MS) == [], "a new process waits before it closes"
    again.hear([], MONDAY + 9 * HOUR_MS)
    assert again.open() == []
    assert again.all()[0].closed == MONDAY + 9 * HOUR_MS
    ledger.refresh()
    assert [a.number for a in ledger.hear([signal], MONDAY + 20 * HOUR_MS)] == [1]


class Ear(BaseHTTPRequestHandler):
    """Refuses twice, then listens."""

    heard: ClassVar[list[bytes]] = []
    refusals: ClassVar[int] = 2

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if Ear.refusals:
            Ear.refusals -= 1
            self.send_response(503)
        else:
            Ear.heard.append(body)
            self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def ear(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(webhook, "FIRST_PAUSE_S", 0.01)
    server = HTTPServer(("127.0.0.1", 0), Ear)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    Ear.heard, Ear.refusals = [], 2
    yield f"http://127.0.0.1:{server.server_port}/alarm"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_webhook_tries_until_it_is_heard(ear: str) -> None:
    done = threading.Event()
    hook = Webhook(ear, lambda number: done.set(), lambda reason: None)
    assert hook.send(7, {"words": "als is silent"})
    assert done.wait(10)
    hook.close()
    assert [msgspec.json.decode(body) for body in Ear.heard] == [{"words": "als is silent"}]


def test_what_could_not_be_told_is_told_by_the_next_process(ear: str, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    Ledger(journal).hear([Signal("source", "als", "alarm", MONDAY, "als is silent", "the log")], MONDAY)
    monitor = Monitor(Days(), Ledger(journal))
    monitor.report_to(ear, lambda: END)
    told = threading.Event()
    for _ in range(500):
        if monitor.ledger.all()[0].told:
            break
        told.wait(0.01)
    monitor.close()
    assert Ledger(journal).all()[0].told
    assert msgspec.json.decode(Ear.heard[0])["first"] == "als is silent"


def test_reference_listeners_are_the_same_for_one_and_for_many() -> None:
    users = np.arange(200_000, dtype=np.int32)
    places = spread(users)
    assert abs((places < 0.01).mean() - 0.01) < 0.001
    assert [spread_one(int(u)) for u in users[:500]] == places[:500].tolist()


def test_a_young_log_with_a_quiet_night_raises_nothing() -> None:
    rng, log = np.random.default_rng(2), Days()
    monitor = Monitor(log, Ledger(Record()))
    for hour in range(5 * 24):
        if hour % 24 >= 6:
            log.append(hour_of_events(rng, hour))
        if hour % 24 not in (0, 3, 5):
            continue
        assert not [a for a in monitor.tick(MONDAY + (hour + 1) * HOUR_MS) if a.signal.rule == "events"]


def test_one_cause_is_one_word_however_many_features_it_reaches() -> None:
    def told(many: int) -> Slates:
        class Broken(Slates):
            def constant(self) -> list[tuple[str, int, float]]:
                return [(f"feature {k}", MONDAY + k, 0.0) for k in range(many)]

            def drifts(self, day: int, looks_a_year: float = 365.0) -> list[Drift]:
                return [Drift(f"quantity {k}", day, 1.0 + k, 0.1, 500.0) for k in range(many)]

        return Broken()

    assert [s.subject for s in rules.features(told(3))] == ["feature 0", "feature 1", "feature 2"]
    (one,) = rules.features(told(9))
    assert (one.subject, one.since) == ("several", MONDAY)
    assert one.words.startswith("9 features have one value")
    assert len(rules.drifts(told(3), MONDAY)) == 3
    (one,) = rules.drifts(told(9), MONDAY)
    assert "the furthest first: quantity 8" in one.words


def test_what_all_songs_of_a_slate_share_is_no_constant_feature() -> None:
    slates, rng = Slates(), np.random.default_rng(5)
    for n in range(700):
        evening = n >= 450  # the hour is a feature of the moment: an evening is no fault
        rows = np.column_stack([np.full(5, float(evening)), rng.normal(size=5) if n < 450 else np.zeros(5)])
        at = MONDAY + n * HOUR_MS // 5
        made = Slate(n + 1, np.arange(5, dtype=np.int32), np.ones(5, np.float32), np.ones(5, np.float32), (("als",),) * 5,
                     ("",) * 5, np.zeros(5, np.bool_), "radio", {}, "personal")  # fmt: skip
        slates.add(Exposure(made, n, at, 0, "radio", -1, rows.astype(np.float32), ("evening", "taste")))
    assert [name for name, _, _ in slates.constant()] == ["taste"]
    before = len(slates._last)
    new = replace(made, model_versions={"experiment:x": "new"})
    slates.add(Exposure(new, 1, at + 1, 0, "radio", -1, np.zeros((5, 2), np.float32), ("evening", "taste")))
    assert len(slates._last) == before == 200
    assert slates._last[-1].at == at


def test_quantities_of_models_of_long_ago_are_forgotten() -> None:
    slates, rng = Slates(), np.random.default_rng(5)
    for day in range(120):  # a night each brings a model
        for n in range(3):
            rows = rng.normal(size=(5, 1)).astype(np.float32)
            told = (("als",),) * 5, ("",) * 5, np.zeros(5, np.bool_), "radio", {"bundle": f"v{day}"}, "personal"
            made = Slate(3 * day + n + 1, np.arange(5, dtype=np.int32), np.ones(5, np.float32), np.ones(5, np.float32), *told)
            slates.add(Exposure(made, n, MONDAY + day * DAY_MS + n, 0, "radio", -1, rows, ("taste",)))
    assert {"rung", "sources", "feature taste", "score of v119"} <= slates.shapes.keys()
    assert len(slates.shapes) < 40, "and the share of false alarms is not spread over models that are gone"
    assert len(slates._offered["als"]) < 40
    assert slates.share("als", 120 + MONDAY // DAY_MS) == 1.0
    empty = replace(made, items=made.items[:0], scores=made.scores[:0], propensities=made.propensities[:0], sources=(),
                    reasons=(), explored=made.explored[:0])  # fmt: skip
    for n in range(50):
        slates.add(Exposure(empty, n, MONDAY + 119 * DAY_MS + 9 + n, 0, "radio", -1, rows[:0], ("taste",)))
    assert len(slates.shapes["score of v119"].early) == 3, "a slate without songs leaves nothing to wait for"


def test_counters_keep_every_digit_and_a_flood_of_regions_is_bounded() -> None:
    counters = Counters()
    counters.gauge("newest", "Newest event.", lambda: 1_234_567_891.0)
    counters.gauge("share", "A share.", lambda: 0.25)
    counters.observe("/v1/events", 200, 0.0001)
    counters._times["/v1/events"][0] = 123_456_789.0
    text = counters.render()
    assert "segue_newest 1234567891\n" in text
    assert "segue_share 0.25\n" in text
    assert 'segue_request_seconds_bucket{route="/v1/events",le="0.001"} 123456789\n' in text
    assert 'segue_request_seconds_count{route="/v1/events"} 123456789\n' in text

    events = empty_events(300)
    events["at"], events["user"], events["action"] = MONDAY, 1, Action.COMPLETED
    events["region"], events["device"] = np.arange(300), np.arange(300) % 5
    tallies = Tallies()
    for part in (events[:10], events, events[250:]):
        tallies.fold(part)
    kinds = [kind for kind, _ in tallies.groups]
    assert (kinds.count("region"), kinds.count("device")) == (GROUPS, 5)
    assert tallies.total("events", MONDAY, MONDAY + HOUR_MS, ("region", 5)) == 2
