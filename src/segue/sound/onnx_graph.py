"""Makes ONNX graphs layer by layer, so that a network becomes a file that onnxruntime serves. Only this file imports onnx."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.core.errors import NotReady
from segue.core.types import Float32

Floats = NDArray[np.floating]
OPSET, IR = 17, 9
"""Old enough for every onnxruntime since 1.16."""


class Graph:
    """An ONNX graph that is being made: each method adds a node and answers with the name of its output.

    Tensors are (patches, channels, ...) as in PyTorch. Names are given by counting, so the same calls make the same bytes.
    """

    def __init__(self, source: str, *sizes: int) -> None:
        """`source` is the name of the input, (patches, *sizes) float32."""
        self._onnx = _driver()
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._source = self._tensor(source, *sizes)

    def constant(self, array: NDArray[np.generic] | Sequence[int]) -> str:
        """A constant tensor; floats become float32, integers int64."""
        given = np.asarray(array)
        kind = np.float32 if given.dtype.kind == "f" else np.int64
        name = f"c{len(self._constants)}"
        self._constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(given, kind), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: object) -> str:
        """Any operator with one output."""
        name = f"n{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def split(self, x: str, parts: int) -> list[str]:
        """The rows of a tensor of so many: its first axis taken apart."""
        names = [f"n{len(self._nodes)}.{place}" for place in range(parts)]
        sizes = self.constant([1] * parts)
        self._nodes.append(self._onnx.helper.make_node("Split", [x, sizes], names, name=names[0], axis=0))
        return names

    def conv(
        self, x: str, weight: Floats, bias: Floats, *, pads: Sequence[int] | None = None, strides: Sequence[int] | None = None
    ) -> str:
        """Convolution; weight (out, in, *kernel); pads: begin of every axis, then end of every axis."""
        axes = weight.ndim - 2
        return self.node(
            "Conv",
            x,
            self.constant(weight),
            self.constant(bias),
            kernel_shape=list(weight.shape[2:]),
            pads=list(pads or [0] * (2 * axes)),
            strides=list(strides or [1] * axes),
        )

    def norm(self, x: str, moments: Mapping[str, Float32], epsilon: float) -> str:
        """Batch normalization as at inference: gamma (x - mean) / sqrt(variance + epsilon) + beta, for each channel."""
        facts = (self.constant(moments[key]) for key in ("gamma", "beta", "mean", "variance"))
        return self.node("BatchNormalization", x, *facts, epsilon=epsilon)

    def dense(self, x: str, weight: Float32, bias: Float32) -> str:
        """x @ weight + bias; weight (in, out)."""
        return self.node("Gemm", x, self.constant(weight), self.constant(bias))

    def build(self, outputs: Mapping[str, tuple[str, int]], facts: Mapping[str, str]) -> bytes:
        """The bytes of the .onnx file, checked. `outputs`: by name the tensor (patches, size) that it gives, and its size."""
        helper = self._onnx.helper
        named = [helper.make_node("Identity", [tensor], [name], name=name) for name, (tensor, _) in outputs.items()]
        described = [self._tensor(name, size) for name, (_, size) in outputs.items()]
        graph = helper.make_graph([*self._nodes, *named], "segue", [self._source], described, self._constants)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR, producer_name="segue")
        helper.set_model_props(model, dict(facts))
        self._onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))

    def _tensor(self, name: str, *sizes: int) -> Any:
        return self._onnx.helper.make_tensor_value_info(name, self._onnx.TensorProto.FLOAT, ["patches", *sizes])


def _driver() -> Any:
    """The onnx package, which comes with an extra."""
    try:
        import onnx
    except ImportError:
        raise NotReady("making an ONNX file needs the package onnx: pip install 'segue[audio]'") from None
    return onnx
