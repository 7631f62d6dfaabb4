"""`topn`: the protocol by hand, cuts that hold out what they say, and patterns that a blend must find."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import sparse

from segue.benchmarks import topn
from segue.benchmarks._topn import Split, cut, held_out, judge, ranked, read, tells_order
from segue.benchmarks._topn_blend import Pool, blend, choose_weights, pool, standardized
from segue.benchmarks._topn_models import climb, weights_of
from segue.core.errors import BadInput


def write(path: Path, **columns: list[Any]) -> str:
    pq.write_table(pa.table(columns), path)
    return str(path)


def split(train: np.ndarray, test: np.ndarray | None = None, place: np.ndarray | None = None) -> Split:
    rows = sparse.csr_matrix(train.astype(np.float32))
    other = sparse.csr_matrix(np.zeros_like(train) if test is None else test, dtype=np.float32)
    return Split(rows, other, np.arange(rows.nnz) if place is None else place)


def test_files_are_read_by_either_name_with_ids_of_both_and_doubles_once(tmp_path: Path) -> None:
    train = write(tmp_path / "a", user_id=["b", "a", "a", "b"], item_id=[7, 9, 7, 7], value=[1.0, 2.0, 3.0, 5.0])
    test = write(tmp_path / "b", user=["c", "a"], item=[7, 8])
    found = read(train, test)
    assert found.train.toarray().tolist() == [[3, 0, 2], [5, 0, 0], [0, 0, 0]]
    assert found.test.toarray().tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert found.place.tolist() == [2, 1, 3]
    assert found.asked().tolist() == [0, 2]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="needs a column 'item'; it has user"):
        read(write(tmp_path / "a", user=[1]), write(tmp_path / "b", user=[1], item=[1]))
    alone = write(tmp_path / "c", user=[1, 2], item=[1, 2])
    with pytest.raises(BadInput, match="nothing to choose on"):
        topn.run(arguments(train=alone, test=alone))


def test_the_protocol_by_hand() -> None:
    world = split(np.array([[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]]), np.array([[0, 1, 0, 1, 0], [0, 1, 0, 0, 0]]))
    scores = np.array([[9, 1, 5, 1, 1], [2, 2, 2, 2, 9]], np.float32)
    lists = ranked(lambda users: scores[users].copy(), world, world.asked(), 2)
    assert lists.tolist() == [[2, 1], [0, 1]]  # train is out, ties go to the smaller index
    found = judge(lists, world, world.asked(), 2)
    assert found.recall.tolist() == [0.5, 1.0]
    assert found.ndcg[0] == pytest.approx((1 / np.log2(3)) / (1 + 1 / np.log2(3)))
    assert found.ndcg[1] == pytest.approx(1 / np.log2(3))


def test_a_cut_holds_out_a_share_of_each_user_and_the_only_one_of_none() -> None:
    train = np.zeros((3, 12))
    train[0, :10], train[1, 3], train[2, [2, 4]] = 1, 1, 1
    world = split(train)
    out = held_out(world, world.place)
    assert np.flatnonzero(out).tolist() == [8, 9, 12]
    part = cut(world, world.place)
    assert (part.train + part.test != world.train).nnz == 0
    assert part.test.toarray().sum(axis=1).tolist() == [2, 0, 1]
    assert part.place.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 10, 11]


def test_an_order_that_says_something_is_told_from_one_that_does_not() -> None:
    rng = np.random.default_rng(0)
    train = rng.random((400, 60)) < 0.5
    world = split(train)
    assert not tells_order(world), "rows stand in order of ids"
    assert not tells_order(split(train, place=rng.permutation(world.train.nnz))), "rows were shuffled"
    age = np.argsort(rng.permutation(60))[world.train.indices] + rng.normal(0, 5, world.train.nnz)
    by_time = np.argsort(np.argsort(age))
    assert tells_order(split(train, place=by_time)), "some items came late"


def test_values_count_as_much_as_they_are_told_to() -> None:
    rows = sparse.csr_matrix(np.array([[1.0, 3.0, 0.0], [5.0, 0.0, 0.0]], np.float32))
    assert weights_of(rows, 0.0).toarray().tolist() == [[1, 1, 0], [1, 0, 0]]
    np.testing.assert_allclose(weights_of(rows, 2.0).data, 1 + 2 * np.log1p([0.5, 1.5, 1.0]), rtol=1e-6)


def test_the_climb_goes_up_its_ladders_and_asks_nothing_twice() -> None:
    asked = []

    def quality(values: dict[str, Any]) -> float:
        asked.append(tuple(values.values()))
        return -float((values["a"] - 4) ** 2 + (values["b"] - 1) ** 2)

    chosen, best = climb({"a": (2, (1, 2, 3, 4, 5)), "b": (3, (1, 2, 3))}, quality, 3)
    assert (chosen, best) == ({"a": 4, "b": 1}, 0.0)
    assert len(asked) == len(set(asked))


def test_standardized_rows_have_no_mean_and_unit_deviation_and_nothing_stays_nothing() -> None:
    scores = standardized(np.array([[1, 2, 3, 6], [0, 0, 0, 0]], np.float32))
    np.testing.assert_allclose(scores[0].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(scores[0].std(), 1, rtol=1e-6)
    assert scores[1].tolist() == [0, 0, 0, 0]


def test_a_pool_judges_as_the_protocol_does() -> None:
    rng = np.random.default_rng(1)
    train = rng.random((30, 50)) < 0.2
    world = split(train, (rng.random((30, 50)) < 0.1) & ~train)
    tables = rng.random((2, 30, 50)).astype(np.float32)
    scores = [lambda users, table=table: table[users].copy() for table in tables]
    users = world.asked()
    whole = pool(scores, world, users)
    weights = np.array([1.0, 0.5])
    mixed = blend({"popularity": scores[0], "other": scores[1]}, {"popularity": 1.0, "other": 0.5})
    found = judge(ranked(mixed, world, users), world, users)
    assert whole.quality(weights) == pytest.approx((found.recall.mean() + found.ndcg.mean()) / 2, rel=1e-6)


def test_weights_find_the_models_that_help_each_other() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(size=(80, 60)).astype(np.float32)
    hit = truth > np.quantile(truth, 0.9, axis=1, keepdims=True)
    noise = rng.normal(size=(3, 80, 60)).astype(np.float32)
    says = np.stack([truth + 1.5 * noise[0], truth + 1.5 * noise[1], noise[2]])
    weights, best = choose_weights([Pool(says, hit, hit.sum(axis=1))], ["one", "two", "noise"])
    assert weights["one"] > 0.4
    assert weights["two"] > 0.4
    assert weights["noise"] < 0.3
    assert best > Pool(says, hit, hit.sum(axis=1)).quality(np.array([1.0, 0, 0]))


def arguments(**values: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    topn.add_arguments(parser)
    return parser.parse_args([part for name, value in values.items() for part in (f"--{name}", str(value))])


def test_a_blend_finds_tastes_that_popularity_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    rows = []
    for user in range(120):
        liked = np.flatnonzero(rng.random(100) < np.where(np.arange(100) % 4 == user % 4, 0.6, 0.02))
        rows += [(user, int(item), rng.random() < 0.25) for item in liked]
    rng.shuffle(rows)
    for name, late in (("train", False), ("test", True)):
        kept = [row for row in rows if row[2] == late]
        write(tmp_path / name, user=[r[0] for r in kept], item=[r[1] for r in kept])
    monkeypatch.setattr(topn, "FOLDS", 1)
    small = {name: topn.FAMILIES[name] for name in ("popularity", "linear", "ease")}
    monkeypatch.setattr(topn, "FAMILIES", small)
    result: Any = topn.run(arguments(train=tmp_path / "train", test=tmp_path / "test", versus="popularity"))
    assert result["recall@20"] > 0.8
    assert result["popularity"]["recall@20"] < 0.5
    assert result["versus"]["recall@20_gain_interval"][0] > 0.2
    assert result["cut"] == "random"
    low, high = result["recall@20_interval"]
    assert low <= result["recall@20"] <= high
    assert {"users", "model", "hyperparameters", "fit_cpu_s", "score_cpu_s", "peak_rss_mb"} <= result.keys()
