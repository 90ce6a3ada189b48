"""Slices that do not begin and end where a switch was told: untold begins, and moves in the middle."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kepler_ebpf.kernel.tables import BpfTables
from tests.kernel.test_tables import cgroup_seconds, row_seconds
from tests.kernel.workloads import cpu_clock_seconds, in_cgroup, usage_seconds
from tests.needs import require

pytestmark = pytest.mark.kernel

Start = Callable[..., BpfTables]

ELSEWHERE = 8
"""The address of no task."""
_TICKS_SECONDS = 0.012
"""Three ticks of 250 Hz."""
_MOVES = 12


LAST_SLICE = """
import mmap, sys, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
with open(sys.argv[1], "r+b") as file:
    shared = mmap.mmap(file.fileno(), 2)
burn(0.1)
shared[0] = 1
while not shared[1]: pass
burn(0.05)
"""
"""Says that it is ready, waits without leaving the CPU, and ends 50 ms later."""


def test_a_slice_whose_begin_was_not_told_is_whole_also_at_the_end_of_its_process(
    accounting: Start, cgroup: Callable[[str], str], tmp_path: Path
) -> None:
    """As on machines where some switches reach no program: the CPUs' rows say that another task runs.

    The scheduler's note of when the task was picked is gone when it leaves for good.
    """
    books = accounting()
    for number in range(5):
        path, file = cgroup(f"untold-{number}"), tmp_path / str(number)
        file.write_bytes(bytes(2))
        with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 2) as shared:
            process = in_cgroup(path, [sys.executable, "-S", "-c", LAST_SLICE, str(file)])
            while not shared[0] and process.poll() is None:
                time.sleep(0.001)
            books.cpus["task"][books.cpus["task"] != 0] = ELSEWHERE
            shared[1] = 1
            assert process.wait() == 0
        booked = truth = 0.0
        deadline = time.monotonic() + 5.0
        while time.monotonic() < deadline:  # its last switch comes after its parent has heard of it
            booked, truth = cgroup_seconds(books, path), usage_seconds(path)
            if booked == pytest.approx(truth, rel=0.01):
                break
            time.sleep(0.02)
        assert truth > 0.15
        assert booked == pytest.approx(truth, rel=0.01)


def test_a_process_that_moves_itself_pays_each_cgroup_for_its_own_part(
    accounting: Start, cgroup: Callable[[str], str]
) -> None:
    """It computes for 8 or 2 ms, moves, computes on: mostly without leaving the CPU, so one slice is two cgroups'.

    The kernel charges what has run since the latest tick to the cgroup that the task is in by then: where a tick falls
    between its move and the moment at which the move is told, up to 4 ms are another's there than here. On a machine
    that others keep busy that happens now and then. Slices that are not cut are off by 20 ms and more.
    """
    books = accounting()
    paths = [cgroup(name) for name in ("here", "there")]
    code = (
        "import sys, time\n"
        "def burn(seconds):\n"
        "    end = time.process_time() + seconds\n"
        "    while time.process_time() < end: pass\n"
        "homes = [open(f'{path}/cgroup.procs', 'w') for path in sys.argv[1:]]\n"
        "for turn in range(100):\n"
        "    home = homes[turn % 2]\n"
        "    home.write('0'); home.flush()\n"
        "    burn(0.002 if turn % 2 else 0.008)\n"
    )
    subprocess.run([sys.executable, "-S", "-c", code, *paths], check=True, env={**os.environ})
    deadline = time.monotonic() + 5.0
    booked: list[float] = []
    truth: list[float] = []
    while time.monotonic() < deadline:
        booked, truth = [cgroup_seconds(books, path) for path in paths], [usage_seconds(path) for path in paths]
        if booked == pytest.approx(truth, abs=_TICKS_SECONDS):
            break
        time.sleep(0.02)
    assert truth[0] > 3 * truth[1] > 0.25
    assert booked == pytest.approx(truth, abs=_TICKS_SECONDS)


UNSWITCHED = """
import os, sys, threading
def burn():
    while True: pass
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
if sys.argv[1] == "first":
    burn()
else:
    thread = threading.Thread(target=burn)
    thread.start()
    thread.join()
"""
"""Leaves its CPU only where the kernel keeps a twentieth of each second for others."""


@pytest.mark.parametrize("thread", ["first", "other"])
def test_a_process_that_is_moved_while_it_runs_pays_each_cgroup_for_its_own_part(
    accounting: Start, cgroup: Callable[[str], str], thread: str
) -> None:
    """Moved by somebody else on another CPU, in the middle of a slice that lasts for many moves and samples.

    The clock of a thread that is not told of with the move cannot be read: its parts are by the wall clock, so what the
    hypervisor took is in both.
    """
    require((os.cpu_count() or 1) > 1, "one CPU cannot run a task without a switch and move it")
    for attempt in range(10):
        books = accounting()
        paths = [cgroup(f"{name}-{attempt}") for name in ("from", "to")]
        stolen = stolen_seconds()
        told = True
        with in_cgroup(paths[0], [sys.executable, "-S", "-c", UNSWITCHED, thread]) as process:
            try:
                while cpu_clock_seconds(process.pid) < 0.3:
                    time.sleep(0.01)
                for move in range(1, _MOVES):
                    time.sleep(0.05)
                    told = told and not runs_unknown(books, process.pid)
                    Path(paths[move % 2], "cgroup.procs").write_text(str(process.pid))
                    books.sample()
                told = told and not runs_unknown(books, process.pid)  # else some ms are lost at its exit
            finally:
                process.kill()
        if told:
            break
    assert told, "ten times in a row a switch to it was not told"
    stolen = 0.02 + stolen_seconds() - stolen if thread == "other" else 0.0
    deadline = time.monotonic() + 5.0
    booked: list[float] = []
    truth: list[float] = []
    while time.monotonic() < deadline:
        booked, truth = [cgroup_seconds(books, path) for path in paths], [usage_seconds(path) for path in paths]
        if sum(booked) == pytest.approx(sum(truth), rel=0.001):
            break
        time.sleep(0.02)
    assert booked == pytest.approx(truth, abs=_TICKS_SECONDS / 3 * _MOVES**0.5 + 0.01 + stolen)
    assert sum(booked) == pytest.approx(sum(truth), rel=0.001, abs=stolen)
    books.sample()
    rows = [np.flatnonzero(books.cgroups.rows["id"] == os.stat(path).st_ino) for path in paths]
    shown = sum(row_seconds(books.cgroups.read(row)) for row in rows)
    assert shown == pytest.approx(sum(truth), rel=0.2, abs=stolen), "what is told while it runs is not told again"


def runs_unknown(books: BpfTables, pid: int) -> bool:
    """Whether no CPU's row says that the process runs, though it does: the switch to it was not told (see slices.c)."""

    def is_known() -> bool:
        owners = books.processes.rows["tgid"][books.cpus["use"].astype(np.intp) // books.processes.packages]
        return bool(((owners == pid) & (books.cpus["task"] != 0)).any())

    before = cpu_clock_seconds(pid)
    if is_known():
        return False
    time.sleep(0.002)
    return cpu_clock_seconds(pid) > before and not is_known()


def stolen_seconds() -> float:
    """What the hypervisor took of all CPUs (proc_stat(5))."""
    with open("/proc/stat") as stat:
        return int(stat.readline().split()[8]) / os.sysconf("SC_CLK_TCK")
