"""A site to look at: a real Prometheus with everything we ship for it, two collectors, and containers that work.

Of the two "nodes" (this machine, seen twice) the first has stand-ins for meters: a powercap tree that draws 50 W and
has a zone that fails, and a GPU that draws 20 W. The second has the power model. What other exporters would tell
(http_requests_total, kube_node_labels) is a stand-in too, and so are cycles: nanoseconds of the kernel's clock event,
since a machine for tests seldom has a PMU.
"""

from __future__ import annotations

import http.server
import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from tests.cgroups import cgroup_root
from tests.deploy.overlays import DEPLOY, endpoint, snake
from tests.e2e.conftest import Running, free_port
from tests.gpu.standin import Script, build
from tests.kernel.workloads import spinner
from tests.needs import require
from tests.runtimes import BUSY, Containerd, containerd

METERED, MODELLED = "worker-1", "worker-2"
ZONES = {
    "intel-rapl:0": ("package-0", 40.0),
    "intel-rapl:0:0": ("core", 25.0),
    "intel-rapl:0:1": ("uncore", 5.0),
    "intel-rapl:0:2": ("dram", 10.0),
    "intel-rapl:1": ("psys", 70.0),
    "intel-rapl:2": ("psys-1", 0.0),
}
GUEST = ("-name", "guest=desk")
Result = list[dict[str, Any]]
COMMAND = [
    sys.executable,
    "-c",
    "from kepler_ebpf.kernel import counters\n"
    "counters.CYCLES = counters.CPU_CLOCK\n"
    "from kepler_ebpf.energy import zones\n"
    "zones.ONE_COUNTER_A_SOCKET = ()\n"
    "from kepler_ebpf.__main__ import main\n"
    "raise SystemExit(main())",
]
"""The collector, with cycles and a core zone that are there on every machine, whoever made its processor."""


class Ticker:
    """Calls a function every 100 ms with the seconds since it started."""

    def __init__(self, tick: Callable[[float], None]) -> None:
        self._tick, self._stop = tick, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        began = time.monotonic()
        while not self._stop.wait(0.1):
            self._tick(time.monotonic() - began)

    def __enter__(self) -> Ticker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def powercap(sysfs: Path) -> Callable[[float], None]:
    """A /sys of its own with zones that draw what ZONES says; the rest is the machine's. Returns what makes it tick."""
    root = sysfs / "class/powercap"
    root.mkdir(parents=True)
    for name in ("devices", "fs", "kernel"):
        (sysfs / name).symlink_to(f"/sys/{name}")
    for zone, (name, _) in ZONES.items():
        (root / zone).mkdir()
        (root / zone / "name").write_text(name + "\n")
        (root / zone / "max_energy_range_uj").write_text("262143328850\n")
        (root / zone / "energy_uj").write_text("0\n")

    def tick(seconds: float) -> None:
        for zone, (_, watts) in ZONES.items():
            file = root / zone / "energy_uj"
            if zone == "intel-rapl:2" and seconds > 3:
                if file.exists():  # from now on this one cannot be read
                    with file.open("w") as broken:
                        broken.write("no number\n")
                continue
            with file.open("r+") as counter:
                counter.write(f"{round(seconds * watts * 1e6)}\n")

    return tick


def virtual_machine(directory: Path) -> list[str]:
    """What the collector takes for a guest named desk: a shell that runs under QEMU's name, and works a little."""
    qemu = directory / "qemu-system-x86_64"
    shutil.copy("/bin/dash", qemu)
    return [str(qemu), "-c", "while :; do i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; sleep 0.1; done", *GUEST]


class Foreign(http.server.BaseHTTPRequestHandler):
    """What other exporters would tell: one request counter per container, and the node's labels."""

    collector: Running
    began = time.monotonic()

    def do_GET(self) -> None:
        count = int((time.monotonic() - self.began) * 50)
        lines = [
            "# TYPE http_requests_total counter",
            *(
                "http_requests_total{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + f"}} {count}"
                for labels, _ in self.collector.samples().get("kepler_container_joules_total", ())
            ),
            "# TYPE kube_node_labels gauge",
            f'kube_node_labels{{node="{METERED}",instance_type="m5.large",'
            'label_node_kubernetes_io_instance_type="m5.large"} 1',
        ]
        with suppress(BrokenPipeError):  # a scrape that did not wait
            self.send_response(200)
            self.end_headers()
            self.wfile.write(("\n".join(lines) + "\n").encode())

    def log_message(self, *_: Any) -> None:
        pass


class Prometheus:
    """A server's HTTP interface."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, **parameters: str) -> Any:
        address = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> Result:
        result: Result = self.get("query", query=expression)["result"]
        return result


def configuration(directory: Path, collectors: dict[str, int], foreign: int) -> Path:
    """What we ship, all at once, with other addresses and every interval a second."""
    shipped = yaml.safe_load((DEPLOY / "prometheus/kepler-0.9-scrape.yml").read_text())
    (job,) = shipped["scrape_configs"]
    # As the Operator finds the targets: labels of their own pods, relabelled as our ServiceMonitor says.
    pod = {
        "namespace": "newmonitoring",
        "container": "kepler-exporter",
        "service": "kepler-exporter",
        "endpoint": "http",
    }
    targets = [
        {
            "targets": [f"127.0.0.1:{port}"],
            "labels": {**pod, "pod": f"kepler-exporter-{node}", "__meta_kubernetes_pod_node_name": node},
        }
        for node, port in collectors.items()
    ]
    job.update(
        scrape_interval="1s", static_configs=targets, relabel_configs=snake(endpoint("privileged")["relabelings"])
    )
    other = {
        **job,
        "job_name": "foreign",
        "relabel_configs": [],
        "static_configs": [{"targets": [f"127.0.0.1:{foreign}"]}],
    }
    # The guide divides by our own series, label by label: give the stand-in's the same.
    other["metric_relabel_configs"] = [
        {"target_label": "job", "replacement": "kepler"},
        {"target_label": "instance", "replacement": METERED},
        {"target_label": "node", "replacement": METERED},
        *yaml.safe_load(
            yaml.safe_dump(job["metric_relabel_configs"])
            .replace("kepler_(container|process)_(.+_)?joules_total", "http_requests_total")
            .replace("kepler_container_.+", "http_requests_total")
        ),
    ]
    for path in (DEPLOY / "prometheus").glob("kepler-*.yaml"):
        text = path.read_text().replace("offset 30s", "offset 1s")
        for interval in ("30s", "1m"):
            text = text.replace(f"interval: {interval}\n", "interval: 1s\n")
        (directory / path.name).write_text(text)
    shipped["rule_files"] = ["kepler-*.yaml"]
    shipped["global"] = {"evaluation_interval": "1s"}
    shipped["scrape_configs"].append(other)
    path = directory / "prometheus.yml"
    path.write_text(yaml.safe_dump(shipped))
    return path


@contextmanager
def prometheus(config: Path, *flags: str, program: str = "prometheus") -> Iterator[Prometheus]:
    port = free_port()
    command = [
        program,
        *flags,
        f"--config.file={config}",
        f"--storage.tsdb.path={config.parent / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    log = config.parent / "log"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            server, deadline = Prometheus(port), time.monotonic() + 20
            while True:
                try:
                    server.query("up")
                    break
                except OSError:
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            yield server
        finally:
            process.terminate()


def _remove_all(runtime: Containerd) -> None:
    for pod in list(runtime.pods):
        runtime.remove_pod(pod)


@contextmanager
def site(directory: Path, start: Callable[..., Running]) -> Iterator[tuple[Prometheus, Running]]:
    """Everything, running; ``start`` starts collectors, by COMMAND."""
    require(shutil.which("prometheus"), "prometheus is not installed")
    with ExitStack() as stack:
        tick = powercap(directory / "sys")
        build(directory)
        gpu = Script(directory / "gpu")
        runtime = stack.enter_context(containerd(directory / "containerd"))
        stack.callback(_remove_all, runtime)
        workers = []
        for command in (spinner(600), virtual_machine(directory)):
            workers.append(stack.enter_context(subprocess.Popen(command)))
            stack.callback(workers[-1].kill)

        users = [workers[0].pid]

        def beat(seconds: float) -> None:
            tick(seconds)
            used = [f"use 0 {pid} {80 // len(users)} {seconds * 1e6:.0f}" for pid in users]
            gpu.write(f"gpu 0 {1000 + seconds * 20_000:.0f} 20000 0 0", *used)

        stack.enter_context(Ticker(beat))
        collector = start(
            *("--cri-socket", str(runtime.socket), "--kubelet-url", "https://127.0.0.1:9"),
            *("--idle-watts", "4", "--gpu-idle-watts", "5"),
            LD_LIBRARY_PATH=str(directory),
            KEPLER_TEST_NVML=str(gpu.path),
            KEPLER_SYSFS=str(directory / "sys"),
        )
        for number in range(2):
            pod = runtime.run_pod(f"web-{number}")
            app = runtime.run(pod, "app", BUSY)
            members = cgroup_root() / f"{pod.cgroup.lstrip('/')}/{app}/cgroup.procs"
            users.append(int(members.read_text().split()[0]))
            runtime.run(pod, "sidecar", "while :; do sleep 0.1; done")
        handler = type("Handler", (Foreign,), {"collector": collector})
        foreign = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        stack.callback(foreign.server_close)
        stack.callback(foreign.shutdown)
        threading.Thread(target=foreign.serve_forever).start()
        ports = {METERED: collector.port, MODELLED: start("--cri-socket", str(runtime.socket)).port}
        config = configuration(directory, ports, foreign.server_port)
        yield stack.enter_context(prometheus(config)), collector
