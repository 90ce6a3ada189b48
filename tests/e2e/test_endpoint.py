"""Clients of the endpoint, many and rude ones, beside a collector that keeps its schedule."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.e2e.conftest import Running

pytestmark = pytest.mark.kernel


def connect(port: int, first: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    client.sendall(first)
    return client


def test_half_open_connections_delay_no_sample(serve: Callable[..., Running]) -> None:
    """A thousand clients that never finish their request, over three seconds, and one scraper who is served."""
    collector = serve()
    samples, late = collector.value("kepler_ebpf_samples_total"), collector.value("kepler_ebpf_late_samples_total")
    began = time.monotonic()
    with ExitStack() as clients:
        for number in range(1000):
            clients.enter_context(connect(collector.port, b"GET /metrics HTTP/1.1\r\nHost:"[: number % 30]))
            if number % 100 == 0:
                assert b"kepler_node_energy_joules_total" in collector.get("/metrics")
        while time.monotonic() < began + 3:
            assert b"kepler_node_energy_joules_total" in collector.get("/metrics")
            time.sleep(0.3)
        seconds = time.monotonic() - began
        taken = collector.value("kepler_ebpf_samples_total") - samples
    # /metrics is at most one publication old, at both ends.
    assert taken == pytest.approx(10 * seconds, abs=6 + seconds)
    assert collector.value("kepler_ebpf_late_samples_total") - late <= 1


def test_two_hundred_scrapers_see_one_state(serve: Callable[..., Running]) -> None:
    collector = serve("--metrics-interval", "10s")
    with ThreadPoolExecutor(200) as pool:
        bodies = set(pool.map(lambda _: collector.get("/metrics").split(b"# HELP process_")[0], range(400)))
    assert 1 <= len(bodies) <= 2, "a scrape computes nothing: all that came between two publications are alike"
