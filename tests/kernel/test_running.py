"""Open slices as user space adds them, over rows made here."""

from __future__ import annotations

import errno
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.topology import Topology
from kepler_ebpf.kernel import counters, cpus, layout
from kepler_ebpf.kernel.looks import Looks
from kepler_ebpf.kernel.running import CpuRows, of_cgroups, running
from kepler_ebpf.kernel.table import Table


def table(packages: int = 1) -> Table:
    return Table(np.zeros(8, layout.PROCESS), np.zeros(8 * packages, layout.USE), "tgid", 1)


def tell(rows: Table, use: int, ran: int) -> dict[tuple[int, int], float]:
    rows.look()
    more = np.zeros((len(rows.counted), 1), np.uint64)
    more[0] = ran
    told = rows.tell(np.array([0]), np.array([use]), more)
    return dict(zip(zip(told.index.tolist(), told.package.tolist()), told.alone_ns.tolist()))


def test_an_open_slice_is_told_once_and_settled_when_it_ends() -> None:
    rows = table()
    rows.rows["tgid"][2] = 1
    assert tell(rows, 2, 100) == {(2, 0): 100.0}
    assert tell(rows, 2, 250) == {(2, 0): 150.0}
    rows.uses["alone_ns"][2] = 200  # it has ended, and was less: the hypervisor took some
    assert tell(rows, 2, 20) == {}
    assert tell(rows, 2, 70) == {(2, 0): 20.0}
    assert rows.read(np.array([2]))["alone_ns"][0] == 270


def test_an_open_slice_is_as_long_as_by_the_kernels_clock() -> None:
    """That of a time namespace may be days ahead, or behind."""
    cpus = np.zeros(1, layout.CPU)
    cpus["since_ns"], cpus["task"] = 400, 7
    for ahead in (10**15, -200):
        look = CpuRows(cpus, ahead).look(lambda ahead=ahead: 1000 + ahead)  # type: ignore[misc]
        assert (look.elapsed_ns, look.time_ns) == ([600], 1000 + ahead)


def test_one_row_tells_each_package() -> None:
    rows = table(packages=2)
    rows.rows["tgid"][3] = 1
    rows.uses["alone_ns"][6:8] = (5, 7)
    assert tell(rows, 7, 1) == {(3, 0): 5.0, (3, 1): 8.0}
    assert rows.read(np.array([3]))["alone_ns"][0] == 13


def test_what_runs_on_each_cpu() -> None:
    cpus = np.zeros(4, layout.CPU)
    cpus["sibling"] = (1, 0, 2, 3)
    cpus["since_ns"] = (100, 400, 0, 100)
    cpus["task"] = (7, 8, 9, 0)  # the third is being switched, the fourth is idle
    cpus["use"] = (5, 6, 7, 0)
    first = CpuRows(cpus).look(lambda: 1000)
    assert first.busy_ns == [900, 600, 0, 0]
    cpus["since_ns"][0], cpus["task"][3] = 0, 10
    found = running([first, CpuRows(cpus).look(lambda: 1200)])
    assert found.look.tolist() == [0, 0, 1, 1]
    assert found.cpu.tolist() == [0, 1, 1, 3]
    assert found.use.tolist() == [5, 6, 6, 0]
    assert found.shared_ns.tolist() == [600, 600, 0, 0]
    assert found.alone_ns.tolist() == [300, 0, 800, 1100]


def test_what_a_task_did_in_another_cgroup_is_not_told_of_its_present_one() -> None:
    cpus = np.zeros(2, layout.CPU)
    cpus["sibling"], cpus["since_ns"], cpus["task"] = (0, 1), 100, 1
    found = running([CpuRows(cpus).look(lambda: 1100)])
    used = np.array(((1000, 1000), (0, 0), (50, 50)), np.uint64)
    assert of_cgroups(found, used) is used, "on nearly every look nobody has moved"
    cpus["left_ns"] = (900, 2000)  # the second by the wall clock, when a hypervisor took some
    found = running([CpuRows(cpus).look(lambda: 1100)])
    assert of_cgroups(found, used).tolist() == [[100, 0], [0, 0], [5, 0]]


def test_512_busy_cpus_are_read_as_one() -> None:
    cpus = np.zeros(512, layout.CPU)
    cpus["sibling"], cpus["since_ns"], cpus["task"] = np.arange(512), 1, 1
    assert len(running([CpuRows(cpus).look(lambda: 10)]).cpu) == 512


def test_a_cpu_that_was_taken_off_runs_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its last switch is not told, so its row says that the thread which took it off still runs."""
    (tmp_path / "devices/system/cpu").mkdir(parents=True)
    (tmp_path / "devices/system/cpu/online").write_text("0\n")

    def run_on(cpu: int) -> None:
        raise OSError(errno.ENXIO, "No such device or address")

    monkeypatch.setattr(cpus, "TestRun", lambda program: run_on)
    rows = np.zeros(2, layout.CPU)
    rows["sibling"], rows["use"], rows["cgroup_use"] = (0, 1), 2, 1
    topology = Topology((0, 0), (0,), (0, 1), (0, 1))
    processes, cgroups = table(), table()
    processes.rows["tgid"][2], processes.rows["kernel"][2] = 21, 1
    of_cpus = cpus.Cpus(HostFS(sys=tmp_path), topology, 1, rows, [], 1)
    looks = Looks(processes, cgroups, of_cpus)
    rows["since_ns"][1], rows["task"][1] = time.monotonic_ns() - 10**9, 7
    for _ in range(3):
        looks.look()
    assert len(looks.tell()[0].index) == 0
    busy = looks.busy_seconds
    for _ in range(2):
        looks.look()
        assert len(looks.tell()[0].index) == 0
        assert looks.busy_seconds == busy


def test_several_looks_tell_what_each_would_have_told() -> None:
    """Rows that come, count and run on two packages; some slices are open, and end for less than was told of them."""
    chance = np.random.default_rng(1)
    one_by_one, at_once = table(packages=2), table(packages=2)
    for _ in range(50):
        told = []
        looks, positions, more = [], [], []
        for look in range(4):
            use = int(chance.integers(2, 16))
            for rows in (one_by_one, at_once):
                rows.rows["tgid"][use // 2] = 1
            ran = int(chance.integers(0, 100))
            for rows in (one_by_one, at_once):
                rows.uses["alone_ns"][use] += np.uint64(ran)
            open_use, estimate = int(chance.integers(2, 16)), int(chance.integers(0, 200))
            found = tell(one_by_one, open_use, estimate)
            told.append({key: value for key, value in found.items() if value})
            at_once.look()
            looks.append(look)
            positions.append(open_use)
            more.append(estimate)
        running_then = np.zeros((len(at_once.counted), 4), np.uint64)
        running_then[0] = more
        slices = at_once.tell(np.array(looks), np.array(positions), running_then)
        for look in range(4):
            mine = slices.of(look)
            whose = zip(mine.index.tolist(), mine.package.tolist())
            assert dict(zip(whose, mine.alone_ns.tolist())) == told[look]


def test_counters_of_cpus_that_are_offline_come_later() -> None:
    offline, opened = {1}, []

    def open_event(kind: int, config: int, cpu: int) -> int:
        if cpu in offline:
            raise OSError(errno.ENODEV, "No such device")
        opened.append(cpu)
        return 10_000 + cpu

    events = counters.open_counters(counters.CYCLES, range(3), open_event)
    assert events.refused is None
    assert sorted(events.by_cpu) == [0, 2]


def test_no_descriptors_left_is_not_no_pmu(caplog: object) -> None:
    def refuse(code: int) -> counters.EventCounters:
        def open_event(kind: int, config: int, cpu: int) -> int:
            raise OSError(code, "refused")

        return counters.open_counters(counters.CYCLES, range(2), open_event)

    assert "open files" in counters.why(refuse(errno.EMFILE).refused or OSError())
    assert "not counted" in counters.why(refuse(errno.ENOENT).refused or OSError())


def test_rows_that_are_taken_and_given_back_meanwhile_do_not_matter() -> None:
    """numpy does not list positions of a column that changes as it counts them, and the kernel changes rows always."""
    rows = Table(np.zeros(20_000, layout.PROCESS), np.zeros(20_000, layout.USE), "tgid", 1)
    rows.rows["tgid"][1:19_000] = 1
    over = threading.Event()

    def kernel() -> None:
        while not over.is_set():
            for value in (0, 1):
                rows.rows["tgid"][1:19_000:2] = value

    writer = threading.Thread(target=kernel)
    writer.start()
    try:
        for _ in range(5_000):
            assert 9_000 <= len(rows.used()) < 20_000
    finally:
        over.set()
        writer.join()
