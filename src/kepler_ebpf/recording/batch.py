"""Lines as one record batch.

This runs in a thread beside the sampler, which must not wait for it long: columns are filled piece by piece in numpy,
and words are looked up in a dictionary. To make an Arrow array of every piece took ten times as long.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import schema
from .lines import Lines

_Piece = tuple[int, int, Any]  # from which line to which, and their values, or one value for all


def record_batch(form: Any, lines: list[Lines]) -> Any:
    """A ``pyarrow.RecordBatch``; a column that some lines do not have is null there. ``form``: its schema."""
    pa = schema.arrow()
    pieces: dict[str, list[_Piece]] = {field.name: [] for field in form}
    first = 0
    for some in lines:
        last = first + len(some["row"])
        for name, values in some.items():
            pieces[name].append((first, last, values))
        first = last
    arrays = [
        _words(pa, pieces[field.name], first)
        if pa.types.is_dictionary(field.type)
        else _figures(pa, field.type, pieces[field.name], first)
        for field in form
    ]
    return pa.record_batch(arrays, schema=form)


def _figures(pa: Any, kind: Any, pieces: list[_Piece], length: int) -> Any:
    dtype = np.dtype("int64" if pa.types.is_timestamp(kind) else kind.to_pandas_dtype())
    if pieces and not any(hasattr(values, "__len__") for _, _, values in pieces):  # a frame's own, in all of its lines
        lengths = [last - first for first, last, _ in pieces]
        if sum(lengths) == length:
            return pa.array(np.repeat(np.array([values for _, _, values in pieces], dtype), lengths), kind)
    column, missing = np.zeros(length, dtype), np.ones(length, np.bool_)
    for first, last, values in pieces:
        column[first:last] = values
        missing[first:last] = False
    return pa.array(column, kind, mask=missing)


def _words(pa: Any, pieces: list[_Piece], length: int) -> Any:
    column, missing = np.zeros(length, np.int32), np.ones(length, np.bool_)
    codes: dict[str, int] = {}
    for first, last, values in pieces:
        if isinstance(values, str):
            column[first:last] = codes.setdefault(values, len(codes))
        else:
            column[first:last] = [codes.setdefault(value, len(codes)) for value in values]
        missing[first:last] = False
    return pa.DictionaryArray.from_arrays(pa.array(column, mask=missing), pa.array(list(codes), pa.utf8()))
