"""A slate of the log made again: the state folded anew up to the moment of then, beside the home and not in it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from segue.core.errors import SegueError
from segue.core.ports import EventLog, OnlineState
from segue.core.types import Exposure
from segue.serving.recommender import Model
from segue.serving.replay import made_again
from segue.wiring.home import Home
from segue.wiring.models import fusion, named_bundle, revived
from segue.wiring.radio import recommender_of

REPLAY_UP_TO = 3_000_000
"""Events before a slate up to which it is made again unasked: some seconds of folding."""
_CHUNK = 65_536


def replay(home: Home, exposure: Exposure, most: int = REPLAY_UP_TO) -> dict[str, Any]:
    """What came out when the slate was made again (serving.replay), or why it cannot be: `replayed` is None then.

    Everything that stays is as of now: the catalogue, vectors of sound, [radio]. What has changed since shows as a difference.
    """
    if exposure.asked is None:
        return _cannot("what was asked is not stored with this slate: an earlier version logged it")
    if exposure.slate.policy != "radio":
        return _cannot(f"it was made by the policy {exposure.slate.policy!r}, not by the radio itself")
    if exposure.applied > most:
        told = f"{exposure.applied:,} events lie before it, more than {most:,}"
        return _cannot(f"{told}: `segue explain --request ID --replay` makes it again")
    with tempfile.TemporaryDirectory(prefix="replay-", dir=home.path) as folder:
        then = Home(home.path, home.settings, writer=False)
        for name in ("log", "catalogue", "artifacts", "vectors"):
            setattr(then, name, getattr(home, name))
        state = home.fresh_state(Path(folder) / "state")
        try:
            context = exposure.asked.context
            events = fold_until(home.log, state, exposure.popular_at)
            state.popular(context.region, context.age_band, context.hour_of_week, 1)  # kept from then on, as it was then
            events += fold_until(home.log, state, exposure.applied)
            setattr(then, "state", state)  # noqa: B010 - takes the place of the cached property
            try:
                model = _model_then(then, exposure)
            except (SegueError, KeyError, TypeError, ValueError) as error:
                return _cannot(f"the models of then cannot be asked any more: {error}")
            recommender = recommender_of(then, model=model, patient=True)
            try:
                return {**made_again(exposure, recommender, model, state), "events_folded": events}
            finally:
                recommender.close()
        finally:
            closing: Any = state
            closing.close()


def fold_until(log: EventLog, state: OnlineState, last: int) -> int:
    """Fold the events of a log that the state does not know up to and with seq `last`; how many they were."""
    after, folded = state.applied, 0
    while after < last:
        events = log.read(after, _CHUNK)
        events = events[events["seq"] <= last]
        if not len(events):
            break
        state.fold(events)
        after, folded = int(events["seq"][-1]), folded + len(events)
    return folded


def _model_then(then: Home, exposure: Exposure) -> Model:
    version = exposure.slate.model_versions.get("bundle")
    return revived(then, None, fusion(then)()) if version is None else revived(then, *named_bundle(then, version))


def _cannot(why: str) -> dict[str, Any]:
    return {"replayed": None, "why": why}
