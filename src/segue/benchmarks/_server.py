"""A real `segue serve` in a child process, for benchmarks and tests: started on a free port, stopped by its own id."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import IO, Self


class Server:
    """`with Server(home) as server:` serves the home until the block ends; `server.port` is where."""

    def __init__(self, home: Path, *arguments: str, config: Path | None = None, wait_s: float = 300.0) -> None:
        self.home, self._arguments, self._wait_s = home, arguments, wait_s
        self._config = ["--config", str(config)] if config else []
        self.port = 0
        self._errors: IO[bytes] | None = None
        self._said = ""
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the server."""
        assert self._child is not None
        return self._child.pid

    @property
    def url(self) -> str:
        """http://127.0.0.1:PORT"""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start and wait until it is ready."""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the server has ended
        command = [sys.executable, "-m", "segue", "--home", str(self.home), *self._config, "serve", "--port", "0"]
        command += self._arguments
        self._child = subprocess.Popen(command, stderr=self._errors, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + self._wait_s
        while time.monotonic() < deadline:
            said = self.said()
            found = re.search(r"listening on http://[^:]+:(\d+)/", said)
            if found and self._ready(int(found[1])):
                self.port = int(found[1])
                return self
            if self._child.poll() is not None:
                raise RuntimeError(f"the server ended with {self.stop()}: {self.said()[-2000:]}")
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"the server was not ready within {self._wait_s} s: {self.said()[-2000:]}")

    @staticmethod
    def _ready(port: int) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def said(self) -> str:
        """What it wrote to standard error so far."""
        if self._errors is not None:
            with open(f"/proc/self/fd/{self._errors.fileno()}", "rb") as copy:
                self._said = copy.read().decode(errors="replace")
        return self._said

    def stop(self) -> int:
        """Ask it to end, wait, and give its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """kill -9."""
        return self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> int:
        assert self._child is not None
        if self._child.poll() is None:
            self._child.send_signal(how)
        code = self._child.wait(timeout=60)
        self.said()
        if self._errors is not None:
            self._errors.close()
            self._errors = None
        return code

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._child is not None:
            self.stop()
