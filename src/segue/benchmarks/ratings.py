"""RMSE and MAE of our rating model, chosen on a cut of train, beside the mean, biases alone and `scikit-surprise` SVD."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from segue.core.errors import BadInput
from segue.core.types import Int32
from segue.evaluation.intervals import paired, ratios
from segue.evaluation.splits import random_folds
from segue.ranking.ratings import RatingModel

Float64 = NDArray[np.float64]
Params = dict[str, Any]
OURS: tuple[Params, ...] = tuple(
    {"embedding_size": d, "reg": reg, "reg_bias": bias, "scale": 0.5, "epochs": 20}
    for d, reg, bias in product((16, 32, 64), (1.0, 1.5, 2.0), (0.5, 1.0))
)
BIASES: tuple[Params, ...] = tuple(
    {"embedding_size": 0, "reg": 1.0, "reg_bias": bias, "scale": scale, "epochs": 15}
    for bias, scale in ((0.3, 0.5), (1.0, 0.5), (1.0, 0.0), (3.0, 0.0), (8.0, 0.0))
)
THEIRS: tuple[Params, ...] = tuple(
    {"n_factors": d, "n_epochs": epochs, "reg_all": reg}
    for d, (epochs, reg) in product((50, 100, 200), ((40, 0.08), (60, 0.1), (90, 0.12)))
)
CUT = 0.1
"""Share of train that models are chosen on."""


@dataclass(frozen=True)
class Ratings:
    """Ratings as columns, dense ids."""

    user: Int32
    item: Int32
    value: Float64

    def __len__(self) -> int:
        return len(self.user)

    def __getitem__(self, rows: NDArray[Any]) -> Ratings:
        return Ratings(self.user[rows], self.item[rows], self.value[rows])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `segue benchmark ratings`."""
    parser.add_argument("--data", type=Path, help="a folder with inter.parquet (user_id, item_id, rating): cross-validated")
    parser.add_argument("--train", type=Path, help="Parquet: user, item, rating; with --test, instead of --data")
    parser.add_argument("--test", type=Path, help="Parquet: user, item, rating")
    parser.add_argument("--folds", type=int, default=5, help="of --data, at random over ratings")
    parser.add_argument("--seed", type=int, default=0, help="of folds, cuts and models")
    parser.add_argument("--no-peer", action="store_true", help="leave `scikit-surprise` out")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Every model on every fold; one figure over all ratings that were held out, each predicted once."""
    peer = find_spec("surprise") is not None and not args.no_peer
    shape, splits = _splits(args)
    models: dict[str, Predictor] = {"mean": _mean, "biases": _ours(BIASES), "segue": _ours(OURS)}
    if peer:
        models |= {"scikit-surprise SVD, its defaults": _surprise(({},)), "scikit-surprise SVD, chosen": _surprise(THEIRS)}
    predicted: dict[str, list[Float64]] = {name: [] for name in models}
    chosen: dict[str, list[Params]] = {name: [] for name in models}
    cpu = dict.fromkeys(models, 0.0)
    for number, (train, test) in enumerate(splits):
        for name, model in models.items():
            began = time.process_time()
            values, params = model(train, test, shape, args.seed)
            cpu[name] += time.process_time() - began
            predicted[name].append(values)
            chosen[name].append(params)
            print(f"fold {number + 1}: {name} {rmse(values, test.value):.4f} {params}", file=sys.stderr)
    told = _figures(predicted, [test for _, test in splits], args.seed)
    for name, figure in told.items():
        figure |= {"cpu_s": round(cpu[name], 2), "chosen": chosen[name]}
    sizes = {"users": shape[0], "items": shape[1], "tested": sum(len(test) for _, test in splits), "folds": len(splits)}
    versus = _versus(predicted, [test for _, test in splits], args.seed)
    return {**sizes, "models": told, "squared_error_less_than": versus, "peer": peer}


Predictor = Callable[[Ratings, Ratings, tuple[int, int], int], tuple[Float64, Params]]
"""(train, test, shape, seed) -> the predictions of test, and what was chosen on a cut of train."""


def rmse(values: Float64, truth: Float64) -> float:
    """Root of the mean squared error."""
    return float(np.sqrt(np.mean((values - truth) ** 2)))


def read(path: Path) -> tuple[NDArray[Any], NDArray[Any], Float64]:
    """The columns of a Parquet file: user, item and rating, each by that name or with _id behind it."""
    if not path.is_file():
        raise BadInput(f"there is no file {path}")
    table = pq.read_table(path)
    names = {name.removesuffix("_id"): name for name in table.column_names}
    missing = {"user", "item", "rating"} - names.keys()
    if missing:
        raise BadInput(f"{path}: expected columns user, item, rating; there is no {', '.join(sorted(missing))}")
    columns = [table.column(names[name]).to_numpy(zero_copy_only=False) for name in ("user", "item", "rating")]
    return columns[0], columns[1], np.asarray(columns[2], np.float64)


def _splits(args: argparse.Namespace) -> tuple[tuple[int, int], list[tuple[Ratings, Ratings]]]:
    """((users, items), pairs of train and test)."""
    if args.data is not None:
        user, item, value = read(args.data / "inter.parquet")
        (n_users, users), (n_items, items) = _dense(user), _dense(item)
        ratings = Ratings(users, items, value)
        fold = random_folds(len(ratings), args.folds, np.random.default_rng(args.seed))
        return (n_users, n_items), [(ratings[fold != one], ratings[fold == one]) for one in range(args.folds)]
    if args.train is None or args.test is None:
        raise BadInput("give either --data FOLDER, or --train and --test")
    parts = [read(args.train), read(args.test)]
    n = len(parts[0][2])
    (n_users, users), (n_items, items) = (_dense(np.concatenate([parts[0][c], parts[1][c]])) for c in (0, 1))
    ratings = Ratings(users, items, np.concatenate([parts[0][2], parts[1][2]]))
    rows = np.arange(len(ratings))
    return (n_users, n_items), [(ratings[rows < n], ratings[rows >= n])]


def _dense(names: NDArray[Any]) -> tuple[int, Int32]:
    known, dense = np.unique(names, return_inverse=True)
    return len(known), dense.astype(np.int32)


def _mean(train: Ratings, test: Ratings, shape: tuple[int, int], seed: int) -> tuple[Float64, Params]:
    """The mean of train for everything."""
    return np.full(len(test), train.value.mean()), {}


def _ours(grid: Sequence[Params]) -> Predictor:
    """RatingModel with the hyperparameters that are best on a cut of train, fitted on all of it."""

    def predict(train: Ratings, test: Ratings, shape: tuple[int, int], seed: int) -> tuple[Float64, Params]:
        def fitted(params: Params, on: Ratings, to: Ratings) -> Float64:
            model = RatingModel(**params).fit(on.user, on.item, on.value, np.random.default_rng(seed), shape=shape)
            return model.predict(to.user, to.item)

        best = _choose(grid, fitted, train, seed)
        return fitted(best, train, test), best

    return predict


def _surprise(grid: Sequence[Params]) -> Predictor:
    """The peer's SVD, chosen in the same way on the same cut."""

    def predict(train: Ratings, test: Ratings, shape: tuple[int, int], seed: int) -> tuple[Float64, Params]:
        best = grid[0] if len(grid) == 1 else _choose(grid, lambda p, on, to: _svd(p, on, to, seed), train, seed)
        return _svd(best, train, test, seed), best

    return predict


def _svd(params: Params, train: Ratings, test: Ratings, seed: int) -> Float64:
    from surprise import SVD, Dataset, Reader

    rows = zip(train.user.tolist(), train.item.tolist(), train.value.tolist(), strict=True)
    scale = Reader(rating_scale=(train.value.min(), train.value.max()))
    known = Dataset(scale).construct_trainset([(user, item, value, None) for user, item, value in rows])
    model = SVD(random_state=seed, **params).fit(known)
    pairs = zip(test.user.tolist(), test.item.tolist(), strict=True)
    return np.array([model.predict(user, item).est for user, item in pairs], np.float64)


def _choose(grid: Sequence[Params], fitted: Callable[[Params, Ratings, Ratings], Float64], train: Ratings, seed: int) -> Params:
    """The first of those with the least squared error on a random cut of train."""
    held = np.random.default_rng([seed, 1]).random(len(train)) < CUT
    on, to = train[~held], train[held]
    return min(grid, key=lambda params: rmse(fitted(params, on, to), to.value))


def _figures(predicted: dict[str, list[Float64]], tests: list[Ratings], seed: int) -> dict[str, dict[str, object]]:
    """RMSE and MAE over all held-out ratings, with 95 % intervals of the bootstrap over users."""
    truth, user = np.concatenate([t.value for t in tests]), np.concatenate([t.user for t in tests])
    counts = np.asarray(np.bincount(user), np.float64)
    asked = counts > 0
    found: dict[str, dict[str, object]] = {}
    for name, parts in predicted.items():
        error = np.concatenate(parts) - truth
        sums = np.column_stack([np.bincount(user, e, len(counts))[asked] for e in (error**2, np.abs(error))]).astype(np.float64)
        squared, absolute = ratios(sums, np.column_stack((counts[asked], counts[asked])), np.random.default_rng(seed))
        found[name] = {
            "rmse": round(float(np.sqrt(squared.mean)), 4),
            "rmse_interval": [round(float(np.sqrt(squared.low)), 4), round(float(np.sqrt(squared.high)), 4)],
            "mae": round(absolute.mean, 4),
            "mae_interval": [round(absolute.low, 4), round(absolute.high, 4)],
            "rmse_by_fold": [round(rmse(values, test.value), 4) for values, test in zip(parts, tests, strict=True)],
        }
    return found


def _versus(predicted: dict[str, list[Float64]], tests: list[Ratings], seed: int) -> dict[str, dict[str, object]]:
    """How much smaller our mean squared error of a user is than that of each other model, paired over users."""
    truth, user = np.concatenate([t.value for t in tests]), np.concatenate([t.user for t in tests])
    counts = np.bincount(user).astype(np.float64)
    counts[counts == 0] = np.nan

    def by_user(name: str) -> Float64:
        return np.asarray(np.bincount(user, (np.concatenate(predicted[name]) - truth) ** 2, len(counts)) / counts)

    ours, found = by_user("segue"), {}
    for name in predicted:
        if name != "segue":
            got = paired(by_user(name), ours, np.random.default_rng(seed))
            found[name] = {"mean": round(got.mean, 5), "interval": [round(got.low, 5), round(got.high, 5)], "users": got.n}
    return found
