"""The town after its history: the same answers to the same songs, taste, tiredness, patience, and good days that pay."""

from __future__ import annotations

import numpy as np
import pytest

from segue.core.clock import DAY_MS
from segue.core.types import MISSING, Int32, empty_events
from segue.simulator.playing import Game, Heard, Turn, play
from segue.simulator.town import Town
from segue.simulator.town_days import TownDays


@pytest.fixture(scope="module")
def town() -> Town:
    return Town(11, songs=600, artists=120, listeners=300, days=2)


class Oracle:
    """Plays each listener the songs nearest to all interests, or the farthest ones; never one twice in a day."""

    name = "oracle"

    def __init__(self, town: Town, *, good: bool) -> None:
        fit = np.einsum("ukd,sd->us", town.people.traits.interests * town.people.traits.leaning[:, :, None], town.songs.vectors)
        self._order = np.argsort(-fit if good else fit, axis=1, kind="stable").astype(np.int32)

    def slate(self, turn: Turn, size: int) -> Int32:
        return np.asarray(self._order[turn.user, turn.step : turn.step + 1].reshape(-1, 1)).repeat(size, axis=1)

    def heard(self, heard: Heard) -> None:
        pass


def lived(town: Town, days: int, *, good: bool) -> tuple[TownDays, list[Game]]:
    world, games = TownDays(town), []
    for day in range(days):
        sessions = world.open(day)
        games.append(play(sessions, Oracle(town, good=good)))
        world.close(sessions, games[-1])
    return world, games


def test_a_day_is_the_same_every_time_and_lies_where_it_should(town: Town) -> None:
    first, second = (lived(town, 3, good=True)[1] for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.user, b.user)
        assert np.array_equal(a.plays.share, b.plays.share)
    sessions = TownDays(town).open(2)
    assert ((sessions.at >= town.until_ms + 2 * DAY_MS) & (sessions.at < town.until_ms + 3 * DAY_MS)).all()
    assert len(np.unique(sessions.user)) == len(sessions.user)
    assert (sessions.opening == MISSING).all()


def test_taste_is_heard_and_good_days_bring_listeners_back(town: Town) -> None:
    (good, good_games), (bad, bad_games) = lived(town, 12, good=True), lived(town, 12, good=False)
    assert np.mean(np.concatenate([g.plays.share for g in good_games])) > 0.6
    assert np.mean(np.concatenate([g.plays.share for g in bad_games])) < 0.35
    assert sum(len(g.user) for g in good_games) > 1.15 * sum(len(g.user) for g in bad_games)
    assert good.warmth.mean() > 0.5 > bad.warmth.mean()


def test_a_song_of_a_moment_ago_tires_and_one_of_long_ago_is_only_known(town: Town) -> None:
    def share(days_ago: float) -> float:
        world = TownDays(town)
        sessions = world.open(0)
        rows = np.arange(len(sessions.user))
        turn = Turn(rows, sessions.user, sessions.number, 0, sessions.at, sessions.opening, np.zeros(len(rows), np.float32))
        songs = Oracle(town, good=True).slate(turn, 1)[:, 0]
        past = empty_events(3 * len(songs))
        past["user"], past["item"], past["played_s"] = np.tile(sessions.user, 3), np.tile(songs, 3), 1.0
        past["at"] = np.tile(sessions.at, 3) - int(days_ago * DAY_MS)
        world.remember(past)
        return float(sessions.hear(np.arange(len(songs)), songs, 0)[0].mean())

    assert share(0.01) < share(200.0) - 0.2


def test_the_impatient_leave_after_some_skips_and_nobody_stays_for_ever(town: Town) -> None:
    world = TownDays(town)
    sessions = world.open(0)
    game = play(sessions, Oracle(town, good=False))
    assert game.length.max() <= 60
    plays = game.plays
    for row in range(20):
        shares = plays.share[plays.row == row]
        patience = town.people.traits.patience[sessions.user[row]]
        run = 0
        for share in shares[:-1]:
            run = 0 if share > 0.5 else run + 1
            assert run <= 2 + 6 * patience, "it would have been over by then"
