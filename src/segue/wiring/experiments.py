"""The experiments of a home: plans made firm, arms as a server serves them, what happens when one ships."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import msgspec

from segue import config
from segue.experiments.desk import Desk
from segue.experiments.plan import Plan, Treatment
from segue.serving.arms import Arms, House
from segue.serving.recommender import Model, Recommender
from segue.serving.standby import Standby
from segue.storage.durable import replace_file
from segue.training.registry import CHALLENGER, CHAMPION, PREVIOUS
from segue.wiring.home import Home, secret
from segue.wiring.models import model_of
from segue.wiring.radio import reranker_of, warm


def resolved(home: Home, plan: Plan) -> Plan:
    """The plan with the version that an alias means now, and its settings checked: what is locked does not move."""
    if plan.new.radio:
        config.changed(home.settings.radio, plan.new.radio)
    if plan.new.model == CHAMPION:
        return plan
    known = plan.new.model in (PREVIOUS, CHALLENGER)
    version = (home.registry().bundle if known else home.registry().open)(plan.new.model).version
    return msgspec.structs.replace(plan, new=msgspec.structs.replace(plan.new, model=version))


def arms_of(home: Home, recommender: Recommender, standby: Standby | None = None) -> Arms:
    """The experiments as this server serves them; a model that stands by is not loaded a second time."""

    def make(treatment: Treatment) -> Model:
        waiting = standby.ready(treatment.model) if standby is not None else None
        model = recommender.model if treatment.model == CHAMPION else waiting or model_of(home, treatment.model)
        if treatment.radio:
            model = replace(model, reranker=reranker_of(home, config.changed(home.settings.radio, treatment.radio)))
        warm(home, recommender, model)
        return model

    def newest() -> int:
        tail = home.log.read(max(home.log.last - 100, 0), 100)
        return int(tail["at"].max()) if len(tail) else 0

    health, deadline_s = home.path / "experiments" / "health.json", home.settings.server.deadline_ms / 1000

    def keep(counts: bytes) -> None:
        replace_file(health, counts, health.with_name(".tmp-health"))

    def recall() -> bytes:
        return health.read_bytes() if health.exists() else b""

    judged = home.settings.server.experiments_judged
    firm, ship = partial(resolved, home), partial(_ship, home)
    house = House(make, newest, firm, ship, recommender.mirror, judged, deadline_s, keep, recall)
    arms = Arms(home.book(), Desk(secret(home.path)), home.log, house)
    arms.refresh()
    return arms


def _ship(home: Home, new: Treatment) -> str:
    """Promote the model of a new arm that shipped; what was done, or what is left for a person to do."""
    said = []
    if new.model != CHAMPION:
        if home.registry().version() != new.model:
            home.registry().promote(new.model)
        said.append(f"{new.model} is the champion now")
    if new.radio:
        settings = ", ".join(f"{name} = {value:g}" for name, value in new.radio.items())
        said.append(f"write under [radio] of segue.toml, and restart: {settings}")
    return "; ".join(said) or "nothing to promote: the new arm was the champion"
