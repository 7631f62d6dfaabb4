"""`segue monitor`: what a server's monitor sees, read from the same log and the same record of alarms."""

from __future__ import annotations

import argparse
import time
from typing import Any

from segue import wiring
from segue.cli.output import OUT, add_json, print_json, print_table
from segue.core.clock import iso, parse_time
from segue.core.errors import BadInput


def add_commands(commands: Any) -> None:
    """Add monitor."""
    monitor = commands.add_parser("monitor", help="alarms, key metrics against their season, drift, the model's health")
    monitor.add_argument("--as-of", metavar="TIME", help="look as of then (default now); nothing is written down")
    add_json(monitor)
    monitor.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read the log, ask the rules, print; only a server opens and closes alarms."""
    now = time.time_ns() // 1_000_000
    if args.as_of:
        try:
            now = parse_time(args.as_of)
        except ValueError as error:
            raise BadInput(f"--as-of: expected a time such as 2026-03-01T12:00:00Z: {error}", "as_of") from None
    with wiring.open_home(args.home, args.config, writer=False) as home:
        found = wiring.monitor_of(home).status(now, judge=True)
    print_json(found) if args.json else _show(found)
    return 0


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:+.1%}"


def _show(found: dict[str, Any]) -> None:
    open_ = [a for a in found["alarms"] if a["closed"] is None]
    if open_:
        print_table("open alarms", ("since", "level", "what", "first", "look at"),
                    [(iso(a["since"]), a["level"], a["words"], a["first"], a["look"]) for a in open_])  # fmt: skip
    keys = {(a["rule"], a["subject"]) for a in open_}
    fresh = [s for s in found["signals"] if (s["rule"], s["subject"]) not in keys]
    if fresh:
        print_table("what the rules say now", ("since", "level", "what", "look at"),
                    [(iso(s["since"]), s["level"], s["words"], s["look"]) for s in fresh])  # fmt: skip
    if not open_ and not fresh:
        OUT.print("nothing is off", markup=False)
    rows = [
        (m["text"], _last(m, "value"), _last(m, "expected"), _percent(m["off"]), _percent(m["daily_noise"]), _state(m))
        for m in found["metrics"]
    ]
    print_table("key metrics: the last whole day, what was expected, and how far off since the CUSUM rose",
                ("metric", "seen", "expected", "off", "daily noise", ""), rows)  # fmt: skip
    out = [d for d in found["drift"] if d["out"]]
    OUT.print(f"drift: {len(out)} of {len(found['drift'])} quantities outside their band", markup=False, highlight=False)
    model = found["model"]
    if model:
        OUT.print(f"model {model['version']}: learned up to {iso(model['trained_to'])}, {model['age_days']} days ago",
                  markup=False, highlight=False)  # fmt: skip


def _last(metric: dict[str, Any], name: str) -> object:
    days = metric["days"][-2:]
    value = days[0][name] if days else None
    return "" if value is None else value


def _state(metric: dict[str, Any]) -> str:
    if metric["height"] is None or metric["daily_noise"] is None:
        return "too little history"
    return "alarm" if metric["raised"] else "warning" if metric["warned"] else "as usual"
