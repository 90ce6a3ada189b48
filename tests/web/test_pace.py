"""A flood of requests takes a part of a core only, and who asks in between has his turn."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from kepler_ebpf.web import server
from kepler_ebpf.web.pace import AT_ONCE, HANDSHAKE_TURNS, PER_SECOND, Pace
from kepler_ebpf.web.server import Endpoint
from tests.web.test_server import FakeContent, ask
from tests.web.test_webconfig import TLS, Served, folder, made, served

__all__ = ("folder", "made", "served")  # fixtures

ANSWER = b"HTTP/1.1 404"


class Counting(Pace):
    def __init__(self) -> None:
        super().__init__()
        self.taken: list[int] = []

    def wait_seconds(self, turns: int = 1) -> float:
        self.taken.append(turns)
        return super().wait_seconds(turns)


def test_all_connections_may_ask_at_once_and_then_in_their_turn() -> None:
    now = [100.0]
    pace = Pace(lambda: now[0])
    assert max(pace.wait_seconds() for _ in range(AT_ONCE)) < 1e-6
    waits = [pace.wait_seconds() for _ in range(PER_SECOND)]
    assert 0.5 / PER_SECOND < waits[0] < 2 / PER_SECOND
    assert abs(waits[-1] - 1.0) < 1e-6, "a second's turns take a second"
    now[0] += 1.0
    assert pace.wait_seconds() < 2 / PER_SECOND, "nobody waits for what has been"
    now[0] += 3600.0
    waits = [pace.wait_seconds() for _ in range(AT_ONCE + 1)]
    assert max(waits[:-1]) < 1e-6
    assert waits[-1] > 0.5 / PER_SECOND, "an hour of rest gives no more at once"


def test_a_flood_is_answered_no_faster_than_the_pace() -> None:
    content = FakeContent()
    endpoint = Endpoint("127.0.0.1:0", content)
    endpoint.start()
    count, found, took = AT_ONCE + PER_SECOND, 0, 0.0
    try:
        with socket.create_connection(endpoint.addresses[0], timeout=30) as client:
            began = time.monotonic()
            flood = b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n" * count
            sender = threading.Thread(target=client.sendall, args=(flood,))
            sender.start()
            assert ask(endpoint, "/metrics", timeout=20)[0] == 200, "who asks in between has his turn"
            rest = b""
            while found < count:
                data = rest + client.recv(1 << 20)
                found += data.count(ANSWER)
                rest = data[-len(ANSWER) + 1 :]
            took = time.monotonic() - began
            sender.join()
    finally:
        endpoint.stop()
    assert took >= 0.99


def test_a_handshake_takes_turns_and_silence_takes_none(
    served: Served, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace = Counting()
    monkeypatch.setattr(server, "Pace", lambda: pace)
    served.start(TLS + "}")
    with socket.create_connection(served.address, timeout=30), socket.create_connection(served.address, timeout=30):
        assert served.status(trust="server") == 200
        assert pace.taken == [HANDSHAKE_TURNS, 1]
