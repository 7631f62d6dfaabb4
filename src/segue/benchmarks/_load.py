"""An open-loop HTTP load: requests leave when they are due, whether or not earlier ones have been answered."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class _Connection(asyncio.Protocol):
    """One keep-alive connection: one request at a time, answers with a Content-Length."""

    def __init__(self, done: Callable[[_Connection, int, bytes], None]) -> None:
        self._done = done
        self._buffer = bytearray()
        self._need = -1
        self._body = 0
        self._status = 0
        self.transport: asyncio.Transport | None = None
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._need < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            self._status = int(head[9:12])
            self._body = end + 4
            at = head.find(b"content-length:")
            self._need = self._body + int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(self._buffer) >= self._need:
            body = bytes(self._buffer[self._body : self._need])
            self._buffer.clear()
            self._need = -1
            self._done(self, self._status, body)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None


@dataclass
class Outcome:
    """What the load saw: milliseconds from the moment a request was due to its answer, in order of answers."""

    latencies_ms: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    last_body: bytes = b""
    sent: int = 0
    seconds: float = 0.0

    def percentile(self, p: float) -> float:
        """The p-th percentile of the latencies, milliseconds."""
        return float(np.percentile(self.latencies_ms, p)) if self.latencies_ms else float("nan")


def request(path: str, body: bytes) -> bytes:
    """An HTTP/1.1 POST."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def open_loop(port: int, due: NDArray[np.float64], make: Callable[[int], bytes]) -> Outcome:
    """Send request i at due[i] seconds after the start; waits at most 10 s for the last answers."""
    loop = asyncio.get_running_loop()
    outcome = Outcome()
    free: deque[_Connection] = deque()
    open_requests = 0

    def done(connection: _Connection, status: int, body: bytes) -> None:
        nonlocal open_requests
        open_requests -= 1
        outcome.latencies_ms.append((time.perf_counter() - connection.due) * 1000)
        outcome.statuses[status] = outcome.statuses.get(status, 0) + 1
        outcome.last_body = body
        free.append(connection)

    async def connect() -> _Connection:
        _, connection = await loop.create_connection(lambda: _Connection(done), "127.0.0.1", port)
        return connection

    for _ in range(16):
        free.append(await connect())
    start = time.perf_counter() + 0.05
    for i, offset in enumerate(due.tolist()):
        wait = start + offset - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        connection = free.popleft() if free else await connect()
        if connection.transport is None:
            connection = await connect()
        connection.due = start + offset
        open_requests += 1
        outcome.sent += 1
        assert connection.transport is not None
        connection.transport.write(make(i))
    deadline = time.perf_counter() + 10
    while open_requests and time.perf_counter() < deadline:
        await asyncio.sleep(0.005)
    outcome.seconds = time.perf_counter() - start
    for connection in free:
        if connection.transport is not None:
            connection.transport.close()
    return outcome


def cpu_seconds(pid: int) -> float:
    """User and system seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> tuple[float, float]:
    """(resident, of it anonymous) MiB of a process: memory-mapped files count in the first only."""
    rows = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(rows["VmRSS"].split()[0]) / 1024, int(rows["RssAnon"].split()[0]) / 1024
