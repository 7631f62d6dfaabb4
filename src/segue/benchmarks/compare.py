"""One table: every model of the house, their blend, `implicit`, `scikit-surprise`, popularity and chance on one split."""

from __future__ import annotations

import argparse
import time
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from scipy import sparse

from segue.benchmarks._blend import say
from segue.benchmarks._topn import Split, columns
from segue.benchmarks._topn_blend import blend
from segue.benchmarks._topn_models import Learner, Score, climb, weights_of
from segue.benchmarks.topn import PEER, Prepared, against, figures, implicit_als, measure, prepare
from segue.core.errors import BadInput
from segue.core.types import Int64
from segue.evaluation.ranking import PerList

SURPRISE: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "reg_all": (0.02, (0.02, 0.05, 0.1)),
    "n_epochs": (20, (10, 20, 40, 60)),
    "n_factors": (100, (20, 50, 100)),
}
"""Where the search for the rating predictor starts (its own defaults) and what it may be."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `segue benchmark compare`."""
    parser.add_argument("--train", required=True, help="Parquet: user, item[, value] (or user_id, item_id)")
    parser.add_argument("--test", required=True, help="Parquet: user, item (or user_id, item_id)")
    parser.add_argument("--cut", choices=("auto", "random", "end"), default="auto", help="what of train to choose on")
    parser.add_argument("--ratings", help="Parquet: user, item, rating of the same ids, for `scikit-surprise` to learn from")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Choose all on the same cuts of train, fit on train, measure on test, and set the blend against each by pairs of users."""
    ready = prepare(argparse.Namespace(train=args.train, test=args.test, cut=args.cut, versus=None))
    rated = None if args.ratings is None else read_ratings(args, ready.split)
    learner = Learner(weights_of(ready.split.train, ready.study.by_value))
    models = {name: learner.fit(name, ready.chosen[name]) for name in ready.study.names}
    mixed = blend(models, ready.weights)
    ours = measure(mixed, ready.split, ready.users)
    table: list[dict[str, object]] = [{"model": "blend", "by": "Segue", **figures(ours)}]
    for name, score in models.items():
        by = "baseline" if name == "popularity" else "Segue"
        table.append({"model": name, "by": by, **_row(ours, score, ready)})
    table.append({"model": "random", "by": "baseline", **_row(ours, _chance(ready.split), ready)})
    for name, peer in (("implicit ALS", _implicit), ("scikit-surprise SVD", partial(_surprise, rated=rated))):
        table.append({"model": name, "by": "peer", **peer(ready, ours)})
    return {
        "users": len(ready.users),
        "cut": ready.kind,
        "weights": {name: round(weight, 3) for name, weight in ready.weights.items() if weight},
        "hyperparameters": ready.chosen,
        "table": sorted(table, key=lambda row: -float(str(row.get("ndcg@20", -1)))),
    }


def _row(ours: PerList, score: Score, ready: Prepared) -> dict[str, object]:
    """A model's figures, and the blend's less them by a paired bootstrap (`gain`)."""
    return against(ours, measure(score, ready.split, ready.users))


def _chance(split: Split) -> Score:
    """A random order for every user, the same at every run."""

    def score(users: Int64) -> Any:
        return np.random.default_rng([0, int(users[0])]).random((len(users), split.train.shape[1]), np.float32)

    return score


def _implicit(ready: Prepared, ours: PerList) -> dict[str, object]:
    """ALS of the package implicit, chosen on the same cuts."""
    if find_spec("implicit") is None:
        return {"skipped": "the package implicit is not installed"}
    chosen, reached = climb(PEER, partial(ready.study.quality, implicit_als), ready.study.rounds)
    say(f"implicit ALS: {reached:.4f} with {chosen}")
    return {**_row(ours, implicit_als(Learner(ready.split.train), chosen), ready), "hyperparameters": chosen}


def read_ratings(args: argparse.Namespace, split: Split) -> sparse.csr_matrix:
    """Ratings as a matrix in the rows and columns of the split, those of test pairs left out."""
    pairs = [columns(path) for path in (args.train, args.test)]
    users, items = (np.unique(np.concatenate([part[k] for part in pairs])) for k in (0, 1))
    user, item, value = columns(args.ratings, "rating")
    known = np.isin(user, users) & np.isin(item, items)
    if not known.any():
        raise BadInput(f"{args.ratings}: none of its users and items is in {args.train}: the ids must be the same")
    place = (np.searchsorted(users, user[known]), np.searchsorted(items, item[known]))
    rated = sparse.csr_matrix((value[known], place), shape=split.train.shape)
    rated = rated - rated.multiply(split.test != 0)
    rated.eliminate_zeros()
    return rated.tocsr()


def _surprise(ready: Prepared, ours: PerList, rated: sparse.csr_matrix | None) -> dict[str, object]:
    """SVD of scikit-surprise, which predicts ratings: items by predicted rating, chosen by the same figure on the same cuts."""
    if rated is None:
        return {"skipped": "it predicts ratings, and there are none here (--ratings)"}
    if find_spec("surprise") is None:
        return {"skipped": "the package scikit-surprise is not installed"}

    def make(learner: Learner, values: dict[str, Any]) -> Score:
        held = ready.split.train - ready.split.train.multiply(learner.rows != 0)  # what the cut has held out
        return svd(rated - rated.multiply(held != 0), values)

    began = time.process_time()
    chosen, reached = climb(SURPRISE, partial(ready.study.quality, make), 1)
    say(f"scikit-surprise SVD: {reached:.4f} with {chosen} ({time.process_time() - began:.0f} CPU s)")
    return {**_row(ours, svd(rated, chosen), ready), "hyperparameters": chosen}


def svd(rated: sparse.csr_matrix, values: dict[str, Any]) -> Score:
    """Predicted ratings of all items for each user, by surprise.SVD."""
    from surprise import SVD, Dataset, Reader

    entries = rated.tocoo()
    kept = entries.data != 0
    rows = zip(entries.row[kept].tolist(), entries.col[kept].tolist(), entries.data[kept].tolist(), strict=True)
    scale = Reader(rating_scale=(float(entries.data[kept].min()), float(entries.data[kept].max())))
    known = Dataset(scale).construct_trainset([(user, item, value, None) for user, item, value in rows])
    model = SVD(random_state=0, **values).fit(known)
    left, right = np.zeros((rated.shape[0], model.pu.shape[1] + 1)), np.zeros((rated.shape[1], model.qi.shape[1] + 1))
    users = [known.to_raw_uid(i) for i in range(known.n_users)]
    items = [known.to_raw_iid(i) for i in range(known.n_items)]
    left[users, :-1], left[:, -1] = model.pu, 1.0
    right[items, :-1], right[items, -1] = model.qi, model.bi  # a user's own mean moves all items alike
    return lambda asked: (left[asked] @ right.T).astype(np.float32)
