"""The test of the loop in small: each part is left out once, and songs do come again where they may."""

from __future__ import annotations

import json

import pytest

from segue.cli import main


def test_every_part_is_left_out_once_and_repeats_cost_the_most(capsys: pytest.CaptureFixture[str]) -> None:
    world = ["--songs", "400", "--listeners", "40", "--genres", "6", "--learn", "400", "--sessions", "20"]
    assert main(["benchmark", "loop", *world, "--setup", "fusion", "--ablate", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rankers"] == []
    assert told["radio"]["sources"] == []
    played = {one["policy"]: one for one in told["policies"]}
    left_out = told["against_segue"]
    assert set(left_out) == {name for name in played if name.startswith("segue, ")}
    assert min(left_out, key=lambda name: left_out[name]["mean"]) == "segue, songs may repeat"
    assert left_out["segue, songs may repeat"]["high"] < 0
    assert told["gain"]["low"] <= told["gain"]["mean"] <= told["gain"]["high"]
