"""What must hold when something around the collector misbehaves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.cgroups import cgroup_root
from tests.e2e.conftest import COMMAND, ROOT, Running, collectors, free_port
from tests.e2e.powercap import Counter, see, ticking
from tests.kernel.workloads import spinner
from tests.needs import require

pytestmark = pytest.mark.kernel


def test_a_meter_that_never_answers_is_named_and_holds_up_neither_probes_nor_a_signal(tmp_path: Path) -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    cpus = tmp_path / "devices/system/cpu"
    cpus.mkdir(parents=True)
    for name in ("possible", "online"):
        (cpus / name).write_text("0-1\n")
    zone = tmp_path / "class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "max_energy_range_uj").write_text("262143328850\n")
    os.mkfifo(zone / "energy_uj")
    port, log = free_port(), tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, "serve", "--sysfs", str(tmp_path), "--listen", f"127.0.0.1:{port}"], stderr=output
        )
    collector = Running(process, port, log)
    try:
        deadline = time.monotonic() + 60
        while "waiting for rapl-powercap" not in log.read_text():  # to be opened: nobody writes
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        assert collector.get("/healthz") == b"starting\n"
        with pytest.raises(urllib.error.HTTPError) as refused:
            collector.get("/readyz")
        assert (refused.value.code, refused.value.read()) == (503, b"starting\n")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()
        assert len(log.read_text().splitlines()) == 2, log.read_text()  # waiting, stopped
    finally:
        process.kill()
        process.wait()


def test_a_pid_namespace_of_its_own_is_said_and_costs_no_process_its_row(tmp_path: Path) -> None:
    private = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    with subprocess.Popen(spinner(60)) as busy:
        try:
            with collectors(tmp_path, [*private, *COMMAND]) as serve:
                collector = serve()
                log = collector.log.read_text()
                assert log.count("/proc is of another PID namespace than the kernel counts by") == 1
                deadline = time.monotonic() + 30
                while str(busy.pid) not in {
                    labels["pid"] for labels, _ in collector.samples().get("kepler_process_joules_total", ())
                }:
                    assert time.monotonic() < deadline, "rows have the kernel's numbers"
                    time.sleep(0.2)
        finally:
            busy.kill()
    doctor = subprocess.run([*private, *COMMAND, "doctor"], capture_output=True, text=True, timeout=60)
    assert doctor.returncode == 0
    assert "another PID namespace" in " ".join(doctor.stdout.split())


@pytest.mark.parametrize("ahead", [1_000_000, -1000])
def test_a_time_namespace_of_its_own_makes_no_cpu_time_and_loses_none(tmp_path: Path, ahead: int) -> None:
    require(float(Path("/proc/uptime").read_text().split()[0]) > 1100, "a clock cannot be set to before the boot")
    private = ["unshare", "--time", "--monotonic", str(ahead), "--boottime", str(ahead)]
    with subprocess.Popen(spinner(3.0)) as busy, collectors(tmp_path, [*private, *COMMAND]) as serve:
        collector = serve()
        assert busy.wait(60) == 0
        deadline = time.monotonic() + 30
        while "kepler_process_cpu_time_seconds_total" not in collector.samples():
            assert time.monotonic() < deadline
            time.sleep(0.2)
        time.sleep(1.0)
        told = sum(value for _, value in collector.samples()["kepler_process_cpu_time_seconds_total"])
    assert 0.1 < told < 3600


def test_a_proc_that_hides_processes_is_said(tmp_path: Path) -> None:
    hiding = ["unshare", "--mount", "sh", "-c", 'mount -t proc -o hidepid=4 proc /proc && exec "$@"', "sh"]
    with collectors(tmp_path, [*hiding, *COMMAND]) as serve:
        assert serve().log.read_text().count("/proc hides processes (hidepid=, ProtectProc=)") == 1


def test_a_log_that_nobody_reads_holds_up_neither_probes_nor_the_end(full_pipe: tuple[int, int]) -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    port = free_port()
    process = subprocess.Popen(
        [*COMMAND, "serve", "--listen", f"127.0.0.1:{port}", "--log-level", "debug"], stderr=full_pipe[1]
    )
    try:
        Running(process, port, Path(os.devnull)).wait_ready()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_every_thread_keeps_three_capabilities_and_nothing_gives_them_back(serve: Callable[..., Running]) -> None:
    collector = serve()
    kept = 1 << 2 | 1 << 38 | 1 << 39  # DAC_READ_SEARCH, PERFMON, BPF
    tasks = list(Path(f"/proc/{collector.process.pid}/task").iterdir())
    assert len(tasks) > 2
    for task in tasks:
        status = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
        for name in ("CapPrm", "CapEff", "CapBnd"):
            assert int(status[name], 16) & ~kept == 0, (task.name, name, status[name])
        assert status["NoNewPrivs"] == "1"


def cpu_seconds(collector: Running, pid: int) -> float:
    page = collector.samples().get("kepler_process_cpu_time_seconds_total", ())
    return next((value for labels, value in page if labels["pid"] == str(pid)), 0.0)


def test_two_instances_count_the_same_and_one_outlives_the_other(serve: Callable[..., Running]) -> None:
    collectors = [serve(), serve()]
    for alive in (collectors, collectors[1:]):
        with subprocess.Popen(spinner(1.0)) as busy:
            pass
        for collector in alive:
            deadline = time.monotonic() + 30
            while cpu_seconds(collector, busy.pid) < 0.95:
                assert time.monotonic() < deadline, collector.log.read_text()
                time.sleep(0.2)
            assert cpu_seconds(collector, busy.pid) < 1.2
        collectors[0].process.kill()
        collectors[0].process.wait()


def hold(collector: Running, counter: Counter, seconds: float) -> None:
    """SIGSTOP for so long: no energy is lost, no power shows it, and late samples are counted."""
    before = see(collector, counter)
    collector.process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    collector.process.send_signal(signal.SIGCONT)
    after = see(collector, counter)
    assert after.least - before.most <= after.joules - before.joules <= after.most - before.least
    assert after.page["kepler_node_power_max_watts"][0][1] < 100
    for name in ("samples", "late_samples"):
        ((_, now),), ((_, then),) = (seen.page[f"kepler_ebpf_{name}_total"] for seen in (after, before))
        assert now > then, name
    assert after.page["kepler_ebpf_failed_samples_total"][0][1] == 0
    assert all(gap < 1e-9 for _, gap in after.page["kepler_ebpf_books_gap_ratio"])


def test_stopped_and_continued_it_has_lost_nothing(serve: Callable[..., Running], tmp_path: Path) -> None:
    with ticking(tmp_path / "sys") as counter:
        hold(serve("--sysfs", str(counter.sysfs)), counter, 3.0)


@contextmanager
def memory_limit(mebibytes: int) -> Iterator[list[str]]:
    """A command that puts what follows it into a cgroup with so much memory."""
    name, limit = f"kepler-test-{os.getpid()}", mebibytes << 20
    v1, root = Path("/sys/fs/cgroup/memory"), cgroup_root()
    place = (v1 if v1.exists() else root) / name
    place.mkdir()
    try:
        files = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max", "memory.swap.max")
        found = [place / file for file in files if (place / file).exists()]
        require(found, "needs the memory controller")
        for file in found:
            file.write_text(str(0 if file.name == "memory.swap.max" else limit))
        yield ["/bin/sh", "-c", f'echo $$ > {place}/cgroup.procs; exec "$@"', "sh"]
    finally:
        deadline = time.monotonic() + 10
        while place.exists() and time.monotonic() < deadline:
            with suppress(OSError):
                place.rmdir()
            time.sleep(0.05)


def test_the_units_memory_limit_is_enough(tmp_path: Path) -> None:
    require(os.geteuid() == 0, "making cgroups needs root")
    unit = (ROOT / "deploy/systemd/kepler-ebpf.service").read_text()
    (most,) = re.findall(r"^MemoryMax=(\d+)M$", unit, re.MULTILINE)
    with memory_limit(int(most)) as within, collectors(tmp_path, [*within, *COMMAND]) as serve:
        collector = serve()
        for _ in range(20):
            assert collector.get("/metrics", "application/openmetrics-text;version=1.0.0")
            time.sleep(0.1)
        assert collector.process.poll() is None


def test_too_little_memory_for_the_loader_is_one_line() -> None:
    require(os.geteuid() == 0, "making cgroups needs root")
    with memory_limit(70) as within:
        command = [*within, *COMMAND, "serve", "--listen", f"127.0.0.1:{free_port()}"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 1
    assert "raise the limit of the container or unit" in answer.stderr
    assert "Traceback" not in answer.stderr
