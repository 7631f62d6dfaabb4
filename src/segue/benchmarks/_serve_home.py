"""A home made ready to be measured: ranked by the ranker that is asked for, out of as many candidates as are asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segue import wiring
from segue.benchmarks import night
from segue.core.errors import BadInput
from segue.core.types import Query
from segue.features.compute import Features, proven, remember
from segue.ranking.blend import Blend
from segue.serving.query import RecommendIn
from segue.training.registry import RANKER, hyperparameters

KINDS: dict[str, dict[str, Any]] = {
    "logistic": {},
    # a small rate and as much patience as trees: the full number of trees is what a request pays for
    "boosting": {"learning_rate": 0.01},
    "forest": {},
}
TAUGHT, TRIED = 150, 60
"""Listeners whose candidates teach the ranker, and listeners that tell how many candidates a request has."""
DEEPEST = 2000
PER_SPOT, SPREAD = 25, 500


def ranked_by(home: wiring.Home, name: str, trees: int) -> str:
    """Make a ranker of that kind the champion's, its sources kept; what it learned from, in words.

    A generated world teaches no taste, and a night would rightly refuse many a ranker there. What a request costs depends
    on columns and trees alone, so this one learns to say what rank fusion says, with noise. Nothing is done where the
    champion has that ranker from an earlier run.
    """
    registry = home.registry()
    bundle = registry.bundle()
    told = f"taught to say what rank fusion says, on {TAUGHT} listeners" + (f", {trees} trees" if name == "boosting" else "")
    if bundle.manifest.get("made_for_benchmark") == told:
        return told
    features = Features(bundle.manifest["sources"], only=proven(bundle.manifest["sources"]))
    rng, recommender, rows, logits = np.random.default_rng(0), wiring.recommender_of(home), [], []
    for query in queries(home, askers(home, TAUGHT, 0, active=False)):
        pool = recommender.trace(query).candidates
        rows.append(features.rows(query, pool, home.facts(), remember(home.state, query, pool.items)))
        score = Blend().score(query, pool, rows[-1])
        logits.append((score - score.mean()) / (score.std() + 1e-9) + rng.normal(0, 0.5, len(score)))
    recommender.close()
    given = np.concatenate(rows), np.concatenate(logits) > 1.0
    many = {"epochs": trees, "patience": trees} if name == "boosting" else {}
    ranker = wiring.named(wiring.RANKERS, name, "ranker")(**KINDS[name], **many)
    ranker.fit_rows(*given, np.ones(len(given[0]), np.float32), np.ones(len(given[0]), np.bool_))
    models = {model: arrays for model, arrays in bundle.arrays.items() if not model.startswith(RANKER)}
    settings = {**bundle.manifest["hyperparameters"], f"{RANKER}{name}": hyperparameters(ranker)}
    facts = {"ranker": name, "ranker_facts": {"features": list(features.names)}, "made_for_benchmark": told}
    manifest = {**bundle.manifest, **facts, "hyperparameters": settings}
    registry.promote(registry.put({**models, f"{RANKER}{name}": ranker.arrays()}, manifest))
    return told


def askers(home: wiring.Home, n: int, seed: int, *, active: bool) -> list[str]:
    """Names of n listeners: any, or as often as they play, as those who ask a radio do."""
    rng, users = np.random.default_rng([seed, 7]), home.catalogue.users
    if not active:
        return list(users.all(rng.integers(0, len(users), n).astype(np.int32)))
    spots = np.sort(rng.integers(0, home.log.last, -(-n // PER_SPOT)))
    played = np.concatenate([home.log.read(int(spot), SPREAD)["user"][:: SPREAD // PER_SPOT] for spot in spots])
    return list(users.all(rng.permutation(played[played >= 0])[:n].astype(np.int32)))


def queries(home: wiring.Home, names: Sequence[str]) -> list[Query]:
    """What listeners ask at the end of the world."""
    maker = wiring.maker_of(home)
    return [maker.make(RecommendIn(user=name, discovery=0.5), night.END, place + 1)[0] for place, name in enumerate(names)]


def deep_enough(home: wiring.Home, candidates: int, *, active: bool) -> tuple[int, dict[str, object]]:
    """(songs to ask each source for, so that a request has `candidates` on average; what requests then have)."""
    recommender, asked, tried = wiring.recommender_of(home), queries(home, askers(home, TRIED, 1, active=active)), 60
    try:
        while True:
            recommender.per_source = tried
            traces = [recommender.trace(query) for query in asked]
            sizes = np.array([len(trace.candidates) for trace in traces])
            if sizes.mean() >= candidates:
                break
            if tried >= DEEPEST:
                raise BadInput(f"--candidates: this world offers {sizes.mean():.0f} a request at most, asked for {candidates}")
            tried = min(tried + max(20, tried // 8), DEEPEST)
    finally:
        recommender.close()
    spoke = [sum(len(answer) > 0 for answer in trace.offered.values()) for trace in traces]
    low, high = np.quantile(sizes, [0.1, 0.9])
    return tried, {
        "ranked_mean": round(float(sizes.mean()), 1),
        "ranked_10_to_90": [round(float(low)), round(float(high))],
        "sources_speaking_mean": round(float(np.mean(spoke)), 2),
        "sources": list(traces[0].offered),
        "asked_of_each": tried,
    }


def configured(home: Path, per_source: int) -> Path:
    """A copy of the home's segue.toml that asks each source for so many, in the home."""
    plain, made = home / "segue.toml", home / "benchmark.toml"
    text = plain.read_text(encoding="utf-8") if plain.exists() else ""
    line = f"per_source = {per_source}\n"
    text = re.sub(r"(?m)^per_source\s*=.*\n?", "", text)
    found = re.search(r"(?m)^\[radio\]\s*\n", text)
    made.write_text(f"{text[: found.end()]}{line}{text[found.end() :]}" if found else f"{text}\n[radio]\n{line}")
    return made
