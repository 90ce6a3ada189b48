from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from kepler_ebpf.energy.hwmon import HwmonSource
from kepler_ebpf.energy.model import ModelSource, PowerSpec
from kepler_ebpf.energy.packages import PackageMeter
from kepler_ebpf.energy.places import Places
from kepler_ebpf.energy.sensor_rules import RULES, Rule
from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.topology import Topology
from tests.fakes import FakeTables


class Board:
    """Chips in a folder, and a clock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now_ns = 10**9

    def chip(self, number: int, name: str, **files: object) -> Path:
        path = self.root / f"class/hwmon/hwmon{number}"
        path.mkdir(parents=True)
        (path / "name").write_text(name + "\n")
        for file_name, content in files.items():
            (path / file_name).write_text(f"{content}\n")
        return path

    def source(self, rules: Sequence[Rule] = RULES, places: Places | None = None) -> HwmonSource:
        source = HwmonSource(HostFS(sys=self.root), rules, places, lambda: self.now_ns)
        source.read()
        return source

    def tick(self, source: HwmonSource, seconds: float = 0.1) -> None:
        self.now_ns += round(seconds * 1e9)
        source.read()


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_energy_of_amd_sockets_and_not_of_their_cores(board: Board) -> None:
    chip = board.chip(
        3, "amd_energy", energy1_label="Ecore000", energy1_input=5, energy2_label="Esocket1", energy2_input=1_000_000
    )
    source = board.source()
    assert [(d.component, d.index) for d in source.domains] == [("package", 1)]
    (chip / "energy2_input").write_text("3500000\n")
    board.tick(source)
    assert source.joules.tolist() == pytest.approx([2.5])


def test_a_driver_that_counts_in_32_bits_loses_nothing_where_it_wraps(board: Board) -> None:
    chip = board.chip(0, "amd_energy", energy1_label="Esocket0", energy1_input=0)
    source = board.source()
    for tenth in range(1, 1001):  # at 100 W it wraps after 43 and 86 seconds
        (chip / "energy1_input").write_text(f"{tenth * 10_000_000 % 2**32}\n")
        board.tick(source)
    assert source.joules.tolist() == pytest.approx([10_000.0])
    assert not source.faults


def test_power_is_integrated_over_measured_time(board: Board) -> None:
    chip = board.chip(0, "power_meter", power1_oem_info="Grace Power Socket 0", power1_average=100_000_000)
    source = board.source()
    board.tick(source, 2.0)
    assert source.joules.tolist() == pytest.approx([200.0])
    (chip / "power1_average").write_text("300000000\n")
    board.tick(source, 0.5)
    assert source.joules.tolist() == pytest.approx([300.0])


def test_unknown_chips_are_left_alone_unless_named(board: Board) -> None:
    board.chip(0, "some_board", power1_label="SoC", power1_input=10_000_000)
    assert board.source().domains == ()
    source = board.source(rules=[Rule("some_board", "SoC", "package")])
    board.tick(source, 1.0)
    assert source.joules.tolist() == pytest.approx([10.0])


def test_a_known_chip_of_which_no_sensor_is_known_is_said(board: Board) -> None:
    """Most boards' ACPI power meter is the whole machine's, and says nothing of itself."""
    board.chip(0, "power_meter", power1_average=300_000_000)
    board.chip(1, "power_meter", power1_average=20_000_000, power1_oem_info="Fan Power")
    board.chip(2, "some_board", power1_input=300_000_000)
    source = board.source()
    assert source.domains == ()
    assert [note.partition(": ")[2] for note in source.notes] == [
        "not known what it measures (no label): left out, see --hwmon",
        "not known what it measures (Fan Power): left out, see --hwmon",
    ]


def test_energy_is_preferred_to_power_of_the_same_socket(board: Board) -> None:
    board.chip(
        0, "smpro", energy1_label="CPU power", energy1_input=0, power1_label="CPU power", power1_input=50_000_000
    )
    source = board.source()
    assert len(source.domains) == 1
    board.tick(source, 1.0)
    assert source.joules.tolist() == [0.0]


@pytest.mark.parametrize(("content", "reason"), [("many", "not a number"), ("-5", "negative")])
def test_nonsense_is_a_fault(board: Board, content: str, reason: str) -> None:
    chip = board.chip(0, "smpro", power1_label="CPU power", power1_input=50_000_000)
    source = board.source()
    (chip / "power1_input").write_text(content + "\n")
    board.tick(source)
    assert source.faults == {reason: 1}
    assert source.joules.tolist() == [0.0]


def test_a_sensor_that_may_not_be_opened_fails_for_that_and_holds_no_descriptor(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Energy is root's alone on AMD (CVE-2020-12912); here the amperes of a pair are refused, and its volts are not."""
    opened = os.open

    def refuse(path: str, flags: int) -> int:
        if str(path).endswith("curr1_input"):
            raise PermissionError(errno.EACCES, "injected")
        return opened(path, flags)

    board.chip(0, "pair", in1_label="CPU", in1_input=1000, curr1_input=10_000)
    monkeypatch.setattr(os, "open", refuse)
    source = board.source(rules=[Rule("pair", "CPU", "package")])
    held = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        board.tick(source, 6.0)
    assert source.faults == {"EACCES": 21}
    assert len(os.listdir("/proc/self/fd")) == held


def test_no_chips_at_all(tmp_path: Path) -> None:
    assert HwmonSource(HostFS(sys=tmp_path)).domains == ()


def sockets(count: int) -> Places:
    cpus = tuple(range(count))
    return Places(Topology(cpus, tuple(36 + 100 * n for n in cpus), cpus, cpus))


def test_the_files_of_a_chip_may_be_in_its_device(board: Board) -> None:
    """NVIDIA Grace: attributes of the ACPI power meter are in the device's folder; only the total is a package."""
    for number, (label, watts) in enumerate((("Module", 60), ("Grace", 62), ("CPU", 40), ("SysIO", 10)), 1):
        path = board.root / f"class/hwmon/hwmon{number}/device"
        path.mkdir(parents=True)
        (path / "name").write_text("power_meter\n")
        (path / "power1_oem_info").write_text(f"{label} Power Socket 0\n")
        (path / "power1_average").write_text(f"{watts * 1_000_000}\n")
    source = board.source(places=Places(Topology((0,), (0,), (0,), (0,))))
    assert [(d.component, d.index) for d in source.domains] == [("package", 0)]
    board.tick(source, 1.0)
    assert source.joules.tolist() == pytest.approx([62.0])


@pytest.mark.parametrize(
    ("label", "component"),
    [
        ("Grace Power Socket 1", "package"),
        ("GRACE power, socket 1", "package"),
        ("Total Power Socket 1", "package"),
        ("DRAM Power Socket 1", "dram"),
        ("Dram power socket_1", "dram"),
        ("Grace DRAM Power Socket 1", "dram"),
        ("Total DRAM Power Socket 1", "dram"),
        ("Grace_Power_Socket_1", "package"),
        ("Socket 1 Grace Power", "package"),
        ("Socket 1 DRAM Power", "dram"),
        ("CPU Total Power Socket 1", "package"),
    ],
)
def test_labels_however_firmware_words_them(board: Board, label: str, component: str) -> None:
    board.chip(0, "power_meter", power1_oem_info=label, power1_average=1)
    assert [(d.component, d.index) for d in board.source().domains] == [(component, 1)]


@pytest.mark.parametrize(
    "first", ["Grace DRAM", "Total DRAM", "Total Module", "Grace Hopper Module", "Grace CPU", "Grace GPU", "SysIO"]
)
def test_no_part_of_a_package_and_nothing_around_it_stands_for_it(board: Board, first: str) -> None:
    """In whatever order the chips come."""
    board.chip(0, "power_meter", power1_oem_info=f"{first} Power Socket 0", power1_average=12_000_000)
    board.chip(1, "power_meter", power1_oem_info="Grace Power Socket 0", power1_average=62_000_000)
    source = board.source()
    board.tick(source, 3.0)
    joules = {domain.component: joules for domain, joules in zip(source.domains, source.joules.tolist())}
    assert joules.pop("package") == pytest.approx(186.0)
    assert joules == ({"dram": pytest.approx(36.0)} if "DRAM" in first else {})


@pytest.mark.parametrize("name", ["smpro", "smpro_hwmon"])
def test_an_altra_as_mainline_shows_it(board: Board, name: str) -> None:
    """drivers/hwmon/smpro-hwmon.c since v6.2: a socket's regulators, and those of its DIMMs."""
    labels = ("power1 CORE VRD", "power2 SoC", "power3 DIMM VRD1", "power4 DIMM VRD2", "power5 RCA VRD")
    files: dict[str, object] = {}
    for number, (label, watts) in enumerate(zip(labels, (50, 20, 6, 4, 2)), 1):
        files[f"power{number}_label"], files[f"power{number}_input"] = label, watts * 1_000_000
    board.chip(0, name, temp1_label="temp1 SoC", temp1_input=40_000, **files)
    source = board.source(places=sockets(1))
    board.tick(source, 1.0)
    joules = dict.fromkeys(("package", "dram"), 0.0)
    for domain, used in zip(source.domains, source.joules.tolist()):
        joules[domain.component] += used
    assert joules == {"package": pytest.approx(72.0), "dram": pytest.approx(10.0)}


@pytest.mark.parametrize("kind", ["power", "energy"])
def test_chips_of_power9_are_packages_by_the_kernels_ids(board: Board, kind: str) -> None:
    """As the OCC of a machine of two sockets words them: the second one's id is 8."""
    labels = ("Chip 0 ", "Chip 0 Vdd", "Chip 0 Vdn", "Chip 8 ", "Chip 8 Vdd", "Chip 8 Vdn", "System", "APSS 1 ")
    files: dict[str, object] = {}
    for number, (label, watts) in enumerate(zip(labels, (157, 113, 12, 99, 62, 12, 426, 127)), 1):
        files[f"power{number}_label"], files[f"power{number}_input"] = label, watts * 1_000_000
        if kind == "energy":
            files[f"energy{number}_label"], files[f"energy{number}_input"] = label, 7_510_000_000_000
    chip = board.chip(0, "ibmpowernv", **files)
    source = board.source(places=Places(Topology((0, 0, 1, 1), (0, 8), (0, 1, 2, 3), (0, 1, 2, 3))))
    for number, watts in ((1, 157), (4, 99)) if kind == "energy" else ():
        (chip / f"energy{number}_input").write_text(f"{7_510_000_000_000 + watts * 1_000_000}\n")
    board.tick(source, 1.0)
    assert [(domain.component, domain.index) for domain in source.domains] == [("package", 0), ("package", 1)]
    assert source.joules.tolist() == pytest.approx([157.0, 99.0])


def test_a_total_is_not_added_to_its_parts(board: Board) -> None:
    board.chip(
        0,
        "smpro",
        power1_label="CPU power",
        power1_input=70_000_000,
        power2_label="power2 CORE VRD",
        power2_input=50_000_000,
        power3_label="power3 SoC",
        power3_input=20_000_000,
    )
    source = board.source()
    board.tick(source, 1.0)
    assert source.joules.tolist() == pytest.approx([70.0])


def test_power_stands_in_for_energy_of_the_same_socket_that_cannot_be_read(board: Board) -> None:
    chip = board.chip(
        0, "smpro", energy1_label="CPU power", energy1_input="none", power1_label="CPU power", power1_input=62_000_000
    )
    source = board.source()
    board.tick(source, 1.0)
    assert source.joules.tolist() == pytest.approx([62.0])
    (chip / "energy1_input").write_text("5000000\n")
    board.tick(source, 6.0)  # it is found
    board.tick(source, 1.0)  # and counts from here on
    before = float(source.joules[0])
    (chip / "energy1_input").write_text("15000000\n")
    board.tick(source, 1.0)
    assert source.joules.tolist() == pytest.approx([before + 10.0])
    assert len(source.domains) == 1


def test_a_mean_of_nothing_gives_way_to_power(board: Board) -> None:
    board.chip(0, "smpro", power1_label="CPU power", power1_average=0, power1_input=62_000_000)
    source = board.source()
    board.tick(source, 1.0)
    assert source.joules.tolist() == pytest.approx([62.0])


def test_two_chips_of_one_rule_are_two_sockets(board: Board) -> None:
    """Every Altra with two sockets: neither chip says which it is."""
    for number in (2, 10):
        board.chip(number, "smpro", power1_label="CPU power", power1_input=number * 10_000_000)
    source = board.source(places=sockets(2))
    assert [(d.index, d.zone) for d in source.domains] == [(0, "0"), (1, "1")]
    board.tick(source, 1.0)
    assert source.joules.tolist() == pytest.approx([20.0, 100.0])


def test_chips_that_fit_no_packages_are_paid_by_all(board: Board) -> None:
    board.chip(0, "smpro", power1_label="CPU power", power1_input=60_000_000)
    assert [(d.index, d.zone) for d in board.source(places=sockets(2)).domains] == [(-1, "0")]


def test_two_sensors_of_one_rule_are_added_up(board: Board) -> None:
    board.chip(0, "board", power1_label="VDD A", power1_input=10_000_000, power2_label="VDD B", power2_input=5_000_000)
    source = board.source(rules=[Rule("board", "VDD .", "package")])
    board.tick(source, 1.0)
    assert sorted(source.joules.tolist()) == pytest.approx([5.0, 10.0])
    assert len({domain.zone for domain in source.domains}) == 2
    assert "added up" in source.notes[0]


def test_two_chips_that_claim_one_socket_are_said(board: Board) -> None:
    for number in range(2):
        board.chip(number, "power_meter", power1_oem_info="Grace Power Socket 0", power1_average=10_000_000)
    source = board.source()
    assert len(source.domains) == 1
    assert "left out" in source.notes[0]


def test_a_sensor_that_is_switched_off_is_not_read(board: Board) -> None:
    board.chip(0, "smpro", power1_label="CPU power", power1_input=60_000_000, power1_enable=0)
    source = board.source()
    assert source.domains == ()
    assert "switched off" in source.notes[0]


def test_volts_times_amperes_where_a_chip_gives_no_power(board: Board) -> None:
    board.chip(0, "vrm", in1_label="VCORE", in1_input=1_000, curr1_label="VCORE", curr1_input=42_000)
    source = board.source(rules=[Rule("vrm", "VCORE", "package")])
    board.tick(source, 2.0)
    assert source.joules.tolist() == pytest.approx([84.0])


@pytest.mark.parametrize(
    ("files", "volts"),
    [
        ({"in0_label": "VCORE", "in1_label": "VSYS", "curr1_label": "VCORE", "curr2_label": "VSYS"}, 1.0),
        ({"in0_label": "VCORE", "in1_label": "VSYS", "curr1_label": "VCORE"}, 1.0),
        ({"in0_label": "vmon", "in1_label": "vcap", "in2_label": "vout1", "curr1_label": "iout1"}, 12.0),
        ({"in0_label": "vout0 VCORE", "in1_label": "vout1 VSYS", "curr1_label": "iout1 VCORE"}, 1.0),
        ({"in0_label": "VSYS", "in1_label": "core volts", "curr1_label": "core amperes"}, 5.0),
        ({"in1_label": "VCORE"}, 5.0),
        ({"curr1_label": "VCORE"}, 5.0),
    ],
    ids=["two rails", "one rail", "pmbus", "ampere", "two words", "no label of amperes", "no label of volts"],
)
def test_volts_and_amperes_of_one_rail_are_a_pair_whatever_their_numbers(
    board: Board, files: dict[str, str], volts: float
) -> None:
    board.chip(0, "vrm", in0_input=1_000, in1_input=5_000, in2_input=12_000, curr1_input=20_000, **files)
    source = board.source([Rule("vrm", "(?:iout1 )?VCORE|iout1|core amperes", "package")])
    board.tick(source)
    assert source.joules.sum() == pytest.approx(0.1 * volts * 20)


@pytest.mark.parametrize(
    ("package", "joules"),
    [((0, 0, 0, 0), [10.0]), ((0, 0, 1, 1), [10.0, 6.0]), ((0, 1, 2, 3), [10.0, 6.0, 6.0, 6.0])],
    ids=["a socket of four nodes", "two of two", "four of one"],
)
def test_sockets_that_are_numa_nodes_count_once(
    board: Board, package: tuple[int, ...], joules: list[float], tmp_path: Path
) -> None:
    """The driver amd_energy shows a socket's counter for each of its NUMA nodes."""
    files: dict[str, object] = {}
    for node in range(4):
        files |= {f"energy{node + 8}_label": f"Esocket{node}", f"energy{node + 8}_input": 1_000_000}
        path = tmp_path / f"devices/system/node/node{node}"
        path.mkdir(parents=True)
        (path / "cpulist").write_text(f"{node}\n")
    (tmp_path / "devices/system/node/node4").mkdir()  # memory alone
    (tmp_path / "devices/system/node/node4/cpulist").write_text("\n")
    chip = board.chip(0, "amd_energy", energy1_label="Ecore000", energy1_input=5, **files)
    topology = Topology(package, tuple(range(max(package) + 1)), (0, 1, 2, 3), (0, 1, 2, 3))
    source = board.source(places=Places(topology))
    for node in range(4):
        (chip / f"energy{node + 8}_input").write_text(f"{11_000_000 if package[node] == 0 else 7_000_000}\n")
    board.tick(source, 1)
    board.tick(source, 1)
    found = sorted((domain.index, joules) for domain, joules in zip(source.domains, source.joules.tolist()))
    assert found == [(rank, pytest.approx(told)) for rank, told in enumerate(joules)]
    assert len(source.notes) == 4 - len(joules)


def test_sockets_of_amd_before_zen_have_a_chip_each(board: Board) -> None:
    """As two Opterons have them: `lm-sensors` prints "power1: 64.78 W (crit = 115.02 W)"."""
    for number, micro_watts in ((0, 64_780_000), (1, 30_110_000)):
        board.chip(number, "fam15h_power", power1_input=micro_watts, power1_crit=115_020_000)
    topology = Topology((0, 0, 1, 1), (0, 1), (0, 1, 2, 3), (0, 1, 2, 3))
    source = board.source(places=Places(topology))
    board.tick(source, 1)
    assert [(domain.component, domain.index) for domain in source.domains] == [("package", 0), ("package", 1)]
    assert source.joules.tolist() == pytest.approx([64.78, 30.11])


def test_pairs_of_which_either_is_switched_off_are_not_read(board: Board) -> None:
    for number, kind in enumerate(("in", "curr")):
        files = {"in1_label": "VCORE", "in1_input": 1_000, "curr1_input": 42_000, f"{kind}1_enable": 0}
        board.chip(number, "vrm", **files)
    assert board.source(rules=[Rule("vrm", "VCORE", "package")]).domains == ()


def test_two_negatives_are_no_power(board: Board) -> None:
    board.chip(0, "vrm", in1_label="VCORE", in1_input=-1_000, curr1_input=-50_000)
    source = board.source(rules=[Rule("vrm", "VCORE", "package")])
    board.tick(source, 1.0)
    assert (source.joules.tolist(), dict(source.faults)) == ([0.0], {"negative": 2})


def test_pairs_are_read_where_a_chips_power_is_something_elses(board: Board) -> None:
    board.chip(0, "vrm", power1_label="fan", power1_input=3, in1_label="VCORE", in1_input=1_000, curr1_input=42_000)
    source = board.source(rules=[Rule("vrm", "VCORE", "package")])
    board.tick(source, 1.0)
    assert source.joules.tolist() == pytest.approx([42.0])


def test_a_power_that_is_not_known_is_not_four_megawatts(board: Board) -> None:
    chip = board.chip(0, "power_meter", power1_oem_info="Grace Power Socket 0", power1_average=100_000_000)
    source = board.source()
    (chip / "power1_average").write_text("4294967295000\n")
    board.tick(source)
    assert (source.joules.tolist(), source.faults) == ([0.0], {"range": 1})


def test_a_driver_bound_anew_under_another_number_is_the_same_sensor(board: Board) -> None:
    chip = board.chip(3, "smpro", power1_label="CPU power", power1_input=60_000_000)
    source = board.source()
    board.tick(source, 1.0)
    for file in chip.iterdir():
        file.write_text("")  # what is open reads nothing from now on
        file.unlink()
    chip.rmdir()
    board.chip(7, "smpro", power1_label="CPU power", power1_input=30_000_000)
    for _ in range(30):
        board.tick(source, 1.0)
    assert len(source.domains) == 1
    assert source.live.tolist() == [True]
    assert source.joules[0] == pytest.approx(60 + 30 * 24, rel=0.15)


def test_what_was_read_of_a_sensor_before_its_driver_was_bound_anew_is_all_counted(board: Board) -> None:
    chip = board.chip(3, "smpro", energy1_label="CPU power", energy1_input=0)
    source = board.source()
    (chip / "energy1_input").write_text("5000000")
    board.tick(source)
    looks = []
    for joules in (6, 7, 8):
        board.now_ns += 3 * 10**9
        (chip / "energy1_input").write_text(f"{joules}000000")
        looks.append(source.look())
    shutil.rmtree(chip)
    chip = board.chip(7, "smpro", energy1_label="CPU power", energy1_input=100_000_000)
    for taking in looks:
        taking()
    assert source.joules.tolist() == pytest.approx([8.0])
    for joules in (101, 102):
        (chip / "energy1_input").write_text(f"{joules}000000")
        board.tick(source)
    assert source.joules.tolist() == pytest.approx([9.0]), "and the new one's from its first reading on"
    assert not source.faults


def bound(board: Board, number: int, device: str, watts: int) -> Path:
    """A chip as the kernel shows it: a link to a folder below its device."""
    root = board.root / f"devices/platform/{device}"
    folder = root / f"hwmon/hwmon{number}"
    folder.mkdir(parents=True)
    (folder / "device").symlink_to(root)
    for name, text in {"name": "smpro", "power1_label": "CPU power", "power1_input": watts * 1_000_000}.items():
        (folder / name).write_text(f"{text}\n")
    link = board.root / f"class/hwmon/hwmon{number}"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(folder)
    return folder


def unbind(board: Board, number: int) -> None:
    link = board.root / f"class/hwmon/hwmon{number}"
    shutil.rmtree(link.resolve())
    link.unlink()


@pytest.mark.parametrize("away_seconds", [0, 20])
def test_a_chip_keeps_its_socket_when_its_driver_is_bound_anew(board: Board, away_seconds: int) -> None:
    bound(board, 0, "smpro-hwmon.1", 100)
    bound(board, 1, "smpro-hwmon.2", 10)
    source = board.source(places=sockets(2))
    board.tick(source, 1.0)
    unbind(board, 0)
    for _ in range(away_seconds):
        board.tick(source, 1.0)
    bound(board, 7, "smpro-hwmon.1", 100)
    for _ in range(8):
        board.tick(source, 1.0)
    before = source.joules
    board.tick(source, 2.0)
    assert [(d.index, d.zone) for d in source.domains] == [(0, "0"), (1, "1")]
    assert (source.joules - before).tolist() == pytest.approx([200.0, 20.0])


@pytest.mark.parametrize("later", [0, 5])
def test_a_second_chip_that_comes_later_makes_nobody_count_twice(board: Board, later: int) -> None:
    """The first was the whole machine's while it was alone, and stays that: one series each."""
    bound(board, 3, "smpro-hwmon.3", 60)
    source = board.source(places=sockets(2))
    board.tick(source, 1.0)
    bound(board, 9, f"smpro-hwmon.{later}", 40)
    for _ in range(8):
        board.tick(source, 1.0)
    before = source.joules.sum()
    board.tick(source, 1.0)
    assert source.joules.sum() - before == pytest.approx(100.0)
    assert [(d.index, d.zone) for d in source.domains] == [(-1, "0"), (1, "1")]


def test_a_package_at_0_watts_is_silent_and_its_memory_is_not(board: Board, caplog: pytest.LogCaptureFixture) -> None:
    """As a board's controller says while it hangs. The model stands in from the moment on at which it fell to 0."""
    caplog.set_level("INFO")
    chip = board.chip(
        0, "smpro", power1_label="CPU power", power1_input=60_000_000, power2_label="DIMM power", power2_input=0
    )
    sensors = board.source()
    model = ModelSource(PowerSpec(1.0, 11.0, (0.0, 1.0), (0.0, 1.0), "test", 0.3), 2, lambda: board.now_ns)
    kernel = FakeTables(1)
    kernel.clock_ns = lambda: board.now_ns
    packages = PackageMeter([sensors], model)
    model.ask(kernel)

    def run(seconds: float) -> tuple[float, float]:
        """Joules of the packages, and the time that they cover."""
        joules, time_ns = packages.joules.sum(), packages.time_ns.copy()
        for _ in range(round(seconds * 10)):
            board.now_ns += 10**8
            packages.read()
        of_packages = [domain.component == "package" for domain in packages.domains]
        return packages.joules.sum() - joules, float((packages.time_ns - time_ns)[of_packages].sum()) * 1e-9

    assert run(10) == pytest.approx((600.0, 10.0), rel=0.02)
    (chip / "power1_input").write_text("0\n")
    assert run(2) == (0.0, 0.0)
    assert packages.name == "hwmon"
    assert run(18) == pytest.approx((2.0 * 20, 20.0), rel=0.02)
    assert packages.name == "model"
    assert sensors.live.tolist() == [False, False], "memory that has never used anything measures nothing"
    (chip / "power1_input").write_text("60000000\n")
    assert run(10) == pytest.approx((600.0, 10.0), rel=0.02)
    assert packages.name == "hwmon"
    (chip / "power2_input").write_text("5000000\n")
    run(1)
    (chip / "power2_input").write_text("0\n")
    run(20)
    assert sensors.live.tolist() == [True, True]
    assert caplog.messages == [
        "hwmon does not answer: power is the model's until it does",
        "power is measured by hwmon from now on",
    ]


def test_a_package_at_0_watts_for_a_moment_loses_no_time(board: Board) -> None:
    chip = board.chip(0, "smpro", power1_label="CPU power", power1_input=60_000_000)
    source = board.source()
    for watts in (60, 0, 0, 60, 60):
        (chip / "power1_input").write_text(f"{watts * 1_000_000}\n")
        board.tick(source, 1.0)
    assert source.joules.tolist() == pytest.approx([60 + 30 + 0 + 30 + 60])
    assert source.time_ns.tolist() == [5 * 10**9]


@pytest.mark.parametrize(
    ("average", "interval", "watts"),
    [
        (100_000_000, 3_600_000, 200.0),  # since the chip was started (Documentation/hwmon/occ.rst)
        (100_000_000, 1_000, 100.0),
        (100_000_000, "none", 100.0),
        (100_000_000, None, 100.0),
        ("", 1_000, 200.0),
    ],
)
def test_a_mean_is_read_where_it_is_one_of_late(board: Board, average: object, interval: object, watts: float) -> None:
    files = {} if interval is None else {"power1_average_interval": interval}
    board.chip(1, "occ", power1_label="proc", power1_input=200_000_000, power1_average=average, **files)
    source = board.source([Rule("occ", "proc", "package")])
    board.tick(source, 1.0)
    assert source.joules.tolist() == pytest.approx([watts])


def test_a_mean_over_long_is_read_where_there_is_nothing_else(board: Board) -> None:
    board.chip(1, "occ", power1_label="proc", power1_average=100_000_000, power1_average_interval=3_600_000)
    source = board.source([Rule("occ", "proc", "package")])
    board.tick(source, 1.0)
    assert source.joules.tolist() == pytest.approx([100.0])


def test_a_mean_that_cannot_be_read_any_more_gives_way(board: Board) -> None:
    chip = board.chip(1, "smpro", power1_label="CPU power", power1_input=200_000_000, power1_average=100_000_000)
    source = board.source()
    board.tick(source, 1.0)
    (chip / "power1_average").write_text("")
    for _ in range(8):
        board.tick(source, 1.0)
    before = source.joules[0]
    board.tick(source, 1.0)
    assert source.joules[0] - before == pytest.approx(200.0)
    assert len(source.domains) == 1
