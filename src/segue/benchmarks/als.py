"""Seconds and loss an epoch of our implicit ALS, beside the package `implicit` on the same data and objective."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import sparse

from segue.candidates.als.matrix import Confidences
from segue.candidates.als.solver import Factorizer
from segue.core.errors import BadInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `segue benchmark als`."""
    parser.add_argument("--interactions", type=Path, help="Parquet with user, item[, value]; generated when absent")
    parser.add_argument("--factors", type=int, default=64, help="embedding size")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of each")
    parser.add_argument("--threads", type=int, default=2, help="threads of each")
    parser.add_argument(
        "--steps",
        type=int,
        default=3,
        help="conjugate gradient steps a row of ours; the night takes 3, and 2 are nearer to the loss of the peer",
    )
    parser.add_argument("--alpha", type=float, default=10.0, help="confidence of a pair is 1 + alpha * value")
    parser.add_argument("--reg", type=float, default=1.0, help="regularization, the same for every row")
    parser.add_argument("--users", type=int, default=500_000, help="of the generated data")
    parser.add_argument("--items", type=int, default=200_000, help="of the generated data")
    parser.add_argument("--pairs", type=int, default=12_000_000, help="of the generated data")
    parser.add_argument("--seed", type=int, default=0, help="of the generated data and of the first factors")
    parser.add_argument("--warm", type=float, metavar="SHARE", help="also a night after one that lacked so much of the pairs")
    parser.add_argument("--no-peer", action="store_true", help="leave `implicit` out")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Fit both and compare; `loss` is computed by the same function from the factors of either."""
    rng = np.random.default_rng(args.seed)
    matrix = read(args.interactions) if args.interactions else generate(args.users, args.items, args.pairs, rng)
    users, items = matrix.shape
    print(f"{matrix.nnz:,} pairs of {users:,} users and {items:,} items", file=sys.stderr)
    result: dict[str, object] = {"users": users, "items": items, "pairs": int(matrix.nnz), "factors": args.factors}
    result |= {"threads": args.threads, "steps": args.steps, "alpha": args.alpha, "reg": args.reg}
    result["segue"] = (ours := fit_ours(matrix, args)).summary()
    if args.warm:
        result["warm"] = begun_from_yesterday(matrix, args, ours)
    result["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if find_spec("implicit") is None or args.no_peer:
        result["implicit"] = None
        return result
    result["implicit"] = (theirs := fit_implicit(matrix, args)).summary()
    result["times_faster"] = round(float(np.median(theirs.cpu) / np.median(ours.cpu)), 2)
    result["loss_against_implicit"] = round(ours.losses[-1] / theirs.losses[-1] - 1, 5)
    return result


@dataclass
class Epochs:
    """Wall and CPU seconds of each epoch, the loss after it, without the time it takes to compute that loss."""

    name: str
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    _since: tuple[float, float] = (0.0, 0.0)

    def start(self) -> None:
        """Set both clocks."""
        self._since = (time.perf_counter(), time.process_time())

    def stop(self, loss: Callable[[], float]) -> None:
        """Close an epoch, ask for its loss off the clock, and set the clocks again."""
        self.wall.append(time.perf_counter() - self._since[0])
        self.cpu.append(time.process_time() - self._since[1])
        self.losses.append(loss())
        line = (
            f"{self.name} epoch {len(self.wall)}: {self.wall[-1]:.2f} s, CPU {self.cpu[-1]:.2f} s, loss {self.losses[-1]:,.0f}"
        )
        print(line, file=sys.stderr)
        self.start()

    def summary(self) -> dict[str, object]:
        """What is printed."""
        return {
            "epoch_s": [round(x, 3) for x in self.wall],
            "epoch_cpu_s": [round(x, 3) for x in self.cpu],
            "loss": [round(x, 1) for x in self.losses],
            "median_epoch_s": round(float(np.median(self.wall)), 3),
            "median_epoch_cpu_s": round(float(np.median(self.cpu)), 3),
        }


def fit_ours(matrix: sparse.csr_matrix, args: argparse.Namespace) -> Epochs:
    """Our solver under the objective of `implicit`: constant regularization, confidence instead of unobserved weight."""
    solver = factorizer(args, args.epochs)
    warm_up = Confidences(np.array([0, 1], np.int64), np.zeros(1, np.int32), np.ones(1, np.float32))
    factorizer(args, 1).fit(warm_up, 1, np.random.default_rng(0))  # the compiler is not what is measured
    epochs = Epochs("segue")
    pairs = confidences(matrix, args.alpha)
    epochs.start()
    solver.fit(pairs, matrix.shape[1], np.random.default_rng(args.seed), progress=lambda _, loss: epochs.stop(lambda: loss))
    return epochs


def begun_from_yesterday(matrix: sparse.csr_matrix, args: argparse.Namespace, cold: Epochs) -> dict[str, object]:
    """A fit on everything that begins from the users of one on all but a random share of the pairs, as the night does it.

    `epochs_to_cold_loss`: how many of its epochs reach the loss of the last cold one, None where none does.
    """
    entries = matrix.tocoo()
    known = np.random.default_rng([args.seed, 1]).random(matrix.nnz) >= args.warm
    before = sparse.csr_matrix((entries.data[known], (entries.row[known], entries.col[known])), shape=matrix.shape)
    solver = factorizer(args, args.epochs)
    start = solver.fit(confidences(before, args.alpha), matrix.shape[1], np.random.default_rng(args.seed)).users
    epochs, pairs = Epochs("warm"), confidences(matrix, args.alpha)
    epochs.start()
    rng = np.random.default_rng(args.seed)
    solver.fit(pairs, matrix.shape[1], rng, start, lambda _, loss: epochs.stop(lambda: loss))
    reached = [epoch for epoch, loss in enumerate(epochs.losses, 1) if loss <= cold.losses[-1]]
    return {"share_new": args.warm, "epochs_to_cold_loss": reached[0] if reached else None, **epochs.summary()}


def fit_implicit(matrix: sparse.csr_matrix, args: argparse.Namespace) -> Epochs:
    """`implicit` with its default solver, three conjugate gradient steps a row; the transpose is on its clock as on ours."""
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(
        factors=args.factors,
        regularization=args.reg,
        alpha=1.0,
        iterations=args.epochs,
        num_threads=args.threads,
        random_state=args.seed,
    )
    epochs = Epochs("implicit")
    pairs, solver = confidences(matrix, args.alpha), factorizer(args, 0)

    def after(*_: object) -> None:
        epochs.stop(lambda: solver.loss(pairs, model.user_factors, model.item_factors))

    weighted = matrix.copy()
    weighted.data = 1 + np.float32(args.alpha) * weighted.data
    epochs.start()
    model.fit(weighted, show_progress=False, callback=after)
    return epochs


def factorizer(args: argparse.Namespace, epochs: int) -> Factorizer:
    """Our solver set to the objective of `implicit`."""
    return Factorizer(
        embedding_size=args.factors,
        epochs=epochs,
        unobserved_weight=1.0,
        reg=args.reg,
        reg_exponent=0.0,
        exclusive=True,
        steps=args.steps,
        threads=args.threads,
    )


def confidences(matrix: sparse.csr_matrix, alpha: float) -> Confidences:
    """alpha * value of every pair: what it weighs beyond an unobserved one."""
    return Confidences(
        matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), (alpha * matrix.data).astype(np.float32)
    )


def read(path: Path) -> sparse.csr_matrix:
    """user, item[, value] as a matrix, ids in order of first appearance; repeated pairs add up."""
    table = pq.read_table(path)
    missing = {"user", "item"} - set(table.column_names)
    if missing:
        raise BadInput(f"{path} needs the columns user and item, it has {table.column_names}", "interactions")
    rows, n_users = _dense(table["user"])
    columns, n_items = _dense(table["item"])
    value = table["value"].to_numpy() if "value" in table.column_names else np.ones(len(rows))
    return sparse.csr_matrix((value.astype(np.float32), (rows, columns)), shape=(n_users, n_items))


def _dense(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], int]:
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return encoded.indices.to_numpy().astype(np.int32), len(encoded.dictionary)


def generate(n_users: int, n_items: int, pairs: int, rng: np.random.Generator) -> sparse.csr_matrix:
    """Log-normal activity, power-law popularity, and genres: three in four pairs stay within the user's own.

    Repeats of a pair are dropped and drawn again twice, so that the count comes close to `pairs`. Values are 1 to 5.
    """
    genres = 64
    activity = rng.lognormal(0.0, 1.0, n_users)
    activity = np.cumsum(activity / activity.sum())
    keys = np.zeros(0, np.int64)
    for _ in range(3):
        missing = pairs - len(keys)
        users = np.searchsorted(activity, rng.random(missing)).clip(max=n_users - 1)
        ranks = (n_items * rng.random(missing) ** 3).astype(np.int64)
        own = rng.random(missing) < 0.75
        ranks[own] += (users[own] % genres) - ranks[own] % genres
        keys = np.unique(np.concatenate([keys, users * n_items + ranks.clip(0, n_items - 1)]))
    names = rng.permutation(n_items)  # popularity must not follow the id
    rows, columns = np.divmod(keys, n_items)
    values = rng.geometric(0.6, len(keys)).clip(max=5).astype(np.float32)
    return sparse.csr_matrix((values, (rows, names[columns])), shape=(n_users, n_items))


if __name__ == "__main__":
    import json

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    print(json.dumps(run(parser.parse_args())))
