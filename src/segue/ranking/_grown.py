"""What boosting and forest share: trees grown by LightGBM at night, walked by our own kernel by day, calibrated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from segue.core.errors import NotReady
from segue.core.types import Arrays, Bool, Candidates, Float32, Query
from segue.ranking.logistic import platt, sigmoid
from segue.ranking.shap import contributions
from segue.ranking.trees import Float64, Trees

HELD = 0.2
"""Share of the examples, the last ones, that early stopping and calibration look at: other listeners, or later days."""


class Grown:
    """Learns an order from all examples, then on the last fifth how it translates to finished or not among the played.

    `fit_rows` grows twice: on the first four fifths, to see on the last when to stop and how sure to be, and then on
    everything with what that said. Trees overfit what they grew on, so a line fitted there would be far too sure. Rows may
    hold NaN. Same examples, same seed and same version of LightGBM: same trees.
    """

    name: ClassVar[str]
    seed: int
    threads: int

    @staticmethod
    def lacking() -> str:
        """Why trees cannot be grown on this machine, and what to install; "" where they can."""
        try:
            import lightgbm  # noqa: F401
        except (ImportError, OSError) as error:  # OSError: the package is there, a library of the system is not
            return (
                f"LightGBM cannot be loaded ({error}); install it with `pip install lightgbm`, "
                "and the GNU OpenMP runtime that it needs (package libgomp1 on Debian and Ubuntu, libgomp on Fedora and Alpine)"
            )
        return ""

    def fit_rows(self, rows: Float32, listened: Bool, weights: Float32, played: Bool) -> Self:
        """Learn from m examples: rows (m, F), whether listened to the end, a weight each, and whether it was played at all.

        Examples come in an order in which the last are other listeners or later days. Returns self. ValueError if there is
        nothing to tell apart, or where shapes cannot be used.
        """
        if not (rows.ndim == 2 and len(rows) == len(listened) == len(weights) == len(played)):
            raise ValueError(f"{len(listened)} labels, {len(weights)} weights, {len(played)} marks for rows {rows.shape}")
        if not listened.any() or listened.all():
            raise ValueError("some but not all examples must be listened to")
        cut = len(rows) - int(HELD * len(rows))
        held = slice(cut, None)
        first = slice(0, cut)
        rounds, line = self._rounds(), np.array([0.0, 1.0])
        if _both(listened[first]) and _both(listened[held]):
            data = rows[first], listened[first], weights[first]
            text, rounds = self._grow(*data, rounds, (rows[held], listened[held], weights[held]))
            logit = self._trees(text, rounds).raw(rows[held])
            line = platt(logit[played[held]], listened[held][played[held]], weights[held][played[held]])
        text, rounds = self._grow(rows, listened, weights, rounds, None)
        self.trees_ = self._trees(text, rounds)
        self.width_ = rows.shape[1]
        self.line_ = line
        return self

    def _rounds(self) -> int:
        """The most trees that may be grown."""
        raise NotImplementedError

    def _settings(self) -> dict[str, Any]:
        """What LightGBM is told besides the common settings."""
        raise NotImplementedError

    def _trees(self, text: str, rounds: int) -> Trees:
        return Trees.grown(text)

    def _grow(
        self, rows: Float32, listened: Bool, weights: Float32, rounds: int, held: tuple[Float32, Bool, Float32] | None
    ) -> tuple[str, int]:
        """(text of the model, trees in it): at most `rounds`, fewer where the held examples say so."""
        import lightgbm  # only the night needs it

        settings = {
            "objective": "binary",
            "verbose": -1,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": self.threads,
            **self._settings(),
        }
        settings["min_data_in_leaf"] = max(1, min(settings["min_data_in_leaf"], len(rows) // 20))
        data = lightgbm.Dataset(rows, listened.astype(np.float32), weight=weights)
        patience = settings.pop("patience", 0)
        watched: list[Any] = []
        callbacks: list[Any] = []
        if held is not None and patience:
            watched = [data.create_valid(held[0], held[1].astype(np.float32), weight=held[2])]
            callbacks = [lightgbm.early_stopping(patience, verbose=False)]
        booster = lightgbm.train(settings, data, rounds, valid_sets=watched, callbacks=callbacks)
        best = booster.best_iteration if booster.best_iteration > 0 else rounds
        return booster.model_to_string(num_iteration=best), best

    def logits(self, rows: Float32) -> Float64:
        """What the trees say before calibration, (m,) float64."""
        if not hasattr(self, "trees_"):
            raise NotReady(f"the ranker {self.name!r} has not learned yet: run `segue train`, or rank with 'blend'")
        if rows.shape[1] != self.width_:
            raise ValueError(f"the ranker learned from {self.width_} features, these rows have {rows.shape[1]}")
        return self.trees_.raw(rows)

    def probabilities(self, rows: Float32) -> Float64:
        """P(listens to the end if played), (m,) float64 in (0, 1)."""
        logit = self.logits(rows)
        return sigmoid(self.line_[0] + self.line_[1] * logit)

    def score(self, query: Query, candidates: Candidates, rows: Float32) -> Float32:
        """P(listens to the end if played), (n,) float32 in (0, 1). NotReady before it has learned."""
        return self.probabilities(rows).astype(np.float32)

    def contributions(self, rows: Float32) -> tuple[float, Float64]:
        """(base, (m, F)): Shapley values of the calibrated log-odds, see ranking.shap; 15 leaves take about 10 us a tree."""
        self.logits(rows[:0])  # NotReady, and the width of the rows
        base, values = contributions(self.trees_, rows)
        return float(self.line_[0] + self.line_[1] * base), self.line_[1] * values

    def arrays(self) -> Arrays:
        """The trees (see ranking.trees), width (1,) int64 features, line (2,) float64."""
        return {**self.trees_.arrays(), "width": np.array([self.width_]), "line": self.line_}

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """The inverse of arrays()."""
        self.trees_ = Trees.of(arrays)
        self.width_ = int(np.asarray(arrays["width"]).astype(np.int64)[0])
        self.line_ = np.asarray(arrays["line"], np.float64)
        return self


def _both(listened: Bool) -> bool:
    return bool(listened.any() and not listened.all())
