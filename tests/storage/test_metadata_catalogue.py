"""The catalogue: merges, columns, titles, search; what a restart, a lost cache, another process or a kill may do to it."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segue.catalogue.works import work_key
from segue.core.errors import BadInput, Corrupt, NotFound, NotReady
from segue.core.languages import language_code
from segue.core.records import ItemRecord, UserRecord
from segue.core.types import MISSING, NO_DAY, Items
from segue.storage.artifacts.folder import FolderArtifacts
from segue.storage.metadata import cache, database
from segue.storage.metadata.names import SqliteNames
from segue.storage.metadata.search import SearchIndex
from segue.storage.metadata.sqlite import SqliteCatalogue

Open = Callable[[], SqliteCatalogue]
SONGS = [
    ItemRecord("s1", title="Blue Moon", artist="Ella", album="Best", duration_s=180.5, tags=["jazz", "vocal"], released="1956"),
    ItemRecord("s2", title="Blue Moon (Live)", artist="Ella", tags=["jazz"], playable=False),
    ItemRecord("s3", title="Moon River", artist="Andy", kind="track", extra={"bpm": 90, "key": "C"}),
]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(SqliteCatalogue(tmp_path, today=lambda: 20_000, work_key=work_key)))


@pytest.fixture
def eager_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the cache however little is new."""
    monkeypatch.setattr(cache, "SLACK_ROWS", 0)
    monkeypatch.setattr(cache, "SLACK_SHARE", 0.0)


def ids(*dense: int) -> np.ndarray:
    return np.array(dense, np.int32)


def same(one: Items, other: Items) -> bool:
    return all(
        np.array_equal(getattr(one, f.name), getattr(other, f.name), equal_nan=f.name == "duration_s") for f in fields(Items)
    )


def tags_of(catalogue: SqliteCatalogue, item: int) -> list[str]:
    facts = catalogue.facts
    return catalogue.tags.all(facts.tags[facts.tags_ptr[item] : facts.tags_ptr[item + 1]])


def test_facts_are_columns_of_what_was_put(opened: Open) -> None:
    catalogue = opened()
    assert catalogue.put_items(SONGS).tolist() == [0, 1, 2]
    catalogue.put_items([ItemRecord(SONGS[1].id, language="en")])
    facts = catalogue.facts
    assert facts.language.tolist() == [MISSING, language_code("en"), MISSING]
    assert catalogue.artists.all(facts.artist) == ["Ella", "Ella", "Andy"]
    assert facts.album.tolist() == [0, MISSING, MISSING]
    assert facts.work.tolist() == [0, 0, 2]
    assert facts.released.tolist() == [-5114, NO_DAY, NO_DAY]
    assert facts.added.tolist() == [20_000] * 3
    assert np.array_equal(facts.duration_s, np.array([180.5, np.nan, np.nan], np.float32), equal_nan=True)
    assert facts.playable.tolist() == [True, False, True]
    assert [tags_of(catalogue, i) for i in range(3)] == [["jazz", "vocal"], ["jazz"], []]
    assert {f.name: getattr(facts, f.name).dtype for f in fields(Items)} == {
        f.name: getattr(Items.bare(1), f.name).dtype for f in fields(Items)
    }


def test_a_put_merges_field_by_field(opened: Open) -> None:
    catalogue = opened()
    catalogue.put_items(SONGS)
    catalogue.put_items(
        [ItemRecord("s3", album="Hits", extra={"bpm": 91, "key": None}), ItemRecord("s1", tags=[], released="")]
    )
    assert catalogue.item(2) == ItemRecord(
        "s3", title="Moon River", artist="Andy", album="Hits", kind="track", extra={"bpm": 91}
    )
    assert catalogue.item(0) == ItemRecord("s1", title="Blue Moon", artist="Ella", album="Best", duration_s=180.5, tags=[])
    assert (tags_of(catalogue, 0), tags_of(catalogue, 1)) == ([], ["jazz"])
    assert catalogue.facts.released[0] == NO_DAY


def test_of_two_records_in_one_batch_the_later_has_the_last_word(opened: Open) -> None:
    catalogue = opened()
    both = [ItemRecord("a", title="First", artist="X"), ItemRecord("b"), ItemRecord("a", title="Second", tags=["t", "t"])]
    assert catalogue.put_items(both).tolist() == [0, 1, 0]
    assert catalogue.item(0) == ItemRecord("a", title="Second", artist="X", tags=["t", "t"])
    assert tags_of(catalogue, 0) == ["t"]


def test_nothing_new_is_nothing_written_and_the_same_facts(opened: Open, tmp_path: Path) -> None:
    catalogue = opened()
    catalogue.put_items(SONGS)
    facts = catalogue.facts
    catalogue.put_items([*SONGS, ItemRecord("s1")])
    assert catalogue.facts is facts
    with closing(sqlite3.connect(tmp_path / "catalogue.db")) as raw:
        assert raw.execute("SELECT DISTINCT version FROM items").fetchall() == [(1,)]
    assert catalogue.put_items([]).tolist() == []


def test_items_that_only_events_know_have_bare_facts_until_they_are_put(opened: Open) -> None:
    catalogue = opened()
    catalogue.items.intern(["heard", "also heard"])
    assert same(catalogue.facts, Items.bare(2))
    assert catalogue.item(1) == ItemRecord("also heard")
    assert catalogue.titles(ids(1, 0)) == [("also heard", ""), ("heard", "")]
    catalogue.put_items([ItemRecord("new", title="Song", artist="A")])
    assert catalogue.facts.work.tolist() == [0, 1, 2]
    catalogue.put_items([ItemRecord("heard", title="Song (Live)", artist="A")])
    assert catalogue.facts.work.tolist() == [0, 1, 0]
    assert catalogue.facts.added.tolist() == [20_000, 0, 20_000]
    with pytest.raises(NotFound):
        catalogue.item(3)
    with pytest.raises(NotFound):
        catalogue.item(MISSING)


def test_facts_in_hand_never_change(opened: Open) -> None:
    catalogue = opened()
    catalogue.put_items(SONGS)
    held = catalogue.facts
    copy = Items(**{f.name: getattr(held, f.name).copy() for f in fields(Items)})
    catalogue.put_items(
        [ItemRecord("s0", title="X", artist="New", tags=["new"]), ItemRecord("s1", artist="Other", tags=["a"] * 3)]
    )
    catalogue.put_items([ItemRecord("s2", playable=True, duration_s=1.0, album="B", released="2000", title="Moon River")])
    assert same(held, copy)
    assert len(catalogue.facts) == 4
    with pytest.raises(ValueError, match="read-only"):
        catalogue.facts.artist[0] = 5


def test_titles_stand_for_slates(opened: Open) -> None:
    catalogue = opened()
    catalogue.put_items([*SONGS, ItemRecord("s4", title="Ohne Künstler"), ItemRecord("s5", artist="Nur Künstler")])
    assert catalogue.titles(ids(4, 0, 3, 0)) == [
        ("s5", "Nur Künstler"), ("Blue Moon", "Ella"), ("Ohne Künstler", ""), ("Blue Moon", "Ella"),
    ]  # fmt: skip
    assert catalogue.titles(ids()) == []
    catalogue.put_items([ItemRecord("s1", title="Red Moon")])
    assert catalogue.titles(ids(0)) == [("Red Moon", "Ella")]
    for unknown in (MISSING, 5):
        with pytest.raises(NotFound):
            catalogue.titles(ids(0, unknown))


def test_users_are_coarse_and_quick_to_ask(opened: Open) -> None:
    catalogue = opened()
    rows = [UserRecord("u1", age_band=3, region="fr", tags=["jazz"], artists=["Ella"]), UserRecord("u2", gender="f")]
    assert catalogue.put_users(rows).tolist() == [0, 1]
    assert catalogue.put_users([UserRecord("u2", region="de"), UserRecord("u1", age_band=4)]).tolist() == [1, 0]
    known, nobody = [(0, 4), (1, MISSING)], (MISSING, MISSING)
    assert [catalogue.user_context(user) for user in (0, 1, 2, MISSING)] == [*known, nobody, nobody]
    assert catalogue.user(0) == UserRecord("u1", age_band=4, region="fr", tags=["jazz"], artists=["Ella"])
    assert catalogue.user(1) == UserRecord("u2", gender="f", region="de")
    catalogue.put_users([UserRecord("u2", language="pt")])
    assert [catalogue.user_language(user) for user in (0, 1, 2, MISSING)] == [MISSING, language_code("pt"), MISSING, MISSING]
    assert catalogue.regions.all(ids(0, 1)) == ["fr", "de"]
    catalogue.users.intern(["u3"])
    assert catalogue.user(2) == UserRecord("u3")
    people = catalogue.user_facts
    assert (people.region.tolist(), people.age_band.tolist()) == ([0, 1, MISSING], [4, MISSING, MISSING])
    assert people.language.tolist() == [MISSING, language_code("pt"), MISSING]
    with pytest.raises(NotFound):
        catalogue.user(9)


def test_a_batch_that_fails_leaves_nothing(opened: Open) -> None:
    catalogue = opened()
    catalogue.regions.intern([f"r{i}" for i in range(32_767)])
    catalogue.put_users([UserRecord("a", region="r32766")])
    with pytest.raises(BadInput, match="regions"):
        catalogue.put_users([UserRecord("b", region="one"), UserRecord("c", region="two")])
    assert (len(catalogue.users), len(catalogue.regions)) == (1, 32_767)
    with pytest.raises(BadInput, match=r"regions: at most 32,768"):
        catalogue.regions.intern(["one", "two"])
    assert len(catalogue.regions) == 32_767
    assert catalogue.put_users([UserRecord("d")]).tolist() == [1]
    assert opened().users.find(["b", "d"]).tolist() == [MISSING, 1]


def test_devices_beyond_what_an_event_can_tell_apart_are_refused(opened: Open) -> None:
    catalogue = opened()
    assert catalogue.devices.intern([f"d{i}" for i in range(128)]).max() == 127
    with pytest.raises(BadInput, match="devices: at most 128"):
        catalogue.devices.intern(["d0", "one more"])
    assert catalogue.devices.intern(["d127"]).tolist() == [127]
    assert opened().devices.find(["d127", "one more"]).tolist() == [127, MISSING]


PLAIN = [
    ("blue moon", [0, 1]), ("moon", [2, 0, 1]), ("MOON r", [2]), ("ella", [0, 1]), ("ella moon", [0, 1]), ("moo", [2, 0, 1]),
    ("river blue", []), ("", []), ("  ", []), ('" OR title:*', []), ("NOT", []), ("moon*", [2, 0, 1]), ("(", []),
    ("ue moon", []), ("b m", []), ("blue l", [1]), ("\x00", []), ("x " * 500, []), ("東", [5]),
]  # fmt: skip
FOLDED = [
    ("beyonce", [3]), ("BEYONCÉ", [3]), ("dont", [3]), ("don't stop", [3]), ("stra", [4]), ("STRASSE", [4]), ("straße", [4]),
]  # fmt: skip


def with_songs(catalogue: SqliteCatalogue) -> SqliteCatalogue:
    more = [("Don't Stop", "Beyoncé"), ("Straße", "Der Chor"), ("東京", "椎名")]
    catalogue.put_items([*SONGS, *(ItemRecord(f"m{i}", title=title, artist=artist) for i, (title, artist) in enumerate(more))])
    return catalogue


@pytest.mark.parametrize(("text", "found"), PLAIN + FOLDED)
def test_search_finds_words_and_the_beginning_of_the_last(opened: Open, text: str, found: list[int]) -> None:
    catalogue = with_songs(opened())
    assert catalogue.search(text, 10).tolist() == found
    assert catalogue.search(text, 1).tolist() == found[:1]
    assert catalogue.search(text, 0).tolist() == []


@pytest.mark.parametrize(("text", "found"), PLAIN)
def test_search_without_fts5_compares_letters_as_they_are(
    opened: Open, monkeypatch: pytest.MonkeyPatch, text: str, found: list[int]
) -> None:
    monkeypatch.setattr(SearchIndex, "_found", staticmethod(lambda transaction: False))
    assert with_songs(opened()).search(text, 10).tolist() == found


def test_search_forgets_what_a_title_was_and_learns_what_was_put_without_an_index(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setattr(SearchIndex, "_found", staticmethod(lambda transaction: False))
        opened().put_items(SONGS)
    catalogue = opened()
    assert catalogue.search("river", 5).tolist() == [2]
    catalogue.put_items([ItemRecord("s3", title="Moon Lake")])
    assert catalogue.search("river", 5).tolist() == []
    assert catalogue.search("lake andy", 5).tolist() == [2]


def test_what_one_put_the_other_sees_after_refresh(opened: Open) -> None:
    one, other = opened(), opened()
    one.put_items(SONGS[:2])
    one.put_users([UserRecord("u", region="fr", age_band=1)])
    assert len(other.facts) == 0
    other.refresh()
    assert same(one.facts, other.facts)
    assert other.user_context(0) == (0, 1)
    assert other.titles(ids(0)) == [("Blue Moon", "Ella")]
    other.put_items([ItemRecord("s1", tags=["calm"]), SONGS[2]])
    one.put_items([ItemRecord("s1", duration_s=3.0)])  # a put takes in what others put
    assert one.item(0) == ItemRecord(
        "s1", title="Blue Moon", artist="Ella", album="Best", duration_s=3.0, tags=["calm"], released="1956"
    )
    other.refresh()
    assert same(one.facts, other.facts)
    assert tags_of(one, 0) == ["calm"]


def test_a_refresh_sees_one_moment_though_others_go_on_writing(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = opened(), opened()
    one.put_items(SONGS[:1])
    rest = [SONGS[2]]
    take_in = SqliteNames.take_in

    def slowly(names: SqliteNames) -> None:
        take_in(names)
        if names is other.devices and rest:  # the last dictionary has been read, the rows have not
            with monkeypatch.context() as undone:
                undone.setattr(SqliteNames, "take_in", take_in)
                one.put_items([rest.pop()])

    monkeypatch.setattr(SqliteNames, "take_in", slowly)
    other.refresh()
    assert len(other.facts) == 1
    other.refresh()
    assert same(other.facts, one.facts)
    assert other.titles(ids(1)) == [("Moon River", "Andy")]


def test_who_opens_a_catalogue_waits_for_no_writer_and_a_writer_gives_up_in_words(
    opened: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(database, "WAIT_S", 0.01)
    opened().put_items(SONGS)
    with closing(sqlite3.connect(tmp_path / "catalogue.db", isolation_level=None)) as busy:
        busy.execute("BEGIN IMMEDIATE")
        late = opened()
        assert late.titles(ids(0)) == [("Blue Moon", "Ella")]
        with pytest.raises(NotReady, match="another process"):
            late.put_items([ItemRecord("more")])
        busy.execute("ROLLBACK")
    assert late.put_items([ItemRecord("more")]).tolist() == [3]


def test_readers_see_whole_facts_while_another_thread_puts(opened: Open) -> None:
    catalogue, wrong, done = opened(), [], threading.Event()
    catalogue.put_items(SONGS)

    def read() -> None:
        while not done.is_set():
            facts = catalogue.facts
            lengths = {len(getattr(facts, f.name)) for f in fields(Items) if f.name not in ("tags", "tags_ptr")}
            if lengths != {len(facts.tags_ptr) - 1} or facts.tags_ptr[-1] != len(facts.tags) or np.any(facts.artist[:-1] < 0):
                wrong.append(f"{lengths} {facts.tags_ptr[-1]} {len(facts.tags)}")
            last = len(facts) - 1
            title, artist = catalogue.titles(ids(last))[0]
            titles, artists = (f"x{last}", f"Title {last}", f"Changed {last}"), ("", f"Artist {last}")
            if last > 2 and not (title in titles and artist in artists):  # named a moment ago: its facts are about to follow
                wrong.append(f"{last}: {title} {artist}")
            if set(catalogue.search("moon", 9).tolist()) != {0, 1, 2}:
                wrong.append("search")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(3, 40):
        song = ItemRecord(f"x{n}", title=f"Title {n}", artist=f"Artist {n}", tags=[f"t{n % 3}"])
        catalogue.put_items([song])
        catalogue.put_items(
            [ItemRecord(f"x{n}", title=f"Changed {n}", tags=["a", "b"]), ItemRecord("s2", tags=["z"] * (n % 2))]
        )
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []


def damage_nothing(folder: Path) -> None:
    pass


def damage_all(folder: Path) -> None:
    shutil.rmtree(folder / "cache")


def damage_a_byte(folder: Path) -> None:
    for path in (folder / "cache").glob("*/*/*.npy"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.unlink()  # another who has it mapped keeps the sound one
        path.write_bytes(data)


def damage_by_cutting(folder: Path) -> None:
    for path in (folder / "cache").glob("*/*/slots.npy"):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data[:100])


def damage_columns(folder: Path) -> None:
    shutil.rmtree(folder / "cache" / "items")


def damage_names(folder: Path) -> None:
    shutil.rmtree(folder / "cache" / "names-artists")


@pytest.mark.usefixtures("eager_cache")
@pytest.mark.parametrize("damage", [damage_nothing, damage_all, damage_a_byte, damage_by_cutting, damage_columns, damage_names])
def test_the_cache_is_never_the_truth(opened: Open, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    first = opened()
    first.put_items(SONGS)
    first.put_users([UserRecord("u", region="fr", age_band=1, language="fr")])
    first.close()
    assert (tmp_path / "cache" / "items" / "aliases.json").exists()
    second = opened()
    second.put_items([ItemRecord("s2", title="Sun", artist="New"), ItemRecord("s9", title="Moon River", artist="Andy")])
    facts = second.facts
    damage(tmp_path)  # second is not closed: what it put is behind the cache
    third = opened()
    assert same(third.facts, facts)
    assert third.facts.work.tolist() == [0, 1, 2, 2]
    assert third.titles(ids(0, 1)) == [("Blue Moon", "Ella"), ("Sun", "New")]
    assert third.user_context(0) == (0, 1)
    assert third.user_language(0) == language_code("fr")
    assert third.items.intern(["s9", "s10", "s1"]).tolist() == [3, 4, 0]
    assert third.search("sun", 5).tolist() == [1]


@pytest.mark.usefixtures("eager_cache")
def test_a_cached_start_reads_no_row_of_the_database(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened()
    first.put_items(SONGS)
    first.close()
    monkeypatch.setattr(SqliteCatalogue, "_rows", None)
    assert len(opened().facts) == 3


@pytest.mark.usefixtures("eager_cache")
def test_a_database_put_back_from_a_copy_wins_over_a_newer_cache(opened: Open, tmp_path: Path) -> None:
    first = opened()
    first.put_items(SONGS[:1])
    first.close()
    shutil.copy(tmp_path / "catalogue.db", tmp_path / "copy.db")
    second = opened()
    second.put_items(SONGS)
    second.close()
    for leftover in tmp_path.glob("catalogue.db-*"):
        leftover.unlink()
    shutil.copy(tmp_path / "copy.db", tmp_path / "catalogue.db")
    third = opened()
    assert len(third.items) == len(third.facts) == 1
    assert third.put_items([ItemRecord("other", title="Other")]).tolist() == [1]
    assert third.titles(ids(0, 1)) == [("Blue Moon", "Ella"), ("Other", "")]


@pytest.mark.parametrize("names", ["the same", "others"])
def test_the_cache_of_a_database_that_was_put_back_never_comes_true_again(
    names: str, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache of facts that were lost with the database is gone for good, however small the catalogue that follows."""
    monkeypatch.setattr(cache, "SLACK_ROWS", 0)
    first = opened()
    first.put_items(SONGS if names == "the same" else SONGS[:1])
    first.close()
    shutil.copy(tmp_path / "catalogue.db", tmp_path / "copy.db")
    second = opened()
    second.put_items(SONGS)
    second.put_items([ItemRecord("s1", artist="lost"), ItemRecord("s2", artist="lost"), ItemRecord("s3", artist="lost")])
    second.close()
    monkeypatch.setattr(cache, "SLACK_ROWS", 1000)
    shutil.copy(tmp_path / "copy.db", tmp_path / "catalogue.db")
    third = opened()
    for number in range(9):
        third.put_items([ItemRecord("s3", title=f"Moon {number}")])
    third.close()
    fourth = opened()
    assert [artist for _, artist in fourth.titles(np.arange(len(fourth.items)))] == [
        fourth.item(dense).artist or "" for dense in range(len(fourth.items))
    ]
    assert len(fourth.facts) == len(fourth.items)


@pytest.mark.usefixtures("eager_cache")
def test_of_two_who_write_a_cache_at_once_none_fails(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = opened(), opened()
    put, waiting = FolderArtifacts.put, [second]

    def beside(store: FolderArtifacts, *what: Any) -> str:
        version = put(store, *what)
        if waiting and what[0] == "items":
            other = waiting.pop()
            other.put_items(SONGS)
            other.close()
        return version

    monkeypatch.setattr(FolderArtifacts, "put", beside)
    first.put_items(SONGS[:1])
    first.close()
    assert not waiting
    assert len(opened().facts) == 3


@pytest.mark.usefixtures("eager_cache")
def test_the_cache_of_another_database_is_not_used(opened: Open, tmp_path: Path) -> None:
    first = opened()
    first.put_items(SONGS)
    first.close()
    for path in tmp_path.glob("catalogue.db*"):
        path.unlink()
    assert len(opened().items) == 0


def test_a_file_that_is_no_catalogue_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "catalogue.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(Corrupt, match=r"catalogue\.db"):
        SqliteCatalogue(tmp_path, today=lambda: 0, work_key=work_key)


def test_a_catalogue_of_a_later_version_is_refused(opened: Open, tmp_path: Path) -> None:
    opened().close()
    with closing(sqlite3.connect(tmp_path / "catalogue.db")) as raw, raw:
        raw.execute("UPDATE about SET value = '99' WHERE key = 'format'")
    with pytest.raises(Corrupt, match="format 99"):
        SqliteCatalogue(tmp_path, today=lambda: 0, work_key=work_key)


titles = st.sampled_from(["Blue", "Blue (Live)", "Red", ""])
records = st.builds(
    ItemRecord,
    id=st.sampled_from([f"i{n}" for n in range(6)]),
    title=st.none() | titles,
    artist=st.none() | st.sampled_from(["A", "B", ""]),
    tags=st.none() | st.lists(st.sampled_from(["x", "y", "z"]), max_size=3),
    released=st.none() | st.sampled_from(["2000", "2001-02-03"]),
    duration_s=st.none() | st.sampled_from([1.0, 2.5]),
    playable=st.none() | st.booleans(),
    language=st.none() | st.sampled_from(["", "en", "yue", "zxx"]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(records, max_size=5), max_size=6))
def test_any_history_of_puts_gives_the_columns_of_a_fresh_read(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[ItemRecord]]
) -> None:
    folder = tmp_path_factory.mktemp("catalogue")
    with ExitStack() as stack:

        def catalogue() -> SqliteCatalogue:
            return stack.enter_context(closing(SqliteCatalogue(folder, today=lambda: 1, work_key=work_key)))

        one, other = catalogue(), catalogue()
        for number, batch in enumerate(batches):
            (one, other)[number % 2].put_items(batch)
            if number % 3 == 0:
                assert len(one.facts) == len(one.items)
        for each in (one, other):
            each.refresh()
        fresh = catalogue()
        n = len(fresh.items)
        every = np.arange(n, dtype=np.int32)
        for each in (one, other):
            assert same(each.facts, fresh.facts)
            assert each.titles(every) == fresh.titles(every)
            assert each.search("blue", 9).tolist() == fresh.search("blue", 9).tolist()
        assert sorted(fresh.search("blue", 9).tolist()) == [row for row in range(n) if "Blue" in (fresh.item(row).title or "")]


WRITER = """
import sys
from pathlib import Path
from segue.core.records import ItemRecord
from segue.storage.metadata.sqlite import SqliteCatalogue
catalogue = SqliteCatalogue(Path(sys.argv[1]), today=lambda: 1, work_key=lambda title, artist: title)
name = sys.argv[2]
for n in range(100_000):
    song = ItemRecord(f"{name}-{n}", title=f"Title {name} {n}", artist=f"Artist {n % 7}", tags=[f"t{n % 5}"])
    print(n, catalogue.put_items([song])[0], flush=True)
"""


def test_killed_writers_lose_nothing_they_acknowledged_and_never_share_an_id(opened: Open, tmp_path: Path) -> None:
    acknowledged: dict[str, int] = {}
    for cycle in range(3):
        children = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), f"{cycle}{side}"], stdout=subprocess.PIPE, text=True)
            for side in "ab"
        ]
        for side, child in zip("ab", children, strict=True):
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(10 + cycle)]
            os.kill(child.pid, signal.SIGKILL)
            lines += child.stdout.read().splitlines(keepends=True)
            child.stdout.close()
            child.wait()
            acknowledged |= {
                f"{cycle}{side}-{n}": int(dense) for n, dense in (line.split() for line in lines if line[-1] == "\n")
            }
    catalogue = opened()
    names = list(acknowledged)
    assert catalogue.items.find(names).tolist() == list(acknowledged.values())
    assert len(set(acknowledged.values())) == len(names) >= 60
    for name, dense in acknowledged.items():
        number = int(name.split("-")[1])
        assert catalogue.titles(ids(dense)) == [(f"Title {name.replace('-', ' ')}", f"Artist {number % 7}")]
        assert tags_of(catalogue, dense) == [f"t{number % 5}"]
    with closing(sqlite3.connect(tmp_path / "catalogue.db")) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        stored = raw.execute("SELECT count(*) FROM items").fetchone()[0]
    assert stored == len(catalogue.items)  # names and facts of a put are one transaction
