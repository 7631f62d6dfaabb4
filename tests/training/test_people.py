"""The past asked with the context of its day: region, age, local time and device, by night as by day."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from night_toys import DAY_MS, DAYS, N_ITEMS, N_USERS, T0, Counts, First, ListLog, Loved, Ring, walks

from segue.core.clock import hour_of_week
from segue.core.languages import language_code
from segue.core.records import UserRecord
from segue.core.types import MISSING, Events, Items, Users
from segue.features.compute import EXTRA, Features, proven
from segue.ranking.logistic import Logistic
from segue.serving.query import ContextIn, RecommendIn
from segue.storage.artifacts.folder import FolderArtifacts
from segue.training import people as people_module
from segue.training.dataset import build_history, park, split_by_time, unpark
from segue.training.nightly import Recipe, Settings, features_of, run_night
from segue.training.people import People
from segue.training.registry import AUDIENCE, Registry
from segue.training.replay import next_play, query_before
from segue.wiring.home import open_home
from segue.wiring.radio import maker_of

END = T0 + DAYS * DAY_MS


def told(n: int = N_USERS) -> Users:
    """Even listeners are in region 1 and of band 2, odd ones in region 3; every tenth tells nothing."""
    out = Users.unknown(n)
    out.region[:], out.age_band[::2] = np.where(np.arange(n) % 2, 3, 1), 2
    out.language[:] = np.arange(n) % 5 - 1
    out.region[::10] = out.age_band[::10] = -1
    return out


def with_devices() -> Events:
    events = walks()
    events["device"] = np.arange(len(events)) % 4 - 1
    return events


def history_of(events: Events):  # type: ignore[no-untyped-def]
    log, facts = ListLog(events), Items.bare(N_ITEMS)
    return build_history(log, facts, now=END, window_ms=END, n_users=N_USERS, n_items=N_ITEMS)  # type: ignore[arg-type]


def test_devices_stay_with_their_rows_through_sorting_parking_and_splitting(tmp_path: Path) -> None:
    events = with_devices()
    shuffled = events[np.random.default_rng(0).permutation(len(events))]
    history = history_of(shuffled)
    want = {
        (int(e["user"]), int(e["at"]) // 1000): int(e["device"]) for e in events
    }  # nobody does two things in one second here
    got = zip(history.user.tolist(), history.at.tolist(), history.device.tolist(), strict=True)
    assert {(user, at): device for user, at, device in got} == want
    park(history, tmp_path)
    again = unpark(tmp_path, history.facts, n_users=N_USERS, now=END)
    assert again.device.tolist() == history.device.tolist()
    before, held = split_by_time(history, END - 2 * DAY_MS)
    assert len(before.device) + len(held) == len(history)
    query = query_before(history, int(np.searchsorted(history.user, 7)), int(held.row[9]), now=END, session=-1, limit=5)
    assert query.context.device == history.device[held.row[9]]


def test_queries_are_told_who_asks_and_what_time_it_is_there() -> None:
    history = history_of(with_devices())
    held = split_by_time(history, END - 2 * DAY_MS)[1]
    tasks = next_play(history, held, np.arange(N_USERS, dtype=np.int32), 5, np.random.default_rng(0))
    users = told()
    asked = People(users, {3: 330}).asking(tasks)
    for plain, query in zip(tasks.queries, asked.queries, strict=True):
        region = int(users.region[query.user])
        assert (query.context.region, query.context.age_band) == (region, int(users.age_band[query.user]))
        assert query.context.hour_of_week == hour_of_week(query.now, 330 if region == 3 else 0)
        assert query.context.device == plain.context.device
    assert People.nobody().asking(tasks).queries == tasks.queries


def test_the_day_tells_the_same_context(tmp_path: Path) -> None:
    """A real home: the query of a request and the replayed one have the same context."""
    (tmp_path / "segue.toml").write_text('[regions]\nPunjab = 330\nHessen = "Europe/Berlin"\n', encoding="utf-8")
    with open_home(tmp_path, None, writer=True) as home:
        home.catalogue.put_users(
            [UserRecord("a", age_band=3, region="Punjab"), UserRecord("b", language="pt"), UserRecord("c", region="Hessen")]
        )
        home.catalogue.users.intern(["d"])
        people = People(home.catalogue.user_facts, home.utc_offsets)
        assert len(people.users) == 4
        now = time.time_ns() // 1_000_000
        for dense, name in enumerate("abcd"):
            by_day = maker_of(home).make(RecommendIn(user=name, context=ContextIn(at=now / 1000)), now, 1)[0]
            assert people._told(by_day).context == by_day.context, name
            assert by_day.context.language == (language_code("pt") if name == "b" else MISSING)
            assert (int(people.users.region[dense]), int(people.users.age_band[dense])) == home.catalogue.user_context(dense)


def test_audience_by_hand() -> None:
    history = history_of(walks())
    got = People(told()).audience(history)
    assert got["by_age"].shape == (N_ITEMS, 3)
    assert got["regions"].tolist() == [-1, 0, -1, 1]
    liked = history.signal > 0
    users = told()
    for column, region in enumerate((1, 3)):
        mine = liked & (users.region[history.user] == region)
        every = liked & (users.region[history.user] >= 0)
        share = (mine.sum() + 1) / (every.sum() + 2)
        for item in (0, 17):
            here = (history.item == item) & mine
            plays = ((history.item == item) & every).sum()
            want = np.log((here.sum() + 20 * share) / (plays + 20) / share)
            assert got["by_region"][item, column] == pytest.approx(want, abs=1e-5)
    nothing = People.nobody().audience(history)
    assert nothing["by_age"].shape == (N_ITEMS, 0)
    assert nothing["by_region"].shape == (N_ITEMS, 0)


def test_only_the_regions_with_the_most_plays_have_a_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people_module, "MOST_REGIONS", 1)
    users = told()
    users.region[:] = np.where(np.arange(N_USERS) < 30, 5, 2)
    got = People(users).audience(history_of(walks()))
    assert got["by_region"].shape == (N_ITEMS, 1)
    assert got["regions"].tolist() == [-1, -1, 0, -1, -1, -1]


def test_a_night_that_is_told_to_look_at_the_audience_stores_its_tables(tmp_path: Path) -> None:
    def night(folder: Path, groups: tuple[str, ...]):  # type: ignore[no-untyped-def]
        recipe = Recipe(
            {"loved": Loved, "ring": Ring},
            First,
            Logistic,
            people=lambda: People(told()),
            columns=lambda sources: proven(sources, groups),
        )
        store = FolderArtifacts(folder)
        run_night(
            ListLog(with_devices()),
            Counts(),
            store,
            recipe,
            Settings(k=5, seed=1),
            now=END,  # type: ignore[arg-type]
        )
        return Registry(store).bundle()

    bundle = night(tmp_path / "with", ("audience",))
    features = features_of(bundle)
    assert set(EXTRA["audience"]) <= set(features.names)
    assert bundle.arrays[AUDIENCE]["by_age"].shape == (N_ITEMS, 3)
    assert features._around.by_region.tobytes() == np.asarray(bundle.arrays[AUDIENCE]["by_region"]).tobytes()
    coefficients = bundle.manifest["ranker_facts"]["coefficients"]
    assert coefficients["age_match"] != 0
    assert coefficients["device"] != 0
    plain = night(tmp_path / "without", ())
    assert AUDIENCE not in plain.arrays
    assert not set(EXTRA["audience"]) & set(features_of(plain).names)


def test_every_group_that_may_be_named_has_columns() -> None:
    assert all(set(names) <= set(Features(("a",)).names) for names in EXTRA.values())
