"""Containers as far as their cgroup's path tells: made here as a runtime makes them, without one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cgroups import only_v1
from tests.e2e.conftest import Running
from tests.kernel.workloads import cpu_clock_seconds, in_cgroup, spinner, usage_seconds

pytestmark = pytest.mark.kernel

POD = "0a1b2c3d-1111-2222-3333-444455556666"


def test_cpu_time_and_energy_by_container(serve: Callable[..., Running], container: Callable[[str], Path]) -> None:
    ids = {"a" * 64: f"docker/{'a' * 64}", "b" * 64: f"kubepods/burstable/pod{POD}/{'b' * 64}"}
    collector = serve()
    places = {name: container(path) for name, path in ids.items()}
    tasks = [in_cgroup(str(place), spinner(seconds)) for place, seconds in zip(places.values(), (1.2, 2.4))]
    for task in tasks:
        assert task.wait() == 0
    time.sleep(1.2)
    seconds = collector.by_id("kepler_container_cpu_time_seconds_total")
    joules = collector.by_id("kepler_container_joules_total")
    for name, place in places.items():
        assert seconds[name] == pytest.approx(usage_seconds(str(place)), rel=0.001)
        assert joules[name] > 0
    pods = {labels["pod_uid"]: value for labels, value in collector.samples()["kepler_pod_joules_total"]}
    assert pods[POD] == pytest.approx(joules["b" * 64], rel=1e-9)


def test_a_container_of_200_ms_still_shows_its_joules(
    serve: Callable[..., Running], container: Callable[[str], Path]
) -> None:
    """Born, busy and gone between two publications: its id is known from the event of its birth."""
    collector = serve("--metrics-interval", "3s")
    ids = [f"{number:064x}" for number in range(0xC0FFEE, 0xC0FFEE + 20)]
    for name in ids:
        place = container(f"docker/{name}")
        assert in_cgroup(str(place), spinner(0.1)).wait() == 0
        place.rmdir()
    time.sleep(3.5)
    joules = collector.by_id("kepler_container_joules_total")
    seconds = collector.by_id("kepler_container_cpu_time_seconds_total")
    for name in ids:
        assert joules[name] > 0
        assert seconds[name] >= 0.1


def test_containers_are_told_apart_by_cgroup_v1_alone(serve: Callable[..., Running], tmp_path: Path) -> None:
    """One that lives, and ten that are born, busy and gone between two publications."""
    v1 = only_v1(tmp_path / "cgroup")
    collector = serve("--cgroupfs", str(v1.cgroup), "--metrics-interval", "3s")
    made: list[Path] = []

    def run(container_id: str, seconds: float) -> Path:
        places = [v1.cgroup / controller / "docker" / container_id for controller in ("memory", "cpuacct")]
        for place in places:
            made.extend(path for path in (place.parent, place) if not path.exists())
            place.mkdir(parents=True, exist_ok=True)

        def enter() -> None:
            for place in places:
                (place / "cgroup.procs").write_text(str(os.getpid()))

        assert subprocess.run(spinner(seconds), preexec_fn=enter).returncode == 0
        return places[1]

    try:
        short = [f"{number:064x}" for number in range(10)]
        for container_id in short:
            run(container_id, 0.1)
        usage = int((run("a" * 64, 1.5) / "cpuacct.usage").read_text()) * 1e-9
        for path in [path for path in made if path.name in short]:
            path.rmdir()
            made.remove(path)
        time.sleep(3.5)
        seconds = collector.by_id("kepler_container_cpu_time_seconds_total")
        joules = collector.by_id("kepler_container_joules_total")
        # Between the two writes of its process id it is in one of the cgroups and not yet in the other.
        assert seconds["a" * 64] == pytest.approx(usage, rel=0.001, abs=0.005)
        assert collector.by_id("kepler_container_memory_working_set_bytes")["a" * 64] >= 0
        for container_id in ("a" * 64, *short):
            assert joules[container_id] > 0
            assert seconds[container_id] >= 0.1
    finally:
        for path in reversed(made):
            path.rmdir()


def test_a_machine_beside_other_host_processes_is_a_workload(serve: Callable[..., Running], tmp_path: Path) -> None:
    """Not a real QEMU but a program of its name and command line, that computes."""
    program = tmp_path / "qemu-system-x86_64"
    source = "int main(void) { for (;;) ; }"
    subprocess.run(["gcc", "-O0", "-x", "c", "-", "-o", str(program)], input=source.encode(), check=True)
    collector = serve()
    machine = subprocess.Popen([str(program), "-name", "guest=web,debug-threads=on"])
    itself = f"qemu/{machine.pid}"
    try:
        before, deadline = 0.0, time.monotonic() + 20
        while not before:
            assert time.monotonic() < deadline
            time.sleep(0.2)
            before = collector.by_id("kepler_container_cpu_time_seconds_total").get(itself, 0.0)
        clock = cpu_clock_seconds(machine.pid)
        time.sleep(4)
        seconds = collector.by_id("kepler_container_cpu_time_seconds_total")[itself] - before
        # What is shown is up to a publication (0.5 s) old, at both ends.
        assert seconds == pytest.approx(cpu_clock_seconds(machine.pid) - clock, abs=0.6)
    finally:
        machine.kill()
        machine.wait()
    time.sleep(1)
    (labels,) = [found for found, _ in collector.samples()["kepler_container_joules_total"] if found["container_id"]]
    assert (labels["container"], labels["container_id"], labels["pod"]) == ("web", itself, "")
    first = collector.by_id("kepler_container_cpu_time_seconds_total")[itself]
    time.sleep(1)
    assert collector.by_id("kepler_container_cpu_time_seconds_total")[itself] == first, "dead, and still shown"


_MOVES = """
import os, sys, time
for place in sys.argv[1:]:
    with open(place + "/cgroup.procs", "w") as procs:
        procs.write("0")
    time.sleep(0.001)
"""


def test_a_user_who_fills_the_table_keeps_no_container_out(
    serve: Callable[..., Running], container: Callable[[str], Path]
) -> None:
    """Three hundred cgroups of one user, who runs a moment in each, where there are rows for 128."""
    collector = serve("--cgroup-rows", "128", "--metrics-interval", "1s")
    slice_ = "user.slice/user-1000.slice/user@1000.service"
    places = [str(container(f"{slice_}/{number}")) for number in range(300)]
    subprocess.run([sys.executable, "-c", _MOVES, *places], check=True)
    for is_full in (True, False):  # it fills up, and rows of the idle come back
        until = time.monotonic() + 30
        while (rows_of(collector)["cgroup"] > 64) != is_full:
            assert time.monotonic() < until, is_full
            time.sleep(0.2)
    ids = [f"{number:064x}" for number in range(0xB4, 0xB4 + 20)]
    for name in ids:
        assert in_cgroup(str(container(f"docker/{name}")), spinner(0.1)).wait() == 0
    time.sleep(2.5)
    seconds = collector.by_id("kepler_container_cpu_time_seconds_total")
    assert min(seconds.get(name, 0.0) for name in ids) >= 0.1


def rows_of(collector: Running) -> dict[str, float]:
    return {labels["table"]: value for labels, value in collector.samples()["kepler_ebpf_rows_used"]}
