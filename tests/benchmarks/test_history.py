"""The ruler of the history's memory: what only the history holds is counted, once, and nothing else."""

from __future__ import annotations

import sys

import numpy as np
from benchmarks.history import _bytes_of


def test_what_others_hold_too_is_not_counted() -> None:
    ours, shared = b"o" * 1000, b"s" * 100_000
    assert _bytes_of([ours, shared], [shared]) == sys.getsizeof([ours, shared]) + sys.getsizeof(ours)


def test_what_is_held_twice_is_counted_once() -> None:
    column = np.zeros(1000)
    whole = {"a": column, "b": (column, [column])}
    assert column.nbytes < _bytes_of(whole, None) < column.nbytes + 1000


def test_code_is_not_counted() -> None:
    assert _bytes_of((np, test_code_is_not_counted, dict), None) == sys.getsizeof((1, 2, 3))
