"""Quality in parts on a toy world: segments, days, spreads, and a stored model judged on days after its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from night_toys import DAY_MS, DAYS, N_ITEMS, N_USERS, T0, Counts, First, ListLog, Loved, Ring, walks

from segue.core.errors import NotReady
from segue.core.types import Arrays, Candidates, Query, Users
from segue.evaluation.ranking import METRICS
from segue.features.compute import proven
from segue.ranking.logistic import Logistic
from segue.storage.artifacts.folder import FolderArtifacts
from segue.training import exam
from segue.training.dataset import Held
from segue.training.judged import judge_since
from segue.training.nightly import Recipe, Settings, run_night
from segue.training.people import People
from segue.training.quality import wanted_on
from segue.training.registry import Registry, features_of
from segue.training.report import NightReport, Part

END = T0 + DAYS * DAY_MS


def towns(users: np.ndarray) -> Sequence[str]:
    return ["" if user < 10 else "north" if user % 2 else "south" for user in users.tolist()]


RECIPE = Recipe({"ring": Ring, "loved": Loved}, First, groups={"region": towns})


def settings(folder: Path) -> Settings:
    return Settings(k=10, fewer=(3, 5, 20), workspace=folder / "work")


def night(folder: Path, days: int = DAYS, events: np.ndarray | None = None) -> NightReport:
    log = ListLog(walks() if events is None else events)
    return run_night(
        log, Counts(), FolderArtifacts(folder), RECIPE, settings(folder), now=T0 + days * DAY_MS  # type: ignore[arg-type]
    )  # fmt: skip


def parts(found: list[Part], **wanted: str) -> dict[str, Part]:
    return {p.group: p for p in found if all(getattr(p, name) == value for name, value in wanted.items())}


def test_every_metric_at_every_cutoff_beside_popularity_and_random(tmp_path: Path) -> None:
    report = night(tmp_path)
    told = {(f.model, f.metric) for f in report.figures}
    for model in ("radio", "ring", "loved", "most played", "random"):
        for k in (3, 5, 10):
            assert {(model, f"{metric}@{k}") for metric in METRICS} <= told
            assert (model, f"next hit@{k}") in told
        assert (model, "novelty@10") in told
    assert not any("@20" in metric for _, metric in told), "20 places were never asked for"
    by = {(f.model, f.metric): f for f in report.figures}
    assert by["radio", "recall@3"].mean <= by["radio", "recall@5"].mean <= by["radio", "recall@10"].mean
    assert all(f.low - 1e-12 <= f.mean <= f.high + 1e-12 for f in report.figures if f.users)


def test_segments_are_groups_of_the_same_listeners(tmp_path: Path) -> None:
    report = night(tmp_path)
    found = parts(report.quality.segments, dimension="region", model="radio", metric="ndcg@10")
    assert set(found) == {"north", "south", "not known"}
    assert (found["not known"].users, found["not known"].enough) == (10, False)
    assert (found["north"].users, found["north"].enough) == (55, True)
    whole = next(f for f in report.figures if (f.model, f.metric) == ("radio", "ndcg@10"))
    assert sum(p.mean * p.users for p in found.values()) / N_USERS == pytest.approx(whole.mean)
    assert set(parts(report.quality.segments, dimension="region", model="most played", metric="ndcg@10")) == set(found)


def test_new_listeners_are_told_from_old_ones(tmp_path: Path) -> None:
    events = walks()
    late = (events["user"] < 40) & (events["at"] < T0 + 15 * DAY_MS)
    report = night(tmp_path, events=events[~late])
    found = parts(report.quality.segments, dimension="listening", model="radio", metric="ndcg@10")
    assert sorted((name.split(" ")[0], part.users) for name, part in found.items()) == [("long-term", 80), ("new", 40)]


def test_days_since_training_split_what_was_wanted(tmp_path: Path) -> None:
    report = night(tmp_path)
    days = parts(report.quality.days, model="radio", metric="recall@10")
    assert list(days) == ["0", "1"]
    assert all(part.users == N_USERS for part in days.values())
    moments = parts(report.quality.days, model="radio", metric="next hit@10")
    assert sum(part.users for part in moments.values()) == N_USERS


def test_spreads_tell_one_list_for_all_from_one_for_each(tmp_path: Path) -> None:
    spreads = {s.model: s for s in night(tmp_path).quality.spreads}
    assert spreads["ring"].coverage > 0.9, "everybody stands somewhere else on the ring"
    assert spreads["loved"].coverage < 0.4
    assert spreads["loved"].gini > spreads["ring"].gini
    assert spreads["radio"].lists == N_USERS


def test_what_is_stored_is_what_is_reported(tmp_path: Path) -> None:
    report = night(tmp_path)
    stored = Registry(FolderArtifacts(tmp_path)).bundle().manifest["quality"]
    assert len(stored["segments"]) == len(report.quality.segments)
    assert stored["days"][0]["mean"] == report.quality.days[0].mean


def test_a_stored_model_is_judged_on_days_that_it_has_not_seen(tmp_path: Path) -> None:
    trained = night(tmp_path, days=DAYS - 5)
    store, log = FolderArtifacts(tmp_path), ListLog(walks())
    got = judge_since(log, Counts(), store, RECIPE, trained.version, settings(tmp_path), now=END)  # type: ignore[arg-type]
    assert (got.version, got.data["trained_to_ms"]) == (trained.version, T0 + (DAYS - 5) * DAY_MS)
    assert list(parts(got.quality.days, model="radio", metric="recall@10")) == ["0", "1", "2", "3", "4"]
    by = {(f.model, f.metric): f.mean for f in got.figures}
    assert by["radio", "next hit@5"] > 0.75
    assert by["radio", "next hit@5"] > by["most played", "next hit@5"] + 0.3
    assert Registry(store).version() == trained.version, "judging moves no alias"


def test_judging_knows_nothing_from_after_a_moment(tmp_path: Path) -> None:
    """What comes after the last event asked about changes no figure."""
    trained = night(tmp_path, days=DAYS - 5)
    now = T0 + (DAYS - 3) * DAY_MS
    cut_short = walks()[walks()["at"] < now]
    got = [
        judge_since(ListLog(e), Counts(), FolderArtifacts(tmp_path), RECIPE, trained.version, settings(tmp_path), now=now)  # type: ignore[arg-type]
        for e in (walks(), cut_short)
    ]
    assert got[0].figures == got[1].figures


class Factors(Ring):
    """The ring, with vectors as features ask them of `als`."""

    name: ClassVar[str] = "als"

    def arrays(self) -> Arrays:
        rng = np.random.default_rng(0)
        sizes = {"users": N_USERS, "items": N_ITEMS}
        return {"counts": self.counts_, **{name: rng.normal(size=(n, 4)).astype(np.float32) for name, n in sizes.items()}}

    def load(self, arrays: Mapping[str, np.ndarray]) -> Factors:
        self.counts_ = arrays["counts"]
        return self


class Watching(Logistic):
    """Keeps the rows that it was asked to score."""

    seen: ClassVar[list[np.ndarray]] = []

    def score(self, query: Query, candidates: Candidates, rows: np.ndarray) -> np.ndarray:
        self.seen.append(rows)
        return super().score(query, candidates, rows)


def test_a_stored_model_is_judged_in_its_own_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model that learned from vectors and from more groups than are usual: they were zeros, or the wrong number, once."""
    monkeypatch.setattr(exam, "good_enough", lambda *given: (True, "logistic: whatever it is worth"))
    monkeypatch.setattr(exam, "gain", lambda *given: 1.0)
    users = Users.unknown(N_USERS)
    users.age_band[:] = np.arange(N_USERS) % 3
    recipe = replace(
        RECIPE,
        sources={"als": Factors, "loved": Loved},
        learned=Watching,
        people=lambda: People(users),
        columns=lambda sources: proven(sources, ("audience", "hours")),
    )
    store, log = FolderArtifacts(tmp_path), ListLog(walks())
    now = T0 + (DAYS - 5) * DAY_MS
    trained = run_night(log, Counts(), store, recipe, settings(tmp_path), now=now)  # type: ignore[arg-type]
    assert trained.ranker == "logistic"
    Watching.seen.clear()
    judge_since(log, Counts(), store, recipe, trained.version, settings(tmp_path), now=END)  # type: ignore[arg-type]
    rows = np.concatenate(Watching.seen)
    names = features_of(Registry(store).bundle()).names
    assert rows.shape[1] == len(names)
    for name in ("vector_user", "vector_last", "age_match", "hour_plays", "day_plays"):
        assert rows[:, names.index(name)].any(), name


def test_nothing_since_training_says_so(tmp_path: Path) -> None:
    trained = night(tmp_path)
    with pytest.raises(NotReady, match="nobody it could know"):
        judge_since(
            ListLog(walks()), Counts(), FolderArtifacts(tmp_path), RECIPE, trained.version, settings(tmp_path), now=END  # type: ignore[arg-type]
        )  # fmt: skip


def test_wanted_on_leaves_out_other_days_others_and_what_was_refused() -> None:
    held = Held(
        np.arange(6, dtype=np.int64),
        np.array([1, 1, 1, 1, 3, 4], np.int32),
        np.array([9, 9, 5, 7, 8, 2], np.int32),
        np.zeros(6, np.uint32),
        np.array([1, 1, -1, 1, 1, 1], np.int8),
    )
    ptr, relevant = wanted_on(held, np.array([1, 2, 3], np.int32), np.array([1, 1, 1, 0, 1, 1], np.bool_))
    assert ptr.tolist() == [0, 1, 1, 2]
    assert relevant.tolist() == [9, 8]


def test_cutoffs_end_with_the_one_that_decides() -> None:
    assert Settings().cutoffs == (5, 10, 20)
    assert replace(Settings(), k=5).cutoffs == (5,)
