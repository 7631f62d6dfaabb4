"""`segue explain --request ID` replays a slate; `segue explain USER ITEM` says where a song dropped out."""

from __future__ import annotations

import argparse
import time
from typing import Any

import msgspec

from segue import wiring
from segue.cli.output import ERR, OUT, add_json, print_json, print_table
from segue.core.errors import BadInput, NotFound
from segue.core.types import MISSING
from segue.serving.query import ContextIn, RecommendIn

Row = dict[str, Any]


def add_commands(commands: Any) -> None:
    """Add explain."""
    told = commands.add_parser("explain", help="what made a slate, or at which stage a song that is not in one dropped out")
    told.add_argument("user", nargs="?")
    told.add_argument("item", nargs="?")
    told.add_argument("--request", metavar="ID", help="the slate of this request, as it was shown")
    told.add_argument(
        "--replay", action=argparse.BooleanOptionalAction,
        help="make the slate again from the log and compare it to the bit (unasked up to 3 million events)",
    )  # fmt: skip
    told.add_argument("--limit", type=int, default=10, help="songs of the slate that USER would get (default 10)")
    told.add_argument("--discovery", type=float, help="share of never-heard songs, 0 to 1; learned when not given")
    told.add_argument("--session", help="the session that it would be in")
    told.add_argument("--region", help="where the listener is")
    told.add_argument("--at", help="as of this moment, ISO 8601 or Unix seconds")
    add_json(told)
    told.set_defaults(run=explain)


def explain(args: argparse.Namespace) -> int:
    """One or the other question."""
    if (args.request is None) == (args.user is None) or (args.request is None and args.item is None):
        raise BadInput("expected USER and ITEM, or --request ID")
    with wiring.open_home(args.home, args.config, writer=False) as home:
        recommender = wiring.recommender_of(home, patient=True)
        try:
            answers = wiring.explain_of(home, recommender, home.log.last if args.replay else wiring.REPLAY_UP_TO)
            if args.request is not None:
                found = answers.request(args.request, again=args.replay is not False)
            else:
                found = _song(home, answers, args)
        finally:
            recommender.close()
    if args.json:
        print_json(found)
    elif args.request is not None:
        _show_slate(found)
    else:
        _show_song(found)
    return 0


def _song(home: wiring.Home, answers: Any, args: argparse.Namespace) -> Row:
    item = int(home.catalogue.items.find([args.item])[0])
    if item == MISSING:
        raise NotFound(f"no item {args.item!r} in {args.home}")
    context = msgspec.to_builtins(ContextIn(region=args.region, at=args.at))
    given = {"user": args.user, "limit": args.limit, "discovery": args.discovery, "session": args.session, "context": context}
    try:
        wanted = msgspec.convert(given, RecommendIn)
    except msgspec.ValidationError as error:
        raise BadInput(str(error)) from None
    now = time.time_ns() // 1_000_000
    query, warnings = wiring.maker_of(home).make(wanted, now, now << 20)
    if query.user == MISSING:
        warnings.insert(0, f"{args.user!r} is not known here: this is how the song fares for a newcomer")
    return {"user": args.user, "warnings": warnings, **answers.song(query, item)}


def _show_slate(found: Row) -> None:
    head = [f"{key} {found[key]}" for key in ("user", "at", "policy", "rung", "ranker") if found[key]]
    OUT.print(f"request {found['request_id']}: " + ", ".join(head), markup=False, highlight=False)
    if found["note"]:
        OUT.print(found["note"], markup=False, highlight=False)
    elif found["repeated"] is not None:
        told = "gives the same scores again" if found["repeated"] else "gives OTHER scores now"
        OUT.print(f"the ranker of then {told} from the stored features", markup=False, highlight=False)
    if "replay" in found:
        OUT.print(_replayed(found["replay"]), markup=False, highlight=False)
    rows = [
        (s["place"] + 1, s["title"], f"{s['score']:.4f}", f"{s['propensity']:.4f}{' drawn' if s['explored'] else ''}",
         ", ".join(s["sources"]), s["reason"], _most(s, 3))
        for s in found["items"]
    ]  # fmt: skip
    print_table("the slate", ("", "title", "score", "propensity", "sources", "reason", "moved most (log-odds)"), rows)


def _replayed(again: Row) -> str:
    if again["replayed"] is None:
        return f"not made again: {again['why']}"
    made = f"made again from {again['events_folded']:,} events"
    if again["replayed"]:
        return f"{made}: the same slate to the bit, draws and propensities included"
    return f"{made}: other {', '.join(again['differs'])}; now {', '.join(again.get('items', []))}"


def _show_song(found: Row) -> None:
    for warning in found["warnings"]:
        ERR.print(f"warning: {warning}", highlight=False, markup=False)
    OUT.print(f"{found['item']} for {found['user']}: {found['stage']}: {found['answer']}", markup=False, highlight=False)
    sources = [(s["source"], s.get("place", ""), s.get("would_be") or "") for s in found["sources"]]
    print_table("sources", ("source", "place", "would be, asked deeper"), sources)
    if "rank" in found:
        told = f"ranked {found['rank']} of {found['of']} by {found['ranker']}, score {found['score']:.4f}"
        OUT.print(told, markup=False, highlight=False)
        OUT.print(_most(found, 8), markup=False, highlight=False)


def _most(song: Row, n: int) -> str:
    return ", ".join(f"{f['feature']} {f['moved']:+.2f}" for f in song.get("features", [])[:n])
