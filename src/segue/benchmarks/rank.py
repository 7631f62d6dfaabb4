"""Will this play be finished? Rankers side by side on plays split by time, with frozen and with running features."""

from __future__ import annotations

import argparse
import importlib.util
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.benchmarks._blend import say
from segue.benchmarks._rank_data import read, until
from segue.benchmarks._rank_judge import judge, loss, versus
from segue.core.errors import BadInput
from segue.core.types import Bool, Float32, Int64, Sparse
from segue.features.plays import PlayFeatures, Plays, refreshed, sparse_of_plays
from segue.ranking.boosting import Boosting
from segue.ranking.forest import Forest
from segue.ranking.logistic import Logistic, newton, platt, sigmoid

Float64 = NDArray[np.float64]
REFRESHES = 20
"""How often frozen features of train were renewed over its span."""
CUTS = (0.55, 0.7, 0.85, 1.0)
"""Shares of train: models learn up to each but the last and are tried on what comes until the next; the pooled loss chooses."""
GRIDS: dict[str, list[dict[str, Any]]] = {
    "logistic": [{"reg": reg} for reg in (3.0, 30.0, 300.0)],
    "forest": [{"least": least, "max_leaves": 127, "epochs": 100} for least in (10, 30)],
    "boosting": [
        {"max_leaves": leaves, "columns": columns, "learning_rate": 0.04, "epochs": 400, "patience": 40}
        for leaves in (4, 7, 15)
        for columns in (0.15, 0.3)
    ],
    "deep": [
        {"embedding_size": size, "dropout": dropout, "forget": forget, "epochs": 10, "batch": 512}
        for size, dropout, forget in ((4, 0.2, 0.1), (16, 0.4, 0.3))
    ],
}
NAMES = tuple(GRIDS)
SEEDS = 3
"""Models of a kind that learn with other seeds, averaged on the logit; their choice is made with one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `segue benchmark rank`."""
    parser.add_argument(
        "--train", required=True, help="Parquet: user, item, at, played_s, duration_s, and what is known before"
    )
    parser.add_argument("--test", required=True, help="Parquet with the same columns, later in time")
    parser.add_argument("--models", default=",".join(NAMES), help="some of " + ", ".join(NAMES) + "; all by default")


@dataclass(frozen=True)
class Table:
    """Plays with features, and which of them teach and which are asked."""

    rows: Float32
    sparse: Sparse
    names: tuple[str, ...]
    finished: Bool
    teach: NDArray[np.intp]
    asked: NDArray[np.intp]
    user: Int64


def table_of(plays: Plays, cut: int, *, running: bool, ordered: bool) -> Table:
    """Features of all plays as the protocol allows them. Running: plays strictly earlier. Frozen: as last refreshed, for
    the plays from `cut` on at `cut`."""
    every = max(1, (cut - int(plays.at.min())) // REFRESHES)
    known = plays.at if running else refreshed(plays.at, cut, every)
    features = PlayFeatures(running=running, ids_ordered=ordered)
    rows = features.rows(plays, known)
    judged = plays.judged
    teach, asked = np.flatnonzero(judged & (plays.at < cut)), np.flatnonzero(judged & (plays.at >= cut))
    truth = plays.finished
    if len(asked) == 0 or len(teach) < 100 or truth[teach].all() or not truth[teach].any():
        raise BadInput("expected finished (> 80 % heard) and skipped plays (< 10 %) before and after the cut: too few found")
    return Table(rows, sparse_of_plays(plays, known), features.names, truth, teach, asked, plays.user)


def fitted(name: str, values: dict[str, Any], table: Table, seeds: int) -> Float64:
    """Logits of a kind of ranker for the plays that are asked, averaged over seeds."""
    teach, asked = table.teach, table.asked
    truth, ones, played = table.finished[teach], np.ones(len(teach), np.float32), np.ones(len(teach), np.bool_)
    rows, then = table.rows[teach], table.rows[asked]
    if name == "logistic":
        rows, then = spread_out(rows, then)
        p = Logistic(**values).fit_rows(rows, truth, ones, played).probabilities(then)
        return _logit(p)
    total = np.zeros(len(asked))
    for seed in range(seeds):
        if name == "deep":
            from segue.ranking.deep import Deep

            deep = Deep(seed=seed, **values).fit_rows(rows, truth, ones, played, table.sparse.take(teach))
            p = deep.probabilities(then, table.sparse.take(asked))
        else:
            kind: Any = Boosting if name == "boosting" else Forest
            p = kind(seed=seed, **values).fit_rows(rows, truth, ones, played).probabilities(then)
        total += _logit(p) / seeds
    return total


def spread_out(rows: Float32, then: Float32, pieces: int = 6) -> tuple[Float32, Float32]:
    """Columns for a linear model: NaN as the mean with a mark, and hinges at the quantiles of rows, so that a line may bend."""
    out: list[list[Float32]] = [[], []]
    for column in range(rows.shape[1]):
        known = rows[:, column][~np.isnan(rows[:, column])]
        if len(known) == 0:
            continue
        mean, holes = float(known.mean()), bool(np.isnan(rows[:, column]).any())
        knots = np.unique(np.quantile(known, np.linspace(0, 1, pieces + 1)[1:-1]))
        for place, table in enumerate((rows, then)):
            x = table[:, column]
            filled = np.clip(np.where(np.isnan(x), mean, x), known.min(), known.max())
            out[place] += [filled, *(np.maximum(filled - knot, 0) for knot in knots)]
            if holes:
                out[place].append(np.isnan(x))
    first, second = (np.column_stack(part).astype(np.float32) for part in out)
    return first, second


def _logit(p: Float64) -> Float64:
    q = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(q / (1 - q)))


def mixture(logits: Mapping[str, Float64], truth: Bool) -> dict[str, float]:
    """Weights of models on the logit and "1", by logistic regression on the cut; a model with a negative one is left out."""
    names = list(logits)
    while True:
        table = np.column_stack([*(logits[name] for name in names), np.ones(len(truth))])
        weights = newton(table, truth, np.ones(len(truth)), (1.0, 50, 1e-8))
        if len(names) == 1 or weights[:-1].min() >= 0:
            return {**dict(zip(names, weights[:-1].tolist(), strict=True)), "1": float(weights[-1])}
        names.pop(int(np.argmin(weights[:-1])))


def mixed(logits: Mapping[str, Float64], weights: Mapping[str, float]) -> Float64:
    """Probabilities of the mixture."""
    total = weights["1"] + sum(weight * logits[name] for name, weight in weights.items() if name != "1")
    return sigmoid(np.asarray(total))


def trials_of(plays: Plays, cut: int, *, running: bool, ordered: bool) -> list[Table]:
    """Rolling cuts of what lies before `cut`: the earlier plays teach, those until the next cut are asked."""
    at = np.sort(plays.at[plays.at < cut])
    ends = [int(at[int(share * len(at))]) if share < 1 else cut for share in CUTS]
    return [table_of(until(plays, end), inner, running=running, ordered=ordered) for inner, end in pairwise(ends)]


def choose(name: str, trials: list[Table], truth: Bool) -> tuple[dict[str, Any], Float64]:
    """The hyperparameters of a kind with the least log loss over the trials, calibrated there, and its logits."""
    best: tuple[float, dict[str, Any], Float64] | None = None
    for values in GRIDS[name]:
        began = time.process_time()
        logit = np.concatenate([fitted(name, values, trial, 1) for trial in trials])
        reached = float(loss(mixed({name: logit}, mixture({name: logit}, truth)), truth).mean())
        say(f"{name}: log loss {reached:.4f} with {values} ({time.process_time() - began:.0f} CPU s)")
        if best is None or reached < best[0]:
            best = reached, values, logit
    assert best is not None
    return best[1], best[2]


def baselines(table: Table) -> dict[str, Float64]:
    """Single figures as probabilities of the plays that are asked, each mapped by how it fared on train."""
    out = {"global rate": np.full(len(table.asked), table.finished[table.teach].mean())}
    for name in ("item_finish", "user_finish", "length_chance", "own_finish"):
        column = table.rows[:, table.names.index(name)].astype(np.float64)
        first, then = (_logit(np.clip(column[rows], 1e-3, 1 - 1e-3)) for rows in (table.teach, table.asked))
        line = platt(first, table.finished[table.teach])
        out[name] = sigmoid(line[0] + line[1] * then)
    return out


def study(plays: Plays, cut: int, names: list[str], *, running: bool, ordered: bool) -> dict[str, Any]:
    """One protocol: choose on rolling cuts of train, learn from train, judge on the test once."""
    clock = [time.process_time()]
    trials = trials_of(plays, cut, running=running, ordered=ordered)
    tried_on = np.concatenate([trial.finished[trial.asked] for trial in trials])
    chosen, tried = {}, {}
    for name in names:
        chosen[name], tried[name] = choose(name, trials, tried_on)
    weights = mixture(tried, tried_on)
    lines = {name: mixture({name: tried[name]}, tried_on) for name in names}
    reached = {name: mixed(tried, lines[name]) for name in names} | {"mixture": mixed(tried, weights)}
    clock.append(time.process_time())
    table = table_of(plays, cut, running=running, ordered=ordered)
    logits = {name: fitted(name, chosen[name], table, SEEDS) for name in names}
    clock.append(time.process_time())
    said = {name: mixed(logits, lines[name]) for name in names} | {"mixture": mixed(logits, weights)}
    on_the_cut = {name: round(float(loss(p, tried_on).mean()), 4) for name, p in reached.items()}
    return {
        **tell(table, said, min(on_the_cut, key=lambda name: on_the_cut[name]), gauc=not running),
        "features": list(table.names),
        "on_the_cut": on_the_cut,
        "weights": {name: round(weight, 3) for name, weight in weights.items()},
        "hyperparameters": chosen,
        "choose_cpu_s": round(clock[1] - clock[0], 1),
        "fit_cpu_s": round(clock[2] - clock[1], 1),
    }


def tell(table: Table, said: Mapping[str, Float64], best: str, *, gauc: bool) -> dict[str, Any]:
    """The figures of the one chosen on the cut first, then of every model and baseline, and differences to boosting."""
    truth, user = table.finished[table.asked], table.user[table.asked]
    out: dict[str, Any] = {"model": best, **judge(said[best], truth, user, gauc=gauc)}
    alone = [{"baseline": name, **judge(p, truth, user, gauc=gauc)} for name, p in baselines(table).items()]
    out["best_baseline"] = min(alone, key=lambda one: float(str(one["logloss"])))
    out["labels"], out["rate"] = len(truth), round(float(truth.mean()), 4)
    out["models"] = [{"model": name, **judge(p, truth, user, gauc=gauc)} for name, p in said.items()]
    out["baselines"] = alone
    other = "boosting" if "boosting" in said else next(iter(said))
    out["paired"] = [
        {"difference": f"{name} - {other}", **versus(p, said[other], truth, user)} for name, p in said.items() if name != other
    ]
    return out


def run(args: argparse.Namespace) -> dict[str, object]:
    """Both protocols."""
    names = [name.strip() for name in args.models.split(",") if name.strip()]
    unknown = sorted(set(names) - set(NAMES))
    if unknown or not names:
        raise BadInput(f"--models: expected some of {', '.join(NAMES)}, found {', '.join(unknown) or 'none'}", "models")
    notes = []
    if "deep" in names and any(importlib.util.find_spec(library) is None for library in ("torch", "onnx", "onnxruntime")):
        names.remove("deep")
        notes.append("without the deep ranker: it needs the extra `deep`")
    plays, cut, ordered = read(args.train, args.test)
    say(f"{len(plays):,} plays, {int((plays.at >= cut).sum()):,} of them asked about")
    out: dict[str, object] = {}
    for protocol in ("frozen", "running"):
        say(f"{protocol} features")
        out[protocol] = study(plays, cut, names, running=protocol == "running", ordered=ordered)
    return {**out, "notes": notes, "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
