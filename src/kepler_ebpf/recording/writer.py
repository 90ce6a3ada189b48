"""Writes frames, batch by batch: what is written stays readable whatever happens after."""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..attribution.frame import Entry, Frame
from ..attribution.framing import Rules
from ..attribution.workload_rows import WorkloadTable
from ..columns import NODE, Indexes
from ..energy.meter import Meter
from ..errors import KeplerError
from ..kernel.source import KernelTables
from ..kernel.table import Slices
from . import schema

_BATCH_SECONDS = 1.0
_BATCH_LINES = 50_000
_WAITING_BATCHES = 4
Lines = dict[str, Any]  # columns of some lines: arrays, or one value for all


@dataclass
class Progress:
    """What has been written so far."""

    frames: int = 0
    lines: int = 0
    bytes: int = 0


class Recorder:
    """Takes every frame. A thread compresses and writes, with at most four batches waiting."""

    def __init__(
        self,
        path: Path,
        rules: Rules,
        info: Mapping[str, str],
        tables: KernelTables,
        table: WorkloadTable,
        meter: Meter,
    ) -> None:
        """``info``: facts of the machine. Raises KeplerError where the file cannot be written."""
        self.progress = Progress()
        self._tables, self._table, self._meter = tables, table, meter
        self._schema = schema.arrow_schema(
            {
                schema.VERSION_KEY: str(schema.VERSION).encode(),
                schema.RULES_KEY: json.dumps(_rules(rules)).encode(),
                schema.INFO_KEY: json.dumps(dict(info)).encode(),
            }
        )
        try:
            self._file = path.open("wb")
        except OSError as error:
            raise KeplerError(f"cannot write {path}: {error.strerror}") from error
        self._path = path
        self._pending: list[Lines] = []
        self._pending_seconds, self._pending_lines = 0.0, 0
        self._failure: OSError | None = None
        self._batches: queue.Queue[list[Lines] | None] = queue.Queue(_WAITING_BATCHES)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def add(self, frame: Frame, end_ns: int) -> None:
        """Take a frame that ended at ``end_ns`` (since the epoch). Raises KeplerError where the disk is full, say."""
        if self._failure is not None:
            raise KeplerError(f"cannot write {self._path}: {self._failure.strerror}")
        common = {"frame": self.progress.frames, "end": end_ns, "seconds": frame.seconds}
        for lines in self._lines_of(frame):
            self._pending.append({**common, **lines})
            self._pending_lines += len(lines["row"])
        self.progress.frames += 1
        self._pending_seconds += frame.seconds
        if self._pending_seconds >= _BATCH_SECONDS or self._pending_lines >= _BATCH_LINES:
            self._flush()

    def close(self) -> None:
        """Write what is left. Raises KeplerError where that failed."""
        if self._pending:
            self._flush()
        self._batches.put(None)
        self._thread.join()
        self._file.close()
        if self._failure is not None:
            raise KeplerError(f"cannot write {self._path}: {self._failure.strerror}")

    def _flush(self) -> None:
        self._batches.put(self._pending)
        self._pending, self._pending_seconds, self._pending_lines = [], 0.0, 0

    # -- from a frame to columns ------------------------------------------------------------------------------------

    def _lines_of(self, frame: Frame) -> list[Lines]:
        return [
            *(
                {"level": level, "row": np.zeros(1, np.int32), **_joules(joules[:, np.newaxis])}
                for level, joules in (
                    ("node", frame.measured),
                    ("idle", frame.idle),
                    ("unattributed", frame.unattributed),
                )
            ),
            self._domains(frame),
            *_level("process", frame.process, frame.ran.processes, self._process_names),
            *_level("container", frame.container, frame.ran.workloads, self._container_names),
        ]

    def _domains(self, frame: Frame) -> Lines:
        reading, domains = frame.reading, self._meter.domains
        return {
            "level": "domain",
            "row": np.arange(len(domains), dtype=np.int32),
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

    def _process_names(self, index: Indexes) -> Lines:
        rows = self._tables.processes.rows[index]
        of_row = self._table.of(rows["cgroup_row"].astype(np.intp))
        containers = {number: self._table.rows[number].workload.container_id for number in set(of_row.tolist())}
        return {
            "name": [comm.decode("utf-8", "replace") for comm in rows["comm"].tolist()],
            "pid": rows["tgid"],
            "start_ns": rows["start_ns"],
            "container_id": [containers[number] for number in of_row.tolist()],
        }

    def _container_names(self, index: Indexes) -> Lines:
        workloads = [self._table.rows[number].workload for number in index.tolist()]
        return {
            "name": [workload.container for workload in workloads],
            "container_id": [workload.container_id for workload in workloads],
            "pod": [workload.pod for workload in workloads],
            "namespace": [workload.namespace for workload in workloads],
        }

    # -- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pa = schema.arrow()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        try:
            with pa.ipc.new_stream(self._file, self._schema, options=options) as stream:
                while True:
                    lines = self._batches.get()
                    if lines is None:
                        break
                    batch = _batch(pa, self._schema, lines)
                    stream.write_batch(batch, custom_metadata={schema.CHECKSUM_KEY: schema.checksum(batch)})
                    self._file.flush()
                    self.progress.lines += batch.num_rows
                    self.progress.bytes = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            self._failure = error
            while self._batches.get() is not None:
                pass  # whoever waits to hand on a batch must not wait for ever


def _rules(rules: Rules) -> dict[str, Any]:
    plain = {name: getattr(rules, name) for name in rules.__dataclass_fields__ if name != "overflow"}
    return {**plain, "overflow": {level: rows.tolist() for level, rows in rules.overflow.items()}}


def _joules(joules: np.ndarray[Any, np.dtype[np.float64]]) -> Lines:
    return {
        **{f"{component}_joules": column for component, column in zip(NODE, joules)},
        "joules": joules[: len(NODE)].sum(axis=0),
    }


def _level(level: str, entry: Entry, ran: Slices, names: Any) -> list[Lines]:
    """The lines of one level: who is charged, and the weights of who ran beside it where both are the same rows."""
    count = len(ran.index)
    together = len(entry.index) >= count and bool((entry.index[:count] == ran.index).all())
    weights = {"alone_ns": ran.alone_ns, "shared_ns": ran.shared_ns, "misses": ran.misses, "package": ran.package}
    charged: Lines = {
        "level": level,
        "row": entry.index.astype(np.int32),
        **names(entry.index),
        **_joules(entry.joules),
        "cpu_seconds": entry.seconds,
        "cycles": entry.cycles,
    }
    if together:
        rest = len(entry.index) - count
        return [{**charged, **{name: np.append(column, np.zeros(rest)) for name, column in weights.items()}}]
    return [charged, {"level": level, "row": ran.index.astype(np.int32), **names(ran.index), **weights}]


def _batch(pa: Any, form: Any, lines: list[Lines]) -> Any:
    """Lines as one record batch; a column that some lines do not have is null there."""
    counts = [len(some["row"]) for some in lines]
    arrays = []
    for field in form:
        parts = []
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        for some, count in zip(lines, counts):
            value = some.get(field.name)
            if value is None:
                parts.append(pa.nulls(count, kind))
            elif isinstance(value, (str, int, float)):
                parts.append(pa.repeat(pa.scalar(value, kind), count))
            else:
                parts.append(pa.array(value, from_pandas=False).cast(kind, safe=False))
        column = pa.chunked_array(parts, kind).combine_chunks()
        arrays.append(column.dictionary_encode() if kind is not field.type else column)
    return pa.record_batch(arrays, schema=form)
