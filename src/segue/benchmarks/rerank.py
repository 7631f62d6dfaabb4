"""What each setting of the reranker buys and what it costs in relevance, on a split of pairs with tags and in the demo town."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from segue import config, wiring
from segue.benchmarks import _topn
from segue.benchmarks._topn_models import REGS, Learner, weights_of
from segue.core.errors import BadInput
from segue.core.hashing import hash64
from segue.core.types import Candidates, Float32, Int32, Items, Query, Recent
from segue.evaluation.beyond import coverage, diversity_by_tags, variety
from segue.evaluation.intervals import bootstrap, paired
from segue.evaluation.ranking import per_list
from segue.reranking.radio import Radio
from segue.serving.query import RecommendIn
from segue.simulator.town import Town
from segue.training.report import Progress

PLAIN = "plain"
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    PLAIN: {},
    "diversity 0.3": {"diversity": 0.3},
    "diversity 1": {"diversity": 1.0},
    "diversity 3": {"diversity": 3.0},
    "diversity 0.1 by dpp": {"diversity": 0.1, "diversity_by": "dpp"},
    "diversity 0.3 by dpp": {"diversity": 0.3, "diversity_by": "dpp"},
    "diversity 1 by dpp": {"diversity": 1.0, "diversity_by": "dpp"},
    "calibration 0.1": {"calibration": 0.1},
    "calibration 0.3": {"calibration": 0.3},
    "calibration 1": {"calibration": 1.0},
    "explore 0.05": {"explore": 0.05},
    "explore 0.3": {"explore": 0.3},
}
TOWN: Mapping[str, Mapping[str, Any]] = {
    **SETTINGS,
    "artist_gap 0, max_per_artist 100": {"artist_gap": 0, "max_per_artist": 100},
    "max_per_artist 1": {"max_per_artist": 1},
    "max_per_album 1": {"max_per_album": 1},
    "fatigue 1": {"fatigue": 1.0},
    "freshness 0.5": {"freshness": 0.5},
}
"""What is changed of [radio], one at a time; plain is the defaults with no draws."""
K, POOL = 10, 200
Float64 = NDArray[np.float64]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A split of pairs with the tags of its items, and the size of the town."""
    parser.add_argument("--train", help="parquet with user and item; without it only the town is measured")
    parser.add_argument("--test", help="parquet with what was held out")
    parser.add_argument("--tags", help="parquet with item_id and class: the tags of each item, separated by blanks")
    parser.add_argument("--listeners", type=int, default=900, help="of the town; 0 leaves it out")
    parser.add_argument("--asked", type=int, default=300, help="listeners of the town that get a slate of each setting")
    parser.add_argument("--seed", type=int, default=5)


def run(args: argparse.Namespace) -> dict[str, object]:
    """Both worlds."""
    given = [args.train, args.test, args.tags]
    if any(given) and not all(given):
        raise BadInput("--train, --test and --tags go together")
    if args.listeners < 0 or args.asked < 1:
        raise BadInput("--listeners: expected at least 0, --asked at least 1")
    out: dict[str, object] = {}
    if args.train:
        args.progress.phase("a split of pairs")
        out["pairs"] = pairs(args)
    if args.listeners:
        out["town"] = town(args, args.progress)
    return out


class Nobody:
    """The online state of a world without one: nothing was heard, shown or voted on here."""

    def heard(self, user: int, items: Int32) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
        """Never."""
        return np.zeros(len(items), np.uint16), np.zeros(len(items), np.int64)

    def marks(self, user: int, items: Int32) -> NDArray[np.uint8]:
        """None."""
        return np.zeros(len(items), np.uint8)


@dataclass(frozen=True)
class Asked:
    """One listener's ranked candidates."""

    query: Query
    candidates: Candidates
    scores: Float32


def slates(radio: Radio, asked: Sequence[Asked], seed: int) -> tuple[Int32, float]:
    """The slate of each (m, K), MISSING where short, and CPU microseconds a slate of the reranker alone."""
    out = np.full((len(asked), K), -1, np.int32)
    radio.select(asked[0].query, asked[0].candidates, asked[0].scores, np.random.default_rng(seed))  # compiled before it counts
    began = time.process_time()
    for row, one in enumerate(asked):
        picks, _, _ = radio.select(one.query, one.candidates, one.scores, np.random.default_rng([seed, row]))
        out[row, : len(picks)] = one.candidates.items[picks]
    return out, (time.process_time() - began) / len(asked) * 1e6


def pairs(args: argparse.Namespace) -> dict[str, object]:
    """EASE, its penalty chosen on a cut of train, reranked; relevance is what the test holds."""
    split = _topn.read(args.train, args.test)
    users = split.asked()
    reg = _chosen_reg(split, args.seed)
    facts = _facts(args, split)
    score = Learner(weights_of(split.train, 0.0)).ease(reg, 0.0, 0.5)
    lists = _topn.ranked(score, split, users, POOL)
    asked = [_asked(score, split, int(u), row) for u, row in zip(users, lists, strict=True)]
    held = split.test[users]
    found: dict[str, dict[str, Float64]] = {}
    rows = []
    for name, settings in SETTINGS.items():
        radio = Radio(lambda: facts, Nobody(), **{"explore": 0.0, **settings})  # type: ignore[arg-type]
        slate, micros = slates(radio, asked, args.seed)
        judged = per_list(slate, held.indptr.astype(np.int64), held.indices.astype(np.int32), K)
        found[name] = {
            "ndcg@10": judged.ndcg,
            "recall@10": judged.recall,
            "tag diversity": diversity_by_tags(slate, facts.tags_ptr, facts.tags),
            "far from the mix": far_from_mix(slate, asked, facts),
        }
        extra = {"coverage": coverage(slate, facts.playable), "cpu_us": micros}
        rows.append(_row(name, found, extra, args.seed))
    return {"users": len(users), "ease_reg": reg, "settings": rows}


def _chosen_reg(split: _topn.Split, seed: int) -> float:
    """The penalty of EASE with the best NDCG@10 on a random fifth of each user's train."""
    part = _topn.cut(split, np.random.default_rng(seed).random(split.train.nnz))
    learner, users = Learner(weights_of(part.train, 0.0)), part.asked()

    def reached(reg: float) -> float:
        lists = _topn.ranked(learner.ease(reg, 0.0, 0.5), part, users, K)
        return float(np.nanmean(_topn.judge(lists, part, users, K).ndcg))

    return max(REGS, key=lambda reg: (reached(reg), -reg))


def _facts(args: argparse.Namespace, split: _topn.Split) -> Items:
    """Items with their tags, columns in order of the ids, as _topn.read has them."""
    parts = [_topn.columns(path)[1] for path in (args.train, args.test)]
    ids = np.unique(np.concatenate(parts))
    table = pq.read_table(args.tags)
    tags = dict(zip(map(str, table["item_id"].to_pylist()), table["class"].to_pylist(), strict=True))
    words = [sorted(set(str(tags.get(str(i)) or "").split())) for i in ids.tolist()]
    names = {word: number for number, word in enumerate(sorted({w for row in words for w in row}))}
    ptr = np.cumsum([0, *map(len, words)]).astype(np.int64)
    flat = np.array([names[w] for row in words for w in row], np.int32)
    return replace(Items.bare(split.train.shape[1]), tags_ptr=ptr, tags=flat)


def _asked(score: Any, split: _topn.Split, user: int, items: Int32) -> Asked:
    """The POOL best of a user; all of train is what was finished lately."""
    items = np.sort(items[items >= 0])
    seen = split.train[user].indices.astype(np.int32)
    n = len(seen)
    recent = Recent(seen, np.ones(n, np.float32), np.ones(n, np.float32), np.zeros(n, np.int64), np.zeros(n, np.bool_))
    query = Query(user + 1, user, 0, limit=K, recent=recent, discovery=1.0)
    scores = score(np.array([user]))[0][items].astype(np.float32)
    return Asked(query, Candidates(items, np.ones((len(items), 1), np.float32), ("ease",)), scores)


def far_from_mix(slate: Int32, asked: Sequence[Asked], facts: Items) -> Float64:
    """Total variation, (m,) in [0, 1], between the tags of a slate and those of what was finished; each song one vote."""
    out = np.full(len(asked), np.nan)
    for row, one in enumerate(asked):
        recent = one.query.recent
        mine, theirs = _mass(slate[row], facts), _mass(recent.items[recent.signal > 0], facts)
        if mine.any() and theirs.any():
            out[row] = 0.5 * np.abs(mine / mine.sum() - theirs / theirs.sum()).sum()
    return out


def _mass(items: Int32, facts: Items) -> Float64:
    mass = np.zeros(int(facts.tags.max(initial=-1)) + 1)
    for item in items[(items >= 0) & (items < len(facts))].tolist():
        tags = facts.tags[facts.tags_ptr[item] : facts.tags_ptr[item + 1]]
        mass[tags] += 1 / max(len(tags), 1)
    return mass


def _row(name: str, found: Mapping[str, Mapping[str, Float64]], extra: Mapping[str, float], seed: int) -> dict[str, object]:
    """Means with 95 % intervals, and paired differences from plain."""
    row: dict[str, object] = {"setting": name}
    for metric, values in found[name].items():
        one = bootstrap(values, np.random.default_rng(seed))
        row[metric] = f"{one.mean:.4f} [{one.low:.4f}, {one.high:.4f}]"
        if name != PLAIN:
            gap = paired(values, found[PLAIN][metric], np.random.default_rng(seed))
            row[f"{metric} less plain"] = f"{gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
    return {**row, **extra}


def town(args: argparse.Namespace, bar: Progress) -> dict[str, object]:
    """The whole radio in a town that no model knows; relevance is how many songs' worth of a slate its listener hears."""
    songs = max(args.listeners * 5 // 3, 60)
    bar.phase("a town")
    made = Town(args.seed, songs=songs, artists=songs // 5, listeners=args.listeners, days=40)
    with tempfile.TemporaryDirectory() as folder, wiring.Home(Path(folder), config.Settings(), writer=True) as home:
        items, users = home.catalogue.put_items(made.items), home.catalogue.put_users(made.users)
        for events in made.events(items, users, home.catalogue.regions.intern(made.regions)):
            home.log.append(events)
        home.catch_up()
        wiring.night(home, made.until_ms, bar)
        bar.phase("slates")
        people = np.unique(np.linspace(0, args.listeners - 1, min(args.asked, args.listeners)).astype(int)).tolist()
        asked = _town_asked(home, made, people)
        return {"listeners": len(people), "songs": songs, "settings": _town_rows(home, made, (items, people), asked, args.seed)}


def _town_asked(home: wiring.Home, made: Town, people: Sequence[int]) -> list[Asked]:
    """Ranked candidates of each listener at the moment the history ends."""
    recommender, maker = wiring.recommender_of(home), wiring.maker_of(home)
    out = []
    for person in people:
        name = made.users[person].id
        query, _ = maker.make(RecommendIn(user=name, discovery=0.5), made.until_ms, hash64(f"rerank {name}"))
        trace = recommender.trace(query)
        out.append(Asked(query, trace.candidates, trace.scores))
    recommender.close()
    return out


def _town_rows(
    home: wiring.Home, made: Town, who: tuple[Int32, Sequence[int]], asked: Sequence[Asked], seed: int
) -> list[dict[str, object]]:
    items, people = who
    facts = home.facts()
    number = np.full(len(facts), -1, np.int64)
    number[items] = np.arange(len(items))
    found: dict[str, dict[str, Float64]] = {}
    rows = []
    for name, settings in TOWN.items():
        radio = Radio(home.facts, home.state, **{"explore": 0.0, **settings})
        slate, micros = slates(radio, asked, seed)
        heard = np.array([_heard(made, person, number[row[row >= 0]]) for person, row in zip(people, slate, strict=True)])
        found[name] = {
            "songs' worth heard": heard,
            "tag diversity": diversity_by_tags(slate, facts.tags_ptr, facts.tags),
            "artists over songs": variety(slate, facts.artist),
            "far from the mix": far_from_mix(slate, asked, facts),
        }
        rows.append(_row(name, found, {"coverage": coverage(slate, facts.playable), "cpu_us": micros}, seed))
    return rows


def _heard(made: Town, person: int, songs: NDArray[np.int64]) -> float:
    """How many songs' worth of the slate the listener hears, mean of eight sessions of the same luck for every setting."""
    sessions = [made.listener(person, np.random.default_rng([luck, person])).listen(songs) for luck in range(8)]
    return float(np.nansum(sessions) / len(sessions))
