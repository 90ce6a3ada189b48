"""A recording as a table, for spreadsheets and data frames: by workload, or frame by frame."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np

from ..columns import NODE
from ..recording.schema import arrow
from .book import Book, Charges
from .groups import Groups, group, mean_watts, node_peak_watts

Columns = dict[str, Any]  # lists or arrays of one length, in order


def by_workload(book: Book, groupings: tuple[str, ...]) -> Columns:
    """A line for each workload of each grouping, and one each for what the node measured, left idle and unattributed.

    Of one grouping the lines sum to ``measured``.
    """
    parts = [_node(book), *(_groups(book, group(book, by)) for by in groupings)]
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


def by_frame(book: Book) -> Columns:
    """A line for each process and container in each frame, and three for the node; times in seconds since the epoch.

    Several lines may be about one workload in one frame.
    """
    frames = np.arange(len(book.seconds))
    parts = [
        _lines(book, level, frames, joules)
        for level, joules in (("node", book.measured), ("idle", book.idle), ("unattributed", book.unattributed))
    ]
    parts += [_charged(book, level, charges) for level, charges in book.levels.items()]
    joined = {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}
    order = np.argsort(joined["frame"], kind="stable")
    return {name: column[order] for name, column in joined.items()}


def as_csv(columns: Columns) -> bytes:
    """Comma-separated, with a heading; numbers in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(column.tolist() if hasattr(column, "tolist") else column for column in columns.values())))
    return text.getvalue().encode("utf-8", "replace")


def as_parquet(columns: Columns) -> bytes:
    """An Apache Parquet file. Raises KeplerError where pyarrow is missing."""
    pa = arrow()
    import pyarrow.parquet as parquet

    sink = io.BytesIO()
    table = pa.table({name: pa.array(column) for name, column in columns.items()})
    parquet.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _node(book: Book) -> Columns:
    parts = (("measured", book.measured), ("idle", book.idle), ("unattributed", book.unattributed))
    means = [float(mean_watts(joules.sum(axis=1), book)) for _, joules in parts]
    return {
        "by": ["node"] * len(parts),
        "name": [name for name, _ in parts],
        **{f"{one}_joules": [float(joules[k].sum()) for _, joules in parts] for k, one in enumerate(NODE)},
        "joules": [float(joules.sum()) for _, joules in parts],
        "mean_watts": means,
        "peak_watts": [node_peak_watts(book), None, None],
        "cpu_seconds": [None] * len(parts),
        "members": [None] * len(parts),
    }


def _groups(book: Book, groups: Groups) -> Columns:
    return {
        "by": [groups.by] * len(groups),
        "name": list(groups.labels),
        **{f"{one}_joules": groups.joules[k].tolist() for k, one in enumerate(NODE)},
        "joules": groups.total.tolist(),
        "mean_watts": mean_watts(groups.joules, book).tolist(),
        "peak_watts": groups.peak_watts.tolist(),
        "cpu_seconds": groups.cpu_seconds.tolist(),
        "members": groups.members.tolist(),
    }


def _lines(book: Book, level: str, frame: Any, joules: Any) -> Columns:
    count = len(frame)
    empty = np.full(count, "", object)
    return {
        "frame": frame,
        "end": book.end_us[frame] / 1e6,
        "seconds": book.seconds[frame],
        "level": np.full(count, level, object),
        "comm": empty,
        "pid": np.zeros(count, np.int64),
        "container_id": empty,
        "container": empty,
        "pod": empty,
        "namespace": empty,
        **{f"{one}_joules": joules[k] for k, one in enumerate(NODE)},
        "joules": joules.sum(axis=0),
        "cpu_seconds": np.zeros(count),
    }


def _charged(book: Book, level: str, charges: Charges) -> Columns:
    def words(name: str) -> Any:
        return np.array([*(getattr(who, name) for who in charges.everyone), ""], object)[charges.who]

    pid = np.array([*(who.pid for who in charges.everyone), 0], np.int64)[charges.who]
    names = {name: words(name) for name in ("comm", "container_id", "container", "pod", "namespace")}
    told = {"pid": pid, "cpu_seconds": charges.cpu_seconds}
    return {**_lines(book, level, charges.frame, charges.joules), **names, **told}
