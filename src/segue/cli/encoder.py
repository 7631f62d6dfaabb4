"""`segue encoder`: pretrained networks into the home, and what is there."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from segue import wiring
from segue.cli.output import OUT, Bar, Told, add_json, print_json, print_table
from segue.core.errors import BadInput

if TYPE_CHECKING:
    from segue.sound.network import NetworkSpec

NETWORKS = wiring.NETWORKS


def add_commands(commands: Any) -> None:
    """Add encoder import, fit and list."""
    encoder = commands.add_parser("encoder", help="what turns songs into vectors: import, fit, list")
    what = encoder.add_subparsers(dest="what", required=True, metavar="WHAT", parser_class=type(encoder))
    take = what.add_parser("import", help="the musicnn wheel, or an ONNX file with a small manifest, into the home")
    take.add_argument("path", type=Path, help="musicnn-0.1.0-py3-none-any.whl (not installed, only read) or FILE.onnx")
    take.add_argument(
        "--manifest", type=Path, metavar="FILE", help="the manifest of an ONNX file, by default FILE.json beside it"
    )
    take.add_argument("--output", type=Path, metavar="FILE", help="write the ONNX file and its manifest here as well")
    add_json(take)
    take.set_defaults(run=run_import)
    fit = what.add_parser("fit", help="learn the encoder of [sound] encoder anew from the library, embed all of it, then swap")
    add_json(fit)
    fit.set_defaults(run=run_fit)
    show = what.add_parser(
        "list", help="the encoder that serves, those that `[sound] encoder` may name, and the networks in the home"
    )
    add_json(show)
    show.set_defaults(run=run_list)


def run_import(args: argparse.Namespace) -> int:
    """Convert, try out, store."""
    from segue.sound.importing import read_network
    from segue.sound.network import Network

    model, spec = read_network(args.path, args.manifest)
    dimension = Network(model, spec).dimension
    if args.output is not None:
        _write(args.output, model, spec)
    with wiring.open_home(args.home, args.config, writer=False) as home:
        facts = {"network": msgspec.to_builtins(spec), "dimension": dimension}
        version = home.artifacts.put(NETWORKS, {"onnx": np.frombuffer(model, np.uint8)}, facts)
        home.artifacts.set_aliases(NETWORKS, {spec.name: version})
    answer = {"name": spec.name, "version": version, "dimension": dimension, "bytes": len(model), "licence": spec.licence}
    if args.json:
        print_json(answer)
        return 0
    terms = spec.licence.strip().splitlines()
    OUT.print(
        f"{spec.name} {version}: {dimension} numbers a patch of {spec.frames} frames, {len(model):,} bytes", highlight=False
    )
    OUT.print(f"licence: {terms[0] if terms else 'the manifest names none'}", highlight=False, markup=False)
    return 0


def run_fit(args: argparse.Namespace) -> int:
    """Learn, embed, swap; the old vectors serve until then."""
    with wiring.open_home(args.home, args.config, writer=False) as home:
        with Bar() as bar:
            learned = home.shelf.keep_up(Told(bar).tell, anew=True)
        fitted = home.shelf.serving()
        if not learned or fitted is None:
            found = f"found {len(home.recordings)}"
            raise BadInput(
                f"expected a library of two songs of more than 3 s at least, and nobody else learning from it, {found}"
            )
        answer = {"version": fitted.version, "setting": fitted.setting, "songs": fitted.songs, "vectors": len(home.vectors)}
    if args.json:
        print_json(answer)
    else:
        OUT.print(f"{answer['vectors']:,} songs are heard with {fitted.version}", highlight=False, markup=False)
    return 0


def run_list(args: argparse.Namespace) -> int:
    """What serves, kinds and networks."""
    with wiring.open_home(args.home, args.config, writer=False) as home:
        fitted = home.shelf.serving()
        serving = {"version": fitted.version, "setting": fitted.setting, "songs": len(home.vectors)} if fitted else None
        kept, wanted = [version for version in home.vectors.versions() if version != home.vectors.version], home.shelf.setting
        versions = home.artifacts.versions(NETWORKS)
        networks = []
        for version in versions:
            facts: dict[str, Any] = home.artifacts.get(NETWORKS, version)[1]
            name = facts["network"]["name"]
            networks.append(
                {
                    "name": name,
                    "version": version,
                    "dimension": facts["dimension"],
                    "outputs": facts["network"]["outputs"],
                    "source": facts["network"]["source"],
                    "current": home.artifacts.alias(NETWORKS, name) == version,
                }
            )
    kinds = sorted(wiring.ENCODERS.keys() - {"pretrained", "concatenated"})  # those two are made of networks and of others
    if args.json:
        print_json({"encoders": kinds, "networks": networks, "serving": serving, "wanted": wanted, "kept": kept})
        return 0
    if serving is None:
        OUT.print(f"none serves yet: `segue scan FOLDER` learns {wanted!r}", highlight=False, markup=False)
    else:
        due = "" if serving["setting"] == wanted else f"; {wanted!r} is wanted, and comes with the next scan"
        OUT.print(f"{serving['version']} serves, {serving['songs']:,} songs{due}", highlight=False, markup=False)
    if kept:
        OUT.print(f"vectors are kept of {', '.join(kept)}", highlight=False, markup=False)
    OUT.print(
        "[sound] encoder may be " + ", ".join(kinds) + ", or a network below, or several joined by +",
        highlight=False,
        markup=False,
    )
    if networks:
        print_table("networks", list(networks[0]), [list(row.values()) for row in networks])
    else:
        OUT.print(
            "no network yet: `segue encoder import` takes the musicnn wheel or an ONNX file", highlight=False, markup=False
        )
    return 0


def _write(path: Path, model: bytes, spec: NetworkSpec) -> None:
    if path.suffix != ".onnx":
        raise BadInput(f"--output: expected a name that ends in .onnx, found {path}", "output")
    path.write_bytes(model)
    Path(f"{path}.json").write_bytes(msgspec.json.format(msgspec.json.encode(spec), indent=2))
