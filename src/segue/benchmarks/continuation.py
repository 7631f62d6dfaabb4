"""Playlists continued from their first songs: each source and a blend learned on playlists cut from train."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from segue.benchmarks._blend import Choice, Lists, Pairs, ask, best_of, gain, interval, say, search
from segue.benchmarks.next_item import Popular
from segue.candidates._pull import Reading
from segue.candidates.als import Als
from segue.candidates.artist import Artist
from segue.candidates.cooccurrence import Cooccurrence
from segue.candidates.session_knn import SessionKnn
from segue.core.errors import BadInput
from segue.core.types import MISSING, Float32, History, Int32, Int64, Items, Query, Recent

FOLDS = 5
"""Train's playlists are cut at random into so many parts: hyperparameters are chosen on one, the blend learns from all."""
K = 100
"""Length of the lists that are judged."""
WIDTH, DEPTH = 200, 1000
"""What each source offers to the blend, and how deep its list is read for what the others offer."""
REACH = 10_000
"""A playlist is one place: every song in it is a neighbour of every other."""


@dataclass(frozen=True)
class Playlists:
    """CSR: items[ptr[i] : ptr[i + 1]] in order of position."""

    ptr: Int64
    items: Int32

    def __len__(self) -> int:
        return len(self.ptr) - 1

    def of(self, i: int) -> Int32:
        """The songs of one playlist."""
        return self.items[self.ptr[i] : self.ptr[i + 1]]

    def take(self, which: Int64) -> Playlists:
        """Some playlists."""
        return Playlists.join([self.of(int(i)) for i in which])

    @staticmethod
    def join(parts: Sequence[Int32]) -> Playlists:
        """Playlists from one array each."""
        sizes = np.array([len(part) for part in parts], np.int64)
        items = np.concatenate([np.zeros(0, np.int32), *parts]).astype(np.int32)
        return Playlists(np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes))), items)


@dataclass(frozen=True)
class Task:
    """Seeds and what they stand for: playlist i of `seeds` goes on with the songs of playlist i of `answers`."""

    seeds: Playlists
    answers: Playlists

    def queries(self) -> list[Query]:
        """A newcomer who has just finished the seeds, in order."""
        out = []
        for i in range(len(self.seeds)):
            items = self.seeds.of(i)[::-1]
            ones, at = np.ones(len(items), np.float32), np.zeros(len(items), np.int64)
            out.append(Query(0, MISSING, 0, recent=Recent(items, ones, ones, at, np.ones(len(items), np.bool_))))
        return out

    def held(self, query: Int64, item: Int32, n_items: int) -> NDArray[np.bool_]:
        """Whether each (query, item) is an answer."""
        return np.isin(query * np.int64(n_items) + item, keys_of(self.answers, n_items))


def keys_of(lists: Playlists, n_items: int) -> Int64:
    """playlist * n_items + item of every place."""
    owner = np.repeat(np.arange(len(lists), dtype=np.int64), np.diff(lists.ptr))
    return owner * n_items + lists.items


def unheard(lists: Lists, task: Task, n_items: int, depth: int) -> Lists:
    """The lists without the seeds, `depth` long."""
    query = np.arange(len(lists.items), dtype=np.int64)[:, None]
    known = np.isin(query * n_items + lists.items, keys_of(task.seeds, n_items))
    items = np.where(known, MISSING, lists.items)
    order = np.argsort(items == MISSING, axis=1, kind="stable")[:, :depth]
    return Lists(np.take_along_axis(items, order, 1), np.take_along_axis(lists.scores, order, 1))


def ndcg(items: Int32, task: Task, n_items: int) -> NDArray[np.float64]:
    """NDCG@100 of each playlist."""
    hit, gain = hits(items, task, n_items), 1 / np.log2(2 + np.arange(K))
    ideal = np.cumsum(gain)[np.minimum(np.diff(task.answers.ptr), K) - 1]
    return np.asarray((hit * gain[: hit.shape[1]]).sum(axis=1) / ideal, np.float64)


def hits(items: Int32, task: Task, n_items: int) -> NDArray[np.bool_]:
    """Which places of the first 100 hold an answer."""
    items = items[:, :K]
    query = np.broadcast_to(np.arange(len(items), dtype=np.int64)[:, None], items.shape)
    return np.asarray(task.held(query, items, n_items) & (items != MISSING), np.bool_)


def values(items: Int32, task: Task, n_items: int) -> dict[str, NDArray[np.float64]]:
    """R-precision (cut at the number held out, at most 100), NDCG@100 and recall@100 of each playlist, (n,) each."""
    hit = hits(items, task, n_items)
    held = np.minimum(np.diff(task.answers.ptr), K)
    place = np.arange(hit.shape[1])
    return {
        "r_precision": (hit & (place < held[:, None])).sum(axis=1) / held,
        "ndcg@100": ndcg(items, task, n_items),
        "recall@100": hit.sum(axis=1) / np.diff(task.answers.ptr),
    }


def measure(items: Int32, task: Task, n_items: int) -> dict[str, object]:
    """The means of values, with 95 % bootstrap intervals over playlists."""
    out: dict[str, object] = {}
    for name, each in values(items, task, n_items).items():
        out[name] = round(float(each.mean()), 4)
        out[f"{name}_interval"] = interval(each, np.arange(len(each)))
    return out


def history(playlists: Playlists, facts: Items) -> History:
    """Every playlist as the one session of a listener who finished all of it."""
    owner = np.repeat(np.arange(len(playlists), dtype=np.int32), np.diff(playlists.ptr))
    n = len(owner)
    at, signal = np.zeros(n, np.uint32), np.ones(n, np.int8)
    return History(len(playlists), len(facts), 0, owner, playlists.items, at, signal, owner, facts)


def session_knn(recency: float = 1.0, **rest: Any) -> SessionKnn:
    """Playlist kNN: SessionKnn with the whole playlist as one place."""
    return SessionKnn(reach=REACH, reading=Reading(recency=recency), **rest)


def cooccurrence(recency: float = 1.0, **rest: Any) -> Cooccurrence:
    """Cooccurrence with the whole playlist as one place."""
    return Cooccurrence(window=REACH, neighbours=500, reading=Reading(recency=recency), **rest)


def near(recency: float = 0.7, **rest: Any) -> Cooccurrence:
    """Cooccurrence as on the radio: songs that stand close, later ones and earlier ones."""
    return Cooccurrence(neighbours=500, reading=Reading(recency=recency), **rest)


def artist(**rest: Any) -> Artist:
    """Artist with every song of it within reach."""
    return Artist(shelf=500, reading=Reading(recency=1.0), **rest)


def als(**rest: Any) -> Als:
    """Als on everything there is."""
    return Als(window_days=1e6, threads=1, **rest)


MODELS: dict[str, tuple[Callable[..., Any], dict[str, tuple[Any, ...]]]] = {
    "session_knn": (
        session_knn,
        {
            "place_decay": (1.0, 0.98),
            "length_norm": (0.5, 0.25, 0.75),
            "popularity_exponent": (0.0, 0.2, 0.4),
            "neighbours": (200, 500, 100),
            "sample": (1000, 200),
            "recency": (1.0, 0.9),
        },
    ),
    "cooccurrence": (
        cooccurrence,
        {
            "popularity_exponent": (0.5, 0.3, 0.4, 0.6),
            "place_decay": (1.0, 0.97),
            "shrink": (1.0, 0.0, 3.0),
            "recency": (1.0, 0.9),
        },
    ),
    "near": (
        near,
        {"window": (8, 20), "place_decay": (0.8, 0.9), "popularity_exponent": (0.3, 0.5), "backward": (1.0, 0.5)},
    ),
    "als_narrow": (als, {"embedding_size": (32,), "unobserved_weight": (0.03, 0.1), "reg": (0.01, 0.03), "epochs": (16,)}),
    "als": (
        als,
        {
            "embedding_size": (128, 256),
            "unobserved_weight": (0.1, 0.03, 0.01),
            "reg": (0.01, 0.003, 0.03),
            "epochs": (8, 16),
        },
    ),
    "artist": (artist, {"album_weight": (0.3, 1.0, 3.0)}),
    "popularity": (Popular, {}),
}
"""Each model with what its hyperparameters may be, the default first."""


@dataclass(frozen=True)
class Fitted:
    """The models of one fit on a history, and the CPU seconds each took."""

    history: History
    models: dict[str, Any]
    cpu_s: dict[str, float]

    def lists(self, task: Task) -> dict[str, Lists]:
        """What every model offers for every playlist, without its seeds."""
        n = self.history.n_items
        asked = DEPTH + int(np.diff(task.seeds.ptr).max(initial=0))
        return {name: unheard(ask(model, task.queries(), asked), task, n, DEPTH) for name, model in self.models.items()}

    def evidence(self, task: Task, lists: dict[str, Lists]) -> tuple[Pairs, Float32]:
        """The union of the lists and its features: what each model says, plays, and seeds of the same artist and album."""
        facts, n = self.history.facts, self.history.n_items
        pairs = Pairs.of([part.items[:, :WIDTH] for part in lists.values()], n)
        plays = np.log1p(np.bincount(self.history.item, minlength=n))[pairs.item]
        kin = [_kin(pairs, task.seeds, column) for column in (facts.artist, facts.album)]
        extra = np.stack([plays, plays == 0, *kin, *(count > 0 for count in kin)], axis=1).astype(np.float32)
        columns = [pairs.columns(part, n) for part in lists.values()]
        shares = np.stack([column[:, 1] for column in columns], axis=1)
        one, other = np.triu_indices(len(columns))  # songs that several models name are worth more than the sum
        return pairs, np.concatenate([*columns, extra, shares[:, one] * shares[:, other]], axis=1)


def _kin(pairs: Pairs, seeds: Playlists, group: Int32) -> Float32:
    """Share of the seeds that are of the pair's group (artist, album), (p,)."""
    width = int(group.max(initial=0)) + 2
    counts = np.zeros((len(seeds), width), np.float32)
    owner = np.repeat(np.arange(len(seeds)), np.diff(seeds.ptr))
    np.add.at(counts, (owner, group[seeds.items]), 1.0)  # MISSING counts in the last column
    counts[:, -1] = 0
    return np.asarray(counts[pairs.query, group[pairs.item]] / np.maximum(np.diff(seeds.ptr), 1)[pairs.query], np.float32)


def fit(past: History, chosen: dict[str, dict[str, Any]]) -> Fitted:
    """Every model on the history, with its chosen hyperparameters."""
    models, cpu = {}, {}
    for name, (kind, _) in MODELS.items():
        began = time.process_time()
        models[name] = kind(**chosen[name]).fit(past, np.random.default_rng(0))
        cpu[name] = round(time.process_time() - began, 3)
    return Fitted(past, models, cpu)


def choose(past: History, task: Task) -> tuple[dict[str, dict[str, Any]], str]:
    """Hyperparameters of each model by NDCG@100 on the playlists of the cut; and the best model there."""
    chosen, reached = {}, {}
    asked = K + int(np.diff(task.seeds.ptr).max(initial=0))
    for name, (kind, grid) in MODELS.items():

        def quality(values: dict[str, Any], kind: Callable[..., Any] = kind) -> float:
            model = kind(**values).fit(past, np.random.default_rng(0))
            lists = unheard(ask(model, task.queries(), asked), task, past.n_items, K)
            return float(ndcg(lists.items, task, past.n_items).mean())

        chosen[name], reached[name] = search(grid, quality) if grid else ({}, quality({}))
        say(f"{name}: ndcg@{K} {reached[name]:.4f} on the cut with {chosen[name]}")
    return chosen, max(reached, key=reached.__getitem__)


def cut(playlists: Playlists, n_seeds: int, fold: int) -> tuple[Playlists, Task]:
    """(the rest, the task): one of FOLDS random parts of the playlists, their first n_seeds songs the seeds, as in the test."""
    drawn = np.sort(np.random.default_rng(0).permutation(len(playlists))[fold::FOLDS])
    drawn = drawn[np.diff(playlists.ptr)[drawn] > n_seeds]
    parts = [playlists.of(int(i)) for i in drawn]
    task = Task(Playlists.join([p[:n_seeds] for p in parts]), Playlists.join([p[n_seeds:] for p in parts]))
    return playlists.take(np.setdiff1d(np.arange(len(playlists)), drawn)), task


def learn(train: Playlists, facts: Items, chosen: dict[str, dict[str, Any]], n_seeds: int) -> Choice:
    """The blend, from every playlist of train as models see it that were fitted without it (stacking, Wolpert 1992)."""
    features, sizes, answers = [], [np.zeros(1, np.int64)], []
    for fold in range(FOLDS):
        rest, task = cut(train, n_seeds, fold)
        if len(task.seeds):
            fitted = fit(history(rest, facts), chosen)
            pairs, columns = fitted.evidence(task, fitted.lists(task))
            features.append(columns)
            sizes.append(np.diff(pairs.ptr))
            answers.append(task.held(pairs.query, pairs.item, len(facts)))
            say(f"evidence of fold {fold + 1} of {FOLDS}: {len(columns):,} rows")
    ptr = np.cumsum(np.concatenate(sizes))
    return Choice().fit(np.concatenate(features), ptr, np.concatenate(answers))


def read(args: argparse.Namespace) -> tuple[Playlists, Task, Items]:
    """Train, the test's task, and facts; every item of any file is a candidate. BadInput names a missing column."""
    tables = [pq.read_table(path) for path in (args.train, args.seeds, args.held_out)]
    for path, table in zip((args.train, args.seeds, args.held_out), tables, strict=True):
        for column in ("playlist", "position", "item"):
            if column not in table.column_names:
                raise BadInput(f"{path} needs a column {column!r}; it has {', '.join(table.column_names)}", column)
    columns = [{name: table[name].to_numpy() for name in ("playlist", "position", "item")} for table in tables]
    about = pq.read_table(args.items) if args.items else None
    listed = [] if about is None else [about["item"].to_numpy()]
    names = np.unique(np.concatenate([*(part["item"] for part in columns), *listed]))
    facts = Items.bare(len(names))
    if about is not None:
        rows = np.searchsorted(names, about["item"].to_numpy())
        groups = [np.full(len(names), MISSING, np.int32) for _ in range(2)]
        for ids, name in zip(groups, ("artist", "album"), strict=True):
            if name in about.column_names:
                ids[rows] = np.unique(about[name].to_numpy(), return_inverse=True)[1]
        facts = replace(facts, artist=groups[0], album=groups[1])
    targets = np.intersect1d(columns[1]["playlist"], columns[2]["playlist"])
    lists = [_playlists(part, names, order) for part, order in zip(columns, (None, targets, targets), strict=True)]
    return lists[0], Task(lists[1], lists[2]), facts


def _playlists(part: dict[str, NDArray[Any]], names: NDArray[Any], wanted: NDArray[Any] | None) -> Playlists:
    """The playlists of a file in order of their name, or the wanted ones."""
    ids = np.unique(part["playlist"]) if wanted is None else wanted
    inside = np.isin(part["playlist"], ids)
    owner = np.searchsorted(ids, part["playlist"][inside])
    order = np.lexsort((part["position"][inside], owner))
    items = np.searchsorted(names, part["item"][inside]).astype(np.int32)[order]
    return Playlists(np.searchsorted(owner[order], np.arange(len(ids) + 1)).astype(np.int64), items)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `segue benchmark continuation`."""
    parser.add_argument("--train", required=True, help="Parquet: playlist, position, item")
    parser.add_argument("--seeds", required=True, help="Parquet: the first songs of the test playlists")
    parser.add_argument("--held-out", required=True, help="Parquet: the rest of the test playlists")
    parser.add_argument("--items", help="Parquet: item[, artist][, album]; every item in it is a candidate")
    parser.add_argument("--versus", choices=tuple(MODELS), help="compare with this model instead of the best one on the cut")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Choose on playlists cut from train, fit on train, and look at the test once."""
    train, test, facts = read(args)
    n = len(facts)
    n_seeds = int(np.median(np.diff(test.seeds.ptr)))
    rest, task = cut(train, n_seeds, 0)
    if not len(task.seeds) or not len(test.seeds):
        raise BadInput(f"playlists with more than {n_seeds} songs are needed in {args.train}, and seeds that are held out from")
    say(f"{len(train):,} playlists of {n:,} songs; {len(task.seeds):,} of them cut, {n_seeds} seeds")
    began = time.process_time()
    chosen, best = choose(history(rest, facts), task)
    rival = args.versus or best
    choice = learn(train, facts, chosen, n_seeds)
    choose_cpu = time.process_time() - began
    fitted = fit(history(train, facts), chosen)
    began = time.process_time()
    lists = fitted.lists(test)
    pairs, features = fitted.evidence(test, lists)
    blended = best_of(pairs, choice.score(features), K)
    score_cpu = time.process_time() - began
    models = {name: measure(part.items, test, n) for name, part in lists.items()}
    return {
        "playlists": len(test.seeds),
        "candidates": n,
        "model": "blend",
        **measure(blended, test, n),
        "versus": {
            "model": rival,
            **gain(values(blended, test, n), values(lists[rival].items, test, n), np.arange(len(blended))),
        },
        "fit_cpu_s": round(sum(fitted.cpu_s.values()), 2),
        "choose_cpu_s": round(choose_cpu, 1),
        "score_cpu_ms_a_playlist": round(1000 * score_cpu / max(len(test.seeds), 1), 2),
        "models": {name: {**models[name], "fit_cpu_s": fitted.cpu_s[name]} for name in models},
        "hyperparameters": chosen,
    }
