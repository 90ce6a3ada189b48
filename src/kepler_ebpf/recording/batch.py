"""Frames as one record batch.

This runs in a thread beside the sampler, which must not wait for it long: all frames of a batch together, column by
column in numpy, and each name looked up once. To make lines of every frame for itself took twice as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..attribution.frame import Frames
from ..columns import NODE, Floats, Indexes
from ..workloads.workload import Workload
from . import schema
from .lines import PERSON, Change, Pending, Taken, Used, spans

_Place = Any  # which lines: intp[n], or a slice
_BOOKS = schema.LEVELS[:3]
_OF_DOMAINS = {"read_seconds": "seconds", **{name: name for name in ("joules", "floor_watts", "watts", "live")}}


class _Words(NamedTuple):
    """A column of words: ``words[codes[k]]`` in line k."""

    codes: Indexes
    words: Sequence[str]


class _Columns:
    """Pieces of every column, with the lines where each belongs."""

    def __init__(self, pending: Pending, length: int) -> None:
        self.length = length
        self.pieces: dict[str, list[tuple[_Place, Any]]] = {}
        self._workloads = pending.workloads

    def put(self, place: _Place, **columns: Any) -> None:
        """Values by column: arrays, words, or one value for all of these lines."""
        for name, values in columns.items():
            self.pieces.setdefault(name, []).append((place, values))

    def put_processes(self, place: _Place, rows: Indexes, people: NDArray[np.void]) -> None:
        """Say which processes lines are about. ``people``: PERSON_BYTES[n]."""
        persons = people.tolist()
        numbers = {person: number for number, person in enumerate(dict.fromkeys(persons))}
        who = np.array([numbers[person] for person in persons], np.intp)
        everyone = np.frombuffer(b"".join(numbers), PERSON)
        found = everyone["row"]
        homes = [self._workloads[number] for number in everyone["home"].tolist()]
        self.put(
            place,
            level="process",
            row=rows,
            name=_Words(who, [comm.decode("utf-8", "replace") for comm in found["comm"].tolist()]),
            pid=found["tgid"][who],
            start_ns=found["start_ns"][who],
            container=_Words(who, [workload.container for workload in homes]),
            **_places(who, homes),
        )

    def put_containers(self, place: _Place, rows: Indexes) -> None:
        """Say which containers lines are about."""
        numbers, who = np.unique(rows, return_inverse=True)
        workloads = [self._workloads[number] for number in numbers.tolist()]
        name = _Words(who, [workload.container for workload in workloads])
        self.put(place, level="container", row=rows, name=name, **_places(who, workloads))


def _places(who: Indexes, workloads: Sequence[Workload]) -> dict[str, Any]:
    names = ("container_id", "pod", "namespace")
    return {name: _Words(who, [getattr(workload, name) for workload in workloads]) for name in names}


def record_batch(form: Any, pending: Pending) -> Any:
    """A ``pyarrow.RecordBatch``; a column that some lines do not have is null there. ``form``: its schema."""
    taken, renamed, latest = pending.taken, pending.renamed, pending.latest
    # Lines of each frame, kind by kind: node, domains, changes, processes, containers.
    counts = np.concatenate([_counts(one) for one in taken] or [np.zeros((0, 5), np.intp)])
    starts = np.cumsum(counts.reshape(-1)).reshape(counts.shape) - counts
    length, lines = int(counts.sum()), counts.sum(axis=1)
    said = [(one.numbers, one.ends_us, one.frames.seconds) for one in taken]
    if renamed is not None:
        lines = np.append(lines, len(renamed.rows))
        said.append((latest.numbers[-1:], latest.ends_us[-1:], latest.frames.seconds[-1:]))
    columns = _Columns(pending, int(lines.sum()))
    columns.put(
        slice(None),
        **{name: np.repeat(np.concatenate(of), lines) for name, of in zip(("frame", "end", "seconds"), zip(*said))},
    )
    if taken:
        _put_node(columns, starts[:, 0], [one.frames for one in taken])
        _put_domains(columns, spans(starts[:, 1], counts[:, 1]), counts[:, 1], pending)
        first = np.cumsum([0, *(len(one.ends_us) for one in taken)])
        for one, start in zip(taken, starts[first[:-1], 2].tolist()):
            _put_changes(columns, start, one.changes)
        _put_used(columns, starts[:, 3], [one.processes for one in taken])
        _put_used(columns, starts[:, 4], [one.containers for one in taken])
    if renamed is not None:
        _put_changes(columns, length, [renamed])
    return _arrow(form, columns)


def _counts(taken: Taken) -> Indexes:
    """Lines of each frame by kind: intp[k, 5]."""
    counts = np.zeros((len(taken.ends_us), 5), np.intp)
    counts[:, 0], counts[:, 1] = len(_BOOKS), taken.frames.reading.joules.shape[1]
    counts[0, 2] = sum(len(change.rows) for change in taken.changes)
    counts[:, 3], counts[:, 4] = taken.processes.counts, taken.containers.counts
    return counts


def _joules(joules: Floats) -> dict[str, Floats]:
    """``joules``: float64[3, n] by component."""
    return {**{f"{name}_joules": column for name, column in zip(NODE, joules)}, "joules": joules.sum(axis=0)}


def _put_node(columns: _Columns, starts: Indexes, frames: Sequence[Frames]) -> None:
    books = np.stack([_column(frames, name) for name in ("measured", "idle", "unattributed")], axis=1)
    seconds = np.zeros((len(books), len(_BOOKS)))
    seconds[:, 0] = _column(frames, "busy_seconds")
    counts = np.full(len(books), len(_BOOKS))
    columns.put(
        spans(starts, counts),
        level=_Words(spans(np.zeros_like(starts), counts), _BOOKS),
        row=0,
        cpu_seconds=seconds.reshape(-1),
        **_joules(books.reshape(-1, len(NODE)).T),
    )


def _put_domains(columns: _Columns, place: Indexes, counts: Indexes, pending: Pending) -> None:
    readings, domains = [one.frames.reading for one in pending.taken], pending.domains
    row = spans(np.zeros_like(counts), counts)
    payer = np.concatenate([np.tile(reading.payer, len(reading.joules)) for reading in readings])
    packages = np.repeat(np.repeat([one.packages for one in readings], [len(one.joules) for one in readings]), counts)
    columns.put(
        place,
        level="domain",
        row=row,
        name=_Words(row, [domain.label for domain in domains]),
        source=_Words(row, [domain.source for domain in domains]),
        component=_Words(row, [domain.component for domain in domains]),
        package=np.where(payer < packages, payer, -1),
        **{
            column: np.concatenate([getattr(reading, name).reshape(-1) for reading in readings])
            for column, name in _OF_DOMAINS.items()
        },
    )


def _put_changes(columns: _Columns, start: int, changes: Sequence[Change]) -> None:
    for change in changes:
        place = slice(start, start := start + len(change.rows))
        if change.there is False:
            columns.put(place, level=change.level, row=change.rows)
        elif change.people is not None:
            columns.put_processes(place, change.rows, change.people)
        else:
            columns.put_containers(place, change.rows)
        if change.there is not None:
            columns.put(place, there=change.there)
        if change.requests is not None:
            columns.put(place, cpu_request=change.requests)


def _put_used(columns: _Columns, starts: Indexes, used: Sequence[Used]) -> None:
    counts, charged = _column(used, "counts"), _column(used, "charged_counts")
    place, rows = spans(starts, counts), _column(used, "rows")
    if used[0].people is None:
        columns.put_containers(place, rows)
    else:
        columns.put_processes(place, rows, _column(used, "people"))
    ran = [one.ran for one in used]
    alone_ns, shared_ns = _column(ran, "alone_ns"), _column(ran, "shared_ns")
    columns.put(
        spans(starts, _column(used, "ran_counts")),
        cpu_seconds=(alone_ns + shared_ns) * 1e-9,
        alone_ns=alone_ns,
        shared_ns=shared_ns,
        **{name: _column(ran, name) for name in ("package", "cycles", "misses")},
    )
    joules = np.concatenate([one.charged.joules[: len(NODE)] for one in used], axis=1)
    columns.put(spans(starts + counts - charged, charged), **_joules(joules))


def _column(values: Iterable[Any], name: str) -> NDArray[Any]:
    return np.concatenate([getattr(one, name) for one in values])


# -- to Arrow ---------------------------------------------------------------------------------------------------------


def _arrow(form: Any, columns: _Columns) -> Any:
    pa = schema.arrow()
    masks: dict[tuple[int, ...], NDArray[np.bool_]] = {}
    arrays = []
    for field in form:
        pieces = columns.pieces.get(field.name, [])
        places = tuple(id(place) for place, _ in pieces)  # columns that were put together have them in common
        mask = masks[places] if places in masks else masks.setdefault(places, _missing(pieces, columns.length))
        if pa.types.is_dictionary(field.type):
            arrays.append(_words(pa, pieces, mask))
            continue
        # numpy knows these types by Arrow's names. pyarrow's own way (to_pandas_dtype) imports pandas, up to pyarrow 22
        # at least; 21 is the latest for Python 3.9.
        column = np.zeros(columns.length, "int64" if pa.types.is_timestamp(field.type) else str(field.type))
        for place, values in pieces:
            column[place] = values
        arrays.append(pa.array(column, field.type, mask=mask))
    return pa.record_batch(arrays, schema=form)


def _missing(pieces: Sequence[tuple[_Place, Any]], length: int) -> NDArray[np.bool_]:
    mask = np.ones(length, np.bool_)
    for place, _ in pieces:
        mask[place] = False
    return mask


def _words(pa: Any, pieces: Sequence[tuple[_Place, Any]], mask: NDArray[np.bool_]) -> Any:
    column = np.zeros(len(mask), np.int32)
    codes: dict[str, int] = {}
    for place, values in pieces:
        if isinstance(values, str):
            column[place] = codes.setdefault(values, len(codes))
        else:
            code = np.array([codes.setdefault(word, len(codes)) for word in values.words], np.int32)
            column[place] = code[values.codes]
    return pa.DictionaryArray.from_arrays(pa.array(column, mask=mask), pa.array(list(codes), pa.utf8()))
