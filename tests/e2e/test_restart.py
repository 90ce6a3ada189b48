"""Killed, and started again: the node's counters go on, by a machine whose counters run on whoever reads them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import Running
from tests.e2e.site import Ticker
from tests.needs import require

pytestmark = pytest.mark.kernel

STEP_JOULES, BETWEEN_JOULES = 1.0, 500.0
RANGE = 262_143_328_850


@dataclass
class Counter:
    """A package's counter of 10 W (or less, where the machine is busy)."""

    sysfs: Path
    joules: float = 0.0

    def __post_init__(self) -> None:
        self.zone = self.sysfs / "class/powercap/intel-rapl:0"
        self.zone.mkdir(parents=True)
        for name in ("devices", "fs", "kernel"):
            (self.sysfs / name).symlink_to(f"/sys/{name}")
        (self.zone / "name").write_text("package-0\n")
        (self.zone / "max_energy_range_uj").write_text(f"{RANGE}\n")
        self.add(0.0)

    def add(self, joules: float) -> None:
        self.joules += joules
        text = f"{round(self.joules * 1e6):015}\n"  # of one length: nothing of a longer number stays behind it
        if (self.zone / "energy_uj").exists():
            with (self.zone / "energy_uj").open("r+") as file:  # never empty, as a reader may come at any time
                file.write(text)
        else:
            (self.zone / "energy_uj").write_text(text)


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[Counter]:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    one = Counter(tmp_path / "sys")
    with Ticker(lambda _: one.add(STEP_JOULES)):
        yield one


@dataclass(frozen=True)
class Seen:
    """A page, and what the counter can have shown when it was made."""

    joules: float
    least: float
    most: float
    rest: float
    page: dict[str, list[tuple[dict[str, str], float]]]


def see(collector: Running, counter: Counter) -> Seen:
    """The first page that was published wholly after now."""
    least, began, changes, last = counter.joules, time.monotonic(), 0, None
    while time.monotonic() - began < 60:
        page = collector.samples()
        now = page["kepler_ebpf_samples_total"][0][1]
        changes += last is not None and now != last
        last = now
        if changes >= 2 and "kepler_node_package_joules_total" in page:
            ((_, joules),) = page["kepler_node_package_joules_total"]
            rest = sum(
                value
                for name in ("kepler_node_idle_joules_total", "kepler_node_unattributed_joules_total")
                for labels, value in page[name]
                if labels["component"] == "package"
            )
            return Seen(joules, least, counter.joules, rest, page)
        time.sleep(0.05)
    raise AssertionError(f"no package in a minute: {collector.log.read_text()}")


def total(seen: Seen, *names: str) -> float:
    return sum(value for name in names for _, value in seen.page.get(name, ()))


def start(serve: Callable[..., Running], counter: Counter, state: Path) -> Running:
    state.mkdir(exist_ok=True)
    return serve("--sysfs", str(counter.sysfs), "--state-directory", str(state), "--idle-watts", "4")


def test_after_kill_9_the_nodes_counters_go_on(serve: Callable[..., Running], counter: Counter, tmp_path: Path) -> None:
    first = start(serve, counter, tmp_path / "state")
    before = see(first, counter)
    first.process.kill()
    first.process.wait()
    counter.add(BETWEEN_JOULES)
    second = start(serve, counter, tmp_path / "state")
    after = see(second, counter)
    # Exact but for what the counter went on by while each page was made.
    assert before.most - before.least < BETWEEN_JOULES / 2, "the machine is too busy to tell"
    assert after.least - before.most <= after.joules - before.joules <= after.most - before.least
    assert after.rest - before.rest >= BETWEEN_JOULES - 1e-6, "nobody is charged with what nobody saw"
    assert "the node's counters go on" in second.log.read_text()
    for name in ("kepler_node_energy_joules_total", "kepler_containers_exited_joules_total"):
        assert total(after, name) >= total(before, name)
    assert total(after, "kepler_node_power_max_watts") < 100
    node = total(after, "kepler_node_energy_joules_total")
    rest = total(after, "kepler_node_idle_joules_total", "kepler_node_unattributed_joules_total")
    for level, exited in (("container", "containers"), ("process", "processes")):
        charged = total(
            after,
            f"kepler_{level}_joules_total",
            f"kepler_{exited}_exited_joules_total",
            f"kepler_{exited}_pending_joules",
        )
        assert charged + rest == pytest.approx(node, rel=1e-9)


def test_a_counter_that_went_back_starts_anew(serve: Callable[..., Running], counter: Counter, tmp_path: Path) -> None:
    counter.add(100_000.0)
    first = start(serve, counter, tmp_path / "state")
    before = see(first, counter)
    assert before.joules < 100_000
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(20) == 0
    assert (tmp_path / "state/state.json").stat().st_size < 1000
    counter.joules = 1.0
    second = start(serve, counter, tmp_path / "state")
    after = see(second, counter)
    assert after.joules <= after.most
    log = second.log.read_text()
    assert log.count("the node's counters begin at 0: what package/0 used in between is not known: reset") == 1


def test_a_second_collector_leaves_the_firsts_state_alone(
    serve: Callable[..., Running], counter: Counter, tmp_path: Path
) -> None:
    first = start(serve, counter, tmp_path / "state")
    see(first, counter)
    second = start(serve, counter, tmp_path / "state")
    assert "no state is kept: another collector keeps its state in" in second.log.read_text()
    assert see(second, counter).joules > 0
