"""Segue in the city: a home that begins with what a plain policy played, hears of songs as they arrive, learns every night."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from segue import wiring
from segue.arena.policies import HomePolicy, rows_of
from segue.core.clock import DAY_MS
from segue.core.records import ItemRecord
from segue.core.types import MISSING, Int32
from segue.simulator.city import START_MS, City
from segue.simulator.playing import SONG_S, Plays, Turn
from segue.training.report import Progress

EARLIER = 1_000_000
"""Added to the session numbers of what is learned from before day 0."""


class InCity(HomePolicy):
    """The real recommender in a city of its own, day after day; `nightly` False: it keeps the model of the first night.

    logs: plays of a city's first days by another policy; they become the days before day 0. A night is one as `segue train`
    runs it: what is not better is not promoted. Songs are put into the catalogue on the day on which they arrive.
    """

    def __init__(self, home: wiring.Home, city: City, logs: Plays, bar: Progress, *, name: str, nightly: bool = True) -> None:
        self._city, self._bar, self._nightly = city, bar, nightly
        self._day, self._known = 0, 0
        self.promoted: list[int] = []  # days whose night found a better model
        self._listeners = home.catalogue.users.intern([str(user) for user in range(city.n_users)])
        self._arrived = np.zeros(0, np.int32)
        self._put(home, 0)
        before = DAY_MS * (int(logs.session.max(initial=0)) + 1)
        shifted = replace(logs, session=logs.session + EARLIER, at=logs.at - before)
        home.log.append(rows_of(shifted, self._arrived, self._listeners))
        home.catch_up()
        wiring.night(home, START_MS, bar, force=True)
        super().__init__(home, self._arrived, self._listeners, name=name, discovery=None)

    def _put(self, home: wiring.Home, day: int) -> None:
        """Songs that have arrived by a day into the catalogue; they are numbered in the order in which they arrive."""
        until = int(np.searchsorted(self._city.released, day, side="right"))
        records = [self._record(song) for song in range(self._known, until)]
        self._arrived = np.concatenate((self._arrived, home.catalogue.put_items(records)))
        self._known = until

    def _record(self, song: int) -> ItemRecord:
        day = int(self._city.released[song])
        date = datetime.fromtimestamp((START_MS + day * DAY_MS) / 1000, UTC).date().isoformat() if day else None
        artist = f"artist {self._city.artist[song]}"
        return ItemRecord(str(song), title=f"song {song}", artist=artist, duration_s=SONG_S, released=date)

    def slate(self, turn: Turn, size: int) -> Int32:
        """As HomePolicy; before the first request of a day come the songs that arrived and the night."""
        day = int(turn.session[0])
        if day > self._day:
            self._day = day
            self._morning(day)
        return super().slate(turn, size)

    def _morning(self, day: int) -> None:
        if self._city.released[-1] >= day and day % 7 == 0:
            self._put(self._home, day)
            self._items = self._arrived
            self._number = np.full(int(self._items.max()) + 1, MISSING, np.int32)
            self._number[self._items] = np.arange(len(self._items), dtype=np.int32)
        if self._nightly:
            report = wiring.night(self._home, START_MS + day * DAY_MS, self._bar)
            if report.promoted:
                self.promoted.append(day)
                self._recommender.swap(wiring.model_of(self._home))
                self._maker.learn(wiring.discovery_of(self._home))
