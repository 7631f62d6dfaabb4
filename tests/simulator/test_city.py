"""The living city: the same seed the same days, moods, fatigue, patience, who comes back, who joins, what arrives, drift."""

from __future__ import annotations

import json

import numpy as np
import pytest

from segue.cli import main
from segue.core.types import MISSING, Int32
from segue.simulator.baselines import Random
from segue.simulator.city import City, Day, Ways, live
from segue.simulator.playing import Heard, Turn

SIZES = {"songs": 1500, "artists": 200, "listeners": 600, "seed": 2}


def city(days: int = 21, ways: Ways | None = None) -> City:
    return City(**SIZES, days=days, ways=ways)  # type: ignore[arg-type]


class Nearest:
    """Knows each listener's interests, which no policy may: songs near one of them, new ones every day."""

    name = "nearest"

    def __init__(self, of: City) -> None:
        self.of = of

    def slate(self, turn: Turn, size: int) -> Int32:
        scores = np.einsum("mkd,nd->mkn", self.of.interests[turn.user], self.of.vectors).max(axis=1)
        scores[:, self.of.released > 0] = -1
        best = np.argsort(-scores, axis=1)
        return best[:, (37 * int(turn.session[0]) + turn.step) % 300][:, None].astype(np.int32)

    def heard(self, heard: Heard) -> None:
        pass


def test_the_same_seed_lives_the_same_days_and_another_one_others() -> None:
    one, two = (live(c, Random(c.n_items)) for c in (city(), city()))
    assert one[0] == two[0]
    assert all((a.plays.share == b.plays.share).all() for a, b in zip(one[1], two[1], strict=True))
    other = City(**{**SIZES, "seed": 3}, days=21)
    assert live(other, Random(other.n_items))[0] != one[0]


def test_good_days_bring_listeners_back_and_keep_them() -> None:
    good, bad = city(), city()
    happy, bored = live(good, Nearest(good))[0], live(bad, Random(bad.n_items))[0]
    assert happy[0].listeners == bored[0].listeners, "the first day is the same: nobody knows the policy yet"
    assert happy[0].time > 2 * bored[0].time

    def came(days: list[Day]) -> int:
        return sum(day.listeners for day in days[1:])

    assert came(happy) > 1.1 * came(bored)
    assert (good.left <= 21).sum() < (bad.left <= 21).sum()


def test_newcomers_join_and_leavers_never_come_again() -> None:
    here = city()
    _, games = live(here, Random(here.n_items))
    for day, game in enumerate(games):
        assert (here.joined[game.user] <= day).all()
        assert (here.left[game.user] > day).all()
    assert any((here.joined[game.user] > 0).any() for game in games)
    assert (here.left < 21).any()


def test_songs_that_are_still_to_come_are_not_heard_until_they_arrive() -> None:
    here = city(days=14)
    later = int(np.flatnonzero(here.released == 7)[0])
    for day, expected in ((6, False), (7, True)):
        sessions = here.open(day)
        rows = np.arange(len(sessions.user))
        shares, _ = sessions.hear(rows, np.full(len(rows), later, np.int32), 0)
        assert (shares > 0).all() == expected


def test_fatigue_repeats_and_a_mood_that_lasts() -> None:
    here = city(ways=Ways(turning=0.0))
    sessions = here.open(0)
    rows = np.arange(len(sessions.user))
    mates = np.flatnonzero(here.artist == np.bincount(here.artist).argmax())[:3]
    first, again = (sessions.hear(rows, np.full(len(rows), mates[i], np.int32), s)[0] for s, i in ((0, 0), (1, 0)))
    assert (first > 0).all()
    assert (again == 0).all(), "a repeat in a session is not heard"
    fresh = here.open(0)
    alone = fresh.hear(rows, np.full(len(rows), mates[1], np.int32), 0)[0]
    tired = sessions.hear(rows, np.full(len(rows), mates[1], np.int32), 2)[0]

    def logit(share: np.ndarray) -> np.ndarray:
        return np.log(share / (1 - share))

    assert logit(alone.astype(float)) - logit(tired.astype(float)) == pytest.approx(2 * 0.5, abs=0.01)


def test_a_song_heard_yesterday_tires_and_is_forgotten_by_weeks() -> None:
    here = city()
    sessions = here.open(0)
    song = np.full(len(sessions.user), 5, np.int32)
    here._heard[:, 0], here._heard_day[:, 0] = 5, 0
    weary = [float(here.weary(sessions.user, song, day)[0]) for day in (0, 7, 14)]
    assert weary == pytest.approx([2.5, 1.25, 0.625])


def test_bad_songs_eat_patience_and_good_ones_do_not() -> None:
    here = city(ways=Ways(songs_wanted=1e12))
    sessions = here.open(0)
    rows = np.arange(len(sessions.user))
    nothing = np.full(len(rows), int(np.flatnonzero(here.released > 0)[0]), np.int32)
    patience = here._patience[sessions.user]
    for step in range(8):
        _, going = sessions.hear(rows, nothing, step)
        assert (going == (step + 1 < patience)).all(), "a song that is not there costs one each time"


def test_tastes_drift_by_weeks_and_stay_of_length_one() -> None:
    here = city(days=70)
    before = here.interests.copy()
    here.open(6)
    assert (here.interests == before).all()
    here.open(63)
    turned = (here.interests * before).sum(axis=2)
    assert np.linalg.norm(here.interests, axis=2) == pytest.approx(1)
    assert 0.9 < turned.mean() < 0.999


def test_habits_differ_by_weekday_and_hours_are_of_the_day() -> None:
    here = city(days=70)
    for day in (0, 3):
        sessions = here.open(day)
        assert ((sessions.at // 86_400_000) == (sessions.at[0] // 86_400_000)).all()
        assert (sessions.opening == MISSING).all()


def test_simulate_lives_a_city(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--world", "city", "--songs", "600", "--listeners", "150", "--days", "4", "--json"]
    assert main(["simulate", *small, "--policy", "random", "--policy", "top-100"]) == 0
    told = json.loads(capsys.readouterr().out)["policies"]
    assert [one["policy"] for one in told] == ["random", "top-100"]
    assert all(one["members"] > 0 for one in told)
    assert main(["simulate", *small, "--policy", "segue-twice"]) == 2
