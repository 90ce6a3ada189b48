"""What the page asks for once a second, as JSON: the steps it has not seen, who uses power now, and the node.

Times are the server's, so the page needs no clock of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..history.step import IDLE, UNATTRIBUTED, Step
from ..snapshot.types import Snapshot
from .node_families import POWER_NAMES
from .usage import Label, named, of_model, rest

CHART_LINES = 10
"""Lines of a step that the chart gets; what is below them is among its others."""
TABLE_LINES = 40


def live_json(
    steps: Sequence[Step],
    since: int,
    by: str,
    length: int,
    now: float,
    run: str,
    snapshot: Snapshot | None,
    health: Mapping[str, tuple[bool, str]],
) -> bytes:
    """``steps``: all there are. ``since``: number of the last one that the page has. ``length``: how many it may keep.
    ``now``: monotonic seconds, the clock of the steps. ``health``: whether all is well, and a line, by address.

    ``labels`` has key, name and place of everybody; a number elsewhere is a position in it. A step is its number, its
    end, the watts of the node, idle and unattributed, and then positions and watts of those that used most. ``run``
    tells one collector from the next, which counts its steps from 1 again.
    """
    labels = _Labels()
    answer: dict[str, Any] = {
        "run": run,
        "by": by,
        "now": round(now, 3),
        "length": length,
        "steps": [_step(step, by, labels) for step in steps if step.number > since],
        "health": [[name, *state] for name, state in health.items()],
    }
    if steps:
        latest = steps[-1]
        lines = named(latest, by)[:TABLE_LINES]
        lines += rest(latest, by, lines)
        answer["clock"] = round(latest.clock + now - latest.ended, 3)
        answer["table"] = [[labels.position(line.label), _figure(line.watts), _figure(line.joules)] for line in lines]
        answer["total"] = [_figure(latest.node_watts), _figure(latest.node_joules)]
    if snapshot is not None:
        answer["node"] = _node(snapshot)
    answer["labels"] = labels.all
    return json.dumps(answer, separators=(",", ":")).encode()


class _Labels:
    """The labels that an answer mentions, each once."""

    def __init__(self) -> None:
        self.all: list[Label] = []
        self._positions: dict[str, int] = {}

    def position(self, label: Label) -> int:
        """Where it stands. Of two labels with one key the later is the better known."""
        found = self._positions.setdefault(label.key, len(self.all))
        self.all[found : found + 1] = [label]
        return found


def _step(step: Step, by: str, labels: _Labels) -> list[float]:
    told = [step.number, round(step.ended, 2), _figure(step.node_watts)]
    told += [_figure(float(step.watts[row].sum())) for row in (IDLE, UNATTRIBUTED)]
    for line in named(step, by)[:CHART_LINES]:
        if line.watts > 0:
            told += [labels.position(line.label), _figure(line.watts)]
    return told


def _node(snapshot: Snapshot) -> dict[str, Any]:
    """The node's figures under the names and with the values of /metrics, and what they come from."""
    node, loop = snapshot.node, snapshot.health.loop
    parts = zip(POWER_NAMES, node.component_watts.tolist(), node.has_component)
    return {
        "publication": snapshot.number,
        "power": {
            "kepler_node_power_watts": float(node.component_watts.sum()),
            "kepler_node_power_max_watts": node.max_watts,
            **{f"kepler_node_{name}_power_watts": watts for name, watts, there in parts if there},
        },
        "joules": float(node.joules.sum()),
        "utilization": node.utilization,
        "source": snapshot.info.get("power_source", ""),
        "model": of_model(snapshot.info),
        "late": loop.late_samples,
        "failed": loop.failed_samples,
        "interval": loop.interval_seconds,
        "gap": max(snapshot.health.gap_ratio.values(), default=0.0),
        "faults": [f"{source}: {reason} {count}" for (source, reason), count in snapshot.health.source_errors.items()],
    }


def _figure(value: float) -> float:
    """Five digits are more than a screen shows."""
    return float(f"{value:.5g}")
