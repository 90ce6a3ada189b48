"""The books of the live kernel: they close in every sample, while processes come and go."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import numpy as np
import pytest

from kepler_ebpf.attribution.sampler import Sampler
from kepler_ebpf.attribution.vms import VirtualMachines
from kepler_ebpf.attribution.workload_rows import WorkloadTable
from kepler_ebpf.energy.meter import Meter
from kepler_ebpf.energy.source import Domain
from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.kernel.tables import BpfTables
from kepler_ebpf.workloads.workload import Workload
from tests.fakes import FakeSource, FixedFloor

pytestmark = pytest.mark.kernel


def test_every_sample_closes_under_churn(accounting: Callable[..., BpfTables]) -> None:
    books = accounting(rows=256)
    source = FakeSource((Domain("package", 0, "fake"), Domain("dram", 0, "fake")))
    groups = WorkloadTable(books, lambda cgroup: Workload("container", container_id=f"c{cgroup}"))
    sampler = Sampler(
        books,
        Meter([source]),
        groups,
        floor_of=lambda domain: FixedFloor(3.0),
        gpu_use=lambda domain: (np.empty(0, np.int32), np.empty(0)),
        learn_path=lambda cgroup, path: None,
        machines=VirtualMachines(HostFS(), books, groups),
    )
    churn = [subprocess.Popen(["/bin/sh", "-c", "while :; do /bin/true; done"]) for _ in range(3)]
    try:
        for _ in range(400):
            time.sleep(0.01)
            source.use(np.array([0.7, 0.1]), 0.01)
            sampler.sample()
            for name, level in sampler.ledger.levels.items():
                booked = level.total()[:3] + sampler.ledger.idle + sampler.ledger.unattributed
                assert booked == pytest.approx(sampler.ledger.measured, rel=1e-9), name
    finally:
        for process in churn:
            process.kill()
            process.wait()
    assert sampler.ledger.measured.sum() == pytest.approx(source.truth.sum(), rel=1e-9)
    assert sampler.ledger.gap_exceeded == {"process": 0, "container": 0}
    assert sampler.ledger.levels["process"].exited[0] > 0, "some of it was used by processes that are gone"
