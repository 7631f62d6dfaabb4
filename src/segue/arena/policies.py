"""Segue as a policy of the simulator: a home in process, or a server over HTTP; every song heard is logged and folded."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlparse

import numpy as np

from segue import wiring
from segue.core.actions import FINISHED_SHARE, Action
from segue.core.errors import BadInput
from segue.core.hashing import hash64
from segue.core.records import ItemRecord
from segue.core.types import MISSING, Events, Int32, empty_events
from segue.serving.query import RecommendIn
from segue.serving.recommender import Recommender
from segue.simulator.playing import SONG_S, Heard, Plays, Turn


def settle(home: wiring.Home, artist: Int32, n_users: int) -> tuple[Int32, Int32]:
    """The songs and listeners of a world into the catalogue: dense ids of both. Song 7 is item "7", listener 3 user "3"."""
    wanted = [str(user) for user in range(n_users)]
    records = [ItemRecord(str(i), title=f"song {i}", artist=f"artist {a}", duration_s=SONG_S) for i, a in enumerate(artist)]
    return home.catalogue.put_items(records), home.catalogue.users.intern(wanted)


def rows_of(plays: Plays, items: Int32, users: Int32) -> Events:
    """Plays as rows of the log: the share heard of songs of SONG_S seconds, completed from FINISHED_SHARE on, else skipped."""
    events = empty_events(len(plays))
    session = sessions_of(plays.user, plays.session)
    events["key_hi"] = session
    events["key_lo"] = plays.position.astype(np.uint64) + np.uint64(1)
    events["body"] = 1
    events["at"] = plays.at
    events["session"] = session
    events["user"], events["item"] = users[plays.user], items[plays.item]
    events["played_s"], events["duration_s"] = plays.share * np.float32(SONG_S), SONG_S
    done = plays.share >= FINISHED_SHARE
    events["action"] = np.where(done, int(Action.COMPLETED), int(Action.SKIPPED))
    return events


def sessions_of(
    users: Int32, numbers: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    """The hash under which the log knows each session, of its name "user-number"."""
    keys, where = np.unique(users.astype(np.int64) << 32 | numbers, return_inverse=True)
    names = [hash64(name_of(int(key) >> 32, int(key) & 0xFFFFFFFF)) for key in keys.tolist()]
    return np.array(names, np.uint64)[where]


def name_of(user: int, number: int) -> str:
    """What a session is called."""
    return f"{user}-{number}"


class HomePolicy:
    """The real recommender on a home in process: the whole request path, and an ingest that is durable before it goes on.

    discovery=1: the listener of such a world wants songs that are new; None: the share that is learned. See RecommendIn.
    `recommender` in place of the home's own.
    """

    def __init__(
        self, home: wiring.Home, items: Int32, users: Int32, *, name: str = "segue", discovery: float | None = 1.0,
        recommender: Recommender | None = None,
    ) -> None:  # fmt: skip
        self.name, self.discovery, self._home = name, discovery, home
        self._items, self._users = items, users
        self._number = np.full(int(items.max()) + 1, MISSING, np.int32)
        self._number[items] = np.arange(len(items), dtype=np.int32)
        self._ingest, self._maker = home.ingest(), wiring.maker_of(home)
        self._recommender: Recommender = recommender or wiring.recommender_of(home)

    def slate(self, turn: Turn, size: int) -> Int32:
        """One request each."""
        out = np.full((len(turn.rows), size), MISSING, np.int32)
        for row, (user, session, at) in enumerate(
            zip(turn.user.tolist(), turn.session.tolist(), turn.at.tolist(), strict=True)
        ):
            wanted = RecommendIn(user=str(user), session=name_of(user, session), limit=size, discovery=self.discovery)
            query, _ = self._maker.make(wanted, at, hash64(f"{user} {session} {turn.step}") >> 1)
            picked = self._recommender.recommend(query).slate.items
            out[row, : len(picked)] = self._number[picked]
        return out

    def heard(self, heard: Heard) -> None:
        """Durable in the log and folded into the state when it returns."""
        turn = heard.turn
        at = turn.at + (heard.shares * (SONG_S * 1000)).astype(np.int64)
        step = np.full(len(turn.rows), turn.step, np.int32)
        plays = Plays(turn.rows, turn.user, turn.session, step, heard.items, heard.shares, at)
        self._ingest.submit_columns(rows_of(plays, self._items, self._users)).result()

    def close(self) -> None:
        """Let the workers go; the home stays open."""
        self._recommender.close()


class HttpPolicy:
    """A server with its botify routes switched on, asked one request at a time over one connection."""

    def __init__(self, url: str) -> None:
        parts = urlparse(url)
        if parts.scheme != "http" or not parts.hostname:
            raise BadInput(f"--policy: expected http://HOST:PORT of a server, found {url!r}", "policy")
        self.name = url
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=60)

    def slate(self, turn: Turn, size: int) -> Int32:
        """POST /next/{user} with the song before and how much of it was heard."""
        if size != 1:
            raise BadInput("a server is asked for one song at a time: leave --slate at 1", "slate")
        rows = zip(turn.user.tolist(), turn.item.tolist(), turn.share.tolist(), strict=True)
        return np.array([[self._ask(f"/next/{user}", item, share)] for user, item, share in rows], np.int32)

    def heard(self, heard: Heard) -> None:
        """The last song of a session goes to POST /last/{user}; the others are told with the next request."""
        over = ~heard.going
        rows: Sequence[tuple[int, int, float]] = list(
            zip(heard.turn.user[over].tolist(), heard.items[over].tolist(), heard.shares[over].tolist(), strict=True)
        )
        for user, item, share in rows:
            self._ask(f"/last/{user}", item, share)

    def _ask(self, path: str, track: int, time: float) -> int:
        self._connection.request("POST", path, json.dumps({"track": track, "time": time}), {"content-type": "application/json"})
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            said = body.decode(errors="replace")[:300]
            raise BadInput(f"{self.name}{path} answered {answer.status}: {said}; is [botify] enabled there?", "policy")
        return int(json.loads(body)["track"])

    def close(self) -> None:
        """Hang up."""
        with suppress(OSError):
            self._connection.close()
