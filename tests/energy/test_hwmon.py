from __future__ import annotations

from pathlib import Path

import pytest

from kepler_ebpf.energy.hwmon import HwmonSource, Rule
from kepler_ebpf.host.fs import HostFS


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

    def source(self, **options: object) -> HwmonSource:
        source = HwmonSource(HostFS(sys=self.root), clock_ns=lambda: self.now_ns, **options)  # type: ignore[arg-type]
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


def test_no_chips_at_all(tmp_path: Path) -> None:
    assert HwmonSource(HostFS(sys=tmp_path)).domains == ()
