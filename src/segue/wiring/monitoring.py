"""What is known of the models that serve, and the monitor that watches it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from segue.core.errors import NotReady
from segue.monitoring.alarms import Ledger
from segue.monitoring.monitor import Around, Bounds, Monitor
from segue.monitoring.retraining import Facts
from segue.serving.query import RecommendIn
from segue.serving.recommender import Recommender
from segue.serving.reference import Reference
from segue.serving.standby import Standby
from segue.storage.journal import Journal
from segue.training.registry import BUNDLE, PREVIOUS
from segue.wiring.home import Home
from segue.wiring.radio import maker_of

ASKED, TOP = 50, 20
"""Listeners who are asked how alike two models are, and songs of each that are compared."""
JUDGED, LATEST = "judged", "latest"
"""Under which name and alias the latest judgement of days after training is stored."""


def quality(home: Home) -> dict[str, Any]:
    """What is known of the quality of the champion: its night's test, and a later judgement (`since`) where there is one.

    NotReady before the first night.
    """
    version = home.registry().version()
    if version is None:
        raise NotReady("nothing was trained yet: run `segue train`")
    manifest = home.artifacts.get(BUNDLE, version)[1]
    latest = home.artifacts.alias(JUDGED, LATEST)
    since = home.artifacts.get(JUDGED, latest)[1] if latest else None
    return {
        "version": version,
        "data": manifest.get("data", {}),
        "figures": manifest.get("figures", []),
        "quality": manifest.get("quality"),
        "since": since if since is not None and since["version"] == version else None,
    }


def monitor_of(home: Home, overlap: Callable[[], float | None] = lambda: None, bounds: Bounds | None = None) -> Monitor:
    """What watches this home; `overlap` asks two models the same, so only a server offers it."""
    around = Around(
        facts=_Known(home, overlap),
        names=partial(_names, home),
        reference=Reference(home.settings.monitoring.reference, home.listeners).of,
        stale_days=home.settings.monitoring.stale_days,
    )
    return Monitor(home.log, Ledger(Journal(home.path / "monitoring" / "journal")), around, bounds)


def overlap(home: Home, recommender: Recommender, standby: Standby) -> float | None:
    """The share of the champion's top 20 that the champion before it has too: same listeners, same moment, mean.

    ASKED listeners with a past, evenly spaced by id: a quarter of a second, once after each change of the champion. None where
    the one before is not loaded, or nobody has a past.
    """
    version = home.registry().version(PREVIOUS)
    before = standby.ready(version) if version is not None else None
    if before is None:
        return None
    maker, n = maker_of(home), len(home.catalogue.users)
    some = np.unique(np.linspace(0, n - 1, min(n, ASKED)).astype(np.int32)) if n else np.zeros(0, np.int32)
    now, shares = time.time_ns() // 1_000_000, []
    for user in home.catalogue.users.all(some):
        query, _ = maker.make(RecommendIn(user=user, limit=TOP, discovery=0.5), now, now)
        if len(query.recent):
            lists = [recommender.try_out(query, model) for model in (recommender.model, before)]
            found = [set() if one is None else set(one.slate.items.tolist()) for one in lists]
            shares.append(len(found[0] & found[1]) / TOP)
    return float(np.mean(shares)) if shares else None


def _names(home: Home, groups: Sequence[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """Names of segments, for people."""
    regions = [code for kind, code in groups if kind == "region"]
    names = home.catalogue.regions.all(np.array(regions, np.int32)) if regions else []
    told = {("region", code): name for code, name in zip(regions, names, strict=True)}
    devices = [code for kind, code in groups if kind == "device"]
    kinds = home.catalogue.devices.all(np.array(devices, np.int32)) if devices else []
    told |= {("device", code): name for code, name in zip(devices, kinds, strict=True)}
    return told | {("reference", 0): "the reference policy"}


class _Known:
    """Facts of the models, read again when an alias has moved: manifests are small, but checking what they name is not."""

    def __init__(self, home: Home, overlap: Callable[[], float | None]) -> None:
        self._home, self._overlap = home, overlap
        self._of: tuple[str | None, ...] = ()
        self._facts: Facts | None = None

    def __call__(self) -> Facts | None:
        """What is known now; None before the first night."""
        registry = self._home.registry()
        latest = self._home.artifacts.alias(JUDGED, LATEST)
        asked = (registry.version(), registry.version(PREVIOUS), latest)
        if asked != self._of:
            self._facts = _facts(self._home, self._overlap())
            self._of = asked
        elif self._facts is not None and self._facts.overlap is None:  # the model before may have been loaded since
            self._facts = replace(self._facts, overlap=self._overlap())
        return self._facts


def _facts(home: Home, overlap: float | None) -> Facts | None:
    """What the nights and the latest judgement said of the champion and of the model before it."""
    registry = home.registry()
    version, before = registry.version(), registry.version(PREVIOUS)
    if version is None:
        return None
    manifest: dict[str, Any] = home.artifacts.get(BUNDLE, version)[1]
    told = quality(home)["since"] or {}
    calibration = (manifest.get("ranker_facts") or {}).get("calibration") or {}
    return Facts(
        version=version,
        trained_to=int(manifest.get("data", {}).get("to_ms", 0)),
        figures=manifest.get("figures", []),
        since=told.get("figures", []),
        days=((told.get("quality") or manifest.get("quality")) or {}).get("days", []),
        calibration=calibration,
        coverage=_covered(manifest),
        coverage_before=_covered(home.artifacts.get(BUNDLE, before)[1]) if before else None,
        overlap=overlap,
    )


def _covered(manifest: Mapping[str, Any]) -> float | None:
    """The share of the catalogue that the radio's lists of a night showed."""
    spreads = (manifest.get("quality") or {}).get("spreads", [])
    return next((float(s["coverage"]) for s in spreads if s["model"] == "radio"), None)
