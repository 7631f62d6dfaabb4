"""The next song of a session after those before it: each source, simple baselines, and a blend learned on a cut of train."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from segue.benchmarks._blend import Choice, Lists, Pairs, ask, best_of, gain, interval, ranks, say, search
from segue.benchmarks._habits import Habits
from segue.benchmarks._listening import Events, Plays, by_session, history, read
from segue.candidates._pull import Reading
from segue.candidates._shelves import decayed_plays, learn_taste, one_each
from segue.candidates._sparse import take_top
from segue.candidates.als import Als
from segue.candidates.artist import Artist
from segue.candidates.cooccurrence import Cooccurrence
from segue.candidates.session_knn import SessionKnn
from segue.candidates.user_knn import UserKnn
from segue.core.errors import BadInput
from segue.core.types import MISSING, Float32, History, Int32, Int64, Query, Scored

CUT = 0.1
"""The last share of the sessions of train: hyperparameters are chosen there, each model fitted on what is before it."""
FOLDS = 2
"""So many such cuts, one before the other, the blend learns from: how much sessions repeat themselves differs by season."""
WIDTH, DEPTH = 50, 1000
"""What each source offers to the blend, and how deep its list is read for what the others offer."""
BLOCK = 1000
"""Events whose evidence is in memory at once."""
SAMPLE = 2500
"""Events of the cut that a hyperparameter is judged on."""


class Popular:
    """Baseline: what is played most, each play decayed by age."""

    name: ClassVar[str] = "popularity"

    def __init__(self, *, half_life_days: float = 1e6) -> None:
        self.half_life_days = half_life_days

    def fit(self, history: History, rng: np.random.Generator) -> Popular:
        """Count."""
        finishes, _ = decayed_plays(history, self.half_life_days)
        self.top_ = Scored(*take_top(np.arange(history.n_items, dtype=np.int32), finishes, 1000))
        return self

    def retrieve(self, query: Query, limit: int) -> Scored:
        """The same for everyone."""
        return Scored(self.top_.items[:limit], self.top_.scores[:limit])


class Trending(Popular):
    """Baseline: popularity of the last weeks."""

    name: ClassVar[str] = "trending"

    def __init__(self, *, half_life_days: float = 30.0) -> None:
        super().__init__(half_life_days=half_life_days)


class Own:
    """Baseline: what the listener has played most, each play decayed by age."""

    name: ClassVar[str] = "own"

    def __init__(self, *, half_life_days: float = 180.0) -> None:
        self.half_life_days = half_life_days

    def fit(self, history: History, rng: np.random.Generator) -> Own:
        """Count by listener."""
        items = np.arange(history.n_items, dtype=np.int32)
        self.taste_ = learn_taste(history, one_each(items), self.half_life_days, 1000)
        return self

    def retrieve(self, query: Query, limit: int) -> Scored:
        """The listener's most played."""
        items, weights = self.taste_.of(query.user)
        return Scored(items[:limit], weights[:limit])


class Lately(Own):
    """Baseline: what the listener has played most in the last weeks."""

    name: ClassVar[str] = "own_lately"

    def __init__(self, *, half_life_days: float = 14.0) -> None:
        super().__init__(half_life_days=half_life_days)


class Ever(Own):
    """Baseline: what the listener has played most, however long ago."""

    name: ClassVar[str] = "own_ever"

    def __init__(self, *, half_life_days: float = 1e5) -> None:
        super().__init__(half_life_days=half_life_days)


class SessionAls(Als):
    """Als with sessions for listeners: the vector of a session is folded in from its plays so far."""

    def fit(self, history: History, rng: np.random.Generator) -> Self:
        """Learn from the sessions; no top lists, since no session of train is asked for again."""
        self.only_for(np.zeros(0, np.int32))
        return super().fit(by_session(history), rng)

    def retrieve(self, query: Query, limit: int) -> Scored:
        """The best for the session so far, whoever listens."""
        return super().retrieve(replace(query, user=MISSING), limit)


class JustPlayed:
    """Baseline: the items of the session again, the latest first."""

    name: ClassVar[str] = "just_played"

    def fit(self, history: History, rng: np.random.Generator) -> JustPlayed:
        """Nothing to learn."""
        return self

    def retrieve(self, query: Query, limit: int) -> Scored:
        """The session's items, newest first."""
        items = query.recent.items[query.recent.items >= 0]
        first = np.sort(np.unique(items, return_index=True)[1])[:limit]
        return Scored(items[first], (1.0 / (1 + first)).astype(np.float32))


def session_knn(recency: float = 0.9, **rest: Any) -> SessionKnn:
    """SessionKnn by flat names."""
    return SessionKnn(reading=Reading(recency=recency), **rest)


def cooccurrence(recency: float = 0.9, **rest: Any) -> Cooccurrence:
    """Cooccurrence by flat names."""
    return Cooccurrence(reading=Reading(recency=recency), **rest)


def artist(recency: float = 0.85, **rest: Any) -> Artist:
    """Artist by flat names."""
    return Artist(reading=Reading(recency=recency), **rest)


def als(**rest: Any) -> SessionAls:
    """SessionAls on everything there is."""
    return SessionAls(window_days=1e6, threads=1, **rest)


MODELS: dict[str, tuple[Callable[..., Any], dict[str, tuple[Any, ...]]]] = {
    "session_knn": (
        session_knn,
        {
            "half_life_days": (365.0, 90.0, 1500.0, 1e5),
            "own_boost": (2.0, 1.0, 5.0, 20.0),
            "place_decay": (0.97, 0.9, 1.0),
            "recency": (0.9, 0.7, 0.97),
            "popularity_exponent": (0.0, -0.3, 0.3),
            "neighbours": (200, 1000),
        },
    ),
    "cooccurrence": (
        cooccurrence,
        {
            "popularity_exponent": (0.3, 0.0, 0.5),
            "half_life_days": (180.0, 1000.0, 1e5),
            "window": (10, 30),
            "place_decay": (0.9, 0.8, 0.95),
            "recency": (0.9, 0.7, 1.0),
        },
    ),
    "artist": (
        artist,
        {"long_term": (0.3, 1.0, 3.0), "recency": (0.85, 0.6, 0.95), "half_life_days": (180.0, 60.0, 720.0)},
    ),
    "user_knn": (UserKnn, {"neighbours": (100, 20), "popularity_exponent": (0.0, 0.3), "history": (200, 2000)}),
    "als": (als, {"embedding_size": (128, 64), "unobserved_weight": (0.03, 0.01, 0.1), "reg": (0.01, 0.003, 0.03)}),
    "popularity": (Popular, {}),
    "trending": (Trending, {"half_life_days": (30.0, 10.0, 90.0)}),
    "own": (Own, {"half_life_days": (180.0, 60.0, 720.0)}),
    "own_lately": (Lately, {}),
    "own_ever": (Ever, {}),
    "just_played": (JustPlayed, {}),
}
"""Each model with what its hyperparameters may be, the default first."""


@dataclass(frozen=True)
class Fitted:
    """The models of one fit on a history, and the CPU seconds each took."""

    models: dict[str, Any]
    habits: Habits
    cpu_s: dict[str, float]

    def lists(self, events: Events, k: int) -> dict[str, Lists]:
        """The k best of every model for every event."""
        return {name: ask(model, events.queries(), k) for name, model in self.models.items()}

    def evidence(self, events: Events, lists: dict[str, Lists]) -> tuple[Pairs, Float32]:
        """The union of the lists and its features: what each model says of an item, and what session and listener do."""
        n = self.habits.n_items_
        pairs = Pairs.of([part.items[:, :WIDTH] for part in lists.values()], n)
        columns = {name: pairs.columns(part, n) for name, part in lists.items()}
        own_again = columns["own"][:, :1] * columns["just_played"][:, :1]
        return pairs, np.concatenate([*columns.values(), own_again, self.habits.signs(events, pairs)], axis=1)


def fit(past: History, chosen: dict[str, dict[str, Any]]) -> Fitted:
    """Every model on the history, with its chosen hyperparameters."""
    models, cpu = {}, {}
    for name, (kind, _) in MODELS.items():
        began = time.process_time()
        models[name] = kind(**chosen[name]).fit(past, np.random.default_rng(0))
        cpu[name] = round(time.process_time() - began, 3)
    began = time.process_time()
    habits = Habits().fit(past)
    cpu["habits"] = round(time.process_time() - began, 3)
    return Fitted(models, habits, cpu)


def choose(past: History, events: Events, k: int) -> tuple[dict[str, dict[str, Any]], str]:
    """Hyperparameters of each model, by hit@k + MRR@k on a sample of the events of the cut; and the best model there."""
    rng = np.random.default_rng(1)
    sample = events.take(np.sort(rng.choice(len(events), min(SAMPLE, len(events)), replace=False)))
    queries = list(sample.queries())
    chosen, reached = {}, {}
    for name, (kind, grid) in MODELS.items():

        def quality(values: dict[str, Any], kind: Callable[..., Any] = kind) -> float:
            model = kind(**values).fit(past, np.random.default_rng(0))
            place = ranks(ask(model, queries, k).items, sample.targets)
            return float(np.mean(place < k) + np.mean(np.where(place < k, 1 / (1.0 + place), 0)))

        chosen[name], reached[name] = search(grid, quality) if grid else ({}, quality({}))
        say(f"{name}: hit@{k} + mrr@{k} {reached[name]:.4f} on the cut with {chosen[name]}")
    return chosen, max(reached, key=reached.__getitem__)


def learn(train: Plays, chosen: dict[str, dict[str, Any]]) -> Choice:
    """The blend, from the events of the cuts; each model is fitted on what is before the cut (stacking, Wolpert 1992)."""
    features, sizes, answers = [], [np.zeros(1, np.int64)], []
    for fold in range(FOLDS):
        head, cut = split(train, fold)
        events = Events.of(cut, heard(head))
        if len(events):
            for columns, size, right in lessons(fit(history(head), chosen), events):
                features.append(columns)
                sizes.append(size)
                answers.append(right)
    ptr = np.cumsum(np.concatenate(sizes))
    say(f"the blend learns from {len(ptr) - 1:,} events, {features[0].shape[1]} signs of each item")
    return Choice().fit(np.concatenate(features), ptr, np.concatenate(answers))


def lessons(fitted: Fitted, events: Events) -> Iterator[tuple[Float32, Int64, NDArray[np.bool_]]]:
    """Of the events whose answer some model offers, by block: features (p, F), pairs an event, which pairs are right (p,)."""
    for block in events.blocks(BLOCK):
        pairs, columns = fitted.evidence(block, fitted.lists(block, DEPTH))
        right = pairs.item == block.targets[pairs.query]
        taught = np.bincount(pairs.query[right], minlength=len(block)) > 0
        rows = taught[pairs.query]
        yield columns[rows], np.diff(pairs.ptr)[taught], right[rows]


def answer(fitted: Fitted, choice: Choice, events: Events, k: int) -> dict[str, Int32]:
    """The k best of the blend and of every model for every event, (n, k) each."""
    parts: dict[str, list[Int32]] = {name: [] for name in ("blend", *fitted.models)}
    for block in events.blocks(BLOCK):
        lists = fitted.lists(block, max(DEPTH, k))
        pairs, features = fitted.evidence(block, lists)
        parts["blend"].append(best_of(pairs, choice.score(features), k))
        for name, part in lists.items():
            parts[name].append(part.items[:, :k])
    return {name: np.concatenate(part) for name, part in parts.items()}


@dataclass(frozen=True)
class Judge:
    """What lists are measured on: events, and which of them repeat an artist of their session."""

    events: Events
    repeats: NDArray[np.bool_]
    k: int

    def values(self, items: Int32, *, new: bool = False) -> dict[str, NDArray[np.float64]]:
        """hit@k and MRR@k of each event, (n,) each; `new`: NaN for those that repeat an artist."""
        place = ranks(items[:, : self.k], self.events.targets)
        left_out = self.repeats & new
        hit, reciprocal = place < self.k, 1 / (1.0 + place)
        return {
            f"hit@{self.k}": np.where(left_out, np.nan, hit),
            f"mrr@{self.k}": np.where(left_out, np.nan, np.where(hit, reciprocal, 0.0)),
        }

    def figures(self, items: Int32) -> dict[str, object]:
        """hit@k and MRR@k with 95 % intervals over sessions, and so on the events that repeat no artist."""
        return {**self._means(self.values(items)), "no_repeated_artist": self._means(self.values(items, new=True))}

    def _means(self, values: dict[str, NDArray[np.float64]]) -> dict[str, object]:
        out: dict[str, object] = {}
        for name, each in values.items():
            counts = ~np.isnan(each)
            out[name] = round(float(each[counts].mean()), 4) if counts.any() else None
            out[f"{name}_interval"] = interval(each[counts], self.events.sessions[counts]) if counts.any() else None
        return out

    def against(self, ours: Int32, theirs: Int32) -> dict[str, object]:
        """Ours less theirs with 95 % paired bootstrap intervals over sessions."""
        both = [gain(self.values(ours, new=new), self.values(theirs, new=new), self.events.sessions) for new in (False, True)]
        return {**both[0], "no_repeated_artist": both[1]}


def split(plays: Plays, fold: int = 0) -> tuple[Plays, Plays]:
    """(head, cut): the last tenth of the sessions by time is the cut of fold 0, the tenth before it that of fold 1."""
    n = int(plays.session[-1]) + 1
    size = max(1, round(CUT * n))
    last = n - fold * size
    return plays.where(plays.session < last - size), plays.where((plays.session >= last - size) & (plays.session < last))


def heard(plays: Plays) -> NDArray[np.bool_]:
    """Per item of the dictionary whether it was played, (n_items,)."""
    return np.bincount(plays.item[plays.item >= 0], minlength=len(plays.items)) > 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `segue benchmark next`."""
    parser.add_argument("--train", required=True, help="Parquet: session, position, item[, user][, at][, artist]")
    parser.add_argument("--test", required=True, help="Parquet with the same columns")
    parser.add_argument("--k", type=int, default=20, help="length of the lists")
    parser.add_argument("--item", default="item", help="the column to predict")
    parser.add_argument("--versus", choices=tuple(MODELS), help="compare with this model instead of the best one on the cut")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Choose on the cut of train, fit on train, and look at the test once."""
    train = read(args.train, args.item)
    head, cut = split(train)
    past, events = history(head), Events.of(cut, heard(head))
    if not len(events):
        raise BadInput(f"{args.train}: no song of the last tenth of its sessions was played before; more sessions are needed")
    say(f"{len(train):,} plays of {len(train.items):,} items; {len(events):,} events on the cut")
    began = time.process_time()
    chosen, best = choose(past, events, args.k)
    choice = learn(train, chosen)
    choose_cpu = time.process_time() - began
    fitted = fit(history(train), chosen)
    test = Events.of(read(args.test, args.item, train), heard(train))
    if not len(test):
        raise BadInput(f"{args.test}: no song after the first of a session is known from {args.train}")
    began = time.process_time()
    answers = answer(fitted, choice, test, args.k)
    score_cpu = time.process_time() - began
    judge = Judge(test, test.repeats_artist(), args.k)
    say(f"{len(test):,} events in the test, {judge.repeats.mean():.1%} repeat an artist")
    rival = args.versus or best
    figures = {name: judge.figures(items) for name, items in answers.items()}
    return {
        "item": args.item,
        "events": len(test),
        "share_repeating_an_artist": round(float(judge.repeats.mean()), 4),
        "model": "blend",
        **figures.pop("blend"),
        "versus": {"model": rival, **judge.against(answers["blend"], answers[rival])},
        "fit_cpu_s": round(sum(fitted.cpu_s.values()), 2),
        "choose_cpu_s": round(choose_cpu, 1),
        "score_cpu_ms_an_event": round(1000 * score_cpu / max(len(test), 1), 3),
        "models": {name: {**found, "fit_cpu_s": fitted.cpu_s[name]} for name, found in figures.items()},
        "hyperparameters": chosen,
    }
