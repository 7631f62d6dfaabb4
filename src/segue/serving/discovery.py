"""The share of never-heard songs for a listener: starts at a setting, then follows how they take new songs."""

from __future__ import annotations

from math import exp, log

PRIOR = 4.0
"""Plays that the prior counts for, on either side: after about as many the listener's own behaviour leads."""
STEEPNESS = 1.5
LOWEST, HIGHEST = 0.05, 0.95


def learned_share(novelty: tuple[float, float, float, float], start: float) -> float:
    """Share of new songs in [0.05, 0.95].

    novelty = (finished new, rejected new, finished familiar, rejected familiar). With r = (finished + PRIOR/2) /
    (finished + rejected + PRIOR) on either side, the start moves on the logit scale by STEEPNESS * (logit r_new -
    logit r_familiar): a listener who takes new songs as readily as known ones stays where the service starts.
    """
    new_yes, new_no, known_yes, known_no = novelty
    start = min(max(start, LOWEST), HIGHEST)
    shift = log((new_yes + PRIOR / 2) / (new_no + PRIOR / 2)) - log((known_yes + PRIOR / 2) / (known_no + PRIOR / 2))
    logit = log(start / (1 - start)) + STEEPNESS * shift
    return min(max(1 / (1 + exp(-max(min(logit, 20.0), -20.0))), LOWEST), HIGHEST)
