"""The books close: at every sample, at both levels, whatever happens."""

from __future__ import annotations

import random

import numpy as np
import pytest

from kepler_ebpf.attribution.sampler import Sampler
from kepler_ebpf.attribution.vms import VirtualMachines
from kepler_ebpf.attribution.workload_rows import WorkloadTable
from kepler_ebpf.energy.meter import Meter
from kepler_ebpf.energy.source import Domain
from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.kernel.tables import CgroupEvent
from kepler_ebpf.workloads.workload import Workload
from tests.fakes import FakeSource, FakeTables, FixedFloor

DOMAINS = (
    *(Domain("package", package, "fake", str(package)) for package in (0, 1)),
    *(Domain("dram", package, "fake", str(package)) for package in (0, 1)),
    *(Domain("core", package, "fake", str(package)) for package in (0, 1)),
    Domain("gpu", 0, "fake", uuid="GPU-0"),
    Domain("platform", 0, "fake", "0"),
)
SECONDS = 0.1


class Machine:
    """A sampler over a fake kernel and meter, with a clock of its own."""

    def __init__(
        self,
        domains: tuple[Domain, ...] = DOMAINS,
        packages: int = 2,
        policy: str = "none",
        floor: float = 2.0,
        **options: object,
    ) -> None:
        self.now = 0.0
        self.kernel = FakeTables(packages, **options)  # type: ignore[arg-type]
        self.source = FakeSource(domains)
        self.gpu: dict[int, float] = {}
        meter = Meter([self.source])
        groups = WorkloadTable(self.kernel, lambda cgroup: Workload("container", f"c{cgroup}", cpu_request=cgroup))  # type: ignore[arg-type]
        self.sampler = Sampler(
            self.kernel,  # type: ignore[arg-type]
            meter,
            groups,
            floor_of=lambda domain: FixedFloor(
                floor if domains[domain].component in ("package", "gpu") else float("nan")
            ),
            gpu_use=lambda domain: (np.array(list(self.gpu), np.int32), np.array(list(self.gpu.values()))),
            learn_path=lambda cgroup, path: None,
            machines=VirtualMachines(HostFS(), self.kernel, groups),  # type: ignore[arg-type]
            idle_policy=policy,
            clock=lambda: self.now,
        )
        self.groups = groups
        self.ledger = self.sampler.ledger

    def tick(self, joules: np.ndarray, seconds: float = SECONDS) -> None:
        self.now += seconds
        self.source.use(joules, seconds)
        self.sampler.sample()

    def container(self, cgroup: int) -> float:
        number = next(n for n, g in self.groups.living() if g.workload.container_id == f"c{cgroup}")
        return float(self.ledger.levels["container"].joules[:3, number].sum())

    def process(self, tgid: int) -> float:
        rows = self.kernel.processes.rows["tgid"] == tgid
        return float(self.ledger.levels["process"].joules[:, rows].sum())


@pytest.mark.parametrize(
    ("policy", "samples"), [("none", 100_000), ("proportional", 20_000), ("equal", 20_000), ("requests", 20_000)]
)
def test_the_books_close_in_every_sample_of_a_stormy_run(policy: str, samples: int) -> None:
    """Two packages, churn, overflow, failed readings, idle samples, GPU users with and without a row."""
    chance = random.Random(1)
    machine = Machine(policy=policy, rows=128, cgroup_rows=24)
    kernel, ledger = machine.kernel, machine.ledger
    alive: dict[int, int] = {}
    born = 1
    for _ in range(samples):
        for _ in range(chance.randrange(4)):
            if len(alive) < 160:
                alive[born] = chance.randrange(1, 12)
                born += 1
        if alive and chance.random() < 0.9:
            for tgid in chance.choices(list(alive), k=chance.randrange(1, 6)):
                kernel.run(tgid, alive[tgid], chance.randrange(2), chance.randrange(1, 10**8), chance.randrange(10**7))
        if alive and chance.random() < 0.3:
            doomed = chance.choice(list(alive))
            kernel.kill(doomed)
            del alive[doomed]
        if chance.random() < 0.02:
            machine.source.fail(chance.randrange(len(DOMAINS)))
        machine.gpu = {tgid: chance.random() for tgid in chance.sample(list(alive), min(len(alive), 2))}
        if chance.random() < 0.01:
            kernel.events.append(CgroupEvent(chance.randrange(1, 12), True, ""))
        machine.tick(np.array([chance.random() * 8 for _ in DOMAINS]))
    assert ledger.gap_exceeded == {"process": 0, "container": 0}
    for level in ledger.levels.values():
        booked = level.total()[:3] + ledger.idle + ledger.unattributed
        assert booked == pytest.approx(ledger.measured, rel=1e-9)
    machine.tick(np.zeros(len(DOMAINS)))
    node = [position for position, domain in enumerate(DOMAINS) if domain.component in ("package", "dram", "gpu")]
    assert ledger.measured.sum() == pytest.approx(machine.source.truth[node].sum(), rel=1e-9)
    for name in ledger.levels:
        assert ledger.relative_gap(name) < 1e-9


def test_rounding_is_nobodys_energy() -> None:
    """Where everything is charged to somebody the rest is 0, not what rounding left, of either sign."""
    chance = random.Random(1)
    machine = Machine()
    for _ in range(1000):
        for tgid in (1, 2, 3):
            machine.kernel.run(tgid, tgid, tgid % 2, chance.randrange(1, 10**8))
        machine.gpu = {1: 0.3, 2: 0.7}
        machine.tick(np.array([chance.random() * 8 for _ in DOMAINS]))
    assert machine.ledger.unattributed.tolist() == [0.0, 0.0, 0.0]


def test_each_socket_pays_for_its_own() -> None:
    domains = (Domain("package", 0, "fake"), Domain("package", 1, "fake"))
    machine = Machine(domains, floor=float("nan"))
    machine.kernel.run(10, 1, 0, 10**8)
    machine.kernel.run(11, 2, 1, 10**8)
    machine.tick(np.array([9.0, 1.0]))
    assert machine.process(10) == pytest.approx(9.0, rel=1e-12)
    assert machine.process(11) == pytest.approx(1.0, rel=1e-12)
    assert machine.container(1) == pytest.approx(9.0, rel=1e-12)


def test_a_failed_reading_costs_one_reading_and_no_energy() -> None:
    machine = Machine((Domain("package", 0, "fake"),), packages=1, floor=0.0)
    machine.kernel.run(10, 1, 0, 10**8)
    machine.source.fail(0)
    machine.tick(np.array([5.0]))
    assert machine.ledger.measured.sum() == 0
    machine.kernel.run(10, 1, 0, 10**8)
    machine.tick(np.array([5.0]))
    assert machine.process(10) == pytest.approx(10.0)
    assert machine.sampler.node_peak_watts == pytest.approx(50.0), "two samples' energy over two samples' time"


def test_nobody_ran_nobody_pays() -> None:
    machine = Machine((Domain("package", 0, "fake"),), packages=1, floor=10.0)
    machine.tick(np.array([5.0]))
    assert machine.ledger.idle[0] == pytest.approx(1.0)
    assert machine.ledger.unattributed[0] == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("policy", "expected"), [("none", (6.0, 3.0)), ("proportional", (20 / 3, 10 / 3)), ("equal", (6.5, 3.5))]
)
def test_idle_policies(policy: str, expected: tuple[float, float]) -> None:
    """10 J of which 1 J is idle, two processes at 2 to 1; the overflow and kernel groups are no workload of theirs."""
    machine = Machine((Domain("package", 0, "fake"),), packages=1, policy=policy, floor=10.0)
    machine.kernel.run(10, 1, 0, 2 * 10**7)
    machine.kernel.run(11, 2, 0, 10**7)
    machine.tick(np.array([10.0]))
    assert (machine.process(10), machine.process(11)) == pytest.approx(expected)
    assert machine.ledger.idle[0] == pytest.approx(1.0 if policy == "none" else 0.0)


def test_core_energy_keeps_the_dynamic_part_of_its_package() -> None:
    machine = Machine((Domain("package", 0, "fake"), Domain("core", 0, "fake")), packages=1, floor=50.0)
    machine.kernel.run(10, 1, 0, 10**7)
    machine.tick(np.array([10.0, 8.0]))
    number = next(n for n, g in machine.groups.living() if g.workload.container_id == "c1")
    package, _, _, core, _ = machine.ledger.levels["container"].joules[:, number]
    assert (package, core) == pytest.approx((5.0, 4.0))


def test_gpu_energy_goes_to_its_users_even_without_cpu() -> None:
    machine = Machine((Domain("package", 0, "fake"), Domain("gpu", 0, "fake")), packages=1, floor=0.0)
    machine.kernel.run(10, 1, 0, 10**7)
    machine.kernel.run(11, 2, 0, 10**7)
    machine.tick(np.array([0.0, 0.0]))
    machine.gpu = {10: 3.0, 11: 1.0}
    machine.tick(np.array([0.0, 8.0]))
    assert (machine.process(10), machine.process(11)) == pytest.approx((6.0, 2.0))
    assert machine.container(1) == pytest.approx(6.0)
    machine.gpu = {10: 1.0, 999: 1.0}
    machine.tick(np.array([0.0, 8.0]))
    assert machine.process(10) == pytest.approx(10.0)
    assert machine.ledger.unattributed[2] == pytest.approx(4.0), "a user nobody knows: said to be unattributed"


def test_hyperthreads_weigh_less() -> None:
    machine = Machine((Domain("package", 0, "fake"),), packages=1, floor=0.0)
    machine.kernel.run(10, 1, 0, 10**7)
    machine.kernel.run(11, 2, 0, 0, 10**7)
    machine.tick(np.array([15.5]))
    assert (machine.process(10), machine.process(11)) == pytest.approx((10.0, 5.5))


def test_cycles_take_the_place_of_time() -> None:
    machine = Machine((Domain("package", 0, "fake"),), packages=1, floor=0.0, cycles=True)
    machine.kernel.run(10, 1, 0, 10**7, cycles=3 * 10**7)
    machine.kernel.run(11, 2, 0, 10**7, cycles=10**7)
    machine.tick(np.array([8.0]))
    assert (machine.process(10), machine.process(11)) == pytest.approx((6.0, 2.0))


def test_idle_by_requests() -> None:
    """10 J of which 1 J is idle; container 1 asked for one CPU, container 3 for three. Processes pay by use."""
    machine = Machine((Domain("package", 0, "fake"),), packages=1, policy="requests", floor=10.0)
    machine.kernel.run(10, 1, 0, 2 * 10**7)
    machine.kernel.run(11, 3, 0, 10**7)
    machine.tick(np.array([10.0]))
    assert (machine.container(1), machine.container(3)) == pytest.approx((6.25, 3.75))
    assert (machine.process(10), machine.process(11)) == pytest.approx((20 / 3, 10 / 3))
    assert machine.ledger.idle[0] == pytest.approx(0.0)


def test_a_sample_that_fails_loses_no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine((Domain("package", 0, "fake"),), packages=1, floor=0.0)
    machine.kernel.run(10, 1, 0, 10**7)
    with monkeypatch.context() as broken:
        broken.setattr(machine.sampler, "_share", None)
        with pytest.raises(TypeError):
            machine.tick(np.array([5.0]))
    machine.kernel.run(10, 1, 0, 10**7)
    machine.tick(np.array([5.0]))
    assert machine.process(10) == pytest.approx(10.0)
    assert machine.sampler.domains.joules.tolist() == pytest.approx([10.0])
    machine.kernel.run(10, 1, 0, 10**7)
    machine.tick(np.array([5.0]))
    assert machine.process(10) == pytest.approx(15.0)
