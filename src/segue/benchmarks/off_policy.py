"""Off-policy estimates on public logs where the answer is known: Open Bandit (another policy ran) and Coat (random ratings)."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from segue.core.errors import BadInput
from segue.evaluation.off_policy import (
    Estimate,
    Judgement,
    Logged,
    crossfit_means,
    design_second_moment,
    judge,
    on_policy,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the data are."""
    parser.add_argument(
        "--bandit", type=Path, help="folder with random_men.parquet, bts_men.parquet, ... of the Open Bandit data"
    )
    parser.add_argument("--coat", type=Path, help="folder with ratings.parquet: split, user_id, item_id, rating, propensity")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Every estimate beside the known value."""
    if args.bandit is None and args.coat is None:
        raise BadInput("expected --bandit FOLDER or --coat FOLDER, or both: there is nothing to judge on")
    rows: list[dict[str, object]] = []
    for campaign in ("men", "women") if args.bandit is not None else ():
        rows.append(from_random(args.bandit, campaign))
        rows.append(from_bts(args.bandit, campaign))
    if args.coat is not None:
        rows.append(coat(args.coat))
    return {"level": 0.95, "logs": rows}


def _columns(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    if not path.exists():
        raise BadInput(f"expected a file {path}")
    table = pq.read_table(path, columns=names)
    return {name: table[name].to_numpy() for name in names}


def _bandit(folder: Path, policy: str, campaign: str) -> dict[str, np.ndarray]:
    return _columns(folder / f"{policy}_{campaign}.parquet", ["item_id", "position", "click", "propensity_score"])


def _agrees(estimate: Estimate, known: Estimate) -> bool:
    """Whether the two intervals allow the same value: their difference is within its own 95 % interval."""
    return bool(abs(estimate.mean - known.mean) <= 1.96 * np.hypot(estimate.se, known.se))


def _row(name: str, known: Estimate, judgement: Judgement) -> dict[str, object]:
    row: dict[str, object] = {"log": name, "known": known.mean, "known_low": known.low, "known_high": known.high}
    for kind in ("ips", "snips", "dr"):
        e: Estimate = getattr(judgement, kind)
        row |= {kind: e.mean, f"{kind}_low": e.low, f"{kind}_high": e.high, f"{kind}_agrees": _agrees(e, known)}
    seen = asdict(judgement.overlap)
    row |= {f"weights_{k}" if k.startswith("mean") else k: v for k, v in seen.items()}
    return row | {"verdict": judgement.verdict, "why": "; ".join(judgement.reasons)}


def _rows_alone(log: dict[str, np.ndarray]) -> np.ndarray:
    """The public sample names no listeners: every row is its own cluster."""
    return np.arange(len(log["click"]))


def from_random(folder: Path, campaign: str) -> dict[str, object]:
    """What Bernoulli Thompson sampling is worth, from the log of uniform choice; known from its own log.

    Its chances at a place are how often it chose each item there: uniform choice ignores context, so these marginal chances
    give the same expectation.
    """
    log, other = _bandit(folder, "random", campaign), _bandit(folder, "bts", campaign)
    items = int(max(log["item_id"].max(), other["item_id"].max())) + 1
    cell = log["item_id"] + items * (log["position"] - log["position"].min())
    chance = np.bincount(other["item_id"] + items * (other["position"] - other["position"].min()), minlength=3 * items)
    target = (chance.reshape(3, items) / chance.reshape(3, items).sum(axis=1, keepdims=True)).ravel()
    click, n = log["click"].astype(np.float64), len(log["click"])
    fold = np.arange(n) % 5
    guess, table = crossfit_means(click, cell, fold, shrink=500.0)
    value = (table * target).reshape(5, 3, items).sum(axis=2)[fold, cell // items]
    judged = Logged.single(click, target[cell] / log["propensity_score"], _rows_alone(log), guess, value)
    moment = design_second_moment(target.reshape(3, items), np.full((3, items), log["propensity_score"].mean()))
    known = on_policy(Logged.single(other["click"].astype(np.float64), np.ones(len(other["click"])), _rows_alone(other)))
    return _row(f"open bandit {campaign}: random judges bts", known, judge(judged, second_moment=moment))


def from_bts(folder: Path, campaign: str) -> dict[str, object]:
    """What uniform choice is worth, from the log of Thompson sampling, whose chances go down to a millionth."""
    log, other = _bandit(folder, "bts", campaign), _bandit(folder, "random", campaign)
    items = int(log["item_id"].max()) + 1
    click, n = log["click"].astype(np.float64), len(log["click"])
    cell = log["item_id"] + items * (log["position"] - log["position"].min())
    fold = np.arange(n) % 5
    guess, table = crossfit_means(click, cell, fold, shrink=500.0)
    value = table.reshape(5, -1, items).mean(axis=2)[fold, cell // items]
    weight = other["propensity_score"].mean() / log["propensity_score"]
    judged = Logged.single(click, weight, _rows_alone(log), guess, value)
    known = on_policy(Logged.single(other["click"].astype(np.float64), np.ones(len(other["click"])), _rows_alone(other)))
    return _row(f"open bandit {campaign}: bts judges random", known, judge(judged))


def coat(folder: Path) -> dict[str, object]:
    """The mean rating over all pairs, from ratings that users chose to give; known from 16 random ones of each user."""
    data = _columns(folder / "ratings.parquet", ["split", "user_id", "item_id", "rating", "propensity"])
    mar = data["split"] == "test_mar"
    user, rating = data["user_id"].astype(np.int64), data["rating"].astype(np.float64)
    users, items = len(np.unique(user)), len(np.unique(data["item_id"]))
    own = ~mar
    weight = own.sum() / (users * items * data["propensity"][own])
    fold = user[own] % 5
    guess, table = crossfit_means(rating[own], data["item_id"][own].astype(np.int64), fold)
    log = Logged.single(rating[own], weight, user[own], guess, table.mean(axis=1)[fold])
    known = on_policy(Logged.single(rating[mar], np.ones(int(mar.sum())), user[mar]))
    row = _row("coat: self-selected ratings judge all pairs", known, judge(log, least_effective=100.0))
    return row | {"naive": float(rating[own].mean())}
