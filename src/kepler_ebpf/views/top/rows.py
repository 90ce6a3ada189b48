"""The rows of the table: lines of a step, sorted, filtered, as a list or a tree, with their peaks and latest course."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ...history.step import Process, Step
from ...workloads.workload import Workload
from ..usage import ENDED, GROUPINGS, OTHERS, Label, Line, named, rest
from .state import View

NODE = "node"
_HELD_FRAMES = 2000  # those of a minute, in three groupings
_ROUNDING = 1e-6  # less is no one's


class TopLine(NamedTuple):
    """``depth``: in a tree. ``peak``: highest power of a frame in the last minute. ``course``: the latest frames."""

    depth: int
    line: Line
    peak: float
    course: tuple[float, ...]


class TopTable(NamedTuple):
    """``somebody``: what can be moved through. ``rest``: what makes its top level add up to the last of it, the
    node."""

    somebody: list[TopLine]
    rest: list[TopLine]


@lru_cache(maxsize=_HELD_FRAMES)
def _powers(frame: Step, by: str) -> dict[str, float]:
    """Watts by key, the node's and the rest's too."""
    lines = named(frame, by)
    return {NODE: frame.node_watts, **{line.label.key: line.watts for line in (*lines, *rest(frame, by, lines))}}


def table(view: View, step: Step, frames: Sequence[Step], columns: int) -> TopTable:
    """What ``view`` shows of ``step``. ``frames``: the latest ones up to it; ``columns``: how many of a course."""

    def entry(depth: int, by: str, line: Line) -> TopLine:
        key = line.label.key
        if key == OTHERS or key.startswith(ENDED):  # who these are changes from frame to frame
            return TopLine(depth, line, float("nan"), ())
        course = [_powers(frame, by).get(key, 0.0) for frame in frames]
        return TopLine(depth, line, max([*course, line.watts]), tuple(course[-columns:]))

    listed = [(0, view.by, line) for line in named(step, view.by)]
    items = [entry(*item) for item in (_tree(step) if view.tree else listed)]
    shown = _sorted(_filtered(items, view.filter.lower()), view)
    by = "container" if view.tree else view.by
    node = Line(Label(NODE, "the node", ""), step.node_watts, step.node_joules)
    lines = [*rest(step, by, [item.line for item in shown if item.depth == 0]), node]
    return TopTable(shown, [entry(0, by, line) for line in lines])


def _tree(step: Step) -> list[tuple[int, str, Line]]:
    """Pods, below each its containers, below each of these its processes; what is in no pod stands beside the pods."""
    inside: dict[str, list[Line]] = {}
    lines = {line.label.key: line for line in named(step, "process")}
    for who in step.processes.who:
        line = lines.pop(_key("process", who), None)
        if line is not None:
            inside.setdefault(_key("container", who.workload), []).append(line)
    homes: dict[str, list[Line]] = {}
    containers = {line.label.key: line for line in named(step, "container")}
    for workload in step.containers.who:
        line = containers.pop(_key("container", workload), None)
        if line is not None:
            homes.setdefault(_key("pod", workload), []).append(line)
    pods = {line.label.key: line for line in named(step, "pod")}
    items: list[tuple[int, str, Line]] = []
    for pod, members in homes.items():
        depth = 0
        if pod in pods:
            items.append((0, "pod", pods[pod]))
            depth = 1
        for container in members:
            items.append((depth, "container", container))
            items += [(depth + 1, "process", line) for line in _whole(container, inside.get(container.label.key, []))]
    return items


def _whole(container: Line, processes: list[Line]) -> list[Line]:
    """Its processes, and the others in it that have no line, so that they add up to it."""
    watts = container.watts - sum(line.watts for line in processes)
    joules = container.joules - sum(line.joules for line in processes)
    if not processes or max(watts, joules) < _ROUNDING:
        return processes
    label = Label(f"{ENDED}{container.label.key}", "other and ended", "")
    return [*processes, Line(label, max(watts, 0.0), max(joules, 0.0))]


def _key(by: str, who: Process | Workload) -> str:
    label = GROUPINGS[by].label(who)
    return label.key if label else ""


def _filtered(items: Sequence[TopLine], wanted: str) -> list[TopLine]:
    """Those that the filter names, and in a tree what they are in."""
    if not wanted:
        return list(items)
    kept: list[TopLine] = []
    depth = 0  # whatever is above the item kept last, seen from the end of the list
    for item in reversed(items):
        label = item.line.label
        if wanted in label.name.lower() or wanted in label.where.lower() or item.depth < depth:
            kept.append(item)
            depth = item.depth
        elif item.depth <= depth:
            depth = item.depth
    return kept[::-1]


_SORTS: dict[str, Callable[[TopLine], Any]] = {
    "watts": lambda item: -item.line.watts,
    "peak": lambda item: -item.peak,
    "joules": lambda item: -item.line.joules,
    "name": lambda item: item.line.label.name.lower(),
}


def _sorted(items: Sequence[TopLine], view: View, depth: int = 0) -> list[TopLine]:
    """The items of this depth in order, each followed by what stands below it, likewise in order."""
    families: list[list[TopLine]] = []
    for item in items:
        if item.depth == depth:
            families.append([])
        families[-1].append(item)
    families.sort(key=lambda family: _SORTS[view.sort](family[0]), reverse=view.reverse)
    return [item for first, *below in families for item in (first, *(_sorted(below, view, depth + 1) if below else ()))]
