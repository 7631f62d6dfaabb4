"""The botify world: its listener model by hand, the same luck for every policy, and what plain policies must do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from segue.cli import main
from segue.core.errors import BadInput
from segue.core.types import Int32
from segue.simulator.baselines import ItemToItem, Random, SameArtist, Top
from segue.simulator.botify import Botify
from segue.simulator.luck import normal, uniform
from segue.simulator.picture import svg
from segue.simulator.playing import Game, Heard, Policy, Turn, play

DATA = Path(os.environ.get("SEGUE_DATA", Path(__file__).parents[2] / ".." / "shared" / "data")) / "botify_world"


@pytest.fixture(scope="module")
def world() -> Botify:
    return Botify.generated(songs=2000, artists=300, listeners=400, seed=3)


def game(world: Botify, policy: Policy, number: int = 0) -> Game:
    users = np.arange(world.n_users)
    return play(world.sessions(users, np.full(len(users), number), 0), policy)


class Fixed:
    """The same songs for everybody, in order."""

    name = "fixed"

    def __init__(self, items: list[int]) -> None:
        self.items = items

    def slate(self, turn: Turn, size: int) -> Int32:
        if turn.step > len(self.items):
            return np.full((len(turn.rows), size), -1, np.int32)
        return np.full((len(turn.rows), size), self.items[turn.step - 1], np.int32)

    def heard(self, heard: Heard) -> None:
        pass


def test_the_listened_share_is_the_formula_of_the_course(world: Botify) -> None:
    sessions = world.sessions(np.array([7]), np.array([0]), 0)
    rows, user = np.array([0]), 7
    first = int(sessions.opening[0])
    assert sessions.hear(rows, sessions.opening, 0)[0] == [1.0]
    mates = np.flatnonzero((world.artist == world.artist[first]) & (np.arange(world.n_items) != first))
    other = int(np.flatnonzero(world.artist != world.artist[first])[0])

    def expected(item: int, before: int) -> float:
        fit = float(world.vectors[item].astype(float) @ world.vectors[sessions.interest[0]].astype(float))
        return float(1 / (1 + np.exp(-(fit - world.bias[user]) * world.sharpness[user])) * 0.8**before)

    for step, (item, before) in enumerate([(other, 0), (int(mates[0]), 1), (int(mates[1]), 2)], 1):
        share, _ = sessions.hear(rows, np.array([item], np.int32), step)
        assert share[0] == pytest.approx(expected(item, before), rel=1e-5)
    assert sessions.hear(rows, np.array([other], np.int32), 4)[0] == [0.0], "a repeat is not heard at all"


def test_the_first_song_is_one_of_the_ten_nearest_to_an_interest(world: Botify) -> None:
    sessions = world.sessions(np.arange(50), np.zeros(50, np.int64), 0)
    unit = world.vectors / np.linalg.norm(world.vectors, axis=1, keepdims=True)
    for row in range(50):
        assert sessions.interest[row] in world.interests[row]
        near = np.argsort(-(unit @ unit[sessions.interest[row]]), kind="stable")[:10]
        assert sessions.opening[row] in near


def test_a_budget_of_five_falls_with_the_probability_of_not_listening(world: Botify) -> None:
    """Songs that are not heard at all cost one each: five of them end every session; before that nobody leaves."""
    users = np.arange(world.n_users)
    sessions = world.sessions(users, np.zeros(len(users), np.int64), 0)
    rows = np.arange(len(users))
    assert sessions.hear(rows, sessions.opening, 0)[1].all()
    for step in range(1, 6):
        share, going = sessions.hear(rows, sessions.opening, step)  # repeats
        assert (share == 0).all()
        assert (going == (step < 5)).all()


def test_luck_is_even_and_a_number_of_its_keys_alone() -> None:
    keys = np.arange(100_000)
    drawn = uniform(1, 2, keys, 5)
    assert (np.sort(drawn[:1000]) == np.sort(uniform(1, 2, keys[:1000][::-1], 5))).all()
    assert np.histogram(drawn, 20, (0, 1))[0] == pytest.approx(np.full(20, 5000), abs=300)
    assert abs(np.corrcoef(drawn, uniform(1, 2, keys, 6))[0, 1]) < 0.015
    assert abs(np.corrcoef(drawn, uniform(2, 2, keys, 5))[0, 1]) < 0.015
    bell = normal(1, 3, keys)
    assert (bell.mean(), bell.std()) == pytest.approx((0, 1), abs=0.015)


def test_the_same_seed_gives_the_same_answers_and_another_seed_another_world(world: Botify) -> None:
    again = Botify.generated(songs=2000, artists=300, listeners=400, seed=3)
    one, two = game(world, Random(2000)), game(again, Random(2000))
    assert (one.plays.item == two.plays.item).all()
    assert (one.plays.share == two.plays.share).all()
    other = Botify.generated(songs=2000, artists=300, listeners=400, seed=4)
    assert game(other, Random(2000)).time.sum() != one.time.sum()


def test_policies_meet_the_same_luck_however_sessions_are_grouped(world: Botify) -> None:
    """A session answers the same whether it is played alone or among others, after whatever another policy did."""
    together = game(world, Random(world.n_items, seed=1))
    for user in (0, 17, 399):
        alone = play(world.sessions(np.array([user]), np.array([0]), 0), Random(world.n_items, seed=1))
        mine = together.plays.row == user
        assert (together.plays.item[mine] == alone.plays.item).all()
        assert (together.plays.share[mine] == alone.plays.share).all()


def test_plain_policies_do_what_they_say(world: Botify) -> None:
    parts = [game(world, Random(world.n_items, seed=day), day).plays for day in range(3)]
    logs = max(parts, key=len)
    found = {
        policy.name: game(world, policy, 9)
        for policy in (Random(2000), SameArtist(world.artist), Top(logs, 2000), ItemToItem(logs, 2000))
    }
    assert np.median(found["same-artist"].time) > np.median(found["random"].time)
    for one in found.values():
        assert (one.time >= 1).all(), "the first song is heard whole"
        assert np.bincount(one.plays.row) == pytest.approx(one.length)
        assert np.bincount(one.plays.row, one.plays.share) == pytest.approx(one.time)
    assert (world.artist[found["same-artist"].plays.item] == _first_artist(world, found["same-artist"])).all()


def _first_artist(world: Botify, one: Game) -> NDArray[np.int32]:
    first = one.plays.item[one.plays.position == 0]
    return np.asarray(world.artist[first][one.plays.row])


def test_a_policy_that_has_nothing_ends_the_session(world: Botify) -> None:
    found = game(world, Fixed([5]))
    assert found.length.max() == 2


def test_item_to_item_lists_are_cosines(world: Botify) -> None:
    logs = game(world, Random(world.n_items, seed=8)).plays
    lists = ItemToItem(logs, world.n_items, size=5).lists
    heard = np.zeros((world.n_users, world.n_items))
    np.add.at(heard, (logs.row, logs.item), logs.share)
    norm = np.linalg.norm(heard, axis=0)
    item = int(logs.item[0])
    cosine = heard.T @ heard[:, item] / np.maximum(norm * norm[item], 1e-12)
    cosine[item] = 0
    best = np.sort(cosine)[::-1][:5]
    assert np.sort(cosine[lists[item][lists[item] >= 0]])[::-1] == pytest.approx(best[best > 0])


def test_a_picture_shows_every_policy(world: Botify) -> None:
    drawn = svg([game(world, Random(2000)), game(world, SameArtist(world.artist))], "a < b")
    assert drawn.startswith("<svg")
    assert "same-artist" in drawn
    assert "a &lt; b" in drawn


def test_simulate_prints_paired_gains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "sessions.svg"
    small = ["--songs", "2000", "--listeners", "300", "--sessions", "300", "--learn", "600", "--plot", str(picture)]
    assert main(["simulate", *small, "--policy", "random", "--policy", "same-artist", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["policy"] for one in told["policies"]] == ["random", "same-artist"]
    assert told["policies"][1]["time_low"] < told["policies"][1]["time"] < told["policies"][1]["time_high"]
    assert picture.read_text().startswith("<svg")
    assert main(["simulate", *small, "--policy", "nonsense"]) == 2
    assert "expected one of random" in capsys.readouterr().err


def test_bad_worlds_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"tracks\*\.json"):
        Botify.read(tmp_path)
    (tmp_path / "tracks.json").write_text('{"track": 1, "artist": "a"}\n')
    (tmp_path / "users.json").write_text("")
    with pytest.raises(BadInput, match="numbered from 0"):
        Botify.read(tmp_path)


@pytest.mark.skipif(not DATA.exists(), reason="the public botify world is not here (SEGUE_DATA)")
def test_the_public_world_is_read_whole() -> None:
    world = Botify.read(DATA)
    assert (world.n_items, world.n_users, int(world.artist.max()) + 1) == (50_000, 10_000, 11_464)
    assert game(world, Random(world.n_items)).time.mean() == pytest.approx(2.5, abs=0.3)
