"""`segue import`: listening history into the log."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segue import wiring
from segue.cli.output import OUT, Bar, add_json, print_json
from segue.core.clock import iso
from segue.core.errors import BadInput
from segue.events.checks import user_error
from segue.events.importers import ImportSummary, run_import
from segue.events.importers.opening import FORMATS, open_reader


def add_commands(commands: Any) -> None:
    """Add import."""
    take = commands.add_parser("import", help="listening history into the log; idempotent")
    take.add_argument("path", type=Path, help="a file or a folder")
    take.add_argument("--format", choices=FORMATS, default="auto")
    take.add_argument("--mapping", metavar="FILE", help="a TOML description of columns, or the name of a shipped one")
    take.add_argument("--user", help="whose history it is, for exports that do not say")
    add_json(take)
    take.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read, check, store, fold; a summary with counts."""
    if args.user is not None and (wrong := user_error(args.user)):
        raise BadInput(f"--user: {wrong}")
    with wiring.open_home(args.home, args.config, writer=False) as home:
        reader = open_reader(args.path, time.time_ns() // 1_000_000, args.format, args.mapping, args.user)
        rejected = args.home / "rejected.jsonl"
        with Bar() as bar:
            bar.phase(f"reading {args.path.resolve().name} as {reader.name}")
            summary = run_import(
                reader, home.catalogue, home.log.append, rejected, lambda rows, share: bar.tell(share, f"{rows:,} rows")
            )
            bar.phase("folding what is new into the state")
            home.catch_up()
    if not summary.rejected:
        rejected.unlink(missing_ok=True)
    if args.json:
        print_json({"format": reader.name, **_facts(summary), "rejected_file": str(rejected) if summary.rejected else None})
        return 0
    _show(summary, rejected)
    return 0


def _facts(summary: ImportSummary) -> dict[str, object]:
    facts = asdict(summary)
    for name in ("first_at", "last_at"):
        facts[name] = iso(facts[name]) if facts[name] else None
    return facts


def _show(summary: ImportSummary, rejected: Path) -> None:
    speed = summary.rows / max(summary.seconds, 1e-9)
    lines = [f"{summary.rows:,} rows read in {summary.seconds:.1f} s ({speed:,.0f} rows/s)"]
    counts = (
        (summary.accepted, "new events"),
        (summary.duplicates, "known before"),
        (summary.conflicts, "with a known event id and another content: left out"),
        (summary.repeated, "repeated by the source: left out"),
        (summary.fact_rows, "facts about items and users"),
    )
    lines += [f"{number:>12,} {text}" for number, text in counts if number]
    if summary.rejected:
        lines.append(f"{summary.rejected:>12,} rejected: {rejected} says which lines and why")
    if summary.first_at:
        lines.append(
            f"from {iso(summary.first_at)} to {iso(summary.last_at)}; {summary.users:,} new users, {summary.items:,} new items"
        )
    OUT.print("\n".join(lines), highlight=False, markup=False)
