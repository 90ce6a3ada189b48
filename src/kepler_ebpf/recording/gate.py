"""Whether what a recording says can be: a checksum tells that a file is as it was written, not who wrote it.

Whoever reads a recording indexes and divides by what stands in it, and makes room for as much. So it is looked at once,
batch by batch, and everybody behind may rely on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import IDLE_POLICIES, MOST_HYPERTHREAD_RATIO
from . import schema

_MOST_ROWS = 1 << 20  # four times as many as any table of the kernel's has (--rows, --cgroup-rows)
_MOST_PACKAGES = 1 << 13  # as many as Linux has CPUs (NR_CPUS_RANGE_END, arch/x86/Kconfig)
_MOST, _LEAST = 1e18, 1e-100
"""Of any figure but 0, so that no quotient, square or sum of them is beyond a float64."""
_ROUNDING = -1e-6
_MOST_WORD_BYTES = 1 << 12
"""Of a line. A dictionary stands for all batches until there is another one, and is read with each of them."""
_LONGEST_SECONDS, _SHORTEST_SECONDS = 1e9, 1e-9
_YEAR_10000_US = 253_402_300_800_000_000
_BOOKS = schema.LEVELS[:3]
_FIGURES = tuple(name for name, kind, _ in schema.COLUMNS if kind == "float64")
_DOMAIN = schema.LEVELS.index("domain")


def check_rules(rules: Any) -> None:
    """Raises ValueError where these are no rules that energy can be shared by."""
    if not isinstance(rules, dict) or rules.keys() != {
        *("packages", "hyperthread_ratio", "by_cycles", "by_misses", "idle_policy", "overflow")
    }:
        raise ValueError("its rules are others")
    packages, overflow = rules["packages"], rules["overflow"]
    good = (
        _is_whole(packages, 1, _MOST_PACKAGES)
        and type(rules["hyperthread_ratio"]) in (int, float)
        and 1.0 <= rules["hyperthread_ratio"] <= MOST_HYPERTHREAD_RATIO
        and type(rules["by_cycles"]) is type(rules["by_misses"]) is bool
        and isinstance(rules["idle_policy"], str)
        and rules["idle_policy"] in IDLE_POLICIES
        and isinstance(overflow, dict)
        and overflow.keys() == {"process", "container"}
        and all(isinstance(rows, list) and len(rows) == packages + 1 for rows in overflow.values())
        and all(_is_whole(row, 0, _MOST_ROWS) for rows in overflow.values() for row in rows)
    )
    if not good:
        raise ValueError("its rules cannot be")


def _is_whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def check_info(info: Any) -> None:
    """Raises ValueError where these are no facts of a machine."""
    if not isinstance(info, dict) or not all(isinstance(value, str) for value in info.values()):
        raise ValueError("its facts are no text")


class Gate:
    """Looks at the batches of a recording, one behind the other."""

    def __init__(self, rules: Mapping[str, Any]) -> None:
        self._packages = rules["packages"]
        self._frames = 0

    def check(self, batch: Any) -> None:
        """Raises ValueError with what cannot be."""
        for column in batch.columns:
            if hasattr(column, "dictionary") and column.dictionary.nbytes > _MOST_WORD_BYTES * (len(batch) + 1):
                raise ValueError("it has more words than lines")
        if not len(batch):
            return
        level = _levels(batch)
        self._check_frames(batch, level)
        _check_time(batch)
        of_rows = level >= _DOMAIN
        rows = _filled(batch, "row", -1)
        _require(((rows >= 0) & (rows < _MOST_ROWS))[of_rows], "a row")
        _require(_filled(batch, "start_ns", 0) < 1 << 63, "start_ns")
        for name in _FIGURES:
            figures = _filled(batch, name, 0.0)
            if name == "floor_watts":  # NaN while it is not known
                figures = np.where(np.isnan(figures), 0.0, figures)
            size = np.abs(figures)
            _require((figures >= _ROUNDING) & (size <= _MOST) & ((size >= _LEAST) | (size == 0.0)), name)
        packages = _filled(batch, "package", -2)
        ran = np.asarray(batch.column("alone_ns").is_valid())
        first = np.where(ran & (level > _DOMAIN), 0, np.where(level == _DOMAIN, -1, -2))
        _require((packages >= first) & (packages < self._packages), "a package")

    def _check_frames(self, batch: Any, level: NDArray[np.intp]) -> None:
        """One line of each of the three books in every frame, and frames in order, each a step behind the other."""
        if batch.column("frame").null_count:
            raise ValueError("a line is of no frame")
        frame = batch.column("frame").to_numpy().astype(np.int64)
        first = max(self._frames - 1, 0)  # names that came late are told with the frame before
        count = int((level == 0).sum())
        expected = np.arange(self._frames, self._frames + count)
        good = frame[0] >= first and frame[-1] < self._frames + count and bool((frame[1:] >= frame[:-1]).all())
        for book in range(len(_BOOKS)):
            good = good and np.array_equal(frame[level == book], expected)
        if not good:
            raise ValueError("its frames are not in order")
        self._frames += count


def _levels(batch: Any) -> NDArray[np.intp]:
    """Position in ``LEVELS`` of each line's: intp[n]."""
    column = batch.column("level")
    known = [schema.LEVELS.index(word) if word in schema.LEVELS else -1 for word in column.dictionary.to_pylist()]
    level: NDArray[np.intp] = np.array([*known, -1], np.intp)[column.indices.fill_null(len(known)).to_numpy()]
    _require(level >= 0, "a level")
    return level


def _check_time(batch: Any) -> None:
    ends = batch.column("end").cast("int64").fill_null(-1).to_numpy()
    _require((ends >= 0) & (ends < _YEAR_10000_US), "the end of a frame")
    seconds = _filled(batch, "seconds", 0.0)
    _require((seconds >= _SHORTEST_SECONDS) & (seconds <= _LONGEST_SECONDS), "seconds")


def _filled(batch: Any, name: str, instead: float) -> NDArray[Any]:
    return np.asarray(batch.column(name).fill_null(instead).to_numpy(zero_copy_only=False))


def _require(good: NDArray[np.bool_], what: str) -> None:
    if not good.all():
        raise ValueError(f"{what} cannot be")
