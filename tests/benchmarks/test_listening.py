"""`next` and `continuation`: figures by hand, files as the contract names them, and patterns that must be found."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segue.benchmarks import continuation, next_item
from segue.benchmarks._blend import Choice, Lists, Pairs, best_of, gain, interval, ranks
from segue.benchmarks._habits import HALF_LIVES, TRENDS, Habits
from segue.benchmarks._listening import Events, by_session, history, read
from segue.benchmarks.continuation import Playlists, Task
from segue.core.errors import BadInput
from segue.core.types import MISSING

MONDAY = datetime.date(2024, 1, 1)


def arguments(module: Any, **values: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    flags = [part for name, value in values.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return parser.parse_args(flags)


def sessions(path: Path, n: int, first: int, columns: tuple[str, ...] = ("user", "at", "artist")) -> Path:
    """Each session walks round one of four rings of five songs, so the next song is always known."""
    rng = np.random.default_rng(first)
    rows: dict[str, list[Any]] = {name: [] for name in ("session", "position", "item", "user", "at", "artist")}
    for s in range(first, first + n):
        ring, start = rng.integers(4), rng.integers(5)
        for place in range(4):
            song = ring * 5 + (start + place) % 5
            day = MONDAY + datetime.timedelta(days=s)
            values = (s, place, f"song {song}", f"dj {ring}", day, f"artist {song}")
            for name, value in zip(rows, values, strict=True):
                rows[name].append(value)
    kept = {name: values for name, values in rows.items() if name in ("session", "position", "item", *columns)}
    pq.write_table(pa.table(kept), path)
    return path


def test_next_finds_a_pattern_that_popularity_cannot(tmp_path: Path) -> None:
    train, test = sessions(tmp_path / "train.parquet", 120, 0), sessions(tmp_path / "test.parquet", 20, 120)
    result: Any = next_item.run(arguments(next_item, train=train, test=test, k=3))
    assert result["events"] == 60
    assert result["share_repeating_an_artist"] == 0.0
    assert result["hit@3"] > 0.9
    assert result["models"]["popularity"]["hit@3"] < 0.5
    assert result["models"]["just_played"]["hit@3"] == 0.0
    low, high = result["mrr@3_interval"]
    assert low <= result["mrr@3"] <= high
    rival = result["versus"]
    assert rival["hit@3_gain"] == pytest.approx(result["hit@3"] - result["models"][rival["model"]]["hit@3"], abs=1.5e-4)
    assert rival["no_repeated_artist"]["hit@3_gain"] == rival["hit@3_gain"], "no artist is repeated here"
    assert result["fit_cpu_s"] >= 0


def test_next_needs_only_session_position_and_item(tmp_path: Path) -> None:
    train = sessions(tmp_path / "train.parquet", 60, 0, ())
    test = sessions(tmp_path / "test.parquet", 10, 60, ())
    result: Any = next_item.run(arguments(next_item, train=train, test=test, k=3))
    assert result["hit@3"] > 0.8
    by_artist = sessions(tmp_path / "artists.parquet", 60, 0)
    with pytest.raises(BadInput, match="needs a column 'artist'"):
        next_item.run(arguments(next_item, train=by_artist, test=test, item="artist"))


def test_next_says_what_is_missing(tmp_path: Path) -> None:
    pq.write_table(pa.table({"session": [1], "item": ["a"]}), tmp_path / "bad.parquet")
    with pytest.raises(BadInput, match="needs a column 'position'; it has session, item"):
        read(str(tmp_path / "bad.parquet"), "item")
    alone = sessions(tmp_path / "one.parquet", 1, 0)
    with pytest.raises(BadInput, match="more sessions are needed"):
        next_item.run(arguments(next_item, train=alone, test=alone))


def test_events_are_known_songs_after_the_first_and_queries_hold_what_came_before(tmp_path: Path) -> None:
    table = {"session": [7, 7, 7, 3, 3], "position": [1, 0, 2, 1, 0], "item": list("bacxa"), "at": [9, 9, 9, 5, 5]}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    plays = read(str(tmp_path / "t.parquet"), "item")
    assert [plays.items[int(i)].as_py() for i in plays.item] == ["a", "x", "a", "b", "c"], "the older session first"
    known = np.array([name.as_py() != "x" for name in plays.items])
    events = Events.of(plays, known)
    assert [plays.items[int(i)].as_py() for i in events.targets] == ["b", "c"]
    queries = list(events.queries())
    assert [[plays.items[int(i)].as_py() for i in q.recent.items] for q in queries] == [["a"], ["b", "a"]]
    assert queries[0].now == 9000
    assert history(plays).n_sessions == 2


def test_a_repeated_artist_is_seen(tmp_path: Path) -> None:
    table = {"session": [1] * 4, "position": range(4), "item": list("abcd"), "artist": list("xyxz")}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    plays = read(str(tmp_path / "t.parquet"), "item")
    assert Events.of(plays, np.ones(4, np.bool_)).repeats_artist().tolist() == [False, True, False]


def test_cuts_of_train_follow_each_other(tmp_path: Path) -> None:
    plays = read(str(sessions(tmp_path / "t.parquet", 40, 0)), "item")
    for fold, (first, last) in enumerate(((36, 40), (32, 36))):
        head, cut = next_item.split(plays, fold)
        assert np.unique(head.session).tolist() == list(range(first))
        assert np.unique(cut.session).tolist() == list(range(first, last))


def test_habits_by_hand(tmp_path: Path) -> None:
    table = {
        "session": [1] * 3 + [2] * 2 + [3] * 4,
        "position": [0, 1, 2, 0, 1, 0, 1, 2, 3],
        "item": list("aab") + list("cb") + list("baac"),
        "user": ["ann"] * 3 + ["bob"] * 2 + ["ann"] * 4,
        "at": [0] * 3 + [7 * 86_400] * 2 + [8 * 86_400] * 4,
    }
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    plays = read(str(tmp_path / "t.parquet"), "item")
    past = history(plays.where(plays.session < 2))  # now is a day after the last play: ann's are 8 days old, bob's 1
    assert past.now == 8 * 86_400_000
    habits = Habits().fit(past)
    everyone = 1.5 / 6
    ann, bob = (0.25 * 50 + 1) / 53, 0.25 * 50 / 52
    assert everyone == 0.25
    assert habits.again_ == pytest.approx([np.log(ann / (1 - ann)), np.log(bob / (1 - bob))], rel=1e-5)
    assert habits.at_once_ == pytest.approx(habits.again_), "the only repeat follows at once"
    events = Events.of(plays.where(plays.session == 2), np.ones(3, np.bool_))
    pairs = Pairs.of([np.array([[0, 1, 2]] * 3, np.int32)], 3)
    signs = habits.signs(events, pairs)
    assert signs.shape == (9, 16 + 2 * len(HALF_LIVES) + 3 + len(TRENDS))
    third = signs[6:]  # b a a so far: a was the last, twice; b three places ago, once; c never
    assert third[:, 0].tolist() == [1, 1, 0], "had"
    assert third[:, 1].tolist() == [1, 0, 0], "had just before"
    assert third[:, 3].tolist() == [0, 1, 0], "had three to five places ago"
    session = np.log(2 / 13)
    assert third[:, 8] == pytest.approx([session, session, 0], rel=1e-5)
    assert third[:, 12] == pytest.approx(np.log1p([2, 1, 0]), rel=1e-5)
    week = 2 ** (-8 / 7)
    assert third[:, 16] == pytest.approx(np.log1p([2 * week, week, 0]), rel=1e-5)
    known = 16 + 2 * len(HALF_LIVES)
    assert third[:, known : known + 3].tolist() == [[1, pytest.approx(np.log(9)), 0]] * 2 + [[0, 0, 0]]
    assert third[2, -3] == pytest.approx(np.log1p(2 ** (-1 / 30)), rel=1e-5), "everyone's plays of c"


def test_sessions_as_listeners(tmp_path: Path) -> None:
    past = history(read(str(sessions(tmp_path / "t.parquet", 12, 0)), "item"))
    alone = by_session(past)
    assert alone.n_users == 12
    assert alone.user_ptr().tolist() == list(range(0, 49, 4))


def test_a_paired_gain_is_surer_than_two_intervals() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 10)
    theirs = np.repeat(rng.random(60), 10)
    found: Any = gain({"hit": theirs + 0.01}, {"hit": theirs}, groups)
    assert found == {"hit_gain": 0.01, "hit_gain_interval": [0.01, 0.01]}
    low, high = interval(theirs, groups)
    assert high - low > 0.1
    half = np.where(groups < 30, np.nan, theirs)
    assert gain({"hit": half}, {"hit": half}, groups)["hit_gain"] == 0.0


def test_ranks_pairs_and_best_lists() -> None:
    items = np.array([[4, 2, MISSING], [1, 0, 3]], np.int32)
    assert ranks(items, np.array([2, 7], np.int32)).tolist() == [1, 3]
    pairs = Pairs.of([items], 5)
    assert pairs.ptr.tolist() == [0, 2, 5]
    scores = np.array([1.0, 2.0, 1.0, 1.0, 0.5], np.float32)
    assert best_of(pairs, scores, 2).tolist() == [[4, 2], [0, 1]]
    deeper = Lists(np.array([[2, 3, 4], [3, 1, 0]], np.int32), np.array([[8, 4, 2], [3, 2, 1]], np.float32))
    columns = pairs.columns(deeper, 5)
    assert columns[:, 0].tolist() == [1, 1, 1, 1, 1]
    assert columns[:, 1].tolist() == pytest.approx([1.0, 0.25, 1 / 3, 2 / 3, 1.0])
    assert columns[1, 3] == pytest.approx(1 / np.log2(4))


def test_the_choice_model_finds_the_weights_that_chose() -> None:
    rng = np.random.default_rng(0)
    n, width = 3000, 6
    features = rng.normal(size=(n * width, 3)).astype(np.float32)
    truth = np.array([1.0, -2.0, 0.0])
    noise = rng.gumbel(size=n * width)
    chosen = np.zeros(n * width, np.bool_)
    chosen[np.arange(n) * width + (features @ truth + noise).reshape(n, width).argmax(axis=1)] = True
    model = Choice(reg=1e-6).fit(features, np.arange(n + 1) * width, chosen)
    assert model.weights_ == pytest.approx(truth, abs=0.12)


def test_an_interval_is_wide_where_sessions_differ() -> None:
    groups = np.repeat(np.arange(50), 20)
    between = (groups % 2).astype(np.float64)
    within = np.tile([0.0, 1.0], 500)
    assert np.diff(interval(between, groups))[0] > 0.2
    assert interval(within, groups) == [0.5, 0.5]


def test_continuation_figures_by_hand() -> None:
    task = Task(Playlists.join([np.array([0], np.int32)] * 2), Playlists.join([np.array([1, 2]), np.array([3, 4, 5])]))
    items = np.array([[2, 9, 1, MISSING], [8, 3, 7, 6]], np.int32)
    result: Any = continuation.measure(items, task, 10)
    gain = 1 / np.log2(np.arange(2, 6))
    expected = [(gain[0] + gain[2]) / gain[:2].sum(), gain[1] / gain[:3].sum()]
    assert result["ndcg@100"] == pytest.approx(np.mean(expected), abs=1e-4)
    assert result["r_precision"] == pytest.approx(np.mean([1 / 2, 1 / 3]), abs=1e-4)
    assert result["recall@100"] == pytest.approx(np.mean([1, 1 / 3]), abs=1e-4)


def playlists(path: Path, rows: list[tuple[int, int, int]]) -> Path:
    playlist, position, item = zip(*rows, strict=True)
    pq.write_table(pa.table({"playlist": playlist, "position": position, "item": item}), path)
    return path


def test_continuation_goes_on_with_the_genre_and_never_offers_a_seed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lists = {p: 50 * (p % 3) + rng.permutation(50)[:14] for p in range(150)}
    rows = [(p, place, int(item)) for p, songs in lists.items() for place, item in enumerate(songs)]
    train = playlists(tmp_path / "train.parquet", [row for row in rows if row[0] < 120])
    seeds = playlists(tmp_path / "seeds.parquet", [row for row in rows if row[0] >= 120 and row[1] < 4])
    held_out = playlists(tmp_path / "held.parquet", [row for row in rows if row[0] >= 120 and row[1] >= 4])
    result: Any = continuation.run(arguments(continuation, train=train, seeds=seeds, held_out=held_out, versus="popularity"))
    assert result["versus"]["model"] == "popularity"
    apart = result["ndcg@100"] - result["models"]["popularity"]["ndcg@100"]
    assert result["versus"]["ndcg@100_gain"] == pytest.approx(apart, abs=1.5e-4)
    assert result["playlists"] == 30
    assert result["recall@100"] == 1.0, "46 songs of the genre are left, and 100 places"
    assert result["r_precision"] > 2 * result["models"]["popularity"]["r_precision"]
