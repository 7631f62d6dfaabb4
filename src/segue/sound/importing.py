"""A pretrained network from a file that somebody downloaded: the musicnn wheel, or any ONNX file with a small manifest."""

from __future__ import annotations

from pathlib import Path

import msgspec

from segue.core.errors import BadInput, NotFound
from segue.sound import musicnn
from segue.sound.network import Network, NetworkSpec


def read_network(path: Path, manifest: Path | None = None) -> tuple[bytes, NetworkSpec]:
    """(ONNX file, its small manifest), tried out once.

    A `.whl` is taken for musicnn's and needs no manifest; of an ONNX file it is `manifest`, by default `PATH.json` or
    the file's name with the ending .json. BadInput or NotFound, saying what to give instead.
    """
    if path.suffix == ".whl":
        tensors, licence = musicnn.read_wheel(path)
        model, spec = musicnn.convert(tensors, licence), musicnn.spec(licence)
    else:
        spec = _read_spec(path, manifest)
        try:
            model = path.read_bytes()
        except OSError as error:
            raise NotFound(f"{path} cannot be read: {error.strerror}") from None
    Network(model, spec)
    return model, spec


def _read_spec(path: Path, manifest: Path | None) -> NetworkSpec:
    if not path.is_file():
        raise NotFound(f"no file {path}: expected an ONNX file, or the musicnn wheel (`{musicnn.DOWNLOAD}`)")
    beside = [manifest] if manifest else [Path(f"{path}.json"), path.with_suffix(".json")]
    for place in beside:
        if place.is_file():
            try:
                return msgspec.json.decode(place.read_bytes(), type=NetworkSpec)
            except msgspec.DecodeError as error:
                example = '{"name": "mine", "outputs": ["embedding"], "frames": 187, "licence": "MIT"}'
                raise BadInput(f"{place}: {error}; a manifest is such as {example}", "manifest") from None
    raise NotFound(f"no manifest for {path}: expected {beside[0]} with name, outputs and frames, or --manifest FILE")
