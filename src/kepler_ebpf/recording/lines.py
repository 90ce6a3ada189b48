"""From frames to the lines of a recording: who did what, who was charged with what, and who was there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..attribution.frame import Entry, Frame
from ..attribution.sampler import Sampler
from ..columns import NODE, Floats, Indexes
from ..kernel.source import KernelTables
from ..kernel.table import Slices
from ..workloads.workload import Workload

Lines = dict[str, Any]
"""Columns of some lines: arrays, or one value for all. ``row`` is always an array."""

_NOBODY = np.zeros(0, np.intp)
_NODE_ROWS = np.zeros(3, np.int32)


class FrameLines:
    """Turns frames into lines. Remembers who was there, so that only what changed of that is told."""

    def __init__(self, sampler: Sampler, tables: KernelTables) -> None:
        self._sampler, self._tables = sampler, tables
        self._processes = self._workloads = _NOBODY
        self._requests: Floats = np.zeros(0)
        self._named: dict[int, Workload] = {}

    def of(self, frame: Frame) -> list[Lines]:
        """The lines of one frame, to be taken before the next sample."""
        return [
            {
                "level": ("node", "idle", "unattributed"),
                "row": _NODE_ROWS,
                "cpu_seconds": (frame.busy_seconds, 0.0, 0.0),
                **_joules(np.stack((frame.measured, frame.idle, frame.unattributed), axis=1)),
            },
            self._domains(frame),
            *self._changes(frame),
            *_used(frame.process, frame.ran.processes, lambda rows: self._process_names(rows)),
            *_used(frame.container, frame.ran.workloads, self._container_names),
        ]

    def names(self) -> Lines | None:
        """Containers that are called otherwise than they were when this was asked before; None where none is."""
        rows = {number: row.workload for number, row in self._sampler.table.rows.items()}
        changed = [number for number, workload in rows.items() if self._named.get(number) != workload]
        self._named = rows
        index = np.array(changed, np.intp)
        return self._container_names(index) if changed else None

    def _domains(self, frame: Frame) -> Lines:
        reading, domains = frame.reading, self._sampler.meter.domains
        return {
            "level": "domain",
            "row": np.arange(len(reading.joules), dtype=np.int32),
            "name": [domain.label for domain in domains],
            "source": [domain.source for domain in domains],
            "component": [domain.component for domain in domains],
            "package": np.where(reading.payer < reading.packages, reading.payer, -1),
            "joules": reading.joules,
            "read_seconds": reading.seconds,
            "floor_watts": reading.floor_watts,
            "watts": reading.watts,
            "live": reading.live,
        }

    def _changes(self, frame: Frame) -> list[Lines]:
        """Who has come and who has gone since the frame before."""
        found: list[Lines] = []
        if frame.everyone is None:
            return found
        processes, workloads, requests = frame.everyone.processes, frame.everyone.workloads, frame.everyone.requests
        gone = _NOBODY if frame.departed is None else frame.departed.index
        if not np.array_equal(processes, self._processes):
            came, went = _difference(processes, self._processes), _difference(self._processes, processes)
            found.append({**self._process_names(came), "there": True})
            found.append({"level": "process", "row": went.astype(np.int32), "there": False})
        # Their rows may belong to others by the next frame: then these have come.
        self._processes = _difference(processes, gone)
        if not np.array_equal(workloads, self._workloads) or not np.array_equal(requests, self._requests):
            before = dict(zip(self._workloads.tolist(), self._requests.tolist()))
            asked = np.array([before.get(number, -1.0) for number in workloads.tolist()])
            came, went = np.flatnonzero(asked != requests), _difference(self._workloads, workloads)
            found.append({**self._container_names(workloads[came]), "cpu_request": requests[came], "there": True})
            found.append({"level": "container", "row": went.astype(np.int32), "there": False})
            self._workloads, self._requests = workloads, requests
        return [lines for lines in found if len(lines["row"])]

    def _process_names(self, index: Indexes) -> Lines:
        rows = self._tables.processes.rows[index]
        homes = self._sampler.workloads_of(index)
        table = self._sampler.table.rows
        workloads = [table[number].workload for number in homes.tolist()]
        return {
            "level": "process",
            "row": index.astype(np.int32),
            "name": [comm.decode("utf-8", "replace") for comm in rows["comm"].tolist()],
            "pid": rows["tgid"],
            "start_ns": rows["start_ns"],
            "container_id": [workload.container_id for workload in workloads],
            "container": [workload.container for workload in workloads],
            "pod": [workload.pod for workload in workloads],
            "namespace": [workload.namespace for workload in workloads],
        }

    def _container_names(self, index: Indexes) -> Lines:
        table = self._sampler.table.rows
        workloads = [table[number].workload for number in index.tolist()]
        return {
            "level": "container",
            "row": index.astype(np.int32),
            "name": [workload.container for workload in workloads],
            "container_id": [workload.container_id for workload in workloads],
            "pod": [workload.pod for workload in workloads],
            "namespace": [workload.namespace for workload in workloads],
        }


def _difference(some: Indexes, others: Indexes) -> Indexes:
    return some if not len(others) else some[~np.isin(some, others)]


def _joules(joules: NDArray[np.float64]) -> Lines:
    return {
        **{f"{component}_joules": column for component, column in zip(NODE, joules)},
        "joules": joules[: len(NODE)].sum(axis=0),
    }


def _used(entry: Entry, ran: Slices, names: Any) -> list[Lines]:
    """The lines of one level: who ran, with its weights, and who is charged; one line where both are the same rows."""
    count = len(ran.index)
    told = {
        "package": ran.package,
        "cpu_seconds": (ran.alone_ns + ran.shared_ns) * 1e-9,
        "cycles": ran.cycles,
        "alone_ns": ran.alone_ns,
        "shared_ns": ran.shared_ns,
        "misses": ran.misses,
    }
    if len(entry.index) < count or not np.array_equal(entry.index[:count], ran.index):
        return [{**names(ran.index), **told}, {**names(entry.index), **_joules(entry.joules)}]
    first, rest = entry.joules[:, :count], entry.joules[:, count:]
    found = [{**names(ran.index), **told, **_joules(first)}]
    if rest.shape[1]:
        found.append({**names(entry.index[count:]), **_joules(rest)})
    return found
