"""What a night trains and how: the recipe, the settings, and what is carried from phase to phase."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from segue.core.errors import Corrupt, NotFound
from segue.core.hashing import hash64
from segue.core.ports import EventLog
from segue.core.types import Int32, Items
from segue.features.compute import proven
from segue.features.wide import GROUPS
from segue.training.learning import Columns
from segue.training.people import People
from segue.training.registry import CHAMPION, Bundle, Factory, Registry
from segue.training.report import Meter
from segue.training.shown import Judging

DAY_MS = 86_400_000


def lacking(ranker: Any) -> str:
    """What a ranker lacks on this machine to learn, and what to install; "" nothing. Most say nothing about it: they can."""
    ask = getattr(ranker, "lacking", None)
    return "" if ask is None else str(ask())


@dataclass(frozen=True)
class Recipe:
    """What the night trains: a factory for each source (its class, or a partial of it), and the ranker that joins them.

    `learned` are rankers to be fitted as well (learning.LearnedRanker), one or several; the best of those that prove themselves
    takes over.
    `live` names sources that answer from the online state. That state knows the held-out days, so on the cut the most
    played songs before it stand in for them; they are fitted on everything like the others.
    `rehearse` puts questions to the finished model, as serving would, and says what is wrong with its answers, "" nothing:
    the match was played by models of the cut, and what serves is another fit, stored and read back.
    `elective` names sources that serve only where the night shows that the radio is better with them, `dispensable` those
    that serve unless it shows that it is not (election.elect).
    `people` knows the listeners, `columns` says which features rankers learn from, `holidays` are days since 1970-01-01.
    `groups` says by dimension (region, age band) which group each of some users is of, "" = not known.
    """

    sources: Mapping[str, Factory]
    ranker: Factory
    learned: Factory | Sequence[Factory] | None = None
    live: frozenset[str] = frozenset({"popular"})
    elective: frozenset[str] = frozenset()
    dispensable: frozenset[str] = frozenset()
    groups: Mapping[str, Callable[[Int32], Sequence[str]]] = field(default_factory=dict)
    people: Callable[[], People] = People.nobody
    columns: Columns = proven
    holidays: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    rehearse: Callable[[Bundle], str] = lambda bundle: ""

    @property
    def learners(self) -> tuple[Factory, ...]:
        """The rankers to be fitted that can learn on this machine, in the order in which ties are broken."""
        return tuple(factory for factory in self._named() if not lacking(factory()))

    def unable(self) -> list[str]:
        """One line for each ranker to be fitted that cannot learn on this machine: what it lacks."""
        made = [factory() for factory in self._named()]
        return [f"the ranker {ranker.name!r} was not trained: {lacking(ranker)}" for ranker in made if lacking(ranker)]

    def _named(self) -> tuple[Factory, ...]:
        if self.learned is None:
            return ()
        return (self.learned,) if callable(self.learned) else tuple(self.learned)

    def rankers(self) -> dict[str, Factory]:
        """Every ranker of the recipe by its name; one that cannot learn here may have learned elsewhere, and still ranks."""
        return {factory().name: factory for factory in (self.ranker, *self._named())}


@dataclass(frozen=True)
class Settings:
    """How a night goes."""

    window_ms: int = 90 * DAY_MS
    test_ms: int = 2 * DAY_MS
    test_users: int = 2000
    lesson_users: int = 2000  # other users, whose held-out days a ranker learns from
    least_users: int = 50  # a test on fewer is called weak
    least_examples: int = 100  # of a kind, for a ranker to learn from
    per_source: int = 80  # items that each source is asked for, as by day
    k: int = 20  # the places that decide
    fewer: tuple[int, ...] = (5, 10)  # lists are judged at these as well
    seed: int = 0
    force: bool = False  # promote whatever the match says
    judging: Judging = field(default_factory=Judging)  # how slates as they were shown become examples
    workspace: Path | None = None  # where columns and arrays wait; a folder for nights only; None = the system's

    @property
    def cutoffs(self) -> tuple[int, ...]:
        """Every k that lists are judged at, ascending; the largest is the one that decides."""
        return (*sorted({k for k in self.fewer if k < self.k}), self.k)


@dataclass
class Night:
    """What is carried from phase to phase."""

    recipe: Recipe
    settings: Settings
    meter: Meter
    facts: Items
    n_users: int
    folder: Path
    registry: Registry
    champion: Bundle | None = None
    notes: list[str] = field(default_factory=list)
    hyperparameters: dict[str, dict[str, object]] = field(default_factory=dict)
    log: EventLog | None = None  # where slates as they were shown are read; None = there are none
    elected: list[str] | None = None  # the sources that will serve, once that was decided

    @cached_property
    def people(self) -> People:
        """The listeners."""
        return self.recipe.people()

    def looks_at(self, group: str) -> bool:
        """Whether the columns of the recipe have any of a group of features.wide."""
        return not set(GROUPS[group]).isdisjoint(self.recipe.columns(()))

    @property
    def serving(self) -> dict[str, Factory]:
        """The sources that will serve, in order."""
        names = self.recipe.sources if self.elected is None else self.elected
        return {name: self.recipe.sources[name] for name in names}

    @property
    def history(self) -> Path:
        """Where the history of the window is parked."""
        return self.folder / "history"

    def rng(self, name: str) -> np.random.Generator:
        """The randomness of one model: its own stream, whatever else is trained beside it."""
        return np.random.default_rng([self.settings.seed, hash64(name)])

    def begun(self, name: str, source: Any, cut: int) -> Any:
        """The source, to be fitted on what lies before `cut` (ms), begun from the champion's arrays where it offers that.

        Only where the champion has learned nothing from after the cut: it would take answers of the exam with it.
        """
        champion = self.champion
        begin = getattr(source, "warm_start", None)
        if begin is None or champion is None or name not in champion.arrays or int(champion.manifest["data"]["to_ms"]) > cut:
            return source
        return begin(champion.arrays[name])

    def open_champion(self) -> None:
        """Take the champion to be beaten; a damaged one is noted and does not stop the night that would replace it."""
        version = self.registry.version(CHAMPION)
        if version is None:
            return
        try:
            self.champion = self.registry.open(version)
        except (Corrupt, NotFound) as error:
            self.notes.append(f"the champion {version} cannot be read, so it was not compared: {error}")
