"""The meter of the packages: the best one that answers, and the power model while none does."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .figures import LIVE_SECONDS
from .model import ModelSource
from .source import Domain, EnergySource

log = logging.getLogger(__name__)


class PackageMeter:
    """Several sources as one (see :class:`EnergySource`), of which one counts at any time.

    ``candidates``: in order of preference. The first that has a live package domain counts. The model counts once none
    has answered for some seconds, and until one does again. What a source counted while another one did is nobody's:
    no energy is counted twice, and none is made up.
    """

    def __init__(self, candidates: Sequence[EnergySource], model: ModelSource) -> None:
        self.model = model
        self._sources: tuple[EnergySource, ...] = (*candidates, model)
        self._lengths = [0] * len(self._sources)
        self._order: list[tuple[int, int]] = []
        self._before: list[tuple[float, int]] = []
        self.domains: tuple[Domain, ...] = ()
        self.joules: NDArray[np.float64] = np.zeros(0)
        self.time_ns: NDArray[np.int64] = np.zeros(0, np.int64)
        self.live: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._silent_since: int | None = None
        for source in self._sources:
            source.read()
        self._active: EnergySource = next((s for s in candidates if _answers(s)), model)
        self._adopt()

    @property
    def name(self) -> str:
        """The label of the source that counts now."""
        return self._active.name

    @property
    def faults(self) -> Counter[str]:
        """Of the source that counts now; :attr:`sources` has all."""
        return self._active.faults

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(note for source in self._sources for note in source.notes)

    @property
    def sources(self) -> tuple[EnergySource, ...]:
        """All of them, the model last."""
        return self._sources

    def read(self) -> None:
        """Read all sources, choose the one that counts, and add what it has counted."""
        for source in self._sources:
            source.read()
        self._adopt()
        self._choose()
        for position, (number, inner) in enumerate(self._order):
            source = self._sources[number]
            joules, time_ns = float(source.joules[inner]), int(source.time_ns[inner])
            was_joules, was_ns = self._before[position]
            if source is self._active:
                self.joules[position] += joules - was_joules
                self.time_ns[position] += time_ns - was_ns
            self.live[position] = source is self._active and source.live[inner]
            self._before[position] = (joules, time_ns)

    def close(self) -> None:
        for source in self._sources:
            source.close()

    def _choose(self) -> None:
        live = next((source for source in self._sources[:-1] if _measures_packages(source)), None)
        if live is not None:
            self._silent_since = None
            self._switch(live)
        elif self._active is not self.model and not self._is_patient():
            self._switch(self.model)

    def _is_patient(self) -> bool:
        """Whether the source that counts may still answer: it did lately, or has only just begun."""
        now = self.model.now_ns()
        if self._silent_since is None:
            self._silent_since = now
        return now - self._silent_since <= LIVE_SECONDS * 1e9

    def _switch(self, source: EnergySource) -> None:
        if source is self._active:
            return
        if source is self.model:
            log.warning("%s does not answer: power is the model's until it does", self._active.name)
        else:
            log.info("power is measured by %s from now on", source.name)
        # What the new one counted until now, this reading included, is the time of the one before.
        self._active = source
        for position, (number, inner) in enumerate(self._order):
            if self._sources[number] is source:
                self._before[position] = (float(source.joules[inner]), int(source.time_ns[inner]))

    def _adopt(self) -> None:
        for number, source in enumerate(self._sources):
            for inner in range(self._lengths[number], len(source.domains)):
                self._order.append((number, inner))
                self.domains += (source.domains[inner],)
                self._before.append((float(source.joules[inner]), int(source.time_ns[inner])))
                self.joules = np.append(self.joules, 0.0)
                self.time_ns = np.append(self.time_ns, np.int64(0))
                self.live = np.append(self.live, False)
            self._lengths[number] = len(source.domains)


def _measures_packages(source: EnergySource) -> bool:
    return any(domain.component == "package" and live for domain, live in zip(source.domains, source.live.tolist()))


def _answers(source: EnergySource) -> bool:
    """Whether a source has a package domain, and no reading of it has failed yet."""
    packages = any(domain.component == "package" for domain in source.domains)
    return packages and not any(reason not in _OF_ENERGY for reason in source.faults)


_OF_ENERGY = ("reset", "jump", "gap", "leap", "malformed")
"""Faults of what a counter says; all others are of a counter that could not be read."""
