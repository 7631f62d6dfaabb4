"""What is promised before an experiment starts, and locked then: arms, metrics, alpha, looks, and the steps of the ramp."""

from __future__ import annotations

from hashlib import blake2b
from itertools import pairwise
from math import isfinite
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from segue.core.errors import BadInput
from segue.experiments.assignment import Shares
from segue.experiments.metrics import METRICS, SNAPSHOTS

Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step of the ramp: shares of traffic, and what it takes at least to leave it forward."""

    new: Share
    old: Share
    days: Annotated[float, Meta(ge=0.0)] = 1.0
    users: Annotated[int, Meta(ge=0)] = 200  # closed windows in each arm
    decides: bool = False  # the primary metrics are decided here; the step is not left before

    @property
    def shares(self) -> Shares:
        """Of traffic."""
        return Shares(self.new, self.old)


RAMP: tuple[Step, ...] = (
    Step(0.0, 0.0, days=0.04, users=0),
    Step(0.01, 0.01),
    Step(0.05, 0.05),
    Step(0.10, 0.10, days=7.0, decides=True),
    Step(0.25, 0.10, days=2.0),
    Step(0.50, 0.10, days=2.0),
    Step(0.95, 0.05, days=14.0),
)
"""Shadow, 1 %, 5 %, 10 / 10 / 80, 25 %, 50 %, and all but a holdback of 5 %."""


class Treatment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the new arm gets: a model (champion, challenger, previous or a version) and settings of [radio]."""

    model: str = "champion"
    radio: dict[str, float] = {}


LATER: Final = ("slower", "mode")
"""Fields of Plan that came after plans had been locked."""
INTERLEAVED: Final = (Step(0.0, 0.0, days=0.04, users=0), Step(0.1, 0.0, days=1.0, users=0, decides=True))
"""Shadow, then a tenth of the listeners get slates that both rankers fill; it goes no further."""


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An experiment as it is written down before it starts; docs/experiments.md explains every field."""

    name: Name
    hypothesis: Annotated[str, Meta(min_length=10, max_length=500)]
    new: Treatment
    mode: Literal["ramp", "interleave"] = "ramp"  # interleave: old and new share slates, to prune quickly; it never ships
    split: Literal["user", "session", "request"] = "user"
    layer: Name = "radio"
    primary: Annotated[tuple[str, ...], Meta(min_length=1)] = ("listened_share",)
    guardrails: tuple[str, ...] = ("skip_rate", "songs", "churn_7")
    alpha: Annotated[float, Meta(gt=0.0, lt=0.5)] = 0.05
    power: Annotated[float, Meta(gt=0.5, lt=1.0)] = 0.8
    users: Annotated[int, Meta(ge=100)] = 10_000  # of each arm of the deciding step; `segue experiment plan` works it out
    decision: Literal["group-sequential", "precision"] = "group-sequential"
    looks: Annotated[int, Meta(ge=1, le=60)] = 7
    half_width: Annotated[float, Meta(gt=0.0)] = 0.01  # of the lift, for decision = "precision"
    margin: Annotated[float, Meta(ge=0.0, le=0.5)] = 0.02  # relative harm of a guardrail that may still go forward
    slower: Annotated[float, Meta(ge=0.0)] = 0.5  # how much longer the mean answer may take and still go forward
    window_days: Annotated[float, Meta(gt=0.0, le=28.0)] = 1.0  # how long after first influence a user is counted
    before_days: Annotated[float, Meta(ge=0.0, le=90.0)] = 28.0  # history for CUPED; 0 leaves it out
    stale_hours: Annotated[float, Meta(gt=0.0)] = 6.0
    ramp: Annotated[tuple[Step, ...], Meta(min_length=1)] = RAMP

    def lock(self) -> str:
        """The digest that the journal keeps: what was promised cannot be changed afterwards without being seen."""
        promised = msgspec.json.decode(msgspec.json.encode(self, order="deterministic"))
        for field in LATER:  # a plan of an older version, which did not know the field, was locked without it
            if promised[field] == getattr(Plan(name="x", hypothesis="x" * 10, new=Treatment()), field):
                del promised[field]
        return blake2b(msgspec.json.encode(promised), digest_size=16).hexdigest()

    @property
    def watched(self) -> list[str]:
        """Every metric that is looked at always: primaries, then guardrails."""
        return list(dict.fromkeys([*self.primary, *self.guardrails]))

    @property
    def guard_alpha(self) -> float:
        """Alpha of one metric in one step of the always-valid watch: all of them together stay below alpha."""
        served = sum(step.new > 0 for step in self.ramp)
        return self.alpha / (len(self.watched) * max(served, 1))


def _endless(value: object, field: str = "") -> str:
    """The first field that holds inf or NaN, which TOML knows and the JSON of the journal does not; "" none."""
    if isinstance(value, float):
        return "" if isfinite(value) else field
    named = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    inside = (_endless(one, f"{field}.{name}" if field else str(name)) for name, one in named)
    return next((found for found in inside if found), "")


def checked(plan: Plan) -> Plan:
    """The plan, or BadInput: expected, found, what to change."""
    if endless := _endless(msgspec.to_builtins(plan)):
        raise BadInput(f"{endless}: expected a finite number, found inf or nan; write a large one", endless)
    for field, names in (("primary", plan.primary), ("guardrails", plan.guardrails)):
        for name in names:
            if name in SNAPSHOTS:
                raise BadInput(
                    f"{field}: {name!r} is a daily snapshot: it is computed anew every day from the same users, so no "
                    f"interval of it is valid at any time; use a metric that closes once a user: {', '.join(METRICS)}",
                    field,
                )
            if name not in METRICS:
                raise BadInput(f"{field}: expected some of {', '.join(METRICS)}, found {name!r}", field)
    grown = [(step.new, step.old) for step in plan.ramp]
    if any(b[0] < a[0] for a, b in pairwise(grown)):
        raise BadInput("ramp: expected the new arm to grow from step to step, found one that shrinks", "ramp")
    if any(a + b > 1 + 1e-12 for a, b in grown):
        raise BadInput("ramp: expected new + old of at most 1 in every step", "ramp")
    if sum(step.decides for step in plan.ramp) != 1:
        raise BadInput("ramp: expected exactly one step with decides = true", "ramp")
    if plan.mode == "interleave":
        return _interleaved(plan)
    deciding = next(step for step in plan.ramp if step.decides)
    if not (deciding.new > 0 and deciding.old > 0):
        raise BadInput("ramp: expected users of both arms in the step that decides", "ramp")
    return plan


def _interleaved(plan: Plan) -> Plan:
    """What a plan of two rankers in one slate may not promise: a control arm, a ramp, other measures than the one it has."""
    usual = Plan(name="x", hypothesis="x" * 10, new=plan.new)
    for field, why in (
        ("split", "a listener has one vote"),
        ("primary", "the one measure is whose songs are heard to the end"),
        ("guardrails", "there is no control arm to guard against"),
        ("decision", "the always-valid interval of the preference decides, at every look"),
    ):
        if getattr(plan, field) != getattr(usual, field):
            raise BadInput(f"{field}: leave it out where mode is interleave: {why}", field)
    if not plan.ramp[-1].decides or any(step.old for step in plan.ramp) or not plan.ramp[-1].new:
        raise BadInput("ramp: where mode is interleave, expected old = 0 in every step and a last one that decides", "ramp")
    return plan


def read_plan(data: object) -> Plan:
    """A plan from TOML or JSON as plain values; BadInput names the field."""
    if isinstance(data, dict) and data.get("mode") == "interleave":
        data = {"ramp": msgspec.to_builtins(INTERLEAVED), **data}
    try:
        return checked(msgspec.convert(data, Plan))
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        field = path.rstrip("`") or None
        raise BadInput(f"{field}: {message}" if field else message, field) from None
