"""The demo town is heard in two parts: some songs before the first night, the others while it plays."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segue import wiring
from segue.cli.listening import hear, hear_what_is_left, statistics_of, with_sound
from segue.cli.output import Bar
from segue.core.records import ItemRecord
from segue.simulator.town import Town
from segue.sound.encoder import StatisticsEncoder


def test_songs_that_were_not_heard_at_first_are_heard_later_and_as_the_others_were(tmp_path: Path) -> None:
    town = Town(7, songs=24, artists=12, listeners=4, days=1, until_ms=1_790_000_000_000)
    songs = [with_sound(song) for song in town.items]
    with wiring.open_home(tmp_path / "town", writer=False) as home, Bar() as bar:
        items = home.catalogue.put_items([*songs, ItemRecord("elsewhere", title="No song of the town")])
        hear(home, songs, items[:24], bar, most=12)
        assert np.isfinite(home.vectors.get(items)).all(axis=1).tolist() == [True, False] * 12 + [False]
        assert hear_what_is_left(home) == 12
        assert np.isfinite(home.vectors.get(items)).all(axis=1).tolist() == [True] * 24 + [False]
        assert hear_what_is_left(home) == 0
        fitted = home.shelf.serving()
        assert fitted is not None
        assert isinstance(fitted.encoder, StatisticsEncoder)
        alone = fitted.encoder.encode_statistics(statistics_of(songs[3]))
        np.testing.assert_allclose(home.vectors.get(items[3:4])[0], alone, atol=1e-6)
