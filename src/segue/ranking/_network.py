"""The network of the deep ranker while it learns: PyTorch at night, its layers as an ONNX graph by day."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.core.types import Bool, Float32

Float64 = NDArray[np.float64]
Data = tuple[list[NDArray[Any]], Bool, Float32]
"""Inputs (dense (m, F), places of user, item (m,), history, terms (m, k)), whether listened to, weights."""
KINDS = ("user", "item", "item", "term")
"""Which table each input after the first looks into."""
PATIENCE = 3


@dataclass(frozen=True)
class Network:
    """What was learned: tables by kind, the first row of each zeros, and layers as (weights (in, out), bias (out,))."""

    tables: dict[str, Float32]
    layers: list[tuple[Float32, Float32]]

    def logits(self, inputs: list[NDArray[Any]]) -> Float64:
        """The forward pass in numpy, (m,): what the ONNX graph computes."""
        parts = [np.asarray(inputs[0], np.float32)]
        for kind, places in zip(KINDS, inputs[1:], strict=True):
            vectors = self.tables[kind][places]
            if places.ndim == 2:
                vectors = vectors.sum(axis=1) / np.maximum((places > 0).sum(axis=1, keepdims=True), 1)
            parts.append(vectors.astype(np.float32))
        x = np.concatenate(parts, axis=1)
        for place, (weight, bias) in enumerate(self.layers):
            x = x @ weight + bias
            if place < len(self.layers) - 1:
                x = np.maximum(x, 0)
        return x[:, 0].astype(np.float64)


@dataclass(frozen=True)
class Training:
    """How it is trained: Adam on the weighted logistic loss, every random number from one seed and no global state."""

    hidden: tuple[int, ...]
    embedding_size: int
    epochs: int
    batch: int
    rates: tuple[float, float, float, float]  # learning rate, L2, dropout, share of ids forgotten
    seed: int

    def run(self, sizes: tuple[int, dict[str, int]], data: Data, held: Data | None) -> tuple[Network, int]:
        """(the network, epochs): of the epoch that was best on the held examples, or of the last without any."""
        import torch

        generator = torch.Generator().manual_seed(self.seed)
        parameters = self._parameters(torch, sizes)
        rate, reg, _, _ = self.rates
        adam = torch.optim.Adam(list(parameters.values()), lr=rate, weight_decay=reg)
        inputs = [torch.from_numpy(np.ascontiguousarray(part)) for part in data[0]]
        truth, weight = torch.from_numpy(data[1].astype(np.float32)), torch.from_numpy(np.asarray(data[2], np.float32))
        best, best_loss, best_epoch = self._network(parameters), np.inf, 0
        for epoch in range(self.epochs):
            order = torch.randperm(len(truth), generator=generator)
            for start in range(0, len(order), self.batch):
                rows = order[start : start + self.batch]
                logit = self._forward(torch, parameters, [part[rows] for part in inputs], generator)
                loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, truth[rows], weight[rows])
                adam.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
                adam.step()
            network = self._network(parameters)
            if held is None:
                best, best_epoch = network, epoch
                continue
            now = _loss(network.logits(held[0]), held[1], held[2])
            if now < best_loss:
                best, best_loss, best_epoch = network, now, epoch
            elif epoch - best_epoch >= PATIENCE:
                break
        return best, best_epoch + 1

    def _parameters(self, torch: Any, sizes: tuple[int, dict[str, int]]) -> dict[str, Any]:
        """Tables small and random, layers as He et al. (2015); drawn by numpy, the same on any machine."""
        dense, tables = sizes
        rng = np.random.default_rng(self.seed)
        d = self.embedding_size
        drawn: dict[str, NDArray[Any]] = {name: rng.normal(0, 0.05, (rows, d)) for name, rows in tables.items()}
        widths = [dense + len(KINDS) * d, *self.hidden, 1]
        for place, (inside, outside) in enumerate(pairwise(widths)):
            drawn[f"w{place}"] = rng.normal(0, np.sqrt(2 / inside), (inside, outside))
            drawn[f"b{place}"] = np.zeros(outside)
        return {name: torch.tensor(value, dtype=torch.float32, requires_grad=True) for name, value in drawn.items()}

    def _forward(self, torch: Any, parameters: dict[str, Any], inputs: list[Any], generator: Any) -> Any:
        """(rows,) logits in training: some ids forgotten, some of the first layer dropped."""
        _, _, dropout, forget = self.rates
        parts = [inputs[0]]
        for kind, places in zip(KINDS, inputs[1:], strict=True):
            kept = torch.rand(places.shape, generator=generator) >= forget
            known = ((places > 0) & kept).unsqueeze(-1).float()
            vectors = parameters[kind][places] * known
            parts.append(vectors.sum(1) / known.sum(1).clamp(min=1) if places.dim() == 2 else vectors)
        x = torch.cat(parts, 1)
        last = len(self.hidden)
        for place in range(last + 1):
            x = x @ parameters[f"w{place}"] + parameters[f"b{place}"]
            if place < last:
                x = torch.relu(x)
                if dropout:
                    x = x * (torch.rand(x.shape, generator=generator) >= dropout) / (1 - dropout)
        return x[:, 0]

    def _network(self, parameters: dict[str, Any]) -> Network:
        """A copy of the parameters; the row of strangers is zeros."""
        taken = {name: value.detach().numpy().copy() for name, value in parameters.items()}
        tables = {name: taken[name] for name in dict.fromkeys(KINDS)}
        for table in tables.values():
            table[0] = 0.0
        return Network(tables, [(taken[f"w{place}"], taken[f"b{place}"]) for place in range(len(self.hidden) + 1)])


def _loss(logit: Float64, truth: Bool, weight: Float32) -> float:
    """Weighted mean of the logistic loss."""
    loss = np.logaddexp(0.0, logit) - truth * logit
    return float(np.average(loss, weights=weight))


def onnx_of(network: Network) -> bytes:
    """The layers as an ONNX graph: x (m, all inputs side by side) to y (m, 1)."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes, tensors, name = [], [], "x"
    for place, (weight, bias) in enumerate(network.layers):
        tensors += [numpy_helper.from_array(weight, f"w{place}"), numpy_helper.from_array(bias, f"b{place}")]
        last = place == len(network.layers) - 1
        out = "y" if last else f"h{place}"
        nodes.append(helper.make_node("Gemm", [name, f"w{place}", f"b{place}"], [out]))
        name = out
        if not last:
            nodes.append(helper.make_node("Relu", [out], [f"r{place}"]))
            name = f"r{place}"
    width = network.layers[0][0].shape[0]
    graph = helper.make_graph(
        nodes,
        "deep",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["m", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m", 1])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    plain: bytes = model.SerializeToString()
    return plain
