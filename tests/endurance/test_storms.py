"""What takes a minute, or a machine of one's own: ``make test-endurance``."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.attribution.test_sampler import stormy_run
from tests.cgroups import cgroup_root
from tests.e2e.conftest import Running, collectors
from tests.e2e.powercap import ticking
from tests.e2e.test_faults import hold
from tests.kernel.workloads import in_cgroup, usage_seconds
from tests.needs import require

pytestmark = pytest.mark.kernel

THREADS = """
import sys, threading, time
threading.stack_size(64 << 10)
hold = threading.Event()
def nap():
    while not hold.wait(5.0):
        pass
for _ in range(int(sys.argv[1])):
    threading.Thread(target=nap, daemon=True).start()
print("started", flush=True)
time.sleep(600)
"""
STORM = """
import os, sys, time
made, first, end = 0, int(sys.argv[2]) << 32, time.monotonic() + float(sys.argv[3])
root = os.open(sys.argv[1], os.O_RDONLY)
while time.monotonic() < end:
    name = f"{first + made:064x}"
    os.mkdir(name, dir_fd=root)
    os.rmdir(name, dir_fd=root)
    made += 1
print(made)
"""
FORKER = """
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	struct timespec now;
	long forks = 0, end;
	clock_gettime(CLOCK_MONOTONIC, &now);
	end = now.tv_sec + atol(argv[1]);
	do {
		pid_t child = fork();
		if (child == 0)
			_exit(0);
		if (child > 0 && waitpid(child, NULL, 0) == child)
			forks++;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec < end);
	printf("%ld\\n", forks);
	return 0;
}
"""
OFTEN = "while :; do i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; sleep 0.02; done"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    with collectors(tmp_path) as start:
        yield start


def healthy(collector: Running) -> dict[str, list[tuple[dict[str, str], float]]]:
    """A page on which no sample has failed and all books close."""
    page = collector.samples()
    assert page["kepler_ebpf_failed_samples_total"][0][1] == 0
    assert all(gap < 1e-9 for _, gap in page["kepler_ebpf_books_gap_ratio"])
    assert collector.get("/healthz")
    return page


def goes_on(collector: Running, samples: int = 20) -> None:
    """So many further samples are taken and published."""
    began, deadline = collector.value("kepler_ebpf_samples_total"), time.monotonic() + 120
    while collector.value("kepler_ebpf_samples_total") < began + samples:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def storm(root: Path, seconds: float) -> float:
    """Make and remove cgroups called like containers, as fast as all CPUs can; how many a second."""
    command = [sys.executable, "-S", "-c", STORM, str(root)]
    workers = [
        subprocess.Popen([*command, str(number), str(seconds)], stdout=subprocess.PIPE, text=True)
        for number in range(os.cpu_count() or 1)
    ]
    return sum(int(worker.communicate()[0]) for worker in workers) / seconds


@contextmanager
def container_cgroup() -> Iterator[Path]:
    """A cgroup called like a container of docker's."""
    root = cgroup_root() / "docker"
    ours = not root.exists()
    root.mkdir(exist_ok=True)
    cgroup = root / secrets.token_hex(32)
    cgroup.mkdir()
    try:
        yield cgroup
    finally:
        for _ in range(100):
            try:
                cgroup.rmdir()
                break
            except OSError:
                time.sleep(0.1)
        if ours:
            root.rmdir()


def test_stopped_for_a_minute(serve: Callable[..., Running], tmp_path: Path) -> None:
    with ticking(tmp_path / "sys") as counter:
        hold(serve("--sysfs", str(counter.sysfs)), counter, 60.0)


def test_twenty_thousand_threads_are_one_row(serve: Callable[..., Running]) -> None:
    collector = serve()
    goes_on(collector)
    before = healthy(collector)
    with subprocess.Popen([sys.executable, "-S", "-c", THREADS, "20000"], stdout=subprocess.PIPE) as crowd:
        assert crowd.stdout is not None
        try:
            require(crowd.stdout.readline() == b"started\n", "this machine has no room for 20,000 threads")
            goes_on(collector)
            during = healthy(collector)
        finally:
            crowd.kill()
    rows = [
        {labels["table"]: value for labels, value in page["kepler_ebpf_rows_used"]}["process"]
        for page in (before, during)
    ]
    assert rows[1] - rows[0] < 1000
    goes_on(collector)
    after = healthy(collector)
    assert sum(value for _, value in after["kepler_ebpf_overflow_slices_total"]) == 0


def test_a_storm_of_cgroups_costs_the_container_beside_it_nothing(serve: Callable[..., Running]) -> None:
    with container_cgroup() as cgroup:
        alone = storm(cgroup.parent, 3.0)
        collector = serve()
        with in_cgroup(str(cgroup), ["/bin/sh", "-c", OFTEN]) as busy:
            try:
                beside = storm(cgroup.parent, 10.0)
                goes_on(collector)
                page = healthy(collector)
            finally:
                busy.kill()
        print(f"{beside:.0f} cgroups a second, {alone:.0f} without a collector")
        used = {table["table"]: value for table, value in page["kepler_ebpf_rows_used"]}
        assert used["cgroup"] < 1000, "what never ran takes no row"
        truth, name, deadline = usage_seconds(str(cgroup)), cgroup.name, time.monotonic() + 60
        while abs(collector.by_id("kepler_container_cpu_time_seconds_total").get(name, 0.0) / truth - 1) > 0.05:
            assert time.monotonic() < deadline, (collector.by_id("kepler_container_cpu_time_seconds_total"), truth)
            time.sleep(0.5)


def test_a_storm_of_forks_is_counted_to_the_last(serve: Callable[..., Running], tmp_path: Path) -> None:
    """A minute of processes that live for microseconds, as many a second as all CPUs can make."""
    compiler = shutil.which("gcc")
    require(compiler, "gcc is not installed")
    (tmp_path / "forker.c").write_text(FORKER)
    subprocess.run([str(compiler), "-O2", "-o", str(tmp_path / "forker"), str(tmp_path / "forker.c")], check=True)
    collector = serve()
    with container_cgroup() as cgroup:
        told = [tmp_path / str(number) for number in range(os.cpu_count() or 1)]
        command = f"{tmp_path / 'forker'} 60 > "
        forkers = [in_cgroup(str(cgroup), ["/bin/sh", "-c", command + str(path)]) for path in told]
        assert [forker.wait() for forker in forkers] == [0] * len(forkers)
        forks = sum(int(path.read_text()) for path in told)
        truth = usage_seconds(str(cgroup))
        goes_on(collector)
        page = healthy(collector)
        print(f"{forks / 60:.0f} forks a second, {truth:.2f} CPU seconds")
        assert sum(value for _, value in page["kepler_ebpf_overflow_slices_total"]) == 0
        counted = collector.by_id("kepler_container_cpu_time_seconds_total")[cgroup.name]
        assert counted == pytest.approx(truth, rel=0.001)


def test_a_cpu_that_is_taken_off_and_comes_back_costs_nobody_any_time(serve: Callable[..., Running]) -> None:
    """Two busy loops, of which one runs on the CPU that goes: real hotplug of the machine's last CPU."""
    last = Path(f"/sys/devices/system/cpu/cpu{(os.cpu_count() or 1) - 1}/online")
    require(last.exists(), "no CPU can be taken off here")
    with container_cgroup() as cgroup:
        collector = serve()
        goes_on(collector)
        loops = [in_cgroup(str(cgroup), ["/bin/sh", "-c", "while :; do :; done"]) for _ in range(2)]
        try:
            time.sleep(3.0)
            try:
                last.write_text("0")
            except OSError as error:
                require(False, f"the CPU cannot be taken off: {error}")
            goes_on(collector, 60)
            last.write_text("1")
            goes_on(collector, 60)
        finally:
            last.write_text("1")
            for loop in loops:
                loop.kill()
                loop.wait()
        goes_on(collector, 70)
        healthy(collector)
        counted = collector.by_id("kepler_container_cpu_time_seconds_total")[cgroup.name]
        assert counted == pytest.approx(usage_seconds(str(cgroup)), rel=0.001)


def test_the_books_close_in_every_sample_of_a_day() -> None:
    stormy_run("none", 100_000)
