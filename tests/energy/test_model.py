"""The power model: which processor, which watts, and what they add up to."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kepler_ebpf.attribution.idle import IdleFloor
from kepler_ebpf.energy.model import ModelSource, power_spec
from kepler_ebpf.energy.source import ALL_PACKAGES
from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.processor import read_processor
from tests.fakes import FakeTables


def cpuinfo(root: Path, vendor: str, family: int, model: int, name: str, stepping: int = 1) -> HostFS:
    (root / "cpuinfo").write_text(
        f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\n"
        f"model name\t: {name}\nstepping\t: {stepping}\n"
    )
    return HostFS(proc=root)


@pytest.mark.parametrize(
    ("vendor", "family", "model", "stepping", "name", "expected"),
    [
        ("AuthenticAMD", 25, 17, 1, "AMD EPYC", "EPYC 4 (Genoa)"),
        ("AuthenticAMD", 23, 49, 0, "AMD EPYC 7B12", "EPYC 2 (Rome)"),
        ("AuthenticAMD", 25, 1, 1, "AMD EPYC 7763 64-Core Processor", "EPYC 3 (Milan)"),
        ("AuthenticAMD", 26, 2, 1, "AMD EPYC 9755 128-Core Processor", "EPYC 5 (Turin)"),
        ("AuthenticAMD", 15, 6, 1, "QEMU EPYC-Milan Processor", "EPYC 3 (Milan)"),
        ("GenuineIntel", 6, 85, 4, "Intel(R) Xeon(R) Platinum 8175M CPU @ 2.50GHz", "Skylake-SP"),
        ("GenuineIntel", 6, 85, 7, "Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz", "Cascade Lake"),
        ("GenuineIntel", 6, 85, 4, "Intel Xeon Processor (Skylake, IBRS)", "Skylake-SP"),
        ("GenuineIntel", 6, 106, 6, "Intel(R) Xeon(R) Platinum 8370C", "Ice Lake"),
        ("GenuineIntel", 6, 143, 8, "Intel(R) Xeon(R) Platinum 8481C", "Sapphire Rapids"),
        ("GenuineIntel", 6, 79, 1, "Intel(R) Xeon(R) CPU E5-2686 v4", "Broadwell"),
        ("GenuineIntel", 6, 60, 1, "Intel Core Processor (Haswell, no TSX)", "Haswell"),
        ("GenuineIntel", 6, 42, 1, "Intel Xeon E312xx (Sandy Bridge)", "Sandy Bridge"),
        ("GenuineIntel", 6, 250, 1, "Intel something new", ""),
    ],
)
def test_processors(
    tmp_path: Path, vendor: str, family: int, model: int, stepping: int, name: str, expected: str
) -> None:
    assert read_processor(cpuinfo(tmp_path, vendor, family, model, name, stepping)).microarchitecture == expected


@pytest.mark.parametrize("text", ["", "garbage", "vendor_id : x\ncpu family : many\n", "\xff\x00"])
def test_any_cpuinfo_gives_some_model(tmp_path: Path, text: str) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    spec = power_spec(HostFS(proc=tmp_path), 4)
    assert 0 < spec.idle_watts_per_thread < spec.full_watts_per_thread
    assert "unknown" in spec.description


def test_no_cpuinfo_gives_a_model_all_the_same(tmp_path: Path) -> None:
    assert math.isnan(power_spec(HostFS(proc=tmp_path), 4).error_ratio)


def test_the_error_of_a_processor_that_is_not_in_the_table(tmp_path: Path) -> None:
    """Of an unknown Intel it is that of the other Intels; of an Arm nobody knows it, as the table is of x86 servers."""
    assert power_spec(cpuinfo(tmp_path, "GenuineIntel", 6, 250, "Intel something new"), 4).error_ratio == 0.46
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n")
    spec = power_spec(HostFS(proc=tmp_path), 4)
    assert math.isnan(spec.error_ratio)
    assert "x86" in spec.description


def test_a_known_microarchitecture_uses_its_medians(tmp_path: Path) -> None:
    spec = power_spec(cpuinfo(tmp_path, "AuthenticAMD", 25, 1, "AMD EPYC 7763"), 4)
    assert (spec.idle_watts_per_thread, spec.full_watts_per_thread, spec.error_ratio) == (0.424, 1.916, 0.14)


def test_the_users_watts_win(tmp_path: Path) -> None:
    spec = power_spec(cpuinfo(tmp_path, "AuthenticAMD", 25, 1, "AMD EPYC 7763"), 4, 20.0, 100.0)
    assert [spec.watts(0.0, 4), spec.watts(1.0, 4)] == [20.0, 100.0]
    assert math.isnan(spec.error_ratio)


@given(st.floats(0, 1), st.floats(0, 1))
def test_more_load_never_draws_less(one: float, other: float) -> None:
    spec = power_spec(HostFS(), 2)
    low, high = (spec.watts(load, 1) for load in sorted((one, other)))
    assert low <= high + 1e-12


class World:
    """Two packages of two threads, and a model of the whole machine."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.kernel = FakeTables(2)
        spec = power_spec(HostFS(), 4, 40.0, 140.0)
        self.source = ModelSource(spec, 4, lambda: self.now_ns)
        self.kernel.clock_ns = lambda: self.now_ns
        self.source.ask(self.kernel)

    def run(self, seconds: float, *busy: float) -> None:
        """CPU seconds in use, by package."""
        self.now_ns += round(seconds * 1e9)
        for package, used in enumerate(busy):
            self.kernel.run(1, 1, package, round(used * 1e9))
        self.source.read()


def test_joules_follow_the_utilisation_of_the_machine() -> None:
    world = World()
    world.run(1.0, 2.0, 2.0)
    assert world.source.joules.tolist() == pytest.approx([140.0])
    assert world.source.time_ns.tolist() == [10**9]
    world.run(1.0)
    assert world.source.joules.tolist() == pytest.approx([180.0])
    (domain,) = world.source.domains
    assert domain.index == ALL_PACKAGES
    assert IdleFloor(domain.idle_watts).watts == 40.0


def test_threads_are_those_that_are_online_now() -> None:
    world = World()
    world.kernel.topology = replace(world.kernel.topology, online=(0, 1))
    world.run(1.0, 2.0)
    assert world.source.joules.tolist() == pytest.approx([70.0]), "two threads, both busy"
    assert IdleFloor(world.source.domains[0].idle_watts).watts == 20.0, "of these two"


def test_it_is_silent_until_it_is_told_whom_to_ask() -> None:
    source = ModelSource(power_spec(HostFS(), 4, 40.0, 140.0), 4)
    source.read()
    assert source.joules.tolist() == [0.0]
    assert not source.live[0]
