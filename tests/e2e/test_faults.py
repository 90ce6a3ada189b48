"""What must hold when something around the collector misbehaves."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import COMMAND, Running, collectors, free_port
from tests.kernel.workloads import spinner
from tests.needs import require

pytestmark = pytest.mark.kernel


def test_a_meter_that_never_answers_does_not_hold_up_a_signal_at_the_start(tmp_path: Path) -> None:
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
    process = subprocess.Popen(
        [*COMMAND, "serve", "--sysfs", str(tmp_path), "--listen", f"127.0.0.1:{free_port()}"],
        stderr=subprocess.PIPE,
    )
    try:
        # A writer can open the FIFO without waiting only once there is a reader: the collector.
        writer, deadline = None, time.monotonic() + 30
        while writer is None:
            assert time.monotonic() < deadline, "the meter was never read"
            try:
                writer = os.open(zone / "energy_uj", os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                time.sleep(0.02)
        time.sleep(0.2)  # the reader is in read(2) by now; were it not, the signal would only be easier to take
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
        assert process.returncode == 0, log.decode()
        assert b"Traceback" not in log
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
