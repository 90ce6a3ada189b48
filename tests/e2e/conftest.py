from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cgroups import cgroup_root
from tests.needs import require

COMMAND = [sys.executable, "-m", "kepler_ebpf"]
ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def samples_of(page: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Every sample of a page, by name."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


@dataclass
class Running:
    """A collector under test."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def get(self, path: str, accept: str = "") -> bytes:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", headers={"Accept": accept} if accept else {}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())

    def samples(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        """Every sample of /metrics, by name."""
        return samples_of(self.get("/metrics").decode())

    def by_id(self, name: str) -> dict[str, float]:
        """A family of containers by their id."""
        return {labels["container_id"]: value for labels, value in self.samples().get(name, ())}

    def value(self, name: str) -> float:
        """A family without labels."""
        ((_, value),) = self.samples()[name]
        return value

    def wait_ready(self) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                self.get("/readyz")
                return
            except (OSError, urllib.error.URLError):
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.05)
        raise AssertionError(f"not ready in 120 s: {self.log.read_text()}")


@contextmanager
def collectors(directory: Path, command: Sequence[str] = COMMAND) -> Iterator[Callable[..., Running]]:
    """Starts collectors as a user would, with flags and variables; they are stopped at the end."""
    require(os.geteuid() == 0, "loading BPF programs needs root")
    running: list[Running] = []

    def start(*flags: str, **variables: str) -> Running:
        port = free_port()
        log = directory / f"log-{port}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "serve", "--listen", f"127.0.0.1:{port}", *flags],
                stderr=output,
                env={**os.environ, "KEPLER_METRICS_INTERVAL": "500ms", **variables},
            )
        running.append(Running(process, port, log))
        running[-1].wait_ready()
        return running[-1]

    try:
        yield start
    finally:
        for one in running:
            one.process.kill()
            one.process.wait()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts collectors that live as long as the test."""
    with collectors(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def start_collectors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """Starts collectors that live as long as the module's tests."""
    with collectors(tmp_path_factory.mktemp("collectors")) as start:
        yield start


@pytest.fixture
def container() -> Iterator[Callable[[str], Path]]:
    """Makes the cgroup of a container by its path, parents included; all are removed after."""
    require(os.geteuid() == 0, "making cgroups needs root")
    root = cgroup_root()
    made: list[Path] = []

    def make(path: str) -> Path:
        place = root
        for part in path.strip("/").split("/"):
            place = place / part
            if not place.exists():
                place.mkdir()
                made.append(place)
        return place

    yield make
    for place in reversed(made):
        if place.exists():
            place.rmdir()
