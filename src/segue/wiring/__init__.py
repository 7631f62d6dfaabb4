"""A home put together: the tables from names to classes, and what a command, a server or a night asks of them."""

from segue.wiring.encoders import NETWORKS, encoder, encoder_of
from segue.wiring.experiments import resolved
from segue.wiring.home import Home, keys, open_home
from segue.wiring.models import model_of, standby_of
from segue.wiring.monitoring import JUDGED, LATEST, monitor_of, quality
from segue.wiring.radio import discovery_of, explain_of, maker_of, recommender_of, reranker_of, stages_of, warm
from segue.wiring.replay import REPLAY_UP_TO, replay
from segue.wiring.server import service
from segue.wiring.tables import ENCODERS, RANKERS, SOURCES, given_what_it_takes, named
from segue.wiring.training import night, questions, recipe_of, rehearse

__all__ = [
    "ENCODERS",
    "JUDGED",
    "LATEST",
    "NETWORKS",
    "RANKERS",
    "REPLAY_UP_TO",
    "SOURCES",
    "Home",
    "discovery_of",
    "encoder",
    "encoder_of",
    "explain_of",
    "given_what_it_takes",
    "keys",
    "maker_of",
    "model_of",
    "monitor_of",
    "named",
    "night",
    "open_home",
    "quality",
    "questions",
    "recipe_of",
    "recommender_of",
    "rehearse",
    "replay",
    "reranker_of",
    "resolved",
    "service",
    "stages_of",
    "standby_of",
    "warm",
]
