"""A song with a vector and no plays, in a home of two tastes: it turns up in the radios of those who like its neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from segue import wiring
from segue.cli import main
from segue.core.records import ItemRecord
from segue.events.schema import EventIn
from segue.serving.query import RecommendIn, SeedsIn
from segue.training.report import Quiet

SONGS, LISTENERS, DAY_MS, START = 120, 80, 86_400_000, 1_700_000_000_000
NOW = START + 8 * DAY_MS


def sound_of(rng: np.random.Generator, taste: int, n: int) -> np.ndarray:
    """Songs of one taste lie about one direction, with a direction of their own each."""
    return (np.eye(16)[[taste] * n] * 2.0 + 0.5 * rng.standard_normal((n, 16))).astype(np.float32)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[wiring.Home]:
    rng = np.random.default_rng(3)
    opened = wiring.open_home(tmp_path_factory.mktemp("newcomer") / "home", writer=True)
    songs = [ItemRecord(f"s{i}", title=f"Song {i}", artist=f"Artist {i // 3}", duration_s=200.0) for i in range(SONGS)]
    dense = opened.catalogue.put_items(songs)
    for taste in (0, 1):  # even songs and even listeners are of one taste, odd ones of the other
        opened.vectors.put("test", dense[taste::2], sound_of(rng, taste, SONGS // 2))
    ingest = opened.ingest()
    for user in range(LISTENERS):
        events = []
        for day in range(7):
            for place, song in enumerate(rng.choice(SONGS, 8, replace=False)):
                likes = song % 2 == user % 2
                at = START + day * DAY_MS + user * 60_000 + place * 200_000
                events.append(EventIn(
                    user=f"u{user}", item=f"s{song}", action="completed" if likes else "skipped", at=at,
                    played_s=200.0 if likes else 5.0, duration_s=200.0, session=f"{user} {day}",
                    event_id=f"{user} {day} {place}",
                ))  # fmt: skip
        ingest.submit(events).result()
    wiring.night(opened, NOW, Quiet())
    for taste in (0, 1):  # the newcomers arrive after the night: nobody has played them, no artist tells of them
        fresh = opened.catalogue.put_items([ItemRecord(f"new {taste}", title=f"Newcomer {taste}", artist=f"Nobody {taste}")])
        assert opened.put_vectors("test", fresh, sound_of(rng, taste, 1)) == 0
    yield opened
    opened.close()


def offered(home: wiring.Home, user: int) -> dict[str, int]:
    """How often each newcomer stands in 20 slates of ten for one listener, who has just finished two songs."""
    recommender, maker = wiring.recommender_of(home), wiring.maker_of(home)
    count = {"new 0": 0, "new 1": 0}
    for turn in range(20):
        query, _ = maker.make(RecommendIn(user=f"u{user}", limit=10, discovery=1.0), NOW, 1000 * user + turn + 1)
        for name in home.catalogue.items.all(recommender.recommend(query).slate.items):
            if name in count:
                count[name] += 1
    recommender.close()
    return count


def test_it_is_offered_to_those_who_like_its_neighbours_and_not_to_others(home: wiring.Home) -> None:
    model, maker = wiring.model_of(home), wiring.maker_of(home)
    sound = next(source for source in model.sources if source.name == "sound")
    for user in range(20):
        query, _ = maker.make(RecommendIn(user=f"u{user}"), NOW, user + 1)
        names = home.catalogue.items.all(sound.retrieve(query, 40).items)
        assert f"new {user % 2}" in names
        assert f"new {1 - user % 2}" not in names


def test_it_reaches_their_slates(home: wiring.Home) -> None:
    right = wrong = 0
    for user in range(20):
        count = offered(home, user)
        right += count[f"new {user % 2}"]
        wrong += count[f"new {1 - user % 2}"]
    print(f"in 400 slates: {right} times in the right radio, {wrong} times in the other")
    assert right >= 40
    assert wrong <= right // 10


def test_the_reason_names_the_song_that_it_sounds_like(home: wiring.Home) -> None:
    recommender, maker = wiring.recommender_of(home), wiring.maker_of(home)
    query, _ = maker.make(RecommendIn(user="nobody", limit=20, seeds=SeedsIn(items=["new 0"])), NOW, 5)
    slate = recommender.recommend(query).slate
    recommender.close()
    assert "sounds like Newcomer 0" in slate.reasons
    names = home.catalogue.items.all(slate.items)
    assert all(int(name[1:]) % 2 == 0 for name, reason in zip(names, slate.reasons, strict=True) if "sounds like" in reason)


def test_similar_by_sound_over_the_command_line(home: wiring.Home, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--home", str(home.path)]
    assert main([*place, "similar", "new 1", "--by", "sound", "--json"]) == 0
    assert '"by": "sound"' in capsys.readouterr().out.replace('":"', '": "')
    home.catalogue.put_items([ItemRecord("mute", title="Mute")])
    assert main([*place, "similar", "mute", "--by", "sound"]) == 2
    assert "has no sound vector" in capsys.readouterr().err


def test_a_listener_of_one_song_gets_its_neighbours(home: wiring.Home, tmp_path: Path) -> None:
    ingest = home.ingest()
    ingest.submit(
        [EventIn(user="first time", item="s4", action="completed", at=NOW, played_s=200.0, duration_s=200.0)]
    ).result()
    query, _ = wiring.maker_of(home).make(RecommendIn(user="first time", limit=10), NOW + 1000, 9)
    recommender = wiring.recommender_of(home)
    names = home.catalogue.items.all(recommender.recommend(query).slate.items)
    recommender.close()
    assert sum(name == "new 0" or int(name.removeprefix("s")) % 2 == 0 for name in names if name != "new 1") >= 7
