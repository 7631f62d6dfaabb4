"""Sources earn their place, and factors begin where the champion's ended, as far as that tells no answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
from night_toys import DAY_MS, DAYS, N_ITEMS, N_USERS, T0, Counts, First, ListLog, Loved, Ring, walks

from segue.candidates.als import Als
from segue.core.types import Arrays, History, Query, Scored
from segue.ranking.logistic import Logistic
from segue.storage.artifacts.folder import FolderArtifacts
from segue.training import election
from segue.training.nightly import Recipe, Settings, run_night
from segue.training.registry import Registry
from segue.training.report import NightReport


class Noise(Ring):
    """Offers what the listener's id and the last song's happen to say."""

    name = "noise"

    def retrieve(self, query: Query, limit: int) -> Scored:
        items = np.random.default_rng([query.user + 1, query.now % 997]).permutation(N_ITEMS)[: min(limit, 10)]
        return Scored(items.astype(np.int32), np.arange(len(items), 0, -1, dtype=np.float32))


class Silent(Ring):
    """Has nothing to say."""

    name = "silent"

    def retrieve(self, query: Query, limit: int) -> Scored:
        return Scored.none()


def night(folder: Path, sources: dict[str, Any], days: int = DAYS, counts: Any = None, **how: Any) -> NightReport:
    kinds = {name: frozenset(how.pop(name, ())) for name in ("elective", "dispensable")}
    return run_night(
        ListLog(walks()),  # type: ignore[arg-type]
        counts or Counts(),
        FolderArtifacts(folder),
        Recipe(sources, First, how.pop("learned", Logistic), **kinds),
        Settings(k=5, **how),
        now=T0 + days * DAY_MS,
    )


def served(folder: Path) -> tuple[list[str], set[str]]:
    """The sources of the champion, and whose arrays it holds."""
    bundle = Registry(FolderArtifacts(folder)).bundle()
    return bundle.manifest["sources"], {name for name in bundle.arrays if not name.startswith("ranker.")}


ALL = {"loved": Loved, "noise": Noise, "silent": Silent, "ring": Ring}


def test_who_carries_something_enters_and_the_others_cost_nothing(tmp_path: Path) -> None:
    report = night(tmp_path, ALL, elective=("ring", "noise", "silent"))
    assert served(tmp_path) == (["loved", "ring"], {"loved", "ring"})
    note = next(note for note in report.notes if note.startswith("what the radio gains by a source"))
    assert "ring kept (+" in note
    assert "noise left out" in note
    assert "silent left out (+0.0%" in note
    assert "noise" not in report.hyperparameters
    assert {f.model for f in report.figures} >= {"noise", "ring"}, "what was left out is told all the same"
    assert "noise: fit on everything" not in {phase.name for phase in report.phases}
    again = night(tmp_path, ALL, elective=("ring", "noise", "silent"))
    assert (again.opponent, again.promoted) == ("same recipe", True)


def test_who_carries_little_leaves_and_the_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(election, "LEAST_GAIN", 0.1)  # on so few listeners chance gives noise a few percent
    night(tmp_path, ALL, dispensable=("ring", "noise", "silent"))
    assert served(tmp_path)[0] == ["loved", "ring"]


def test_where_nothing_can_be_shown_who_is_there_stays_and_who_is_not_stays_out(tmp_path: Path) -> None:
    for folder, how in (("few", {"least_users": 10**6}), ("plain", {"learned": None})):
        report = night(tmp_path / folder, ALL, elective=("noise",), dispensable=("ring", "silent"), **how)
        assert served(tmp_path / folder)[0] == ["loved", "silent", "ring"]
        assert any("too few listeners to tell" in note for note in report.notes)


class Begun(Loved):
    """Remembers what it was begun from, and when."""

    begun: ClassVar[list[tuple[int, int]]] = []

    def __init__(self) -> None:
        self.from_: Mapping[str, np.ndarray] | None = None

    def warm_start(self, arrays: Mapping[str, np.ndarray]) -> Self:
        self.from_ = arrays
        return self

    def fit(self, history: History, rng: np.random.Generator) -> Self:
        Begun.begun.append((history.now, -1 if self.from_ is None else len(self.from_["counts"])))
        return super().fit(history, rng)


def test_a_fit_begins_from_the_champion_unless_that_knows_the_answers(tmp_path: Path) -> None:
    Begun.begun.clear()
    night(tmp_path, {"loved": Begun}, days=DAYS - 1)
    assert [size for _, size in Begun.begun] == [-1, -1]
    Begun.begun.clear()
    night(tmp_path, {"loved": Begun}, least_users=20, counts=Counts(N_USERS + 5, N_ITEMS + 7))
    assert Begun.begun == [(T0 + (DAYS - 1) * DAY_MS, N_ITEMS), (T0 + DAYS * DAY_MS, N_ITEMS)]
    Begun.begun.clear()
    night(tmp_path, {"loved": Begun})  # the champion has learned from what lies after the cut
    assert [size for _, size in Begun.begun] == [-1, N_ITEMS + 7]


def test_factors_of_a_grown_catalogue_begin_from_those_of_yesterday(tmp_path: Path) -> None:
    def als(**more: Any) -> Als:
        return Als(**{"embedding_size": 4, "epochs": 6, "warm_epochs": 2, "top_k": 10, "threads": 1} | more)

    night(tmp_path, {"als": als}, days=DAYS - 1)
    old: Arrays = dict(Registry(FolderArtifacts(tmp_path)).bundle().arrays["als"])
    report = night(tmp_path, {"als": als}, least_users=20, counts=Counts(N_USERS + 5, N_ITEMS + 7))
    new = Registry(FolderArtifacts(tmp_path)).bundle().arrays["als"]
    assert len(old["losses"]) == 6
    assert len(new["losses"]) == 2
    assert new["users"].shape == (N_USERS + 5, 4)
    assert new["items"].shape == (N_ITEMS + 7, 4)
    assert report.hyperparameters["als"]["epochs"] == 6, "the same recipe, however it began"
