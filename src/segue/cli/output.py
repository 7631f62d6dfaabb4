"""What a person sees: tables on standard output, progress on standard error, or one JSON document."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence

import msgspec
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

OUT = Console(width=None if sys.stdout.isatty() else 140)
ERR = Console(stderr=True)


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json: one JSON document on standard output, nothing else."""
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output, nothing else")


def plain_text(name: str) -> str:
    """A name as the system gave it, with "?" for bytes that are no text: it can be printed and looked up."""
    return name.encode("utf-8", "replace").decode()


def print_json(value: object) -> None:
    """One JSON document."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; numbers to the right."""
    texts = [[_text(cell) for cell in row] for row in rows]
    table = Table(title=_text(title) or None, title_justify="left", header_style="bold", pad_edge=False, box=box.SIMPLE_HEAD)
    for place, column in enumerate(columns):
        numeric = bool(texts) and all(_numeric(row[place]) for row in texts)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in texts:
        table.add_row(*row)
    OUT.print(table)


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.4g}" if abs(cell) < 1000 else f"{cell:,.0f}"
    if isinstance(cell, int) and not isinstance(cell, bool):
        return f"{cell:,}"
    return str(cell).replace("[", r"\[")


def _numeric(text: str) -> bool:
    return text.replace(",", "").replace(".", "").replace("-", "").replace("e", "").replace("+", "").isdigit()


class Bar:
    """Progress in phases on standard error: a live bar on a terminal, one line a phase elsewhere.

    Has the shape of training's Progress; `tell(share, text)` serves imports.
    """

    def __init__(self) -> None:
        self._live = ERR.is_terminal
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=ERR,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._started, self._name = time.monotonic(), ""

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()
        if self._live:
            self._progress.stop()

    def phase(self, name: str) -> None:
        """A phase begins; the one before it has ended."""
        self._end()
        self._name, self._started = name, time.monotonic()
        if self._live:
            self._progress.start()  # nothing is drawn before: who tells no phase writes as he likes
            self._task = self._progress.add_task(name, total=None, note="")

    def advance(self, done: int, total: int) -> None:
        """So much of the phase is done."""
        if self._task is not None:
            self._progress.update(self._task, completed=done, total=max(total, 1))

    def tell(self, share: float | None, note: str) -> None:
        """The share done, None when it is not known, and a note."""
        if self._task is not None:
            self._progress.update(
                self._task, completed=(share or 0) * 1000, total=1000 if share is not None else None, note=note
            )

    def _end(self) -> None:
        if not self._name:
            return
        if self._task is not None:
            task = self._progress.tasks[self._progress.task_ids.index(self._task)]
            self._progress.update(self._task, completed=task.total or 1, total=task.total or 1)
        else:
            ERR.print(f"{self._name}: {time.monotonic() - self._started:.1f} s", highlight=False, markup=False)
        self._name, self._task = "", None


class Told:
    """What a scan or a fit tells, as phases of the bar with songs a second; the bar adds the time that is left."""

    def __init__(self, bar: Bar) -> None:
        self._bar, self._what, self._since = bar, "", 0.0

    def tell(self, what: str, done: int, total: int) -> None:
        """So much of this is done."""
        if what != self._what:
            self._bar.phase(what)
            self._what, self._since = what, time.monotonic()
        speed = done / max(time.monotonic() - self._since, 1e-3)
        self._bar.tell(done / total if total else None, f"{done:,} of {total:,}, {speed:,.1f} songs/s" if total > 1 else "")
