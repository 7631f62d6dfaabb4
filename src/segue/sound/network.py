"""A neural network as one ONNX file, served by onnxruntime: patches of a spectrogram in, numbers out. No training code needed.

The only file that imports onnxruntime. Any ONNX file will do whose input is a batch of log-mel patches as `spectrogram` makes
them and whose outputs are a row a patch; a small manifest says which outputs to take.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from segue.core.errors import BadInput, NotReady
from segue.core.types import Float32
from segue.sound.encoder import INPUT
from segue.sound.spectrogram import BANDS

BATCH = 2
"""Patches run at once: more is no faster a patch, and what lies between layers would not stay in a core's cache."""


class NetworkSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The small manifest beside an ONNX file: what it is, and which of its outputs make the embedding of a patch.

    `frames` is the length of a patch, `outputs` are set side by side in this order. `input` is the spectrogram that the network
    was trained on; Segue has one, so it may be left out, and is checked where it is given. Where a file holds several networks,
    `groups` says how many of the outputs, in their order, each of them has: what they say is pooled network by network. Without
    it all outputs are one network's.
    """

    name: str
    outputs: tuple[str, ...]
    frames: int = 187
    licence: str = ""
    source: str = ""
    input: dict[str, object] = {}
    groups: tuple[int, ...] = ()


class Network:
    """An ONNX file that is ready to run; safe to call from several threads."""

    def __init__(self, model: bytes, spec: NetworkSpec, *, threads: int = 1) -> None:
        """BadInput, naming what does not fit, unless the file takes such patches and gives finite rows of one length."""
        self.spec = spec
        _check_spec(spec)
        driver = _driver()
        options = driver.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = driver.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class of its own for each way to be wrong
            raise BadInput(f"{spec.name}: expected an ONNX file that onnxruntime can read: {_first(error)}", "model") from None
        self._order = _order(self._session.get_inputs(), spec)
        self._source = self._session.get_inputs()[0].name
        known = [output.name for output in self._session.get_outputs()]
        for name in spec.outputs:
            if name not in known:
                raise BadInput(f"{spec.name}: no output {name!r}; the file has {', '.join(known)}", "outputs")
        ends = np.cumsum([0, *self._try_out()])
        counts = np.cumsum([0, *(spec.groups or (len(spec.outputs),))])
        self.dimension = int(ends[-1])
        self.networks = tuple(slice(int(ends[one]), int(ends[end])) for one, end in pairwise(counts.tolist()))
        """The numbers of a row that each of the file's networks gives."""

    def embed(self, patches: Float32) -> Float32:
        """(n, dimension) float32 of (n, frames, BANDS) patches, n >= 0."""
        if len(patches) == 0:
            return np.zeros((0, self.dimension), np.float32)
        rows = [self._run(patches[start : start + BATCH]) for start in range(0, len(patches), BATCH)]
        return np.concatenate(rows)

    def _run(self, patches: Float32) -> Float32:
        return np.asarray(np.concatenate(self._outputs(patches), axis=1), np.float32)

    def _outputs(self, patches: Float32) -> list[Float32]:
        shaped = np.ascontiguousarray(np.transpose(patches, self._order[0]), np.float32)
        found = self._session.run(list(self.spec.outputs), {self._source: shaped.reshape(len(patches), *self._order[1])})
        return [np.asarray(each) for each in found]

    def _try_out(self) -> list[int]:
        """The length of a row of each output, from one run on silence."""
        try:
            found = self._outputs(np.zeros((2, self.spec.frames, BANDS), np.float32))
        except Exception as error:
            raise BadInput(f"{self.spec.name}: it does not run on a patch of silence: {_first(error)}", "model") from None
        for rows in found:
            if rows.ndim != 2 or len(rows) != 2 or not np.isfinite(rows).all():
                raise BadInput(f"{self.spec.name}: expected finite outputs (patches, size), found {rows.shape}", "outputs")
        return [rows.shape[1] for rows in found]


def cut(spectrogram: Float32, frames: int) -> Float32:
    """(patches, frames, BANDS): the spectrogram in patches, a rest left out; a shorter one is repeated to fill a patch."""
    if len(spectrogram) < frames:
        spectrogram = np.resize(spectrogram, (frames, BANDS))
    patches = len(spectrogram) // frames
    return spectrogram[: patches * frames].reshape(patches, frames, BANDS)


def _check_spec(spec: NetworkSpec) -> None:
    if not spec.outputs or spec.frames < 1:
        raise BadInput(f"{spec.name}: expected at least one output and one frame in the manifest", "manifest")
    if spec.groups and (min(spec.groups) < 1 or sum(spec.groups) != len(spec.outputs)):
        raise BadInput(
            f"{spec.name}: expected groups that add up to the {len(spec.outputs)} outputs, found {list(spec.groups)}", "groups"
        )
    for key, value in spec.input.items():
        if key not in INPUT or INPUT[key] != value:
            raise BadInput(
                f"{spec.name}: its input has {key} = {value!r}; Segue's spectrograms have {INPUT.get(key)!r}. "
                "Only networks for that spectrogram can be served",
                f"input.{key}",
            )


def _order(inputs: list[Any], spec: NetworkSpec) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """(how to transpose (n, frames, bands), shape of one patch): from the shape of the input, channel axis or not."""
    shape = list(inputs[0].shape)
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(shape) not in (3, 4):
        raise BadInput(f"{spec.name}: expected one float input (patches, frames, bands), found {shape}", "model")
    want = {(spec.frames, BANDS): (0, 1, 2), (BANDS, spec.frames): (0, 2, 1)}
    for sizes, order in want.items():
        for full in (sizes, (1, *sizes), (*sizes, 1)):
            if len(full) == len(shape) - 1 and all(
                not isinstance(s, int) or s == f for s, f in zip(shape[1:], full, strict=True)
            ):
                return order, full
    raise BadInput(
        f"{spec.name}: expected patches of {spec.frames} frames by {BANDS} bands, found an input of {shape}", "model"
    )


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _driver() -> Any:
    """The onnxruntime package, which comes with an extra."""
    try:
        import onnxruntime
    except ImportError:
        raise NotReady("neural encoders need the package onnxruntime: pip install 'segue[audio]'") from None
    return onnxruntime
