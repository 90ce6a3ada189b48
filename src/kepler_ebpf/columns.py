"""The order of energy components, and the types of the columns that hold them: said once."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indexes = NDArray[np.intp]


def set_positions(flags: NDArray[np.bool_]) -> Indexes:
    """Where a column is set: ``np.flatnonzero`` without its layers of Python, as a sample asks a dozen times.

    A column that nobody changes meanwhile: nonzero() raises RuntimeError where the kernel takes a row as it counts.
    """
    return flags.nonzero()[0]


Component = Literal["package", "dram", "gpu", "core", "uncore", "platform"]

NODE: tuple[Component, ...] = ("package", "dram", "gpu")
"""What makes up a node's energy: these do not overlap. Core and uncore are inside package, and platform contains
package, so only these three are ever added up."""

WORKLOAD: tuple[Component, ...] = (*NODE, "core", "uncore")
"""What is shared among workloads. The first three are ``NODE``."""

PACKAGE, DRAM, GPU = range(len(NODE))
"""Positions in both."""

TITLES = ("package", "DRAM", "GPU")
"""What people call those of ``NODE``."""
