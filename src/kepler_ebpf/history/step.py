"""What a step of the history holds: who used how much power from one moment to the next. Nobody changes one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..columns import Floats
from ..workloads.workload import Workload

MEASURED, IDLE, UNATTRIBUTED = range(3)
"""Rows of a step's books."""


class Process(NamedTuple):
    """A process as a step knows it. ``start_ns`` tells apart processes that had the same pid.

    ``pid`` 0 stands for all processes of this name that began and ended within the step.
    """

    pid: int
    start_ns: int
    comm: str
    workload: Workload


Who = TypeVar("Who", Process, Workload)


@dataclass(frozen=True)
class Shares(Generic[Who]):
    """One level: ``who[k]`` used ``watts[k]`` in the step, and ``joules[k]`` since the collector started.

    ``watts``: float32[n]. ``joules``: float64[n]. ``others_watts``, ``others_joules``: of all that are not among them,
    those that ended included.
    """

    who: tuple[Who, ...]
    watts: NDArray[np.float32]
    joules: Floats
    others_watts: float
    others_joules: float


@dataclass(frozen=True, eq=False)
class Step:
    """``number``: counts steps from 1. ``ended``: monotonic seconds; ``clock``: the same moment since the epoch.

    ``seconds``: wall time that the step took. ``watts``: float64[3, 3], mean power by row of the books (measured, idle,
    unattributed) and component of ``columns.NODE``; ``joules``: likewise, since the start. ``domain_watts``:
    float64[d], mean power of each domain of the meter, NaN where nothing was read. At each level
    ``measured = Σ shares + others + idle + unattributed``.
    """

    number: int
    ended: float
    clock: float
    seconds: float
    watts: Floats
    joules: Floats
    domain_watts: Floats
    processes: Shares[Process]
    containers: Shares[Workload]

    @property
    def node_watts(self) -> float:
        return float(self.watts[MEASURED].sum())

    @property
    def node_joules(self) -> float:
        return float(self.joules[MEASURED].sum())
