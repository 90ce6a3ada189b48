"""The books close: at every sample, at both levels, whatever happens."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from kepler_ebpf.columns import DRAM
from kepler_ebpf.energy.gpu_use import HOLD_SECONDS
from kepler_ebpf.energy.source import ALL_PACKAGES, Domain
from kepler_ebpf.kernel.source import CgroupEvent
from tests.fakes import FakeSource
from tests.needs import QUICK
from tests.node import DOMAINS, SECONDS, Node, package


@pytest.mark.parametrize("policy", ["none", "proportional", "equal", "requests"])
def test_the_books_close_in_every_sample_of_a_stormy_run(policy: str) -> None:
    stormy_run(policy, 1_000 if QUICK else 4_000)


def stormy_run(policy: str, samples: int) -> None:
    """Two packages, churn, overflow, failed readings, idle samples, GPU users with and without a row."""
    chance = random.Random(1)
    node = Node(policy=policy, rows=128, cgroup_rows=24)
    kernel, ledger = node.kernel, node.ledger
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
            node.source.fail(chance.randrange(len(DOMAINS)))
        node.source.users = {tgid: chance.random() for tgid in chance.sample(list(alive), min(len(alive), 2))}
        if chance.random() < 0.01:
            kernel.events.append(CgroupEvent(chance.randrange(1, 12), True, ""))
        node.tick(np.array([chance.random() * 8 for _ in DOMAINS]))
    assert ledger.gap_exceeded == {"process": 0, "container": 0}
    for level in ledger.levels.values():
        booked = level.total()[:3] + ledger.idle + ledger.unattributed
        assert booked == pytest.approx(ledger.measured, rel=1e-9)
    node.tick(np.zeros(len(DOMAINS)))
    of_node = [position for position, domain in enumerate(DOMAINS) if domain.component in ("package", "dram", "gpu")]
    assert ledger.measured.sum() == pytest.approx(node.source.truth[of_node].sum(), rel=1e-9)
    for name in ledger.levels:
        assert ledger.relative_gap(name) < 1e-9


def test_rounding_is_nobodys_energy() -> None:
    """Where everything is charged to somebody the rest is 0, not what rounding left, of either sign."""
    chance = random.Random(1)
    node = Node()
    for _ in range(1000):
        for tgid in (1, 2, 3):
            node.kernel.run(tgid, tgid, tgid % 2, chance.randrange(1, 10**8))
        node.source.users = {1: 0.3, 2: 0.7}
        node.tick(np.array([chance.random() * 8 for _ in DOMAINS]))
    assert node.ledger.unattributed.tolist() == [0.0, 0.0, 0.0]


def test_each_socket_pays_for_its_own() -> None:
    node = Node((package(0), package(1)))
    node.kernel.run(10, 1, 0, 10**8)
    node.kernel.run(11, 2, 1, 10**8)
    node.tick(np.array([9.0, 1.0]))
    assert node.process(10) == pytest.approx(9.0, rel=1e-12)
    assert node.process(11) == pytest.approx(1.0, rel=1e-12)
    assert node.container(1) == pytest.approx(9.0, rel=1e-12)


def test_a_failed_reading_costs_one_reading_and_no_energy() -> None:
    node = Node((package(floor=0.0),), packages=1)
    node.kernel.run(10, 1, 0, 10**8)
    node.source.fail(0)
    node.tick(np.array([5.0]))
    assert node.ledger.measured.sum() == 0
    node.kernel.run(10, 1, 0, 10**8)
    node.tick(np.array([5.0]))
    assert node.process(10) == pytest.approx(10.0)
    assert node.ledger.peak_watts == pytest.approx(50.0), "two samples' energy over two samples' time"


def test_a_socket_without_a_cpu_teaches_no_floor() -> None:
    """A board's sensor goes on while all CPUs of its socket are off: that is less than it draws when idle."""
    node = Node((Domain("package", 0, "fake", "0"), Domain("package", 1, "fake", "1")))
    topology = node.kernel.topology
    node.kernel.topology = replace(topology, online=tuple(cpu for cpu in topology.online if not topology.package[cpu]))
    for _ in range(60):
        node.tick(np.array([3.0, 0.5]))
    assert node.ledger.floor_watts[0] == pytest.approx(30.0)
    assert math.isnan(node.ledger.floor_watts[1])
    node.kernel.topology = topology
    for _ in range(60):
        node.tick(np.array([3.0, 3.0]))
    assert node.ledger.floor_watts.tolist() == pytest.approx([30.0, 30.0])


def test_nobody_ran_nobody_pays() -> None:
    node = Node((package(floor=10.0),), packages=1)
    node.tick(np.array([5.0]))
    assert node.ledger.idle[0] == pytest.approx(1.0)
    assert node.ledger.unattributed[0] == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("policy", "expected"), [("none", (6.0, 3.0)), ("proportional", (20 / 3, 10 / 3)), ("equal", (6.5, 3.5))]
)
def test_idle_policies(policy: str, expected: tuple[float, float]) -> None:
    """10 J of which 1 J is idle, two processes at 2 to 1; the row of whoever found none is nobody, at either level."""
    node = Node((package(floor=10.0),), packages=1, policy=policy)
    node.kernel.run(10, 1, 0, 2 * 10**7)
    node.kernel.run(11, 2, 0, 10**7)
    node.tick(np.array([10.0]))
    assert (node.process(10), node.process(11)) == pytest.approx(expected)
    containers = node.ledger.levels["container"]
    assert containers.joules[0, node.sampler.table.overflow].tolist() == [0.0, 0.0]
    assert containers.joules[0].sum() == pytest.approx(sum(expected))
    assert node.ledger.idle[0] == pytest.approx(1.0 if policy == "none" else 0.0)


def test_core_energy_keeps_the_dynamic_part_of_its_package() -> None:
    node = Node((package(floor=50.0), Domain("core", 0, "fake")), packages=1)
    node.kernel.run(10, 1, 0, 10**7)
    node.tick(np.array([10.0, 8.0]))
    number = node.number(1)
    whole, _, _, core, _ = node.ledger.levels["container"].joules[:, number]
    assert (whole, core) == pytest.approx((5.0, 4.0))


def test_gpu_energy_goes_to_its_users_even_without_cpu() -> None:
    node = Node((package(floor=0.0), Domain("gpu", 0, "fake", idle_watts=0.0)), packages=1)
    node.kernel.run(10, 1, 0, 10**7)
    node.kernel.run(11, 2, 0, 10**7)
    node.tick(np.array([0.0, 0.0]))
    node.source.users = {10: 3.0, 11: 1.0}
    node.tick(np.array([0.0, 8.0]))
    assert (node.process(10), node.process(11)) == pytest.approx((6.0, 2.0))
    assert node.container(1) == pytest.approx(6.0)
    node.source.users = {10: 1.0, 999: 1.0}
    node.tick(np.array([0.0, 8.0]))
    assert node.process(10) == pytest.approx(10.0)
    assert node.ledger.unattributed[2] == pytest.approx(4.0), "a user nobody knows: said to be unattributed"


def test_a_process_that_ended_before_its_gpu_told_is_charged_all_the_same() -> None:
    """A GPU's joules wait for their users for up to HOLD_SECONDS."""
    node = Node((package(floor=0.0), Domain("gpu", 0, "fake", idle_watts=0.0)), packages=1)
    node.kernel.run(10, 1, 0, 10**7)
    node.source.users = {10: 1.0}
    node.tick(np.array([0.0, 1.0]))
    node.kernel.kill(10)
    for _ in range(int(HOLD_SECONDS / SECONDS)):
        node.tick(np.array([0.0, 0.0]))
    node.tick(np.array([0.0, 8.0]))
    assert node.container(1) == pytest.approx(9.0)
    assert node.ledger.unattributed[2] == 0.0


def test_a_sample_that_was_taken_late_keeps_all_of_the_nodes_cpu_time() -> None:
    """Two CPUs are busy; the collector has to wait between reading the clock and the tables, then does not."""
    node = Node(packages=1)
    for ran in (1.3, 0.7):
        for tgid in (10, 11):
            node.kernel.run(tgid, tgid, 0, int(ran * SECONDS * 1e9))
        node.tick(np.zeros(len(DOMAINS)))
    used = [float(level.seconds.sum()) for level in node.ledger.levels.values()]
    assert node.ledger.busy_seconds == pytest.approx(4 * SECONDS)
    assert used == pytest.approx([4 * SECONDS] * 2)
    assert node.ledger.utilization(2) == 1.0


def test_hyperthreads_weigh_less() -> None:
    node = Node((package(floor=0.0),), packages=1)
    node.kernel.run(10, 1, 0, 10**7)
    node.kernel.run(11, 2, 0, 0, 10**7)
    node.tick(np.array([15.5]))
    assert (node.process(10), node.process(11)) == pytest.approx((10.0, 5.5))


def test_cycles_take_the_place_of_time() -> None:
    node = Node((package(floor=0.0),), packages=1, cycles=True)
    node.kernel.run(10, 1, 0, 10**7, cycles=3 * 10**7)
    node.kernel.run(11, 2, 0, 10**7, cycles=10**7)
    node.tick(np.array([8.0]))
    assert (node.process(10), node.process(11)) == pytest.approx((6.0, 2.0))


def test_idle_by_requests() -> None:
    """10 J of which 1 J is idle; container 1 asked for one CPU, container 3 for three. Processes pay by use."""
    node = Node((package(floor=10.0),), packages=1, policy="requests")
    node.kernel.run(10, 1, 0, 2 * 10**7)
    node.kernel.run(11, 3, 0, 10**7)
    node.tick(np.array([10.0]))
    assert (node.container(1), node.container(3)) == pytest.approx((6.25, 3.75))
    assert (node.process(10), node.process(11)) == pytest.approx((20 / 3, 10 / 3))
    assert node.ledger.idle[0] == pytest.approx(0.0)


def test_a_sample_that_fails_loses_no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node((package(floor=0.0),), packages=1)
    node.kernel.run(10, 1, 0, 10**7)
    with monkeypatch.context() as broken:
        broken.setattr("kepler_ebpf.attribution.charging.bill", None)
        with pytest.raises(TypeError):
            node.tick(np.array([5.0]))
    node.kernel.run(10, 1, 0, 10**7)
    node.tick(np.array([5.0]))
    assert node.process(10) == pytest.approx(10.0)
    assert node.ledger.domains.tolist() == pytest.approx([10.0])
    node.kernel.run(10, 1, 0, 10**7)
    node.tick(np.array([5.0]))
    assert node.process(10) == pytest.approx(15.0)


def test_energy_that_could_not_be_read_belongs_to_those_who_ran_meanwhile() -> None:
    node = Node((package(),), packages=1)
    node.tick(np.array([0.0]))
    for tgid in (10, 11):
        node.kernel.run(tgid, tgid, 0, 10**8)
        node.source.fail(0)
        node.tick(np.array([10.0]))
    node.kernel.run(12, 12, 0, 2 * 10**8)
    frame = node.tick(np.array([20.0])).last
    assert [node.process(tgid) for tgid in (10, 11, 12)] == pytest.approx([10.0, 10.0, 20.0])
    assert [node.container(cgroup) for cgroup in (10, 11, 12)] == pytest.approx([10.0, 10.0, 20.0])
    assert frame.covered_seconds[0] == pytest.approx(0.3)
    peaks = node.ledger.levels["container"].peak_watts[[node.number(cgroup) for cgroup in (10, 11, 12)]]
    assert peaks == pytest.approx([100 / 3, 100 / 3, 200 / 3]), "joules over the time that they cover, no spike"


def test_a_meter_that_was_given_up_and_comes_back_charges_those_who_ran_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After some seconds without an answer it is not live; the next answer tells of these seconds all the same."""
    node = Node((package(), Domain("dram", 0, "fake", "0", idle_watts=0.0)), packages=1)
    silent = False
    monkeypatch.setattr(FakeSource, "live", property(lambda source: np.array([True, not silent])))

    def second(tgid: int) -> None:
        for _ in range(10):
            if silent:
                node.source.fail(1)
            node.kernel.run(tgid, tgid, 0, 10**8)
            node.tick(np.array([1.0, 1.0]))

    second(10)
    silent = True
    for _ in range(20):
        second(10)
    silent = False
    second(11)
    dram = node.ledger.levels["container"].joules[DRAM]
    assert dram[node.number(10)] == pytest.approx(10.0 + 200.0)
    assert dram[node.number(11)] == pytest.approx(1.0 + 9.0)
    # One that has gone for good keeps nobody's rows for ever.
    silent = True
    for _ in range(40):
        second(10)
    assert node.sampler.owed_since == pytest.approx(node.now)


def test_who_ended_while_energy_was_owed_is_charged_before_its_row_is_settled() -> None:
    node = Node((package(),), packages=1)
    node.tick(np.array([0.0]))
    node.kernel.run(10, 10, 0, 10**8)
    node.source.fail(0)
    node.tick(np.array([10.0]))
    node.kernel.kill(10)
    for _ in range(5):
        node.source.fail(0)
        node.tick(np.array([0.0]))
    assert node.kernel.processes.rows["tgid"].any(), "its row waits for the joules"
    node.tick(np.array([0.0]))
    for _ in range(3):
        node.tick(np.array([0.0]))
    assert node.ledger.levels["process"].exited[0] == pytest.approx(10.0)
    assert not node.kernel.processes.rows["tgid"].any()


def test_each_meter_is_owed_its_own_stretch() -> None:
    """DRAM does not answer in the first sample: its energy covers both, the package's only one each."""
    node = Node((package(), Domain("dram", 0, "fake", idle_watts=0.0)), packages=1)
    node.tick(np.array([0.0, 0.0]))
    node.kernel.run(10, 10, 0, 10**8)
    node.source.fail(1)
    node.tick(np.array([10.0, 4.0]))
    node.kernel.run(11, 11, 0, 10**8)
    node.tick(np.array([20.0, 4.0]))
    assert (node.process(10), node.process(11)) == pytest.approx((10.0 + 4.0, 20.0 + 4.0))


def test_what_no_package_can_be_told_for_is_paid_by_all() -> None:
    node = Node((Domain("package", ALL_PACKAGES, "fake", idle_watts=0.0),))
    node.kernel.run(10, 1, 0, 3 * 10**8)
    node.kernel.run(11, 2, 1, 10**8)
    node.tick(np.array([8.0]))
    assert (node.process(10), node.process(11)) == pytest.approx((6.0, 2.0))
    assert node.ledger.unattributed.tolist() == [0.0, 0.0, 0.0]


def test_a_counter_refreshed_once_a_second_shows_its_power_and_no_more() -> None:
    node = Node((package(),), packages=1)
    for _ in range(3):
        for _ in range(9):
            node.kernel.run(10, 1, 0, 10**8)
            node.source.fail(0)
            node.tick(np.array([10.0]))
        node.kernel.run(10, 1, 0, 10**8)
        node.tick(np.array([10.0]))
        node.ledger.end_publication()
        assert (node.ledger.watts[0], node.ledger.peak_watts) == pytest.approx((100.0, 100.0))
        node.sampler.begin_publication()
    node.source.fail(0)
    node.tick(np.array([10.0]))
    node.ledger.end_publication()
    assert node.ledger.watts[0] == pytest.approx(100.0), "nothing was read: what it was"


def test_an_unknown_cgroup_is_the_hosts_until_it_is_known() -> None:
    node = Node((package(),), packages=1)
    node.workloads.known[7] = None
    node.kernel.run(10, 7, 0, 10**8)
    node.tick(np.array([5.0]))
    del node.workloads.known[7]
    node.kernel.run(10, 7, 0, 10**8)
    node.tick(np.array([5.0]))
    assert node.container(7) == pytest.approx(5.0)


def test_who_comes_and_goes_while_a_sample_is_taken_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container lives on one CPU while the sampler, on another, is about to look at the kernel's rows."""
    node = Node((package(),), packages=1)
    node.workloads.known[7] = None
    monkeypatch.setattr(node.workloads, "learn_path", lambda cgroup, path: node.workloads.known.pop(cgroup))
    look = node.kernel.look

    def late() -> None:
        node.kernel.events += [CgroupEvent(7, False, "/docker/7"), CgroupEvent(7, True, "")]
        node.kernel.run(10, 7, 0, 10**8)
        look()

    monkeypatch.setattr(node.kernel, "look", late)
    node.tick(np.array([5.0]))
    assert node.container(7) == pytest.approx(5.0)


def test_a_cgroup_that_was_taken_for_gone_comes_back_and_harms_nobody() -> None:
    node = Node((package(),), packages=1)
    node.kernel.run(10, 7, 0, 10**8)
    node.tick(np.array([1.0]))
    node.kernel.events.append(CgroupEvent(7, True, ""))
    for _ in range(3):
        node.tick(np.array([0.0]), 6.0)
    node.kernel.run(11, 8, 0, 10**8)  # may take the row that cgroup 7 had
    node.kernel.run(10, 7, 0, 10**8)
    node.tick(np.array([4.0]))
    assert (node.container(7), node.container(8)) == pytest.approx((3.0, 2.0))


def test_a_long_publication_interval_does_not_keep_every_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kepler_ebpf.attribution.lifecycle.MAX_DEPARTED", 20)
    node = Node((package(),), packages=1)
    for tgid in range(1, 301):
        node.kernel.run(tgid, 1, 0, tgid * 10**6)
        node.tick(np.array([float(tgid)]))
        node.kernel.kill(tgid)
    for _ in range(3):
        node.tick(np.array([0.0]))
    departed = node.sampler.lifecycle.departed
    kept = {int(tgid) for gone in departed for tgid in gone.rows["tgid"]}
    assert len(kept) <= 40
    assert kept >= set(range(285, 301)), "those that used most"
    assert node.ledger.levels["process"].total()[0] == pytest.approx(300 * 301 / 2)


def test_who_asks_after_a_row_that_is_free_does_not_decide_whose_it_will_be() -> None:
    """A process is told of after the row of its cgroup was given back, as on slow machines: that row is the next
    cgroup's, and neither the host's nor the old one's for life."""
    node = Node((package(),), packages=1)
    node.kernel.run(10, 1, 0, 10**7)
    node.tick(np.array([5.0]))
    row = node.kernel._cgroup_of[1]
    process = node.kernel.processes.rows[[node.kernel._row_of[10]]].copy()
    home = np.array([row])
    assert node.table.of_processes(process, home).tolist() == [node.number(1)]
    node.kernel.events.append(CgroupEvent(1, True, ""))
    for _ in range(10):
        node.tick(np.array([5.0]), seconds=3.0)
    assert node.table.of_processes(process, home).tolist() == [-1]
    assert node.table.of(home).tolist() == [node.table.system]
    node.kernel.run(11, 2, 0, 10**7)
    assert node.kernel._cgroup_of[2] == row, "the row is used again"
    before = node.ledger.levels["container"].joules[0, node.table.system]
    node.tick(np.array([5.0]))
    assert node.container(2) == pytest.approx(5.0)
    assert node.ledger.levels["container"].joules[0, node.table.system] == before
    assert node.table.of_processes(process, home).tolist() == [-1], "the row is another's"
