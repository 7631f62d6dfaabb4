"""Everything that the routes need of a home."""

from __future__ import annotations

from functools import partial

from segue.monitoring.counters import Counters
from segue.web.service import Service
from segue.wiring.experiments import arms_of
from segue.wiring.home import Home
from segue.wiring.models import standby_of
from segue.wiring.monitoring import monitor_of, overlap, quality
from segue.wiring.radio import explain_of, maker_of, recommender_of, reference_of, warm

REPLAYED_BY_A_SERVER = 300_000
"""Events before a slate up to which a server makes it again: under a second of a core that answers others too."""


def service(home: Home, api_keys: frozenset[str]) -> Service:
    """Everything that the routes need."""
    counters = Counters()
    counters.gauge("log_last_seq", "Newest event in the log.", lambda: float(home.log.last))
    counters.gauge("state_applied_seq", "Newest event folded into the online state.", lambda: float(home.state.applied))
    counters.gauge("users", "Users known.", lambda: float(len(home.catalogue.users)))
    counters.gauge("items", "Items known.", lambda: float(len(home.catalogue.items)))
    recommender = recommender_of(home, counters)
    warm(home, recommender, recommender.model)
    standby = standby_of(home, recommender, partial(warm, home, recommender))
    return Service(
        catalogue=home.catalogue,
        state=home.state,
        writer=home.ingest(),
        maker=maker_of(home),
        recommender=recommender,
        counters=counters,
        keys=api_keys,
        audio_of=home.audio_of,
        uploading=home.uploading(),
        quality=partial(quality, home),
        botify=(home.settings.botify.item, home.settings.botify.user) if home.settings.botify.enabled else None,
        arms=arms_of(home, recommender, standby),
        explain=explain_of(home, recommender, REPLAYED_BY_A_SERVER),
        reference=reference_of(home),
        monitor=monitor_of(home, partial(overlap, home, recommender, standby)),
        standby=standby,
    )
