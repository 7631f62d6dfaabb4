"""The night: dataset, fit and evaluation on a cut, a match with the champion, a fit on everything, promotion or not."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import numpy as np

from segue.core.clock import iso
from segue.core.errors import NotReady
from segue.core.ports import ArtifactStore, Catalogue, EventLog
from segue.core.types import Arrays, History
from segue.training.contest import figures, verdict
from segue.training.dataset import build_history, park, unpark
from segue.training.recipe import Night, Recipe, Settings
from segue.training.registry import AUDIENCE, RANKER, Registry, features_of, hyperparameters, ranker_of
from segue.training.report import Meter, NightReport, Progress, Quiet
from segue.training.trial import Trial, run_trial

_LEFTOVER = "segue-night-"


def run_night(
    log: EventLog,
    catalogue: Catalogue,
    store: ArtifactStore,
    recipe: Recipe,
    settings: Settings | None = None,
    *,
    now: int,
    progress: Progress | None = None,
) -> NightReport:
    """Train on [now - window, now) of the log and promote the result if it is not worse than the champion beyond noise.

    Nothing that serves is touched before the last step, which moves the aliases in one atomic write: a night that is
    killed at any point leaves the champion as it was. One model is in memory at a time. Same log, champion (factors begin
    from its own), seed and versions of the code: same arrays. NotReady if the window holds nothing to learn from.
    """
    settings = settings or Settings()
    registry, meter = Registry(store), Meter(progress or Quiet())
    with workspace(settings.workspace) as folder:
        night = Night(recipe, settings, meter, catalogue.facts, len(catalogue.users), folder, registry, log=log)
        night.notes += recipe.unable()
        night.open_champion()
        with meter.phase("dataset"):
            data = _dataset(night, log, now)
        trial = run_trial(night, now)
        models = _on_everything(night, now) | _learned(night, trial)
        with meter.phase("store"):
            version = registry.put(models, _manifest(night, trial, data))
        promoted, reason = _promoted_or_not(night, trial, version, data["rows"])
    return NightReport(
        version=version,
        promoted=promoted,
        reason=reason,
        champion=None if night.champion is None else night.champion.version,
        opponent=trial.opponent,
        seed=settings.seed,
        data=data | trial.counts,
        ranker=trial.choice.ranker.name,
        ranker_reason=trial.choice.reason,
        figures=figures(trial.values, settings.seed),
        comparisons=trial.comparisons,
        quality=trial.quality,
        hyperparameters=night.hyperparameters,
        phases=meter.costs,
        notes=night.notes,
    )


def _learned(night: Night, trial: Trial) -> dict[str, Arrays]:
    """The ranker that the trial chose, under its name in a bundle; nothing where it learns nothing."""
    if trial.choice.learned is None:
        return {}
    name = f"{RANKER}{trial.choice.ranker.name}"
    night.hyperparameters[name] = hyperparameters(trial.choice.ranker)
    return {name: trial.choice.learned}


def _promoted_or_not(night: Night, trial: Trial, version: str, rows: int) -> tuple[bool, str]:
    """Judge a stored model by the trial and a rehearsal, and move the aliases: (whether it is the champion, why)."""
    settings = night.settings
    theirs = 0 if night.champion is None else int(night.champion.manifest["data"].get("rows", 0))
    promoted, reason = verdict(
        trial.opponent,
        trial.comparisons,
        least_users=settings.least_users,
        force=settings.force,
        rows=(rows, theirs),
    )
    with night.meter.phase("rehearsal"):
        trouble = night.recipe.rehearse(night.registry.open(version))
    if trouble:  # not even by force: a model that cannot answer serves nobody
        promoted, reason = False, f"the finished model failed its rehearsal: {trouble}"
    with night.meter.phase("promote"):
        (night.registry.promote if promoted else night.registry.challenge)(version)
    return promoted, reason


def _dataset(night: Night, log: EventLog, now: int) -> dict[str, int]:
    """Park the history of the window where every later phase takes it from; what it holds, in numbers."""
    history = build_history(
        log,
        night.facts,
        now=now,
        window_ms=night.settings.window_ms,
        n_users=night.n_users,
        n_items=len(night.facts),
    )
    if not np.any(history.signal > 0):
        raise NotReady(_nothing(log, now - night.settings.window_ms, now))
    park(history, night.history)
    return _describe(history, night.settings)


def _nothing(log: EventLog, at_from: int, now: int) -> str:
    """Why there is nothing to learn, and what to change."""
    said = f"nothing was finished, liked or saved from {iso(at_from)} to {iso(now)}"
    newest = log.read(log.last - 1, 1)
    if len(newest) == 0:
        return f"{said}: the log is empty; import some listening first (`segue import`)"
    at = int(newest["at"][0])
    return f"{said}; the newest event of the log is of {iso(at)}: train as of then (`--as-of`) or widen the window"


def _describe(history: History, settings: Settings) -> dict[str, int]:
    """What the night learns from, in numbers."""
    return {
        "from_ms": history.now - settings.window_ms,
        "to_ms": history.now,
        "newest_ms": int(history.at.max()) * 1000,
        "rows": len(history),
        "users": int((np.diff(history.user_ptr()) > 0).sum()),
        "items": int((np.bincount(history.item, minlength=1) > 0).sum()),
        "sessions": history.n_sessions,
    }


def _on_everything(night: Night, now: int) -> dict[str, Arrays]:
    """Every source fitted on the whole window, one after the other; what is done waits on disk, memory-mapped."""
    history = unpark(night.history, night.facts, n_users=night.n_users, now=now)
    models: dict[str, Arrays] = {AUDIENCE: night.people.audience(history)} if night.looks_at("audience") else {}
    night.hyperparameters = {}  # those of sources that were left out are not part of the model
    for place, (name, factory) in enumerate(night.serving.items()):
        with night.meter.phase(f"{name}: fit on everything"):
            source = night.begun(name, factory(), now).fit(history, night.rng(name))
            night.hyperparameters[name] = hyperparameters(source)
            models[name] = _spool(source.arrays(), night.folder / "models" / str(place))
            del source
    return models


def _spool(arrays: Arrays, folder: Path) -> Arrays:
    """The arrays through files, so that they need no memory until they are stored."""
    folder.mkdir(parents=True)
    mapped: Arrays = {}
    for place, (name, array) in enumerate(arrays.items()):
        path = folder / f"{place}.npy"
        np.save(path, array, allow_pickle=False)
        mapped[name] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def _manifest(night: Night, trial: Trial, data: dict[str, int]) -> dict[str, object]:
    """How the bundle came to be; the store adds a checksum for every array."""
    facts: dict[str, object] = {
        "format": 1,
        "seed": night.settings.seed,
        "data": data | trial.counts,
        "sources": list(night.serving),
        "ranker": trial.choice.ranker.name,
        "ranker_reason": trial.choice.reason,
        "ranker_facts": trial.choice.facts,
        "hyperparameters": night.hyperparameters,
        "figures": figures(trial.values, night.settings.seed),
        "opponent": trial.opponent,
        "comparisons": trial.comparisons,
        "quality": trial.quality,
        "phases": night.meter.costs,
        "notes": night.notes,
    }
    plain: dict[str, object] = msgspec.to_builtins(facts)
    return plain


@contextmanager
def workspace(parent: Path | None) -> Iterator[Path]:
    """A folder for this night alone. In a workspace of our own, one night at a time: what killed ones left is swept first."""
    with ExitStack() as stack:
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(open(parent / ".lock", "wb"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lets go of it however we end
            except BlockingIOError:
                raise NotReady(f"another night is running (it holds {parent / '.lock'}): let it end first") from None
            for leftover in parent.glob(f"{_LEFTOVER}*"):
                shutil.rmtree(leftover, ignore_errors=True)
        folder = tempfile.TemporaryDirectory(prefix=_LEFTOVER, dir=parent, ignore_cleanup_errors=True)
        yield Path(stack.enter_context(folder))


__all__ = ["Recipe", "Settings", "features_of", "ranker_of", "run_night"]
