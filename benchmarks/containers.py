"""A thousand live containers rolled up and published; ten thousand made and removed beside the running collector."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Mapping

from tests.cgroups import cgroup_root, find_hierarchy
from tests.fakes import FakeSource, FakeTables, sampler_over

from benchmarks.footprint import collector, resident_mib, scrape
from benchmarks.report import Figure
from kepler_ebpf.collector import Collector
from kepler_ebpf.energy.source import Domain
from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.schedule import Schedule
from kepler_ebpf.snapshot.publisher import Publisher, SeriesOptions
from kepler_ebpf.views.prometheus import Renderer
from kepler_ebpf.workloads.names.provider import ContainerName
from kepler_ebpf.workloads.resolver import WorkloadResolver

_LIVE = 1_000
_CHURN = 10_000
_BATCH = 1_000
_ROUNDS = 30
_WARM_UP_ROUNDS = 15
_HOLD_SECONDS = 5
_WARM_UP_SECONDS = 20.0


class _Everyone:
    """Knows every container of the benchmark."""

    name = "benchmark"
    lists_sandboxes = True

    def fetch(self) -> Mapping[str, ContainerName]:
        return {_id(n): ContainerName(f"app-{n}", f"pod-{n // 4}", f"ns-{n % 20}", _uid(n)) for n in range(_LIVE)}


def _id(number: int) -> str:
    return f"{number:064x}"


def _uid(number: int) -> str:
    return f"0a1b2c3d-1111-2222-3333-{number // 4:012d}"


def _busy_node(kernel: FakeTables, workloads: WorkloadResolver) -> Collector:
    """A collector over a simulated kernel side with a thousand containers of three processes each."""
    source = FakeSource((Domain("package", 0, "fake", idle_watts=10.0), Domain("dram", 0, "fake", idle_watts=10.0)))
    sampler = sampler_over(kernel, source, workloads=workloads)
    publisher = Publisher(sampler, kernel, workloads, SeriesOptions(), {})
    return Collector(sampler, publisher, Schedule(0.1, 1.0, time.monotonic()), 5.0)


def _publication() -> list[Figure]:
    kernel = FakeTables(1, 4_096, 2_048)
    workloads = WorkloadResolver(find_hierarchy(HostFS()), [_Everyone()])
    collector = _busy_node(kernel, workloads)
    for number in range(_LIVE):
        workloads.learn_path(number + 1, f"/kubepods/burstable/pod{_uid(number)}/{_id(number)}")
    renderer = Renderer(collector)
    publish_ms, render_ms = [], []
    for _ in range(_ROUNDS + _WARM_UP_ROUNDS):
        for number in range(_LIVE):
            for process in range(3):
                kernel.run(3 * number + process + 1, number + 1, 0, 1_000_000)
        collector.tick()
        before = time.thread_time()
        collector.publish()
        publish_ms.append(1e3 * (time.thread_time() - before))
        before = time.thread_time()
        renderer.metrics("")
        render_ms.append(1e3 * (time.thread_time() - before))
        if len(publish_ms) <= _WARM_UP_ROUNDS:
            time.sleep(0.5)  # the thread that learns names asks every five seconds
    assert collector.snapshot is not None
    shown = sum(bool(workload.pod) for workload in collector.snapshot.containers.workloads)
    workloads.close()
    publish, render = (statistics.median(times[_WARM_UP_ROUNDS:]) for times in (publish_ms, render_ms))
    return [
        Figure("publication: 1,000 containers", publish, "ms", 20, f"CPU time; {shown} named"),
        Figure("rendering: 1,000 containers", render, "ms", None, "when first scraped"),
    ]


def _churn() -> list[Figure]:
    root = cgroup_root() / "docker"
    root.mkdir(exist_ok=True)
    # Each container's only process is forked by the shell that made its cgroup.
    script = (
        f"for i in $(seq {{}} {{}}); do d={root}/$(printf %064x $i); mkdir $d; "
        "( echo 0 > $d/cgroup.procs; exec 2>/dev/null; i=0; while [ $i -lt 300 ]; do i=$((i+1)); done ); rmdir $d; done"
    )

    def live(first: int, last: int) -> None:
        subprocess.run(["/bin/sh", "-c", script.format(first, last)], check=True)

    with collector(9931, "--exit-hold", f"{_HOLD_SECONDS}s", "--metrics-interval", "1s") as pid:
        fresh, began, first = resident_mib(pid), time.monotonic(), 0
        while time.monotonic() - began < _WARM_UP_SECONDS:  # until as many of the dead are kept at once as ever are
            live(first, first + _BATCH - 1)
            first += _BATCH
            scrape(9931)
        time.sleep(2 * _HOLD_SECONDS + 2)
        before, began, warm_up = resident_mib(pid), time.monotonic(), first
        while first < warm_up + _CHURN:
            live(first, first + _BATCH - 1)
            first += _BATCH
            scrape(9931)
        rate = _CHURN / (time.monotonic() - began)
        time.sleep(2 * _HOLD_SECONDS + 2)
        scrape(9931)
        after = resident_mib(pid)
    os.rmdir(root)
    note = f"{rate:.0f} a second; the first {warm_up:,} took {before - fresh:.1f} MiB"
    return [Figure("memory: growth over 10,000 containers", after - before, "MiB", 5, note)]


def measure() -> list[Figure]:
    """Publication over a simulated kernel side; memory of a real collector under churn."""
    return [*_publication(), *_churn()]
