"""A recording as a table, for spreadsheets and data frames: by workload, or frame by frame."""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..columns import NODE, Floats
from ..plain import clean
from ..recording.schema import arrow
from .book import Book, Charges
from .groups import Groups, mean_watts, node_peak_watts, others

Columns = dict[str, Any]  # lists or arrays of one length, in order


def by_workload(book: Book, chosen: Sequence[tuple[Groups, int]]) -> Columns:
    """A line for each workload of each grouping, and one each for what the node measured, left idle and unattributed.

    ``chosen``: groups, and most lines of each; all others are one line, so that of one grouping the lines sum to
    ``measured``. None is what is not known: energy that no meter told.
    """
    parts = [_node(book), *(_groups(book, groups, top) for groups, top in chosen)]
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


def by_frame(book: Book) -> Columns:
    """A line for each process and container in each frame, and three for the node; times in seconds since the epoch.

    Several lines may be about one workload in one frame. What is not known, or is nobody's, is masked.
    """
    frames = np.arange(len(book.seconds))
    parts = [
        _lines(book, level, frames, joules)
        for level, joules in (("node", book.measured), ("idle", book.idle), ("unattributed", book.unattributed))
    ]
    parts += [_charged(book, level, charges) for level, charges in book.levels.items()]
    parts[0]["cpu_seconds"] = book.busy_seconds
    joined = {name: _joined([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(joined["frame"], kind="stable")
    return {name: column[order] for name, column in joined.items()}


def _joined(columns: list[Any]) -> Any:
    # Joining masked columns takes several times as long.
    join = np.ma.concatenate if any(isinstance(column, np.ma.MaskedArray) for column in columns) else np.concatenate
    return join(columns)


def as_csv(columns: Columns) -> bytes:
    """Comma-separated, with a heading; numbers in full. Names are text for every spreadsheet and terminal that shows
    them; Parquet has them as they are."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    told = (column.tolist() if hasattr(column, "tolist") else column for column in columns.values())
    writer.writerows(zip(*(map(_cell, column) for column in told)))
    return text.getvalue().encode("utf-8", "replace")


def _cell(value: Any) -> Any:
    return _text(value) if isinstance(value, str) else value


@functools.lru_cache(4096)
def _text(name: str) -> str:
    # Spreadsheets run a cell that begins so (https://owasp.org/www-community/attacks/CSV_Injection), and any user's
    # process may be called like a formula.
    text = clean(name)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def as_parquet(columns: Columns) -> bytes:
    """An Apache Parquet file. Raises KeplerError where pyarrow is missing."""
    pa = arrow()
    import pyarrow.parquet as parquet

    sink = io.BytesIO()
    table = pa.table({name: _array(pa, name, column) for name, column in columns.items()})
    parquet.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _array(pa: Any, name: str, column: Any) -> Any:
    # A column in which nothing is known still has a type.
    kind = pa.float64() if name.endswith(("joules", "watts", "seconds")) else None
    if isinstance(column, np.ma.MaskedArray):
        return pa.array(column.data, kind, mask=np.ma.getmaskarray(column))
    return pa.array(column, kind)


def _energy(book: Book, joules: Floats) -> Columns:
    """Joules and mean power, float64[3, n] by component, as far as they are known."""
    metered, count = book.is_metered, joules.shape[1]
    nothing = [None] * count
    return {
        **{f"{one}_joules": joules[k].tolist() if metered[k] else nothing for k, one in enumerate(NODE)},
        "joules": joules.sum(axis=0).tolist() if metered.any() else nothing,
        "mean_watts": mean_watts(joules, book).tolist() if metered.any() else nothing,
    }


def _node(book: Book) -> Columns:
    peak = node_peak_watts(book) if book.is_metered.any() else None
    return {
        "by": ["node"] * 3,
        "name": ["measured", "idle", "unattributed"],
        **_energy(book, np.stack([one.sum(axis=1) for one in (book.measured, book.idle, book.unattributed)], axis=1)),
        "peak_watts": [peak, None, None],
        "cpu_seconds": [float(book.busy_seconds.sum()), None, None],
        "members": [None] * 3,
    }


def _groups(book: Book, groups: Groups, top: int) -> Columns:
    count = min(top, len(groups))
    rest = len(groups) - count

    def shown(column: Any) -> Any:
        """The first, and the sum of all others where there are any."""
        first, last = column[..., :count], column[..., count:].sum(axis=-1, keepdims=True)
        return np.concatenate((first, last), axis=-1) if rest else first

    peaks = groups.peak_watts[:count].tolist() if book.is_metered.any() else [None] * count
    return {
        "by": [groups.by] * (count + bool(rest)),
        "name": [*groups.labels[:count], *([others(rest)] if rest else [])],
        **_energy(book, shown(groups.joules)),
        "peak_watts": [*peaks, *([None] if rest else [])],
        "cpu_seconds": shown(groups.cpu_seconds).tolist(),
        "members": shown(groups.members).tolist(),
    }


def _lines(book: Book, level: str, frame: Any, joules: Any) -> Columns:
    count = len(frame)
    empty = np.full(count, "", object)
    unknown = np.ma.masked_all(count)  # type: ignore[no-untyped-call]
    return {
        "frame": frame,
        "end": book.end_us[frame] / 1e6,
        "seconds": book.seconds[frame],
        "level": np.full(count, level, object),
        "comm": empty,
        "pid": np.ma.masked_all(count, np.int64),  # type: ignore[no-untyped-call]
        "container_id": empty,
        "container": empty,
        "pod": empty,
        "namespace": empty,
        **{f"{one}_joules": joules[k] if book.is_metered[k] else unknown for k, one in enumerate(NODE)},
        "joules": joules.sum(axis=0) if book.is_metered.any() else unknown,
        "cpu_seconds": unknown,
    }


def _charged(book: Book, level: str, charges: Charges) -> Columns:
    def words(name: str) -> Any:
        return np.array([*(getattr(who, name) for who in charges.everyone), ""], object)[charges.who]

    names = {name: words(name) for name in ("comm", "container_id", "container", "pod", "namespace")}
    told: Columns = {"cpu_seconds": charges.cpu_seconds}
    if level == "process":
        told["pid"] = np.array([*(who.pid for who in charges.everyone), 0], np.int64)[charges.who]
    return {**_lines(book, level, charges.frame, charges.joules), **names, **told}
