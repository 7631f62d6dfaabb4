"""What a ranker learns from slates as they were shown: the features stored then, and what the listener did with each song."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.core.actions import PLAYS, Action, shares, signals
from segue.core.clock import DAY_MS
from segue.core.hashing import hash64
from segue.core.ports import EventLog
from segue.core.types import MISSING, Bool, Events, Exposure, Float32, Int8, Int16, Int32, Int64, Sparse, UInt64
from segue.training.learning import HISTORY, Examples

_COLUMNS = ("at", "session", "request", "user", "item", "played_s", "duration_s", "value", "action")
_LONGEST = 5.0
"""A play counts at most as so many average ones."""
WEEK_MS = 7 * DAY_MS


@dataclass(frozen=True)
class Judging:
    """How slates become examples: [training] of the configuration."""

    back_ms: int = 4 * WEEK_MS  # slates older than this are not read; 0 = none are
    within_ms: int = 6 * 3_600_000  # what the listener did within this of being shown the song counts
    finished: float = 0.8  # heard above this share: positive
    skipped: float = 0.1  # below this one: negative; what lies between says neither
    negatives: float = 4.0  # kept for each positive, at most
    by_time: bool = True  # positives weigh by the seconds listened
    clip: float = 0.0  # rows weigh by 1 / propensity, at most this; 0 = they do not
    most: int = 500_000  # rows held in memory; slates beyond are thinned evenly, whole


@dataclass(frozen=True)
class Shown:
    """Songs as they were shown, one a row, oldest first: (n,) columns and the features stored with them, (n, F)."""

    request: UInt64
    user: Int32
    item: Int32
    session: UInt64
    at: Int64  # ms
    position: Int16  # from 0
    propensity: Float32
    rows: Float32

    def __len__(self) -> int:
        return len(self.item)

    def take(self, kept: Bool | Int64) -> Shown:
        """Some of the rows."""
        return Shown(**{name: column[kept] for name, column in vars(self).items()})


@dataclass(frozen=True)
class Lessons:
    """Shown songs that were judged: rows to learn from, with where each stood and how probable that was."""

    examples: Examples
    at: Int64
    position: Int16
    propensity: Float32
    facts: dict[str, object]  # how many of what, for the manifest

    def __len__(self) -> int:
        return len(self.at)


def shown_before(
    log: EventLog, names: Sequence[str], at_from: int, at_to: int, most: int = 500_000
) -> tuple[Shown, dict[str, int]]:
    """(songs shown in [at_from, at_to) ms, how many slates were of use and how many not), features in the order of `names`.

    A slate whose features lack one of the names was made by another kind of model: it is left out, since a feature computed
    today would know what came after. Above `most` rows slates are thinned by a hash of their request, whole, so the same log
    gives the same rows in whatever order, and memory stays bounded. One pass, oldest first.
    """
    kept: list[Exposure] = []
    counts = {"slates": 0, "slates with other features": 0, "slates beyond memory": 0}
    held, level = 0, 0
    columns: dict[tuple[str, ...], list[int] | None] = {}
    for exposure in log.exposures(at_from, at_to):
        counts["slates"] += 1
        stored = exposure.feature_names
        if stored not in columns:
            place = {name: column for column, name in enumerate(stored)}
            columns[stored] = [place[name] for name in names] if set(names) <= place.keys() else None
        if columns[stored] is None:
            counts["slates with other features"] += 1
        elif _stays(exposure, level):
            kept.append(exposure)
            held += len(exposure.slate.items)
            while held > most:
                level += 1
                kept = [one for one in kept if _stays(one, level)]
                held = sum(len(one.slate.items) for one in kept)
    counts["slates beyond memory"] = counts["slates"] - counts["slates with other features"] - len(kept)
    return _rows(kept, [columns[one.feature_names] or [] for one in kept], len(names)), counts


def _stays(exposure: Exposure, level: int) -> bool:
    """Whether a slate is among the 1 / 2^level that are kept."""
    return level == 0 or hash64(f"{exposure.slate.request_id}") % (1 << level) == 0


def _rows(kept: Sequence[Exposure], columns: Sequence[list[int]], width: int) -> Shown:
    sizes = [len(one.slate.items) for one in kept]

    def repeated(values: Iterator[int], dtype: type[np.generic]) -> NDArray[Any]:
        return np.repeat(np.array(list(values), dtype), sizes)

    def joined(parts: Sequence[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
        return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)

    features = [one.features[:, order] for one, order in zip(kept, columns, strict=True)]
    return Shown(
        request=repeated((one.slate.request_id for one in kept), np.uint64),
        user=repeated((one.user for one in kept), np.int32),
        item=joined([one.slate.items for one in kept], np.int32),
        session=repeated((one.session for one in kept), np.uint64),
        at=repeated((one.at for one in kept), np.int64),
        position=joined([np.arange(size) for size in sizes], np.int16),
        propensity=joined([one.slate.propensities for one in kept], np.float32),
        rows=np.concatenate([np.zeros((0, width), np.float32), *features]),
    )


def judged_by(log: EventLog, shown: Shown, how: Judging, at_to: int) -> tuple[Int8, Float32]:
    """What became of each row by `at_to` ms: +1 listened, -1 turned away, 0 neither or never reached; and seconds heard (NaN).

    An event that names a request is of the song that this request showed, and of no other. One that names none is of the
    latest showing of the song to the listener, within `within_ms`, in the same session where both name one. The last vote
    decides (like, save, stars; dislike, hide); without one the longest play does, by the thresholds. A position that
    nothing was heard of says nothing: the listener may not have got there.
    """
    found: list[tuple[Int64, ...]] = []
    known: list[Float32] = []
    if len(shown):
        join = _Join(shown, how.within_ms)
        for chunk in log.scan(int(shown.at.min()), at_to, _COLUMNS):
            row, events = join.rows(chunk)
            action = np.ascontiguousarray(events["action"])
            said = signals(action, events["played_s"], events["duration_s"], events["value"])
            play = np.isin(action, PLAYS)
            share = np.where(play, shares(action, events["played_s"], events["duration_s"]), np.nan)
            found.append((row, events["at"], np.where(play, 0, said).astype(np.int64)))
            known.append(np.column_stack((share, np.where(play, events["played_s"], np.nan))).astype(np.float32))
    vote, label = np.zeros(len(shown), np.int64), np.zeros(len(shown), np.int8)
    heard = np.full((len(shown), 2), -np.inf, np.float32)
    if found:
        row, at, said = (np.concatenate([part[k] for part in found]) for k in range(3))
        order = np.argsort(at, kind="stable")  # by time, then place in the log: the last one written stays
        spoke = order[said[order] != 0]
        vote[row[spoke]] = said[spoke]
        np.maximum.at(heard, row, np.nan_to_num(np.concatenate(known), nan=-np.inf))
    label[heard[:, 0] > how.finished] = 1
    label[(heard[:, 0] < how.skipped) & (heard[:, 0] >= 0)] = -1
    label = np.where(vote != 0, vote, label).astype(np.int8)
    return label, np.where(np.isfinite(heard[:, 1]), heard[:, 1], np.nan).astype(np.float32)


class _Join:
    """Finds for events the showing that they are of."""

    def __init__(self, shown: Shown, within_ms: int) -> None:
        self.shown, self.within = shown, within_ms
        self.pairs, pair = np.unique(_pair(shown.user, shown.item), return_inverse=True)
        self.zero = int(shown.at.min())
        self.span = int(shown.at.max()) - self.zero + within_ms + 2
        self.order = np.lexsort((shown.at, pair))
        self.moments = pair[self.order] * self.span + (shown.at[self.order] - self.zero)
        self.named = _named(shown.request, shown.item)
        self.by_name = np.argsort(self.named, kind="stable")
        self.named = self.named[self.by_name]

    def rows(self, events: Events) -> tuple[Int64, Events]:
        """(row of shown, event) of the events that are of a showing."""
        where = np.searchsorted(self.pairs, _pair(events["user"], events["item"]))
        pair = np.minimum(where, len(self.pairs) - 1)
        mine = self.pairs[pair] == _pair(events["user"], events["item"])
        mine &= np.isin(events["action"], _JUDGED)
        events, pair = events[mine], pair[mine]
        by_name = self._named(events)
        row = np.where(events["request"] != 0, by_name, self._latest(events, pair))
        return row[row >= 0], events[row >= 0]

    def _named(self, events: Events) -> Int64:
        """The row of the request that an event names, -1 where that showed no such song."""
        place = np.searchsorted(self.named, _named(events["request"], events["item"]))
        row = self.by_name[np.minimum(place, len(self.named) - 1)]
        same = (self.shown.request[row] == events["request"]) & (self.shown.item[row] == events["item"])
        late = events["at"] - self.shown.at[row] > self.within
        return np.where(same & ~late & (self.shown.user[row] == events["user"]), row, -1)

    def _latest(self, events: Events, pair: Int64) -> Int64:
        """The latest showing before each event, -1 where there is none near enough."""
        ago = np.minimum(events["at"] - self.zero, self.span - 1)
        place = np.searchsorted(self.moments, pair * self.span + ago, "right") - 1
        row = self.order[np.maximum(place, 0)]
        fits = (
            (place >= 0)
            & (events["user"] >= 0)
            & (self.shown.user[row] == events["user"])
            & (self.shown.item[row] == events["item"])
        )
        fits &= events["at"] - self.shown.at[row] <= self.within
        both = (events["session"] != 0) & (self.shown.session[row] != 0)
        fits &= ~both | (events["session"] == self.shown.session[row])
        return np.where(fits, row, -1)


_JUDGED = [
    int(action)
    for action in (
        Action.COMPLETED,
        Action.SKIPPED,
        Action.LIKED,
        Action.DISLIKED,
        Action.SAVED,
        Action.RATED,
        Action.HIDDEN,
    )
]


def _pair(user: Int32, item: Int32) -> Int64:
    return np.asarray((user.astype(np.int64) << 32) | (item.astype(np.int64) & 0xFFFFFFFF), np.int64)


def _named(request: UInt64, item: Int32) -> UInt64:
    """One number of a request and a song; two that collide are told apart afterwards, at worst one is not found."""
    return np.asarray(request ^ (item.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)), np.uint64)


def lessons_of(log: EventLog, names: Sequence[str], how: Judging, span: tuple[int, int], rng: np.random.Generator) -> Lessons:
    """Examples out of the slates of span = [from, to) ms: nothing that was shown or done from `to` on is in any of them.

    Slates whose window reaches beyond `to` are left out, or what is slow to be done would look undone. Negatives above
    `negatives` a positive are drawn without replacement, and those drawn weigh for those left out: with weights, in the
    fit and in the calibration, the probabilities are those of all rows (King and Zeng 2001). Positives weigh by seconds
    listened, scaled to a mean of one, so that rates stay what they are; 1 / propensity is clipped and scaled alike.
    """
    shown, counts = shown_before(log, names, span[0], span[1] - how.within_ms, how.most)
    label, heard = judged_by(log, shown, how, span[1])
    said = np.flatnonzero(label != 0)
    shown, positive, heard = shown.take(said), label[said] > 0, heard[said]
    kept, weights = thinned(positive, how.negatives, rng)
    shown, positive, heard, weights = shown.take(kept), positive[kept], heard[kept], weights[kept]
    if how.by_time:
        weights = weights * _by_time(heard, positive)
    if how.clip > 0:
        inverse = np.minimum(1 / shown.propensity, np.float32(how.clip))
        weights = weights * inverse / (np.average(inverse, weights=weights) if len(inverse) else 1.0)
    facts = counts | {"judged": len(said), "listened": int(positive.sum()), "turned away": int((~positive).sum())}
    n = len(shown)
    nothing = np.full((n, HISTORY), MISSING, np.int32)
    sparse = Sparse(shown.user, shown.item, nothing, nothing[:, :1].copy())
    examples = Examples(shown.rows, positive, weights.astype(np.float32), np.ones(n, np.bool_), sparse)
    return Lessons(examples, shown.at, shown.position, shown.propensity, dict(facts))


def thinned(positive: Bool, ratio: float, rng: np.random.Generator) -> tuple[Int64, NDArray[np.float64]]:
    """(rows kept, ascending; a weight for every row): at most `ratio` negatives a positive, weighing for the others."""
    negatives = np.flatnonzero(~positive)
    wanted = int(np.ceil(ratio * positive.sum()))
    weights = np.ones(len(positive))
    if not 0 < wanted < len(negatives):
        return np.arange(len(positive)), weights
    chosen = rng.choice(negatives, wanted, replace=False)
    weights[chosen] = len(negatives) / wanted
    return np.sort(np.concatenate((np.flatnonzero(positive), chosen))), weights


def _by_time(heard: Float32, positive: Bool) -> NDArray[np.float64]:
    """Seconds listened of positives, mean 1 among them; 1 where that is not known, and for negatives."""
    out = np.ones(len(heard))
    known = positive & np.isfinite(heard) & (heard > 0)
    if known.any():
        out[known] = np.minimum(heard[known] / heard[known].mean(), _LONGEST)
        out[known] /= out[known].mean()
    return out


def joined(replayed: Examples, shown: Examples) -> Examples:
    """Both, the shown ones first: what a ranker holds back are the last, other listeners after the cut."""
    assert shown.sparse is not None
    sparse = None
    if replayed.sparse is not None:
        columns = ("user", "item", "history", "terms")
        sparse = Sparse(*(np.concatenate((getattr(shown.sparse, c), getattr(replayed.sparse, c))) for c in columns))
    rows, listened, weights, played = (
        np.concatenate((getattr(shown, name), getattr(replayed, name))) for name in ("rows", "listened", "weights", "played")
    )
    return Examples(rows, listened, weights, played, sparse)


def rolling(at: Int64, gap_ms: int, step_ms: int = WEEK_MS) -> Iterator[tuple[Bool, Bool]]:
    """(train, test) masks by time: weeks 1..n teach, week n + 1 tests; the `gap_ms` before it are left out."""
    if not len(at):
        return
    start, stop = int(at.min()), int(at.max())
    for cut in range(start + step_ms, stop + 1, step_ms):
        train, test = at < cut - gap_ms, (at >= cut) & (at < cut + step_ms)
        if train.any() and test.any():
            yield train, test
