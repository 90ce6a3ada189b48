"""The whole screen: title, node, table, keys. ``once`` is the same table for a pipe."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ...columns import NODE as COMPONENTS
from ...energy.source import Domain
from ...history.step import IDLE, MEASURED, Step
from ..usage import GROUPINGS, IDLE_KEY, OTHERS, UNATTRIBUTED_KEY, of_model
from .rows import NODE, TopLine, TopTable, table
from .state import HELP, View
from .text import Row, Span, bar, fit, joules, sparkline, watts

_FRAMES_SECONDS = 60.0
_REST_ROWS = 4  # others, idle, unattributed, the node
_KEYS = "q quit  h help  Tab group  s sort  / filter  t tree  space freeze  \u2190\u2192 time"
_STYLES = {OTHERS: "dim", IDLE_KEY: "idle", UNATTRIBUTED_KEY: "unattributed", NODE: "bold"}


class Sight(NamedTuple):
    """What there is to see. ``steps``: of a second each; ``frames``: the samples of the last minute. ``domains``: of
    the meter, in the order of the steps' ``domain_watts``. ``message``: the latest line of the log."""

    steps: Sequence[Step]
    frames: Sequence[Step]
    domains: Sequence[Domain]
    info: Mapping[str, str]
    message: str = ""


class Columns(NamedTuple):
    name: int
    where: int
    course: int


def columns_of(width: int) -> Columns:
    """How wide the columns of text and the sparkline are; numbers take what they need."""
    room = max(width, 60) - len("   watts") * 2 - len("    joules") - len("  share ")
    name = min(max(room // 3, 12), 40)
    where = min(max(room // 3, 8), 48)
    return Columns(name, where, room - name - where - 3)


def shown_step(view: View, sight: Sight) -> Step | None:
    """The step that the view is at; the oldest where that is gone, None before the first."""
    if view.at is None or not sight.steps:
        return sight.steps[-1] if sight.steps else None
    return next((step for step in sight.steps if step.number >= view.at), sight.steps[-1])


def screen(view: View, sight: Sight, width: int, height: int) -> list[Row]:
    """At most ``height`` rows of at most ``width`` columns."""
    if view.help:
        return _help(width, height)
    step = shown_step(view, sight)
    if step is None:
        return [[Span("waiting for the first second")]]
    head, rows, columns = _head(view, sight, step, width), _table(view, sight, step, width), columns_of(width)
    room = page_rows(view, sight, width, height)
    lines = [_line(entry, step, columns) for entry in rows.somebody[min(view.top, max(len(rows.somebody) - room, 0)) :]]
    filled = [*lines[:room], *([[Span("")]] * (room - len(lines)))]
    rest = [_line(entry, step, columns) for entry in rows.rest]
    return [*head, *filled, *rest, [Span(fit(_foot(view, sight), width), "dim")]][:height]


def page_rows(view: View, sight: Sight, width: int, height: int) -> int:
    """Rows of the table that are in sight at a time."""
    step = shown_step(view, sight)
    return max(height - (len(_head(view, sight, step, width)) if step else 0) - _REST_ROWS - 1, 1)


def _head(view: View, sight: Sight, step: Step, width: int) -> list[Row]:
    return [_title(view, sight, step, width), *_node(sight, step, width), _header(view, columns_of(width))]


def once(view: View, sight: Sight, width: int) -> list[Row]:
    """Everything there is, for a file or a pipe."""
    step = shown_step(view, sight)
    if step is None:
        return []
    columns, rows = columns_of(width), _table(view, sight, step, width)
    lines = [_line(entry, step, columns) for entry in (*rows.somebody, *rows.rest)]
    return [*_head(view, sight, step, width), *lines]


def _table(view: View, sight: Sight, step: Step, width: int) -> TopTable:
    frames = [frame for frame in sight.frames if step.ended - _FRAMES_SECONDS < frame.ended <= step.ended + 1e-6]
    return table(view, step, frames, columns_of(width).course)


def _title(view: View, sight: Sight, step: Step, width: int) -> Row:
    behind = sight.steps[-1].ended - step.ended
    clock = time.strftime("%H:%M:%S", time.localtime(step.clock))
    state = f"frozen, {behind:.0f} s ago" if view.at is not None else "live"
    grouping = "tree of pods" if view.tree else GROUPINGS[view.by].title
    text = f"{watts(step.node_watts):>6} W  {clock}  {state:<17} {grouping} by {view.sort}"
    return [Span("kepler-ebpf top ", "title"), Span(fit(text, width - 16), "bold")]


def _node(sight: Sight, step: Step, width: int) -> list[Row]:
    """The node's power by component, its GPUs one by one, and whether a model says so."""
    top = max((frame.node_watts for frame in (*sight.frames, *sight.steps)), default=0.0)
    parts = list(zip(COMPONENTS, step.watts[MEASURED].tolist()))
    there = [(name, value) for name, value in parts if value > 0] or parts[:1]
    said = "  ".join(f"{'GPU' if name == 'gpu' else name} {watts(value)} W" for name, value in there)
    said += f"  idle {watts(float(step.watts[IDLE].sum()))} W"
    room = max(width - len(said) - 2, 10)
    rows: list[Row] = [[*bar([(value, name) for name, value in there], top, room), Span("  "), Span(said)]]
    for domain, value in zip(sight.domains, step.domain_watts.tolist()):
        if domain.component == "gpu":
            power = "no reading" if np.isnan(value) else f"{watts(value)} W"
            rows.append([Span(fit(f"GPU {domain.label}  {power:>10}  {domain.model}  {domain.uuid}", width), "gpu")])
    model = of_model(sight.info)
    if model:
        rows.append([Span(fit(model, width), "warning")])
    return rows


def _header(view: View, columns: Columns) -> Row:
    titles = (("watts", 8), ("peak", 8), ("joules", 10))
    row = [Span(_heading("name", columns.name, view) + " " + fit("where", columns.where), "header")]
    row += [Span(_heading(title, size, view), "header") for title, size in titles]
    return [*row, Span("  share  " + fit("samples", columns.course), "header")]


def _heading(title: str, size: int, view: View) -> str:
    marked = f"{title}{'▲' if view.reverse else '▼'}" if view.sort == title else title
    return fit(marked, size) if title == "name" else f"{marked:>{size}}"


def _line(entry: TopLine, step: Step, columns: Columns) -> Row:
    label, power, energy = entry.line
    style = _STYLES.get(label.key, "")
    indent = "  " * entry.depth
    share = f"{power / step.node_watts:7.1%}" if step.node_watts > 0 else " " * 7
    peak = "" if math.isnan(entry.peak) else watts(entry.peak)
    numbers = f"{watts(power):>8}{peak:>8}{joules(energy):>10}{share}  "
    wide = columns.name + (0 if label.where else columns.where + 1)
    where = " " + fit(label.where, columns.where) if label.where else ""
    return [
        Span(fit(indent + label.name, wide), style or ("" if entry.depth else "name")),
        Span(where, "dim"),
        Span(numbers, style),
        Span(sparkline(entry.course, columns.course), "course"),
    ]


def _foot(view: View, sight: Sight) -> str:
    if view.typing:
        return f"filter: {view.filter}_   Enter keeps it, Escape forgets it"
    return sight.message or (f"filter: {view.filter}   Escape forgets it" if view.filter else _KEYS)


def _help(width: int, height: int) -> list[Row]:
    rows: list[Row] = [[Span("Keys", "title")], [Span("")]]
    rows += [[Span(fit(f"  {keys}", 20), "bold"), Span(fit(what, max(width - 20, 1)))] for keys, what in HELP]
    notes = (
        "watts: mean of the second. peak: highest sample of the last minute.",
        "joules: since top began; of who ended before, they are with the others.",
        "The rows add up: somebody + others + idle + unattributed = the node.",
    )
    return [*rows, [Span("")], *([Span(fit("  " + note, width), "dim")] for note in notes)][:height]
