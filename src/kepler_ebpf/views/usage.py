"""A step of the history as lines: who used what, in one of six groupings. The lines always add up to the node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..history.step import IDLE, UNATTRIBUTED, Process, Shares, Step
from ..workloads.workload import Workload


class Label(NamedTuple):
    """``key``: the same from step to step. ``where``: what it belongs to: a pid, a pod, a namespace."""

    key: str
    name: str
    where: str


class Line(NamedTuple):
    """``watts``: mean power in the step. ``joules``: since the start."""

    label: Label
    watts: float
    joules: float


OTHERS, IDLE_KEY, UNATTRIBUTED_KEY = "others", "idle", "unattributed"
ENDED = "ended/"
"""How keys of processes begin that came and went within the step."""


class Grouping(NamedTuple):
    """``title``: of many. ``label``: whose line somebody's share is in, None for the others'. ``others``: what these
    are called."""

    title: str
    of_processes: bool
    label: Callable[[Any], Label | None]
    others: str


def container_name(workload: Workload) -> str:
    """Its name, or the beginning of its id where that is all there is."""
    return workload.container or workload.container_id[:12]


def place(workload: Workload) -> str:
    """Namespace and pod, as far as they are known."""
    return "/".join(filter(None, (workload.namespace, workload.pod)))


def home(workload: Workload) -> str:
    """Namespace, pod and container, as far as they are known."""
    return "/".join(filter(None, (place(workload), container_name(workload))))


def _process(who: Process) -> Label:
    inside = home(who.workload) if who.workload.kind in ("container", "vm") else ""
    name = who.comm or container_name(who.workload)
    if not who.pid:
        return Label(f"{ENDED}{who.comm}/{home(who.workload)}", name, f"short-lived {inside}".rstrip())
    return Label(f"{who.pid}.{who.start_ns}", name, f"{who.pid} {inside}".rstrip())


def _program(who: Process) -> Label:
    inside = home(who.workload)
    return Label(f"program/{who.comm}/{inside}", who.comm or container_name(who.workload), inside)


def _container(workload: Workload) -> Label:
    return Label("/".join(workload.key), container_name(workload), place(workload))


def _pod(workload: Workload) -> Label | None:
    if not workload.pod:
        return None
    return Label(f"pod/{workload.namespace}/{workload.pod}/{workload.pod_uid}", workload.pod, workload.namespace)


def _namespace(workload: Workload) -> Label | None:
    return Label(f"namespace/{workload.namespace}", workload.namespace, "") if workload.namespace else None


def _vm(workload: Workload) -> Label | None:
    return _container(workload) if workload.kind == "vm" else None


GROUPINGS = {
    "process": Grouping("processes", True, _process, "other and ended processes"),
    "program": Grouping("programs", True, _program, "other and ended programs"),
    "container": Grouping("containers", False, _container, "other and ended containers"),
    "pod": Grouping("pods", False, _pod, "in no pod, or ended"),
    "namespace": Grouping("namespaces", False, _namespace, "in no namespace, or ended"),
    "vm": Grouping("virtual machines", False, _vm, "in no virtual machine, or ended"),
}


def named(step: Step, by: str) -> list[Line]:
    """The lines of somebody, those with most power first, of the rest those with most energy."""
    grouping = GROUPINGS[by]
    shares: Shares[Any] = step.processes if grouping.of_processes else step.containers
    sums: dict[str, Line] = {}
    for who, watts, joules in zip(shares.who, shares.watts.tolist(), shares.joules.tolist()):
        label = grouping.label(who)
        if label is not None:
            before = sums.get(label.key)
            if before is not None:
                watts, joules = watts + before.watts, joules + before.joules
            sums[label.key] = Line(label, watts, joules)
    return sorted(sums.values(), key=lambda line: (-line.watts, -line.joules))


def rest(step: Step, by: str, somebody: Sequence[Line]) -> list[Line]:
    """Three lines that, with those of somebody, add up to the node: others, idle, unattributed."""
    idle, unattributed = float(step.watts[IDLE].sum()), float(step.watts[UNATTRIBUTED].sum())
    idle_joules, unattributed_joules = float(step.joules[IDLE].sum()), float(step.joules[UNATTRIBUTED].sum())
    watts = step.node_watts - idle - unattributed - sum(line.watts for line in somebody)
    joules = step.node_joules - idle_joules - unattributed_joules - sum(line.joules for line in somebody)
    return [
        Line(Label(OTHERS, GROUPINGS[by].others, ""), max(watts, 0.0), max(joules, 0.0)),
        Line(Label(IDLE_KEY, "idle", ""), idle, idle_joules),
        Line(Label(UNATTRIBUTED_KEY, "unattributed", ""), unattributed, unattributed_joules),
    ]


def of_model(info: Mapping[str, str]) -> str:
    """Says plainly that power is a model's, with its error as far as known; empty where it is a meter's."""
    if "model" not in info.get("power_source", "").split("+"):
        return ""
    error = info.get("power_model_error_ratio", "unknown")
    known = f"its error is about {float(error):.0%}" if error not in ("", "unknown") else "its error is not known"
    return f"These watts are a model's estimate, no meter's: {known}."
