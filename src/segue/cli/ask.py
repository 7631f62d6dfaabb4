"""`segue recommend`, `similar` and `explain`: ask the models from the command line, no server needed."""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

import msgspec

from segue import wiring
from segue.cli import explain
from segue.cli.output import ERR, add_json, plain_text, print_json, print_table
from segue.core.errors import BadInput, NotFound
from segue.core.hashing import request_text
from segue.core.types import MISSING
from segue.serving import neighbours
from segue.serving.query import ContextIn, RecommendIn, SeedsIn


def add_commands(commands: Any) -> None:
    """Add recommend, similar and explain."""
    ask = commands.add_parser("recommend", help="one slate, with reasons")
    ask.add_argument("user")
    ask.add_argument("--limit", type=int, default=10)
    ask.add_argument("--seed", action="append", default=[], metavar="ITEM", help="start from this song; may be repeated")
    ask.add_argument("--artist", action="append", default=[], help="start from this artist; may be repeated")
    ask.add_argument("--tag", action="append", default=[], help="start from this tag; may be repeated")
    ask.add_argument("--discovery", type=float, help="share of never-heard songs, 0 to 1; learned when not given")
    ask.add_argument("--region", help="where the listener is")
    ask.add_argument("--at", help="as of this moment, ISO 8601 or Unix seconds")
    add_json(ask)
    ask.set_defaults(run=recommend)
    explain.add_commands(commands)
    near = commands.add_parser("similar", help="neighbours of a song")
    near.add_argument("item", help="its id, or a file of a scanned folder")
    near.add_argument("--by", choices=("sound", "listeners"), default="listeners")
    near.add_argument("--limit", type=int, default=10)
    add_json(near)
    near.set_defaults(run=similar)


def recommend(args: argparse.Namespace) -> int:
    """One slate, printed; it is not logged as shown, for nobody heard it."""
    given = {
        "user": args.user,
        "limit": args.limit,
        "discovery": args.discovery,
        "seeds": msgspec.to_builtins(SeedsIn(args.seed, args.artist, args.tag)),
        "context": msgspec.to_builtins(ContextIn(region=args.region, at=args.at)),
    }
    try:
        wanted = msgspec.convert(given, RecommendIn)
    except msgspec.ValidationError as error:
        raise BadInput(str(error)) from None
    with wiring.open_home(args.home, args.config, writer=False) as home:
        now = time.time_ns() // 1_000_000
        recommender = wiring.recommender_of(home, patient=True)
        query, warnings = wiring.maker_of(home).make(wanted, now, now << 20)
        if query.user == MISSING:
            warnings.insert(0, f"{args.user!r} is not known here: this is what a newcomer hears")
        slate = recommender.recommend(query).slate
        recommender.close()
        rows = list(zip(home.catalogue.items.all(slate.items), home.catalogue.titles(slate.items), strict=True))
        items = [
            {"id": name, "title": title, "artist": artist, "score": score, "sources": sources, "reason": reason}
            for (name, (title, artist)), score, sources, reason in zip(
                rows, slate.scores.tolist(), slate.sources, slate.reasons, strict=True
            )
        ]
    if args.json:
        print_json({"request_id": request_text(slate.request_id), "rung": slate.rung, "warnings": warnings, "items": items})
        return 0
    for warning in warnings:
        ERR.print(f"warning: {warning}", highlight=False, markup=False)
    columns = ("", "title", "artist", "id", "why", "sources")
    print_table(
        f"for {args.user} ({slate.rung})",
        columns,
        [(i + 1, x["title"], x["artist"], x["id"], x["reason"], ", ".join(x["sources"])) for i, x in enumerate(items)],
    )
    return 0


def similar(args: argparse.Namespace) -> int:
    """The neighbours of a song."""
    if not 1 <= args.limit <= 1000:
        raise BadInput(f"--limit: expected 1 to 1000, found {args.limit}")
    with wiring.open_home(args.home, args.config, writer=False) as home:
        dense = _song(home, args.item)
        found = neighbours.similar(wiring.model_of(home), args.by, dense, args.limit)
        if args.by == "sound" and not len(found):
            why = f"{args.item!r} has no sound vector" if len(home.vectors) else "no song has a sound vector yet"
            raise NotFound(f"{why}: `segue scan FOLDER` makes them from audio files; or try --by listeners")
        rows = zip(
            home.catalogue.items.all(found.items), home.catalogue.titles(found.items), found.scores.tolist(), strict=True
        )
        items = [{"id": name, "title": title, "artist": artist, "score": score} for name, (title, artist), score in rows]
    if args.json:
        print_json({"item": plain_text(args.item), "by": args.by, "items": items})
        return 0
    if not items:
        ERR.print("nobody has listened to it beside other songs, as far as the models know; try --by sound", highlight=False)
    print_table(
        f"close to {plain_text(args.item)}, by {args.by}",
        ("title", "artist", "id", "score"),
        [tuple(x[c] for c in ("title", "artist", "id", "score")) for x in items],
    )
    return 0


def _song(home: wiring.Home, name: str) -> int:
    """The dense id of an item by its id, or by a file that was scanned; NotFound, with what to do, for others."""
    dense = int(home.catalogue.items.find([plain_text(name)])[0])
    if dense == MISSING and os.path.isfile(name):
        path = os.path.realpath(os.fsencode(name))
        (file,) = home.recordings.files([path])
        if file is None:
            raise NotFound(f"{plain_text(name)!r} was not scanned: `segue scan` the folder that it is in")
        if file.refused:
            raise NotFound(f"{plain_text(name)!r} could not be read when it was scanned: {file.refused}")
        dense = int(home.catalogue.items.find([file.item])[0])
    if dense == MISSING:
        near = home.catalogue.search(plain_text(name), 3)
        told = [
            f"{home.catalogue.items.name(int(item))!r} ({title})" if title else repr(home.catalogue.items.name(int(item)))
            for item, (title, _) in zip(near, home.catalogue.titles(near), strict=True)
        ]
        hint = f"; did you mean {' or '.join(told)}?" if told else ""
        raise NotFound(f"no item {plain_text(name)!r} in {home.path}{hint}")
    return dense
