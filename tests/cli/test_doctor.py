"""What doctor says of the meters, on machines in a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from kepler_ebpf.cli import doctor
from kepler_ebpf.config import from_arguments
from tests.energy.test_choose import Machine

ARM = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_MOMENT_SECONDS", 0.3)


def said(machine: Machine) -> str:
    roots = {"KEPLER_SYSFS": str(machine.root), "KEPLER_PROCFS": str(machine.fs.proc)}
    config = from_arguments(argparse.Namespace(), roots)
    findings = [*doctor._powercap(machine.fs), *doctor._power(config)]
    return " ".join(doctor.table(findings, 10_000, colour=False).split())


def test_no_advice_about_rapl_where_the_processor_has_none(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert "modprobe intel_rapl_msr" in said(machine)
    (machine.fs.proc / "cpuinfo").write_text(ARM)
    text = said(machine)
    assert "rapl" not in text.lower()
    assert "a model's" in text
    assert "error is not known" in text


def test_what_is_left_out_and_why(tmp_path: Path) -> None:
    machine = Machine(tmp_path, vendor="AuthenticAMD")
    for die in range(2):
        machine.zone(f"intel-rapl:{die}", f"package-0-die-{die}")
    machine.put("class/hwmon/hwmon0/name", "smpro")
    machine.put("class/hwmon/hwmon0/power1_label", "CPU power")
    machine.put("class/hwmon/hwmon0/power1_input", 5)
    machine.put("class/hwmon/hwmon0/power1_enable", 0)
    text = said(machine)
    assert "shows its socket's counter once more: left out" in text
    assert "switched off (power1_enable is 0)" in text


def test_a_meter_that_is_there_and_says_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.zone("intel-rapl:0", "package-0")
    assert "rapl-powercap has told no energy in 0.3 s → while it does not, a model's" in said(machine)
