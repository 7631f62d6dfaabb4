"""Quality in parts: by group of listeners, by day since training, and what the lists show of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segue.core.clock import DAY_MS
from segue.core.types import History, Int32, Int64, Items
from segue.evaluation import beyond
from segue.evaluation.ranking import per_list
from segue.evaluation.segments import by_group
from segue.training.dataset import Held
from segue.training.exam import Exam
from segue.training.measure import Judged, Values
from segue.training.recipe import Night
from segue.training.report import Part, Quality, Spread

LONGEST = 28
"""Days after training that are told apart."""
NEW_DAYS = 14
"""Who was first heard at most so long before the cut is new; a quarter of the window where that is shorter."""


@dataclass(frozen=True)
class Facts:
    """What the parts are told apart by."""

    exam: Exam
    held: Held
    plays: Int64  # (n_items,) how often each song was wanted before the cut
    cut: int  # ms
    groups: dict[str, list[str]]  # dimension -> the group of each test user, in their order


def gather(night: Night, before: History, held: Held, exam: Exam, cut: int) -> Facts:
    """The facts of a test; `before` may be freed afterwards."""
    users = np.array([query.user for query in exam.days.queries], np.int32)
    plays = np.bincount(before.item[before.signal > 0], minlength=before.n_items).astype(np.int64)
    groups = {"listening": _tenure(before, users, cut)}
    for dimension, group_of in night.recipe.groups.items():
        groups[dimension] = [name or "not known" for name in group_of(users)]
    return Facts(exam, held, plays, cut, groups)


def _tenure(before: History, users: Int32, cut: int) -> list[str]:
    """Whether each user is new at the cut."""
    oldest = int(before.at.min()) * 1000
    days = max(1, min(NEW_DAYS, (cut - oldest) // DAY_MS // 4))
    first = before.at[np.searchsorted(before.user, users)].astype(np.int64) * 1000
    named = (f"new (at most {days} days)", "long-term")
    return [named[0] if new else named[1] for new in (first >= cut - days * DAY_MS).tolist()]


def enrich(judged: Judged, facts: Facts, items: Items) -> Judged:
    """The same with what each list is besides right: novelty, diversity of tags where there are any, different artists."""
    k = judged.days.shape[1]
    more: Values = {f"novelty@{k}": beyond.novelty(judged.days, facts.plays)}
    if len(items.tags):
        more[f"tag diversity@{k}"] = beyond.diversity_by_tags(judged.days, items.tags_ptr, items.tags)
    more[f"artists@{k}"] = beyond.variety(judged.days, items.artist)
    return Judged(judged.values | more, judged.days, judged.moments)


def describe(judged: Mapping[str, Judged], shown: tuple[str, ...], facts: Facts, items: Items, seed: int) -> Quality:
    """Spreads of every model; segments and days of those that are to be shown."""
    spreads = []
    for model, one in judged.items():
        counts = beyond.shown(one.days, len(items))[items.playable]
        coverage = beyond.coverage(one.days, items.playable)
        spreads.append(Spread(model, one.days.shape[1], len(one.days), coverage, beyond.gini(counts)))
    segments, days = [], []
    for model in shown:
        k = judged[model].days.shape[1]
        for metric in (f"ndcg@{k}", f"recall@{k}", f"next hit@{k}"):
            for dimension, groups in facts.groups.items():
                segments += _parts(dimension, model, metric, judged[model].values[metric], groups, seed)
        days += _days(judged[model], model, facts, seed)
    return Quality(spreads, segments, days)


def _parts(dimension: str, model: str, metric: str, values: NDArray[np.float64], groups: list[str], seed: int) -> list[Part]:
    """One figure a group, the same draws for every model."""
    found = by_group(values, groups, np.random.default_rng(seed))
    return [Part(dimension, s.group, model, metric, s.mean, s.low, s.high, s.n, s.enough) for s in found]


def _days(judged: Judged, model: str, facts: Facts, seed: int) -> list[Part]:
    """By day since training: the list of the cut against what was wanted on that day, and the moments of that day."""
    k = judged.days.shape[1]
    users = np.array([query.user for query in facts.exam.days.queries], np.int32)
    found: list[Part] = []
    day = (facts.held.at.astype(np.int64) * 1000 - facts.cut) // DAY_MS
    last = min(int(day.max(initial=0)), LONGEST - 1)
    for number in range(last + 1):
        ptr, relevant = wanted_on(facts.held, users, day == number)
        got = per_list(judged.days, ptr, relevant, k)
        for metric, values in (("ndcg", got.ndcg), ("recall", got.recall)):
            found += _parts("day", model, f"{metric}@{k}", values, [str(number)] * len(users), seed)
    moments = facts.exam.moments
    hits = per_list(judged.moments, moments.ptr, moments.relevant, k).hit
    when = np.array([(query.now - facts.cut) // DAY_MS for query in moments.queries], np.int64)
    for number in np.unique(when[when < LONGEST]).tolist():
        here = np.where(when == number, hits, np.nan)
        found += _parts("day", model, f"next hit@{k}", here, [str(number)] * len(here), seed)
    return found


def wanted_on(held: Held, users: Int32, rows: NDArray[np.bool_]) -> tuple[Int64, Int32]:
    """What each of the users, ascending, wanted in some of the held rows: CSR of distinct items, (ptr, relevant)."""
    mine = rows & (held.signal > 0) & np.isin(held.user, users)
    pairs = np.unique(held.user[mine].astype(np.int64) << 32 | held.item[mine])
    whose = (pairs >> 32).astype(np.int32)
    ptr = np.concatenate([[0], np.searchsorted(whose, users, side="right")]).astype(np.int64)
    return ptr, (pairs & 0xFFFFFFFF).astype(np.int32)
