"""How large the kernel's tables are."""

from __future__ import annotations

import logging

from ..host.topology import Topology
from . import layout

log = logging.getLogger(__name__)

_MOST_BYTES = 128 << 20
_LONGEST_PID = 4 << 20  # PID_MAX_LIMIT, include/linux/threads.h


def packages_told_apart(topology: Topology, rows: int) -> int:
    """As many as there may be, unless that many columns would take too much memory: then all CPUs are one package."""
    size = topology.most_packages * rows * layout.USE.itemsize
    if size <= _MOST_BYTES:
        return topology.most_packages
    log.warning("%d packages are not told apart: their rows would take %d MiB", topology.most_packages, size >> 20)
    return 1


def hints(rows: int) -> int:
    """How many hints: a power of two, so that few processes share one even where all rows are used."""
    return min(max(1 << (4 * rows - 1).bit_length(), 16), _LONGEST_PID)
