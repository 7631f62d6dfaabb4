"""Random forest: deep trees grown apart on samples of examples and features, and averaged (Breiman 2001)."""

from __future__ import annotations

from typing import Any, ClassVar

from segue.ranking._grown import Grown
from segue.ranking.trees import Trees


class Forest(Grown):
    """The mean log-odds of trees grown apart, calibrated on the last fifth of the examples.

    epochs: how many trees; max_leaves and least (examples in a leaf) bound a tree, columns and sample are the shares of
    features, anew at each split, and examples that it sees. LightGBM grows them (boosting = rf), so they are walked
    by the same kernel as boosted ones; there are as many, but they are deeper, so a request pays more.
    """

    name: ClassVar[str] = "forest"

    def __init__(
        self,
        *,
        epochs: int = 150,
        max_leaves: int = 127,
        least: int = 10,
        columns: float = 0.3,
        sample: float = 0.63,
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        if epochs < 1 or max_leaves < 2 or least < 1 or threads < 1 or not (0 < columns <= 1 and 0 < sample < 1):
            raise ValueError("epochs, least and threads must be at least 1, max_leaves 2, columns in (0, 1], sample in (0, 1)")
        self.epochs = epochs
        self.max_leaves = max_leaves
        self.least = least
        self.columns = columns
        self.sample = sample
        self.seed = seed
        self.threads = threads

    def _rounds(self) -> int:
        return self.epochs

    def _trees(self, text: str, rounds: int) -> Trees:
        return Trees.grown(text, 1.0 / rounds)

    def _settings(self) -> dict[str, Any]:
        return {
            "boosting": "rf",
            "num_leaves": self.max_leaves,
            "min_data_in_leaf": self.least,
            "feature_fraction_bynode": self.columns,
            "bagging_fraction": self.sample,
            "bagging_freq": 1,
        }
