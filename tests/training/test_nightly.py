"""The night end to end on a toy world: what it learns, whom it promotes, and that killing it changes nothing."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from night_toys import DAY_MS, DAYS, N_ITEMS, N_USERS, T0, Counts, First, ListLog, Loved, Ring, walks

from segue.core.errors import NotReady
from segue.storage.artifacts.folder import FolderArtifacts
from segue.training.nightly import Recipe, Settings, run_night
from segue.training.registry import Bundle, Registry
from segue.training.report import NightReport

END = T0 + DAYS * DAY_MS
GOOD = Recipe({"ring": Ring, "loved": Loved}, First)
BAD = Recipe({"ring": partial(Ring, worth=-1.0), "loved": Loved}, First)


def night(folder: Path, recipe: Recipe = GOOD, days: int = DAYS, events: Any = None, **settings: Any) -> NightReport:
    return run_night(
        ListLog(walks() if events is None else events),  # type: ignore[arg-type]
        Counts(),  # type: ignore[arg-type]
        FolderArtifacts(folder),
        recipe,
        now=T0 + days * DAY_MS,
        settings=Settings(k=5, workspace=folder / "work", **settings),
    )


def figure(report: NightReport, model: str, metric: str) -> float:
    return next(f.mean for f in report.figures if (f.model, f.metric) == (model, metric))


def test_the_first_night(tmp_path: Path) -> None:
    report = night(tmp_path)
    assert (report.promoted, report.champion, report.opponent) == (True, None, "none")
    assert report.data["rows"] == N_USERS * DAYS * 8
    assert report.data["test_users"] == N_USERS
    assert report.data["cut_ms"] > T0 + (DAYS - 3) * DAY_MS
    assert figure(report, "radio", "next hit@5") > 0.75, "the ring is followed four times in five"
    assert figure(report, "ring", "next hit@5") > figure(report, "most played", "next hit@5") + 0.3
    assert figure(report, "random", "next hit@5") == pytest.approx(5 / N_ITEMS, abs=0.08)
    assert {p.name for p in report.phases} >= {"dataset", "cut", "ring: fit on the cut", "evaluation", "store", "promote"}
    registry = Registry(FolderArtifacts(tmp_path))
    bundle = registry.bundle()
    assert bundle.version == report.version
    assert bundle.manifest["data"]["to_ms"] == END
    sources = bundle.sources(GOOD.sources)
    assert list(sources) == ["ring", "loved"]
    assert int(sources["ring"].users_.sum()) == int((walks()["action"] == 4).sum()), "refitted on everything"  # type: ignore[attr-defined]
    assert not list((tmp_path / "work").glob("segue-night-*")), "nothing is left in the workspace"


def test_same_seed_same_arrays(tmp_path: Path) -> None:
    stores = [tmp_path / "a", tmp_path / "b"]
    reports = [night(folder) for folder in stores]
    assert reports[0].figures == reports[1].figures
    bundles = [Registry(FolderArtifacts(folder)).bundle() for folder in stores]
    assert np.array_equal(bundles[0].arrays["ring"]["counts"], bundles[1].arrays["ring"]["counts"])


def test_a_worse_one_stays_challenger_and_says_why(tmp_path: Path) -> None:
    first = night(tmp_path, days=DAYS - 1)
    second = night(tmp_path, BAD)
    assert not second.promoted
    assert second.opponent == "as it is"
    assert second.champion == first.version
    assert "next hit@5" in second.reason
    assert "worse than the champion" in second.reason
    registry = Registry(FolderArtifacts(tmp_path))
    assert registry.version("champion") == first.version
    assert registry.version("challenger") == second.version
    third = night(tmp_path, BAD, force=True)
    assert third.promoted
    assert registry.version("previous") == first.version


def test_the_champion_is_judged_on_days_it_has_not_seen(tmp_path: Path) -> None:
    night(tmp_path, days=DAYS - 1)
    report = night(tmp_path, least_users=20)
    assert report.opponent == "as it is"
    assert report.data["cut_ms"] == T0 + (DAYS - 1) * DAY_MS
    assert report.promoted


def test_a_champion_that_has_seen_the_days_is_fitted_again(tmp_path: Path) -> None:
    """Nobody has listened since: its hyperparameters are compared instead, and a bad change is caught all the same."""
    night(tmp_path)
    report = night(tmp_path, BAD)
    assert (report.opponent, report.promoted) == ("refit", False)
    again = night(tmp_path)
    assert (again.opponent, again.promoted) == ("same recipe", True)


def test_better_is_promoted_over_bad_and_rollback_swaps(tmp_path: Path) -> None:
    bad = night(tmp_path, BAD, days=DAYS - 1)
    good = night(tmp_path)
    assert good.promoted
    assert next(c for c in good.comparisons if c.metric == "next hit@5").low > 0
    registry = Registry(FolderArtifacts(tmp_path))
    assert registry.rollback() == bad.version
    assert registry.version() == bad.version
    assert registry.rollback() == good.version


def test_a_damaged_champion_does_not_stop_the_night(tmp_path: Path) -> None:
    first = night(tmp_path, days=DAYS - 1)
    for file in (tmp_path / "radio" / first.version).glob("*.npy"):
        file.unlink()
    second = night(tmp_path)
    assert second.promoted
    assert any("cannot be read" in note for note in second.notes)


def test_nothing_to_learn_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="--as-of"):
        night(tmp_path, days=400)
    with pytest.raises(NotReady, match="the log is empty"):
        night(tmp_path, events=walks()[:0])


def test_one_night_at_a_time(tmp_path: Path) -> None:
    """The second would sweep the workspace of the first."""

    class Second(Ring):
        def fit(self, history: Any, rng: Any) -> Any:
            with pytest.raises(NotReady, match="another night"):
                night(tmp_path)
            return super().fit(history, rng)

    assert night(tmp_path, Recipe({"ring": Second}, First)).promoted
    assert night(tmp_path).promoted


def test_playlists_without_time_are_learned_from_and_not_evaluated(tmp_path: Path) -> None:
    events = walks()
    events["at"] = T0
    report = night(tmp_path, events=events)
    assert report.promoted
    assert report.data["test_users"] == 0
    assert any("not evaluated" in note for note in report.notes)


PHASES = ["dataset", "cut", "ring: fit on the cut", "loved: questions", "evaluation", "ring: fit on everything", "store"]


@pytest.mark.parametrize("phase", [*PHASES, "promote"])
def test_killed_in_any_phase_the_old_champion_serves(tmp_path: Path, phase: str) -> None:
    """A child process is killed as the phase begins; the aliases and the arrays are as they were, and the next night works."""
    first = night(tmp_path, days=10)
    script = (
        "import os, signal, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\n"
        "from night_toys import *\n"
        "from segue.storage.artifacts.folder import FolderArtifacts\n"
        "from segue.training.nightly import Recipe, Settings, run_night\n"
        "class Killer:\n"
        "    def phase(self, name):\n"
        f"        if name == {phase!r}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    def advance(self, done, total): pass\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "run_night(ListLog(walks(days=11)), Counts(), FolderArtifacts(folder), Recipe({'ring': Ring, 'loved': Loved}, First),\n"
        "  now=T0 + 11 * DAY_MS, settings=Settings(k=5, workspace=folder / 'work'), progress=Killer())\n"
    )
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert child.returncode == -9, child.stderr
    registry = Registry(FolderArtifacts(tmp_path))
    assert registry.version() == first.version
    assert registry.version("challenger") is None
    assert set(registry.bundle().sources(GOOD.sources)) == {"ring", "loved"}
    if phase == PHASES[-1]:
        assert night(tmp_path, days=12).promoted
        assert not list((tmp_path / "work").glob("segue-night-*")), "what the killed night left is swept"


def test_a_weak_test_does_not_let_a_model_of_little_data_take_over() -> None:
    from segue.training.contest import verdict

    assert verdict("refit", [], least_users=50, force=False, rows=(90, 100))[0] is False  # nothing to compare on
    assert verdict("same recipe", [], least_users=50, force=False, rows=(90, 100))[0] is True
    promoted, why = verdict("same recipe", [], least_users=50, force=False, rows=(10, 100))
    assert not promoted
    assert "--force" in why
    assert verdict("same recipe", [], least_users=50, force=True, rows=(10, 100))[0] is True


def test_a_finished_model_that_fails_its_rehearsal_serves_nobody_even_by_force(tmp_path: Path) -> None:
    first = night(tmp_path)
    asked: list[str] = []

    def refuse(bundle: Bundle) -> str:
        asked.append(bundle.version)
        return "ring: on fire"

    report = night(tmp_path, replace(GOOD, rehearse=refuse), days=DAYS - 1, force=True)
    assert not report.promoted
    assert report.reason == "the finished model failed its rehearsal: ring: on fire"
    assert asked == [report.version], "the stored model is asked, not one of the cut"
    registry = Registry(FolderArtifacts(tmp_path))
    assert registry.version() == first.version
    assert registry.version("challenger") == report.version
