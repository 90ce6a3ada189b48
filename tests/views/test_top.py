"""The screens of ``top``: they add up, fit the terminal, obey keys, and show no name's control characters."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kepler_ebpf.energy.source import Domain
from kepler_ebpf.history.ring import History
from kepler_ebpf.views.top.rows import table
from kepler_ebpf.views.top.screen import Sight, columns_of, once, page_rows, screen, shown_step
from kepler_ebpf.views.top.state import SORTS, View, pressed
from kepler_ebpf.views.top.text import bar, fit, joules, plain, sparkline, watts, width
from kepler_ebpf.views.usage import GROUPINGS
from kepler_ebpf.workloads.workload import Workload
from tests.history.world import World

MODEL = {"power_source": "model", "power_model_error_ratio": "0.14"}
DOMAINS = (
    Domain("package", 0, "fake", idle_watts=10.0),
    Domain("dram", 0, "fake", idle_watts=1.0),
    Domain("gpu", 0, "nvml", uuid="GPU-7", model="NVIDIA H100"),
)


@pytest.fixture(scope="module")
def sight() -> Sight:
    """Five seconds of forty processes in five containers, three of them in pods; one process bursts in second three."""
    world = World(*DOMAINS)
    frames = History(
        world.sampler, world.kernel, step_seconds=0.0, resting=False, clock=lambda: world.now, wall=lambda: world.now
    )
    for cgroup, (pod, namespace) in {1: ("web-0", "shop"), 2: ("web-0", "shop"), 3: ("db-0", "back")}.items():
        world.workloads.known[cgroup] = Workload("container", f"c{cgroup}", f"app{cgroup}", pod, namespace, "uid")
    crowd = tuple((tgid, tgid % 5 + 1) for tgid in range(10, 50))
    for number in range(53):
        burst = ((7, 1),) if 20 <= number < 25 else crowd
        for tgid, cgroup in burst:
            world.kernel.run(tgid, cgroup, 0, 10**8 // len(burst))
        world.kernel.processes.rows["comm"][world.kernel.processes.rows["tgid"] == 11] = b"\x1b[2J\x07evil"
        world.now += 0.1
        world.source.use(np.array([8.0 if number in range(20, 25) else 3.0, 0.5, 4.0]), 0.1)
        frame = world.sampler.sample()
        world.history.add(frame)
        frames.add(frame)
    return Sight(world.history.steps, frames.steps, DOMAINS, MODEL)


@pytest.mark.parametrize("by", GROUPINGS)
@pytest.mark.parametrize("wanted", ["", "p1", "web"])
def test_rows_add_up_to_the_node_filtered_or_not(sight: Sight, by: str, wanted: str) -> None:
    for view in (View(by=by, filter=wanted), View(by=by, filter=wanted, tree=True)):
        step = sight.steps[-1]
        rows = table(view, step, sight.frames, 10)
        *rest, node = rows.rest
        above = [entry for entry in rows.somebody if entry.depth == 0] + rest
        assert sum(entry.line.watts for entry in above) == pytest.approx(step.node_watts, rel=1e-6)
        assert sum(entry.line.joules for entry in above) == pytest.approx(step.node_joules, rel=1e-6)
        assert node.line.watts == pytest.approx(step.node_watts)
        if wanted and not view.tree:
            assert all(wanted in entry.line.label.name + entry.line.label.where for entry in rows.somebody)


def test_processes_in_a_tree_add_up_to_their_container(sight: Sight) -> None:
    """Those without a line too: they ended before, or there are too many."""
    step = sight.steps[-1]
    few = replace(step, processes=replace(step.processes, who=step.processes.who[:9]))
    for one in (step, few):
        rows = table(View(tree=True), one, sight.frames, 10).somebody
        sums: dict[int, list[float]] = {}
        path: list[int] = []  # what a row is in
        for number, row in enumerate(rows):
            del path[row.depth :]
            if path:
                watts, joules = sums.setdefault(path[-1], [0.0, 0.0])
                sums[path[-1]] = [watts + row.line.watts, joules + row.line.joules]
            path.append(number)
        assert len(sums) > 3
        for number, sum_ in sums.items():
            assert sum_ == pytest.approx([rows[number].line.watts, rows[number].line.joules], abs=1e-5)


@pytest.mark.parametrize("by", GROUPINGS)
@pytest.mark.parametrize("sort", SORTS)
def test_no_word_is_cut_at_80_columns(sight: Sight, by: str, sort: str) -> None:
    """But names, which are strangers'."""
    for view in (View(by=by, sort=sort), View(by=by, sort=sort, at=1), View(tree=True, sort=sort)):
        rows = [plain(row) for row in screen(view, sight, 80, 24)]
        assert "…" not in "".join([rows[0], *rows[-5:]])


def test_no_word_of_the_help_is_cut_at_80_columns(sight: Sight) -> None:
    rows = [plain(row) for row in screen(View(help=True), sight, 80, 24)]
    assert "…" not in "".join(rows)
    assert rows[-1].endswith("= the node.")


def test_what_is_printed_adds_up_too(sight: Sight) -> None:
    rows = [plain(row) for row in once(View(), sight, 100)]
    begin = next(number for number, row in enumerate(rows) if row.startswith("name")) + 1
    columns = columns_of(100)
    place = columns.name + 1 + columns.where
    printed = [float(row[place : place + 8]) for row in rows[begin:]]
    assert rows[-1].startswith("the node")
    assert len(printed) > 40
    assert printed[-1] == pytest.approx(sight.steps[-1].node_watts, abs=0.05)
    assert sum(printed[:-1]) == pytest.approx(printed[-1], abs=0.005 * len(printed))


def test_the_tree_has_pods_with_their_containers_with_their_processes(sight: Sight) -> None:
    rows = table(View(tree=True), sight.steps[-1], sight.frames, 10).somebody
    names = [(entry.depth, entry.line.label.name) for entry in rows]
    pod = names.index((0, "web-0"))
    assert names[pod + 1][0] == 1
    assert names[pod + 1][1] in ("app1", "app2")
    assert names[pod + 2][0] == 2
    for depth in (0, 1):
        for number, entry in enumerate(rows):
            if entry.depth == depth:
                below = []
                for one in rows[number + 1 :]:
                    if one.depth <= depth:
                        break
                    below += [one.line.watts] if one.depth == depth + 1 else []
                if below:
                    assert sum(below) == pytest.approx(entry.line.watts, rel=1e-5)


def test_filtering_a_tree_keeps_what_the_found_are_in(sight: Sight) -> None:
    rows = table(View(tree=True, filter="p15"), sight.steps[-1], sight.frames, 10).somebody
    assert [(entry.depth, entry.line.label.name) for entry in rows] == [(0, "web-0"), (1, "app1"), (2, "p15")]


def test_the_peak_is_the_highest_sample_of_the_minute_and_of_no_later_one(sight: Sight) -> None:
    def burst(at: int) -> float:
        rows = table(View(), sight.steps[at], [f for f in sight.frames if f.ended <= sight.steps[at].ended + 1e-6], 10)
        return max((entry.peak for entry in rows.somebody if entry.line.label.name == "p7"), default=0.0)

    assert burst(0) == 0.0
    # 80 W less the floor of 10, and of the DRAM's 5 W the one that is idle; GPU energy has no users here.
    assert burst(-1) == pytest.approx(74.0, rel=0.01)


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("reverse", [False, True])
def test_sorts(sight: Sight, sort: str, reverse: bool) -> None:
    rows = table(View(sort=sort, reverse=reverse), sight.steps[-1], sight.frames, 10).somebody
    ranks: dict[str, list[Any]] = {
        "watts": [-entry.line.watts for entry in rows],
        "peak": [-entry.peak for entry in rows],
        "joules": [-entry.line.joules for entry in rows],
        "name": [entry.line.label.name.lower() for entry in rows],
    }
    assert ranks[sort] == sorted(ranks[sort], reverse=reverse)


@pytest.mark.parametrize("size", [(80, 24), (80, 10), (200, 50), (120, 5), (81, 24)])
@pytest.mark.parametrize("by", GROUPINGS)
def test_a_screen_fits_the_terminal(sight: Sight, size: tuple[int, int], by: str) -> None:
    for view in (View(by=by), View(by=by, tree=True), View(by=by, help=True), View(by=by, typing=True), View(top=999)):
        rows = screen(view, sight, *size)
        assert len(rows) <= size[1]
        assert max(width("".join(span.text for span in row)) for row in rows) <= size[0]


def test_a_terminal_gets_nothing_to_obey_from_a_name(sight: Sight) -> None:
    for rows in (screen(View(), sight, 80, 60), once(View(), sight, 80)):
        text = "\n".join(plain(row) for row in rows)
        assert "?[2J?evil" in text
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)


def test_a_model_and_every_gpu_are_told(sight: Sight) -> None:
    text = "\n".join(plain(row) for row in screen(View(), sight, 100, 30))
    assert "a model's estimate" in text
    assert re.search(r"GPU 0 +40\.00 W  NVIDIA H100  GPU-7", text)
    assert re.search(r"package 30\.00 W  dram 5\.00 W  GPU 40\.00 W  idle", text)
    assert "estimate" not in plain(screen(View(), sight._replace(info={"power_source": "nvml"}), 100, 30)[2])


def test_before_the_first_second_there_is_a_line_that_says_so() -> None:
    empty = Sight((), (), (), {})
    assert plain(screen(View(), empty, 80, 24)[0]) == "waiting for the first second"
    assert once(View(), empty, 80) == []
    assert page_rows(View(), empty, 80, 24) > 0


def keys(view: View, *names: str, first: int = 1, last: int = 100, page: int = 10) -> View:
    for name in names:
        view = pressed(view, name, first, last, page)
    return view


def test_keys_choose_what_is_shown() -> None:
    assert [keys(View(), key).by for key in "pgconv"] == ["process", "program", "container", "pod", "namespace", "vm"]
    assert keys(View(), *["tab"] * 6) == View()
    assert keys(View(), "backtab").by == "vm"
    assert keys(View(), "s").sort == "peak"
    assert keys(View(), "r", "r") == View()
    assert keys(View(), "t").tree
    assert keys(View(), "h").help
    assert not keys(View(), "h", "x").help
    assert keys(View(), "q").over
    assert keys(View(), "F99") == View()


def test_a_filter_is_typed_and_other_keys_are_letters_then() -> None:
    typed = keys(View(), "/", "q", "p", "x", "backspace")
    assert (typed.filter, typed.typing, typed.over) == ("qp", True, False)
    assert keys(typed, "enter").filter == "qp"
    assert not keys(typed, "enter").typing
    assert keys(typed, "escape") == View()
    assert keys(typed, "enter", "escape") == View()


def test_time_stands_still_goes_back_and_comes_back() -> None:
    assert keys(View(), " ").at == 100
    assert keys(View(), " ", " ").at is None
    assert keys(View(), "left", "left", "[").at == 88
    assert keys(View(at=98), "right", "right").at == 100
    assert keys(View(at=98), "]").at is None
    assert keys(View(at=5), "[", first=3).at == 3
    assert keys(View(at=5), "end").at is None
    assert keys(View(), "left", first=0, last=0).at is None


def test_a_step_that_is_gone_gives_way_to_the_oldest(sight: Sight) -> None:
    step = shown_step(View(at=-5), sight)
    assert step is sight.steps[0]
    assert "frozen, 4 s ago" in plain(screen(View(at=sight.steps[0].number), sight, 80, 24)[0])
    assert "live" in plain(screen(View(), sight, 80, 24)[0])


def test_moving_down_shows_the_rows_below(sight: Sight) -> None:
    view = View(sort="name")
    first = [plain(row) for row in screen(view, sight, 80, 24)]
    down = [plain(row) for row in screen(keys(view, "down"), sight, 80, 24)]
    head = next(number for number, row in enumerate(first) if row.startswith("name"))
    assert down[head + 1 : head + 5] == first[head + 2 : head + 6]
    page = page_rows(view, sight, 80, 24)
    assert pressed(view, "pagedown", 1, 5, page).top == page
    assert replace(view, top=3) == keys(view, "down", "down", "down")


@given(st.text(max_size=30), st.integers(1, 40))
def test_text_takes_exactly_its_columns(text: str, columns: int) -> None:
    fitted = fit(text, columns)
    assert width(fitted) == columns
    assert fitted.isprintable()


@given(st.lists(st.floats(0, 1e6), max_size=50), st.integers(1, 30))
def test_a_sparkline_shows_whatever_was_used(values: list[float], columns: int) -> None:
    line = sparkline(values, columns)
    assert len(line) == columns
    for value, block in zip(reversed(values), reversed(line)):
        assert (block == " ") == (value == 0)


def test_figures() -> None:
    assert [watts(value) for value in (0.0, 0.8479, 12.345, 123.45, 1234.5)] == [
        "0.000",
        "0.848",
        "12.35",
        "123.5",
        "1234",
    ]
    assert [joules(value) for value in (0.5, 787.25, 9999.0, 12345.0, 4.56e6, 7e9)] == [
        *("0.50", "787.2", "9999.0", "12.35k", "4.56M", "7.00G")
    ]
    assert plain(bar([(1.0, "a"), (2.0, "b")], 4.0, 8)) == "██████··"
    assert plain(bar([], 0.0, 4)) == "····"
