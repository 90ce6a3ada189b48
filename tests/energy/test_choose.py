"""Which meters a machine has: opened all together, from the files that the kernel shows."""

from __future__ import annotations

import argparse
import os
import struct
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kepler_ebpf.config import from_arguments
from kepler_ebpf.energy.choose import choose_sources, open_packages
from kepler_ebpf.energy.hwmon import HwmonSource
from kepler_ebpf.energy.perf_rapl import PerfRaplSource
from kepler_ebpf.energy.powercap import PowercapSource
from kepler_ebpf.energy.source import ALL_PACKAGES
from kepler_ebpf.errors import UsageError
from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.topology import Topology, read_topology
from tests.energy.processors import proc_of
from tests.needs import examples

DEFAULTS = from_arguments(argparse.Namespace(), {})


class Machine:
    """A /sys and a /proc in a folder; ``ids``: the kernel's id of the package of each CPU."""

    def __init__(self, root: Path, ids: tuple[int, ...] = (0,), **processor: str) -> None:
        self.root = root
        self.fs = HostFS(proc=proc_of(root / "proc", **processor), sys=root)  # type: ignore[arg-type]
        for name in ("possible", "online"):
            self.put(f"devices/system/cpu/{name}", f"0-{len(ids) - 1}")
        for cpu, package in enumerate(ids):
            self.put(f"devices/system/cpu/cpu{cpu}/topology/physical_package_id", package)

    def put(self, path: str, text: object) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def zone(self, path: str, name: str, span: int = 262_143_328_850) -> None:
        for file, text in {"name": name, "max_energy_range_uj": span, "energy_uj": 1_000_000}.items():
            self.put(f"class/powercap/{path}/{file}", text)

    @property
    def topology(self) -> Topology:
        return read_topology(self.fs)


def refuse(event_type: int, config: int, cpu: int) -> int:
    raise PermissionError(13, "not here")


def test_a_sample_interval_that_a_zone_cannot_be_left_unread_for_is_refused(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.zone("intel-rapl:0", "package-0", 65_532_610_987)
    with pytest.raises(UsageError, match=r"KEPLER_SAMPLE_INTERVAL is 60s.*after 32\.8s") as caught:
        choose_sources(machine.fs, machine.topology, replace(DEFAULTS, sample_interval=60.0), refuse)
    assert "\n" not in str(caught.value)
    seldom = replace(DEFAULTS, sample_interval=30.0)
    assert choose_sources(machine.fs, machine.topology, seldom, refuse).packages.name == "rapl-powercap"


def test_a_meter_that_is_there_is_not_said_to_be_missing(tmp_path: Path) -> None:
    """Its range is wrong, which shows after a few readings: until then the model counts."""
    machine = Machine(tmp_path)
    machine.zone("intel-rapl:0", "package-0", span=1000)
    unread, modelled = choose_sources(machine.fs, machine.topology, DEFAULTS, refuse).notes
    assert unread.startswith("rapl-powercap is there but cannot be read (range)")
    assert modelled.startswith("no energy meter for the CPUs answers yet: their power is a model's")


def test_packages_of_a_guest_that_may_be_one_are_told_apart_until_it_is_known(tmp_path: Path) -> None:
    machine = Machine(tmp_path, (0, 1), flags="fpu hypervisor")
    for number in range(2):
        machine.zone(f"intel-rapl:{number}", f"package-{number}")
    chosen = choose_sources(machine.fs, machine.topology, DEFAULTS, refuse)
    assert chosen.packages.domains[0].source == "model", "nothing is known yet of either"
    assert chosen.packages.name == "rapl-powercap"
    assert chosen.by_package


_PACKAGES = [f"package-{n}" for n in (0, 1, 2, 8, 36, 9_999_999_999)]
_DIES = [f"package-{n}-die-{d}" for n in (0, 1) for d in (0, 1)]
_names = st.sampled_from([*_PACKAGES, *_DIES, "psys", "psys-0", "psys-1", "core", "dram", "", "nonsense"])
_chips = st.tuples(
    st.sampled_from(["smpro", "power_meter", "amd_energy", "apm_xgene", "other"]),
    st.sampled_from(
        [
            "CPU power",
            "DIMM power",
            "Grace Power Socket 0",
            "Total Power Socket 1",
            "Esocket0",
            "Esocket7",
            "DRAM Socket 0",
        ]
    ),
    st.sampled_from(["power1", "power2", "energy1"]),
)


@settings(max_examples=examples(150), deadline=None)
@given(
    ids=st.lists(st.sampled_from([0, 1, 8, 36, 136, -1]), min_size=1, max_size=6),
    vendor=st.sampled_from(["GenuineIntel", "AuthenticAMD", "HygonGenuine", ""]),
    zones=st.lists(st.tuples(_names, st.lists(_names, max_size=3)), max_size=6),
    chips=st.lists(_chips, max_size=5),
    virtual=st.booleans(),
)
def test_no_two_domains_of_a_machine_have_one_name_and_label_set(
    ids: list[int],
    vendor: str,
    zones: list[tuple[str, list[str]]],
    chips: list[tuple[str, str, str]],
    virtual: bool,
) -> None:
    with TemporaryDirectory() as folder:
        machine = Machine(Path(folder), tuple(ids), vendor=vendor, flags="hypervisor" if virtual else "fpu")
        for number, (name, inner) in enumerate(zones):
            machine.zone(f"intel-rapl:{number}", name)
            for below, its in enumerate(inner):
                machine.zone(f"intel-rapl:{number}:{below}", its)
        for number, (chip, label, file) in enumerate(chips):
            machine.put(f"class/hwmon/hwmon{number}/name", chip)
            machine.put(f"class/hwmon/hwmon{number}/{file}_label", label)
            machine.put(f"class/hwmon/hwmon{number}/{file}_input", 5)
        topology = machine.topology
        packages = open_packages(machine.fs, topology, DEFAULTS, refuse)
        try:
            series = Counter((d.component, d.zone, d.source) for d in (*packages.domains, *packages.expected))
            assert [one for one, count in series.items() if count > 1] == []
            assert all(-1 <= domain.index < topology.packages for domain in packages.domains)
        finally:
            packages.close()


class Guest(Machine):
    """A virtual machine, every counter of which shows the host's one: 40 W since it was made."""

    def __init__(self, root: Path, ids: tuple[int, ...], dies: tuple[int, ...] = ()) -> None:
        super().__init__(root, ids, flags="fpu hypervisor", vendor="GenuineIntel")
        for cpu, die in enumerate(dies):
            self.put(f"devices/system/cpu/cpu{cpu}/topology/die_id", die)
        self.events: list[int] = []
        self.zones: list[str] = []
        self.began = time.monotonic()

    def zone(self, path: str, name: str, span: int = 262_143_328_850) -> None:
        super().zone(path, name, span)
        self.zones.append(path)

    def perf(self, *events: str) -> None:
        for path, text in {"type": "21", "cpumask": "0-1"}.items():
            self.put(f"bus/event_source/devices/power/{path}", text)
        for number, event in enumerate(events):
            for end, text in {"": f"event=0x{number:x}", ".scale": "1e-6", ".unit": "Joules"}.items():
                self.put(f"bus/event_source/devices/power/events/energy-{event}{end}", text)

    def open_event(self, event_type: int, config: int, cpu: int) -> int:
        self.events.append(os.memfd_create("event"))
        self.count()
        return self.events[-1]

    def count(self) -> None:
        microjoules = round((time.monotonic() - self.began) * 40e6)
        for fd in self.events:
            os.pwrite(fd, struct.pack("=Q", microjoules) * 64, 0)
            os.lseek(fd, 0, os.SEEK_SET)
        for zone in self.zones:
            self.put(f"class/powercap/{zone}/energy_uj", 1_000_000 + microjoules)


@pytest.mark.parametrize(
    ("ids", "dies", "zones", "events"),
    [
        ((0, 0), (0, 1), ("package-0-die-0", "package-0-die-1"), ("pkg",)),
        ((0, 1), (), ("package-0", "package-1"), ("pkg",)),
        ((0, 1), (), ("package-0", "package-1"), ("pkg", "ram")),
        ((0, 1), (), (), ("pkg",)),
        ((0, 1), (), ("package-0", "package-1"), ()),
    ],
    ids=["dies", "perf and powercap", "perf offers more", "perf alone", "powercap alone"],
)
def test_the_one_counter_of_a_guests_packages_counts_once_whoever_reads_it(
    tmp_path: Path, ids: tuple[int, ...], dies: tuple[int, ...], zones: tuple[str, ...], events: tuple[str, ...]
) -> None:
    guest = Guest(tmp_path, ids, dies)
    for number, name in enumerate(zones):
        guest.zone(f"intel-rapl:{number}", name)
    if events:
        guest.perf(*events)
    packages = open_packages(guest.fs, guest.topology, DEFAULTS, guest.open_event)
    try:
        began = time.monotonic()
        for _ in range(30):
            time.sleep(0.01)
            guest.count()
            ended = time.monotonic()
            packages.read()
        counts = [domain for domain, live in zip(packages.domains, packages.live.tolist()) if live]
        joules = sum(packages.joules[packages.domains.index(one)] for one in counts if one.component == "package")
        assert sorted(one.component for one in counts) == ["dram", "package"][-max(len(events), 1) :]
        assert {one.index for one in counts} == ({0} if dies else {ALL_PACKAGES})
        assert counts[0].source == ("rapl-perf" if events else "rapl-powercap")
        assert joules == pytest.approx(40 * (ended - began), rel=0.4)
    finally:
        packages.close()


def test_whatever_a_source_raises_when_it_is_opened_costs_that_source_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path)
    machine.zone("intel-rapl:0", "package-0")
    for source in (PerfRaplSource, HwmonSource, PowercapSource):
        monkeypatch.setattr(source, "_discover", lambda self: 1 / 0)
        packages = open_packages(machine.fs, machine.topology, DEFAULTS, refuse)
        assert next(one for one in packages.sources if isinstance(one, source)).faults["ZeroDivisionError"] >= 1
    assert packages.name == "model"
