"""All energy sources as one row of columns: what each domain used since the sample before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from ..columns import Floats
from ..waiting import waiting_for
from .figures import look_safely
from .source import Counted, Domain, EnergySource, GpuSource, Taking


@dataclass(frozen=True)
class Interval:
    """``joules``: of each of d domains, used since its previous good reading; 0 where there is none. ``seconds``: of
    each, the time that covers; 0 where there is no new reading."""

    joules: list[float]
    seconds: list[float]

    def plus(self, earlier: Interval | None) -> Interval:
        """This interval and an earlier one as one; the earlier may know fewer domains."""
        if earlier is None:
            return self
        return Interval(_sums(self.joules, earlier.joules), _sums(self.seconds, earlier.seconds))


def _sums(some: list[float], others: list[float]) -> list[float]:
    return [one + another for one, another in zip_longest(some, others, fillvalue=0.0)]


class Meter:
    """Reads every source and takes the differences. ``domains`` only grows; ``gpus``: positions of GPUs in it.

    ``live``: which domains have given an accepted reading lately.
    """

    def __init__(self, sources: Sequence[EnergySource]) -> None:
        self.sources = tuple(sources)
        self.domains: tuple[Domain, ...] = ()
        self._order: list[tuple[int, int]] = []
        self._lengths = [0] * len(self.sources)
        for source in self.sources:
            with waiting_for(source.name):
                look_safely(source)()
        self._adopt()
        self._joules, self._time_ns, self.live = self._gather()

    def _adopt(self) -> None:
        """Append domains that sources have come to offer; a domain keeps its place for life."""
        for number, source in enumerate(self.sources):
            for position in range(self._lengths[number], len(source.domains)):
                self._order.append((number, position))
                self.domains += (source.domains[position],)
            self._lengths[number] = len(source.domains)
        self.gpus = tuple(place for place, domain in enumerate(self.domains) if domain.component == "gpu")

    def _gather(self) -> Counted:
        counted = [source.counted() for source in self.sources]
        return Counted(*([counted[number][column][place] for number, place in self._order] for column in range(3)))  # type: ignore[arg-type]

    def look(self) -> list[Taking]:
        """Read all sources, raw. Never raises: whatever a source raises costs that source this reading."""
        return [look_safely(source) for source in self.sources]

    @property
    def presses(self) -> bool:
        """Whether what a look has read is to be worked out at once: something is gone, or is known for now alone."""
        return bool(self.gpus) or any(source.presses for source in self.sources)

    def take(self, looked: Sequence[Taking]) -> Interval:
        """Work out what a look has read, after those before it. Never raises, likewise."""
        for taking in looked:
            taking()
        known = len(self._order)
        if [len(source.domains) for source in self.sources] != self._lengths:
            self._adopt()
        joules, time_ns, self.live = self._gather()
        # What a domain had counted before we met it is not ours.
        self._joules += joules[known:]
        self._time_ns += time_ns[known:]
        used = [now - before for now, before in zip(joules, self._joules)]
        covered = [(now - before) * 1e-9 for now, before in zip(time_ns, self._time_ns)]
        self._joules, self._time_ns = joules, time_ns
        return Interval(used, covered)

    def read(self) -> Interval:
        """Read all sources now."""
        return self.take(self.look())

    @property
    def label(self) -> str:
        """Names of the sources that have domains, as ``power_source`` of kepler_node_info has them."""
        return "+".join(dict.fromkeys(source.name for source in self.sources if source.domains))

    def errors(self) -> dict[tuple[str, str], int]:
        """Readings that were not believed or could not be had, by source and reason."""
        sources = [part for source in self.sources for part in getattr(source, "sources", (source,))]
        return {(source.name, reason): count for source in sources for reason, count in source.faults.items()}

    def users(self, domain: int) -> tuple[NDArray[np.int32], Floats]:
        """Who used a GPU's latest joules: process ids, int32[n], and weights, float64[n]; empty where not known."""
        number, position = self._order[domain]
        source = self.sources[number]
        return source.shares(position) if isinstance(source, GpuSource) else (np.empty(0, np.int32), np.empty(0))

    def load(self, domain: int) -> float:
        """A GPU's utilisation, 0 to 1; NaN where it cannot be told."""
        number, position = self._order[domain]
        source = self.sources[number]
        return source.load(position) if isinstance(source, GpuSource) else float("nan")

    def close(self) -> None:
        for source in self.sources:
            source.close()
