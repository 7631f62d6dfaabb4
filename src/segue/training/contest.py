"""Challenger against champion: where the cut lies, what a fair opponent is, and when a difference is more than noise."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from segue.core.types import History
from segue.evaluation.intervals import bootstrap_all, paired
from segue.training.measure import Values
from segue.training.registry import Bundle
from segue.training.report import Comparison, Figure

LARGEST_TEST = 0.2
"""Share of rows that the last days may take; a shorter log is cut where its last tenth begins."""
_SAMPLE = 1 << 20


def choose_cut(history: History, *, test_ms: int, trained_to: int | None, least_users: int) -> int:
    """The moment (ms) from which on rows are held out.

    The last test_ms of listening; as many times that as it takes to see least_users listeners, but at most the last tenth
    of the rows; that tenth as well if the log is so short that test_ms are more than a fifth of it. When the champion was
    trained to a later moment than that, and enough users have listened since, the cut moves
    there: the champion can then be judged as it is, on days that it has never seen.
    """
    if len(history) == 0:
        return history.now
    times = history.at[:: max(1, len(history) // _SAMPLE)]
    cut = int(history.at.max()) + 1 - test_ms // 1000
    latest = int(np.partition(times, int(0.9 * len(times)))[int(0.9 * len(times))])
    if (times >= max(cut, 0)).mean() > LARGEST_TEST:
        cut = latest
    while cut > latest and _listeners_since(history, cut) < least_users:
        cut = max(cut - test_ms // 1000, latest)
    unseen = trained_to is not None and trained_to > cut * 1000
    if trained_to is not None and unseen and _listeners_since(history, -(-trained_to // 1000)) >= least_users:
        return trained_to
    return cut * 1000


def _listeners_since(history: History, second: int) -> int:
    """How many listeners wanted something from that second on."""
    return len(np.unique(history.user[(history.at >= np.uint32(second)) & (history.signal > 0)]))


def opponent_kind(
    champion: Bundle | None,
    cut: int,
    recipe: tuple[str, list[str]],
    hyperparameters: Mapping[str, Mapping[str, object]],
) -> str:
    """How a champion can be measured soundly on what lies after the cut.

    "as it is" if nothing after the cut was in its training; to measure it on days that it has learned from would flatter
    it. Else "refit": its hyperparameters, fitted on the cut like the challenger's. "same recipe" if these are the
    challenger's own: then both are the same models on the cut, and what the night adds is newer data.
    """
    if champion is None:
        return "none"
    if champion.manifest["data"]["to_ms"] <= cut:
        return "as it is"
    theirs = champion.manifest["hyperparameters"]
    same = champion.manifest["ranker"] == recipe[0] and champion.manifest["sources"] == recipe[1]
    if same and all(plain_json(theirs.get(name)) == plain_json(ours) for name, ours in hyperparameters.items()):
        return "same recipe"
    return "refit"


def plain_json(value: object) -> object:
    """Tuples as lists, as they come back out of JSON."""
    if isinstance(value, (list, tuple)):
        return [plain_json(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): plain_json(one) for key, one in value.items()}
    return value


def figures(values: Mapping[str, Values], seed: int) -> list[Figure]:
    """Every metric of every model with its interval; the same draws of users for all."""
    names = [(model, metric) for model, metrics in values.items() for metric in metrics]
    if not names:
        return []
    table = np.column_stack([values[model][metric] for model, metric in names])
    got = bootstrap_all(table, np.random.default_rng(seed))
    return [Figure(*name, one.mean, one.low, one.high, one.n) for name, one in zip(names, got, strict=True)]


def compare(ours: Values, theirs: Values, metrics: tuple[str, ...], seed: int) -> list[Comparison]:
    """Ours against theirs on the metrics that decide, over the same users."""
    found = []
    for metric in metrics:
        got = paired(ours[metric], theirs[metric], np.random.default_rng(seed))
        means = float(np.nanmean(ours[metric])) if got.n else np.nan, float(np.nanmean(theirs[metric])) if got.n else np.nan
        found.append(Comparison(metric, *means, got.mean, got.low, got.high, got.n, bool(got.high < 0)))
    return found


def verdict(
    opponent: str, comparisons: list[Comparison], *, least_users: int, force: bool, rows: tuple[int, int] = (1, 0)
) -> tuple[bool, str]:
    """(promote, why). Not worse beyond noise is enough: newer data is worth something by itself.

    `rows` are the challenger's and the champion's rows of history: where the test is weak, a model that learned from less than
    half of what the champion had is not taken on trust.
    """
    if opponent == "none":
        return True, "the first to be trained"
    worse = [c for c in comparisons if c.worse]
    if worse:
        said = "; ".join(
            f"{c.metric} {c.challenger:.4f} against {c.champion:.4f}, difference {c.low:+.4f} to {c.high:+.4f}" for c in worse
        )
        return force, f"worse than the champion ({opponent}) beyond noise: {said}" + (", promoted by force" if force else "")
    users = min((c.users for c in comparisons), default=0)
    if opponent == "same recipe" and 2 * rows[0] >= rows[1]:
        return True, "the champion's own recipe on newer data"
    if users == 0 and opponent != "same recipe":
        return force, "nothing to compare on: no listener has plays both before and after the cut"
    if users < least_users and 2 * rows[0] < rows[1]:
        why = f"only {users} test users, and learned from {rows[0]:,} rows where the champion had {rows[1]:,}"
        return force, why + (", promoted by force" if force else ": too little to take over (`--force` does it)")
    doubt = f" (only {users} test users: a weak test)" if users < least_users else ""
    return True, f"not worse than the champion ({opponent}) beyond noise{doubt}"
