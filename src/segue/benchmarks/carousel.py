"""Bandits on the Deezer carousel: 862 playlists, 12 places, 3 of them seen at first (Bendada et al. 2020)."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from segue.core.errors import BadInput
from segue.core.types import Int32, Int64
from segue.evaluation.intervals import bootstrap
from segue.reranking.bandits import EpsilonGreedy, LinUcb, Thompson, top
from segue.training.report import Progress

Float64 = NDArray[np.float64]
SLOTS, SEEN = 12, 3
"""Places of the carousel, and how many are on the screen before anybody swipes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The data, the population that is made, and how long it is played."""
    parser.add_argument("--data", type=Path, required=True, help="a folder with playlist_features and user_features_small")
    parser.add_argument("--segments", type=int, default=10, help="clusters of listeners (the paper: 100)")
    parser.add_argument("--users", type=int, default=2000, help="listeners a round (the paper: 20,000)")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--population", type=int, default=20_000, help="listeners in all (the paper: 974,960)")
    parser.add_argument(
        "--seen", type=int, default=SLOTS, choices=range(1, SLOTS + 1), metavar="N",
        help="places counted as seen by who takes nothing: 12 as the published code counts, 3 as the paper's text has it",
    )  # fmt: skip
    parser.add_argument("--policies", default=",".join(POLICIES), help=f"of {', '.join(POLICIES)}")
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> dict[str, object]:
    """Every policy on the same listeners, round by round."""
    chosen = args.policies.split(",")
    unknown = [name for name in chosen if name not in POLICIES]
    if unknown or min(args.segments, args.users, args.rounds, args.population) < 1:
        raise BadInput(
            f"--policies: expected some of {', '.join(POLICIES)}, sizes at least 1; found {unknown or 'a size below 1'}"
        )
    world = World.made(args)
    games = {name: _play(name, world, args, args.progress) for name in dict.fromkeys(("random", *chosen))}
    best = _ideal(world, args)
    rng = np.random.default_rng(args.seed)
    rows = [_row(name, taken, games["random"], best, rng) for name, taken in games.items()]
    rows.sort(key=lambda row: float(str(row["regret"])))
    return {
        "population": world.told(),
        "rounds": args.rounds,
        "listeners_a_round": args.users,
        "seen_by_who_takes_nothing": args.seen,
        "best_possible_times_random": float(best.sum() / games["random"].sum()),
        "policies": rows,
    }


@dataclass(frozen=True)
class World:
    """Listeners x (n, 97), the last column 1, their segments (n,), playlists theta (862, 97): P(take) = sigmoid(x . theta)."""

    x: Float64
    segment: Int64
    theta: Float64
    few: Float64  # (9, 97) the listeners that are published with the playlists

    @staticmethod
    def made(args: argparse.Namespace) -> World:
        """Listeners around centres of segments.

        Only nine listeners, of one segment, lie beside the playlists. Centres have the length of the mean of the nine, in
        directions whose covariance is the square root of that of the playlists (between round and theirs); listeners lie
        around their centre with the nine's deviation in each dimension.
        """
        theta = _table(args.data / "playlist_features.parquet")
        few = _table(args.data / "user_features_small.parquet")
        rng = np.random.default_rng([args.seed, 1])
        spread, vectors = np.linalg.eigh(np.cov(theta[:, :-1].T))
        centres = rng.normal(size=(args.segments, len(spread))) * np.sqrt(np.sqrt(np.maximum(spread, 0))) @ vectors.T
        centres *= np.linalg.norm(few.mean(axis=0)) / np.linalg.norm(centres, axis=1, keepdims=True)
        segment = np.sort(rng.integers(0, args.segments, args.population))
        x = centres[segment] + rng.normal(size=(args.population, len(spread))) * few.std(axis=0, ddof=1)
        return World(_with_one(x), segment.astype(np.int64), theta, _with_one(few))

    def chances(self, users: Int64, items: Int32) -> Float64:
        """P(take) of the items (m, k) of each user (m,)."""
        return _sigmoid(np.einsum("md,mkd->mk", self.x[users], self.theta[items]))

    def told(self) -> dict[str, object]:
        """How like the nine real listeners the made ones are."""
        out: dict[str, object] = {"listeners": len(self.x), "segments": int(self.segment.max()) + 1}
        for name, x in (("made", self.x[:: max(len(self.x) // 2000, 1)]), ("real_nine", self.few)):
            chance = np.sort(_sigmoid(x @ self.theta.T), axis=1)
            out[f"mean_chance_{name}"] = float(chance.mean())
            out[f"mean_chance_of_best_12_{name}"] = float(chance[:, -SLOTS:].mean())
        return out


def _table(path: Path) -> Float64:
    """The columns of numbers of a file, without the segment, (n, columns)."""
    if not path.exists():
        raise BadInput(f"--data: no {path.name} in {path.parent}; see the README of that data set", "data")
    table = pq.read_table(path)
    names = [name for name in table.column_names if name != "segment"]
    return np.column_stack([table[name].to_numpy() for name in names]).astype(np.float64)


def _with_one(x: Float64) -> Float64:
    return np.column_stack((x, np.ones(len(x))))


def _sigmoid(z: Float64) -> Float64:
    return np.asarray(1 / (1 + np.exp(-z)))


class Policy(Protocol):
    """Slates for a round of listeners, and what came of them when the round is over."""

    def slates(self, users: Int64, rng: np.random.Generator) -> Int32:
        """(m, SLOTS) for users (m,)."""
        ...

    def learn(self, users: Int64, items: Int32, taken: NDArray[np.bool_]) -> None:
        """What was seen, one row each."""
        ...


class Random:
    """Any twelve."""

    def __init__(self, world: World) -> None:
        self._n = len(world.theta)

    def slates(self, users: Int64, rng: np.random.Generator) -> Int32:
        """All alike."""
        return top(rng.random((len(users), self._n)), SLOTS, rng)

    def learn(self, users: Int64, items: Int32, taken: NDArray[np.bool_]) -> None:
        """Nothing."""


class Segmented:
    """A policy of segments: one of the house's, or explore-then-commit and KL-UCB on the same counts."""

    def __init__(self, world: World, inner: EpsilonGreedy | Thompson, keys: Callable[..., Float64] | None = None) -> None:
        self._world, self._inner, self._keys = world, inner, keys
        self._n = len(world.theta)

    def slates(self, users: Int64, rng: np.random.Generator) -> Int32:
        """By segment."""
        segments = self._world.segment[users]
        if self._keys is None:
            return self._inner.slates(segments, self._n, SLOTS, rng)
        known, where = np.unique(segments, return_inverse=True)
        every = np.arange(self._n, dtype=np.int32)
        seen = float(self._inner.shown_.sum())
        table = np.stack([self._keys(*self._inner.posterior(int(s), every), seen) for s in known])
        return top(table[where], SLOTS, rng)

    def learn(self, users: Int64, items: Int32, taken: NDArray[np.bool_]) -> None:
        """Counts."""
        self._inner.learn(self._world.segment[users], items, taken)


class Contextual:
    """LinUCB on the first principal components of the listeners and a constant."""

    def __init__(self, world: World, components: int = 15) -> None:
        centred = world.x[:, :-1] - world.x[:, :-1].mean(axis=0)
        _, _, axes = np.linalg.svd(centred[:: max(len(centred) // 4000, 1)], full_matrices=False)
        parts = centred @ axes[:components].T
        self._x = _with_one(parts / parts.std(axis=0))
        self._n, self._inner = len(world.theta), LinUcb(_nothing, _nothing, alpha=0.05)  # type: ignore[arg-type]

    def slates(self, users: Int64, rng: np.random.Generator) -> Int32:
        """By upper bounds."""
        return top(self._inner.bounds(self._x[users], np.arange(self._n, dtype=np.int32)), SLOTS, rng)

    def learn(self, users: Int64, items: Int32, taken: NDArray[np.bool_]) -> None:
        """Ridge regressions."""
        self._inner.learn(self._x[users], items, taken)


class LinearThompson:
    """A logistic regression a playlist on all that is known of the listener, weights drawn anew for each (Chapelle, Li 2011).

    Each weight has a normal posterior of its own: mean m, precision q, from 1 at first; the mean of the last one, the constant,
    begins at `bias`. A round moves the mean to the posterior mode (Newton) and adds to the precision what was seen there. A
    draw of all weights times x is normal too, so that is drawn: one number for each playlist and listener.
    """

    def __init__(self, world: World, bias: float) -> None:
        self._x = world.x
        n, d = len(world.theta), world.x.shape[1]
        self._mean, self._precision = np.zeros((n, d)), np.ones((n, d))
        self._mean[:, -1] = bias

    def slates(self, users: Int64, rng: np.random.Generator) -> Int32:
        """By draws."""
        x = self._x[users]
        spread = np.sqrt((x * x) @ (1 / self._precision).T)
        return top(x @ self._mean.T + spread * rng.normal(size=spread.shape), SLOTS, rng)

    def learn(self, users: Int64, items: Int32, taken: NDArray[np.bool_]) -> None:
        """Playlist by playlist."""
        order = np.argsort(items, kind="stable")
        for part in np.split(order, np.flatnonzero(np.diff(items[order])) + 1):
            item, x = int(items[part[0]]), self._x[users[part]]
            self._mean[item] = mode(x, taken[part], self._mean[item], self._precision[item])
            p = _sigmoid(x @ self._mean[item])
            self._precision[item] += (p * (1 - p)) @ (x * x)


def mode(x: Float64, taken: NDArray[np.bool_], mean: Float64, precision: Float64, steps: int = 5) -> Float64:
    """The mode (d,) of the posterior of a logistic regression on x (m, d), its prior normal with these means and precisions.

    Newton's method with step halving; each step is solved in m dimensions where there are fewer of them (Woodbury).
    """

    def loss(at: Float64) -> float:
        logit = x @ at
        return float(np.logaddexp(0.0, logit).sum() - logit[taken].sum() + 0.5 * precision @ (at - mean) ** 2)

    w, best = mean.copy(), loss(mean)
    for _ in range(steps):
        p = _sigmoid(x @ w)
        gradient = precision * (w - mean) + x.T @ (p - taken)
        weight = np.maximum(p * (1 - p), 1e-9)
        if len(x) < len(w):
            scaled = x / precision
            inner = np.diag(1 / weight) + scaled @ x.T
            step = np.asarray(gradient / precision - scaled.T @ np.linalg.solve(inner, scaled @ gradient), np.float64)
        else:
            step = np.asarray(np.linalg.solve(np.diag(precision) + (x.T * weight) @ x, gradient), np.float64)
        now = loss(w - step)
        while now > best and np.abs(step).max() > 1e-9:
            step, now = step / 2, loss(w - step / 2)
        w, best = w - step, now
    return w


def _nothing() -> Any:
    return None


def _commit(least: float) -> Callable[..., Float64]:
    """Explore then commit: what was seen least often first, until everything was `least` times; then the best mean."""

    def keys(yes: Float64, no: Float64, seen: float) -> Float64:
        shown = yes + no - 1e-9
        return np.where(shown < least, 1e6 * (least - shown), yes / np.maximum(shown, 1.0))

    return keys


def _kl_ucb(yes: Float64, no: Float64, seen: float) -> Float64:
    """The largest q with shown * KL(mean || q) <= log(all shown), by bisection (Garivier, Cappe 2011)."""
    shown = yes + no
    mean = np.clip(yes / np.maximum(shown, 1e-6), 1e-12, 1 - 1e-12)
    room = np.log(max(seen, 1.0)) / np.maximum(shown, 1e-6)
    low, high = mean.copy(), np.ones(len(mean))
    for _ in range(40):
        q = np.clip((low + high) / 2, 1e-12, 1 - 1e-12)
        within = mean * np.log(mean / q) + (1 - mean) * np.log((1 - mean) / (1 - q)) <= room
        low, high = np.where(within, q, low), np.where(within, high, q)
    return np.where(shown < 0.5, 1.0, (low + high) / 2)


def _bare(kind: Any = EpsilonGreedy, **more: Any) -> Any:
    return kind(_nothing, _nothing, **more)


NO_PRIOR = (1e-9, 1e-9)
POLICIES: dict[str, Callable[[World], Policy]] = {
    "random": Random,
    "etc-seg-explore": lambda world: Segmented(world, _bare(prior=NO_PRIOR), _commit(100)),
    "etc-seg-exploit": lambda world: Segmented(world, _bare(prior=NO_PRIOR), _commit(20)),
    "epsilon-greedy-seg-explore": lambda world: Segmented(world, _bare(explore=0.1, prior=(1.0, 1e-9))),
    "epsilon-greedy-seg-exploit": lambda world: Segmented(world, _bare(explore=0.01, prior=(1.0, 1e-9))),
    "kl-ucb-seg": lambda world: Segmented(world, _bare(prior=NO_PRIOR), _kl_ucb),
    "ts-seg-naive": lambda world: Segmented(world, _bare(Thompson, prior=(1.0, 1.0))),
    "ts-seg-pessimistic": lambda world: Segmented(world, _bare(Thompson, prior=(1.0, 99.0))),
    "ts-lin-naive": lambda world: LinearThompson(world, 0.0),
    "ts-lin-pessimistic": lambda world: LinearThompson(world, -5.0),
    "linucb": Contextual,
}
"""Those of the paper with its settings, and linucb."""


def _play(name: str, world: World, args: argparse.Namespace, bar: Progress) -> Float64:
    """Songs taken in each round, (rounds,)."""
    bar.phase(name)
    policy, taken_in = POLICIES[name](world), np.zeros(args.rounds)
    for number in range(args.rounds):
        users = _users(world, args, number)
        rng = np.random.default_rng([args.seed, 3, number])
        items = policy.slates(users, rng)
        first = rng.permuted(items[:, :SEEN], axis=1)  # these are on the screen together: no order among them
        items[:, :SEEN] = first
        takes = rng.random(items.shape) < world.chances(users, items)
        stop = np.where(takes.any(axis=1), takes.argmax(axis=1) + 1, args.seen)  # who takes one looks no further
        seen = np.arange(SLOTS) < stop[:, None]
        taken_in[number] = takes.any(axis=1).sum()
        policy.learn(np.repeat(users, stop), items[seen], takes[seen])
        bar.advance(number + 1, args.rounds)
    return taken_in


def _users(world: World, args: argparse.Namespace, number: int) -> Int64:
    """The listeners of a round, with replacement, the same for every policy."""
    drawn: Int64 = np.random.default_rng([args.seed, 2, number]).integers(0, len(world.x), args.users)
    return drawn


def _ideal(world: World, args: argparse.Namespace) -> Float64:
    """What the twelve most likely playlists of each listener would bring in each round, in expectation."""
    out = np.zeros(args.rounds)
    for number in range(args.rounds):
        users = _users(world, args, number)
        chance = _sigmoid(world.x[users] @ world.theta.T)
        best = np.partition(chance, -SLOTS, axis=1)[:, -SLOTS:]
        out[number] = (1 - np.prod(1 - best, axis=1)).sum()
    return out


def _row(name: str, taken: Float64, plain: Float64, best: Float64, rng: np.random.Generator) -> dict[str, object]:
    """Regret, and takes as a multiple of random's, over all rounds and the last ten."""
    gap = bootstrap(taken / plain.mean(), rng)
    return {
        "policy": name,
        "regret": float((best - taken).sum()),
        "times_random": f"{gap.mean:.2f} [{gap.low:.2f}, {gap.high:.2f}]",
        "times_random_last_ten": float(taken[-10:].sum() / plain[-10:].sum()),
    }
