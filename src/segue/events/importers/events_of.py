"""Rows of a mapped file as events: one event a row, with the action that its role and its numbers say."""

from __future__ import annotations

import numpy as np

from segue.core.actions import ACTIONS, SKIPPED_SHARE, STARS, Action
from segue.core.clock import parse_time
from segue.core.types import MISSING, Bool, Float32, Int8, Int64, UInt64
from segue.events.checks import LARGEST, POSITION_LIMIT
from segue.events.importers.batch import Coded, EventColumns
from segue.events.importers.columns import Frame
from segue.events.importers.keys import Repeats, chain, hashes, rows_of
from segue.events.importers.mapping import Column, Table
from segue.events.importers.repeats import RepeatedBlocks

SHORT_PLAY_S = 30.0
"""A play of unknown length that was left before is a skip."""
_SEED = np.uint64(0x706C616365)


class EventMaker:
    """Turns the frames of one file into events, in order; keeps what reaches across batches: places and repeated blocks."""

    def __init__(self, table: Table, now: int) -> None:
        self.table, self.now = table, now
        self.places = Repeats()
        self.blocks = RepeatedBlocks()

    def make(self, frame: Frame) -> tuple[EventColumns, Bool, int]:
        """(events, which rows of the frame they come of, rows of repeated blocks); refused rows are flagged in the frame."""
        table = self.table
        session = self._session(frame)
        if self._owned(table):
            frame.check_users(session)
        user = session if self._owned(table) else frame.names(table.spec("user"), "user", needed=True)
        item = frame.names(table.spec("item"), "item", needed=table.role not in ("searches", "events"))
        at = frame.times(_given(table.spec("at")), "at", self.now)
        self._since(frame, at)
        played = frame.seconds(table.spec("played_s"), "played_s")
        duration = frame.seconds(table.spec("duration_s"), "duration_s")
        duration[duration == 0] = np.nan
        action = self._actions(frame, played, duration)
        self._item_needed(frame, item, action)
        value = self._values(frame, action)
        position = self._given_position(frame)
        names = {f: frame.names(table.spec(f), f) for f in ("request_id", "region", "device", "event_id")}
        words = frame.masked_words(table.spec("text"), "text") if table.role in ("searches", "events") else []
        if table.role == "searches":
            frame.flag(np.array([w is None for w in words], np.bool_), lambda _: "text is missing")
        repeated = self._repeated(frame, user, item, session, at)
        good = ~frame.bad & ~repeated
        position = self._order(frame, position, session, user, good)
        if _given(table.spec("at")).spread:
            at = at + np.clip(position, 0, 86_399) * 1000
        columns = EventColumns(
            row=frame.rows[good], user=user.keep(good), item=item.keep(good), action=action[good], at=at[good],
            played_s=_f4(played, good), duration_s=_f4(duration, good), value=_f4(value, good), position=position[good],
            session=session.keep(good), request=names["request_id"].keep(good), region=names["region"].keep(good),
            device=names["device"].keep(good), event_id=names["event_id"].keep(good), texts=_texts(words, good),
        )  # fmt: skip
        frame.bad &= ~repeated
        return columns, good, int(repeated.sum())

    def _since(self, frame: Frame, at: Int64) -> None:
        if self.table.since:
            since = parse_time(self.table.since)
            frame.flag(at < since, lambda _: f"dated before {self.table.since}: another table of the mapping tells these")

    @staticmethod
    def _owned(table: Table) -> bool:
        return table.role == "playlists" and table.spec("user") is None

    def _session(self, frame: Frame) -> Coded:
        if self.table.role != "playlists":
            return frame.names(self.table.spec("session"), "session")
        found = frame.names(self.table.spec("playlist"), "playlist", needed=True)
        return Coded(found.codes, ["playlist:" + v for v in found.values])

    def _actions(self, frame: Frame, played: Frame64, duration: Frame64) -> Int8:
        role = self.table.role
        if role != "plays":
            if role == "events":
                return self._told_actions(frame)
            fixed = {"ratings": Action.RATED, "playlists": Action.SAVED, "searches": Action.SEARCHED}[role]
            return np.full(frame.n, fixed, np.int8)
        skipped = frame.numbers(self.table.spec("skipped"), "skipped")
        return play_actions(played, duration, np.nan_to_num(skipped) > 0)

    def _told_actions(self, frame: Frame) -> Int8:
        coded = frame.names(self.table.spec("action"), "action", needed=True)
        known = np.array([ACTIONS.get(v.lower(), MISSING) for v in coded.values], np.int8)
        action = coded.spread(known, MISSING).astype(np.int8)
        expected = ", ".join(ACTIONS)
        frame.flag(action < 0, lambda row: f"action is {coded.get(row)!r}: expected one of {expected}")
        return action

    @staticmethod
    def _item_needed(frame: Frame, item: Coded, action: Int8) -> None:
        frame.flag((item.codes < 0) & (action != Action.SEARCHED), lambda _: "item is missing")

    def _values(self, frame: Frame, action: Int8) -> Frame64:
        spec = self.table.spec("value")
        value = frame.numbers(spec, "value", needed=self.table.role == "ratings")
        if spec is not None and spec.max is not None:
            value = value * (STARS / spec.max)
        with np.errstate(invalid="ignore"):
            wrong = (action == Action.RATED) & ~((value >= 0) & (value <= STARS))
        frame.flag(wrong, lambda row: f"value is {value[row]:g} stars: expected 0 to 5; is max of the scale right?")
        frame.flag(np.abs(value) > LARGEST, lambda row: f"value is {value[row]:g}: expected at most {LARGEST:g} either way")
        return value

    def _given_position(self, frame: Frame) -> Int64:
        spec = self.table.spec("position")
        if spec is None or spec.order:
            return np.full(frame.n, MISSING, np.int64)
        found = frame.numbers(spec, "position") - spec.start
        with np.errstate(invalid="ignore"):
            wrong = (found < 0) | (found > POSITION_LIMIT) | (found != np.floor(found)) & ~np.isnan(found)
        frame.flag(wrong, lambda row: f"position is {found[row]:g}: expected a whole number from 0 to {POSITION_LIMIT}")
        return np.where(np.isnan(found) | wrong, MISSING, np.nan_to_num(found)).astype(np.int64)

    def _order(self, frame: Frame, position: Int64, session: Coded, user: Coded, good: Bool) -> Int64:
        """Places counted in the order of the file, for good rows only."""
        spec = self.table.spec("position")
        if not (spec.order if spec is not None else self.table.role == "playlists" and not self.table.unordered):
            return position
        keys = chain(_SEED, [rows_of(c, hashes(c.values)[:, 0]) for c in (user, session)])
        position = position.copy()
        position[good] = self.places.number(keys[good], frame.rows[good]).astype(np.int64)
        return position

    def _repeated(self, frame: Frame, user: Coded, item: Coded, session: Coded, at: Int64) -> Bool:
        if not self.table.drop_repeated_blocks:
            return np.zeros(frame.n, np.bool_)
        u, i, s = (rows_of(c, hashes(c.values)[:, 0]) for c in (user, item, session))
        return self.blocks.mask(chain(_SEED, [u, s]), chain(_SEED, [i, at.view(np.uint64)]))


Frame64 = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def play_actions(played: Frame64, duration: Frame64, skipped: Bool) -> Int8:
    """How each play ended, (n,): SKIPPED when the source says so, when under 10 % was heard, or, of a song of unknown
    length, under 30 seconds; COMPLETED otherwise. Seconds, NaN unknown."""
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.where(np.isnan(duration), played < SHORT_PLAY_S, played / duration < SKIPPED_SHARE)
    return np.where(skipped | left, Action.SKIPPED, Action.COMPLETED).astype(np.int8)


def _given(spec: Column | None) -> Column:
    if spec is None:
        raise ValueError("a mapping without this column never gets here: mapping.parse refuses it")
    return spec


def _f4(values: Frame64, good: Bool) -> Float32:
    return values[good].astype(np.float32)


def _texts(words: list[str | None], good: Bool) -> dict[int, str]:
    kept = [w for w, g in zip(words, good.tolist(), strict=True) if g] if words else []
    return {place: word for place, word in enumerate(kept) if word is not None}


__all__ = ["EventMaker", "UInt64", "play_actions"]
