"""iALS against dense algebra in float64, the checkerboard whose answer needs no oracle, and the promises of a source."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from segue.candidates.als import Als, Factorizer, index
from segue.candidates.als.foldin import Evidence
from segue.candidates.als.matrix import Confidences, confidence_curve, confidences, transpose
from segue.candidates.als.solver import lengths, readonly
from segue.core.stages import CandidateSource, Trainable
from segue.core.types import History, Items, Query, Recent, Seeds

DAY_S = 86_400
NOW_S = 1_000 * DAY_S


def history(rows: Iterable[tuple[int, int, int]], n_users: int, n_items: int, ages: Iterable[float] | None = None) -> History:
    """(user, item, signal) rows, one an hour before now unless `ages` (days) says otherwise."""
    table = np.array(sorted(rows), np.int64).reshape(-1, 3)
    days = np.full(len(table), 1 / 24) if ages is None else np.array(list(ages))
    return History(
        n_users=n_users,
        n_items=n_items,
        now=NOW_S * 1000,
        user=table[:, 0].astype(np.int32),
        item=table[:, 1].astype(np.int32),
        at=(NOW_S - days * DAY_S).astype(np.uint32),
        signal=table[:, 2].astype(np.int8),
        session=table[:, 0].astype(np.int32),
        facts=Items.bare(n_items),
    )


def random_matrix(rng: np.random.Generator, n_users: int, n_items: int, density: float = 0.2) -> tuple[np.ndarray, Confidences]:
    dense = (rng.random((n_users, n_items)) < density) * rng.choice([0.5, 1.0, 2.0, -1.5], (n_users, n_items))
    ptr = np.concatenate([[0], np.cumsum((dense != 0).sum(1))]).astype(np.int64)
    idx = np.nonzero(dense)[1].astype(np.int32)
    return dense, Confidences(ptr, idx, dense[dense != 0].astype(np.float32))


def dense_loss(solver: Factorizer, dense: np.ndarray, users: np.ndarray, items: np.ndarray) -> float:
    """The formula of Factorizer, word for word, in float64."""
    users, items = users.astype(np.float64), items.astype(np.float64)
    scores, c, p, a0 = users @ items.T, np.abs(dense), (dense > 0).astype(float), solver.unobserved_weight
    observed, alone = c, np.full(dense.shape, a0)
    if solver.exclusive:
        observed = np.where(dense > 0, c + a0, c)
        alone[dense > 0] = 0
    reg_users = solver.reg * (c.sum(1) + a0 * dense.shape[1]) ** solver.reg_exponent
    reg_items = solver.reg * (c.sum(0) + a0 * dense.shape[0]) ** solver.reg_exponent
    value = (observed * (p - scores) ** 2)[dense != 0].sum() + (alone * scores**2).sum()
    return float(value + (reg_users * (users**2).sum(1)).sum() + (reg_items * (items**2).sum(1)).sum())


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_loss_is_the_formula_and_falls(exclusive: bool, exponent: float) -> None:
    rng = np.random.default_rng(1)
    dense, by_user = random_matrix(rng, 60, 40)
    solver = Factorizer(
        embedding_size=6, epochs=12, unobserved_weight=0.3, reg=0.02, reg_exponent=exponent, exclusive=exclusive
    )
    factors = solver.fit(by_user, 40, rng)
    exact = dense_loss(solver, dense, factors.users, factors.items)
    assert factors.losses[-1] == pytest.approx(exact, rel=1e-5)
    assert solver.loss(by_user, factors.users, factors.items) == pytest.approx(exact, rel=1e-5)
    assert all(b <= a * (1 + 1e-6) for a, b in zip(factors.losses, factors.losses[1:], strict=False))


def test_gradient_vanishes_at_convergence() -> None:
    rng = np.random.default_rng(2)
    dense, by_user = random_matrix(rng, 30, 25)
    solver = Factorizer(embedding_size=3, epochs=400, unobserved_weight=0.2, reg=0.02)
    factors = solver.fit(by_user, 25, rng)
    users, items = factors.users.astype(np.float64), factors.items.astype(np.float64)
    best = dense_loss(solver, dense, users, items)
    for side in (users, items):
        for place in ((0, 0), (7, 1), (20, 2)):
            side[place] += 1e-3
            up = dense_loss(solver, dense, users, items)
            side[place] -= 2e-3
            down = dense_loss(solver, dense, users, items)
            side[place] += 1e-3
            assert abs(up - down) / 2e-3 < 2e-3 * best
            assert up + down > 2 * best  # and it is a minimum along the axis


def test_items_come_in_the_eigenbasis_of_their_gramian() -> None:
    rng = np.random.default_rng(3)
    _, by_user = random_matrix(rng, 50, 30)
    factors = Factorizer(embedding_size=5, epochs=3).fit(by_user, 30, rng)
    np.testing.assert_allclose(factors.items.T @ factors.items, np.diag(factors.spectrum), atol=1e-5 * factors.spectrum.max())


def test_row_is_the_exact_least_squares_of_the_sweep() -> None:
    rng = np.random.default_rng(4)
    dense, by_user = random_matrix(rng, 40, 30)
    solver = Factorizer(embedding_size=5, epochs=2, steps=30, unobserved_weight=0.4, reg=0.05)
    factors = solver.fit(by_user, 30, rng)
    y = factors.items.astype(np.float64)
    for u in (0, 11, 39):
        c, p = np.abs(dense[u]), (dense[u] > 0).astype(float)
        reg = 0.05 * (c.sum() + 0.4 * 30)
        want = np.linalg.solve(0.4 * y.T @ y + y.T @ (c[:, None] * y) + reg * np.eye(5), y.T @ (c * p))
        np.testing.assert_allclose(factors.users[u], want, atol=2e-5)
        row = solver.rows(factors.items, factors.spectrum, single(by_user, u))[0]
        np.testing.assert_allclose(row, want, atol=2e-5)


def single(m: Confidences, u: int) -> Confidences:
    lo, hi = m.ptr[u], m.ptr[u + 1]
    return Confidences(np.array([0, hi - lo], np.int64), m.idx[lo:hi], m.val[lo:hi])


def test_threads_do_not_change_a_bit() -> None:
    _, by_user = random_matrix(np.random.default_rng(5), 300, 100)
    one = Factorizer(embedding_size=8, epochs=2, threads=1).fit(by_user, 100, np.random.default_rng(9))
    two = Factorizer(embedding_size=8, epochs=2, threads=3).fit(by_user, 100, np.random.default_rng(9))
    np.testing.assert_array_equal(one.users, two.users)
    np.testing.assert_array_equal(one.items, two.items)
    assert one.losses == two.losses


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.sampled_from([-1, 0, 1])), max_size=80),
    since=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_confidences_are_the_net_signals(rows: list[tuple[int, int, int]], since: int, seed: int) -> None:
    ages = np.random.default_rng(seed).integers(0, 4, len(rows))
    log = history(rows, 6, 7, ages)
    curve = confidence_curve(0.5, 3.0)
    out = confidences(log, NOW_S - since * DAY_S, curve)
    want = np.zeros((6, 7))
    inside = log.at >= NOW_S - since * DAY_S
    np.add.at(want, (log.user[inside], log.item[inside]), log.signal[inside])
    size = np.where(want != 0, 1 + 0.5 * np.log(np.maximum(np.abs(want), 1)), 0)
    want = np.where(want < 0, -3.0 * size, size)
    np.testing.assert_allclose(to_dense(out, 7), want, rtol=1e-6)
    turned = transpose(out, 7)
    np.testing.assert_allclose(to_dense(turned, 6), want.T, rtol=1e-6)
    for i in range(7):
        assert np.all(np.diff(turned.idx[turned.ptr[i] : turned.ptr[i + 1]]) > 0)
    np.testing.assert_allclose(out.mass(), np.abs(want).sum(1), rtol=1e-6)


def to_dense(m: Confidences, columns: int) -> np.ndarray:
    out = np.zeros((m.rows, columns))
    for u in range(m.rows):
        for j in range(m.ptr[u], m.ptr[u + 1]):
            assert out[u, m.idx[j]] == 0
            out[u, m.idx[j]] = m.val[j]
    return out


def checkerboard(n: int, skip: frozenset[int] = frozenset()) -> History:
    """User u finishes items of its own parity, except its own number."""
    return history(((u, i, 1) for u in range(n) for i in range(n) if u % 2 == i % 2 and i != u and u not in skip), n, n)


def fitted(n: int = 40, **options: float) -> Als:
    model = Als(embedding_size=6, epochs=6, reg=0.05, unobserved_weight=0.1, top_k=20, **options)  # type: ignore[arg-type]
    return model.fit(checkerboard(n), np.random.default_rng(0))


def test_checkerboard() -> None:
    model = fitted()
    for u in range(40):
        answer = model.retrieve(Query(1, u, NOW_S * 1000 + 1), 20)
        assert set(answer.items.tolist()) == set(range(u % 2, 40, 2))  # its own number too, which it never heard
        assert answer.scores.min() > 0.5
        assert np.all(np.diff(answer.scores) <= 0)
        near = model.similar(u, 19)
        assert set(near.items.tolist()) == set(range(u % 2, 40, 2)) - {u}


def query(user: int, items: list[int], signals: list[float], after_s: float = 60.0, seeds: list[int] | None = None) -> Query:
    n = len(items)
    recent = Recent(
        np.array(items, np.int32),
        np.array(signals, np.float32),
        np.full(n, np.nan, np.float32),
        np.full(n, int((NOW_S + after_s) * 1000), np.int64),
        np.ones(n, np.bool_),
    )
    wanted = Seeds(items=np.array(seeds or [], np.int32))
    return Query(1, user, (NOW_S + 3600) * 1000, recent=recent, seeds=wanted)


def test_newcomer_is_folded_in() -> None:
    model = fitted()
    for user in (-1, 12_345):
        answer = model.retrieve(query(user, [3, 8], [1.0, -1.0]), 10)
        assert all(i % 2 == 1 for i in answer.items)
        assert all(i % 2 == 0 for i in model.retrieve(query(user, [], [], seeds=[8]), 10).items)
        assert len(model.retrieve(query(user, [], []), 10)) == 0


def test_listener_who_changes_is_followed() -> None:
    model = fitted()
    before = model.vector(0)
    assert before is not None
    swing = query(0, [1, 3, 5, 7, 2, 4, 6, 8], [1.0] * 4 + [-1.0] * 4)
    after = {int(i): float(s) for i, s in zip(*vars(model.retrieve(swing, 40)).values(), strict=True)}
    items = model.items_
    assert np.mean([after[i] for i in range(9, 40, 2)]) > float(np.mean(items[9::2] @ before)) + 0.1
    assert np.mean([after[i] for i in range(10, 40, 2)]) < float(np.mean(items[10::2] @ before)) - 0.1


def test_signals_that_the_night_has_seen_change_nothing() -> None:
    model = fitted()
    old = model.retrieve(query(4, [1, 3], [1.0, 1.0], after_s=-60.0), 20)
    stored = model.for_user(4, 20)
    np.testing.assert_array_equal(old.items, stored.items)
    np.testing.assert_array_equal(old.scores, stored.scores)


def test_fold_in_is_the_half_sweep_of_old_and_new_entries() -> None:
    rng = np.random.default_rng(6)
    rows = [(u, i, int(s)) for u in range(50) for i in range(30) for s in [rng.choice([-1, 0, 1], p=[0.1, 0.7, 0.2])] if s]
    model = Als(embedding_size=5, epochs=60, repeat_weight=0.7, skip_weight=1.5, unobserved_weight=0.2, reg=0.01)
    model.fit(history(rows, 50, 30), rng)
    net = np.zeros(30)
    for u, i, s in rows:
        if u == 7:
            net[i] += s
    after = net.copy()
    after[[0, 1, 2, 3]] += [1, 1, -1, -2]
    told = np.flatnonzero((net != 0) | (after != 0))
    evidence = Evidence(told.astype(np.int32), net[told].astype(np.float32), after[told].astype(np.float32))
    size = (1 + 0.7 * np.log(np.maximum(np.abs(after), 1))) * np.where(after < 0, 1.5, 1.0)
    kept = np.flatnonzero(after)
    val = (np.sign(after) * size)[kept].astype(np.float32)
    solver = Factorizer(embedding_size=5, unobserved_weight=0.2, reg=0.01)
    alone = Confidences(np.array([0, len(kept)], np.int64), kept.astype(np.int32), val)
    want = solver.rows(model.items_, model.spectrum_, alone)[0]
    np.testing.assert_allclose(model.fold_in(evidence, 7), want, atol=3e-4)
    fresh = Evidence(kept.astype(np.int32), np.zeros(len(kept), np.float32), after[kept].astype(np.float32))
    np.testing.assert_allclose(model.fold_in(fresh), want, atol=3e-4)
    block = model.score_block(sparse.csr_matrix(after[None].astype(np.float32)))
    np.testing.assert_allclose(block[0], model.items_ @ want, atol=3e-4)


def test_what_is_loaded_from_disk_answers_the_same(tmp_path: Path) -> None:
    model = fitted()
    for name, array in model.arrays().items():
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=False)
    arrays = {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in tmp_path.glob("*.npy")}
    other = Als().load(arrays)
    assert isinstance(other.users_.base, np.ndarray)
    for q in (query(3, [], []), query(3, [2, 4], [1.0, 1.0]), query(-1, [2], [1.0])):
        a, b = model.retrieve(q, 15), other.retrieve(q, 15)
        np.testing.assert_array_equal(a.items, b.items)
        np.testing.assert_array_equal(a.scores, b.scores)
    assert set(other.arrays()) == set(model.arrays())


def test_warm_start_begins_where_the_last_night_ended() -> None:
    cold = fitted(40)
    grown = history(((u, i, 1) for u in range(50) for i in range(44) if u % 2 == i % 2), 50, 44)
    options: dict[str, Any] = {"embedding_size": 6, "epochs": 1, "top_k": 20, "reg": 0.05, "unobserved_weight": 0.1}
    warm = Als(**options).warm_start(cold.arrays()).fit(grown, np.random.default_rng(1))
    fresh = Als(**options).fit(grown, np.random.default_rng(1))
    assert warm.losses_[0] < fresh.losses_[0]
    assert set(warm.for_user(45, 20).items.tolist()) <= set(range(1, 44, 2))
    other_size = Als(embedding_size=4, epochs=1).warm_start(cold.arrays())
    assert other_size.warm is None


def test_only_for_some_users_learns_the_same_and_lists_them_alone() -> None:
    everyone = fitted()
    board = checkerboard(40)
    some = Als(embedding_size=4, epochs=12).only_for(np.array([3, 8], np.int32)).fit(board, np.random.default_rng(1))
    full = Als(embedding_size=4, epochs=12).fit(board, np.random.default_rng(1))
    assert np.array_equal(some.arrays()["users"], full.arrays()["users"])
    assert np.array_equal(some.for_user(8, 5).items, full.for_user(8, 5).items)
    assert len(some.for_user(4, 5)) == 0
    assert len(everyone.for_user(4, 5)) == 5


def test_before_the_first_fit_it_is_silent() -> None:
    untrained = Als()
    assert len(untrained.retrieve(query(0, [1], [1.0], seeds=[2]), 10)) == 0
    assert len(untrained.for_user(0, 10)) == len(untrained.similar(0, 10)) == 0


def test_old_signals_are_out_of_the_window() -> None:
    rows = [(0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 2, 1)]
    model = Als(embedding_size=2, epochs=2, window_days=90).fit(history(rows, 2, 3, [91, 1, 1, 89]), np.random.default_rng(0))
    np.testing.assert_allclose(model.mass_, [1, 2])


def test_unknown_users_and_items_are_answered() -> None:
    model = fitted()
    assert len(model.for_user(-1, 5)) == 0
    assert len(model.for_user(10**6, 5)) == 0
    assert len(model.similar(-1, 5)) == 0
    assert len(model.similar(10**6, 5)) == 0
    assert len(model.retrieve(query(-1, [10**6, -1], [1.0, 1.0]), 5)) == 0
    assert model.vector(10**6) is None
    assert len(model.for_user(3, 5)) == 5


def test_more_can_be_asked_than_was_stored() -> None:
    model = fitted()
    stored, more = model.for_user(3, 20), model.for_user(3, 30)
    assert set(more.items[:20].tolist()) == set(stored.items.tolist())  # ties may fall either way in the last bit
    np.testing.assert_allclose(more.scores[:20], stored.scores, atol=1e-5)
    assert len(more) == len(set(more.items.tolist())) == 30
    assert np.all(np.diff(more.scores) <= 0)


def test_users_without_signals_are_silent() -> None:
    log = replace(checkerboard(20, frozenset({4})))
    model = Als(embedding_size=4, epochs=3).fit(log, np.random.default_rng(0))
    assert len(model.for_user(4, 5)) == 0
    assert model.vector(4) is None


def test_nobody_has_done_anything() -> None:
    model = Als(embedding_size=4, epochs=2).fit(history([], 3, 5), np.random.default_rng(0))
    assert len(model.retrieve(query(1, [], []), 5)) == 0
    answer = model.retrieve(query(1, [2], [1.0]), 5)
    assert np.isfinite(answer.scores).all()
    assert isinstance(model, CandidateSource)
    assert isinstance(model, Trainable)


def cells_of(items: np.ndarray, seed: int = 0) -> index.Cells:
    built = index.build(items, lengths(items), np.random.default_rng(seed), 1)
    return index.Cells(*(readonly(array) for array in built))


@settings(max_examples=30, deadline=None)
@given(n=st.integers(0, 400), k=st.integers(0, 30), spread=st.integers(0, 3), seed=st.integers(0, 2**32 - 1))
def test_index_with_enough_budget_is_exact(n: int, k: int, spread: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    items = rng.integers(-spread, spread + 1, (n, 3)).astype(np.float32)
    query = rng.integers(-2, 3, 3).astype(np.float32)
    ids, scores = index.search(cells_of(items), query, k, budget=n + 1)
    told = np.flatnonzero((items != 0).any(1))
    exact = items @ query
    want = told[np.lexsort((told, -exact[told]))][:k]
    np.testing.assert_array_equal(ids, want)
    np.testing.assert_array_equal(scores, exact[want])


def test_index_finds_most_while_it_looks_at_little() -> None:
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((50, 16))
    items = (centers[rng.integers(0, 50, 20_000)] + 0.4 * rng.standard_normal((20_000, 16))).astype(np.float32)
    items *= rng.lognormal(0, 0.5, (20_000, 1)).astype(np.float32)
    cells = cells_of(items)
    unit = items / lengths(items)[:, None]
    for query in items[:20]:
        best = np.argsort(-(items @ query))[:50]
        assert np.isin(best, index.search(cells, query, 50, budget=2_000)[0]).mean() > 0.9
        near = np.argsort(-(unit @ query))[:50]
        assert np.isin(near, index.search_cosine(cells, query / np.linalg.norm(query), 50, budget=4_000)[0]).mean() > 0.9


def test_large_catalogues_answer_through_the_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    exact = fitted()
    monkeypatch.setattr(index, "EXACT", 10)
    model = fitted()
    assert model.cells_ is not None
    for user, items in ((-1, [2]), (3, [2, 4]), (5, [])):
        q = query(user, items, [1.0] * len(items))
        a, b = model.retrieve(q, 15), exact.retrieve(q, 15)
        assert set(a.items.tolist()) == set(b.items.tolist())
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)
    assert set(model.similar(7, 19).items.tolist()) == set(range(1, 40, 2)) - {7}
    for name, array in model.arrays().items():
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=False)
    loaded = Als().load({path.stem: np.load(path, mmap_mode="r") for path in tmp_path.glob("*.npy")})
    np.testing.assert_array_equal(
        loaded.retrieve(query(-1, [2], [1.0]), 9).items, model.retrieve(query(-1, [2], [1.0]), 9).items
    )
