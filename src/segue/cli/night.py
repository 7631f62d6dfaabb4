"""`segue train` and `segue rollback`: the night and what it leaves."""

from __future__ import annotations

import argparse
import time
from typing import Any

from segue import wiring
from segue.cli.output import OUT, Bar, add_json, print_json, print_table
from segue.core.clock import iso, parse_time
from segue.core.errors import BadInput
from segue.training.report import NightReport


def add_commands(commands: Any) -> None:
    """Add train and rollback."""
    train = commands.add_parser("train", help="the night: fit, evaluate, promote")
    train.add_argument("--as-of", metavar="TIME", help="as if it were this moment (default now)")
    train.add_argument("--window", help='how far back to learn from, such as "90d" (default: [training] window)')
    train.add_argument("--force", action="store_true", help="promote whatever the evaluation says")
    add_json(train)
    train.set_defaults(run=run_train)
    back = commands.add_parser("rollback", help="serve the model before this one again")
    add_json(back)
    back.set_defaults(run=run_rollback)


def run_train(args: argparse.Namespace) -> int:
    """Fit, evaluate, promote; a table of what changed."""
    try:
        now = parse_time(args.as_of) if args.as_of else time.time_ns() // 1_000_000
    except (ValueError, OverflowError):
        raise BadInput(f"--as-of: expected ISO 8601 or Unix seconds, found {args.as_of!r}") from None
    with wiring.open_home(args.home, args.config, writer=False) as home, Bar() as bar:
        report = wiring.night(home, now, bar, window=args.window, force=args.force)
    print_json(report) if args.json else show(report)
    return 0


def show(report: NightReport) -> None:
    """The report as tables."""
    data = report.data
    OUT.print(
        f"learned from {data.get('rows', 0):,} plays and votes of {data.get('users', 0):,} listeners and "
        f"{data.get('items', 0):,} songs, {iso(data['from_ms'])} to {iso(data['to_ms'])}",
        highlight=False,
        markup=False,
    )
    shown = ("recall@20", "ndcg@20", "next hit@20")
    metrics = [metric for metric in dict.fromkeys(figure.metric for figure in report.figures) if metric in shown]
    models = list(dict.fromkeys(figure.model for figure in report.figures))
    cells = {(f.model, f.metric): f"{f.mean:.4f} [{f.low:.4f}, {f.high:.4f}]" for f in report.figures}
    if models:
        users = report.figures[0].users
        rows = [(model, *(cells.get((model, metric), "") for metric in metrics)) for model in models]
        people = f"{users:,} listener" + ("s" if users != 1 else "")
        print_table(f"on the held-out days, {people}, 95 % intervals", ("", *metrics), rows)
    phases = [(p.name, p.wall_s, p.cpu_s, p.peak_rss_mb) for p in report.phases]
    print_table("what it cost", ("phase", "wall s", "CPU s", "peak MB"), phases)
    for note in (report.ranker_reason, *report.notes):
        OUT.print(note, highlight=False, markup=False)
    verdict = "promoted" if report.promoted else "kept as challenger"
    OUT.print(f"model {report.version}: {verdict}: {report.reason}", highlight=False, markup=False, style="bold")


def run_rollback(args: argparse.Namespace) -> int:
    """Swap champion and previous."""
    with wiring.open_home(args.home, args.config, writer=False) as home:
        version = home.registry().rollback()
    print_json({"serving": version}) if args.json else print(f"serving model {version}; `segue rollback` again undoes this")
    return 0
