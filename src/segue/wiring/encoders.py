"""Encoders of sound by the name of a setting, and as they were stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from segue.core.errors import BadConfig
from segue.core.ports import ArtifactStore
from segue.wiring.tables import ENCODERS, named

if TYPE_CHECKING:
    from segue.sound.encoder import Encoder

NETWORKS = "networks"
"""The artifact that holds imported networks: each version is one, an alias its name."""


def encoder(name: str) -> Callable[..., Any]:
    """The class of an encoder of sound."""
    return cast(Callable[..., Any], named(ENCODERS, name, "encoder"))


def encoder_of(manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> Encoder:
    """The encoder that was stored as these arrays and this manifest, the parts of a concatenated one included."""
    loaded: Encoder = _unfitted(manifest).load(arrays, manifest)
    return loaded


def _unfitted(manifest: Mapping[str, Any]) -> Any:
    kind = named(ENCODERS, str(manifest["name"]), "encoder")
    if manifest["name"] != "concatenated":
        return kind()
    return kind([_unfitted(part) for part in manifest["hyperparameters"]["parts"]])


def wanted_encoder(setting: str, artifacts: ArtifactStore) -> Encoder:
    """A fresh encoder as [sound] encoder names it: a kind that learns, an imported network, or several joined by "+"."""
    parts = [_part(name, artifacts, alone="+" not in setting) for name in setting.split("+")]
    if len(parts) == 1:
        return parts[0]
    from segue.sound.concatenated import Concatenated

    return Concatenated(parts)


def _part(name: str, artifacts: ArtifactStore, *, alone: bool) -> Encoder:
    from segue.sound.concatenated import PLAIN

    if name in ENCODERS and name not in ("pretrained", "concatenated"):
        plain = {} if alone or name != "lda" else PLAIN
        made: Encoder = named(ENCODERS, name, "sound.encoder")(**plain)
        return made
    version = artifacts.alias(NETWORKS, name)
    if version is None:
        kinds = ", ".join(sorted(ENCODERS.keys() - {"pretrained", "concatenated"}))
        found = f"expected one of {kinds}, or a network of `segue encoder list`, found {name!r}"
        raise BadConfig(f"sound.encoder: {found}; `segue encoder import` takes one in", "sound.encoder")
    from segue.sound.network import NetworkSpec
    from segue.sound.network_encoder import Pretrained

    arrays, facts = artifacts.get(NETWORKS, version)
    return Pretrained().serve(np.asarray(arrays["onnx"], np.uint8).tobytes(), msgspec.convert(facts["network"], NetworkSpec))
