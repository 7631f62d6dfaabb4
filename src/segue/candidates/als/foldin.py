"""Fold-in: what a listener's fresh signals make of the vector of the night, by the same least squares as the night's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segue.candidates.als.solver import Factorizer
from segue.core.types import Float32, Int32


class Evidence(NamedTuple):
    """Net signals of one listener about distinct items, before and after what is fresh: (m,) each."""

    items: Int32
    before: Float32  # net signals the night has already seen
    after: Float32  # with the fresh ones


def gather(items: Int32, signals: Float32, fresh: NDArray[np.bool_]) -> Evidence:
    """Sum the signals of each item, those that are not fresh apart; items ascend. Items whose sums are both 0 are left out."""
    distinct, place = np.unique(items, return_inverse=True)
    before = np.bincount(place, np.where(fresh, 0, signals), len(distinct))
    after = np.bincount(place, signals, len(distinct))
    told = (before != 0) | (after != 0)
    return Evidence(distinct[told].astype(np.int32), before[told].astype(np.float32), after[told].astype(np.float32))


@dataclass(frozen=True)
class FoldIn:
    """The normal equations of one user row (see Factorizer), kept so that a few entries can be added to them.

    Let A w = b be the night's system of the user and A' w' = b' the one with the fresh entries. Then
    w' = w + A'^-1 (b' - A' w), and b' - A' w only holds the entries that changed. A' needs all the old ones as well: those
    at hand are used as they are, the rest by their mean, mass * outer. With every old entry at hand, or none existing, w'
    is exact.
    """

    unobserved_weight: float
    reg: float
    reg_exponent: float
    curve: Float32  # confidence of n signals, curve[0] the weight of skips; see matrix.confidence_curve

    def confidence(self, net: Float32) -> tuple[Float32, Float32]:
        """(a, b) of net signals: the weight of the pair and weight times target, (m,) each."""
        count = np.minimum(np.abs(net), len(self.curve) - 1).astype(np.int64)
        a = np.where(count > 0, self.curve[count], np.float32(0))
        return np.where(net < 0, a * self.curve[0], a), np.where(net > 0, a, np.float32(0))

    def solve(self, prior: tuple[Float32, float, Float32], evidence: Evidence, items: Float32, spectrum: Float32) -> Float32:
        """The new vector, (d,) float32. prior = (vector, mass, outer): the night's vector of the user and the sum of its
        confidences (zero for a newcomer), and the mean of y y' over observed pairs, (d, d)."""
        vector, mass, outer = prior
        y = items[evidence.items]
        a_before, b_before = self.confidence(evidence.before)
        a, b = self.confidence(evidence.after)
        reg_before = self._reg(mass, len(items))
        reg = self._reg(mass + float(a.sum() - a_before.sum()), len(items))
        system = y.T @ (y * a[:, None])
        unseen = max(mass - float(a_before.sum()), 0.0)
        if unseen > 0:
            system += np.float32(unseen) * outer
        system.flat[:: len(system) + 1] += self.unobserved_weight * spectrum + np.float32(reg)
        change = y.T @ ((b - b_before) - (a - a_before) * (y @ vector)) - np.float32(reg - reg_before) * vector
        return (vector + np.linalg.solve(system, change)).astype(np.float32)

    def solver(self) -> Factorizer:
        """The night's objective, to solve whole rows with."""
        return Factorizer(unobserved_weight=self.unobserved_weight, reg=self.reg, reg_exponent=self.reg_exponent)

    def _reg(self, mass: float, n_items: int) -> float:
        return float(self.reg * max(mass + self.unobserved_weight * n_items, 1e-9) ** self.reg_exponent)
