"""What doctor says of the meters, on machines in a folder."""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from kepler_ebpf.cli import doctor
from kepler_ebpf.config import from_arguments
from tests.energy.test_choose import Machine
from tests.needs import require
from tests.workloads.names.kubelet import Stand, make_certificate

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


@pytest.mark.parametrize("hidden", ["links that lead nowhere", "a name that cannot be read"])
def test_zones_that_a_container_runtime_hides_are_no_missing_driver(tmp_path: Path, hidden: str) -> None:
    machine = Machine(tmp_path)
    for number in range(2):
        zone = tmp_path / f"class/powercap/intel-rapl:{number}"
        if hidden == "links that lead nowhere":
            zone.parent.mkdir(parents=True, exist_ok=True)
            zone.symlink_to(f"../../devices/virtual/powercap/intel-rapl/intel-rapl:{number}")
        else:
            machine.zone(f"intel-rapl:{number}", f"package-{number}")
            (zone / "name").unlink()
    text = said(machine)
    assert "modprobe" not in text
    assert "powercap poorer 2 RAPL zones below" in text
    assert "name cannot be read (ENOENT) → container runtimes hide them: run privileged" in text


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


def test_a_platform_zone_alone_is_shown_beside_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path)
    machine.zone("intel-rapl:0", "psys")
    counter = tmp_path / "class/powercap/intel-rapl:0/energy_uj"

    def goes_on(seconds: float) -> None:
        time.sleep(seconds)
        counter.write_text(f"{int(counter.read_text()) + 1000}")

    monkeypatch.setattr(doctor, "time", SimpleNamespace(sleep=goes_on, monotonic=time.monotonic))
    monkeypatch.setattr(doctor, "_MOMENT_SECONDS", 20.0)
    text = said(machine)
    assert "power of the CPUs poorer no meter that answers → a model's" in text
    assert "power of the machine ok rapl-powercap: platform 0" in text


def test_what_can_be_read_beside_a_package_that_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root is no remedy where the kernel answers something else than that it may not be read."""
    machine = Machine(tmp_path)
    machine.zone("intel-rapl:0", "package-0")
    machine.zone("intel-rapl:0:0", "dram")
    (tmp_path / "class/powercap/intel-rapl:0/energy_uj").unlink()
    counter = tmp_path / "class/powercap/intel-rapl:0:0/energy_uj"

    def goes_on(seconds: float) -> None:
        counter.write_text(f"{int(counter.read_text()) + 1000}")

    monkeypatch.setattr(doctor, "time", SimpleNamespace(sleep=goes_on, monotonic=iter(range(100)).__next__))
    monkeypatch.setattr(doctor, "_MOMENT_SECONDS", 50.0)
    text = said(machine)
    assert "ENOENT → serve asks again" in text
    assert "as root" not in text
    assert "left out ok rapl-powercap: dram 0: no package beside them" in text


def test_zones_that_measure_what_nobody_knows_are_no_missing_driver(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.zone("intel-rapl:0", "mystery")
    text = said(machine)
    assert "modprobe" not in text
    assert "(mystery): not known what it measures: left out" in text


def said_of_names(**options: str) -> str:
    others = {f"{name}_socket": "off" for name in ("cri", "docker", "podman")}
    config = from_arguments(argparse.Namespace(**{**others, **options}), {})
    return " ".join(doctor.table([*doctor._names(config)], 10_000, colour=False).split())


def test_what_the_kubelet_answers_and_what_to_do_about_it(tmp_path: Path) -> None:
    require(shutil.which("openssl"), "needs the openssl command")
    make_certificate(tmp_path)
    stand = Stand(tmp_path)
    asked = {"kubelet_url": stand.url, "kubelet_token": str(stand.token)}
    try:
        good = said_of_names(**asked, kubelet_ca=str(stand.ca))
        assert good == "names from kubelet ok 12 container(s) of 3 pod(s)"
        assert stand.requests == 1
        stand.status = 403
        refused = said_of_names(**asked, kubelet_ca=str(stand.ca))
        assert "no answer (403)" in refused
        assert "overlay nodes-proxy" in refused
        assert refused.endswith("see docs/deployment.md, Names of pods")
        (tmp_path / "other").mkdir()
        make_certificate(tmp_path / "other")
        unknown = said_of_names(**asked, kubelet_ca=str(tmp_path / "other/ca.pem"))
        assert "no answer (certificate)" in unknown
        assert "serverTLSBootstrap" in unknown
    finally:
        stand.server.shutdown()
        stand.server.server_close()


def test_nobody_to_ask_for_names() -> None:
    assert "names ok nobody to ask" in said_of_names(kubelet_url="off")
