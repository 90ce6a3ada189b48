"""What the page is told: lines that add up to the node, in every grouping, and nothing it has seen already."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from kepler_ebpf.history.step import IDLE, UNATTRIBUTED
from kepler_ebpf.views.landing import PAGE_HEADERS, landing_page
from kepler_ebpf.views.live import CHART_LINES, TABLE_LINES, live_json
from kepler_ebpf.views.usage import GROUPINGS, named, of_model, rest
from kepler_ebpf.workloads.workload import Workload
from tests.history.world import World
from tests.snapshots import everything

HEALTH = {"/healthz": (True, "ok")}


@pytest.fixture(scope="module")
def world() -> World:
    """Sixty processes in six containers, two pods and two namespaces; one is a virtual machine."""
    world = World()
    pods = {1: ("web-0", "shop"), 2: ("web-0", "shop"), 3: ("db-0", "shop"), 4: ("db-0", "back")}
    for cgroup, (pod, namespace) in pods.items():
        world.workloads.known[cgroup] = Workload(
            "container", f"c{cgroup}", "app", pod, namespace, f"uid-{pod}-{namespace}"
        )
    world.workloads.known[5] = Workload("vm", "vm-1", "guest")
    runs = tuple((tgid, tgid % 6 + 1) for tgid in range(10, 70))
    for _ in range(45):
        world.frame(3.0, runs=runs)
    return world


def answer(world: World, since: int, by: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        live_json(world.history.steps, since, by, 600, world.now + 0.25, "run", everything(), HEALTH)
    )
    return found


@pytest.mark.parametrize("by", GROUPINGS)
def test_lines_add_up_to_the_node(world: World, by: str) -> None:
    for step in world.history.steps:
        lines = named(step, by)
        assert len({line.label.key for line in lines}) == len(lines)
        whole = lines + rest(step, by, lines)
        assert sum(line.watts for line in whole) == pytest.approx(step.node_watts, rel=1e-6)
        assert sum(line.joules for line in whole) == pytest.approx(step.node_joules, rel=1e-9)


def test_groupings_are_sums_of_containers(world: World) -> None:
    step = world.history.steps[-1]
    watts = {by: {line.label.name: line.watts for line in named(step, by)} for by in ("pod", "namespace", "vm")}
    each = (step.node_watts - step.watts[IDLE].sum() - step.watts[UNATTRIBUTED].sum()) / 6
    assert watts["namespace"] == {"shop": pytest.approx(3 * each), "back": pytest.approx(each)}
    assert watts["vm"] == {"guest": pytest.approx(each)}
    pods = {(line.label.where, line.label.name): line.watts for line in named(step, "pod")}
    assert pods == {
        ("shop", "web-0"): pytest.approx(2 * each),
        ("shop", "db-0"): pytest.approx(each),
        ("back", "db-0"): pytest.approx(each),
    }


@pytest.mark.parametrize("by", GROUPINGS)
def test_the_table_of_the_page_adds_up_to_its_foot(world: World, by: str) -> None:
    told = answer(world, 0, by)
    assert len(told["table"]) <= TABLE_LINES + 3
    assert [sum(column) for column in list(zip(*told["table"]))[1:]] == pytest.approx(told["total"], rel=1e-3)
    assert len(told["labels"]) == len({key for key, _, _ in told["labels"]})


def test_only_steps_that_the_page_has_not_seen_are_told(world: World) -> None:
    steps = world.history.steps
    told = answer(world, 0, "process")
    assert [step[0] for step in told["steps"]] == [step.number for step in steps]
    assert max(len(step) for step in told["steps"]) == 5 + 2 * CHART_LINES
    assert [step[0] for step in answer(world, steps[-2].number, "process")["steps"]] == [steps[-1].number]
    nothing = answer(world, steps[-1].number, "process")
    assert nothing["steps"] == []
    assert len(json.dumps(nothing)) < 6000, "one small answer a second"


def test_times_are_the_server_s(world: World) -> None:
    told = answer(world, 0, "process")
    assert told["now"] == pytest.approx(world.now + 0.25)
    assert told["clock"] == pytest.approx(world.now + 0.25 + 5e8)
    assert told["now"] - told["steps"][-1][1] == pytest.approx(world.now + 0.25 - world.last.ended, abs=0.01)


def test_the_node_s_figures_are_those_of_the_metrics() -> None:
    told = json.loads(live_json((), 0, "process", 600, 0.0, "run", everything(), HEALTH))
    assert told["node"]["power"] == {
        "kepler_node_power_watts": 85.0,
        "kepler_node_power_max_watts": 120.5,
        "kepler_node_cpu_power_watts": 50.0,
        "kepler_node_dram_power_watts": 10.0,
        "kepler_node_gpu_power_watts": 25.0,
    }
    assert (told["node"]["joules"], told["node"]["utilization"], told["node"]["source"]) == (
        170.0,
        0.25,
        "rapl-powercap",
    )
    assert told["node"]["model"] == ""


def test_a_model_is_called_a_model() -> None:
    said = of_model({"power_source": "model+nvml", "power_model_error_ratio": "0.14"})
    assert "model's estimate" in said
    assert "14%" in said
    assert "not known" in of_model({"power_source": "model", "power_model_error_ratio": "unknown"})
    assert of_model({"power_source": "rapl-powercap"}) == ""


def test_the_page_is_small_and_asks_nobody_else() -> None:
    page = landing_page("kepler-ebpf", "1", {"node": '"><script>alert(1)</script>'})
    assert len(page.encode()) < 60_000
    assert "<script>alert" not in page
    for address in re.findall(r"""(?:src|href|url|action)\s*[=(]\s*["']?([^"'\s>)]+)""", page):
        assert address.startswith(("/", "data:")), address
    assert not re.search(r"""["'`(]https?://(?!www\.w3\.org/2000/svg)""", page)


def test_the_script_writes_names_as_text_only() -> None:
    """Names are what strangers chose. What would take them for markup is not in the script at all."""
    page = landing_page("kepler-ebpf", "1", {})
    for danger in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc"):
        assert danger not in page
    policy = dict(PAGE_HEADERS)["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
