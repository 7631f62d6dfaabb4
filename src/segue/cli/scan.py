"""`segue scan`: a folder of music into catalogue and vectors, once or for as long as it is watched."""

from __future__ import annotations

import argparse
import signal
import threading
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from segue import wiring
from segue.cli.output import ERR, OUT, Bar, Told, add_json, plain_text, print_json
from segue.library.scan import Scan, Summary
from segue.library.walk import Watch

POLL_S = 0.5
"""Between two looks at the folders that are watched; longer where a look takes long."""
ALL_S = 60.0
"""Between two looks at every file of them."""


def add_commands(commands: Any) -> None:
    """Add scan."""
    scan = commands.add_parser("scan", help="a music folder into catalogue and vectors")
    scan.add_argument("folder", type=Path)
    scan.add_argument("--watch", action="store_true", help="stay, and take in what is new within seconds, until told to stop")
    add_json(scan)
    scan.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Scan, say what was found, and watch on when asked."""
    stop = threading.Event()
    before = {number: signal.signal(number, _stopper(stop)) for number in _signals()}
    try:
        with wiring.open_home(args.home, args.config, writer=False) as home:
            return _run(args, home, stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(args: argparse.Namespace, home: wiring.Home, stop: threading.Event) -> int:
    since, refused = time.monotonic(), args.home / "unreadable.jsonl"
    folders: dict[bytes, int] = {}
    with Bar() as bar:
        shown = Told(bar)
        scan = Scan(home.shelf, args.folder, shown.tell, stop.is_set)
        try:
            summary = scan.run(folders)
        finally:
            scan.close()
    _write_refused(refused, summary)
    fitted = home.shelf.serving()
    facts = {key: value for key, value in asdict(summary).items() if key != "refused"}
    facts |= {"seconds": round(time.monotonic() - since, 2), "encoder": fitted.version if fitted else None}
    facts |= {"songs": len(home.recordings), "unreadable_file": str(refused) if summary.refused else None}
    if args.json:
        print_json(facts)
    else:
        _show(summary, facts)
    if args.watch and not stop.is_set():
        _watch(home, args.folder, Watch(scan.root, folders), stop)
    return 0


def _watch(home: wiring.Home, folder: Path, watch: Watch, stop: threading.Event) -> None:
    """Take in what changes until told to stop; every file is looked at once in a while."""
    ERR.print(f"watching {folder}; Ctrl-C ends it", highlight=False, markup=False)
    scan, last, took = Scan(home.shelf, folder, _quiet, stop.is_set), time.monotonic(), 0.0
    try:
        while not stop.wait(max(POLL_S, 10 * took)):
            since = time.monotonic()
            scan.summary = Summary()
            changed = watch.changed(time.time_ns())
            if scan.take_in(changed, len(changed)):
                home.shelf.keep_up(_quiet)
                _tell(scan.summary)
            took = time.monotonic() - since if not scan.summary.opened else 0.0
            if time.monotonic() - last > max(ALL_S, 100 * took):
                scan.summary = Summary()
                scan.run(watch.folders)
                last = time.monotonic()
                if scan.summary.opened or scan.summary.gone:
                    _tell(scan.summary)
    finally:
        scan.close()


def _quiet(what: str, done: int, total: int) -> None:
    """A watcher says what it took in, not how far it is."""


def _tell(summary: Summary) -> None:
    said = [(summary.new, "new"), (summary.known, "known"), (summary.gone, "gone"), (summary.unreadable, "unreadable")]
    ERR.print(", ".join(f"{count} {what}" for count, what in said if count) or "nothing new", highlight=False, markup=False)
    for path, reason in summary.refused:
        ERR.print(f"  {plain_text(path)}: {reason}", highlight=False, markup=False, soft_wrap=True)


def _show(summary: Summary, facts: dict[str, Any]) -> None:
    counts = (
        (summary.new, "new recordings"),
        (summary.known, "changed, moved or doubled: known by their sound"),
        (summary.unchanged, "as they were"),
        (summary.gone, "gone: not played until they come back"),
        (summary.unreadable, f"unreadable: {facts['unreadable_file']} says which and why"),
    )
    speed = summary.heard_s / max(facts["seconds"], 1e-9)
    lines = [f"{summary.files:,} files in {facts['seconds']:.1f} s ({speed:,.0f} times real time)"]
    lines += [f"{number:>10,} {text}" for number, text in counts if number]
    lines.append(
        f"{facts['songs']:,} songs in the library, heard with {facts['encoder']}"
        if facts["encoder"]
        else f"no vectors yet: {_why_none(facts['songs'])}"
    )
    OUT.print("\n".join(lines), highlight=False, markup=False)
    for path, reason in summary.refused[:5]:
        OUT.print(f"  {plain_text(path)}: {reason}", highlight=False, markup=False, soft_wrap=True)


def _why_none(songs: int) -> str:
    """Why no encoder serves after a scan."""
    if songs < 2:
        return "an encoder learns from 2 songs of more than 3 s at least"
    return "the songs are too short to learn from, or another scan is learning from them now"


def _write_refused(path: Path, summary: Summary) -> None:
    if not summary.refused:
        path.unlink(missing_ok=True)
        return
    lines = (msgspec.json.encode({"path": plain_text(name), "reason": reason}) for name, reason in summary.refused)
    path.write_bytes(b"\n".join(lines) + b"\n")


def _signals() -> tuple[signal.Signals, ...]:
    """What ends a scan between two files; handlers can be set in the main thread only."""
    here = threading.current_thread() is threading.main_thread()
    return (signal.SIGINT, signal.SIGTERM) if here else ()


def _stopper(stop: threading.Event) -> Any:
    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt  # asked twice: at once
        stop.set()

    return handle
