"""The radio as a whole, in a town whose listeners it has never met as a model: does following every press pay?"""

from __future__ import annotations

import numpy as np
import pytest

from segue import wiring
from segue.core.hashing import hash64
from segue.events.schema import EventIn
from segue.serving.query import RecommendIn
from segue.simulator.town import Town
from segue.training.report import Quiet

DAYS, SONGS, LISTENERS, LENGTH, ASKED = 40, 1500, 900, 15, 150


@pytest.fixture(scope="module")
def town() -> Town:
    return Town(5, songs=SONGS, artists=SONGS // 5, listeners=LISTENERS, days=DAYS)


@pytest.fixture(scope="module")
def home(town: Town, tmp_path_factory: pytest.TempPathFactory) -> wiring.Home:
    opened = wiring.open_home(tmp_path_factory.mktemp("radio") / "home", writer=True)
    items, users = opened.catalogue.put_items(town.items), opened.catalogue.put_users(town.users)
    regions = opened.catalogue.regions.intern(town.regions)
    for events in town.events(items, users, regions):
        opened.log.append(events)
    opened.catch_up()
    wiring.night(opened, town.until_ms, Quiet())
    yield opened  # type: ignore[misc]
    opened.close()


def test_following_every_finish_and_skip_beats_a_slate_made_before_the_first_song(town: Town, home: wiring.Home) -> None:
    recommender, maker, ingest = wiring.recommender_of(home), wiring.maker_of(home), home.ingest()
    number = {item.id: place for place, item in enumerate(town.items)}
    durations = [item.duration_s or 200.0 for item in town.items]
    now = town.until_ms

    def slate(user: str, session: str, limit: int, at: int) -> list[int]:
        query, _ = maker.make(
            RecommendIn(user=user, limit=limit, session=session, discovery=0.3), at, hash64(f"{session} {at}")
        )
        found = recommender.recommend(query).slate
        return [number[name] for name in home.catalogue.items.all(found.items)]

    people = range(0, LISTENERS, LISTENERS // ASKED)
    still = {u: town.listener(u, np.random.default_rng([1, u])).listen(
        np.array(slate(town.users[u].id, f"still {u}", LENGTH, now), np.int64)) for u in people}  # fmt: skip
    gains = []
    for u in people:
        listener, heard, at = town.listener(u, np.random.default_rng([1, u])), 0.0, now
        for turn in range(LENGTH):
            song = slate(town.users[u].id, f"live {u}", 1, at)[0]
            share = float(listener.listen(np.array([song], np.int64))[0])
            if np.isnan(share):
                break
            heard, at = heard + share, at + 60_000
            action = "completed" if share > 0.5 else "skipped"
            played = share * durations[song]
            ingest.submit([
                EventIn(user=town.users[u].id, item=town.items[song].id, action=action, at=at, played_s=played,
                        duration_s=durations[song], session=f"live {u}", event_id=f"{u} {turn}")
            ]).result()  # fmt: skip
        gains.append(heard - float(np.nan_to_num(still[u]).sum()))
    recommender.close()
    gains_ = np.array(gains)
    mean, error = gains_.mean(), gains_.std(ddof=1) / np.sqrt(len(gains_))
    print(f"songs' worth of listening gained in a session of {LENGTH}: {mean:.2f} +- {1.96 * error:.2f}")
    assert mean - 1.645 * error > 0
