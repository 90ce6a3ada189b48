"""Killed, and started again: the node's counters go on, by a machine whose counters run on whoever reads them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Running
from tests.e2e.powercap import Counter, Seen, see, ticking
from tests.needs import require

pytestmark = pytest.mark.kernel

BETWEEN_JOULES = 500.0


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[Counter]:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    with ticking(tmp_path / "sys") as one:
        yield one


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
