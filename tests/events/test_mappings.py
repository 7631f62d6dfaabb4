"""Every shipped mapping on the real files: each row is accounted for, and a second run adds nothing."""

from pathlib import Path

import numpy as np
import pytest
from importing import NOW, Town, whole

from segue.core.actions import Action
from segue.core.clock import DAY_MS
from segue.events.importers import open_reader
from segue.events.importers.mapping import names, shipped

# name: (rows, accepted, rejected, repeated, rows of facts, users, items)
COUNTS = {
    "botify_world": (80_000, 30_000, 0, 0, 50_000, 10_000, 50_000),
    "coat": (12_190, 11_600, 0, 0, 590, 290, 300),
    "game_music": (211, 0, 0, 0, 211, 0, 211),
    "gowalla_lightgcn": (1_027_370, 1_027_370, 0, 0, 0, 29_858, 40_981),
    "hetrec2011_lastfm_2k": (296_945, 92_834, 0, 0, 204_111, 1_892, 18_022),
    "kuairand_sample": (41_828, 41_828, 0, 0, 0, 664, 9_359),
    "movielens_100k": (102_625, 100_000, 0, 0, 2_625, 943, 1_682),
    "open_bandit_small": (40_080, 40_000, 0, 0, 80, 317, 80),
    "splits": (529_973, 509_338, 0, 0, 20_635, 8_647, 220_877),
    "spotify_playlists_polimi2018": (199_661, 179_026, 0, 0, 20_635, 10_000, 20_635),
    "spotify_songs_tidytuesday": (32_833, 32_833, 0, 0, 0, 471, 28_356),
    "wfmu_playlists": (346_238, 288_792, 9_780, 9_615, 38_051, 359, 195_110),
}


def imported(data: Path, name: str, folder: Path) -> Town:
    """The folder of a data set, imported without naming its format."""
    if not (data / name).is_dir():
        pytest.skip(f"no {name} in {data}")
    reader = open_reader(data / name, NOW)
    assert reader.name == name, "the fingerprint finds the mapping"
    town = Town(folder)
    s = town.take(reader)
    assert whole(s)
    assert (s.rows, s.accepted, s.rejected, s.repeated, s.fact_rows, s.users, s.items) == COUNTS[name]
    assert (s.duplicates, s.conflicts) == (0, 0)
    return town


def test_every_shipped_mapping_is_proved_here_or_by_name() -> None:
    assert set(names()) == {*COUNTS, "movielens"}
    assert [m.name for m in shipped()] == names(), "a mapping is called as its file"
    assert all(m.about.endswith(".") for m in shipped())


@pytest.mark.parametrize("name", [n for n in COUNTS if n not in ("wfmu_playlists", "splits", "gowalla_lightgcn")])
def test_rows_are_accounted_for_and_a_second_run_adds_nothing(data: Path, name: str, tmp_path: Path) -> None:
    town = imported(data, name, tmp_path)
    again = town.take(open_reader(data / name, NOW, batch_rows=10_007))
    assert (again.accepted, again.duplicates, again.conflicts) == (0, COUNTS[name][1], 0)


@pytest.mark.parametrize("name", ["gowalla_lightgcn", "splits"])
def test_the_large_ones(data: Path, name: str, tmp_path: Path) -> None:
    imported(data, name, tmp_path)


def test_wfmu(data: Path, tmp_path: Path) -> None:
    town = imported(data, "wfmu_playlists", tmp_path)
    events = town.events
    assert set(np.unique(events["action"]).tolist()) == {Action.COMPLETED}
    reasons = [(r["file"], r["reason"]) for r in town.rejected]
    first = events[: 230_564 - 9_615 - sum(file == "playlists.parquet" for file, _ in reasons)]
    assert (first["at"] % DAY_MS == first["position"].astype(np.int64) * 1000).all(), "a second of the day for each place"
    assert sum(reason.startswith("at is 19") for _, reason in reasons) == 71, "wrong dates, 1932 and later"
    assert sum("another table" in reason for _, reason in reasons) == 5_621
    assert town.item_facts["david bowie\tchanges"]["artist"] == "David Bowie"
    assert town.user_facts["TT"].artists is not None


def test_what_the_rows_say(data: Path, tmp_path: Path) -> None:
    movies = imported(data, "movielens_100k", tmp_path)
    assert movies.rows("user", "item", "value", "at")[0] == ("196", "242", 3.0, 881_250_949_000)
    assert (movies.user_facts["1"].age_band, movies.user_facts["1"].region) == (2, "zip:8xxxx")
    videos = imported(data, "kuairand_sample", tmp_path)
    assert int(np.isnan(videos.events["duration_s"]).sum()) == 7_738, "a length of 0 is not known"
    bandit = imported(data, "open_bandit_small", tmp_path)
    assert set(np.unique(bandit.events["position"]).tolist()) == {0, 1, 2}
    assert set(np.unique(bandit.events["action"]).tolist()) == {Action.SHOWN, Action.CLICKED}
    plays = imported(data, "hetrec2011_lastfm_2k", tmp_path)
    assert plays.events["value"].max() == 352_698
    assert plays.item_facts["1"]["title"] == "MALICE MIZER"
    lists = imported(data, "spotify_playlists_polimi2018", tmp_path)
    mine = lists.events[lists.events["user"] == 0]
    assert mine["position"][mine["position"] >= 0].tolist() == list(range(int((mine["position"] >= 0).sum())))


def test_one_file_of_a_folder(data: Path, tmp_path: Path) -> None:
    file = data / "splits" / "playlists_seeds.parquet"
    if not file.exists():
        pytest.skip(f"no {file}")
    town = Town(tmp_path)
    assert town.take(open_reader(file, NOW)).accepted == 5_000
