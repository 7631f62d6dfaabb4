"""Session factors: planted tastes are found from graded shares, a skip turns the session, fatigue is learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from segue.candidates.session_factors import OPENING, SessionFactors, _cholesky, _solve, logit
from segue.core.types import MISSING, SHARE_STEPS, SHARE_UNKNOWN, History, Items, Query, Recent, Seeds

N_ITEMS, N_ARTISTS, N_USERS, N_SESSIONS, LENGTH = 400, 80, 100, 1500, 8


def planted(seed: int = 0) -> tuple[History, np.ndarray]:
    """Sessions that open with a song of their taste (one of four) and then hear songs at random; shares are exact."""
    rng = np.random.default_rng(seed)
    artist = (np.arange(N_ITEMS) % N_ARTISTS).astype(np.int32)
    taste = artist % 4
    habit = rng.uniform(-3, 0, N_USERS)
    user = np.sort(rng.integers(0, N_USERS, N_SESSIONS))
    items, shares = np.empty((N_SESSIONS, LENGTH), np.int32), np.empty((N_SESSIONS, LENGTH))
    for s in range(N_SESSIONS):
        want = rng.integers(0, 4)
        items[s] = rng.permutation(N_ITEMS)[:LENGTH]
        items[s, 0] = rng.choice(np.flatnonzero(taste == want))
        before = [(artist[items[s, :place]] == artist[items[s, place]]).sum() for place in range(LENGTH)]
        logits = habit[user[s]] + 3.0 * (taste[items[s]] == want) + 0.2 * rng.normal(size=LENGTH)
        shares[s] = 1 / (1 + np.exp(-logits)) * 0.8 ** np.array(before)
        shares[s, 0] = 1.0
    n = N_SESSIONS * LENGTH
    heard = shares.ravel()
    history = History(
        n_users=N_USERS,
        n_items=N_ITEMS,
        now=n * 200_000,
        user=np.repeat(user, LENGTH).astype(np.int32),
        item=items.ravel(),
        at=(np.arange(n) * 200).astype(np.uint32),
        signal=np.where(heard > 0.8, 1, np.where(heard < 0.1, -1, 0)).astype(np.int8),
        session=np.repeat(np.arange(N_SESSIONS), LENGTH).astype(np.int32),
        facts=replace(Items.bare(N_ITEMS), artist=artist),
        share=np.round(heard * SHARE_STEPS).astype(np.uint16),
    )
    return history, taste


@pytest.fixture(scope="module")
def fitted() -> SessionFactors:
    return SessionFactors(dimensions=6).fit(planted()[0], np.random.default_rng(0))


TASTE = (np.arange(N_ITEMS) % N_ARTISTS) % 4


def asked(items: list[int], shares: list[float], user: int = 3, **more: object) -> Query:
    """A session that has heard items, the newest first."""
    share = np.array(shares, np.float32)
    signal = np.where(share > 0.8, 1, np.where(share < 0.1, -1, 0)).astype(np.float32)
    at = np.arange(len(items))[::-1].astype(np.int64)
    recent = Recent(np.array(items, np.int32), signal, share, at, np.ones(len(items), np.bool_))
    return replace(Query(request_id=1, user=user, now=1, session=1, recent=recent), **more)  # type: ignore[arg-type]


def test_one_finished_song_finds_its_taste_among_artists_it_never_met(fitted: SessionFactors) -> None:
    for opening in (0, 1, 2, 3):
        found = fitted.retrieve(asked([opening], [1.0]), 30)
        assert (TASTE[found.items] == opening % 4).mean() > 0.9
        assert (np.diff(found.scores) <= 0).all()


def test_a_session_turns_by_what_it_hears_and_what_it_does_not(fitted: SessionFactors) -> None:
    turned = fitted.retrieve(asked([1, 0], [1.0, 0.001]), 30)
    assert (TASTE[turned.items] == 1).mean() > 0.9
    followed = fitted.retrieve(asked([4, 0], [0.95, 1.0]), 30)
    assert (TASTE[followed.items] == 0).mean() > 0.9


def test_fatigue_of_artists_is_learned_and_moves_their_songs_down(fitted: SessionFactors) -> None:
    assert fitted.fatigue_[0] - fitted.fatigue_[1] > 0.05
    assert fitted.fatigue_[OPENING] > fitted.fatigue_[0], "what a listener chose is heard longer than what is offered"
    once = fitted.retrieve(asked([0], [1.0]), N_ITEMS)
    tired = SessionFactors().load(fitted.arrays() | {"fatigue": np.where(np.arange(11) == 1, -50.0, 0.0)})
    worn = tired.retrieve(asked([0], [1.0]), N_ITEMS)
    mates = np.arange(0, N_ITEMS, N_ARTISTS)
    assert np.isin(worn.items[-5:], mates).all()
    assert len(once) == len(worn)


def test_a_seed_is_a_song_that_was_chosen(fitted: SessionFactors) -> None:
    seeded = asked([], [], user=MISSING, seeds=Seeds(items=np.array([2], np.int32)))
    assert (TASTE[fitted.retrieve(seeded, 30).items] == 2).mean() > 0.9
    assert len(fitted.retrieve(asked([], []), 30)) == 0, "a session that has said nothing has no vector"


def test_grades_tell_more_than_signals() -> None:
    """Listeners who finish nothing that was offered still say by how much they heard what they want."""
    history, _ = planted(1)
    bare = SessionFactors(dimensions=6).fit(replace(history, share=None), np.random.default_rng(0))
    graded = SessionFactors(dimensions=6).fit(history, np.random.default_rng(0))

    def hits(source: SessionFactors) -> float:
        return float(np.mean([(TASTE[source.retrieve(asked([i], [1.0]), 30).items] == i % 4).mean() for i in range(40)]))

    assert hits(graded) > hits(bare)


def test_an_unknown_share_falls_back_to_the_signal() -> None:
    history, _ = planted(2)
    assert history.share is not None
    hidden = replace(history, share=np.full_like(history.share, SHARE_UNKNOWN))
    assert np.array_equal(hidden.shares(), replace(history, share=None).shares(), equal_nan=True)
    assert history.shares() == pytest.approx(history.share / SHARE_STEPS, abs=1e-6)


def test_arrays_come_back_the_same(fitted: SessionFactors) -> None:
    again = SessionFactors().load(fitted.arrays())
    one, two = (source.retrieve(asked([7, 3], [0.4, 1.0]), 20) for source in (fitted, again))
    assert (one.items == two.items).all()
    assert (one.scores == two.scores).all()


def test_the_solver_is_a_ridge_regression() -> None:
    rng = np.random.default_rng(4)
    root = rng.normal(size=(5, 9))
    gram, right = root @ root.T + np.eye(5), rng.normal(size=5)
    expected = np.linalg.solve(gram, right)
    _cholesky(gram, right)
    assert right == pytest.approx(expected)
    songs = rng.normal(size=(6, 4)).astype(np.float32)
    items, response = np.array([5, 0, 3], np.int32), rng.normal(size=3)
    vector, heard = _solve(
        items, response, np.array([True, False, False]), songs, np.arange(6, dtype=np.int32), np.zeros(11), 2.0
    )
    rows = songs[items, :3].astype(float)
    target = response - songs[items, 3]
    assert vector[:3] == pytest.approx(np.linalg.solve(rows.T @ rows + 2 * np.eye(3), rows.T @ target), rel=1e-5)
    assert vector[3] == 1
    assert heard.tolist() == items.tolist()


def test_logits_are_clipped_where_they_would_be_infinite() -> None:
    assert logit(np.array([0.0, 0.5, 1.0]), 0.001) == pytest.approx([-np.log(999), 0, np.log(999)])
