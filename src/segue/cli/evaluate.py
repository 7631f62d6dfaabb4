"""`segue evaluate`: what the models that serve are worth, overall, by listener and by day since training."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from segue import wiring
from segue.cli.output import OUT, Bar, add_json, print_json, print_table
from segue.core.clock import iso, parse_time
from segue.core.errors import BadInput
from segue.evaluation.logged import judge_logged
from segue.evaluation.segments import LEAST
from segue.training.judged import judge_since
from segue.training.nightly import Settings

Row = dict[str, Any]
METRICS = ("recall", "precision", "f1", "ndcg", "map", "mar", "hit", "mrr")


def add_commands(commands: Any) -> None:
    """Add evaluate."""
    judged = commands.add_parser("evaluate", help="off-line figures of what serves, beside popularity and random")
    judged.add_argument(
        "--protocol",
        choices=("held-out", "live", "off-policy"),
        default="held-out",
        help="held-out: what the night found on the days it held back, as stored with the model (the default); "
        "live: judge the stored model now, on what listeners did after it was trained; "
        "off-policy: judge the new arm of an experiment from slates that others were shown",
    )
    judged.add_argument(
        "--model", metavar="WHICH", default="champion", help="champion (default), previous, challenger or a version"
    )
    judged.add_argument("--as-of", metavar="TIME", help="live, off-policy: look at nothing from this moment on (default now)")
    judged.add_argument("--experiment", metavar="NAME", help="off-policy: whose new arm (shadow step included)")
    judged.add_argument("--places", type=int, default=1, help="off-policy: judge so many places of each slate (default 1)")
    judged.add_argument(
        "--all", action="store_true", help="every metric of every model, not only those of the radio and baselines"
    )
    add_json(judged)
    judged.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """One or the other protocol."""
    with wiring.open_home(args.home, args.config, writer=False) as home:
        if args.protocol == "off-policy":
            found = off_policy(home, args)
        else:
            found = live(home, args) if args.protocol == "live" else held_out(home, args.model)
    if args.json:
        print_json(found)
    elif args.protocol == "off-policy":
        show_off_policy(found)
    else:
        show(found, everything=args.all)
    return 0


def moment(text: str | None) -> int:
    """--as-of in ms; now where it is not given."""
    try:
        return parse_time(text) if text else time.time_ns() // 1_000_000
    except (ValueError, OverflowError):
        raise BadInput(f"--as-of: expected ISO 8601 or Unix seconds, found {text!r}") from None


def off_policy(home: wiring.Home, args: argparse.Namespace) -> Row:
    """Judge the new arm of an experiment from what was shown since it started."""
    if not args.experiment:
        raise BadInput("--experiment: expected the name of an experiment, found none; `segue experiment status` lists them")
    if args.places < 1:
        raise BadInput(f"--places: expected at least 1, found {args.places}")
    experiment = home.book().get(args.experiment)
    found = judge_logged(home.log, args.experiment, experiment.started, moment(args.as_of), places=args.places)
    row: Row = {"protocol": "off-policy", "experiment": args.experiment, "places": args.places}
    row |= {"slates": found.slates, "listeners": found.listeners}
    if found.judgement is None:
        why = "no slate tells what the new arm would have done: listeners must come while it runs (in shadow is enough)"
        return row | {"verdict": "not informative", "reasons": [why]}
    said = found.judgement
    estimates = {"logged": said.logging, "IPS": said.ips, "SNIPS": said.snips, "doubly robust": said.dr}
    estimates["doubly robust less logged"] = said.difference
    return row | {
        "verdict": said.verdict,
        "reasons": list(said.reasons),
        "effective": said.overlap.effective,
        "mean_weight": said.overlap.mean,
        "mean_weight_se": said.overlap.mean_se,
        "estimates": {name: {"mean": e.mean, "low": e.low, "high": e.high} for name, e in estimates.items()},
        "segments": {name: {"mean": e.mean, "low": e.low, "high": e.high} for name, e in said.segments.items()},
    }


def show_off_policy(found: Row) -> None:
    """The verdict, then what stands behind it."""
    OUT.print(f"{found['experiment']}, from slates that others were shown: {found['verdict']}", markup=False, style="bold")
    for reason in found["reasons"]:
        OUT.print(reason, markup=False, highlight=False)
    if "estimates" not in found:
        return
    OUT.print(f"{found['slates']:,} slates of {found['listeners']:,} listeners, the first {found['places']} places; "
              f"{found['effective']:.0f} effective; weights average {found['mean_weight']:.3f}",
              markup=False, highlight=False)  # fmt: skip
    parts = {**found["estimates"], **{f"difference on {name}": e for name, e in found["segments"].items()}}
    rows = [(name, f"{e['mean']:.4f} [{e['low']:.4f}, {e['high']:.4f}]") for name, e in parts.items()]
    print_table("share of shown songs that are heard to the end, liked or saved, 95 % intervals", ("", "a place"), rows)


def version_of(home: wiring.Home, which: str) -> str:
    """The version behind an alias, or that version; NotReady when the alias points at nothing."""
    registry = home.registry()
    return registry.bundle(which).version if which in ("champion", "previous", "challenger") else which


def held_out(home: wiring.Home, which: str) -> Row:
    """What the night stored with a bundle."""
    bundle = home.registry().open(version_of(home, which))
    manifest = bundle.manifest
    return {
        "protocol": "held-out",
        "version": bundle.version,
        "data": manifest.get("data", {}),
        "figures": manifest.get("figures", []),
        "quality": manifest.get("quality"),
        "notes": manifest.get("notes", []),
    }


def live(home: wiring.Home, args: argparse.Namespace) -> Row:
    """Judge a bundle on what came after its training; the judgement of the champion is kept for the page."""
    now = moment(args.as_of)
    version = version_of(home, args.model)
    settings = Settings(**wiring.questions(home))
    with Bar() as bar:
        recipe = wiring.recipe_of(home)
        judged = judge_since(
            home.log, home.catalogue, home.artifacts, recipe, version, settings, now=now, progress=bar
        )  # fmt: skip
    plain: Row = msgspec.to_builtins(judged)
    if version == home.registry().version():
        stored = home.artifacts.put(wiring.JUDGED, {}, plain)
        home.artifacts.set_aliases(wiring.JUDGED, {wiring.LATEST: stored})
        home.artifacts.prune(wiring.JUDGED, 1)
    return {"protocol": "live", **plain}


def show(found: Row, *, everything: bool) -> None:
    """The tables of a terminal."""
    figures, quality = found["figures"], found["quality"]
    if not figures:
        OUT.print(f"model {found['version']} was not evaluated by its night", markup=False, highlight=False)
    else:
        OUT.print(_headline(found), markup=False, highlight=False)
    models = list(dict.fromkeys(f["model"] for f in figures))
    if not everything:
        models = [m for m in models if m in ("radio", "champion", "most played", "random")]
    for k in sorted({int(f["metric"].rpartition("@")[2]) for f in figures}):
        names = [f"{metric}@{k}" for metric in METRICS] + [f"next hit@{k}", f"next mrr@{k}"]
        _figures(f"at {k} places, means with 95 % intervals", figures, models, names)
    besides = [f["metric"] for f in figures if f["model"] == "radio" and f["metric"].startswith(("novelty", "tag", "artists"))]
    if figures:
        _figures("besides being right, each list", figures, models, besides)
    if quality is None:
        OUT.print("nothing by listener or by day: this model is of an older version; `segue train` measures it", markup=False)
        return
    _spreads(quality["spreads"], models)
    parts = [*quality["segments"], *quality["days"]]
    titles = {"listening": "by time with the service", "day": "by day since training (0 = the first 24 hours)"}
    for dimension in dict.fromkeys(p["dimension"] for p in parts):
        _parts(titles.get(dimension, f"by {dimension}"), [p for p in parts if p["dimension"] == dimension])
    if not all(p["enough"] for p in parts):
        OUT.print(f"* fewer than {LEAST} listeners: too few to trust the interval", markup=False, highlight=False)


def _headline(found: Row) -> str:
    """What was asked of whom."""
    data = found["data"]
    users = data.get("test_users", 0)
    if found["protocol"] == "live":
        said = f"on what came after its training, {iso(data['trained_to_ms'])} to {iso(data['to_ms'])}"
    else:
        said = f"as its night fitted it up to {iso(data['cut_ms'])}, on the days held back after that"
    return f"model {found['version']} {said}: {users:,} listeners"


def _figures(title: str, figures: Sequence[Row], models: Sequence[str], metrics: Sequence[str]) -> None:
    """One table: metrics down, models across."""
    cells = {(f["model"], f["metric"]): _cell(f) for f in figures}
    there = [metric for metric in metrics if any((model, metric) in cells for model in models)]
    rows = [(metric, *(cells.get((model, metric), "") for model in models)) for metric in there]
    if rows:
        print_table(title, ("", *models), rows)


def _cell(f: Row, digits: int = 4) -> str:
    """0.1234 [0.1200, 0.1300]; empty where nobody has a value."""
    if f["mean"] is None or f["mean"] != f["mean"]:
        return ""
    return f"{f['mean']:.{digits}f} [{f['low']:.{digits}f}, {f['high']:.{digits}f}]"


def _spreads(spreads: Sequence[Row], models: Sequence[str]) -> None:
    rows = [(s["model"], s["k"], s["lists"], s["coverage"] or 0.0, s["gini"] or 0.0) for s in spreads if s["model"] in models]
    if rows:
        print_table("besides being right, all lists together", ("", "places", "lists", "coverage", "Gini"), rows)


def _parts(title: str, parts: Sequence[Row]) -> None:
    """A table a dimension: groups down, metrics of the radio across, the baseline's first metric beside them."""
    cells = {(p["group"], p["model"], p["metric"]): p for p in parts}
    groups = list(dict.fromkeys(p["group"] for p in parts))
    metrics = list(dict.fromkeys(p["metric"] for p in parts))
    columns = [("radio", metric) for metric in metrics] + [("most played", metric) for metric in metrics[:1]]
    rows = []
    for group in groups:
        mine = [cells.get((group, *column)) for column in columns]
        rows.append((group, max(p["users"] for p in mine if p), *("" if p is None else _doubted(p) for p in mine)))
    if rows:
        print_table(title, ("", "listeners", *(f"{model} {metric}" for model, metric in columns)), rows)


def _doubted(p: Row) -> str:
    """The figure, marked where too few listeners stand behind it."""
    return _cell(p, 3) + ("" if p["enough"] else " *")
