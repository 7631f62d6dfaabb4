"""`segue benchmark NAME`: every figure of the docs is one of these commands."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from segue.cli.output import OUT, Bar, add_json, print_json

BENCHMARKS: dict[str, str] = {
    "next": "segue.benchmarks.next_item",
    "continuation": "segue.benchmarks.continuation",
    "topn": "segue.benchmarks.topn",
    "compare": "segue.benchmarks.compare",
    "als": "segue.benchmarks.als",
    "topk": "segue.benchmarks.topk",
    "sound": "segue.benchmarks.sound",
    "scan": "segue.benchmarks.scan",
    "serve": "segue.benchmarks.serve",
    "ingest": "segue.benchmarks.ingest",
    "crash": "segue.benchmarks.crash",
    "night": "segue.benchmarks.night",
    "import": "segue.benchmarks.import_",
    "sources": "segue.benchmarks.sources",
    "ratings": "segue.benchmarks.ratings",
    "off-policy": "segue.benchmarks.off_policy",
    "loop": "segue.benchmarks.loop",
    "neighbours": "segue.benchmarks.neighbours",
    "duplicates": "segue.benchmarks.duplicates",
    "rank": "segue.benchmarks.rank",
    "rank-cost": "segue.benchmarks.rank_cost",
    "monitor": "segue.benchmarks.monitor",
    "rerank": "segue.benchmarks.rerank",
    "carousel": "segue.benchmarks.carousel",
    "stages": "segue.benchmarks.stages",
    "proof": "segue.benchmarks.proof",
}


def add_commands(commands: Any) -> None:
    """Add benchmark; its own arguments are read when it is named, so that starting `segue` stays quick."""
    bench = commands.add_parser("benchmark", help="measure: " + ", ".join(BENCHMARKS))
    bench.add_argument("name", choices=BENCHMARKS, metavar="NAME")
    bench.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="see `segue benchmark NAME --help`")
    bench.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run it and print what it measured."""
    module = importlib.import_module(BENCHMARKS[args.name])
    own = argparse.ArgumentParser(prog=f"segue benchmark {args.name}", description=(module.__doc__ or "").strip())
    module.add_arguments(own)
    add_json(own)
    given = own.parse_args(args.rest)
    with Bar() as bar:
        given.progress = bar  # benchmarks know no terminal
        result: dict[str, object] = module.run(given)
    if given.json:
        print_json(result)
        return 0
    _show(result, "")
    return 0


def _show(result: dict[str, object], indent: str) -> None:
    for key, value in result.items():
        if isinstance(value, dict):
            OUT.print(f"{indent}{key}", markup=False, highlight=False)
            _show(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            OUT.print(f"{indent}{key}", markup=False, highlight=False)
            for row in value:
                OUT.print(f"{indent}  " + "  ".join(f"{k}={_short(v)}" for k, v in row.items()), markup=False, highlight=False)
        else:
            OUT.print(f"{indent}{key:<24} {_short(value)}", markup=False, highlight=False)


def _short(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
