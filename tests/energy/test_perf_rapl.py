"""RAPL as perf events: units from sysfs, one counter per package, the system call replaced by files that count."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from kepler_ebpf.energy.perf_rapl import PerfRaplSource
from kepler_ebpf.energy.places import Places
from kepler_ebpf.energy.source import ALL_PACKAGES
from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.topology import read_topology
from tests.energy.processors import proc_of

SCALE = 2.3283064365386962890625e-10


class Pmu:
    """``devices/power`` in a folder, and events whose counts the test writes."""

    def __init__(self, root: Path, cpus: str = "0,2", **events: str) -> None:
        self.root = root
        self.power = root / "bus/event_source/devices/power"
        (self.power / "events").mkdir(parents=True)
        (self.power / "type").write_text("21\n")
        (self.power / "cpumask").write_text(cpus + "\n")
        for name, config in (events or {"energy_pkg": "event=0x02", "energy_ram": "event=0x03"}).items():
            path = self.power / "events" / name.replace("_", "-")
            path.write_text(config + "\n")
            path.with_name(path.name + ".scale").write_text(f"{SCALE}\n")
            path.with_name(path.name + ".unit").write_text("Joules\n")
        for cpu in range(4):
            topology = root / f"devices/system/cpu/cpu{cpu}/topology"
            topology.mkdir(parents=True)
            (topology / "physical_package_id").write_text(f"{cpu // 2}\n")
        for name in ("possible", "online"):
            (root / f"devices/system/cpu/{name}").write_text("0-3\n")
        self.vendor = "GenuineIntel"
        self.virtual = False
        self.refuse: dict[int, int] = {}
        self.fds: dict[tuple[int, int], int] = {}
        self.opened: list[tuple[int, int]] = []
        self.now_ns = 10**9

    def open_event(self, event_type: int, config: int, cpu: int) -> int:
        """A pipe in place of an event: each reading takes the next count that the test has put in."""
        assert event_type == 21
        if config in self.refuse:
            raise OSError(self.refuse[config], "injected")
        path = self.root / f"event-{config}-{cpu}-{len(self.opened)}"
        self.opened.append((config, cpu))
        os.mkfifo(path)
        self.fds[config, cpu] = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.set(config, cpu, 1000)
        return self.fds[config, cpu]

    def set(self, config: int, cpu: int, count: int) -> None:
        os.write(self.fds[config, cpu], struct.pack("=Q", count))

    def source(self) -> PerfRaplSource:
        fs = HostFS(proc=proc_of(self.root / "proc", self.vendor), sys=self.root)
        source = PerfRaplSource(fs, self.open_event, Places(read_topology(fs)), lambda: self.now_ns, self.virtual)
        return source


def test_domains_and_joules(tmp_path: Path) -> None:
    pmu = Pmu(tmp_path)
    source = pmu.source()
    assert [(d.component, d.index, d.source) for d in source.domains] == [
        ("package", 0, "rapl-perf"),
        ("package", 1, "rapl-perf"),
        ("dram", 0, "rapl-perf"),
        ("dram", 1, "rapl-perf"),
    ]
    pmu.now_ns += 10**8
    for (config, cpu), count in {(2, 0): 5, (2, 2): 7, (3, 0): 1, (3, 2): 0}.items():
        pmu.set(config, cpu, 1000 + round(count / SCALE))
    source.read()
    assert source.joules.tolist() == pytest.approx([5.0, 7.0, 1.0, 0.0], abs=1e-6)
    assert source.time_ns.tolist() == [10**8, 10**8, 10**8, 0]
    assert source.live.tolist() == [True, True, True, False], "a counter that has never moved measures nothing"


def test_a_failed_reading_is_made_good_by_the_next(tmp_path: Path) -> None:
    pmu = Pmu(tmp_path, "0", energy_pkg="event=0x02")
    source = pmu.source()
    source.read()  # nothing in the pipe: EAGAIN
    assert source.faults == {"EAGAIN": 1}
    assert source.time_ns.tolist() == [0]
    pmu.now_ns += 10**8
    pmu.set(2, 0, 1000 + round(3 / SCALE))
    source.read()
    assert source.joules.tolist() == pytest.approx([3.0], abs=1e-9)


def test_no_pmu_is_no_domain(tmp_path: Path) -> None:
    source = PerfRaplSource(HostFS(sys=tmp_path), lambda event_type, config, cpu: -1)
    source.read()
    assert source.domains == ()
    assert not source.faults


def test_what_cannot_be_opened_or_understood_is_counted(tmp_path: Path) -> None:
    pmu = Pmu(tmp_path, "0", energy_pkg="event=0x02", energy_ram="garbage", energy_cores="event=0x01")
    (pmu.power / "events/energy-cores.unit").write_text("Calories\n")
    pmu.refuse[2] = errno.EACCES
    source = pmu.source()
    assert source.domains == ()
    assert source.faults == {"malformed": 2, "EACCES": 1}


@pytest.mark.parametrize(("cpus", "labels"), [("0", ["0"]), ("0,1", ["0"]), ("0,2", ["0", "1"]), ("2", ["1"])])
def test_psys_is_one_a_socket_and_all_cpus_pay(tmp_path: Path, cpus: str, labels: list[str]) -> None:
    """As powercap has psys and psys-1."""
    source = Pmu(tmp_path, cpus, energy_psys="event=0x05").source()
    assert [(domain.component, domain.index, domain.label) for domain in source.domains] == [
        ("platform", ALL_PACKAGES, label) for label in labels
    ]


def test_each_sockets_psys_is_told(tmp_path: Path) -> None:
    pmu = Pmu(tmp_path, energy_psys="event=0x05")
    source = pmu.source()
    pmu.now_ns += 10**8
    for cpu, joules in ((0, 30), (2, 20)):
        pmu.set(5, cpu, 1000 + round(joules / SCALE))
    source.read()
    pmu.now_ns += 10**8
    for cpu, joules in ((0, 60), (2, 40)):
        pmu.set(5, cpu, 1000 + round(joules / SCALE))
    source.read()
    assert source.joules.tolist() == pytest.approx([60.0, 40.0], abs=1e-6)


def test_several_cpus_of_an_amd_package_show_one_counter(tmp_path: Path) -> None:
    pmu = Pmu(tmp_path, "0,1,2,3", energy_pkg="event=0x02", energy_cores="event=0x01")
    pmu.vendor = "AuthenticAMD"
    source = pmu.source()
    assert [(d.component, d.index, d.zone) for d in source.domains] == [("package", 0, "0"), ("package", 1, "1")]
    assert any("one core" in note for note in source.notes)


def test_dies_of_an_intel_package_are_added_up(tmp_path: Path) -> None:
    source = Pmu(tmp_path, "0,1,2,3", energy_pkg="event=0x02").source()
    assert [(d.index, d.zone) for d in source.domains] == [
        (0, "0-die-0"),
        (0, "0-die-1"),
        (1, "1-die-0"),
        (1, "1-die-1"),
    ]


def test_a_counter_that_leaps_at_a_resume_is_not_believed(tmp_path: Path) -> None:
    pmu = Pmu(tmp_path, "0", energy_pkg="event=0x02")
    source = pmu.source()
    for joules in (5, 10, 262_154, 262_159):
        pmu.now_ns += 10**8
        pmu.set(2, 0, 1000 + round(joules / SCALE))
        source.read()
    assert source.joules.tolist() == pytest.approx([15.0], abs=1e-6)
    assert source.faults == {"jump": 1}


def test_a_counter_whose_cpu_went_offline_is_opened_on_another(tmp_path: Path) -> None:
    pmu = Pmu(tmp_path, "0", energy_pkg="event=0x02")
    source = pmu.source()
    (pmu.power / "cpumask").write_text("1\n")
    pmu.now_ns += 6 * 10**9
    source.read()  # nothing to be read from the old one
    assert (2, 1) in pmu.fds
    pmu.now_ns += 10**8
    pmu.set(2, 1, 1000 + round(3 / SCALE))
    source.read()
    assert source.joules.tolist() == pytest.approx([3.0], abs=1e-6)
    assert len(source.domains) == 1


def test_an_event_whose_cpu_was_taken_off_and_on_is_opened_anew(tmp_path: Path) -> None:
    pmu = Pmu(tmp_path, "0", energy_pkg="event=0x02")
    source = pmu.source()
    for seconds in (1, 6):
        pmu.now_ns += seconds * 10**9
        source.read()  # the old event tells nothing any more
    assert pmu.opened == [(2, 0), (2, 0)]
    pmu.now_ns += 10**8
    pmu.set(2, 0, 1000 + round(3 / SCALE))
    source.read()
    assert source.joules.tolist() == pytest.approx([3.0], abs=1e-6)
    assert len(source.domains) == 1


def test_what_was_read_of_an_event_before_it_was_opened_anew_is_all_counted(tmp_path: Path) -> None:
    pmu = Pmu(tmp_path, "0", energy_pkg="event=0x02")
    source = pmu.source()
    looks = []
    for joules in (5, 6, 7, 8, None):
        pmu.now_ns += 2 * 10**9
        if joules:
            pmu.set(2, 0, 1000 + round(joules / SCALE))
        looks.append(source.look())
    for taking in looks:
        taking()
    assert pmu.opened == [(2, 0), (2, 0)]
    assert source.joules.tolist() == pytest.approx([8.0], abs=1e-6)
    pmu.now_ns += 10**8
    pmu.set(2, 0, 1000 + round(3 / SCALE))
    source.read()
    assert source.joules.tolist() == pytest.approx([11.0], abs=1e-6)


def test_a_pmu_that_appears_later_is_found(tmp_path: Path) -> None:
    pmu = Pmu(tmp_path, "0", energy_pkg="event=0x02")
    (pmu.power / "type").rename(pmu.power / "later")
    source = pmu.source()
    assert source.joules.size == 0
    (pmu.power / "later").rename(pmu.power / "type")
    pmu.now_ns += 6 * 10**9
    source.read()
    assert [domain.component for domain in source.domains] == ["package"]


def test_an_event_that_cannot_be_understood_is_said_once(tmp_path: Path) -> None:
    pmu = Pmu(tmp_path, "0", energy_ram="garbage")
    source = pmu.source()
    for _ in range(3):
        pmu.now_ns += 6 * 10**9
        source.read()
    assert source.faults == {"malformed": 1}


@pytest.mark.parametrize("missing", ["unit", "scale"])
def test_an_event_that_does_not_say_what_it_counts_is_said(tmp_path: Path, missing: str) -> None:
    pmu = Pmu(tmp_path, "0")
    (pmu.power / f"events/energy-ram.{missing}").unlink()
    source = pmu.source()
    assert [domain.component for domain in source.domains] == ["package"]
    assert source.faults == {"malformed": 1}
    assert f"energy-ram.{missing}" in source.notes[0]


def test_an_event_that_stays_refused_is_counted_once_and_taken_once_it_is_granted(tmp_path: Path) -> None:
    """Powercap may well be read meanwhile: an alert about errors of sources must not fire for good."""
    pmu = Pmu(tmp_path, "0", energy_pkg="event=0x02")
    pmu.refuse[2] = errno.EACCES
    source = pmu.source()
    for _ in range(3):
        pmu.now_ns += 6 * 10**9
        source.read()
    assert source.faults == {"EACCES": 1}
    pmu.refuse.clear()
    pmu.now_ns += 6 * 10**9
    source.read()
    assert [domain.component for domain in source.domains] == ["package"]


def run(pmu: Pmu, source: PerfRaplSource, seconds: float, *moving: tuple[int, int]) -> float:
    """Joules that are told while each of these events counts 50 W."""
    before = source.joules.sum()
    for _ in range(round(seconds * 10)):
        pmu.now_ns += 10**8
        for key in moving:
            if key in pmu.fds:
                pmu.set(*key, round((pmu.now_ns - 10**9) * 50e-9 / SCALE))
        source.read()
    return float(source.joules.sum() - before)


@pytest.mark.parametrize("vendor", ["GenuineIntel", "AuthenticAMD"])
def test_a_socket_that_comes_later_is_a_package_of_its_own(tmp_path: Path, vendor: str) -> None:
    pmu = Pmu(tmp_path, "0", energy_pkg="event=0x02")
    pmu.vendor = vendor
    (tmp_path / "devices/system/cpu/online").write_text("0-1\n")
    source = pmu.source()
    run(pmu, source, 2, (2, 0))
    (tmp_path / "devices/system/cpu/online").write_text("0-3\n")
    (pmu.power / "cpumask").write_text("0,2\n")
    run(pmu, source, 6, (2, 0), (2, 2))
    assert [(d.index, d.label) for d in source.domains] == [(0, "0"), (1, "1")]
    assert run(pmu, source, 2, (2, 0), (2, 2)) == pytest.approx(200, rel=0.01)


@pytest.mark.parametrize("tells_dies", [True, False])
def test_a_die_whose_neighbour_goes_offline_is_counted_once(tmp_path: Path, tells_dies: bool) -> None:
    pmu = Pmu(tmp_path, "0,1", energy_pkg="event=0x02")
    if tells_dies:
        for cpu in range(4):
            (tmp_path / f"devices/system/cpu/cpu{cpu}/topology/die_id").write_text(f"{cpu % 2}\n")
    source = pmu.source()
    run(pmu, source, 2, (2, 0), (2, 1))
    (pmu.power / "cpumask").write_text("1\n")
    del pmu.fds[2, 0]  # its event is silent from now on
    run(pmu, source, 6, (2, 1))
    assert run(pmu, source, 2, (2, 1)) == pytest.approx(100, rel=0.01)
    assert [d.label for d in source.domains] == ["0-die-0", "0-die-1"]


def test_an_empty_cpumask_is_no_meter(tmp_path: Path) -> None:
    assert Pmu(tmp_path, "", energy_psys="event=0x05").source().domains == ()


class Guest:
    """A virtual machine whose events go as ``joules`` says: of an event and a CPU after so many samples."""

    def __init__(self, pmu: Pmu) -> None:
        self.pmu = pmu
        pmu.virtual = True
        self.source = pmu.source()

    def run(self, samples: int, joules: Callable[[int, int, int], float]) -> list[tuple[str, int, str]]:
        """The domains that it then has. What an event counts begins when it is opened: events are some ticks apart."""
        for step in range(samples):
            self.pmu.now_ns += 10**8
            for number, (config, cpu) in enumerate(self.pmu.fds):
                self.pmu.set(config, cpu, 1000 + number * 77 + round(joules(config, cpu, step) / SCALE))
            self.source.read()
        return [(domain.component, domain.index, domain.label) for domain in self.source.domains]


def test_packages_of_a_virtual_machine_that_grow_alike_to_the_tick_are_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    guest = Guest(Pmu(tmp_path))
    assert {(domain.component, domain.index) for domain in guest.source.expected} == {
        ("package", 0),
        ("package", 1),
        ("dram", 0),
        ("dram", 1),
    }, "the kernel's rows must tell them apart"
    found = guest.run(101, lambda config, cpu, step: step * (4.0 if config == 2 else 0.5))
    assert sorted(found) == [("dram", ALL_PACKAGES, "0"), ("package", ALL_PACKAGES, "0")], "paid by all CPUs"
    assert sorted(guest.source.joules) == pytest.approx([50.0, 400.0], abs=0.1), "none twice, none lost meanwhile"
    assert guest.source.expected == ()
    lines = [record.message for record in caplog.records]
    assert sorted(lines) == [
        f"RAPL {component} of package 1 shows the same counter as RAPL {component} of package 0: left out"
        for component in ("dram", "package")
    ]


def test_dies_of_a_virtual_machine_that_grow_alike_are_one(tmp_path: Path) -> None:
    guest = Guest(Pmu(tmp_path, "0,1,2,3", energy_pkg="event=0x02"))
    assert guest.run(51, lambda config, cpu, step: step * 4.0) == [("package", ALL_PACKAGES, "0-die-0")]
    assert guest.source.joules.sum() == pytest.approx(200.0, abs=0.1)


def test_dies_of_a_virtual_machine_that_grow_nearly_alike_are_one(tmp_path: Path) -> None:
    """A counter that goes on without pause, read of each die a moment later: a tenth of a millisecond, more or less."""
    guest = Guest(Pmu(tmp_path, "0,1", energy_pkg="event=0x02"))
    found = guest.run(51, lambda config, cpu, step: step * 4.0 + (0.004 + step * 7 % 5 * 0.0005 if cpu else 0.0))
    assert found == [("package", 0, "0-die-0")]
    assert guest.source.joules.tolist() == pytest.approx([200.0], abs=0.1)


def test_dies_of_a_virtual_machine_that_grow_unlike_are_their_own(tmp_path: Path) -> None:
    guest = Guest(Pmu(tmp_path, "0,1", energy_pkg="event=0x02"))
    found = guest.run(51, lambda config, cpu, step: step * (4.0 + 0.1 * cpu))
    assert found == [("package", 0, "0-die-0"), ("package", 0, "0-die-1")]


def test_a_mirror_of_one_package_is_that_packages(tmp_path: Path) -> None:
    guest = Guest(Pmu(tmp_path, "0,1", energy_pkg="event=0x02"))
    assert guest.run(51, lambda config, cpu, step: step * 4.0) == [("package", 0, "0-die-0")]


def test_one_counter_that_is_refreshed_between_two_events_is_still_one(tmp_path: Path) -> None:
    """Each millisecond: 40 mJ, now and then."""
    guest = Guest(Pmu(tmp_path, energy_pkg="event=0x02"))
    found = guest.run(51, lambda config, cpu, step: step * 4.0 + (0.04 if cpu and step % 3 == 0 else 0.0))
    assert found == [("package", ALL_PACKAGES, "0")]


@pytest.mark.parametrize("tick", [2**-14, 2**-16])
def test_packages_that_draw_nearly_the_same_are_their_own(tmp_path: Path, tick: float) -> None:
    guest = Guest(Pmu(tmp_path, energy_pkg="event=0x02"))
    found = guest.run(51, lambda config, cpu, step: step * (4.0 + (tick if cpu else 0.0)))
    assert found == [("package", 0, "0"), ("package", 1, "1")]
    assert guest.source.joules.tolist() == pytest.approx([200.0, 200.0], abs=0.1)


def test_few_ticks_that_are_equal_tell_nothing(tmp_path: Path) -> None:
    """Two parts that are idle: ten ticks a sample of one, and now and then one more of the other."""
    guest = Guest(Pmu(tmp_path, energy_gpu="event=0x04"))
    found = guest.run(2000, lambda config, cpu, step: (step * 10 + (step // 8 if cpu else 0)) * 2.0**-14)
    assert found == [("uncore", 0, "0"), ("uncore", 1, "1")]


def test_a_machine_that_is_not_virtual_has_no_mirrors(tmp_path: Path) -> None:
    guest = Guest(Pmu(tmp_path))
    guest.pmu.virtual = False
    guest.pmu.fds.clear()
    guest.source = guest.pmu.source()
    found = guest.run(20, lambda config, cpu, step: step * 4.0)
    assert found == [("package", 0, "0"), ("package", 1, "1"), ("dram", 0, "0"), ("dram", 1, "1")]
