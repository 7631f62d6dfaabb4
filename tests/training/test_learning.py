"""Replayed moments: the past as it was, what came of it, and rows that equal the day's to the bit."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from night_toys import DAY_MS, DAYS, N_ITEMS, N_USERS, T0, Counts, First, ListLog, Loved, Ring, walks

from segue.core.evidence import union
from segue.core.types import Arrays, Candidates, Float32, History, Items, Query, Recent, Scored, Users
from segue.features.compute import EXTRA, Features, proven, remember
from segue.features.wide import Around
from segue.ranking.boosting import Boosting
from segue.ranking.logistic import Logistic
from segue.storage.artifacts.folder import FolderArtifacts
from segue.storage.online_state.arrays import ArrayState
from segue.training.dataset import build_history, mapped, park, split_by_time
from segue.training.exam import beaten_by, good_enough
from segue.training.hours import ByHour
from segue.training.learning import AHEAD, Past, Popular, examples, learnable
from segue.training.measure import ask
from segue.training.nightly import Recipe, Settings, features_of, ranker_of, run_night
from segue.training.people import People
from segue.training.registry import Registry
from segue.training.replay import days_ahead, eligible, next_play, query_before

CUT = T0 + (DAYS - 2) * DAY_MS
FACTS = replace(
    Items.bare(N_ITEMS),
    artist=(np.arange(N_ITEMS) // 4).astype(np.int32),
    released=(np.arange(N_ITEMS) * 300).astype(np.int32),
    duration_s=(100 + 7 * np.arange(N_ITEMS)).astype(np.float32),
    tags_ptr=np.arange(N_ITEMS + 1, dtype=np.int64) * 2,
    tags=(np.arange(2 * N_ITEMS) % 7).astype(np.int32),
    language=(np.arange(N_ITEMS) % 4 - 1).astype(np.int16),
)
_FACTORS = np.random.default_rng(9).normal(size=(N_USERS + N_ITEMS, 6)).astype(np.float32)
_TABLES = np.random.default_rng(10).normal(size=(N_ITEMS, 5)).astype(np.float32)
AROUND = Around(
    _FACTORS[: N_USERS // 2],
    _FACTORS[N_USERS + 5 :],
    _TABLES[:, :3],
    _TABLES[:, 3:],
    np.array([1, -1, 0], np.int32),
    np.arange(20_001, 20_100, 9, dtype=np.int32),
)
_TOLD = np.random.default_rng(11).integers(-1, 3, (3, N_USERS))
PEOPLE = People(Users(_TOLD[0].astype(np.int16), _TOLD[1].astype(np.int8), _TOLD[2].astype(np.int16)), {0: 330, 2: -60})


def every(sources: Sequence[str]) -> tuple[str, ...]:
    """The columns of every group."""
    return proven(sources, tuple(EXTRA))


def past_of(folder: Path, history: History) -> Past:
    """The past with every column, as the night makes it with every group named."""
    park(history, folder)
    given = {"chosen": every, "around": AROUND, "hours": ByHour.of(mapped(folder), CUT)}
    return Past(folder, FACTS, Popular.of(split_by_time(history, CUT)[0]), ("ring", "loved"), **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def history() -> History:
    log = ListLog(walks())
    end = T0 + DAYS * DAY_MS
    return build_history(log, FACTS, now=end, window_ms=end, n_users=N_USERS, n_items=N_ITEMS)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def past(history: History, tmp_path_factory: pytest.TempPathFactory) -> Past:
    return past_of(tmp_path_factory.mktemp("parked"), history)


def moments(history: History) -> list[Query]:
    held = split_by_time(history, CUT)[1]
    users = eligible(held, history)
    days = days_ahead(history, held, users, CUT, 10).queries
    return [*days, *PEOPLE.asking(next_play(history, held, users, 10, np.random.default_rng(0))).queries]


def test_a_query_knows_only_what_came_before_it(history: History) -> None:
    for query in moments(history):
        row = query.request_id - 1
        assert history.user[row] == query.user
        assert np.all(query.recent.at <= query.now)
        start = int(np.searchsorted(history.user, np.int32(query.user)))
        first = max(start, row - 100)
        assert query.recent.items.tolist() == history.item[first:row][::-1].tolist()
        inside = history.session[first:row][::-1] == query.session - 1
        assert query.recent.in_session.tolist() == inside.tolist()


def test_the_answer_is_new_to_its_session_and_wanted(history: History) -> None:
    held = split_by_time(history, CUT)[1]
    tasks = next_play(history, held, eligible(held, history), 10, np.random.default_rng(0))
    for query, item in zip(tasks.queries, tasks.relevant.tolist(), strict=True):
        row = query.request_id - 1
        assert history.item[row] == item
        assert history.signal[row] == 1
        assert item not in query.recent.items[query.recent.in_session]
        assert query.recent.in_session.any(), "everybody has moments inside a session in this world"


def test_a_moment_in_a_session_is_asked_when_the_play_before_is_over(history: History) -> None:
    held = split_by_time(history, CUT)[1]
    queries = next_play(history, held, eligible(held, history), 10, np.random.default_rng(0)).queries
    paused = 0
    for query in queries:
        row = query.request_id - 1
        assert history.session[row - 1] == history.session[row]
        assert query.now == max(int(history.at[row - 1]) + 1, int(held.at.min())) * 1000
        assert CUT <= query.now < int(history.at[row]) * 1000, "the pause would tell how long the answer is"
        paused += query.now == query.recent.at[0] + 1000
    assert paused > 0.9 * len(queries)


def test_outcomes(history: History, past: Past) -> None:
    for query in moments(history):
        row = query.request_id - 1
        rows = [r for r in range(row, len(history)) if history.user[r] == query.user]
        if query.session:
            rows = [r for r in rows if history.session[r] == query.session - 1][:AHEAD]
        net: dict[int, int] = {}
        for r in rows:
            net[int(history.item[r])] = net.get(int(history.item[r]), 0) + int(history.signal[r])
        items, signal = past.outcome(query)
        assert dict(zip(items.tolist(), signal.tolist(), strict=True)) == {i: int(np.sign(s)) for i, s in net.items()}


def test_the_night_has_the_rows_of_the_day_to_the_bit(history: History, past: Past, tmp_path: Path) -> None:
    """Fold the log up to a moment, ask the state as by day, and compare with the replay of that moment."""
    events = walks()
    features = Features(("ring", "loved"), only=every(("ring", "loved")), around=AROUND)
    assert set(features.names) == set(Features(("ring", "loved")).names), "every column that there is"
    rng = np.random.default_rng(1)
    asked = [query for query in moments(history) if query.session]
    for place, query in enumerate([asked[i] for i in rng.choice(len(asked), 5, replace=False)]):
        with_state = ArrayState(tmp_path / f"state{place}")
        with_state.fold(events[events["at"] < query.now])
        items = np.sort(rng.choice(N_ITEMS, 30, replace=False)).astype(np.int32)
        evidence = rng.normal(size=(30, 2)).astype(np.float32)
        pool = Candidates(items, evidence, ("ring", "loved"))
        at = int(history.at[query.request_id - 1]) * 1000
        by_day = replace(query, recent=_until(with_state, query, at))
        memory = remember(with_state, by_day, items, hourly=features.hourly)
        assert memory.hours is not None
        assert memory.hours.any(), "somebody was there within the day"
        night = past.memory(query, items)
        assert night.times.tolist() == memory.times.tolist()
        assert night.last.tolist() == memory.last.tolist()
        # the live counts decay by the moment, those of the night stand at the cut: the same here, so that only the rest differs
        same = replace(memory, popularity=night.popularity)
        assert past.rows(query, pool).tobytes() == features.rows(by_day, pool, FACTS, same).tobytes()
        with_state.close()


def _until(state: ArrayState, query: Query, at: int) -> Recent:
    """The recent plays as the server would ask for them; the replay keeps 100 rows, so it is cut to what the state keeps."""
    session = walks()["session"][(walks()["user"] == query.user) & (walks()["at"] == at)][0]
    got = state.recent(query.user, int(session))
    assert got.items.tolist() == query.recent.items[: len(got)].tolist()
    assert got.in_session.tolist() == query.recent.in_session[: len(got)].tolist()
    assert got.signal.tolist() == query.recent.signal[: len(got)].tolist()
    return query.recent


def test_popular_by_hand(history: History) -> None:
    got = Popular.of(history).table
    item, life_s = 7, 14 * 86_400
    seen: dict[tuple[int, int], tuple[int, int]] = {}
    fresh = np.zeros(len(history))
    for row, key in enumerate(zip(history.user.tolist(), history.item.tolist(), strict=True)):
        times, last = seen.get(key, (0, 0))
        at = int(history.at[row])
        fresh[row] = max(1 - 0.5 ** ((at - last) / life_s), 0.5**times)
        seen[key] = (times + 1, at)
    assert fresh.min() < 0.3, "some listened again and again"
    mine = history.item == item
    age_s = history.now / 1000 - history.at[mine]
    assert got[item, 1] == pytest.approx(np.log1p((fresh[mine] * np.exp2(-age_s / life_s)).sum()), rel=1e-5)
    mean = ((history.signal + 1) / 2 * fresh).sum() / fresh.sum()
    want = ((fresh * (history.signal + 1) / 2)[mine].sum() + 10 * mean) / (fresh[mine].sum() + 10)
    assert got[item, 0] == pytest.approx(want, rel=1e-5)


def test_examples_are_candidates_and_carry_what_was_thought(history: History, past: Past) -> None:
    before, held = split_by_time(history, CUT)
    tasks = next_play(history, held, eligible(held, history), 10, np.random.default_rng(0))
    ring = Ring().fit(before, np.random.default_rng(0))
    loved = Loved().fit(before, np.random.default_rng(0))
    answers = {s.name: ask(s, tasks.queries, 15, lambda done, total: None) for s in (ring, loved)}
    got = examples(past, answers, tasks, np.random.default_rng(0))
    assert learnable(got, 20)
    listened = played = total = 0
    for place, query in enumerate(tasks.queries):
        pool = union(list(answers), [answers[name][place] for name in answers])
        here = query.recent.items[query.recent.in_session]
        items, signal = past.outcome(query)
        offered = np.isin(items, pool.items) & ~np.isin(items, here)
        if not offered.any():
            continue
        listened += int((signal[offered] > 0).sum())
        played += int((signal[offered] != 0).sum())
        total += int(offered.sum()) + min(50, int((~np.isin(pool.items, items) & ~np.isin(pool.items, here)).sum()))
    assert (int(got.listened.sum()), int(got.played.sum()), len(got.rows)) == (listened, played, total)
    assert np.isfinite(got.rows).all()


def test_shuffling_the_future_changes_no_feature_of_the_past(history: History, past: Past, tmp_path: Path) -> None:
    """What anybody did from the moment of a query on is shuffled: the query and its rows are the same to the bit."""
    rng = np.random.default_rng(5)
    asked = [query for query in moments(history) if query.session]
    for place, query in enumerate([asked[i] for i in rng.choice(len(asked), 5, replace=False)]):
        late = np.flatnonzero(history.at.astype(np.int64) * 1000 >= query.now)
        order = rng.permutation(late)
        item, signal = history.item.copy(), history.signal.copy()
        item[late], signal[late] = history.item[order], -history.signal[order]
        shuffled = replace(history, item=item, signal=signal)
        other = past_of(tmp_path / str(place), shuffled)
        row = query.request_id - 1
        start = int(np.searchsorted(history.user, np.int32(query.user)))
        again = query_before(shuffled, start, row, now=query.now, session=query.session - 1, limit=10)
        again = replace(again, context=query.context)
        pool = Candidates(np.arange(30, dtype=np.int32), rng.normal(size=(30, 2)).astype(np.float32), ("ring", "loved"))
        assert past.rows(query, pool).tobytes() == other.rows(again, pool).tobytes()
        assert past.outcome(query)[1].tolist() != other.outcome(again)[1].tolist(), "the future did change"


def night(folder: Path, learned: type | list[type] | None, **settings: int):  # type: ignore[no-untyped-def]
    return run_night(
        ListLog(walks()),  # type: ignore[arg-type]
        Counts(),  # type: ignore[arg-type]
        FolderArtifacts(folder),
        Recipe({"loved": Loved, "ring": Ring}, First, learned),
        Settings(k=5, **{"seed": 1, **settings}),  # type: ignore[arg-type] # level with `ring` is not enough: a draw with a lead
        now=T0 + DAYS * DAY_MS,
    )


def test_a_ranker_that_proves_itself_takes_over(tmp_path: Path) -> None:
    """The plain ranker trusts the wrong source first; the learned one finds out which is right."""
    report = night(tmp_path, Logistic)
    assert report.ranker == "logistic", report.ranker_reason
    figures = {(f.model, f.metric): f.mean for f in report.figures}
    assert figures["radio", "next hit@5"] > figures["radio by first", "next hit@5"] + 0.3
    assert report.data["test_users"] == N_USERS // 2, "the others were its lessons"
    bundle = Registry(FolderArtifacts(tmp_path)).bundle()
    features = features_of(bundle)
    ranker = ranker_of(bundle, {"logistic": Logistic, "first": First})
    pool = Candidates(np.arange(3, dtype=np.int32), np.ones((3, 2), np.float32), ("loved", "ring"))
    rows = np.zeros((3, len(features.names)), np.float32)
    assert np.isfinite(ranker.score(Query(1, 0, 0), pool, rows)).all()
    facts = bundle.manifest["ranker_facts"]
    assert facts["calibration"]["n"] > 0
    assert set(facts["coefficients"]) == set(features.names)
    again = night(tmp_path, Logistic)
    assert again.opponent == "same recipe"


class Backwards(Logistic):
    """Learns, and then says the opposite."""

    name = "backwards"

    def score(self, query: Query, candidates: Candidates, rows: Float32) -> Float32:
        return -super().score(query, candidates, rows)


def test_one_that_does_not_stays_out_and_the_report_says_why(tmp_path: Path) -> None:
    report = night(tmp_path, Backwards)
    assert report.ranker == "first"
    assert "backwards does not beat loved alone" in report.ranker_reason
    assert "first serves all the same, though ring alone is ahead of it" in report.ranker_reason
    assert "ranker.backwards" not in Registry(FolderArtifacts(tmp_path)).bundle().arrays


def test_of_several_rankers_the_best_that_proves_itself_serves(tmp_path: Path) -> None:
    """Backwards stays out beside logistic, whatever the order; the report and the manifest tell of both."""
    report = night(tmp_path, [Backwards, Logistic])
    assert report.ranker == "logistic"
    assert report.ranker_reason.startswith("logistic: ")
    assert "backwards does not beat loved alone" in report.ranker_reason
    assert {"radio by backwards", "radio by first"} <= {figure.model for figure in report.figures}
    facts = Registry(FolderArtifacts(tmp_path)).bundle().manifest["ranker_facts"]
    assert facts["calibration"] == facts["logistic"]["calibration"]
    assert facts["backwards"]["coefficients"]
    assert set(Registry(FolderArtifacts(tmp_path)).bundle().arrays) == {"loved", "ring", "ranker.logistic"}


def test_a_source_that_is_best_at_one_thing_does_not_beat_a_radio_that_is_good_at_both() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, 500)

    def worth(days: float, moment: float) -> dict[str, np.ndarray]:
        return {"ndcg@5": days + noise, "next hit@5": moment + noise}

    both = {"radio by new": worth(0.29, 0.49), "radio by old": worth(0.25, 0.4)}
    assert good_enough(both | {"a": worth(0.3, 0.2), "b": worth(0.1, 0.5)}, ("new", "old"), ["a", "b"], 5)[0]
    beaten, why = good_enough(both | {"a": worth(0.3, 0.5)}, ("new", "old"), ["a"], 5)
    assert not beaten
    assert why.startswith("old: new does not beat a alone (-")
    assert "beyond noise" in why
    level, why = good_enough(both | {"a": both["radio by new"]}, ("new", "old"), ["a"], 5)
    assert not level, "level is not better"
    assert "within noise" in why
    worse = both | {"radio by new": worth(0.25, 0.39), "a": worth(0.1, 0.1)}
    assert good_enough(worse, ("new", "old"), ["a"], 5)[1].startswith("old: new is not better than it")
    assert beaten_by(both | {"a": worth(0.3, 0.5), "b": worth(0.2, 0.1)}, "old", ["a", "b"], 5) == "a"
    assert beaten_by(worse, "old", ["a"], 5) == ""


def test_too_few_examples(tmp_path: Path) -> None:
    report = night(tmp_path, Logistic, least_examples=10**6)
    assert report.ranker == "first"
    assert "too few" in report.ranker_reason


def test_only_for_reaches_the_trial_and_not_the_last_fit(tmp_path: Path) -> None:
    """A source may skip users whom the trial does not ask about; what is promoted knows everybody."""
    asked: list[int] = []

    class Lists(Ring):
        users: np.ndarray | None = None

        def only_for(self, users: np.ndarray) -> Lists:
            self.users = users
            return self

        def fit(self, history: History, rng: np.random.Generator) -> Lists:
            asked.append(-1 if self.users is None else len(self.users))
            super().fit(history, rng)
            return self

        def arrays(self) -> Arrays:
            return super().arrays()

        def retrieve(self, query: Query, limit: int) -> Scored:
            assert self.users is None or query.user in self.users
            return super().retrieve(query, limit)

    run_night(
        ListLog(walks()),  # type: ignore[arg-type]
        Counts(),  # type: ignore[arg-type]
        FolderArtifacts(tmp_path),
        Recipe({"ring": Lists, "loved": Loved}, First),
        Settings(test_users=30),
        now=T0 + DAYS * DAY_MS,
    )
    assert asked == [30, -1]


@pytest.mark.parametrize(
    "error", [ImportError("No module named 'lightgbm'"), OSError("libgomp.so.1: cannot open shared object")]
)
def test_a_night_without_lightgbm_trains_the_rest_and_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The wheel needs a library that slim machines lack: the import fails, the night does not."""
    real = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name.partition(".")[0] == "lightgbm":
            raise error
        return real(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    report = night(tmp_path, [Boosting, Logistic])
    assert report.ranker == "logistic"
    (note,) = [note for note in report.notes if "boosting" in note]
    assert str(error) in note
    assert "libgomp1" in note
    alone = night(tmp_path, Boosting, force=True)
    assert alone.ranker == "first"
    assert alone.promoted
