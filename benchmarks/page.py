"""A page of fifty thousand series: CPU time to render, to give again, and how long a sampler beside it has to wait."""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import replace

import numpy as np
from tests.snapshots import Published

from benchmarks.report import Figure
from kepler_ebpf.energy.source import Domain
from kepler_ebpf.snapshot.types import Containers, Health, Node, Processes, Snapshot, Zone
from kepler_ebpf.views.prometheus import Renderer
from kepler_ebpf.workloads.workload import Workload

_PROCESSES = 10_000
_CONTAINERS = 1_000
_ROUNDS = 15
_ROUNDS_BESIDE_SAMPLER = 50
_SAMPLE_INTERVAL = 0.1
_SAMPLE_SYSTEM_CALLS = 20
_OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def _begins(random: np.random.Generator, series: int) -> tuple[float, ...]:
    """When series began: at publications, five seconds apart, over a day."""
    return tuple((1.75e9 + 5.0 * random.integers(0, 17_280, series)).tolist())


def node_of(count_processes: int, count_containers: int) -> Snapshot:
    """A node that meters its package and counts cycles: five families of processes, seven of containers."""
    random = np.random.default_rng(1)

    def joules(components: int, series: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        columns = np.zeros((components, series))
        columns[0] = random.exponential(1e3, series)
        return columns

    return Snapshot(
        number=1,
        node=Node(
            joules=np.array([1e6, 0.0, 0.0]),
            idle_joules=np.zeros(3),
            unattributed_joules=np.zeros(3),
            component_watts=np.array([150.0, 0.0, 0.0]),
            has_component=(True, False, False),
            max_watts=200.0,
            utilization=0.5,
            idle_watts={"0": 20.0},
            gpu_idle_watts={},
        ),
        zones=(Zone(Domain("package", 0, "rapl-powercap"), 1e6),),
        containers=Containers(
            workloads=tuple(
                Workload("container", f"{n:064x}", f"app-{n}", f"web-{n // 4}", f"shop-{n % 20}", f"uid-{n // 4}")
                for n in range(count_containers)
            ),
            joules=joules(5, count_containers),
            watts=random.random(count_containers),
            max_watts=random.random(count_containers),
            seconds=random.exponential(1e3, count_containers),
            cycles=np.floor(random.exponential(1e12, count_containers)),
            working_set_bytes=tuple(int(size) for size in random.integers(1 << 20, 1 << 34, count_containers)),
            pending_joules=0.0,
            exited_joules=0.0,
            began=_begins(random, count_containers),
        ),
        pods=(),
        processes=Processes(
            pid=tuple(str(n) for n in range(count_processes)),
            comm=tuple(f"worker-{n % 500}" for n in range(count_processes)),
            container_id=tuple(f"{n % count_containers:064x}" for n in range(count_processes)),
            joules=joules(3, count_processes),
            watts=random.random(count_processes),
            seconds=random.exponential(1e3, count_processes),
            cycles=np.floor(random.exponential(1e12, count_processes)),
            exited=np.zeros(5),
            began=_begins(random, count_processes),
        ),
        health=Health(),
        info={},
        counts_cycles=True,
    )


def _next(snapshot: Snapshot) -> Snapshot:
    """The next publication: processes have used energy."""
    assert snapshot.processes is not None
    processes = replace(snapshot.processes, joules=snapshot.processes.joules * 1.001)
    return replace(snapshot, number=snapshot.number + 1, processes=processes)


class _Sampler:
    """Takes the interpreter's lock as often as a sample does, on a schedule, and notes how late it got through."""

    def __init__(self) -> None:
        self.late_ms: list[float] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        due = time.monotonic()
        with open("/proc/self/stat", "rb", buffering=0) as file:
            while not self._end.is_set():
                due += _SAMPLE_INTERVAL
                time.sleep(max(0.0, due - time.monotonic()))
                for _ in range(_SAMPLE_SYSTEM_CALLS):  # each gives the lock up and waits for it
                    file.seek(0)
                    file.read(64)
                self.late_ms.append(1e3 * (time.monotonic() - due))

    def __enter__(self) -> _Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def measure() -> list[Figure]:
    """Both formats, each in a publication of its own; then pages without a break beside a sampler."""
    snapshot = node_of(_PROCESSES, _CONTAINERS)
    published = Published(snapshot)
    renderer = Renderer(published)
    figures = []
    for name, accept in (("Prometheus text", ""), ("OpenMetrics", _OPENMETRICS)):
        render, again = [], []
        for _ in range(_ROUNDS):
            published.snapshot = snapshot = _next(snapshot)
            before = time.thread_time()
            text, _ = renderer.metrics(accept)
            render.append(1e3 * (time.thread_time() - before))
            before = time.thread_time()
            renderer.metrics(accept)
            again.append(1e3 * (time.thread_time() - before))
        series = sum(not line.startswith(b"#") for line in text.splitlines())
        note = f"CPU time; {series:,} series, {len(text) / 1e6:.1f} MB"
        figures.append(Figure(f"page: {name}", statistics.median(render), "ms", 150, note))
        figures.append(Figure(f"page: {name}, again", statistics.median(again), "ms", 5, "CPU time"))
    with _Sampler() as sampler:
        for _ in range(_ROUNDS_BESIDE_SAMPLER):
            published.snapshot = snapshot = _next(snapshot)
            renderer.metrics("", compressed=True)
    late = max(sampler.late_ms)
    note = f"worst of {len(sampler.late_ms)}, pages written and compressed one after the other"
    figures.append(Figure("page: a sample beside it ends late by", late, "ms", 1e3 * _SAMPLE_INTERVAL, note))
    return figures
