"""The deep ranker: ids teach it what features cannot tell, strangers are nobody, and ONNX says what the network said."""

from __future__ import annotations

import numpy as np
import pytest

from segue.core.stages import Explains, ExplainsIds
from segue.core.types import MISSING, Candidates, Query, Recent, Seeds, Sparse
from segue.evaluation.calibration import auc, calibration

pytest.importorskip("torch", reason="the deep ranker learns with PyTorch")
pytest.importorskip("onnxruntime", reason="the deep ranker serves with onnxruntime")

from segue.ranking._network import Network, onnx_of
from segue.ranking.deep import HISTORY, Deep, _session, padded, sparse_of


def checkerboard(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, Sparse]:
    """Even users finish even songs and odd ones odd songs: no feature tells, only pairs of ids."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 20, n).astype(np.int32), rng.integers(0, 20, n).astype(np.int32)
    mine = (2 * rng.integers(0, 10, (n, 4)) + user[:, None] % 2).astype(np.int32)
    blank = np.full((n, 1), MISSING, np.int32)
    return rng.normal(size=(n, 2)).astype(np.float32), (user + item) % 2 == 0, Sparse(user, item, mine, blank)


def fitted(**more: object) -> Deep:
    rows, truth, sparse = checkerboard(4000, 0)
    ones, played = np.ones(len(rows), np.float32), np.ones(len(rows), np.bool_)
    return Deep(**{"epochs": 12, "learning_rate": 0.01, **more}).fit_rows(rows, truth, ones, played, sparse)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def deep() -> Deep:
    return fitted()


def test_ids_teach_what_features_cannot(deep: Deep) -> None:
    rows, truth, sparse = checkerboard(1000, 1)
    assert auc(deep.probabilities(rows, sparse), truth) > 0.95
    assert auc(deep.probabilities(rows), truth) < 0.6, "without ids there is nothing to tell"


def test_a_history_alone_speaks_for_a_stranger(deep: Deep) -> None:
    rows, truth, sparse = checkerboard(1000, 2)
    strangers = Sparse(np.full(1000, 999, np.int32), sparse.item, sparse.history, sparse.terms)
    assert auc(deep.probabilities(rows, strangers), truth) > 0.9


def test_same_seed_same_network_and_another_seed_another(deep: Deep) -> None:
    rows, _, sparse = checkerboard(50, 3)
    assert np.array_equal(fitted().logits(rows, sparse), deep.logits(rows, sparse))
    assert not np.array_equal(fitted(seed=1).logits(rows, sparse), deep.logits(rows, sparse))


def test_onnx_is_the_network() -> None:
    rng = np.random.default_rng(0)
    tables = {kind: rng.normal(size=(5, 3)).astype(np.float32) for kind in ("user", "item", "term")}
    for table in tables.values():
        table[0] = 0
    layers = [(rng.normal(size=(a, b)).astype(np.float32), rng.normal(size=b).astype(np.float32)) for a, b in ((14, 6), (6, 1))]
    network = Network(tables, layers)
    places = [rng.integers(0, 5, shape) for shape in ((7,), (7,), (7, 4), (7, 2))]
    dense = rng.normal(size=(7, 2)).astype(np.float32)
    x = [dense, tables["user"][places[0]], tables["item"][places[1]]]
    for kind, place in (("item", places[2]), ("term", places[3])):
        x.append(np.stack([tables[kind][row[row > 0]].mean(axis=0) if (row > 0).any() else np.zeros(3) for row in place]))
    wide = np.concatenate(x, axis=1).astype(np.float32)
    hidden = np.maximum(wide @ layers[0][0] + layers[0][1], 0)
    by_hand = (hidden @ layers[1][0] + layers[1][1])[:, 0]
    assert network.logits([dense, *places]) == pytest.approx(by_hand, abs=1e-4)
    served = _session(np.frombuffer(onnx_of(network), np.uint8)).run(None, {"x": wide})[0][:, 0]
    assert served == pytest.approx(by_hand, abs=1e-4)


def test_a_query_is_put_with_the_songs_wanted_last_and_the_tags_asked_for(deep: Deep) -> None:
    recent = Recent(
        np.array([4, 6, 8], np.int32),
        np.array([1, -1, 1], np.float32),
        np.ones(3, np.float32),
        np.array([3, 2, 1]),
        np.zeros(3, np.bool_),
    )
    query = Query(1, 2, 10**12, recent=recent, seeds=Seeds(tags=np.array([7], np.int32)))
    items = np.arange(20, dtype=np.int32)
    got = sparse_of(query, Candidates(items, np.zeros((20, 1), np.float32), ("a",)))
    assert got.user.tolist() == [2] * 20
    assert got.history[5].tolist() == padded(np.array([4, 8], np.int32), HISTORY).tolist()
    assert got.terms[0].tolist()[:2] == [7, MISSING]
    rows = np.zeros((20, 2), np.float32)
    scores = deep.score(query, Candidates(items, np.zeros((20, 1), np.float32), ("a",)), rows)
    assert scores[::2].min() > scores[1::2].max(), "user 2 finishes even songs"


def test_holes_are_told_apart_from_the_mean() -> None:
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(3000, 2)).astype(np.float32)
    truth = rng.random(3000) < 0.5
    rows[truth, 1] = np.nan
    ones, played = np.ones(3000, np.float32), np.ones(3000, np.bool_)
    got = calibration(Deep(epochs=4).fit_rows(rows, truth, ones, played).probabilities(rows), truth)
    assert got.auc > 0.99


def test_contributions_add_up_to_the_log_odds_and_ids_have_their_share(deep: Deep) -> None:
    items = np.arange(20, dtype=np.int32)
    recent = Recent(
        np.array([4, 8], np.int32), np.ones(2, np.float32), np.ones(2, np.float32), np.array([2, 1]), np.zeros(2, np.bool_)
    )
    query, pool = Query(1, 2, 10**12, recent=recent), Candidates(items, np.zeros((20, 1), np.float32), ("a",))
    rows = np.random.default_rng(5).normal(size=(20, 2)).astype(np.float32)
    assert isinstance(deep, ExplainsIds)
    assert not isinstance(deep, Explains), "its scores hang on more than the rows"
    base, values, known = deep.contributions_with_ids(query, pool, rows)
    p = deep.score(query, pool, rows).astype(np.float64)
    assert base + values.sum(axis=1) == pytest.approx(np.log(p / (1 - p)), abs=1e-3)
    assert values.shape == (20, 2 + len(deep.ids))
    assert known.tolist() == [[True, True, True, False]] * 20
    assert not values[:, 5].any(), "no tags were asked for"
    features, told = np.abs(values[:, :2]).sum(axis=1), np.abs(values[:, 2:]).sum(axis=1)
    assert (told > 5 * features).all(), "only ids tell in this world"
    assert values[::2, 2:].sum(axis=1).min() > values[1::2, 2:].sum(axis=1).max()
    assert deep.contributions_with_ids(query, pool, rows)[1].tobytes() == values.tobytes()


def test_of_a_slate_of_the_log_the_recent_songs_are_what_is_left(deep: Deep) -> None:
    """Their ids are not stored with it: what they moved follows from the score that is."""
    items = np.arange(20, dtype=np.int32)
    recent = Recent(
        np.array([4, 8], np.int32), np.ones(2, np.float32), np.ones(2, np.float32), np.array([2, 1]), np.zeros(2, np.bool_)
    )
    query, pool = Query(1, 2, 10**12, recent=recent), Candidates(items, np.zeros((20, 1), np.float32), ("a",))
    rows = np.zeros((20, 2), np.float32)
    scores = deep.score(query, pool, rows)
    stored = Query(1, 2, 10**12)
    base, values, known = deep.contributions_with_ids(stored, pool, rows, scores)
    p = scores.astype(np.float64)
    assert base + values.sum(axis=1) == pytest.approx(np.log(p / (1 - p)), abs=1e-9)
    assert not known[:, 2].any()
    assert np.abs(values[:, 4]).max() > 0.1
