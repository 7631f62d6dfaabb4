"""Two stages taken apart: listening with what came after it, candidates with features made once, lists by any part."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from segue import wiring
from segue.core.clock import DAY_MS
from segue.core.errors import BadInput
from segue.core.evidence import best, union
from segue.core.records import AGE_BAND_STARTS
from segue.core.stages import Ranker
from segue.core.types import (
    MISSING,
    NO_DAY,
    Arrays,
    Bool,
    Candidates,
    Float32,
    History,
    Int8,
    Int32,
    Int64,
    Items,
    Scored,
    Users,
)
from segue.evaluation.ranking import at_cutoffs
from segue.features.compute import Features
from segue.features.wide import Around
from segue.simulator.town import UNTIL_MS, Town
from segue.training.dataset import Held, build_history, mapped, park, split_by_time
from segue.training.hours import ByHour
from segue.training.learning import WEAK, Past, Popular
from segue.training.measure import Answers, ask, heads
from segue.training.people import People
from segue.training.registry import around_of
from segue.training.replay import Tasks, days_ahead, eligible
from segue.training.trial import stand_in

Float64 = NDArray[np.float64]
SOURCES = (
    "popular",
    "artist",
    "cooccurrence",
    "als",
    "fresh",
    "session_knn",
    "user_knn",
    "item_knn",
    "graph_filter",
    "ease",
    "content",
    "two_tower",
)


@dataclass(frozen=True)
class Listening:
    """A history, what was held back of it, and the question asked of each listener."""

    history: History
    before: History
    tasks: Tasks
    repeats: bool  # whether what was heard before may be the answer
    people: People

    @staticmethod
    def of(history: History, before: History, tasks: Tasks, repeats: bool, users: Users) -> Listening:
        """With the queries told where and of what age the listeners are."""
        people = People(users)
        return Listening(history, before, people.asking(tasks), repeats, people)

    def around(self, factors: Arrays) -> Around:
        """What features may look at, from what lies before the cut, as the night makes it; factors: what `als` learned."""
        return around_of(factors, self.people.audience(self.before))


def town(songs: int, listeners: int, days: int, seed: int) -> Listening:
    """The demo town; the last two days are held out, and asked about at their beginning. What was heard may be heard again."""
    with (
        tempfile.TemporaryDirectory(prefix="segue-stages-") as folder,
        wiring.open_home(Path(folder) / "home", None, writer=True) as home,
    ):
        made = Town(seed, songs=songs, artists=max(songs // 5, 12), listeners=listeners, days=days, until_ms=UNTIL_MS)
        items, users = home.catalogue.put_items(made.items), home.catalogue.put_users(made.users)
        regions = home.catalogue.regions.intern(made.regions)
        for events in made.events(items, users, regions):
            home.log.append(events)
        facts = _copied(home.catalogue.facts)
        sizes = {"n_users": len(home.catalogue.users), "n_items": len(facts)}
        told = home.catalogue.user_facts
        history = build_history(home.log, facts, now=UNTIL_MS, window_ms=days * DAY_MS, **sizes)
    cut = UNTIL_MS - 2 * DAY_MS
    before, held = split_by_time(history, cut)
    return Listening.of(history, before, days_ahead(history, held, eligible(held, history), cut, 10), True, told)


def _copied(facts: Items) -> Items:
    """The columns in memory: the files of the home are about to go."""
    return Items(**{name: np.array(column) for name, column in vars(facts).items()})


def movielens(folder: Path) -> Listening:
    """MovieLens 100K: stars from 4 wanted, up to 2 not; genres as tags. The last fifth of each user's ratings is held out."""
    for name in ("inter", "item"):
        if not (folder / f"{name}.parquet").exists():
            raise BadInput(f"--movielens: {folder} has no {name}.parquet; give the folder movielens_100k", "movielens")
    table, items = pq.read_table(folder / "inter.parquet"), pq.read_table(folder / "item.parquet")
    ids = np.unique(table["item_id"].to_numpy())
    users, user = np.unique(table["user_id"].to_numpy(), return_inverse=True)
    item, at = np.searchsorted(ids, table["item_id"].to_numpy()), table["timestamp"].to_numpy()
    stars = table["rating"].to_numpy()
    order = np.lexsort((item, at, user))
    user, item, at, stars = user[order], item[order], at[order], stars[order]
    starts = np.concatenate(([True], (np.diff(user) != 0) | (np.diff(at) > 1800)))
    history = History(
        n_users=len(users),
        n_items=len(ids),
        now=int(at.max() + 1) * 1000,
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        at=at.astype(np.uint32),
        signal=((stars >= 4).astype(np.int8) - (stars <= 2)).astype(np.int8),
        session=(np.cumsum(starts) - 1).astype(np.int32),
        facts=_movies(items.to_pydict(), ids),
    )
    sizes = np.bincount(user)
    place = np.arange(len(user)) - (np.cumsum(sizes) - sizes)[user]
    late = place >= np.ceil(0.8 * sizes)[user]
    held = np.flatnonzero(late)
    kept = ~late
    before = replace(
        history,
        **{name: getattr(history, name)[kept] for name in ("user", "item", "at", "signal")},
        session=np.cumsum(np.concatenate(([0], np.diff(history.session[kept]) != 0))).astype(np.int32),
    )
    rows = Held(held, history.user[held], history.item[held], history.at[held], history.signal[held])
    people = replace(Users.unknown(len(users)), age_band=_ages(folder / "user.parquet", users))
    tasks = days_ahead(history, rows, eligible(rows, history), history.now, 10)
    return Listening.of(history, before, tasks, False, people)


def _ages(path: Path, users: NDArray[Any]) -> Int8:
    """The age band of each user of MovieLens, MISSING where the table does not tell."""
    out = np.full(len(users), MISSING, np.int8)
    if path.exists():
        table = pq.read_table(path).to_pydict()
        age = dict(zip(table["user_id"], table["age"], strict=True))
        for place, user in enumerate(users.tolist()):
            if str(age.get(str(user)) or "").isdigit():
                out[place] = np.searchsorted(AGE_BAND_STARTS, int(age[str(user)]), "right") - 1
    return out


def _movies(columns: dict[str, list[Any]], ids: Int64) -> Items:
    """Genres as tags, the year of release."""
    genres = sorted({genre for row in columns["class"] for genre in (row or "").split()})
    code = {genre: place for place, genre in enumerate(genres)}
    tags: list[list[int]] = [[] for _ in ids]
    released = np.full(len(ids), NO_DAY, np.int32)
    for name, row, year in zip(columns["item_id"], columns["class"], columns["release_year"], strict=True):
        place = int(np.searchsorted(ids, int(name)))
        if place < len(ids) and ids[place] == int(name):
            tags[place] = [code[genre] for genre in (row or "").split()]
            if year and year.isdigit():
                released[place] = int((int(year) - 1970) * 365.25)
    return replace(
        Items.bare(len(ids)),
        released=released,
        tags_ptr=np.cumsum([0, *map(len, tags)]).astype(np.int64),
        tags=np.array([tag for row in tags for tag in row], np.int32),
    )


def asked(data: Listening, limit: int, seed: int, said: Callable[[str], None]) -> tuple[dict[str, Answers], Around]:
    """Every source fitted on what came before and asked, and what features may look at besides.

    `popular`, which answers from the present, is stood in for.
    """
    answers: dict[str, Answers] = {}
    factors: Arrays = {}
    for name in SOURCES:
        said(name)
        if name == "popular":
            answers[name] = stand_in(data.before, len(data.tasks), limit)
            continue
        make = wiring.named(wiring.SOURCES, name, "source")
        offers = {"top_k": limit, "threads": 1, "window_days": 3650.0}
        source = wiring.given_what_it_takes(make, offers)().fit(data.before, np.random.default_rng(seed))
        answers[name] = ask(source, data.tasks.queries, limit, lambda done, total: None)
        factors = source.arrays() if name == "als" else factors
    spoke = {name: answer for name, answer in answers.items() if (answer.items[:, 0] >= 0).any()}
    return spoke, data.around(factors)


def every_column(sources: Sequence[str]) -> tuple[str, ...]:
    """All that there are, proven or not."""
    return Features(sources).names


class Table:
    """The candidates of every task with their features by all sources: made once, cut to any sources and columns."""

    def __init__(self, data: Listening, got: tuple[dict[str, Answers], Around], folder: Path, seed: int) -> None:
        answers, around = got
        self.data, self.names = data, tuple(answers)
        park(data.history, folder)
        before = data.before
        park(before, folder / "before")
        hours = ByHour.of(mapped(folder / "before"), before.now)
        given: dict[str, Any] = {"chosen": every_column, "around": around, "hours": hours}
        past = Past(folder, data.history.facts, Popular.of(before), self.names, **given)
        self.columns = past.features.names
        pools, rows, evidence, heard = [], [], [], []
        for place, query in enumerate(data.tasks.queries):
            pool = union(self.names, [answers[name][place] for name in self.names])
            pool = pool.keep(data.history.facts.playable[pool.items] & ~self._seen(place, pool.items))
            items, signal = self._after(place)
            at = np.minimum(np.searchsorted(items, pool.items), len(items) - 1)
            heard.append(np.where(items[at] == pool.items, signal[at], 2).astype(np.int8))  # 2 = nothing was done with it
            pools.append(pool.items)
            rows.append(past.rows(query, pool))
            evidence.append(pool.evidence)
        self.ptr: Int64 = np.concatenate((np.zeros(1, np.int64), np.cumsum([len(pool) for pool in pools])))
        self.items, self.rows = np.concatenate(pools), np.concatenate(rows)
        self.evidence, self.heard = np.concatenate(evidence), np.concatenate(heard)
        self.owner = np.repeat(np.arange(len(pools)), np.diff(self.ptr))
        rng = np.random.default_rng(seed)
        self.draw, self.fold = rng.random(len(self.items)), rng.permutation(len(pools)) % 2

    def _rows_of(self, place: int) -> tuple[int, int, int]:
        """(the listener's first row, the first one held out, their end) in the history."""
        history, query = self.data.history, self.data.tasks.queries[place]
        start, stop = (int(np.searchsorted(history.user, np.int32(query.user), side)) for side in ("left", "right"))
        return start, query.request_id - 1, stop

    def _seen(self, place: int, items: Int32) -> Bool:
        start, row, _ = self._rows_of(place)
        return np.isin(items, self.data.history.item[start:row]) & (not self.data.repeats)

    def _after(self, place: int) -> tuple[Int32, Int8]:
        _, row, stop = self._rows_of(place)
        items, where = np.unique(self.data.history.item[row:stop], return_inverse=True)
        return items, np.sign(np.bincount(where, self.data.history.signal[row:stop])).astype(np.int8)

    def alone(self, name: str, k: int) -> Float64:
        """NDCG@k of one source's own order, one value a task."""
        said = self.evidence[:, self.names.index(name)]
        return self._judged(np.where(np.isnan(said), -np.inf, said), ~np.isnan(said), k)

    def fused(self, ranker: Ranker, k: int) -> Float64:
        """NDCG@k of a ranker that reads nothing but the evidence."""
        scores = np.zeros(len(self.items), np.float32)
        for task, query in enumerate(self.data.tasks.queries):
            part = slice(self.ptr[task], self.ptr[task + 1])
            pool = Candidates(self.items[part], self.evidence[part], self.names)
            scores[part] = ranker.score(query, pool, self.rows[part])
        return self._judged(scores, np.ones(len(scores), np.bool_), k)

    def learned(self, make: Callable[[], Any], sources: Sequence[str], columns: Sequence[str], k: int) -> Float64:
        """NDCG@k of a ranker of these sources and columns: taught by half of the listeners, judged on the other, and back."""
        mine = [self.names.index(name) for name in sources]
        spoke = ~np.isnan(self.evidence[:, mine])
        stands = np.flatnonzero(spoke.any(axis=1))
        rows = self.rows[stands][:, [self.columns.index(name) for name in columns]]
        if "agreement" in columns:
            rows[:, list(columns).index("agreement")] = spoke[stands].mean(axis=1)
        fold, heard = self.fold[self.owner[stands]], self.heard[stands]
        scores = np.full(len(self.items), -np.inf, np.float32)
        for half in (0, 1):
            taught = self._taught(stands, fold != half)
            ranker = make()
            truth = heard[taught] == 1
            ranker.fit_rows(rows[taught], truth, np.ones(len(taught), np.float32), np.abs(heard[taught]) == 1)
            judged = np.flatnonzero(fold == half)
            scores[stands[judged]] = ranker.probabilities(rows[judged])
        inside = np.zeros(len(self.items), np.bool_)
        inside[stands] = True
        return self._judged(scores, inside, k)

    def _taught(self, stands: Int64, learns: Bool) -> Int64:
        """Rows to learn from, as the night's: of tasks with something played, all that was played and WEAK others."""
        owner, played = self.owner[stands], self.heard[stands] != 2
        some = np.bincount(owner[played], minlength=len(self.ptr) - 1) > 0
        other = np.flatnonzero(~played & learns & some[owner])
        order = other[np.lexsort((self.draw[stands[other]], owner[other]))]
        first = np.searchsorted(owner[order], np.arange(len(self.ptr) - 1))
        weak = order[np.arange(len(order)) - first[owner[order]] < WEAK]
        return np.sort(np.concatenate((np.flatnonzero(played & learns), weak)))

    def _judged(self, scores: Float32, inside: Bool, k: int) -> Float64:
        lists: list[Scored] = []
        for task in range(len(self.ptr) - 1):
            part = slice(self.ptr[task], self.ptr[task + 1])
            kept = inside[part]
            lists.append(best(self.items[part][kept], scores[part][kept].astype(np.float32), k))
        tasks = self.data.tasks
        return at_cutoffs(heads(lists, k), tasks.ptr, tasks.relevant, (k,))[f"ndcg@{k}"]
