"""A new arm judged from the slates that others were shown: chances and rewards from the log, into off_policy.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from segue.core.actions import Action, signals
from segue.core.types import Bool, Events, Exposure, Int64
from segue.evaluation.off_policy import Judgement, Logged, crossfit_means, judge, weights

Float64 = NDArray[np.float64]
FOLDS: Final = 5
_COLUMNS: Final = ("at", "request", "item", "action", "played_s", "duration_s", "value")


class Log(Protocol):
    """The part of the log that this reads."""

    def scan(self, at_from: int, at_to: int, columns: Sequence[str] | None = None) -> Iterator[Events]:
        """As in core.ports.EventLog."""
        ...

    def exposures(self, at_from: int, at_to: int) -> Iterator[Exposure]:
        """As in core.ports.EventLog."""
        ...


@dataclass(frozen=True)
class Slates:
    """The first places of slates that tell what a new arm would have done: (n,) and (n, places), NaN where one is shorter."""

    request: NDArray[np.uint64]
    user: Int64
    surface: NDArray[np.str_]
    item: Int64
    logged: Float64  # chance of each item at its place, given those above it, under who answered
    target: Float64  # the same under the new arm

    def __len__(self) -> int:
        return len(self.request)


def slates_of(exposures: Iterable[Exposure], experiment: str, places: int) -> Slates:
    """Those of the exposures that carry chances of the experiment's new arm."""
    told = [e for e in exposures if experiment in e.chances and len(e.slate.items)]
    n = len(told)
    item = np.full((n, places), -1, np.int64)
    logged, target = np.full((n, places), np.nan), np.full((n, places), np.nan)
    for row, e in enumerate(told):
        k = min(places, len(e.slate.items))
        item[row, :k] = e.slate.items[:k]
        logged[row, :k] = e.slate.propensities[:k]
        target[row, :k] = e.chances[experiment][:k]
    return Slates(
        np.array([e.slate.request_id for e in told], np.uint64),
        np.array([e.user for e in told], np.int64),
        np.array([e.surface for e in told], np.str_),
        item, logged, target,
    )  # fmt: skip


def rewards(log: Log, slates: Slates, at_from: int, at_to: int) -> Float64:
    """1 where the song of a place was heard to the end, liked or saved by word of this request, else 0; NaN where no song is.

    A song that was shown and not played earns 0: a place that is not reached is worth nothing.
    """
    reward = np.where(slates.item >= 0, 0.0, np.nan)
    if not len(slates):
        return reward
    order = np.argsort(slates.request, kind="stable")
    known = slates.request[order]
    for events in log.scan(at_from, at_to, _COLUMNS):
        at = np.minimum(np.searchsorted(known, events["request"]), len(known) - 1)
        mine = (known[at] == events["request"]) & (events["request"] != 0)
        mine &= events["action"] != Action.ASSIGNED
        some, rows = events[mine], order[at[mine]]
        action = np.ascontiguousarray(some["action"])
        said = signals(action, *(np.ascontiguousarray(some[name]) for name in ("played_s", "duration_s", "value")))
        place_row, place = np.nonzero((slates.item[rows] == some["item"][:, None]) & (said > 0)[:, None])
        reward[rows[place_row], place] = 1.0
    return reward


def as_logged(slates: Slates, reward: Float64) -> tuple[Logged, Bool]:
    """Rows for off_policy.judge, and which slates they are: those whose logged chances are all sound.

    The reward model of the doubly robust estimate is the mean of a place, learned from other listeners: it knows nothing of
    songs, so its value is the same for every policy, and the estimate is IPS with less noise.
    """
    there = ~np.isnan(slates.logged)
    sound = np.all(~there | ((slates.logged > 0) & (slates.logged <= 1)), axis=1)
    logged, target, reward = slates.logged[sound], slates.target[sound], reward[sound]
    there, user = there[sound], slates.user[sound]
    cluster = np.where(user >= 0, user, -1 - np.arange(len(user)))  # a listener without a name is a listener of their own
    weight, before = weights(target, logged)
    guess = np.zeros_like(reward)
    if there.any():
        place = np.broadcast_to(np.arange(reward.shape[1]), reward.shape)
        fold = np.broadcast_to((cluster % FOLDS)[:, None], reward.shape)
        guess[there], _ = crossfit_means(reward[there], place[there], fold[there])
    return Logged(reward, weight, before, guess, guess, cluster), np.asarray(sound, np.bool_)


@dataclass(frozen=True)
class Found:
    """What a log says about a new arm."""

    slates: int
    listeners: int
    judgement: Judgement | None  # None: no slate tells anything


def judge_logged(
    log: Log, experiment: str, at_from: int, at_to: int, *, places: int = 1, wait_ms: int = 3_600_000, most: int = 1_000_000,
    least_effective: float = 500.0,
) -> Found:  # fmt: skip
    """Judge the new arm of an experiment on the first `places` of the slates shown in [at_from, at_to - wait_ms).

    Listening of the last `wait_ms` is left to come in first. At most `most` slates, the oldest. Segments are surfaces.
    """
    shown = (e for e in log.exposures(at_from, at_to - wait_ms) if experiment in e.chances)
    slates = slates_of(islice(shown, most), experiment, places)
    if not len(slates):
        return Found(0, 0, None)
    rows, sound = as_logged(slates, rewards(log, slates, at_from, at_to))
    surface = slates.surface[sound]
    segments = {f"surface {name}": surface == name for name in np.unique(surface)}
    return Found(len(rows.reward), len(np.unique(rows.cluster)), judge(rows, segments, least_effective=least_effective))
