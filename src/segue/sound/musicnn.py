"""The pretrained networks of the musicnn wheel, from their checkpoints to one ONNX file, without TensorFlow.

musicnn is that of Pons and Serra 2019, "musicnn: pre-trained convolutional neural networks for music audio tagging" (ISMIR late
breaking), once trained on the tags of the Million Song Dataset (MSD) and once on those of MagnaTagATune (MTT), and the VGG
of Choi et al. 2016 as they trained it on MTT. Three ears hear more than one (docs/decisions.md); the wheel's fourth, the VGG
of MSD, is left out for its time.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

from segue.core.errors import BadInput, NotFound
from segue.sound.musicnn_layers import BANDS, BUILD, FRAMES, INPUT, Tensors
from segue.sound.network import NetworkSpec
from segue.sound.onnx_graph import Graph
from segue.sound.tensor_bundle import read_bundle

NETWORKS = ("MSD_musicnn", "MTT_musicnn", "MTT_vgg")
"""Which of the wheel's checkpoints are taken, by the names of their folders."""
TAKEN = {"musicnn": ("mean_pool", "penultimate", "deviation"), "vgg": ("mean", "deviation")}
"""What Segue takes of a network: of musicnn mean and deviation over time of every layer and the penultimate layer, 1,706
numbers a patch; of a VGG mean and deviation over time and bands of every layer, 1,152."""
DOWNLOAD = "pip download --no-deps musicnn==0.1.0"
INPUT_SPEC: dict[str, object] = {"rate": 16_000, "window": 512, "hop": 256, "bands": BANDS, "compression": 1e4}
SOURCE = f"musicnn 0.1.0, {', '.join(NETWORKS)}: Pons and Serra 2019"


def read_wheel(path: Path) -> tuple[dict[str, Tensors], str]:
    """(the tensors of each of NETWORKS, text of the licence) of the musicnn wheel; BadInput when it is not that wheel."""
    try:
        with zipfile.ZipFile(path) as wheel:
            licences = [name for name in wheel.namelist() if ".dist-info/LICENSE" in name]
            licence = wheel.read(licences[0]).decode("utf-8")
            files = {
                name: [wheel.read(f"musicnn/{name}/{file}") for file in (".index", ".data-00000-of-00001")] for name in NETWORKS
            }
    except FileNotFoundError:
        raise NotFound(f"no file {path}; get the musicnn wheel by `{DOWNLOAD}`") from None
    except (zipfile.BadZipFile, KeyError, IndexError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{path}: expected the musicnn wheel with musicnn/{NETWORKS[0]}/ and more in it ({error}); get it by `{DOWNLOAD}`",
            "path",
        ) from None
    return {name: read_bundle(index, data) for name, (index, data) in files.items()}, licence


def convert(checkpoints: Mapping[str, Tensors], licence: str) -> bytes:
    """The ONNX file: log_mel (patches, 187, 96) to `NETWORK.OUTPUT` for every network that is given and all its outputs.

    BadInput for a checkpoint that lacks a tensor.
    """
    graph = Graph(INPUT, FRAMES, BANDS)
    outputs: dict[str, tuple[str, int]] = {}
    for name, tensors in checkpoints.items():
        try:
            found = BUILD[_kind(name)](graph, tensors)
        except KeyError as error:
            raise BadInput(f"the checkpoint is not that of {name}: it has no tensor {error}", "checkpoint") from None
        outputs |= {f"{name}.{output}": node for output, node in found.items()}
    return graph.build(outputs, {"licence": licence, "source": SOURCE})


def spec(licence: str) -> NetworkSpec:
    """What Segue takes of the file, 4,564 numbers a patch; those of each network are pooled by themselves."""
    outputs = tuple(f"{name}.{output}" for name in NETWORKS for output in TAKEN[_kind(name)])
    groups = tuple(len(TAKEN[_kind(name)]) for name in NETWORKS)
    return NetworkSpec("musicnn", outputs, FRAMES, licence, SOURCE, INPUT_SPEC, groups)


def _kind(name: str) -> str:
    return name.rpartition("_")[2]
