"""What a recording is read as: who did what, grouped, with peaks, over time; and the text that says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kepler_ebpf.errors import KeplerError
from kepler_ebpf.kernel.source import CgroupEvent
from kepler_ebpf.plain import cut
from kepler_ebpf.recording.reader import read
from kepler_ebpf.report.book import lines_of
from kepler_ebpf.report.groups import GROUPINGS, foremost, group, mean_watts
from kepler_ebpf.report.series import IDLE, OTHERS, Timeline, stack
from kepler_ebpf.report.text import WIDTH, gaps, number, summary
from kepler_ebpf.workloads.workload import Workload
from tests.report.runs import STORMY, Recorded, burst, header_alone, opened, storm

pytest.importorskip("pyarrow")


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(("none", "equal")))
def test_every_grouping_sums_to_what_was_charged(
    tmp_path_factory: pytest.TempPathFactory, seed: int, policy: str
) -> None:
    path = tmp_path_factory.mktemp("books") / "a"
    machine = Recorded(path, STORMY, 2, policy, rows=64)
    storm(machine, seed, 60)
    machine.close()
    told, ledger = opened(path), machine.node.ledger
    charged = told.measured - told.idle - told.unattributed
    assert max(gaps(told).values()) < 1e-9
    for by in GROUPINGS:
        groups = group(told, by)
        assert groups.joules.sum(axis=1) == pytest.approx(charged.sum(axis=1), rel=1e-9, abs=1e-9)
        assert groups.cpu_seconds.sum() == pytest.approx(ledger.levels["process"].total()[-2], rel=1e-9)
        assert list(groups.total) == sorted(groups.total, reverse=True)
        # In its own time no energy is lost, and none is made, however it is cut.
        for most in (10_000, 7):
            layers = stack(told, groups, Timeline(told), most, 3)
            assert layers.joules.sum() == pytest.approx(told.measured.sum(), rel=1e-9)
            assert (layers.joules >= -1e-9).all()
    assert group(told, "process").peak_watts.max() <= told.watts.sum(axis=0).max() * (1 + 1e-9)


def test_peaks_and_means_are_those_of_the_books(tmp_path: Path) -> None:
    machine = burst(tmp_path / "a", 3)
    told = opened(tmp_path / "a")
    groups = group(told, "program")
    level, rows = machine.node.ledger.levels["process"], machine.node.kernel.processes.rows
    for label, peak, joules in zip(groups.labels, groups.peak_watts, groups.total):
        row = next(row for row in range(512) if rows["comm"][row] == label.split(" in ")[0].encode())
        assert peak == pytest.approx(level.peak_watts[row], rel=1e-9)
        assert joules == pytest.approx(level.joules[:, row].sum(), rel=1e-9)
    assert mean_watts(groups.joules, told).sum() == pytest.approx(groups.total.sum() / 3.0, rel=1e-9)


def test_a_burst_of_50_ms_in_every_second_can_be_counted(tmp_path: Path) -> None:
    burst(tmp_path / "a", 6)
    told = opened(tmp_path / "a")
    layers = stack(told, group(told, "program"), Timeline(told), 2400, 5)
    watts = layers.watts[layers.labels.index("p11 in c2")]
    rises = np.flatnonzero((watts[1:] > 5) & (watts[:-1] < 5))
    assert layers.edges[rises + 1] == pytest.approx(np.arange(6) + 0.3)
    assert watts.max() == pytest.approx((20 - 1) * 0.9, rel=1e-6)


def test_a_meter_that_answers_once_a_second_draws_no_spikes(tmp_path: Path) -> None:
    machine = Recorded(tmp_path / "a")
    for sample in range(40):
        machine.node.kernel.run(1, 1, 0, 10**8)
        if sample % 10 != 9:
            machine.node.source.fail(0)
        machine.tick(0.5)
    machine.close()
    told = opened(tmp_path / "a")
    layers = stack(told, group(told, "process"), Timeline(told), 10_000, 5)
    assert layers.watts.sum(axis=0) == pytest.approx(np.full(40, 5.0))


def test_a_sample_that_was_delayed_before_the_meter_draws_no_spike(tmp_path: Path) -> None:
    """The kernel's tables are read on time, the meter 40 ms late: joules of 140 ms in a frame of 100 ms."""
    machine = Recorded(tmp_path / "a")
    for sample in range(20):
        machine.node.kernel.run(1, 1, 0, 10**8)
        late = {7: 0.04, 8: -0.04}.get(sample, 0.0)
        machine.node.source.now_ns += round(late * 1e9)
        machine.tick((0.1 + late) * 5)
    machine.close()
    told = opened(tmp_path / "a")
    layers = stack(told, group(told, "process"), Timeline(told), 10_000, 5)
    assert layers.watts.sum(axis=0) == pytest.approx(np.full(20, 5.0))
    assert group(told, "process").peak_watts.max() == pytest.approx(4.0)


def test_what_ended_before_a_slow_meter_told_keeps_its_name(tmp_path: Path) -> None:
    machine = Recorded(tmp_path / "a")
    machine.tick(0.1)
    machine.node.kernel.run(7, 3, 0, 10**8)
    machine.node.kernel.kill(7)
    for sample in range(5):
        if sample < 4:
            machine.node.source.fail(0)
        machine.tick(1.0)
    machine.tick(0.0)  # its row is given back before
    assert 7 not in machine.node.kernel.processes.rows["tgid"]
    machine.node.kernel.run(8, 3, 0, 10**8)  # takes the row
    machine.tick(1.0)
    machine.close()
    groups = group(opened(tmp_path / "a"), "process")
    assert dict(zip(groups.labels, groups.total)) == pytest.approx({"p7 [7] in c3": 4.5, "p8 [8] in c3": 0.9})


def test_names_that_come_late_are_those_of_the_whole_recording(tmp_path: Path) -> None:
    machine = Recorded(tmp_path / "a")
    unnamed = Workload("container", "f" * 64, pod_uid="u")
    machine.node.workloads.known[5] = unnamed
    machine.node.kernel.run(1, 5, 0, 10**8)
    machine.tick(1.0)
    row = next(row for row in machine.node.table.rows.values() if row.workload == unnamed)
    row.workload = replace(unnamed, container="app", pod="web-0", namespace="shop")
    machine.close()
    told = opened(tmp_path / "a")
    assert group(told, "container").labels == ("shop/web-0/app",)
    assert group(told, "pod").labels == ("shop/web-0",)
    assert group(told, "namespace").labels == ("shop",)
    assert group(told, "program").labels == ("p1 in shop/web-0/app",)


def test_a_row_that_is_used_again_is_somebody_else(tmp_path: Path) -> None:
    machine = Recorded(tmp_path / "a", cgroup_rows=4)
    for cgroup in range(1, 8):
        machine.node.kernel.run(100 + cgroup, cgroup, 0, 10**8)
        machine.tick(1.1)
        machine.node.kernel.kill(100 + cgroup)
        machine.node.kernel.events.append(CgroupEvent(cgroup, True, ""))
        for _ in range(70):
            machine.tick(0.1)
    machine.close()
    groups = group(opened(tmp_path / "a"), "container")
    assert dict(zip(groups.labels, groups.total)) == pytest.approx({f"c{n}": 1.0 for n in range(1, 8)})


def test_a_recording_without_frames_says_so(tmp_path: Path) -> None:
    header_alone(tmp_path / "a")
    with pytest.raises(KeplerError, match=r"/a holds no frame$"):
        lines_of(read(tmp_path / "a"))


@given(st.floats(0, 1e12), st.integers(8, 12))
def test_a_figure_fits_its_column_and_says_it_to_a_thousandth(value: float, width: int) -> None:
    text = number(value, width)
    assert len(text) == width
    assert float(text) == pytest.approx(value, rel=6e-3, abs=6e-4)


@given(st.text(), st.integers(1, 40))
def test_text_that_is_cut_fits_and_moves_no_cursor(text: str, width: int) -> None:
    short = cut(text, width)
    assert len(short) <= width
    assert short.isprintable()


@pytest.mark.parametrize("policy", ["none", "equal"])
def test_the_summary_fits_a_terminal_and_says_what_matters(tmp_path: Path, policy: str) -> None:
    machine = Recorded(tmp_path / "a", STORMY, 2, policy)
    machine.node.workloads.known[1] = Workload("container", "e" * 64, "x" * 90, "pod\x1b[2J", "n\nn")
    storm(machine, 1, 60)
    machine.close()
    told = opened(tmp_path / "a")
    text = summary(told, [(group(told, by), 4) for by in GROUPINGS])
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []
    assert "\x1b" not in text
    measured, idle = told.measured.sum(), told.idle.sum()
    assert f"{measured:.3f} J = " in text
    assert f" + {idle:.3f} idle" in text
    assert text.count("closes") == 2
    assert "measured by fake" in text
    assert f"idle energy: {policy}" in text


def test_a_hole_in_the_books_is_not_overlooked(tmp_path: Path) -> None:
    burst(tmp_path / "a", 2)
    told = opened(tmp_path / "a")
    charges = told.levels["process"]
    joules = charges.joules.copy()
    joules[0, 5] += 0.01
    holed = replace(told, levels={**told.levels, "process": replace(charges, joules=joules)})
    assert "DOES NOT CLOSE" in summary(holed, [(group(holed, "program"), 5)])


def test_layers_are_idle_first_then_who_used_most(tmp_path: Path) -> None:
    burst(tmp_path / "a", 2)
    told = opened(tmp_path / "a")
    layers = stack(told, group(told, "process"), Timeline(told), 100, 1)
    assert layers.layers == (IDLE, 0, OTHERS)
    assert layers.labels == ("idle", "p10 [10] in c1", "1 other")
    assert len(layers.edges) == 101


def test_those_asked_for_come_first(tmp_path: Path) -> None:
    burst(tmp_path / "a", 2)
    told = opened(tmp_path / "a")
    before = group(told, "process")
    groups, matching = foremost(before, "p11")
    assert matching == 1
    assert groups.labels == ("p11 [11] in c2", "p10 [10] in c1")
    assert dict(zip(groups.labels, groups.total)) == dict(zip(before.labels, before.total))
    layers = stack(told, groups, Timeline(told), 10_000, matching)
    assert layers.labels == ("idle", "p11 [11] in c2", "1 other")
    assert layers.joules[1].sum() == pytest.approx(groups.total[0])
    assert foremost(before, "nobody")[1] == 0
