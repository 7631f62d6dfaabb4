"""The rating model: each half of an epoch is a ridge regression, planted ratings come back, newcomers get the biases."""

import numpy as np
import pytest

from segue.core.errors import NotReady
from segue.ranking.ratings import RatingModel, solve_side


def planted(seed: int = 0, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ratings of two tastes with biases; 60 users, 40 items, 70 % of the pairs."""
    rng = np.random.default_rng(seed)
    truth = 3 + rng.normal(0, 0.4, (60, 1)) + rng.normal(0, 0.4, 40) + rng.normal(0, 1, (60, 2)) @ rng.normal(0, 0.6, (2, 40))
    users, items = np.nonzero(rng.random((60, 40)) < 0.7)
    values = truth[users, items] + rng.normal(0, noise, len(users))
    return users.astype(np.int32), items.astype(np.int32), values


def test_one_side_is_the_ridge_regression_of_its_ratings() -> None:
    rng = np.random.default_rng(1)
    fixed = rng.normal(size=(9, 4))
    ids = np.array([0, 2, 5, 7, 8], np.int32)
    ratings = rng.normal(size=5)
    out = np.full((2, 4), 7.0)
    solve_side(np.array([0, 5, 5], np.int64), ids, ratings, fixed, out, (0.3, 0.1, 0.5))
    columns = np.column_stack([fixed[ids, :3], np.ones(5)])
    penalty = np.diag([0.3, 0.3, 0.3, 0.1]) * 5**0.5
    expected = np.linalg.solve(columns.T @ columns + penalty, columns.T @ (ratings - fixed[ids, 3]))
    assert out[0] == pytest.approx(expected)
    assert out[1].tolist() == [7.0] * 4, "nobody rated: left alone"


def test_planted_ratings_come_back() -> None:
    users, items, values = planted()
    held = np.random.default_rng(2).random(len(users)) < 0.2
    model = RatingModel(embedding_size=2, epochs=60, reg=1e-3, reg_bias=1e-3, scale=0.0)
    model.fit(users[~held], items[~held], values[~held], np.random.default_rng(0), shape=(60, 40))
    error = model.predict(users[held], items[held]) - values[held]
    assert np.sqrt(np.mean(error**2)) < 0.1
    flat = RatingModel(embedding_size=0, epochs=30, reg_bias=1e-3, scale=0.0)
    flat.fit(users[~held], items[~held], values[~held], np.random.default_rng(0), shape=(60, 40))
    assert np.sqrt(np.mean((flat.predict(users[held], items[held]) - values[held]) ** 2)) > 0.4, "two tastes are no bias"


def test_regularization_pays_on_noise() -> None:
    users, items, values = planted(noise=1.0)
    held = np.random.default_rng(3).random(len(users)) < 0.3

    def error(reg: float) -> float:
        model = RatingModel(embedding_size=8, reg=reg, scale=0.5)
        model.fit(users[~held], items[~held], values[~held], np.random.default_rng(0), shape=(60, 40))
        return float(np.sqrt(np.mean((model.predict(users[held], items[held]) - values[held]) ** 2)))

    assert error(1.5) < 0.8 * error(0.001)


def test_who_is_new_gets_the_mean_and_the_other_bias() -> None:
    users, items, values = planted()
    model = RatingModel(embedding_size=3).fit(users, items, values, np.random.default_rng(0), shape=(62, 45))
    item = int(items[0])
    alone = model.predict(np.array([60, -1, 99], np.int32), np.array([item] * 3, np.int32))
    assert alone == pytest.approx([model.mean_ + model.items_[item, -1]] * 3)
    assert model.predict(np.array([61], np.int32), np.array([44], np.int32))[0] == pytest.approx(model.mean_)


def test_predictions_stay_on_the_scale_that_was_seen() -> None:
    users, items, values = planted()
    model = RatingModel(reg=1e-4).fit(users, items, np.clip(np.round(values), 1, 5), np.random.default_rng(0), shape=(60, 40))
    everything = model.predict(np.repeat(np.arange(60), 40).astype(np.int32), np.tile(np.arange(40), 60).astype(np.int32))
    assert everything.min() >= 1
    assert everything.max() <= 5


def test_same_seed_same_arrays_and_they_load_again() -> None:
    users, items, values = planted()
    one, two = (RatingModel().fit(users, items, values, np.random.default_rng(4), shape=(60, 40)) for _ in range(2))
    assert np.array_equal(one.users_, two.users_)
    again = RatingModel().load(one.arrays())
    assert np.array_equal(again.predict(users, items), one.predict(users, items))


def test_what_cannot_be_fitted() -> None:
    rng = np.random.default_rng(0)
    none, one = np.zeros(0, np.int32), np.zeros(1, np.int32)
    with pytest.raises(ValueError, match="as many"):
        RatingModel().fit(none, none, np.zeros(0), rng, shape=(1, 1))
    with pytest.raises(ValueError, match="ids"):
        RatingModel().fit(one, one + 3, np.ones(1), rng, shape=(1, 2))
    with pytest.raises(ValueError, match="finite"):
        RatingModel().fit(one, one, np.array([np.nan]), rng, shape=(1, 1))
    with pytest.raises(ValueError, match="reg"):
        RatingModel(reg=0)
    with pytest.raises(NotReady):
        RatingModel().predict(one, one)
