"""Head and body of an answer leave in one write, keep-alive and closing ones alike."""

from __future__ import annotations

import socket
from pathlib import Path

from segue.benchmarks._server import Server


def ask(link: socket.socket, target: str, *headers: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in (f"GET {target} HTTP/1.1", "Host: localhost", *headers))
    link.sendall(f"{head}\r\n".encode())
    return link.recv(65536)  # one read: what one write sent over loopback


def complete(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    return answer.startswith(b"HTTP/1.1 200") and len(body) == int(length.partition(b":")[2])


def test_an_answer_is_one_packet_and_the_connection_goes_on(home: Path) -> None:
    with Server(home) as server, socket.create_connection(("127.0.0.1", server.port), timeout=10) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert all(complete(ask(link, "/v1/popular")) for _ in range(3))
        assert complete(ask(link, "/v1/popular", "Connection: close")), "nothing is lost when the connection is closed"
        assert link.recv(10) == b"", "and then it is closed"
