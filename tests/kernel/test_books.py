"""The books of the live kernel: they close in every sample, while processes come and go."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import numpy as np
import pytest

from kepler_ebpf.energy.source import Domain
from kepler_ebpf.kernel.tables import BpfTables
from tests.fakes import FakeSource, sampler_over

pytestmark = pytest.mark.kernel


def test_every_sample_closes_under_churn(accounting: Callable[..., BpfTables]) -> None:
    books = accounting(rows=256)
    source = FakeSource((Domain("package", 0, "fake", idle_watts=3.0), Domain("dram", 0, "fake", idle_watts=3.0)))
    sampler = sampler_over(books, source)
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
