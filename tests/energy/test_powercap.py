"""RAPL zones as the kernel shows them, with everything that goes wrong with them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kepler_ebpf.energy.powercap import PowercapSource, inspect_zones
from kepler_ebpf.host.fs import HostFS

RANGE = 262_143_328_850


class Tree:
    """A powercap tree in a folder, its counters, and a clock; reads can be made to fail."""

    def __init__(self, root: Path) -> None:
        self.root = root / "class/powercap"
        self.root.mkdir(parents=True)
        self.fs = HostFS(sys=root)
        self.now_ns = 10**9
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
        source = PowercapSource(self.fs, lambda: self.now_ns, self.pread)
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
    assert found == {("package", 1), ("package", 0), ("dram", 1), ("core", 0), ("uncore", 0), ("platform", 0)}


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
    assert source.faults == {errno.errorcode[code]: 3}
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1, "one line, not one a sample"
    tree.errors.clear()
    tree.tick(source)
    assert source.joules.tolist() == [3.0, 3.0]
    assert source.time_ns[0] == source.time_ns[1]


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
    assert source.time_ns[0] == tree.now_ns
    assert source.faults == {reason: 1}
    tree.set("intel-rapl:0", value + 1_000_000)
    tree.tick(source)
    assert source.joules[0] == pytest.approx(1.0)


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
    findings = {zone.name: (zone.readable, zone.reason) for zone in inspect_zones(tree.fs)}
    assert findings == {"package-0": (True, ""), "dram": (False, "ENOENT")}
