"""What decisions rest on: how long a rollback takes, what a log can tell of other policies, how few listeners a draft needs."""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray

from segue import config, wiring
from segue.arena.served import settle
from segue.benchmarks import _shared_slates
from segue.benchmarks._server import Server
from segue.core.errors import BadInput
from segue.core.types import Query
from segue.serving.query import RecommendIn
from segue.serving.recommender import Trace
from segue.simulator.town import Town
from segue.training.registry import CHAMPION, PREVIOUS
from segue.wiring.radio import reranker_of
from segue.wiring.tables import RANKERS

PARTS = ("rollback", "power", "shared-slates")
EXPLORE = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
LEAST_EFFECTIVE = 500.0
LIFTS = (0.02, 0.05)
TOLD = 2.8
"""Standard errors that a lift must be worth to be found four times in five at 5 %: 1.96 + 0.84."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which part, on what town."""
    parser.add_argument("--part", choices=PARTS, action="append", help="of the promises; all of them without it")
    parser.add_argument("--songs", type=int, default=3000)
    parser.add_argument("--listeners", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--times", type=int, default=10, help="rollbacks")
    parser.add_argument("--days", type=int, default=5, help="days of the town for shared slates and for arms")
    parser.add_argument("--queries", type=int, default=200, help="moments of listeners at which policies are compared")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Make a town, train two models, measure."""
    if min(args.times, args.queries, args.days) < 1:
        raise BadInput("--times, --queries, --days: expected at least 1")
    found: dict[str, object] = {"songs": args.songs, "listeners": args.listeners, "seed": args.seed}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "home"
        args.progress.phase("a town, and two nights")
        town = _trained(path, args)
        if "rollback" in (args.part or PARTS):
            args.progress.phase("rollbacks")
            found["rollback"] = _rollbacks(path, args.times)
        if "power" in (args.part or PARTS):
            args.progress.phase("what a log can tell")
            found["power"] = _power(path, town, args.queries)
        if "shared-slates" in (args.part or PARTS):
            found["shared_slates"] = _shared_slates.compared(path, town, args.days, args.progress)
    return found


def _trained(path: Path, args: argparse.Namespace) -> Town:
    town = Town(args.seed, songs=args.songs, artists=max(args.songs // 5, 12), listeners=args.listeners)
    with wiring.open_home(path, writer=True) as home:
        settle(home, town)
        for until in (town.until_ms - 7 * 86_400_000, town.until_ms):
            wiring.night(home, until, args.progress, force=True)
    return town


def _rollbacks(path: Path, times: int) -> dict[str, object]:
    """Milliseconds from the moved alias to the first answer of the other model, on a real server over HTTP."""
    took = []
    with wiring.open_home(path, writer=False) as home, Server(path) as server, httpx.Client(base_url=server.url) as client:
        registry = home.registry()
        time.sleep(5.0)  # what stands by has been loaded
        for _ in range(times):
            began = time.perf_counter()
            wanted = registry.rollback()
            while client.post("/v1/recommendations", json={"user": "x"}).json()["model_versions"]["bundle"] != wanted:
                pass
            took.append(1000 * (time.perf_counter() - began))
        assert {registry.version(CHAMPION), registry.version(PREVIOUS)} == set(home.artifacts.versions("radio"))
    return {"times": times, "median_ms": float(np.median(took)), "worst_ms": max(took)}


def _power(path: Path, town: Town, queries: int) -> list[dict[str, object]]:
    """For each share of exploration and each other policy: effective slates, and slates that a lift takes.

    First places only. The chances of every candidate under both policies are asked of the rerankers themselves, at moments
    of listeners with a past: exact second moments of the weights, sum over songs of target^2 / logged.
    """
    with wiring.open_home(path, writer=True) as home:
        recommender, maker = wiring.recommender_of(home), wiring.maker_of(home)
        fusion = replace(recommender.model, ranker=wiring.named(RANKERS, "blend", "ranker")())
        users = [town.users[u].id for u in np.random.default_rng(town.seed).permutation(len(town.users)).tolist()]
        moments: dict[tuple[float, str], list[tuple[float, float]]] = {}
        for number, user in enumerate(islice(cycle(users), queries)):
            query, _ = maker.make(RecommendIn(user=user, discovery=0.5, limit=10), town.until_ms, number + 1)
            best, other = recommender.trace(query), recommender.trace(query, fusion)
            for explore in EXPLORE:
                logged = _first(home, best, query, {"explore": explore})
                targets = {
                    "the same, nothing drawn": _first(home, best, query, {"explore": 0.0}),
                    "the same, half as many draws": _first(home, best, query, {"explore": explore / 2}),
                    "rank fusion, nothing drawn": _first(home, other, query, {"explore": 0.0}),
                    "rank fusion, the same draws": _first(home, other, query, {"explore": explore}),
                }
                for name, target in targets.items():
                    moments.setdefault((explore, name), []).append(_second(logged, target))
        recommender.close()
    return [_row(explore, name, np.array(values)) for (explore, name), values in moments.items()]


def _first(home: wiring.Home, trace: Trace, query: Query, radio: dict[str, float]) -> NDArray[np.float64]:
    """The chance of every item to be first, by dense id, under some settings of [radio]."""
    made = reranker_of(home, config.changed(home.settings.radio, radio))
    candidates, out = trace.candidates, np.zeros(len(home.catalogue.items))
    order = np.lexsort((candidates.items, -trace.scores))[: 4 * made.explore_pool]
    for item in candidates.items[order].tolist():
        out[item] = made.chances(query, candidates, trace.scores, np.array([item], np.int32))[0]
    return out


def _second(logged: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[float, float]:
    """E[w^2] under the logging policy over what it may do, and the chance that the other does what it never does."""
    there = (target > 0) & (logged > 0)
    return float((target[there] ** 2 / logged[there]).sum()), float(target[logged <= 0].sum())


def _row(explore: float, name: str, moments: NDArray[np.float64], share: float = 0.6) -> dict[str, object]:
    """share: of songs heard to the end, of whose lift is asked; the difference to the log has variance p (E[w^2] - 1)."""
    second, never = (float(column.mean()) for column in moments.T)
    row: dict[str, object] = {"explore": explore, "policy": name, "moments": len(moments)}
    row |= {"effective_of_1000": 1000.0 / second, "slates_for_the_gate": LEAST_EFFECTIVE * second}
    for lift in LIFTS:
        row[f"slates_for_{lift:.0%}"] = TOLD**2 * share * max(second - 1.0, 0.0) / (share * lift) ** 2
    return row | {"never_logged": never}
