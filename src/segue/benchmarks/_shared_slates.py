"""How many listeners a preference takes in slates that two rankers share, beside a split of the same listeners into arms."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec

from segue import wiring
from segue.arena.served import Served, lived
from segue.arena.weeks import SLATE, settings_of
from segue.core.clock import DAY_MS
from segue.experiments.plan import Plan, read_plan
from segue.serving.arms import Arms
from segue.simulator.playing import play
from segue.simulator.town import Town
from segue.training.report import Progress

TOLD = 2.80
"""Standard errors that an effect must be worth to be found four times in five at 5 %: 1.96 + 0.84."""
RIVALS: dict[str, dict[str, float]] = {
    "the same": {},
    "half of the places drawn": {"explore": 0.5, "temperature": 3.0},
    "a fifth of the places drawn": {"explore": 0.2, "temperature": 3.0},
}
"""[radio] of the new arm; the old one draws a twentieth of its places, as it comes."""


def compared(path: Path, town: Town, days: int, bar: Progress) -> list[dict[str, object]]:
    """Each rival through the same days of the town twice: split into arms by listener, and in slates that both fill."""
    found: list[dict[str, object]] = []
    for number, (name, radio) in enumerate(RIVALS.items()):
        row: dict[str, object] = {"rival": name}
        for mode in ("split", "shared"):
            bar.phase(f"{name}, {mode}")
            told = _lived(path, town, _plan(mode, number, radio, days), days, bar)
            row |= {f"{mode}_{key}": value for key, value in told.items()}
        found.append(row)
    return found


def _plan(mode: str, number: int, radio: dict[str, float], days: int) -> Plan:
    old = 0.5 if mode == "split" else 0.0
    step = {"new": 1.0 - old, "old": old, "days": 10.0 * days, "decides": True}
    return read_plan({
        "name": f"{mode}-{number}", "hypothesis": "listeners hear a difference between the two", "new": {"radio": radio},
        "window_days": float(days), "ramp": [step], **({"mode": "interleave"} if mode == "shared" else {"before_days": 14.0}),
    })  # fmt: skip


def _lived(path: Path, town: Town, plan: Plan, days: int, bar: Progress) -> dict[str, object]:
    """The town's next days on a copy of the home, and what the experiment says once every window has closed."""
    copy = Path(shutil.copytree(path, path.with_name("copy")))
    try:
        with wiring.open_home(copy, writer=False) as home:
            settings = settings_of(home.settings, plain=False)
            settings = msgspec.structs.replace(
                settings, server=msgspec.structs.replace(settings.server, experiments_judged=0.0)
            )
        with wiring.Home(copy, settings, writer=True) as home:
            service = replace(wiring.service(home, frozenset()), now=lambda: town.until_ms)
            assert service.arms is not None
            service.arms.start(plan, town.until_ms)
            items = home.catalogue.items.find([item.id for item in town.items])
            users = home.catalogue.users.find([user.id for user in town.users])
            life, served = lived(home, town, items, users), Served(service, town, items, users)
            for day in range(days):
                sessions = life.open(day)
                served.open(len(sessions.user))
                life.close(sessions, play(sessions, served, slate=SLATE, progress=bar.advance))
            said = _said(service.arms, plan, town.until_ms + 3 * days * DAY_MS)
            service.recommender.close()
    finally:
        shutil.rmtree(copy)
    return said


def _said(arms: Arms, plan: Plan, now: int) -> dict[str, object]:
    """Listeners, effect with a 95 % interval, z, and the listeners that an effect of this size needs."""
    report = arms.report(plan.name, now)
    if plan.mode == "interleave":
        told = report["preference"]
        assert isinstance(told, dict)
        n, effect, low, high = told["listeners"], told["delta"], told["low"], told["high"]
    else:
        told = report["metrics"][0]  # type: ignore[index]
        n, effect, low, high = told["users_old"] + told["users_new"], told["lift"], told["low"], told["high"]
    z = effect / ((high - low) / 2 / 1.96)
    out: dict[str, object] = {"listeners": n, "effect": effect, "low": low, "high": high, "z": z}
    if abs(z) > 1.96:
        ends = zip(("needs", "needs_least", "needs_most"), (0.0, 1.96, -1.96), strict=True)
        out |= {name: round(n * (TOLD / (abs(z) + end)) ** 2) for name, end in ends}
    return out
