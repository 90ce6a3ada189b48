"""RAPL zones as the kernel shows them, with everything that goes wrong with them."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kepler_ebpf.energy import zones
from kepler_ebpf.energy.model import ModelSource, PowerSpec
from kepler_ebpf.energy.packages import PackageMeter
from kepler_ebpf.energy.places import Places
from kepler_ebpf.energy.powercap import PowercapSource, inspect_zones
from kepler_ebpf.energy.source import ALL_PACKAGES
from kepler_ebpf.host.fs import HostFS, read_text
from kepler_ebpf.host.topology import Topology
from tests.energy.processors import proc_of

RANGE = 262_143_328_850


class Tree:
    """A powercap tree in a folder, its counters, and a clock; reads can be made to fail."""

    def __init__(self, root: Path) -> None:
        self.root = root / "class/powercap"
        self.root.mkdir(parents=True)
        self.fs = HostFS(proc=proc_of(root / "proc"), sys=root)
        self.places = Places()
        self.virtual = False
        self.now_ns = 10**9
        self.asleep_ns = 0
        self.errors: dict[str, int] = {}

    def zone(self, number: str, name: str, value: int = 0, span: int = RANGE) -> Path:
        path = self.root / number
        path.mkdir()
        (path / "name").write_text(name + "\n")
        (path / "max_energy_range_uj").write_text(f"{span}\n")
        self.set(number, value)
        return path

    def set(self, number: str, value: int) -> None:
        (self.root / number / "energy_uj").write_text(f"{value}\n")

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        name = Path(os.readlink(f"/proc/self/fd/{fd}")).parent.name
        if name in self.errors:
            raise OSError(self.errors[name], "injected")
        return os.pread(fd, size, offset)

    def open(self) -> PowercapSource:
        source = PowercapSource(
            self.fs, self.places, lambda: self.now_ns, self.pread, self.virtual, lambda: self.asleep_ns
        )
        source.read()
        return source

    def tick(self, source: PowercapSource, seconds: float = 0.1) -> None:
        self.now_ns += round(seconds * 1e9)
        source.read()


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_zones_are_known_by_name_and_parent(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-1")
    tree.zone("intel-rapl:1", "package-0")
    tree.zone("intel-rapl:0:0", "dram")
    tree.zone("intel-rapl:1:0", "core")
    tree.zone("intel-rapl:1:1", "uncore")
    tree.zone("intel-rapl:2", "psys")
    tree.zone("intel-rapl-mmio:0", "package-0")
    tree.zone("intel-rapl:3", "something-new")
    found = {(domain.component, domain.index) for domain in tree.open().domains}
    assert found == {("package", 1), ("package", 0), ("dram", 1), ("core", 0), ("uncore", 0), ("platform", -1)}


def test_mmio_is_taken_where_there_is_nothing_else(tree: Tree) -> None:
    tree.zone("intel-rapl-mmio:0", "package-0")
    assert [domain.component for domain in tree.open().domains] == ["package"]


def test_dies_are_zones_of_their_package(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0-die-0")
    tree.zone("intel-rapl:1", "package-0-die-1")
    assert [(d.index, d.zone) for d in tree.open().domains] == [(0, "0-die-0"), (0, "0-die-1")]


def test_joules_and_a_wrap(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", RANGE - 1_000_000)
    source = tree.open()
    assert source.joules.tolist() == [0.0]
    tree.set("intel-rapl:0", 999_999)
    tree.tick(source)
    assert source.joules[0] == pytest.approx(2.0, abs=1e-9)
    assert not source.faults


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ENODATA])
def test_a_failed_reading_is_made_good_by_the_next(tree: Tree, code: int, caplog: pytest.LogCaptureFixture) -> None:
    tree.zone("intel-rapl:0", "package-0")
    tree.zone("intel-rapl:1", "package-1")
    source = tree.open()
    before = source.time_ns.copy()
    tree.errors["intel-rapl:0"] = code
    for value in (1_000_000, 2_000_000, 3_000_000):
        tree.set("intel-rapl:0", value)
        tree.set("intel-rapl:1", value)
        tree.tick(source)
    assert source.joules.tolist() == [0.0, 3.0]
    assert source.time_ns[0] == before[0]
    assert not source.live[0]
    assert source.faults == {errno.errorcode[code]: 3}
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1, "one line, not one a sample"
    tree.errors.clear()
    tree.tick(source)
    assert source.joules.tolist() == [3.0, 3.0]


@pytest.mark.parametrize(
    ("value", "seconds", "reason"),
    [(0, 0.1, "reset"), (90_000_000_000, 0.1, "jump"), (1_000, 600.0, "gap")],
    ids=["reset to zero", "jump", "ten minutes' stall"],
)
def test_what_cannot_be_known_is_no_spike(tree: Tree, value: int, seconds: float, reason: str) -> None:
    tree.zone("intel-rapl:0", "package-0", 50_000_000_000)
    source = tree.open()
    tree.set("intel-rapl:0", value)
    tree.tick(source, seconds)
    assert source.joules.tolist() == [0.0]
    assert source.time_ns[0] == 0
    assert source.faults == {reason: 1}
    tree.set("intel-rapl:0", value + 1_000_000)
    tree.tick(source)
    assert source.joules[0] == pytest.approx(1.0)


@pytest.mark.parametrize("begins_anew", [False, True])
def test_what_a_counter_used_while_the_machine_slept(tree: Tree, begins_anew: bool) -> None:
    """A counter that begins anew after a sleep has not wrapped, though it could have drawn that much meanwhile."""
    tree.zone("intel-rapl:0", "package-0", RANGE - 60_000_000_000)
    source = tree.open()
    now = RANGE - 60_000_000_000
    for step in range(20):
        if step == 10:
            tree.now_ns += 60 * 10**9
            tree.asleep_ns += 60 * 10**9
            now = 0 if begins_anew else now + 300_000_000
            tree.errors["intel-rapl:0"] = errno.EIO  # the first reading after it fails
        now += 2_000_000
        tree.set("intel-rapl:0", now)
        tree.tick(source)
        tree.errors.clear()
    assert source.joules[0] == pytest.approx(36.0 if begins_anew else 340.0)
    assert source.faults == ({"EIO": 1, "reset": 1} if begins_anew else {"EIO": 1})


def test_zones_appear_and_come_back(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0")
    source = tree.open()
    tree.zone("intel-rapl:1", "package-1", 7_000_000)
    tree.tick(source, 6.0)
    tree.tick(source)
    tree.set("intel-rapl:1", 8_000_000)
    tree.tick(source)
    assert [domain.index for domain in source.domains] == [0, 1]
    assert source.joules.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("gone", [False, True])
def test_a_zone_that_is_missing_fails_once_a_reading_and_is_looked_for_once_a_second(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    """To look for zones takes long: on 512 CPUs two thousand files are read."""
    path = tree.zone("intel-rapl:0", "package-0")
    if not gone:
        (path / "energy_uj").unlink()
    source = tree.open()
    (path / "energy_uj").unlink(missing_ok=True)
    if gone:
        tree.errors["intel-rapl:0"] = errno.ENODEV
    looked = 0

    def follow(fs: HostFS) -> None:
        nonlocal looked
        looked += 1

    monkeypatch.setattr(tree.places, "follow", follow)
    faults, pressing = sum(source.faults.values()), 0
    for _ in range(100):
        tree.tick(source)
        pressing += source.presses
    assert sum(source.faults.values()) - faults == 100
    assert looked <= 11
    assert pressing <= 1, "all else is booked once a second as ever"
    tree.errors.clear()
    tree.set("intel-rapl:0", 5_000_000)
    for step in range(1, 21):
        tree.set("intel-rapl:0", 5_000_000 + step * 1_000_000)
        tree.tick(source)
    assert source.joules[0] >= 8.0, "found again within a second or so"


def test_garbage_is_a_fault(tree: Tree) -> None:
    path = tree.zone("intel-rapl:0", "package-0")
    source = tree.open()
    (path / "energy_uj").write_text("lots\n")
    tree.tick(source)
    assert source.faults == {"not a number": 1}
    assert source.joules.tolist() == [0.0]


def test_doctor_sees_every_zone(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0")
    path = tree.zone("intel-rapl:0:0", "dram")
    (path / "energy_uj").unlink()
    findings = {zone.name: (zone.readable, zone.reason) for zone in inspect_zones(tree.fs)[0]}
    assert findings == {"package-0": (True, ""), "dram": (False, "ENOENT")}


def test_amd_dies_that_show_one_counter_are_one(tree: Tree) -> None:
    """A Threadripper 1950X: two dies, one counter of the socket; 68 W, not 137."""
    proc_of(tree.fs.proc, "AuthenticAMD", 23, 1)
    tree.zone("intel-rapl:0", "package-0-die-0", 10_360_237_493, 65_532_610_987)
    tree.zone("intel-rapl:1", "package-0-die-1", 10_359_908_363, 65_532_610_987)
    source = tree.open()
    for number, value in (("intel-rapl:0", 10_360_237_493), ("intel-rapl:1", 10_359_908_363)):
        tree.set(number, value + 68_000_000)
    tree.tick(source, 1.0)
    assert source.joules.tolist() == pytest.approx([68.0])
    assert "once more" in source.notes[0]


def test_dies_of_an_amd_machine_are_numbered_through_its_sockets(tree: Tree) -> None:
    """Two sockets of Naples: dies 0 to 3, and 4 to 7."""
    proc_of(tree.fs.proc, "AuthenticAMD", 23, 1)
    for die in range(8):
        tree.zone(f"intel-rapl:{die}", f"package-{die // 4}-die-{die}")
    assert [(domain.index, domain.zone) for domain in tree.open().domains] == [(0, "0-die-0"), (1, "1-die-4")]


def test_the_core_zone_of_amd_is_one_cores(tree: Tree) -> None:
    proc_of(tree.fs.proc, "HygonGenuine", 24, 0)
    tree.zone("intel-rapl:0", "package-0")
    tree.zone("intel-rapl:0:0", "core")
    assert [domain.component for domain in tree.open().domains] == ["package"]


def test_intel_dies_are_added_up_under_their_labels(tree: Tree) -> None:
    for die in range(2):
        tree.zone(f"intel-rapl:{die}", f"package-0-die-{die}")
    source = tree.open()
    for die in range(2):
        tree.set(f"intel-rapl:{die}", 3_000_000)
    tree.tick(source)
    assert source.joules.tolist() == [3.0, 3.0]
    assert {domain.index for domain in source.domains} == {0}


class Guest:
    """A virtual machine with a zone for each package, whose counters go as ``host`` says."""

    def __init__(self, tree: Tree, packages: int) -> None:
        self.tree, self.packages = tree, packages
        tree.virtual = True
        tree.places = Places(Topology(*(tuple(range(packages)) for _ in range(4))))
        for number in range(packages):
            tree.zone(f"intel-rapl:{number}", f"package-{number}", 5_000_000)
        self.source = tree.open()

    def run(self, samples: int, microjoules: Callable[[int, int], int]) -> None:
        """``microjoules``: of a package after so many samples."""
        for step in range(1, samples + 1):
            for number in range(self.packages):
                self.tree.set(f"intel-rapl:{number}", 5_000_000 + microjoules(number, step))
            self.tree.tick(self.source)

    def domains(self) -> list[tuple[int, str]]:
        return [(domain.index, domain.zone) for domain in self.source.domains]


def test_packages_of_a_virtual_machine_that_stay_equal_to_the_tick_are_one(tree: Tree) -> None:
    guest = Guest(tree, 2)
    guest.run(30, lambda package, step: step * 1_000_000)
    assert guest.domains() == [(ALL_PACKAGES, "0")], "the host's one counter, paid by all CPUs"
    assert guest.source.joules.tolist() == pytest.approx([30.0]), "not a joule twice, and none lost meanwhile"
    assert "the same counter" in guest.source.notes[0]


def test_joules_that_were_held_reach_whoever_adds_up_domains(tree: Tree) -> None:
    guest = Guest(tree, 2)
    model = ModelSource(PowerSpec(0.0, 0.0, (0.0, 1.0), (0.0, 1.0), "none", 0.3), 2, lambda: tree.now_ns)
    packages = PackageMeter([guest.source], model)
    for step in range(1, 31):
        for number in range(2):
            tree.set(f"intel-rapl:{number}", 5_000_000 + step * 1_000_000)
        tree.now_ns += 10**8
        packages.read()
    assert packages.joules.sum() == pytest.approx(30.0, abs=1.0)


def test_one_counter_read_between_two_refreshes_is_still_one(tree: Tree) -> None:
    guest = Guest(tree, 2)
    guest.run(30, lambda package, step: step * 1_000_000 + (7 if package and step % 2 else 0))
    assert guest.domains() == [(ALL_PACKAGES, "0")]


def test_packages_of_a_virtual_machine_that_differ_are_their_own(tree: Tree) -> None:
    guest = Guest(tree, 2)
    assert {domain.index for domain in guest.source.expected} == {0, 1}, "the kernel's rows must tell them apart"
    guest.run(30, lambda package, step: step * (1_000_000 + package))
    assert guest.domains() == [(0, "0"), (1, "1")]
    assert guest.source.joules.tolist() == pytest.approx([30.0, 30.00003])
    assert guest.source.expected == ()


@pytest.mark.parametrize("late", [False, True])
def test_dies_of_a_virtual_machine_that_are_nearly_equal_are_one(tree: Tree, late: bool) -> None:
    """The counter goes on without pause: of each die it is read a moment later, now and then much later."""
    tree.virtual = True
    for die in range(4):
        tree.zone(f"intel-rapl:{die}", f"package-0-die-{die}", 5_000_000)
    source = tree.open()
    for step in range(1, 41):
        for die in range(4):
            moment = 400_000 if late and die == step % 7 else die * (300 + step * 37 % 211)
            tree.set(f"intel-rapl:{die}", 5_000_000 + step * 4_000_000 + moment)
        tree.tick(source)
    assert [(domain.index, domain.zone) for domain in source.domains] == [(0, "0-die-0")]
    assert source.joules.tolist() == pytest.approx([160.0], abs=0.5)
    assert len(source.notes) == 3


def test_dies_of_a_virtual_machine_that_differ_are_their_own(tree: Tree) -> None:
    tree.virtual = True
    for die in range(2):
        tree.zone(f"intel-rapl:{die}", f"package-0-die-{die}", 5_000_000)
    source = tree.open()
    for step in range(1, 41):
        for die in range(2):
            tree.set(f"intel-rapl:{die}", 5_000_000 + step * (4_000_000 + die * 100_000))
        tree.tick(source)
    assert source.joules.tolist() == pytest.approx([160.0, 164.0])


def test_a_mirror_among_packages_of_their_own(tree: Tree) -> None:
    guest = Guest(tree, 3)
    guest.run(30, lambda package, step: step * (1_000_000 if package else 2_000_000))
    assert guest.domains() == [(0, "0"), (ALL_PACKAGES, "1")]
    assert guest.source.joules.tolist() == pytest.approx([60.0, 30.0])


def test_a_package_that_stands_still_holds_up_no_other(tree: Tree) -> None:
    guest = Guest(tree, 2)
    guest.run(80, lambda package, step: 0 if package else step * 1_000_000)
    assert guest.source.joules.tolist() == pytest.approx([80.0])


@pytest.mark.parametrize("ids", [(36, 136), (0, 2, 4, 6), (0, 8)])
def test_packages_are_known_by_rank_whatever_their_ids(tree: Tree, ids: tuple[int, ...]) -> None:
    cpus = len(ids)
    tree.places = Places(Topology(tuple(range(cpus)), ids, tuple(range(cpus)), tuple(range(cpus))))
    for number, physical in enumerate(reversed(ids)):
        tree.zone(f"intel-rapl:{number}", f"package-{physical}")
    found = sorted((domain.index, domain.zone) for domain in tree.open().domains)
    assert found == [(rank, str(rank)) for rank in range(cpus)]


@pytest.mark.parametrize("ids", [(36, 136), (1, 2), (1, 9)])
def test_zones_that_are_counted_fit_packages_in_order(tree: Tree, ids: tuple[int, int]) -> None:
    """Also where a number that was counted is the id of another package."""
    tree.places = Places(Topology((0, 1), ids, (0, 1), (0, 1)))
    for number in range(2):
        tree.zone(f"intel-rapl:{number}", f"package-{number}")
    assert [domain.index for domain in tree.open().domains] == [0, 1]


def test_a_package_that_no_cpu_is_on_is_paid_by_all_with_one_warning(
    tree: Tree, caplog: pytest.LogCaptureFixture
) -> None:
    tree.places = Places(Topology((0,), (0,), (0,), (0,)))
    for number in range(2):
        tree.zone(f"intel-rapl:{number}", f"package-{number}")
    source = tree.open()
    assert [domain.index for domain in source.domains] == [0, ALL_PACKAGES]
    tree.tick(source, 6.0)
    assert len([record for record in caplog.records if "all CPUs pay" in record.message]) == 1


def test_no_two_zones_share_a_label_whatever_their_numbers(tree: Tree) -> None:
    tree.places = Places(Topology((0, 1), (0, 8), (0, 1), (0, 1)))
    for number, physical in enumerate((0, 8, 1)):
        tree.zone(f"intel-rapl:{number}", f"package-{physical}")
    assert [(d.index, d.zone) for d in tree.open().domains] == [(0, "0"), (1, "1"), (ALL_PACKAGES, "id-1")]


def test_what_was_read_of_a_zone_before_it_was_opened_anew_is_all_counted(tree: Tree) -> None:
    """Readings wait to be worked out, and a driver that is bound anew counts from somewhere else."""
    zone = tree.zone("intel-rapl:0", "package-0")
    source = tree.open()
    tree.set("intel-rapl:0", 5_000_000)
    tree.tick(source)
    looks = []
    for value in (6_000_000, None, 7_000_000, 8_000_000):
        tree.errors = {"intel-rapl:0": errno.ENODEV} if value is None else {}
        tree.now_ns += 10**8
        tree.set("intel-rapl:0", value or 0)
        looks.append(source.look())
    tree.errors = {}
    (zone / "energy_uj").unlink()
    tree.set("intel-rapl:0", 100_000_000)
    for taking in looks:
        taking()
    assert source.joules.tolist() == pytest.approx([8.0])
    for value in (101_000_000, 102_000_000):
        tree.set("intel-rapl:0", value)
        tree.tick(source)
    assert source.joules.tolist() == pytest.approx([9.0]), "and the new one's from its first reading on"
    assert source.faults == {"ENODEV": 1}


def test_a_range_that_is_mended_is_read_anew(tree: Tree) -> None:
    path = tree.zone("intel-rapl:0", "package-0", 5_000_000, 1000)
    source = tree.open()
    (path / "max_energy_range_uj").write_text(f"{RANGE}\n")
    for value in (6_000_000, 7_000_000, 8_000_000):
        tree.set("intel-rapl:0", value)
        tree.tick(source)
    assert source.joules[0] >= 1.0
    assert source.live[0]


def test_the_second_sockets_psys_is_another(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "psys")
    tree.zone("intel-rapl:1", "psys-1")
    assert [(d.component, d.zone) for d in tree.open().domains] == [("platform", "0"), ("platform", "1")]


def test_unknown_zones_are_said_once(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "something-new")
    source = tree.open()
    tree.tick(source, 6.0)
    tree.tick(source, 6.0)
    assert len(source.notes) == 1


@pytest.mark.parametrize("span", [0, -1])
def test_a_range_of_nought_is_not_known(tree: Tree, span: int) -> None:
    tree.zone("intel-rapl:0", "package-0", 1_000_000, span)
    source = tree.open()
    for value in (2_000_000, 3_000_000, 500_000, 1_500_000):
        tree.set("intel-rapl:0", value)
        tree.tick(source)
    assert source.joules.tolist() == [3.0]
    assert source.faults == {"reset": 1}


def test_a_zones_own_limit_bounds_what_is_believed(tree: Tree) -> None:
    path = tree.zone("intel-rapl:0", "package-0", 0)
    (path / "constraint_0_max_power_uw").write_text("65000000\n")
    source = tree.open()
    tree.set("intel-rapl:0", 10_000_000)
    tree.tick(source)
    tree.set("intel-rapl:0", 30_000_000)  # 200 W where 65 W is the most
    tree.tick(source)
    assert source.joules.tolist() == [10.0]
    assert source.faults == {"jump": 1}


def test_a_meter_that_stops_is_not_live(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0")
    source = tree.open()
    assert not source.live[0], "nothing has been accepted yet"
    tree.set("intel-rapl:0", 1_000_000)
    tree.tick(source)
    assert source.live[0]
    for _ in range(60):
        tree.tick(source)
    assert not source.live[0]
    tree.set("intel-rapl:0", 2_000_000)
    tree.tick(source)
    assert source.live[0]


def test_a_zone_keeps_its_name_when_the_other_socket_goes(tree: Tree) -> None:
    """Zones are counted, packages are 36 and 136: with one zone alone nobody could tell which it is."""
    tree.places = Places(Topology((0, 1), (36, 136), (0, 1), (0, 1)))
    for number in range(2):
        tree.zone(f"intel-rapl:{number}", f"package-{number}")
    source = tree.open()
    shutil.rmtree(tree.root / "intel-rapl:1")
    tree.errors["intel-rapl:1"] = errno.ENODEV
    for second in range(1, 10):
        tree.set("intel-rapl:0", second * 50_000_000)
        tree.tick(source, 1.0)
    assert [(d.index, d.label) for d in source.domains] == [(0, "0"), (1, "1")]
    assert source.joules.tolist() == pytest.approx([450.0, 0.0])


@pytest.mark.parametrize(
    ("limits", "watts"),
    [
        ({"constraint_0_max_power_uw": 125_000_000, "constraint_1_power_limit_uw": 253_000_000}, 290),
        ({"constraint_0_max_power_uw": 55_000_000}, 157),  # its short-term limit is set out of reach, and not told
        ({"constraint_0_max_power_uw": 125_000_000, "constraint_1_power_limit_uw": 4_095_000_000}, 320),
        ({"constraint_0_max_power_uw": 1}, 100),
        ({"constraint_0_max_power_uw": -1}, 100),
        ({"constraint_0_max_power_uw": 4 * 10**15}, 100),
        ({"constraint_0_max_power_uw": "many"}, 100),
    ],
)
def test_a_limit_that_is_none_refuses_no_energy(tree: Tree, limits: dict[str, object], watts: int) -> None:
    path = tree.zone("intel-rapl:0", "package-0")
    for name, text in limits.items():
        (path / name).write_text(f"{text}\n")
    source = tree.open()
    for step in range(1, 101):
        tree.set("intel-rapl:0", step * watts * 100_000)
        tree.tick(source)
    assert source.joules[0] == pytest.approx(watts * 10, rel=0.12)
    assert source.longest_seconds > 60
    assert sum(source.faults.values()) <= 10


def test_a_range_that_is_less_than_what_the_counter_shows_is_not_believed_for_ever(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 5_000_000_000, span=100_000_000)
    source = tree.open()
    for step in range(1, 51):
        tree.set("intel-rapl:0", 5_000_000_000 + step * 10_000_000)
        tree.tick(source)
    assert source.joules[0] == pytest.approx(500, rel=0.1)
    assert source.faults == {"range": 3}


@pytest.mark.parametrize("vendor", ["GenuineIntel", "AuthenticAMD"])
def test_where_the_first_cannot_be_read_another_that_shows_its_counter_is(tmp_path: Path, vendor: str) -> None:
    tree = Tree(tmp_path)
    tree.fs = HostFS(proc=proc_of(tmp_path / "of-vendor", vendor), sys=tmp_path)
    names = ("package-0-die-0", "package-0-die-1") if vendor == "AuthenticAMD" else ("package-0", "package-0")
    paths = ("intel-rapl:0", "intel-rapl:1" if vendor == "AuthenticAMD" else "intel-rapl-mmio:0")
    for path, name in zip(paths, names):
        tree.zone(path, name)
    (tree.root / "intel-rapl:0/energy_uj").write_text("\n")
    source = tree.open()
    tree.set(paths[1], 5_000_000)
    tree.tick(source)
    assert source.joules.tolist() == [5.0]
    assert any("left out" in note for note in source.notes)


def test_nobody_is_counted_twice_once_the_first_die_can_be_read_again(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.fs = HostFS(proc=proc_of(tmp_path / "amd", "AuthenticAMD"), sys=tmp_path)
    for number in range(2):
        tree.zone(f"intel-rapl:{number}", f"package-0-die-{number}")
    (tree.root / "intel-rapl:0/energy_uj").write_text("\n")
    source = tree.open()
    for second in range(1, 21):
        for number in range(2):
            tree.set(f"intel-rapl:{number}", second * 50_000_000)
        before = source.joules.sum()
        tree.tick(source, 1.0)
    assert source.joules.sum() - before == pytest.approx(50.0)
    assert source.live.tolist() == [False, True]


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EACCES])
def test_zones_whose_names_cannot_be_read_are_one_fault_and_one_line(
    tree: Tree, code: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.zone("intel-rapl:0", "package-0")
    for number in ("intel-rapl:1", "intel-rapl:1:0"):
        name = tree.zone(number, "package-1") / "name"
        name.unlink()
        if code == errno.EACCES:
            name.touch()

    def read(path: Path, *most: int) -> str:
        if code == errno.EACCES and path.parent.name.startswith("intel-rapl:1"):
            raise PermissionError(code, "injected")
        return read_text(path, *most)

    monkeypatch.setattr(zones, "read_text", read)
    source = tree.open()
    for _ in range(3):
        tree.tick(source, 6.0)
    reason = errno.errorcode[code]
    assert source.faults == {reason: 1}
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        f"2 RAPL zones below {tree.root}: name cannot be read ({reason}): {zones.OF_NO_NAME}"
    ]
    assert [domain.label for domain in source.domains] == ["0"], "costs no other"


def test_links_that_lead_nowhere_are_zones_that_cannot_be_read(tree: Tree) -> None:
    """As containers see the tree, whose /sys/devices/virtual/powercap is masked."""
    for number in ("intel-rapl", "intel-rapl:0", "intel-rapl:0:0"):
        (tree.root / number).symlink_to(f"../../devices/virtual/powercap/{number}")
    assert tree.open().faults == {"ENOENT": 1}


@pytest.mark.parametrize("virtual", [False, True])
def test_a_zone_that_is_refreshed_each_seven_seconds_stays_live(tree: Tree, virtual: bool) -> None:
    tree.virtual = virtual
    tree.zone("intel-rapl:0", "package-0", 10**9)
    source = tree.open()
    live = []
    for tick in range(1, 351):
        tree.set("intel-rapl:0", 10**9 + 700_000_000 * (tick // 70))
        tree.tick(source)
        live.append(bool(source.live[0]))
    assert all(live[140:]), "the first period is not known, the others are"
    assert source.joules[0] > 2_700
