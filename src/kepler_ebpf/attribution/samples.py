"""What a sample read: kept until several samples are attributed at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np

from ..columns import Floats, Indexes
from ..energy.meter import Interval
from ..energy.source import Taking


class Look(NamedTuple):
    """What is read at the moment of a sample.

    ``began``, ``ended``: monotonic seconds. ``busy_seconds``: cumulative CPU seconds of all tasks but the idle ones, by
    package; ``cpus``: how many are online, likewise. ``meters``: what the meters said, raw.
    """

    began: float
    ended: float
    busy_seconds: Sequence[float]
    cpus: Sequence[int]
    meters: Sequence[Taking]


@dataclass(frozen=True)
class GpuReading:
    """A GPU that told something. ``load``: its utilisation, NaN where it is not known.

    ``rows``: by level, the rows of its users, intp[n]; ``parts``: each one's part of its joules, float64[n]: less
    than 1 in all where a user's row is not to be had.
    """

    load: float
    rows: Mapping[str, Indexes]
    parts: Floats


@dataclass(frozen=True)
class Sample:
    """One sample.

    ``began``, ``ended``: monotonic seconds. ``busy_seconds``, ``wall_seconds``: CPU time in use, and there to be used,
    by payer. ``interval``: what the meters told; ``live``: which domains answer; ``gpus``: by domain, those of them
    that told something. Lists, as in :class:`..energy.source.Counted`.
    """

    began: float
    ended: float
    busy_seconds: list[float]
    wall_seconds: list[float]
    interval: Interval
    live: list[bool]
    gpus: Mapping[int, GpuReading]

    @property
    def seconds(self) -> float:
        """Wall time that it covers."""
        return self.ended - self.began

    def plus(self, earlier: Sample) -> Sample:
        """This sample and one before it as one."""
        return Sample(
            earlier.began,
            self.ended,
            [now + before for now, before in zip(self.busy_seconds, earlier.busy_seconds)],
            [now + before for now, before in zip(self.wall_seconds, earlier.wall_seconds)],
            self.interval.plus(earlier.interval),
            self.live,
            {**earlier.gpus, **self.gpus},
        )


def as_one(samples: Sequence[Sample]) -> Sample:
    """Samples in a row as one."""
    return reduce(lambda earlier, later: later.plus(earlier), samples)


def known_users(rows: Sequence[int | None], weights: Floats) -> tuple[Indexes, Floats]:
    """The process rows of a GPU's users and their parts of its joules, as :class:`GpuReading` has them.

    ``rows``: of each user, None where it is not to be had; ``weights``: float64[n], what each counts for.
    """
    known = [position for position, row in enumerate(rows) if row is not None]
    whole = float(weights.sum())
    index = np.array([rows[position] for position in known], np.intp)
    return index, weights[known] / whole if whole > 0 else np.zeros(len(known))
