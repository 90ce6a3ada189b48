"""Which part of a snapshot a page shows: levels of detail, and namespaces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

import numpy as np

from ..columns import Indexes
from ..options import LEVELS
from ..snapshot.types import Containers, Processes, Snapshot
from .family import Family

OURSELVES = "ourselves"
"""What the collector says of itself: on every page but those that ask for other levels alone."""
_COLLECT, _EXCLUDE = "collect[]", "exclude[]"
_MAX_FIELDS = 100


class UnknownLevelError(ValueError):
    """A query asks for levels that are not there, or for none; says so in one line."""


@dataclass(frozen=True)
class Selection:
    """``levels``: some of ``options.LEVELS``. ``namespaces``: whose containers and pods are shown; empty for all.

    What belongs to no namespace (the host's own, containers beside Kubernetes, those without a name yet) is shown
    always. A page that leaves out containers or processes does not sum to the node's energy.
    """

    levels: frozenset[str] = frozenset(LEVELS)
    namespaces: frozenset[str] = frozenset()

    def asked(self, query: str) -> frozenset[str]:
        """The levels of one page: those that a URL's query asks for by ``collect[]``, or all there are but those it
        names by ``exclude[]``, as node_exporter's users know it; without any, all. Raises UnknownLevelError.

        A level that is switched off may be left out as well: one configuration of Prometheus is for many nodes.
        """
        there = self.levels | {OURSELVES}
        try:
            fields = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
        except ValueError:
            raise UnknownLevelError(f"more than {_MAX_FIELDS} parameters") from None
        collected = _values(fields, _COLLECT, there)
        excluded = _values(fields, _EXCLUDE, frozenset((*LEVELS, OURSELVES)))
        if collected and excluded:
            raise UnknownLevelError(f"{_COLLECT} and {_EXCLUDE} together: one of them says it all")
        if not there - excluded:
            raise UnknownLevelError(f"{_EXCLUDE} leaves out all there is: {', '.join(sorted(there))}")
        return collected or there - excluded

    def of(self, snapshot: Snapshot, levels: frozenset[str]) -> Snapshot:
        """The snapshot without the rows that a page of these levels leaves out."""
        kinds = {"container", "vm"} & levels
        if not self.namespaces and len(kinds) == 2:
            return snapshot
        shown = [one for one, workload in enumerate(snapshot.containers.workloads) if self._shows(workload.namespace)]
        processes = snapshot.processes
        if processes is not None and self.namespaces:
            ids = {snapshot.containers.workloads[one].container_id for one in shown} | {""}
            processes = _processes(processes, [n for n, one in enumerate(processes.container_id) if one in ids])
        rows = [one for one in shown if _level(snapshot.containers.workloads[one].kind) in kinds]
        return replace(
            snapshot,
            containers=_containers(snapshot.containers, rows),
            pods=tuple(pod for pod in snapshot.pods if self._shows(pod.namespace)),
            processes=processes,
        )

    def _shows(self, namespace: str) -> bool:
        return not self.namespaces or not namespace or namespace in self.namespaces


EVERYTHING = Selection()


def shows(family: Family, levels: frozenset[str]) -> bool:
    """Whether a page of these levels has this family. Virtual machines are rows of the containers' families."""
    if family.level == "container" and family.labels and "vm" in levels:
        return True
    return family.level in levels


def _values(fields: list[tuple[str, str]], parameter: str, known: frozenset[str]) -> frozenset[str]:
    """The levels that a query names by this parameter."""
    found = frozenset(value for name, value in fields if name == parameter)
    unknown = sorted(found - known)
    if unknown:
        raise UnknownLevelError(f"{parameter}={unknown[0]!a}: there are {', '.join(sorted(known))}")
    return found


def _level(kind: str) -> str:
    return "vm" if kind == "vm" else "container"


def _containers(containers: Containers, rows: list[int]) -> Containers:
    """Some rows of the containers' columns."""
    places: Indexes = np.array(rows, dtype=np.intp)
    return replace(
        containers,
        workloads=tuple(containers.workloads[row] for row in rows),
        joules=containers.joules[:, places],
        watts=containers.watts[places],
        max_watts=containers.max_watts[places],
        seconds=containers.seconds[places],
        cycles=containers.cycles[places],
        working_set_bytes=tuple(containers.working_set_bytes[row] for row in rows),
        began=tuple(containers.began[row] for row in rows),
    )


def _processes(processes: Processes, rows: list[int]) -> Processes:
    """Some rows of the processes' columns."""
    places: Indexes = np.array(rows, dtype=np.intp)
    return replace(
        processes,
        pid=tuple(processes.pid[row] for row in rows),
        comm=tuple(processes.comm[row] for row in rows),
        container_id=tuple(processes.container_id[row] for row in rows),
        joules=processes.joules[:, places],
        watts=processes.watts[places],
        seconds=processes.seconds[places],
        cycles=processes.cycles[places],
        began=tuple(processes.began[row] for row in rows),
    )
