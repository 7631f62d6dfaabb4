"""The share of never-heard songs for a listener: a hierarchical Thompson sampler over how listeners take new songs."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from segue.core.types import Int64

Novelty = tuple[float, float, float, float]
"""(finished new, rejected new, finished familiar, rejected familiar), see OnlineState.novelty."""
PRIOR = 4.0
"""Plays that the hyperprior counts for, half of them finished: what is thought of new and familiar songs before any play."""
STEEPNESS = 1.5
LOWEST, HIGHEST = 0.05, 0.95
ENOUGH, MOST = 5.0, 50.0
"""Plays of a side from which a listener tells how listeners differ, and the most that one listener counts in a segment."""
SEGMENT = 20.0
"""Plays that the service as a whole counts for beside those of a segment."""


@dataclass(frozen=True)
class Prior:
    """Two Beta distributions, of finishing a new song and of finishing a familiar one: (finished, rejected) pseudo-plays."""

    new: tuple[float, float] = (PRIOR / 2, PRIOR / 2)
    familiar: tuple[float, float] = (PRIOR / 2, PRIOR / 2)


def share_of(new: float, familiar: float, start: float) -> float:
    """Share of new songs in [0.05, 0.95] from the chances that either kind is finished.

    The start moves on the logit scale by STEEPNESS * (logit new - logit familiar): a listener who takes new songs as
    readily as known ones stays where the service starts.
    """
    start = min(max(start, LOWEST), HIGHEST)
    shift = _logit(new) - _logit(familiar)
    return min(max(1 / (1 + exp(-max(min(_logit(start) + STEEPNESS * shift, 20.0), -20.0))), LOWEST), HIGHEST)


def _logit(p: float) -> float:
    p = min(max(p, 1e-9), 1 - 1e-9)
    return log(p / (1 - p))


def learned_share(novelty: Novelty, start: float, prior: Prior = Prior()) -> float:
    """The share at the posterior means: what the draws of a sampler lie around."""
    new_yes, new_no, known_yes, known_no = novelty
    new = (new_yes + prior.new[0]) / (new_yes + new_no + sum(prior.new))
    known = (known_yes + prior.familiar[0]) / (known_yes + known_no + sum(prior.familiar))
    return share_of(new, known, start)


@dataclass(frozen=True)
class Discovery:
    """Draws the share for a request: Thompson sampling (Thompson 1933) with priors shrunk level by level.

    Listener: Beta posterior of finishing a new song and of finishing a familiar one. Its prior is the segment's (region x age
    band), whose mean is shrunk to the service's by SEGMENT plays, whose own is shrunk to even odds by PRIOR. How many plays
    a prior counts for follows from how much listeners differ (moments of the beta-binomial), between PRIOR and MOST. Little
    known means wide draws, and so the service finds out; a listener who has shown a taste gets it.

    One draw a session, for a queue must not change its mind with each press (posterior sampling by episode, Osband et al.
    2013), else one a request. Seeded by a keyed hash of that id, so a slate replays.
    """

    start: float
    key: bytes = b""
    service: Prior = Prior()
    segments: Mapping[int, Prior] = field(default_factory=dict)

    def share(self, novelty: Novelty, segment: int, seed: int) -> float:
        """The share for a listener of a segment (see segment_of); seed: id of the session or request, 64 bits."""
        prior = self.segments.get(segment, self.service)
        digest = blake2b(seed.to_bytes(8, "little"), key=self.key, digest_size=8, person=b"discovery").digest()
        rng = random.Random(int.from_bytes(digest, "little"))
        new_yes, new_no, known_yes, known_no = novelty
        new = rng.betavariate(new_yes + prior.new[0], new_no + prior.new[1])
        known = rng.betavariate(known_yes + prior.familiar[0], known_no + prior.familiar[1])
        return share_of(new, known, self.start)

    def learn(self, novelty: NDArray[np.float64], segments: Int64) -> Discovery:
        """With the priors that n listeners give: counts (n, 4) as in Novelty, segments (n,) as of segment_of."""
        sides = [_side(novelty[:, a : a + 2], segments) for a in (0, 2)]
        known = sides[0][1].keys() | sides[1][1].keys()
        priors = {int(s): Prior(*(side[1].get(s, side[0]) for side in sides)) for s in sorted(known)}
        return Discovery(self.start, self.key, Prior(sides[0][0], sides[1][0]), priors)


def segment_of(region: int, age_band: int) -> int:
    """Region and age band, dense ids or MISSING, as one number."""
    return (region + 1) * 64 + age_band + 1


def _side(counts: NDArray[np.float64], segments: Int64) -> tuple[tuple[float, float], dict[int, tuple[float, float]]]:
    """The prior of the service and of every segment for one kind of song; counts (n, 2) of finished and rejected."""
    plays = counts.sum(axis=1)
    heard = plays > 0
    share = counts[heard, 0] / plays[heard]
    worth = np.minimum(plays[heard], MOST)
    mean = float((share @ worth + PRIOR / 2) / (worth.sum() + PRIOR))
    strength = _strength(share, plays[heard], mean)
    codes, where = np.unique(segments[heard], return_inverse=True)
    yes, total = np.bincount(where, share * worth, len(codes)), np.bincount(where, worth, len(codes))
    means = (yes + SEGMENT * mean) / (total + SEGMENT)
    priors = {int(c): (float(strength * m), float(strength * (1 - m))) for c, m in zip(codes, means, strict=True)}
    return (strength * mean, strength * (1 - mean)), priors


def _strength(share: NDArray[np.float64], plays: NDArray[np.float64], mean: float) -> float:
    """How many plays a prior counts for: m (1 - m) / variance between listeners - 1, what chance adds to it taken off."""
    enough = plays >= ENOUGH
    if enough.sum() < 20:
        return PRIOR
    spread = float(np.mean((share[enough] - mean) ** 2 - mean * (1 - mean) / plays[enough]))
    return float(np.clip(mean * (1 - mean) / max(spread, 1e-6) - 1, PRIOR, MOST))
