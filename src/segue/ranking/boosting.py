"""Gradient boosting: small trees, each grown on what those before it got wrong (Friedman 2001; LightGBM, Ke et al. 2017)."""

from __future__ import annotations

from typing import Any, ClassVar

from segue.ranking._grown import Grown


class Boosting(Grown):
    """Boosted trees of the logistic loss, stopped early and calibrated on the last fifth of the examples.

    epochs: the most trees; a request pays for each, about 1.2 us for 500 candidates. max_leaves, max_depth and least (examples
    in a leaf) bound a tree; columns and sample are the shares of features and examples that one tree sees; reg is the L2
    penalty of a leaf; patience is how many trees may pass without the last fifth getting better. learning_rate shrinks
    each tree: half of it needs about twice the trees.
    """

    name: ClassVar[str] = "boosting"

    def __init__(
        self,
        *,
        epochs: int = 200,
        learning_rate: float = 0.05,
        max_leaves: int = 15,
        max_depth: int = 6,
        least: int = 50,
        columns: float = 0.3,
        sample: float = 0.8,
        reg: float = 5.0,
        patience: int = 40,
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        if epochs < 1 or max_leaves < 2 or max_depth < 1 or least < 1 or patience < 1 or threads < 1:
            raise ValueError("epochs, max_depth, least, patience and threads must be at least 1, and max_leaves 2")
        if not (learning_rate > 0 and 0 < columns <= 1 and 0 < sample <= 1 and reg >= 0):
            raise ValueError("learning_rate must be above 0, columns and sample in (0, 1], reg at least 0")
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.max_leaves = max_leaves
        self.max_depth = max_depth
        self.least = least
        self.columns = columns
        self.sample = sample
        self.reg = reg
        self.patience = patience
        self.seed = seed
        self.threads = threads

    def _rounds(self) -> int:
        return self.epochs

    def _settings(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "num_leaves": self.max_leaves,
            "max_depth": self.max_depth,
            "min_data_in_leaf": self.least,
            "feature_fraction": self.columns,
            "bagging_fraction": self.sample,
            "bagging_freq": 1,
            "lambda_l2": self.reg,
            "patience": self.patience,
        }
