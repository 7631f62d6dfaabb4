"""`segue recommend` asks once, in a process that has compiled nothing yet: it waits for every source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from segue import wiring
from segue.cli import main


def test_the_deadline_of_a_server_is_not_that_of_a_command(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with wiring.open_home(home, writer=False) as opened:
        user = opened.catalogue.users.name(0)
    rungs = []
    for hurry in ("", "[server]\ndeadline_ms = 0.001\n"):
        (home / "segue.toml").write_text(hurry)
        capsys.readouterr()
        assert main(["--home", str(home), "recommend", user, "--json"]) == 0
        rungs.append(json.loads(capsys.readouterr().out)["rung"])
    assert rungs == ["personal", "personal"]
