"""All energy sources as one row of columns: what each domain used since the sample before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .figures import read_safely
from .source import Domain, EnergySource, GpuSource

_NO_DOMAINS = np.zeros(0, np.bool_)


@dataclass(frozen=True)
class Interval:
    """``joules``: float64[d], used by each domain since its previous good reading; 0 where there is none.
    ``seconds``: float64[d], the time that covers; 0 where there is no new reading."""

    joules: NDArray[np.float64]
    seconds: NDArray[np.float64]

    def plus(self, earlier: Interval | None) -> Interval:
        """This interval and an earlier one as one; the earlier may know fewer domains."""
        if earlier is None:
            return self
        pad = (0, len(self.joules) - len(earlier.joules))
        return Interval(self.joules + np.pad(earlier.joules, pad), self.seconds + np.pad(earlier.seconds, pad))


class Meter:
    """Reads every source and takes the differences. ``domains`` only grows; ``gpus``: positions of GPUs in it."""

    def __init__(self, sources: Sequence[EnergySource]) -> None:
        self.sources = tuple(sources)
        self.domains: tuple[Domain, ...] = ()
        self._order: list[tuple[int, int]] = []
        self._lengths = [0] * len(self.sources)
        for source in self.sources:
            read_safely(source)
        self._adopt()
        self._joules, self._time_ns = self._gather()

    def _adopt(self) -> None:
        """Append domains that sources have come to offer; a domain keeps its place for life."""
        for number, source in enumerate(self.sources):
            for position in range(self._lengths[number], len(source.domains)):
                self._order.append((number, position))
                self.domains += (source.domains[position],)
            self._lengths[number] = len(source.domains)
        self.gpus = tuple(place for place, domain in enumerate(self.domains) if domain.component == "gpu")
        starts = np.concatenate(([0], np.cumsum(self._lengths)))
        self._take = np.array([starts[number] + position for number, position in self._order], np.intp)

    def _gather(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        if not self.sources:
            return np.zeros(0), np.zeros(0, np.int64)
        joules = np.concatenate([source.joules for source in self.sources])
        time_ns = np.concatenate([source.time_ns for source in self.sources])
        return joules[self._take], time_ns[self._take]

    def read(self) -> Interval:
        """Refresh all sources. Never raises: whatever a source raises costs that source this reading."""
        for source in self.sources:
            read_safely(source)
        if any(len(source.domains) != length for source, length in zip(self.sources, self._lengths)):
            known = len(self.domains)
            self._adopt()
            joules, time_ns = self._gather()
            # What a domain had counted before we met it is not ours.
            self._joules = np.concatenate((self._joules, joules[known:]))
            self._time_ns = np.concatenate((self._time_ns, time_ns[known:]))
        else:
            joules, time_ns = self._gather()
        interval = Interval(joules - self._joules, (time_ns - self._time_ns).astype(np.float64) * 1e-9)
        self._joules, self._time_ns = joules, time_ns
        return interval

    @property
    def live(self) -> NDArray[np.bool_]:
        """Which domains have given an accepted reading lately: bool[d]."""
        return np.concatenate([source.live for source in self.sources])[self._take] if self.sources else _NO_DOMAINS

    @property
    def label(self) -> str:
        """Names of the sources that have domains, as ``power_source`` of kepler_node_info has them."""
        return "+".join(dict.fromkeys(source.name for source in self.sources if source.domains))

    def errors(self) -> dict[tuple[str, str], int]:
        """Readings that were not believed or could not be had, by source and reason."""
        sources = [part for source in self.sources for part in getattr(source, "sources", (source,))]
        return {(source.name, reason): count for source in sources for reason, count in source.faults.items()}

    def users(self, domain: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
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
