"""A finished model is asked as serving would ask it, before it may serve."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from segue import wiring
from segue.cli import main


def test_the_rehearsal_finds_what_serving_would_have_met(tmp_path: Path) -> None:
    assert (
        main(["--home", str(tmp_path / "h"), "demo", "--listeners", "150", "--songs", "300", "--days", "20", "--no-serve"]) == 0
    )
    with wiring.open_home(tmp_path / "h", writer=False) as home:
        bundle = home.registry().bundle()
        assert wiring.rehearse(home, bundle) == ""
        torn = replace(bundle, arrays={**bundle.arrays, "als": {"items": np.zeros(3, np.float32)}})
        assert wiring.rehearse(home, torn).startswith("KeyError")
        nobody = replace(bundle, manifest={**bundle.manifest, "ranker": "no such ranker"})
        assert wiring.rehearse(home, nobody) != ""
