"""The town: believable, whole, the same for the same seed, and something that a recommender can learn from."""

from __future__ import annotations

import hashlib
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segue.core.actions import Action, shares
from segue.core.clock import DAY_MS
from segue.core.errors import BadInput
from segue.core.types import EVENT, MISSING, Events
from segue.simulator.town import CHUNK, UNTIL_MS, Town


def history(town: Town) -> Events:
    ids = [np.arange(n, dtype=np.int32) for n in (len(town.items), len(town.users), len(town.regions))]
    return np.concatenate([np.zeros(0, EVENT), *town.events(*ids)])


@pytest.fixture(scope="module")
def town() -> Town:
    return Town(7, songs=1200, artists=240, listeners=500, regions=5, days=30)


@pytest.fixture(scope="module")
def events(town: Town) -> Events:
    return history(town)


@pytest.fixture(scope="module")
def plays(events: Events) -> Events:
    return events[np.isin(events["action"], (Action.COMPLETED, Action.SKIPPED))]


def heard(plays: Events) -> NDArray[np.float32]:
    return shares(plays["action"], plays["played_s"], plays["duration_s"])


def test_same_seed_same_bytes_and_another_seed_another_town() -> None:
    small = {"songs": 150, "artists": 40, "listeners": 60, "days": 10}
    prints = []
    for seed in (5, 5, 6):
        town = Town(seed, **small)
        prints.append(hashlib.sha256(history(town).tobytes() + repr([town.items, town.users]).encode()).hexdigest())
    assert prints[0] == prints[1] != prints[2]


def test_dense_ids_are_the_callers_and_change_nothing_else(town: Town, events: Events) -> None:
    rng = np.random.default_rng(0)
    items, users, regions = (rng.permutation(n).astype(np.int32) for n in (1200, 500, 5))
    other = np.concatenate(list(town.events(items, users, regions)))
    assert np.array_equal(np.sort(other["at"]), events["at"])
    order = np.lexsort((events["user"], events["at"]))
    back = np.argsort(users)[other["user"]]
    again = other[np.lexsort((back, other["at"]))]
    assert np.array_equal(items[events["item"][order]], again["item"])
    assert np.array_equal(regions[events["region"][order]], again["region"])


def test_events_are_whole_and_in_order_of_time(town: Town, events: Events, plays: Events) -> None:
    assert events.dtype == EVENT
    assert np.all(np.diff(events["at"]) >= 0)
    assert events["at"][-1] < UNTIL_MS
    assert events["at"][0] > UNTIL_MS - 30 * DAY_MS
    keys = np.unique(events[["key_hi", "key_lo"]])
    assert len(keys) == len(events)
    assert set(np.unique(events["action"])) == {Action.COMPLETED, Action.SKIPPED, Action.LIKED, Action.SAVED}
    assert np.all(events["session"] != 0)
    assert np.all(events["body"] != 0)
    assert np.all(events["request"] == 0)
    assert np.all(events["device"] == MISSING)
    assert np.all(plays["played_s"] <= plays["duration_s"])
    finished = plays["action"] == Action.COMPLETED
    assert np.all(heard(plays)[finished] > 0.99)
    votes = events[np.isin(events["action"], (Action.LIKED, Action.SAVED))]
    assert np.all(np.isnan(votes["played_s"]))
    assert all(len(chunk) <= CHUNK for chunk in town.events(*(np.arange(n, dtype=np.int32) for n in (1200, 500, 5))))


def test_a_session_is_one_listener_no_song_twice_and_well_apart_from_the_next(plays: Events) -> None:
    order = np.lexsort((plays["at"], plays["session"]))
    rows = plays[order]
    same = rows["session"][1:] == rows["session"][:-1]
    assert np.all(rows["user"][1:][same] == rows["user"][:-1][same])
    assert np.all(np.diff(rows["position"].astype(int))[same] == 1)
    assert np.all(rows["position"][np.append(True, ~same)] == 0)
    pairs = np.unique(plays[["session", "item"]])
    assert len(pairs) == len(plays)
    by_user = plays[np.lexsort((plays["at"], plays["user"]))]
    began = by_user["at"] - (1000 * by_user["played_s"]).astype(np.int64)
    change = (by_user["user"][1:] == by_user["user"][:-1]) & (by_user["session"][1:] != by_user["session"][:-1])
    assert (began[1:] - by_user["at"][:-1])[change].min() > 30 * 60_000


def test_no_song_is_heard_before_it_is_out(town: Town, plays: Events) -> None:
    assert np.all(plays["at"] > town.songs.released[plays["item"]])
    fresh = town.songs.released > UNTIL_MS - 28 * DAY_MS
    assert 0.01 < fresh.mean() < 0.15
    assert np.isin(plays["item"], np.flatnonzero(fresh)).mean() > 0.005


def test_fame_follows_a_power_law_and_nearly_everything_is_heard_by_somebody(town: Town, plays: Events) -> None:
    counts = np.sort(np.bincount(plays["item"], minlength=1200))[::-1]
    assert 0.06 < counts[:12].sum() / counts.sum() < 0.4
    assert counts[:120].sum() / counts.sum() > 0.3
    assert (counts > 0).mean() > 0.95


def test_taste_is_there_to_be_learned(town: Town, plays: Events) -> None:
    """Known songs of one's own interests are finished far more often than songs come by at random."""
    traits = town.people.traits
    best = (town.songs.vectors @ traits.interests.reshape(-1, 16).T).reshape(1200, 500, -1)
    best = np.where(traits.leaning[None] > 0, best, -1).max(axis=2)
    match, share = best[plays["item"], plays["user"]], heard(plays)
    cut = np.quantile(match, [0.2, 0.8])
    assert (share[match > cut[1]] > 0.8).mean() > 2 * (share[match < cut[0]] > 0.8).mean()
    assert 0.4 < (share > 0.8).mean() < 0.75
    assert (share < 0.1).mean() > 0.08


def test_regions_and_hours_have_habits_of_their_own(town: Town, plays: Events) -> None:
    hours = np.bincount((plays["at"] // 3_600_000) % 24, minlength=24)
    assert hours[[18, 19, 20, 21]].min() > 3 * hours[4]
    genre = town.songs.genre[plays["item"]]
    table = np.stack([np.bincount(genre[plays["region"] == r], minlength=12) for r in range(5)])
    table = table / table.sum(axis=1, keepdims=True)
    assert np.abs(table - table.mean(axis=0)).sum(axis=1).max() > 0.2


def test_a_catalogue_would_believe_it(town: Town) -> None:
    items, users = town.items, town.users
    assert len({i.id for i in items}) == 1200
    assert len({u.id for u in users}) == 500
    assert len({i.artist for i in items}) == 240
    assert len({(i.artist, i.title) for i in items}) == 1200
    assert {i.tags[0] for i in items if i.tags} <= {"classical", "jazz", "soul", "hip hop", "latin", "pop", "indie rock",
                                                    "metal", "techno", "house", "ambient", "folk"}  # fmt: skip
    versions = [i for i in items if "(" in (i.title or "") and ("Live" in str(i.title) or "Remaster" in str(i.title))]
    assert 5 < len(versions) < 120
    for item in items:
        assert item.title
        assert item.album
        assert "{" not in item.title + item.album + str(item.artist)
        assert 75 <= (item.duration_s or 0) <= 900
        assert date.fromisoformat(item.released or "").year >= 1970
    assert {u.region for u in users} == set(town.regions)
    assert {u.gender for u in users} == {None}


def test_versions_are_near_duplicates_by_the_same_artist(town: Town) -> None:
    titles = {(i.artist, i.title): n for n, i in enumerate(town.items)}
    found = 0
    for n, item in enumerate(town.items):
        plain = (item.title or "").rsplit(" (", 1)[0]
        original = titles.get((item.artist, plain)) if plain != item.title else None
        if original is not None and original < n:
            found += 1
            assert float(town.songs.vectors[n] @ town.songs.vectors[original]) > 0.97
    assert found > 5


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**63), st.integers(1, 12), st.integers(1, 12), st.integers(1, 6), st.integers(1, 8), st.data())
def test_any_size_of_town_can_be_built(
    seed: int, genres: int, regions: int, listeners: int, days: int, data: st.DataObject
) -> None:
    artists = data.draw(st.integers(genres, 30))
    songs = data.draw(st.integers(artists, 90))
    town = Town(seed, songs=songs, artists=artists, genres=genres, listeners=listeners, regions=regions, days=days)
    events = history(town)
    assert len(town.items) == songs
    assert len(town.users) == listeners
    assert np.all((events["item"] >= 0) & (events["item"] < songs))
    assert np.all((events["user"] >= 0) & (events["user"] < listeners))
    assert len(np.unique(events[["key_hi", "key_lo"]])) == len(events)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"genres": 13}, "genres"), ({"regions": 0}, "regions"), ({"songs": 5}, "songs"), ({"listeners": 0}, "listeners")],
)
def test_sizes_that_cannot_be_are_refused_by_name(wrong: dict[str, int], field: str) -> None:
    with pytest.raises(BadInput) as error:
        Town(1, **wrong)
    assert error.value.field == field


def test_ids_must_fit_the_town(town: Town) -> None:
    with pytest.raises(BadInput, match="expected 1200 ids"):
        next(town.events(np.arange(3, dtype=np.int32), np.arange(500, dtype=np.int32), np.arange(5, dtype=np.int32)))
