"""A new arm judged from slates that another arm showed: chances that are exact, and estimates that find the known truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from segue.core.actions import Action
from segue.core.types import EVENT, Candidates, Events, Exposure, Query, Slate
from segue.evaluation.logged import as_logged, judge_logged, rewards, slates_of
from segue.evaluation.off_policy import doubly_robust, ips, snips
from segue.reranking.radio import Radio
from worlds import DictState, facts, query

N, HOUR = 12, 3_600_000
START = 1_700_000_000_000
ITEMS = np.arange(N, dtype=np.int32)
LIKED = np.linspace(0.9, 0.1, N)  # the chance that a song is heard to the end


class Memory:
    """A log in memory."""

    def __init__(self, exposures: list[Exposure], events: Events) -> None:
        self._exposures, self._events = exposures, events

    def scan(self, at_from: int, at_to: int, columns: Sequence[str] | None = None) -> Iterator[Events]:
        yield self._events[(self._events["at"] >= at_from) & (self._events["at"] < at_to)]

    def exposures(self, at_from: int, at_to: int) -> Iterator[Exposure]:
        return (e for e in self._exposures if at_from <= e.at < at_to)


def radio(explore: float, pool: int = N) -> Radio:
    world = facts([k // 2 for k in range(N)])
    return Radio(lambda: world, DictState(), explore=explore, explore_pool=pool, artist_gap=1, temperature=2.0)


def candidates() -> Candidates:
    return Candidates(ITEMS, np.ones((N, 1), np.float32), ("s",))


def asked(number: int, user: int) -> Query:
    return query(limit=3, discovery=1.0, user=user, request_id=number + 1)


OLD, NARROW, NEW = radio(0.9), radio(0.9, 6), radio(0.7)
OLD_SCORES = np.random.default_rng(7).permutation(N).astype(np.float32)
NEW_SCORES = LIKED.astype(np.float32)


def world(rng: np.random.Generator, slates: int, users: int, old: Radio = OLD) -> Memory:
    """Slates by OLD with the chances of NEW, and what was heard of them: listeners go on after a song that they liked."""
    exposures, rows = [], []
    for number in range(slates):
        q, at = asked(number, number % users), START + 1000 * number
        picks, propensities, explored = old.select(q, candidates(), OLD_SCORES, rng)
        items = ITEMS[picks]
        offered, words = (("s",),) * len(items), ("",) * len(items)
        slate = Slate(q.request_id, items, OLD_SCORES[picks], propensities, offered, words, explored, "radio", {}, "personal")
        chances = NEW.chances(q, candidates(), NEW_SCORES, items)
        none = np.zeros((len(items), 0), np.float32)
        exposures.append(Exposure(slate, q.user, at, 0, "radio", -1, none, (), {"trial": chances}))
        rows += [(at, q.request_id, q.user, item, *played) for item, played in heard(items, rng)]
    events = np.zeros(len(rows), EVENT)
    for name, column in zip(("at", "request", "user", "item", "action", "played_s"), zip(*rows, strict=True), strict=True):
        events[name] = column
    events["duration_s"] = 200.0
    return Memory(exposures, events)


def heard(items: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[int, tuple[int, float]]]:
    for item in items.tolist():
        if rng.random() >= LIKED[item]:
            yield item, (Action.SKIPPED, 3.0)
            return  # a bad song ends it: what comes after is worth nothing
        yield item, (Action.COMPLETED, 200.0)


def truth(places: int) -> float:
    """The worth of NEW a place, by playing it."""
    rng, total = np.random.default_rng(8), 0.0
    for number in range(10_000):
        picks, _, _ = NEW.select(asked(number, 0), candidates(), NEW_SCORES, rng)
        total += np.cumprod(LIKED[ITEMS[picks]])[:places].sum()
    return total / 10_000 / places


def test_the_chances_of_its_own_slates_are_their_propensities_and_they_sum_to_one() -> None:
    rng = np.random.default_rng(9)
    for number in range(50):
        q = asked(number, 0)
        picks, propensities, _ = NEW.select(q, candidates(), NEW_SCORES, rng)
        assert NEW.chances(q, candidates(), NEW_SCORES, ITEMS[picks]).tolist() == propensities.tolist()
        first = [NEW.chances(q, candidates(), NEW_SCORES, ITEMS[[k]])[0] for k in range(N)]
        assert sum(first) == pytest.approx(1.0, abs=1e-5)
        after = [NEW.chances(q, candidates(), NEW_SCORES, ITEMS[[picks[0], k]])[1] for k in range(N) if k != picks[0]]
        assert sum(after) == pytest.approx(1.0, abs=1e-5)
    unknown = NEW.chances(asked(0, 0), candidates(), NEW_SCORES, np.array([picks[0], 99, picks[1]], np.int32))
    assert unknown[0] > 0
    assert unknown[1:].tolist() == [0.0, 0.0], "nothing is known of what follows a song that could not be shown"


@pytest.mark.parametrize("places", [1, 2])
def test_the_worth_of_a_policy_that_nobody_was_served_is_found(places: int) -> None:
    known, inside = truth(places), 0
    means = np.empty((40, 3))
    for run in range(40):
        log = world(np.random.default_rng([10, run]), 300, 100)
        slates = slates_of(log.exposures(START, START + HOUR), "trial", places)
        rows, sound = as_logged(slates, rewards(log, slates, START, START + HOUR))
        assert sound.all()
        found = [estimate(rows) for estimate in (ips, snips, doubly_robust)]
        inside += sum(one.low <= known <= one.high for one in found)
        means[run] = [one.mean for one in found]
    assert inside / 120 >= 0.88
    apart = (means.mean(axis=0) - known) / (means.std(axis=0) / 40**0.5)
    assert (np.abs(apart) < 3).all(), "no bias that 40 logs could show"


def test_the_gate_passes_a_better_arm_and_says_when_it_cannot_tell() -> None:
    log = world(np.random.default_rng(11), 3000, 3000)
    found = judge_logged(log, "trial", START, START + HOUR, wait_ms=0, least_effective=300)
    assert found.judgement is not None
    assert found.slates == found.listeners == 3000
    assert found.judgement.verdict == "pass", found.judgement.reasons
    assert found.judgement.difference.low > 0
    few = judge_logged(log, "trial", START, START + 300_000, wait_ms=200_000, least_effective=300)
    assert few.slates == 100
    assert few.judgement is not None
    assert few.judgement.verdict == "not informative"
    narrow = judge_logged(world(np.random.default_rng(13), 3000, 3000, NARROW), "trial", START, START + HOUR, wait_ms=0)
    assert narrow.judgement is not None
    assert narrow.judgement.verdict == "not informative", "the new arm shows songs that the old one never draws"
    assert any("not 1" in reason for reason in narrow.judgement.reasons)
    assert judge_logged(log, "another", START, START + HOUR).judgement is None


def test_a_song_counts_when_it_was_heard_by_word_of_its_own_request() -> None:
    log = world(np.random.default_rng(12), 2, 2)
    slates = slates_of(log.exposures(START, START + HOUR), "trial", 5)
    assert slates.item.shape == (2, 5)
    assert np.isnan(slates.target[:, 3:]).all(), "places that were not shown"
    events = np.zeros(3, EVENT)
    events["at"], events["item"], events["action"] = START, slates.item[0, 1], Action.COMPLETED
    events["duration_s"] = events["played_s"] = 200.0
    events["request"] = (slates.request[0], 0, 12345)
    told = rewards(Memory([], events), slates, START, START + HOUR)
    assert np.nan_to_num(told, nan=-1).tolist() == [[0, 1, 0, -1, -1], [0, 0, 0, -1, -1]]
    assert np.nansum(rewards(Memory([], events[1:]), slates, START, START + HOUR)) == 0
