"""The next song of a session after those before it: each source, simple baselines, and a blend learned on a cut of train."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from segue.benchmarks._blend import Choice, Lists, Pairs, ask, best_of, interval, ranks, say, search
from segue.benchmarks._listening import Events, Plays, history, read
from segue.candidates._pull import Reading
from segue.candidates._shelves import decayed_plays, learn_taste, one_each
from segue.candidates._sparse import take_top
from segue.candidates.artist import Artist
from segue.candidates.cooccurrence import Cooccurrence
from segue.candidates.session_knn import SessionKnn
from segue.candidates.user_knn import UserKnn
from segue.core.errors import BadInput
from segue.core.types import Float32, History, Int32, Query, Scored

CUT = 0.1
"""The last share of the sessions of train: hyperparameters and the blend are chosen there."""
WIDTH, DEPTH = 50, 200
"""What each source offers to the blend, and how deep its list is read for what the others offer."""
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
    "popularity": (Popular, {}),
    "trending": (Trending, {"half_life_days": (30.0, 10.0, 90.0)}),
    "own": (Own, {"half_life_days": (180.0, 60.0, 720.0)}),
    "just_played": (JustPlayed, {}),
}
"""Each model with what its hyperparameters may be, the default first."""


@dataclass(frozen=True)
class Fitted:
    """The models of one fit and the CPU seconds each took."""

    models: dict[str, Any]
    cpu_s: dict[str, float]

    def lists(self, events: Events, k: int) -> dict[str, Lists]:
        """The k best of every model for every event."""
        return {name: ask(model, events.queries(), k) for name, model in self.models.items()}


def fit(past: History, chosen: dict[str, dict[str, Any]]) -> Fitted:
    """Every model on the history, with its chosen hyperparameters."""
    models, cpu = {}, {}
    for name, (kind, _) in MODELS.items():
        began = time.process_time()
        models[name] = kind(**chosen[name]).fit(past, np.random.default_rng(0))
        cpu[name] = round(time.process_time() - began, 3)
    return Fitted(models, cpu)


def choose(past: History, events: Events, k: int) -> dict[str, dict[str, Any]]:
    """Hyperparameters of each model: hit@k + MRR@k on a sample of the events of the cut."""
    rng = np.random.default_rng(1)
    sample = events.take(np.sort(rng.choice(len(events), min(SAMPLE, len(events)), replace=False)))
    queries = list(sample.queries())
    chosen = {}
    for name, (kind, grid) in MODELS.items():

        def quality(values: dict[str, Any], kind: Callable[..., Any] = kind) -> float:
            model = kind(**values).fit(past, np.random.default_rng(0))
            place = ranks(ask(model, queries, k).items, sample.targets)
            return float(np.mean(place < k) + np.mean(np.where(place < k, 1 / (1.0 + place), 0)))

        chosen[name], reached = search(grid, quality) if grid else ({}, quality({}))
        say(f"{name}: hit@{k} + mrr@{k} {reached:.4f} on the cut with {chosen[name]}")
    return chosen


def evidence(events: Events, lists: dict[str, Lists], n_items: int) -> tuple[Pairs, Float32]:
    """The union of the lists and its features: what each model says, and how much this session repeats itself."""
    pairs = Pairs.of([part.items[:, :WIDTH] for part in lists.values()], n_items)
    columns = {name: pairs.columns(part, n_items) for name, part in lists.items()}
    repeating = events.repeating()[pairs.query, None]
    again = columns["just_played"][:, [0, 3]] * repeating * 4
    own = columns["own"][:, :1] * columns["just_played"][:, :1]
    return pairs, np.concatenate([*columns.values(), again, own], axis=1)


def measure(items: Int32, events: Events, repeats: NDArray[np.bool_], k: int) -> dict[str, object]:
    """hit@k and MRR@k with intervals over sessions, and on the events that repeat no artist."""
    place = ranks(items[:, :k], events.targets)
    hit = (place < k).astype(np.float64)
    reciprocal = np.where(place < k, 1 / (1.0 + place), 0.0)
    new = ~repeats
    return {
        f"hit@{k}": round(float(hit.mean()), 4),
        f"hit@{k}_interval": interval(hit, events.sessions),
        f"mrr@{k}": round(float(reciprocal.mean()), 4),
        f"mrr@{k}_interval": interval(reciprocal, events.sessions),
        "no_repeated_artist": {
            f"hit@{k}": round(float(hit[new].mean()), 4),
            f"mrr@{k}": round(float(reciprocal[new].mean()), 4),
        },
    }


def split(plays: Plays) -> tuple[Plays, Plays]:
    """(head, cut): the last tenth of the sessions by time is the cut."""
    n = int(plays.session[-1]) + 1
    cut = plays.session >= n - max(1, round(CUT * n))
    return plays.where(~cut), plays.where(cut)


def heard(plays: Plays) -> NDArray[np.bool_]:
    """Per item of the dictionary whether it was played, (n_items,)."""
    return np.bincount(plays.item[plays.item >= 0], minlength=len(plays.items)) > 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `segue benchmark next`."""
    parser.add_argument("--train", required=True, help="Parquet: session, position, item[, user][, at][, artist]")
    parser.add_argument("--test", required=True, help="Parquet with the same columns")
    parser.add_argument("--k", type=int, default=20, help="length of the lists")
    parser.add_argument("--item", default="item", help="the column to predict")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Choose on the cut of train, fit on train, and look at the test once."""
    train = read(args.train, args.item)
    head, cut = split(train)
    past, events = history(head), Events.of(cut, heard(head))
    if not len(events):
        raise BadInput(f"{args.train}: no song of the last tenth of its sessions was played before; more sessions are needed")
    say(f"{len(train):,} plays of {len(train.items):,} items; {len(events):,} events on the cut")
    began = time.process_time()
    chosen = choose(past, events, args.k)
    pairs, features = evidence(events, fit(past, chosen).lists(events, DEPTH), past.n_items)
    choice = Choice().fit(features, pairs.ptr, pairs.item == events.targets[pairs.query])
    choose_cpu = time.process_time() - began
    whole = history(train)
    fitted = fit(whole, chosen)
    test = Events.of(read(args.test, args.item, train), heard(train))
    if not len(test):
        raise BadInput(f"{args.test}: no song after the first of a session is known from {args.train}")
    began = time.process_time()
    lists = fitted.lists(test, max(DEPTH, args.k))
    pairs, features = evidence(test, lists, whole.n_items)
    blended = best_of(pairs, choice.score(features), args.k)
    score_cpu = time.process_time() - began
    repeats = test.repeats_artist()
    say(f"{len(test):,} events in the test, {repeats.mean():.1%} repeat an artist")
    models = {name: measure(part.items, test, repeats, args.k) for name, part in lists.items()}
    return {
        "item": args.item,
        "events": len(test),
        "share_repeating_an_artist": round(float(repeats.mean()), 4),
        "model": "blend",
        **measure(blended, test, repeats, args.k),
        "fit_cpu_s": round(sum(fitted.cpu_s.values()), 2),
        "choose_cpu_s": round(choose_cpu, 1),
        "score_cpu_ms_an_event": round(1000 * score_cpu / max(len(test), 1), 3),
        "models": {name: {**models[name], "fit_cpu_s": fitted.cpu_s[name]} for name in models},
        "hyperparameters": chosen,
    }
