"""Virtual machines: their time is theirs, their cgroup keeps the rest, and nothing is made or lost."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest

from kepler_ebpf.attribution.sampler import Sampler
from kepler_ebpf.attribution.vms import VirtualMachines
from kepler_ebpf.attribution.workload_rows import WorkloadTable
from kepler_ebpf.energy.meter import Meter
from kepler_ebpf.energy.source import Domain
from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.kernel.table import COUNTERS
from kepler_ebpf.workloads.workload import SYSTEM, Workload
from tests.fakes import FakeSource, FakeTables, FakeWorkloads

HOST, CONTAINER = 1, 2


class Node:
    """QEMU processes 10 (named web) and 11 (without a name) on the host, 12 in a container, 20 is anybody."""

    def __init__(self, proc: Path) -> None:
        self.kernel = FakeTables(1)
        self.workloads = FakeWorkloads({HOST: SYSTEM, CONTAINER: Workload("container", "c")})
        self.table = WorkloadTable(self.kernel, self.workloads)
        self.vms = VirtualMachines(HostFS(proc), self.kernel, self.table)
        for tgid, more in ((10, b"-name\0guest=web\0"), (11, b""), (12, b"-name\0inner\0")):
            (proc / str(tgid)).mkdir()
            (proc / str(tgid) / "cmdline").write_bytes(b"/usr/bin/qemu-system-x86_64\0" + more)

    def run(self, tgid: int, milliseconds: float, cgroup: int = HOST) -> None:
        self.kernel.run(tgid, cgroup, 0, round(milliseconds * 1e6))
        row = self.kernel.row_of_process(tgid)
        assert row is not None
        self.kernel.processes.rows["comm"][row] = b"qemu-system-x86" if tgid < 20 else b"bash"

    def look(self) -> None:
        """Look, and once more for the answers."""
        self.vms.look()
        self.wait()
        self.vms.look()

    def wait(self) -> None:
        for reader in self.vms._readers:
            reader.join(20)

    def sample(self) -> dict[str, float]:
        """Milliseconds by workload in one sample."""
        processes, cgroups = self.kernel.sample()
        whole = cgroups.alone_ns.sum()
        split = self.vms.split(processes, cgroups)
        assert split.alone_ns.sum() == pytest.approx(whole)
        assert all((getattr(split, name) >= 0).all() for name in COUNTERS)
        numbers = self.table.of(split.index)
        sums: dict[str, float] = {}
        for number, time_ns in zip(numbers.tolist(), split.alone_ns.tolist()):
            container = self.table.rows[number].workload.container
            sums[container] = sums.get(container, 0.0) + time_ns * 1e-6
        return sums


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_machines_of_the_host_are_workloads(node: Node) -> None:
    for tgid, used in ((10, 30), (11, 20), (20, 5)):
        node.run(tgid, used)
    node.run(12, 7, CONTAINER)
    assert node.sample() == {"system": 55.0, "": 7.0}
    node.look()
    for tgid, used in ((10, 3), (11, 2), (20, 1)):
        node.run(tgid, used)
    node.run(12, 4, CONTAINER)
    assert node.sample() == {"web": 3.0, "qemu-11": 2.0, "system": 1.0, "": 4.0}
    web = next(g.workload for g in node.table.rows.values() if g.workload.container == "web")
    assert (web.kind, web.container_id, web.runtime) == ("vm", "qemu/10", "qemu")


def test_nobody_comes_into_another_machines_books_by_its_name(node: Node, tmp_path: Path) -> None:
    (tmp_path / "13").mkdir()
    (tmp_path / "13/cmdline").write_bytes(b"qemu-kvm\0-name\0web\0")
    for tgid in (10, 13):
        node.run(tgid, 1)
    node.look()
    found = [group.workload for group in node.table.rows.values() if group.workload.container == "web"]
    assert {workload.container_id for workload in found} == {"qemu/10", "qemu/13"}


def test_a_command_line_that_cannot_be_read_now_delays_nobody(node: Node, tmp_path: Path) -> None:
    (tmp_path / "14").mkdir()
    os.mkfifo(tmp_path / "14/cmdline")
    node.run(14, 1)
    node.vms.look()
    node.run(10, 1)
    node.vms.look()
    node.vms._readers[-1].join(20)
    node.vms.look()
    node.sample()
    node.run(10, 3)
    node.run(14, 2)
    assert node.sample() == {"web": 3.0, "system": 2.0}
    (tmp_path / "14/cmdline").open("wb").close()
    node.wait()


def test_an_answer_about_a_process_that_is_gone_is_nobodys(node: Node) -> None:
    node.run(10, 1)
    node.vms.look()
    node.wait()
    row = node.kernel.row_of_process(10)
    node.vms.forget(np.array([row], np.intp), 1.0)
    node.kernel.processes.rows["comm"][row] = b"bash"
    node.vms.look()
    assert node.sample() == {"system": 1.0}
    node.run(10, 4)
    node.kernel.processes.rows["comm"][row] = b"bash"
    assert node.sample() == {"system": 4.0}


def test_readers_are_bounded_and_who_is_not_looked_at_comes_later(node: Node, tmp_path: Path) -> None:
    for tgid in range(14, 19):
        (tmp_path / str(tgid)).mkdir()
        os.mkfifo(tmp_path / str(tgid) / "cmdline")
        node.run(tgid, 1)
        node.vms.look()
    assert len(node.vms._readers) == 4
    node.run(10, 1)
    for tgid in range(14, 18):
        (tmp_path / str(tgid) / "cmdline").open("wb").close()
    node.wait()
    node.vms.look()
    (tmp_path / "18/cmdline").open("wb").close()
    node.look()
    node.sample()
    node.run(10, 3)
    assert node.sample()["web"] == 3.0


def test_what_the_cgroup_has_not_got_yet_is_owed(node: Node) -> None:
    node.run(10, 1)
    node.look()
    node.sample()
    node.run(10, 50)
    held = node.kernel.cgroups.uses["alone_ns"].copy()
    node.kernel.cgroups.uses["alone_ns"] -= np.uint64(50_000_000)  # the slice is in the process table only
    node.kernel.cgroups.uses["alone_ns"][node.kernel.cgroups.rows["taken"] == 0] = 0
    assert node.sample() == {}
    node.kernel.cgroups.uses["alone_ns"] = held
    node.run(10, 2)
    assert node.sample()["web"] == pytest.approx(52.0)


def test_a_machine_that_ends_is_a_workload_that_died(node: Node) -> None:
    node.run(10, 1)
    node.look()
    row = node.kernel.row_of_process(10)
    node.vms.forget(np.array([row], np.intp), 5.0)
    (web,) = [group for group in node.table.rows.values() if group.workload.container == "web"]
    assert web.died == 5.0


def test_the_books_close_with_machines(node: Node) -> None:
    chance = random.Random(7)
    source = FakeSource((Domain("package", 0, "fake", idle_watts=1.0),))
    sampler = Sampler(node.kernel, Meter([source]), node.table, node.workloads, node.vms)
    for number in range(300):
        for tgid in (10, 11, 12, 20):
            if chance.random() < 0.6:
                node.run(tgid, chance.random() * 20, CONTAINER if tgid == 12 else HOST)
        if number % 50 == 20:
            node.look()
        if number % 70 == 69:
            node.kernel.kill(10)
        source.use(np.array([chance.random()]), 0.1)
        sampler.sample()
        for level in sampler.ledger.levels.values():
            booked = level.total()[:3] + sampler.ledger.idle + sampler.ledger.unattributed
            assert booked == pytest.approx(sampler.ledger.measured, rel=1e-9)


def test_a_user_cannot_make_series_by_the_thousand(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.kernel = FakeTables(1, rows=1024)
    node.table = WorkloadTable(node.kernel, node.workloads)
    node.vms = VirtualMachines(HostFS(tmp_path), node.kernel, node.table)
    for tgid in range(1000, 1900):
        user = 0 if tgid >= 1800 else 1000
        (tmp_path / str(tgid)).mkdir()
        (tmp_path / str(tgid) / "cmdline").write_bytes(b"qemu-system-x86_64\0")
        (tmp_path / str(tgid) / "status").write_text(f"Name:\tqemu\nUid:\t{user}\t{user}\t{user}\t{user}\n")
        node.kernel.run(tgid, HOST, 0, 1_000_000)
        row = node.kernel.row_of_process(tgid)
        assert row is not None
        node.kernel.processes.rows["comm"][row] = b"qemu"

    def machines() -> int:
        return sum(row.workload.kind == "vm" and row.died is None for row in node.table.rows.values())

    node.look()
    assert machines() == 256 + 100, "a user's first, and all of root's"
    gone = np.array([node.kernel.row_of_process(tgid) for tgid in range(1000, 1010)], np.intp)
    node.vms.forget(gone, 0.0)
    assert machines() == 246 + 100
    for number, row in enumerate(gone.tolist()):
        node.kernel.processes.rows["comm"][row] = f"qemu{number}".encode()
    node.look()
    assert machines() == 256 + 100
