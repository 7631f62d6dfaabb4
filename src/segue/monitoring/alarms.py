"""Alarms as a durable record: opened, made graver, told and closed, each entry once, the state nothing but their sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

Level = Literal["warning", "alarm"]


class Signal(msgspec.Struct, frozen=True):
    """What a rule says now: something is off."""

    rule: str
    subject: str
    level: Level
    since: int  # ms, when it began as far as can be told
    words: str  # what is off, by how much
    look: str  # where to look
    value: float | None = None
    expected: float | None = None

    @property
    def key(self) -> str:
        """What it is about: one alarm is open for it at a time."""
        return f"{self.rule}/{self.subject}"


class Alarm(msgspec.Struct, frozen=True):
    """An alarm as it stands."""

    number: int
    signal: Signal
    opened: int  # ms
    first: str  # what changed first, in words
    closed: int = 0  # ms, 0 = open
    told: bool = False  # the webhook has it
    level: Level = "warning"


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the record."""

    at: int
    kind: Literal["open", "graver", "told", "close"]
    number: int
    signal: Signal | None = None
    first: str = ""


class Journal(Protocol):
    """Where the record is written: storage/journal.py."""

    def append(self, record: bytes, *, after: int | None = None) -> bool:
        """Durable when it returns; False when the journal has grown past `after`."""
        ...

    def read(self) -> tuple[list[bytes], int]:
        """Every record, and where the journal ends."""
        ...


QUIET_MS = 6 * 3_600_000
"""How long a rule must have been silent before its alarm is closed: what flickers is one alarm, not twenty."""


class Ledger:
    """The alarms of a home."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._alarms: list[Alarm] = []
        self._end = -1
        self._heard: dict[str, int] = {}  # key -> ms when its rule last spoke
        self.refresh()

    def refresh(self) -> None:
        """Take in what other processes wrote."""
        records, end = self._journal.read()
        if end == self._end:
            return
        alarms: list[Alarm] = []
        for record in records:
            _fold(alarms, msgspec.json.decode(record, type=Entry))
        self._alarms, self._end = alarms, end

    def all(self) -> list[Alarm]:
        """Newest first."""
        return self._alarms[::-1]

    def open(self) -> list[Alarm]:
        """Those that are open, newest first."""
        return [alarm for alarm in self.all() if not alarm.closed]

    def hear(self, signals: Sequence[Signal], now: int) -> list[Alarm]:
        """Write down what is new or graver, close what has been quiet; the alarms that people must hear of."""
        self.refresh()
        mine = {alarm.signal.key: alarm for alarm in self.open()}
        out = []
        for signal in sorted(signals, key=lambda s: (s.since, s.key)):
            self._heard[signal.key] = now
            known = mine.get(signal.key)
            if known is None:
                number = len(self._alarms)
                self._write(Entry(now, "open", number, signal, first_of(signals, signal)))
                out.append(self._alarms[number])
            elif known.level == "warning" and signal.level == "alarm":
                self._write(Entry(now, "graver", known.number, signal, first_of(signals, signal)))
                out.append(self._alarms[known.number])
        for key, alarm in mine.items():
            if now - self._heard.setdefault(key, now) >= QUIET_MS:
                self._write(Entry(now, "close", alarm.number))
        return out

    def told(self, number: int, now: int) -> None:
        """The webhook has it."""
        self._write(Entry(now, "told", number))

    def untold(self) -> list[Alarm]:
        """Open alarms that the webhook has not got, oldest first."""
        return [alarm for alarm in self._alarms if not alarm.told and not alarm.closed]

    def _write(self, entry: Entry) -> None:
        self._journal.append(msgspec.json.encode(entry))
        self.refresh()


def _fold(alarms: list[Alarm], entry: Entry) -> None:
    change = msgspec.structs.replace
    if entry.kind == "open":
        assert entry.signal is not None
        alarms.append(Alarm(len(alarms), entry.signal, entry.at, entry.first, level=entry.signal.level))
        return
    before = alarms[entry.number]
    if entry.kind == "graver":
        assert entry.signal is not None
        alarms[entry.number] = change(before, signal=entry.signal, first=entry.first, level=entry.signal.level, told=False)
    elif entry.kind == "told":
        alarms[entry.number] = change(before, told=True)
    else:
        alarms[entry.number] = change(before, closed=entry.at)


NEAR_MS = 3 * 86_400_000
"""How long before a signal another one may have begun to be named as what changed first."""
DEPTH = ("model", "events", "source", "feature", "missing", "drift", "segment", "metric")
TOGETHER_MS = 86_400_000
"""Causes before consequences: between signals that began within the same day, the deeper one is named."""


def first_of(signals: Sequence[Signal], about: Signal) -> str:
    """What changed first among everything that is off around this signal."""
    near = [s for s in signals if abs(s.since - about.since) <= NEAR_MS or s.key == about.key]
    early = min(s.since for s in near)
    together = [s for s in near if s.since - early <= TOGETHER_MS]
    depth = {rule: place for place, rule in enumerate(DEPTH)}
    first = min(together, key=lambda s: (depth.get(s.rule, len(DEPTH)), s.since, s.key))
    return first.words


def page(alarms: Sequence[Alarm]) -> list[dict[str, object]]:
    """As JSON shows them."""
    out = []
    for alarm in alarms:
        row: dict[str, object] = msgspec.to_builtins(alarm.signal)
        row |= {"number": alarm.number, "level": alarm.level, "opened": alarm.opened, "closed": alarm.closed or None}
        out.append(row | {"first": alarm.first, "told": alarm.told})
    return out
