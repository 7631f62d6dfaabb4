"""Top-N by the published full-ranking protocol: models chosen on a cut of train, refit on all, the test looked at once."""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from segue.benchmarks._blend import say
from segue.benchmarks._topn import K, Split, cut, judge, ranked, read, tells_order
from segue.benchmarks._topn_blend import blend, choose_weights, pool
from segue.benchmarks._topn_models import FAMILIES, ON_LITTLE, SMALL, Learner, Score, climb, weights_of
from segue.core.errors import BadInput
from segue.core.types import Int64
from segue.evaluation.intervals import bootstrap, paired
from segue.evaluation.ranking import PerList

SAMPLE = 3000
"""Users of a cut that hyperparameters are chosen on, and as many others for the weights of the blend."""
FOLDS = 3
"""A random cut of little data is made so often: one would hold too few users to choose on."""
VALUES = (0.0, 0.3, 1.0)
"""How much the logarithm of a pair's value may count beside that the pair is there."""
Chosen = dict[str, dict[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `segue benchmark topn`."""
    parser.add_argument("--train", required=True, help="Parquet: user, item[, value] (or user_id, item_id)")
    parser.add_argument("--test", required=True, help="Parquet: user, item (or user_id, item_id)")
    parser.add_argument("--cut", choices=("auto", "random", "end"), default="auto", help="what of train to choose on")
    parser.add_argument("--versus", choices=tuple(FAMILIES), help="a model to compare with, pair by pair of users")
    parser.add_argument("--peers", action="store_true", help="also the package implicit, where it is installed")


class Study:
    """Cuts of train with a learner each, and the users that are asked."""

    def __init__(self, split: Split, kind: str) -> None:
        rng = np.random.default_rng(0)
        folds = FOLDS if kind == "random" and split.train.nnz < SMALL else 1
        keys = [split.place if kind == "end" else rng.random(split.train.nnz) for _ in range(folds)]
        self.cuts = [cut(split, key) for key in keys]
        small = split.train.nnz < SMALL
        self.rounds = 2 if small else 1
        self.names = [name for name in FAMILIES if small or name not in ON_LITTLE]
        self.by_value = 0.0
        self.learners = [Learner(weights_of(part.train, 0.0)) for part in self.cuts]
        drawn = [rng.permutation(part.asked()) for part in self.cuts]
        self.users = [np.sort(users[:SAMPLE]) for users in drawn]
        self.others = [np.sort(users[-SAMPLE:]) for users in drawn]
        if not all(map(len, self.users)):
            raise BadInput("no user of train has two items or more: there is nothing to choose on")

    def quality(self, make: Callable[[Learner, dict[str, Any]], Score], values: dict[str, Any]) -> float:
        """(recall@20 + NDCG@20) / 2 over the users of the cuts, of the model that `make` makes of a learner."""
        out = []
        for part, learner, users in zip(self.cuts, self.learners, self.users, strict=True):
            found = judge(ranked(make(learner, values), part, users), part, users)
            out.append((found.recall.mean() + found.ndcg.mean()) / 2)
        return float(np.mean(out))

    def choose(self) -> tuple[Chosen, dict[str, float], dict[str, float]]:
        """Hyperparameters of each model, what it reaches on the cut, and the weights of the blend."""
        self._choose_weights_of_values()
        chosen, reached = {}, {}
        for name in self.names:
            began, grid = time.process_time(), FAMILIES[name][1]
            chosen[name], reached[name] = climb(grid, partial(self.quality, maker(name)), self.rounds)
            say(f"{name}: {reached[name]:.4f} with {chosen[name]} ({time.process_time() - began:.0f} CPU s)")
        pools = []
        for part, learner, users in zip(self.cuts, self.learners, self.others, strict=True):
            pools.append(pool([learner.fit(name, chosen[name]) for name in self.names], part, users))
        weights, reached["blend"] = choose_weights(pools, self.names)
        say(f"blend: {reached['blend']:.4f} with {weights}")
        return chosen, weights, reached

    def _choose_weights_of_values(self) -> None:
        """How much the values of pairs (plays) count, by what the low-pass filter and ALS make of them as they come."""
        if all(part.train.data.min() == part.train.data.max() for part in self.cuts):
            return
        best = 0.0
        for by_value in VALUES:
            before, self.learners = self.learners, [Learner(weights_of(part.train, by_value)) for part in self.cuts]
            starts = {name: {key: start for key, (start, _) in FAMILIES[name][1].items()} for name in ("low_pass", "als")}
            reached = sum(self.quality(maker(name), values) for name, values in starts.items())
            if reached > best:
                best, self.by_value = reached, by_value
            else:
                self.learners = before
        say(f"values count {self.by_value}")


class Prepared(NamedTuple):
    """What was chosen before the test is looked at."""

    split: Split
    users: Int64  # with something held out
    kind: str  # of the cut
    study: Study
    chosen: Chosen
    weights: dict[str, float]
    reached: dict[str, float]


def prepare(args: argparse.Namespace) -> Prepared:
    """Read the files and choose every model's hyperparameters and the weights of the blend on cuts of train."""
    split = read(args.train, args.test)
    users = split.asked()
    if not len(users) or not split.train.nnz:
        raise BadInput(f"{args.train} and {args.test} need at least one pair each")
    kind = args.cut if args.cut != "auto" else ("end" if tells_order(split) else "random")
    say(f"{split.train.nnz:,} pairs of {split.train.shape[0]:,} users and {split.train.shape[1]:,} items; cut: {kind}")
    study = Study(split, kind)
    if args.versus and args.versus not in study.names:
        raise BadInput(f"--versus {args.versus} is only tried on fewer than {SMALL:,} pairs; train has {split.train.nnz:,}")
    return Prepared(split, users, kind, study, *study.choose())


def run(args: argparse.Namespace) -> dict[str, object]:
    """Choose on cuts of train, fit on train, and look at the test once."""
    clock = [time.process_time()]
    split, users, kind, study, chosen, weights, reached = prepare(args)
    clock.append(time.process_time())
    used = {name for name, weight in weights.items() if weight} | {"popularity"} | ({args.versus} if args.versus else set())
    learner = Learner(weights_of(split.train, study.by_value))
    models = {name: learner.fit(name, chosen[name]) for name in FAMILIES if name in used}
    clock.append(time.process_time())
    ours = measure(blend(models, weights), split, users)
    clock.append(time.process_time())
    choose_cpu, fit_cpu, score_cpu = (round(float(s), 1) for s in np.diff(clock))
    out: dict[str, object] = {
        "model": "blend",
        "users": len(users),
        **figures(ours),
        "popularity": figures(measure(models["popularity"], split, users)),
        "cut": kind,
        "by_value": study.by_value,
        "on_the_cut": {name: round(value, 4) for name, value in reached.items()},
        "weights": {name: round(weight, 3) for name, weight in weights.items() if weight},
        "hyperparameters": {name: chosen[name] for name in FAMILIES if name in used},
        "choose_cpu_s": choose_cpu,
        "fit_cpu_s": fit_cpu,
        "score_cpu_s": score_cpu,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    if args.versus:
        out["versus"] = {"model": args.versus, **against(ours, measure(models[args.versus], split, users))}
    if args.peers:
        out["peer"] = peer(study, split, users, ours)
    return out


def measure(score: Score, split: Split, users: Int64) -> PerList:
    """Every user with something held out, all items ranked, train left out."""
    return judge(ranked(score, split, users), split, users)


def figures(found: PerList) -> dict[str, object]:
    """recall@20 and NDCG@20 with 95 % bootstrap intervals over users."""
    out: dict[str, object] = {}
    for name in ("recall", "ndcg"):
        sure = bootstrap(getattr(found, name), np.random.default_rng(0))
        out[f"{name}@{K}"] = round(sure.mean, 4)
        out[f"{name}@{K}_interval"] = [round(sure.low, 4), round(sure.high, 4)]
    return out


def against(ours: PerList, theirs: PerList) -> dict[str, object]:
    """Their figures, and ours less theirs by a paired bootstrap over users."""
    out = figures(theirs)
    for name in ("recall", "ndcg"):
        gain = paired(getattr(ours, name), getattr(theirs, name), np.random.default_rng(0))
        out[f"{name}@{K}_gain"] = round(gain.mean, 4)
        out[f"{name}@{K}_gain_interval"] = [round(gain.low, 4), round(gain.high, 4)]
    return out


def maker(name: str) -> Callable[[Learner, dict[str, Any]], Score]:
    """The model of FAMILIES as Study.quality wants it."""
    return lambda learner, values: learner.fit(name, values)


PEER: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "regularization": (1.0, (0.01, 0.1, 1.0, 10.0, 100.0)),
    "alpha": (1.0, (0.3, 1.0, 3.0, 10.0, 30.0)),
    "factors": (64, (16, 32, 64, 128, 256)),
}


def implicit_als(learner: Learner, values: dict[str, Any]) -> Score:
    """ALS of the package implicit; ImportError where it is not installed."""
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(**values, num_threads=1, random_state=0)
    model.fit(weights_of(learner.rows, 0.0), show_progress=False)
    right = np.ascontiguousarray(model.item_factors.T)
    return lambda users: model.user_factors[users] @ right


def peer(study: Study, split: Split, users: Int64, ours: PerList) -> dict[str, object]:
    """ALS of the package implicit with hyperparameters chosen on the same cut, and ours against it."""
    try:
        chosen, reached = climb(PEER, partial(study.quality, implicit_als), study.rounds)
    except ImportError:
        return {"skipped": "the package implicit is not installed"}
    began = time.process_time()
    score = implicit_als(Learner(split.train), chosen)
    fit_cpu = round(time.process_time() - began, 1)
    theirs = against(ours, measure(score, split, users))
    return {"model": "implicit ALS", **theirs, "on_the_cut": round(reached, 4), "hyperparameters": chosen, "fit_cpu_s": fit_cpu}
