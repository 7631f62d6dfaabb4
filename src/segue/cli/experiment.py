"""`segue experiment`: plan, start, status, report, stop and resume, over the same book that a running server reads."""

from __future__ import annotations

import argparse
import time
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from segue import wiring
from segue.cli.output import OUT, add_json, print_json, print_table
from segue.core.clock import iso
from segue.core.errors import BadInput
from segue.experiments import power, report
from segue.experiments.plan import read_plan


def add_commands(commands: Any) -> None:
    """Add experiment and its verbs."""
    top = commands.add_parser("experiment", help="live experiments: plan, start, status, report, stop, resume")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    plan = verbs.add_parser("plan", help="users and days that a lift needs, before anything starts")
    for flag, text in (("--mean", "the metric now"), ("--sd", "its spread between users"), ("--lift", "relative, such as 0.02"),
                       ("--daily-users", "listeners who come for the first time in the experiment, a day")):  # fmt: skip
        plan.add_argument(flag, type=float, required=True, help=text)
    plan.add_argument("--share", type=float, default=0.1, help="of traffic in each arm (default 0.1)")
    plan.add_argument("--looks", type=int, default=7)
    plan.add_argument("--window-days", type=float, default=1.0)
    start = verbs.add_parser("start", help="lock a plan and begin")
    start.add_argument("plan", type=Path, metavar="PLAN.toml", help="docs/experiments.md explains every field")
    status = verbs.add_parser("status", help="every experiment in a line")
    told = verbs.add_parser("report", help="one in numbers and words")
    stop = verbs.add_parser("stop", help="everybody back to old")
    resume = verbs.add_parser("resume", help="let a held one go on")
    for one in (told, stop, resume):
        one.add_argument("name")
    for one in (stop, resume):
        one.add_argument("--why", default="", help="for the audit trail")
    for one in (plan, start, status, told, stop, resume):
        add_json(one)
    top.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """One verb."""
    now = time.time_ns() // 1_000_000
    if args.verb == "plan":
        return _plan(args)
    with wiring.open_home(args.home, args.config, writer=False) as home:
        book = home.book()
        if args.verb == "status":
            rows = [report.summary(e) for e in reversed(book.all())]
            print_json(rows) if args.json else _status(rows)
            return 0
        if args.verb == "report":
            found = report.report(book.get(args.name), home.log, now)
            print_json(found) if args.json else _report(found)
            return 0
        if args.verb == "start":
            one = book.start(wiring.resolved(home, _read(args.plan)), now)
        else:
            one = book.stop(args.name, args.why, now) if args.verb == "stop" else book.resume(args.name, args.why, now)
        print_json(report.summary(one)) if args.json else OUT.print(f"{one.plan.name}: {report.verdict(one)}", markup=False)
    return 0


def _read(path: Path) -> Any:
    try:
        return read_plan(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise BadInput(f"expected a plan at {path}: there is no such file") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path} is not TOML: {error}") from None


def _plan(args: argparse.Namespace) -> int:
    told = (args.mean, args.sd, abs(args.lift), args.daily_users, args.window_days, args.share)
    if not (all(1e-9 <= one <= 1e15 for one in told) and args.share <= 0.5 and 1 <= args.looks <= 60):
        raise BadInput(
            "expected a positive mean, sd, lift, daily users, window and share (at most 0.5) and 1 to 60 looks; found "
            f"{', '.join(f'{one:g}' for one in told)} and {args.looks}"
        )
    traffic = power.Traffic((args.share, args.share), args.daily_users, args.window_days)
    found = power.need(args.mean, args.sd, args.lift, traffic, looks=args.looks)
    if args.json:
        print_json(msgspec.to_builtins(found))
        return 0
    OUT.print(f"{found.users_new:,} users in each arm, {found.days:.1f} days; {found.inflation:.2f} times those of one look",
              markup=False, highlight=False)  # fmt: skip
    return 0


def _status(rows: list[dict[str, Any]]) -> None:
    if not rows:
        OUT.print("no experiments yet: `segue experiment start PLAN.toml`", markup=False)
        return
    print_table("", ("experiment", "started", "step", "verdict"),
                [(r["name"], iso(r["started"]), f"{r['step'] + 1} of {r['steps']}", r["verdict"]) for r in rows])  # fmt: skip


def _shared_slates(told: dict[str, Any]) -> str:
    """The preference between two rankers that share slates."""
    counts = f"{told['theirs']:,} heard more of new, {told['ours']:,} more of old, {told['ties']:,} as much of both"
    always, once = (f"[{told[low]:+.3f}, {told[high]:+.3f}]" for low, high in (("always_low", "always_high"), ("low", "high")))
    delta = f"Delta-AB {told['delta']:+.3f} {always} at every look, {once} at one look; sign test p = {told['p']:.3g}"
    return f"of {told['listeners']:,} listeners {counts}: {told['words']}. {delta}"


def _report(found: dict[str, Any]) -> None:
    OUT.print(f"{found['name']}: {found['verdict']}", markup=False, style="bold")
    OUT.print(found["hypothesis"], markup=False, highlight=False)
    if "preference" in found:
        OUT.print(_shared_slates(found["preference"]), markup=False, highlight=False)
    rows = [
        (m["metric"], *(("", "", "", "") if m.get("lift") is None else
         (m["old"], m["new"], f"{m['lift']:+.2%} [{m['low']:+.2%}, {m['high']:+.2%}]",
          f"{m['users_old']:,} / {m['users_new']:,}")),
         m["words"])
        for m in found["metrics"]
    ]  # fmt: skip
    if rows:
        print_table("lift with a 95 % interval of one look; words by the always-valid one",
                    ("metric", "old", "new", "lift", "users", "in words"), rows)  # fmt: skip
    print_table(
        "audit trail", ("when", "by", "what", "why"), [(iso(e["at"]), e["by"], e["what"], e["why"]) for e in found["trail"]]
    )
