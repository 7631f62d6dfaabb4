"""The ramp: bad models come back, neutral ones are left alone, good ones ship, and a kill at any step loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import msgspec
import numpy as np
import pytest

from segue.cli import main
from segue.core.errors import BadInput, Corrupt, NotFound
from segue.experiments.assignment import ARMS, NEW, OLD
from segue.experiments.book import Book, Experiment
from segue.experiments.desk import Desk
from segue.experiments.health import GROUPS, Answers, broken, compared, told, watch
from segue.experiments.looking import Look, decided, found, next_look, take
from segue.experiments.metrics import DAY_MS, SUMS, Assigned, Table
from segue.experiments.plan import LATER, RAMP, Plan, Step, Treatment, checked, read_plan
from segue.experiments.ramp import Move, Seen, State, Watched, after, move
from segue.experiments.report import verdict
from segue.experiments.runner import seen
from segue.storage.journal import Journal

PLAN = Plan(
    name="challenger-1", hypothesis="more of what is recommended is heard to the end", new=Treatment("challenger"),
    guardrails=("skip_rate",), users=1000, looks=4, before_days=0.0,
    ramp=tuple(msgspec.structs.replace(step, users=60) for step in RAMP),
)  # fmt: skip
DAILY = 2000  # listeners who come for the first time in a step, a day
START = 1_700_000_000_000


def step_table(rng: np.random.Generator, share: float, lift: float, days: int, start: int) -> Table:
    """Two arms of one step: a share of DAILY each a day, who finish 60 % of some thirty songs (new: with the lift)."""
    n = int(DAILY * share * days) * 2
    arm = np.tile([ARMS.index(OLD), ARMS.index(NEW)], n // 2).astype(np.int8)
    first = start + np.sort(rng.integers(0, days * DAY_MS, n))
    plays = rng.poisson(30, n) + 1
    taste = rng.beta(30, 20, n) * np.where(arm == ARMS.index(NEW), 1 + lift, 1.0)
    finished = rng.binomial(plays, np.minimum(taste, 1.0))
    inside = np.zeros((n, len(SUMS)))
    for name, values in {"one": 1, "plays": plays, "asked": plays, "asked_finished": finished, "finished": finished,
                         "skipped": rng.binomial(plays - finished, 0.5)}.items():  # fmt: skip
        inside[:, SUMS.index(name)] = values
    keys = np.zeros(0, np.uint64)
    return Table(
        Assigned(np.arange(n, dtype=np.int32), arm, first, keys, keys.astype(np.int64)),
        inside,
        np.broadcast_to(0.0, inside.shape),
    )


def ramp(rng: np.random.Generator, lift: float) -> tuple[str, int]:
    """How a whole experiment ends, and at which step, with a tick a day."""
    experiment = Experiment(0, PLAN, State(since=START), START, steps=(START,))
    now, table = START, step_table(rng, 0.0, lift, 1, START)
    while True:
        now += DAY_MS
        step = PLAN.ramp[experiment.state.step]
        so_far = int(np.searchsorted(table.who.first, now))
        past = replace(table, who=shown(table.who, so_far), inside=table.inside[:so_far], before=table.before[:so_far])
        closed = found(PLAN, past, "listened_share", now) if step.decides else None
        if closed and next_look(PLAN, experiment.looks, closed.users):
            look = take(PLAN, past, now)
            assert look is not None
            experiment = replace(experiment, looks=(*experiment.looks, look))
        # the rest of the listeners are not drawn here, so the shares are not those planned: test_engine.py tests that test
        told = msgspec.structs.replace(seen(experiment, past, now, now, ""), mismatch_p=1.0)
        taken = move(PLAN, experiment.state, told)
        state = after(PLAN, experiment.state, taken, now)
        if state.ended or state.step == 4 or now > START + 45 * DAY_MS:
            return state.ended, state.step
        if state.step != experiment.state.step:
            table = step_table(rng, PLAN.ramp[state.step].new, lift, {1: 40, 2: 30}.get(state.step, 12), now)
            experiment = replace(experiment, steps=(*experiment.steps, now))
        experiment = replace(experiment, state=state)


def shown(who: Assigned, n: int) -> Assigned:
    return Assigned(who.user[:n], who.arm[:n], who.first[:n], who.unit_key, who.unit_row)


def test_of_500_bad_models_nearly_all_are_rolled_back_before_a_quarter_of_the_traffic() -> None:
    ends = [ramp(np.random.default_rng([91, k]), -0.05) for k in range(500)]
    print("bad models, (how it ended, at which step):", Counter(ends))
    back = sum(how == "rolled back" and step < 4 for how, step in ends)
    assert back >= 475
    assert sum(step >= 4 for _, step in ends) <= 5, "none goes on"


def test_of_500_neutral_models_few_are_rolled_back() -> None:
    ends = [ramp(np.random.default_rng([92, k]), 0.0) for k in range(500)]
    print("neutral models, (how it ended, at which step):", Counter(ends))
    assert sum(how == "rolled back" for how, _ in ends) <= 25
    assert sum(step >= 4 for _, step in ends) <= 25, "what is no better is not shipped"


def test_good_models_go_on() -> None:
    ends = [ramp(np.random.default_rng([93, k]), 0.05) for k in range(60)]
    assert sum(step >= 4 for _, step in ends) >= 54


SEEN = Seen(START + 8 * DAY_MS, START + 8 * DAY_MS, (5000, 5000), decided="better")
AT = State(step=3, since=START)


def test_forward_only_on_time_users_no_mismatch_and_guardrails() -> None:
    assert move(PLAN, AT, SEEN).kind == "forward"
    change = msgspec.structs.replace
    assert move(PLAN, AT, change(SEEN, now=START + 6 * DAY_MS, newest=START + 6 * DAY_MS)).kind == "stay"
    assert move(PLAN, AT, change(SEEN, users=(5000, 10))).kind == "stay"
    assert move(PLAN, AT, change(SEEN, decided="")).kind == "stay"
    assert move(PLAN, AT, change(SEEN, decided="no difference")).kind == "finish"
    assert move(PLAN, AT, change(SEEN, decided="worse")).kind == "back"
    assert move(PLAN, AT, change(SEEN, watched=(Watched("skip_rate", 0.03, -0.1, 0.2),))).kind == "stay"
    assert move(PLAN, AT, change(SEEN, watched=(Watched("skip_rate", 0.03, 0.001, 0.2),))).kind == "back"
    assert move(PLAN, AT, change(SEEN, broken="60 of 100 answers failed")).kind == "back"
    held = move(PLAN, AT, change(SEEN, mismatch_p=1e-4))
    assert held.kind == "hold"
    state = after(PLAN, AT, held, SEEN.now)
    assert move(PLAN, state, SEEN).kind == "stay", "a mismatch waits for a person"
    assert move(PLAN, state, change(SEEN, broken="errors")).kind == "back", "harm comes before everything"
    stale = after(PLAN, AT, move(PLAN, AT, change(SEEN, newest=START)), SEEN.now)
    assert stale.held.startswith("stale data")
    assert move(PLAN, stale, SEEN).kind == "release", "events arrive again"
    assert move(PLAN, State(step=6, since=0), SEEN).kind == "finish"


def test_looks_decide_at_their_boundaries_and_holm_guards_several_primaries() -> None:
    def at(*zs: float, plan: Plan = PLAN) -> str:
        looks = [Look(k, 500 * (k + 1), dict.fromkeys(plan.primary, z)) for k, z in enumerate(zs)]
        return decided(plan, looks)

    assert at(3.0) == "", "the first of four looks asks for 4.3"
    assert at(4.5) == "better"
    assert at(-4.5) == "worse"
    assert at(0, 0, 0, 2.1) == "better"
    assert at(0, 0, 0, 1.96) == "no difference"
    two = msgspec.structs.replace(PLAN, primary=("listened_share", "songs"))
    assert decided(two, [Look(0, 2000, {"listened_share": 2.1, "songs": 0.0})] * 4) == "no difference", "2.1 is not alpha / 2"
    assert decided(two, [Look(0, 2000, {"listened_share": 9.0, "songs": -2.3})] * 4) == "worse", "the second at all of alpha"
    exact = msgspec.structs.replace(PLAN, decision="precision", half_width=0.02)
    assert decided(exact, [Look(0, 2000, {"listened_share": 5.0}, 0.03)]) == ""
    assert (
        decided(exact, [Look(0, 2000, {"listened_share": 5.0}, 0.03), Look(1, 4000, {"listened_share": 2.0}, 0.019)])
        == "better"
    )
    lucky = Look(0, 150, {"listened_share": 5.0}, 0.001)
    assert decided(exact, [lucky]) == "", "an interval that is narrow by luck stops nothing before 200 have come"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"primary": ["daily_active"]}, "primary"), ({"guardrails": ["joy"]}, "guardrails"), ({"alpha": 0.7}, "alpha"),
        ({"ramp": [{"new": 0.5, "old": 0.6, "decides": True}]}, "ramp"), ({"ramp": [{"new": 0.1, "old": 0.1}]}, "ramp"),
        ({"ramp": [{"new": 0.2, "old": 0.1, "decides": True}, {"new": 0.1, "old": 0.1}]}, "ramp"), ({"name": "A b"}, "name"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_hold_is_refused(change: dict[str, object], field: str) -> None:
    with pytest.raises(BadInput) as error:
        read_plan({**msgspec.to_builtins(PLAN), **change})
    assert str(error.value.field).startswith(field)


def test_a_daily_snapshot_is_refused_with_the_reason() -> None:
    with pytest.raises(BadInput, match="computed anew every day"):
        checked(msgspec.structs.replace(PLAN, guardrails=("daily_share",)))


def test_the_book_locks_what_was_promised(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "book")
    book = Book(journal)
    book.start(PLAN, START)
    with pytest.raises(BadInput, match="used by an earlier"):
        book.start(PLAN, START)
    with pytest.raises(BadInput, match="is taken by"):
        book.start(msgspec.structs.replace(PLAN, name="another"), START)
    with pytest.raises(NotFound, match="challenger-1"):
        book.get("unknown")
    other = Book(journal)
    assert other.moved(PLAN.name, Move("forward", "time"), START + 1)
    assert not book.moved(PLAN.name, Move("forward", "time"), START + 1), "somebody wrote in between: look again"
    assert book.get(PLAN.name).state.step == 1
    book.stop(PLAN.name, "enough", START + 2)
    assert not other.get(PLAN.name).state.ended
    assert other.refresh()
    assert other.get(PLAN.name).state.ended == "stopped"
    line = (tmp_path / "book").read_bytes()
    (tmp_path / "book").write_bytes(line.replace(b'"users":1000', b'"users":1001', 1))
    with pytest.raises(Corrupt):
        Book(journal)


KILLED = """
import sys
from pathlib import Path
from segue.experiments.book import Book
from segue.experiments.ramp import Move
from segue.storage.journal import Journal
book = Book(Journal(Path(sys.argv[1])))
at = book.get("challenger-1").state.since
print("ready", flush=True)
for _ in range(10_000):
    at += 1
    kind = "hold" if not book.get("challenger-1").state.held else "release"
    assert book.moved("challenger-1", Move(kind, "x" * 200), at)
    print(at, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_it_said_and_invents_nothing(tmp_path: Path) -> None:
    Book(Journal(tmp_path / "book")).start(PLAN, START)
    for k in range(3):
        command = [sys.executable, "-c", KILLED, str(tmp_path / "book")]
        where = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=where) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            lines = [child.stdout.readline() for _ in range(3 + 7 * k)]
            child.send_signal(signal.SIGKILL)
            said = [*lines, *child.stdout.read().splitlines(keepends=True)]
        told = [int(line) for line in said if line.endswith("\n")]
        times = {entry.at for entry in Book(Journal(tmp_path / "book")).get(PLAN.name).trail}
        assert set(told) <= times


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_record_cut_off_at_any_byte_never_happened(tmp_path: Path, cut: int) -> None:
    journal = Journal(tmp_path / "book")
    book = Book(journal)
    book.start(PLAN, START)
    book.moved(PLAN.name, Move("forward", "time"), START + 1)
    data = (tmp_path / "book").read_bytes()
    (tmp_path / "book").write_bytes(data[:-cut])
    again = Book(journal)
    assert again.get(PLAN.name).state.step == 0
    assert again.moved(PLAN.name, Move("forward", "time"), START + 2)
    assert Book(journal).get(PLAN.name).state == State(step=1, since=START + 2)


def test_the_desk_serves_what_runs_and_writes_each_first_influence_once(tmp_path: Path) -> None:
    book = Book(Journal(tmp_path / "book"))
    desk = Desk(b"k" * 32)
    assert not desk
    book.start(PLAN, START)
    desk.take(book.all())
    assert not desk, "the shadow step serves nobody"
    for k in range(3):
        book.moved(PLAN.name, Move("forward", "time"), START + k)
    desk.take(book.all())
    arms = [desk.ask(f"u{n}", None, "r")[0].arm for n in range(4000)]
    assert 320 <= arms.count(NEW) <= 480
    assert 320 <= arms.count(OLD) <= 480
    told = desk.ask("u1", None, "r")
    assert desk.first(told[0])
    assert not desk.first(told[0])
    desk.forget(told[0])
    assert desk.first(told[0])
    assert desk.treatment(told) == ((PLAN.new,) if told[0].arm == NEW else ())
    book.stop(PLAN.name, "", START)
    desk.take(book.all())
    assert desk.ask("u1", None, "r") == ()


def rows(**counts: tuple[int, int]) -> dict[str, Answers]:
    return {arm: Answers(n, failed) for arm, (n, failed) in counts.items()}


def test_the_breaker_opens_on_certain_errors_only() -> None:
    assert broken(rows(old=(900, 9), rest=(5000, 50), new=(200, 60))).startswith("60 of 200 answers failed under new")
    assert not broken(rows(old=(900, 9), rest=(5000, 50), new=(200, 8)))
    assert not broken(rows(old=(0, 0), rest=(0, 0), new=(10, 10))), "too few to be certain"
    assert not broken(rows(old=(900, 300), rest=(5000, 1700), new=(200, 70))), "everybody fails: not the new arm's fault"
    late = {"old": Answers(900, 0, 9), "new": Answers(200, 0, 60)}
    assert broken(late) == "60 of 200 answers came late under new, 9 of 900 under old"
    rng = np.random.default_rng(94)
    bad = rng.binomial(1, 0.01, (300, 2000)).cumsum(axis=1)
    cries = sum(
        any(broken(rows(old=(2000, 20), rest=(0, 0), new=(n + 1, int(run[n])))) for n in range(49, 2000, 50)) for run in bad
    )
    assert cries == 0


def test_more_trouble_than_the_margin_holds_the_way_forward_though_it_is_not_certain() -> None:
    slow = {"old": Answers(1000, 0, 10), "rest": Answers(), "new": Answers(1000, 0, 50)}
    assert not broken(slow)
    failed, late = watch(slow)
    assert (failed.harm, late.metric, round(late.harm, 6)) == (0.0, "share of answers late", 0.04)
    taken = move(PLAN, AT, msgspec.structs.replace(SEEN, watched=watch(slow)))
    assert (taken.kind, taken.why.split(" looks")[0]) == ("stay", "share of answers late")
    assert move(PLAN, AT, msgspec.structs.replace(SEEN, watched=watch(rows(old=(1000, 10), new=(1000, 12))))).kind == "forward"
    assert watch(rows(old=(1000, 10), new=(10, 10))) == (), "too few to say anything"


def answered(rng: np.random.Generator, listeners: int, *, bad: float, slow: float = 1.0, first: int = 0) -> Answers:
    """Answers to listeners each of whom asks often, is late always or never, and waits for times of their own."""
    group = (first + np.arange(listeners)) % GROUPS
    n = rng.geometric(0.02, listeners)
    late = n * (rng.random(listeners) < bad)
    micros = (slow * n * rng.lognormal(8.3, 0.5, listeners)).astype(np.int64)
    columns = [np.bincount(group, values, GROUPS).astype(np.int64) for values in (n, 0 * n, late, micros)]
    return Answers(int(n.sum()), 0, int(late.sum()), groups=np.column_stack(columns).ravel().tolist())


def test_answers_to_one_listener_are_alike_and_the_clustered_error_knows_it() -> None:
    rng, wrong, naive = np.random.default_rng(97), 0, 0
    for _ in range(150):
        arms = {OLD: answered(rng, 150, bad=0.2), NEW: answered(rng, 150, bad=0.2, first=150)}
        late = next(one for one in watch(arms) if one.metric.endswith("late"))
        wrong += abs(late.harm) > 1.96 * late.se
        p = late.harm, sum(row.late / row.n * (1 - row.late / row.n) / row.n for row in arms.values()) ** 0.5
        naive += abs(p[0]) > 1.96 * p[1]
        assert not broken(arms)
    assert wrong <= 16, "5 % within chance"
    assert naive >= 100, "the negative control: answers taken for independent cry wolf"


def test_a_slower_arm_waits_beyond_its_margin_and_the_plan_sets_it() -> None:
    rng = np.random.default_rng(98)
    arms = {OLD: answered(rng, 800, bad=0.0), NEW: answered(rng, 800, bad=0.0, slow=1.6, first=800)}
    told_apart = compared(arms)["mean time of an answer"]
    assert told_apart["low"] > 0.25
    assert told_apart["low"] < 0.6 < told_apart["high"]
    taken = move(PLAN, AT, msgspec.structs.replace(SEEN, watched=watch(arms, PLAN.slower)))
    assert (taken.kind, taken.why.split(" looks")[0]) == ("stay", "mean time of an answer")
    patient = msgspec.structs.replace(PLAN, slower=1.0)
    assert move(patient, AT, msgspec.structs.replace(SEEN, watched=watch(arms, patient.slower))).kind == "forward"
    assert not broken(arms), "slow is no reason to go back by itself"


def test_what_looks_worse_and_is_never_certain_does_not_wait_for_ever() -> None:
    worse = Watched("skip_rate", 0.08, -0.02, 0.2, 0.03)
    for days, kind in ((29, "stay"), (36, "finish")):
        sight = msgspec.structs.replace(SEEN, now=AT.since + days * DAY_MS, newest=AT.since + days * DAY_MS, watched=(worse,))
        assert move(PLAN, AT, sight).kind == kind
    ended = after(PLAN, AT, move(PLAN, AT, sight), sight.now)
    assert ended.ended == "finished", "old stays; nothing ships by waiting"


def test_plans_of_before_keep_their_lock() -> None:
    plain = msgspec.json.decode(msgspec.json.encode(PLAN, order="deterministic"))
    for later in LATER:
        del plain[later]
    assert PLAN.lock() == blake2b(msgspec.json.encode(plain), digest_size=16).hexdigest()
    assert msgspec.structs.replace(PLAN, slower=0.25).lock() != PLAN.lock()


def test_answers_are_counted_by_arm_told_by_quantile_and_outlive_the_process(tmp_path: Path) -> None:
    book, desk = Book(Journal(tmp_path / "book")), Desk(b"k" * 32)
    book.start(PLAN, START)
    for k in range(3):
        book.moved(PLAN.name, Move("forward", "time"), START + k)
    desk.take(book.all())
    for n in range(2000):
        asked = desk.ask(f"u{n}", None, "r")
        new = asked[0].arm == NEW
        desk.answered(asked, failed=new and n % 2 == 0, late=new, seconds=0.1 if new else 0.003)
    health = desk.health(0, 3)
    assert sum(row.n for row in health.values()) == 2000
    assert health[NEW].late == health[NEW].n == sum(health[NEW].times)
    said = told(health)
    assert 3.0 <= (said[OLD]["p50_ms"] or 0) <= 3.6
    assert 100 <= (said[NEW]["p95_ms"] or 0) <= 120
    assert said[NEW]["late"] == 1.0
    again = Desk(b"k" * 32)
    again.recall(desk.kept())
    assert again.health(0, 3) == health
    again.recall(b"torn")
    assert again.health(0, 3) == health, "what cannot be read counts as nothing"
    assert broken(health)
    book.stop(PLAN.name, "", START)
    desk.take(book.all())
    assert desk.kept() == b"{}", "what has ended is not kept"


def test_what_shipped_is_written_down_and_its_model_is_kept_until_then(tmp_path: Path) -> None:
    book = Book(Journal(tmp_path / "book"))
    last = msgspec.structs.replace(PLAN, new=Treatment("0123456789abcdef"))
    book.start(last, START)
    assert book.versions() == {"0123456789abcdef"}
    for k in range(6):
        book.moved(PLAN.name, Move("forward", "time"), START + k)
    book.moved(PLAN.name, Move("finish", "the last step is done: ship it"), START + 9)
    assert book.get(PLAN.name).to_ship
    assert book.versions() == {"0123456789abcdef"}, "a kill before it is promoted must find it there"
    assert book.shipped(PLAN.name, "it is the champion now", START + 10)
    again = Book(Journal(tmp_path / "book"))
    assert not again.get(PLAN.name).to_ship
    assert again.versions() == set()
    assert verdict(again.get(PLAN.name)) == "Shipped: the last step is done: ship it. it is the champion now."


def test_a_word_of_a_person_is_not_lost_when_another_process_wrote_first(tmp_path: Path) -> None:
    one, other = (Book(Journal(tmp_path / "book")) for _ in range(2))
    one.start(PLAN, START)
    other.refresh()
    one.looked(PLAN.name, Look(START + 1, 10, {"listened_share": 0.5}))
    assert not other.stop(PLAN.name, "", START + 2).running
    second = msgspec.structs.replace(PLAN, name="second", layer="other")
    assert one.start(second, START + 3).running, "the stop of the other process stands between"
    one.moved("second", Move("hold", "doubt"), START + 4)
    other.refresh()
    one.looked("second", Look(START + 5, 10, {"listened_share": 0.5}))
    assert other.resume("second", "", START + 6).state.held == ""
    with pytest.raises(BadInput, match="is taken by 'second'"):
        Book(Journal(tmp_path / "book")).start(msgspec.structs.replace(second, name="third"), START + 7)


def test_a_plan_made_of_whole_numbers_reads_back_as_it_was_locked(tmp_path: Path) -> None:
    plan = msgspec.structs.replace(PLAN, window_days=2, ramp=(Step(0.5, 0.5, days=7, decides=True),))
    assert Book(Journal(tmp_path / "book")).start(plan, START).plan.ramp[0].days == 7
    assert Book(Journal(tmp_path / "book")).get(plan.name).plan.window_days == 2


@pytest.mark.parametrize("wrong", [("--mean", "nan"), ("--sd", "inf"), ("--lift", "1e-200"), ("--looks", "0")])
def test_numbers_that_cannot_be_planned_with_are_refused_in_words(
    wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    told = {"--mean": ".6", "--sd": ".3", "--lift": ".02", "--daily-users": "5000"} | dict([wrong])
    assert main(["experiment", "plan", *(part for pair in told.items() for part in pair)]) == 2
    assert "expected a positive mean" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"stale_hours": float("inf")}, "stale_hours"),
        ({"ramp": (Step(0.5, 0.5, days=float("inf"), decides=True),)}, "ramp.0.days"),
        ({"new": Treatment(radio={"explore": float("nan")})}, "new.radio.explore"),
    ],
)
def test_a_plan_without_end_is_refused_and_the_book_stays_readable(
    change: dict[str, object], field: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=f"^{field}: expected a finite number"):
        Book(Journal(tmp_path / "book")).start(msgspec.structs.replace(PLAN, **change), START)
    assert Book(Journal(tmp_path / "book")).all() == []
