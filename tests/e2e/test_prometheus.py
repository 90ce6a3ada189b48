"""A real Prometheus scrapes a running collector, and the setup guide's queries return data."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Running, free_port
from tests.needs import require

pytestmark = pytest.mark.kernel

# From the setup guide; those of GPUs and of foreign metrics need what is not here.
GUIDE_QUERIES = (
    "topk(10, rate(kepler_container_joules_total[1m]))",
    "kepler_node_power_watts",
    "avg by (pod) (kepler_container_joules_total)",
    "kepler_node_power_watts / kepler_node_cpu_utilization",
    "kepler_node_energy_joules_total",
    "kepler_node_cpu_power_watts",
    "kepler_container_cpu_time_seconds_total",
    "kepler_process_power_watts",
    "increase(kepler_container_joules_total[1m])",
)


class Prometheus:
    def __init__(self, port: int) -> None:
        self.port = port

    def query(self, expression: str) -> list[dict[str, object]]:
        address = f"http://127.0.0.1:{self.port}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(address, timeout=10) as answer:
            result: list[dict[str, object]] = json.load(answer)["data"]["result"]
        return result


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Callable[[int], Prometheus]]:
    require(shutil.which("prometheus"), "prometheus is not installed")
    started: list[subprocess.Popen[bytes]] = []

    def start(target: int) -> Prometheus:
        port = free_port()
        config = tmp_path / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s}\n"
            "scrape_configs:\n"
            f"- {{job_name: kepler, honor_labels: true, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}\n"
        )
        started.append(
            subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={config}",
                    f"--storage.tsdb.path={tmp_path / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        return Prometheus(port)

    yield start
    for process in started:
        process.terminate()
        process.wait()


def test_the_guides_queries_return_data(serve: Callable[..., Running], prometheus: Callable[[int], Prometheus]) -> None:
    collector = serve()
    server = prometheus(collector.port)
    deadline = time.monotonic() + 30
    empty = list(GUIDE_QUERIES)
    while empty and time.monotonic() < deadline:
        time.sleep(1)
        try:
            empty = [query for query in empty if not server.query(query)]
        except OSError:
            continue  # it is still starting
    assert not empty
    (node,) = server.query("kepler_node_energy_joules_total")
    (parts,) = server.query(
        "sum(kepler_process_joules_total) + sum(kepler_node_idle_joules_total)"
        " + sum(kepler_node_unattributed_joules_total)"
    )
    assert float(parts["value"][1]) == pytest.approx(float(node["value"][1]), rel=1e-9)  # type: ignore[index]
    assert float(node["value"][1]) > 0  # type: ignore[index]
    (up,) = server.query("up")
    assert up["value"][1] == "1"  # type: ignore[index]
