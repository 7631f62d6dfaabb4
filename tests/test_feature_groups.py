"""Every group of features, from the settings through a night to what is shown, and made again to the bit."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from segue import wiring
from segue.cli import main
from segue.core.records import ItemRecord, UserRecord
from segue.features.compute import EXTRA
from segue.serving.query import ContextIn, RecommendIn
from segue.wiring.replay import replay

QUIET = {"tags_here", "tags_of_last", "artist_rate", "on_platform", *EXTRA["wishes"], *EXTRA["clock"]}
"""Columns that may be 0 for every song here: nothing is asked for, no session runs, all songs came today."""


def test_a_home_with_every_group_learns_serves_and_replays(tmp_path: Path) -> None:
    home_at, today = tmp_path / "h", datetime.now(UTC).strftime("%m-%d")
    home_at.mkdir()
    names = ", ".join(f'"{group}"' for group in EXTRA)
    (home_at / "segue.toml").write_text(f'[features]\ngroups = [{names}]\nholidays = ["{today}"]\n', encoding="utf-8")
    sizes = ["--listeners", "150", "--songs", "300", "--days", "20", "--silent"]
    assert main(["--home", str(home_at), "demo", *sizes, "--no-serve"]) == 0
    with wiring.open_home(home_at, None, writer=True) as home:
        bundle = home.registry().bundle()
        assert set(bundle.manifest["ranker_facts"]["features"]) >= {name for columns in EXTRA.values() for name in columns}
        assert {"by_age", "by_region", "regions"} == bundle.arrays["audience"].keys()
        plays = np.concatenate([chunk["user"] for chunk in home.log.scan(0, 1 << 42, ("user",))])
        user = int(np.bincount(plays[plays >= 0]).argmax())
        name = home.catalogue.users.name(user)
        songs = home.catalogue.items.all(np.arange(len(home.catalogue.items), dtype=np.int32))
        home.catalogue.put_users([UserRecord(name, language="pt")])
        home.catalogue.put_items([ItemRecord(song, language="pt" if i % 2 else "en") for i, song in enumerate(songs)])
        now = time.time_ns() // 1_000_000
        home.catalogue.devices.intern(["phone"])
        asked = RecommendIn(user=name, limit=20, context=ContextIn(device="phone"), discovery=0.5)
        query, _ = wiring.radio.maker_of(home).make(asked, now, 1)
        recommender = wiring.radio.recommender_of(home)
        try:
            recommender.recommend(query)  # what has to be compiled or read from disk must not make a source late
            exposure = recommender.recommend(query)
        finally:
            recommender.close()
        assert len(exposure.slate.items) > 5
        column = {name: exposure.features[:, place] for place, name in enumerate(exposure.feature_names)}
        for group, columns in EXTRA.items():
            for one in set(columns) - QUIET:
                assert column[one].any(), f"{group}: {one} is 0 for all"
        assert set(column["language_match"].tolist()) <= {1.0, -1.0}
        assert column["holiday"].tolist() == [1.0] * len(exposure.slate.items)
        assert replay(home, exposure)["replayed"] is True
