"""A small trained town behind a real server."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from segue.benchmarks._server import Server
from segue.cli import main

SIZES = ["--songs", "300", "--listeners", "150", "--days", "20", "--no-serve"]


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a town that was trained once, by the first worker that needs it; tests that write take a copy."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    home, done = base / "trained-town" / "home", base / "trained-town.done"
    with (base / "trained-town.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            assert main(["--home", str(home), "demo", *SIZES]) == 0
            done.touch()
    return home


@pytest.fixture
def home(trained_home: Path, tmp_path: Path) -> Path:
    """A copy of the trained home."""
    return Path(shutil.copytree(trained_home, tmp_path / "home"))


@pytest.fixture(scope="module")
def server(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests of a module that do not mind each other."""
    copy = Path(shutil.copytree(trained_home, tmp_path_factory.mktemp("served") / "home"))
    with Server(copy) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as opened:
        yield opened
