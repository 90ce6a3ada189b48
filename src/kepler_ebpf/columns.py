"""The order of energy components, and the types of the columns that hold them: said once."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Indexes = NDArray[np.intp]


def set_positions(flags: NDArray[np.bool_]) -> Indexes:
    """Where a column is set: ``np.flatnonzero`` without its layers of Python, as a sample asks a dozen times.

    A column that nobody changes meanwhile: nonzero() raises RuntimeError where the kernel takes a row as it counts.
    """
    return flags.nonzero()[0]


def are_among(column: NDArray[np.integer[Any]], values: ArrayLike) -> NDArray[np.bool_]:
    """Which entries of a column are among these integers: ``np.isin``, which imports numpy's masked arrays (2 MiB that
    stay, and a sample that waits for them)."""
    ordered = np.sort(np.asarray(values, column.dtype))
    if not len(ordered):
        return np.zeros(column.shape, np.bool_)
    return np.asarray(ordered.take(ordered.searchsorted(column), mode="clip") == column, np.bool_)


Component = Literal["package", "dram", "gpu", "core", "uncore", "platform"]

NODE: tuple[Component, ...] = ("package", "dram", "gpu")
"""What makes up a node's energy: these do not overlap. Core and uncore are inside package, and platform contains
package, so only these three are ever added up."""

WORKLOAD: tuple[Component, ...] = (*NODE, "core", "uncore")
"""What is shared among workloads. The first three are ``NODE``."""

SHOWN: tuple[Component, ...] = ("package", "core", "uncore", "dram", "platform", "gpu")
"""All, in the order in which views list them: parts behind the whole."""

PACKAGE, DRAM, GPU = range(len(NODE))
"""Positions in ``NODE`` and ``WORKLOAD``."""

TITLES = ("package", "DRAM", "GPU")
"""What people call those of ``NODE``."""
