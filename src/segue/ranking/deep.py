"""The deep ranker: vectors of ids beside the features, through layers of ReLU (Covington et al. 2016)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from segue.core.errors import NotReady
from segue.core.types import MISSING, Arrays, Bool, Candidates, Float32, Int32, Query, Sparse
from segue.ranking._grown import HELD
from segue.ranking._network import Network, Training, onnx_of
from segue.ranking.logistic import platt, sigmoid
from segue.ranking.sampled import sampled_shapley

Float64 = NDArray[np.float64]
HISTORY = 20
"""Songs that were wanted last, whose vectors are averaged."""
TERMS = 8
_FAR = 5.0


class Deep:
    """Vectors of user, song, mean of the songs wanted last and mean of the terms asked for; standardized features; ReLU layers.

    The song of a candidate and those of the history share a table. An id that was seen fewer than `least` times has no vector
    (zeros), and a share `forget` of the ids is treated so in training, so that the network knows what to do with strangers.
    Trained with PyTorch (the extra `deep`), stopped where the last fifth of the examples gets worse, then trained on all for as
    long; calibrated on that fifth. The layers serve as ONNX, the tables as arrays that can be memory-mapped.
    """

    name: ClassVar[str] = "deep"
    ids: ClassVar[tuple[str, ...]] = ("listener", "song", "songs wanted lately", "tags asked for")
    needs: ClassVar[tuple[str, ...]] = ("torch", "onnx", "onnxruntime")

    def __init__(
        self,
        *,
        embedding_size: int = 8,
        layers: Sequence[int] = (64, 32),
        epochs: int = 15,
        learning_rate: float = 0.002,
        reg: float = 1e-4,
        dropout: float = 0.2,
        forget: float = 0.1,
        least: int = 5,
        batch: int = 256,
        seed: int = 0,
    ) -> None:
        if embedding_size < 1 or not layers or min(layers) < 1 or epochs < 1 or least < 1 or batch < 1:
            raise ValueError("embedding_size, layers, epochs, least and batch must be at least 1")
        if not (learning_rate > 0 and reg >= 0 and 0 <= dropout < 1 and 0 <= forget < 1):
            raise ValueError("learning_rate must be above 0, reg at least 0, dropout and forget in [0, 1)")
        self.embedding_size = embedding_size
        self.layers = tuple(layers)
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.reg = reg
        self.dropout = dropout
        self.forget = forget
        self.least = least
        self.batch = batch
        self.seed = seed
        self._session: Any = None

    @staticmethod
    def lacking() -> str:
        """Why the network cannot be trained on this machine, and what to install; "" where it can."""
        try:
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import torch  # noqa: F401
        except (ImportError, OSError) as error:
            return f"PyTorch or ONNX cannot be loaded ({error}); install them with `pip install 'segue[deep]'`"
        return ""

    def fit_rows(self, rows: Float32, listened: Bool, weights: Float32, played: Bool, sparse: Sparse | None = None) -> Self:
        """Learn from m examples: rows (m, F), whether listened to the end, a weight each, whether it was played at all, and the
        ids behind them (None: features only). The last fifth are other listeners or later days. Returns self.

        ValueError if there is nothing to tell apart, or where shapes cannot be used; ImportError without PyTorch.
        """
        if not (rows.ndim == 2 and len(rows) == len(listened) == len(weights) == len(played)):
            raise ValueError(f"{len(listened)} labels, {len(weights)} weights, {len(played)} marks for rows {rows.shape}")
        if not listened.any() or listened.all():
            raise ValueError("some but not all examples must be listened to")
        ids = sparse if sparse is not None else _no_ids(len(rows))
        self._learn_columns(rows)
        self._learn_ids(ids)
        dense, places = self._dense(rows), self._places(ids)
        training = self._training()
        cut = len(rows) - int(HELD * len(rows))
        line, epochs = np.array([0.0, 1.0]), self.epochs
        split = listened[:cut], listened[cut:]
        if all(part.any() and not part.all() for part in split):
            inputs: list[NDArray[Any]] = [dense, *places]
            first = [part[:cut] for part in inputs], listened[:cut], weights[:cut]
            held = [part[cut:] for part in inputs], listened[cut:], weights[cut:]
            network, epochs = training.run(self._sizes(), first, held)
            logit = network.logits(held[0])
            mine = played[cut:]
            line = platt(logit[mine], listened[cut:][mine], weights[cut:][mine])
        network, _ = self._training(epochs).run(self._sizes(), ([dense, *places], listened, weights), None)
        self._keep(network, line)
        return self

    def _training(self, epochs: int | None = None) -> Training:
        return Training(
            self.layers,
            self.embedding_size,
            epochs or self.epochs,
            self.batch,
            (self.learning_rate, self.reg, self.dropout, self.forget),
            self.seed,
        )

    def _keep(self, network: Network, line: Float64) -> None:
        self.tables_ = {name: np.ascontiguousarray(table) for name, table in network.tables.items()}
        self.onnx_ = np.frombuffer(onnx_of(network), np.uint8)
        self.line_ = line
        self._session = None

    def _learn_columns(self, rows: Float32) -> None:
        """What makes columns standard; NaN becomes the mean, with a column of its own where there were any."""
        holes = np.isnan(rows)
        self.holes_ = np.flatnonzero(holes.any(axis=0)).astype(np.int32)
        seen = np.maximum((~holes).sum(axis=0), 1)
        filled = np.where(holes, 0.0, rows.astype(np.float64))
        self.mean_ = filled.sum(axis=0) / seen
        spread = np.sqrt((np.where(holes, 0.0, filled - self.mean_) ** 2).sum(axis=0) / seen)
        self.scale_ = np.where(spread > 1e-9, spread, 1.0)

    def _learn_ids(self, ids: Sparse) -> None:
        """The ids that get a vector, ascending: those seen at least `least` times."""
        self.ids_: dict[str, Int32] = {}
        for name, seen in (
            ("user", ids.user),
            ("item", np.concatenate((ids.item, ids.history.ravel()))),
            ("term", ids.terms.ravel()),
        ):
            known, counts = np.unique(seen[seen != MISSING], return_counts=True)
            self.ids_[name] = known[counts >= self.least].astype(np.int32)

    def _sizes(self) -> tuple[int, dict[str, int]]:
        """(dense columns, rows of each table with the zeros in front)."""
        return len(self.mean_) + len(self.holes_), {name: len(ids) + 1 for name, ids in self.ids_.items()}

    def _dense(self, rows: Float32) -> Float32:
        holes = np.isnan(rows)
        standard = np.clip((np.where(holes, self.mean_, rows) - self.mean_) / self.scale_, -_FAR, _FAR)
        return np.concatenate((standard, holes[:, self.holes_]), axis=1).astype(np.float32)

    def _places(self, ids: Sparse) -> list[NDArray[np.int64]]:
        """Rows of the tables, 0 for strangers: user (m,), item (m,), history (m, h), terms (m, t)."""
        named = (("user", ids.user), ("item", ids.item), ("item", ids.history), ("term", ids.terms))
        return [_place(self.ids_[name], column) for name, column in named]

    def logits(self, rows: Float32, sparse: Sparse | None = None) -> Float64:
        """What the network says before calibration, (m,) float64."""
        if not hasattr(self, "onnx_"):
            raise NotReady(f"the ranker {self.name!r} has not learned yet: run `segue train`, or rank with 'blend'")
        if rows.shape[1] != len(self.mean_):
            raise ValueError(f"the ranker learned from {len(self.mean_)} features, these rows have {rows.shape[1]}")
        if len(rows) == 0:
            return np.zeros(0)
        return self._run(self._inputs(rows, sparse))

    def _inputs(self, rows: Float32, sparse: Sparse | None) -> Float32:
        """What the layers are given, (m, F + columns that had holes + 4 vectors)."""
        user, item, history, terms = self._places(sparse if sparse is not None else _no_ids(len(rows)))
        parts = [
            self._dense(rows),
            self.tables_["user"][user],
            self.tables_["item"][item],
            _mean(self.tables_["item"], history),
            _mean(self.tables_["term"], terms),
        ]
        return np.concatenate(parts, axis=1)

    def _run(self, inputs: Float32) -> Float64:
        if self._session is None:
            self._session = _session(self.onnx_)
        return np.asarray(self._session.run(None, {"x": inputs})[0], np.float64).reshape(-1)

    def contributions_with_ids(
        self, query: Query, candidates: Candidates, rows: Float32, scores: Float32 | None = None
    ) -> tuple[float, Float64, Bool]:
        """(base, (n, F + 4), (n, 4)): what each feature and each kind of id moved the log-odds by, and which ids are known.

        From a mean example of a stranger: sampled Shapley values of the whole way through the layers (ranking.sampled), the
        same at every call. With `scores` (n,), of a slate of the log whose recent plays are not known, "songs wanted lately"
        is what is left of each score.
        """
        self.logits(rows[:0])
        sparse = sparse_of(query, candidates)
        inputs = self._inputs(rows, sparse)
        features, d = len(self.mean_), self.embedding_size
        owner = np.concatenate((np.arange(features), self.holes_, features + np.repeat(np.arange(4), d))).astype(np.intp)
        baseline = np.zeros(inputs.shape[1], np.float32)
        base, values = sampled_shapley(self._run, inputs, baseline, owner, np.random.default_rng(self.seed))
        base, values = self.line_[0] + self.line_[1] * base, self.line_[1] * values
        known = np.stack([(p > 0).reshape(len(rows), -1).any(axis=1) for p in self._places(sparse)], axis=1)
        if scores is not None:
            p = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
            values[:, features + 2] += np.log(p / (1 - p)) - base - values.sum(axis=1)
        return float(base), values, known

    def probabilities(self, rows: Float32, sparse: Sparse | None = None) -> Float64:
        """P(listens to the end if played), (m,) float64 in (0, 1)."""
        logit = self.logits(rows, sparse)
        return sigmoid(self.line_[0] + self.line_[1] * logit)

    def score(self, query: Query, candidates: Candidates, rows: Float32) -> Float32:
        """P(listens to the end if played), (n,) float32 in (0, 1). NotReady before it has learned."""
        return self.probabilities(rows, sparse_of(query, candidates)).astype(np.float32)

    def arrays(self) -> Arrays:
        """ids.<kind> ascending and table.<kind> (ids + 1, d) float32, mean, scale (F,), holes, line (2,), onnx: bytes."""
        named: Arrays = {f"ids.{name}": ids for name, ids in self.ids_.items()}
        named |= {f"table.{name}": table for name, table in self.tables_.items()}
        return {**named, "mean": self.mean_, "scale": self.scale_, "holes": self.holes_, "line": self.line_, "onnx": self.onnx_}

    def load(self, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """The inverse of arrays(); the tables stay where they are mapped."""
        kinds = ("user", "item", "term")
        self.ids_ = {kind: np.asarray(arrays[f"ids.{kind}"], np.int32) for kind in kinds}
        self.tables_ = {kind: np.asarray(arrays[f"table.{kind}"], np.float32) for kind in kinds}
        self.mean_, self.scale_, self.line_ = (np.asarray(arrays[name], np.float64) for name in ("mean", "scale", "line"))
        self.holes_ = np.asarray(arrays["holes"], np.int32)
        self.onnx_ = np.asarray(arrays["onnx"], np.uint8)
        self._session = None
        return self


def sparse_of(query: Query, candidates: Candidates) -> Sparse:
    """The ids behind the candidates of a query: the songs wanted last, and the tags asked for as terms."""
    n = len(candidates)
    wanted = query.recent.items[query.recent.signal > 0]
    one = np.ones((n, 1), np.int32)
    return Sparse(
        np.full(n, query.user, np.int32), candidates.items, one * padded(wanted, HISTORY), one * padded(query.seeds.tags, TERMS)
    )


def padded(ids: Int32, width: int) -> Int32:
    """The first `width` ids, (width,), filled up with MISSING."""
    out = np.full(width, MISSING, np.int32)
    out[: min(len(ids), width)] = ids[:width]
    return out


def _no_ids(m: int) -> Sparse:
    blank = np.full((m, 1), MISSING, np.int32)
    return Sparse(blank[:, 0], blank[:, 0], blank, blank)


def _place(known: Int32, ids: Int32) -> NDArray[np.int64]:
    """1 + where each id stands among the known, 0 for one that is not known."""
    if len(known) == 0:
        return np.zeros(ids.shape, np.int64)
    at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return np.where(known[at] == ids, at + 1, 0)


def _mean(table: Float32, places: NDArray[np.int64]) -> Float32:
    """Mean vector of the known ids of each row, zeros where there is none. All rows of a query are the same: one is done."""
    same = len(places) > 1 and bool((places == places[0]).all())
    some = places[:1] if same else places
    count = np.maximum((some > 0).sum(axis=1, keepdims=True), 1)
    mean = (table[some].sum(axis=1) / count).astype(np.float32)
    return np.broadcast_to(mean, (len(places), table.shape[1])) if same else mean


def _session(onnx: NDArray[np.uint8]) -> Any:
    """The layers, ready to run in the calling thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(onnx.tobytes(), options, providers=["CPUExecutionProvider"])
