"""The meter of the packages: the best one that answers, and the power model while none does."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from functools import partial

from ..columns import Component
from ..waiting import waiting_for
from .figures import CountedColumns, Spacing, look_safely
from .marks import Mark
from .model import ModelSource
from .source import Domain, PackageSource, Taking

log = logging.getLogger(__name__)

_ASK_SECONDS = 1.0


class PackageMeter(CountedColumns):
    """Several sources as one (see :class:`EnergySource`), of which one counts at any time.

    ``candidates``: in order of preference. The first that has a live package domain counts. The model counts once none
    has answered for some seconds, and until one does again.

    No energy is lost at a change, and none is counted twice. All sources are read all the time. What the others counted
    since the latest reading that was booked is kept, and the one that takes over brings it along, for as much time as
    nobody has booked. A meter that comes back after long brings what it counted over all that time: of that, the same
    part of its joules as of its time.

    Platform zones are another thing, and are added to nothing: they are those of the first source where any answers,
    whoever meters the packages.
    """

    def __init__(self, candidates: Sequence[PackageSource], model: ModelSource) -> None:
        super().__init__()
        self.model = model
        self._sources: tuple[PackageSource, ...] = (*candidates, model)
        self._lengths = [0] * len(self._sources)
        self._order: list[tuple[int, int]] = []
        self._before: list[tuple[float, int]] = []
        self.domains: tuple[Domain, ...] = ()
        self._asked_ns = model.now_ns()
        self._spacing = Spacing()
        self._booked_ns: int | None = None  # by the model's clock: when the latest reading was booked
        for source in self._sources:
            with waiting_for(source.name):
                look_safely(source)()
        self._active: PackageSource = next((s for s in candidates if _answers(s)), model)
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
    def expected(self) -> tuple[Domain, ...]:
        """Domains that its sources may come to offer."""
        return tuple(domain for source in self._sources for domain in source.expected)

    @property
    def longest_seconds(self) -> float:
        """For how long the source that counts now may be left unread."""
        return self._active.longest_seconds

    @property
    def sources(self) -> tuple[PackageSource, ...]:
        """All of them, the model last."""
        return self._sources

    def look(self) -> Taking:
        """Read all sources; then choose the one that counts, and add what it has counted.

        Those that offer nothing are asked once a second.
        """
        now_ns = self.model.now_ns()
        ask_all = now_ns - self._asked_ns >= _ASK_SECONDS * 1e9
        if ask_all:
            self._asked_ns = now_ns
        looked = [
            look_safely(source)
            for source in self._sources
            if ask_all or source.domains or source is self._active or source.expected
        ]
        self.presses = any(source.presses for source in self._sources)
        return partial(self._take, looked, self.model.now_ns())

    def _take(self, looked: Sequence[Taking], now_ns: int) -> None:
        for taking in looked:
            taking()
        self._adopt()
        self._spacing.came(now_ns)
        if self._booked_ns is None:
            self._booked_ns = now_ns
        owed_ns = now_ns - self._booked_ns
        before = self._active
        self._choose(owed_ns)
        took_over = self._active is not before
        now = self._figures()
        covered_ns = self._book(now, owed_ns if took_over else None)
        if took_over and covered_ns < owed_ns:
            self._booked_ns += covered_ns  # it was silent itself: the rest is another one's
        elif covered_ns > 0:
            self._booked_ns, self._before = now_ns, now  # the time of what the others counted meanwhile is booked

    def _platform(self) -> PackageSource | None:
        """Whose platform zones count."""
        return next((source for source in self._sources if _measures(source, "platform")), None)

    def _figures(self) -> list[tuple[float, int]]:
        """Joules and time of every domain, as its source has them."""
        counted = [source.counted() for source in self._sources]
        return [(counted[number].joules[inner], counted[number].time_ns[inner]) for number, inner in self._order]

    def _book(self, now: list[tuple[float, int]], owed_ns: int | None) -> int:
        """Add what the source that counts has counted. Returns the time of a package's that this covers.

        ``owed_ns``: where it has only just taken over, the time that nobody has booked: no more is believed of it.
        """
        longest_ns = 0
        mine = self._counted
        platform = self._platform()
        for position, (number, inner) in enumerate(self._order):
            source, is_platform = self._sources[number], self.domains[position].component == "platform"
            if source is not (platform if is_platform else self._active):
                mine.live[position] = False
                if is_platform:
                    self._before[position] = now[position]  # another one's count that, or nobody's
                continue
            mine.live[position] = source.counted().live[inner]
            joules, covered_ns = (new - old for new, old in zip(now[position], self._before[position]))
            if owed_ns is not None and covered_ns > owed_ns and not is_platform:
                joules, covered_ns = joules * owed_ns / covered_ns, owed_ns
            mine.joules[position] += joules
            mine.time_ns[position] += round(covered_ns)
            self._before[position] = now[position]
            if self.domains[position].component == "package":
                longest_ns = max(longest_ns, round(covered_ns))
        return longest_ns

    def marks(self) -> dict[Domain, Mark]:
        """Where the counters of the domains that count now stand, of those that run on while no collector reads them.

        A perf event counts from when it is opened: the same zone's counter in the powercap tree stands in for it.
        """
        same = _RAPL if self._active.name in _RAPL else (self._active.name,)
        zones = {
            (domain.component, domain.zone): mark
            for source in self._sources
            for domain, mark in source.marks().items()
            if source.name in same
        }
        return {
            domain: zones[domain.component, domain.zone]
            for domain in self._active.domains
            if (domain.component, domain.zone) in zones
        }

    def close(self) -> None:
        for source in self._sources:
            source.close()

    def _choose(self, silent_ns: int) -> None:
        """``silent_ns``: for how long nothing has been booked."""
        live = next((source for source in self._sources[:-1] if _measures(source, "package")), None)
        if live is not None and live is not self._active:
            log.info("power is measured by %s from now on", live.name)
            self._active = live
        elif live is None and self._active is not self.model and silent_ns > self._spacing.patience_ns():
            log.warning("%s does not answer: power is the model's until it does", self._active.name)
            self._active = self.model

    def _adopt(self) -> None:
        if [len(source.domains) for source in self._sources] == self._lengths:
            return
        for number, source in enumerate(self._sources):
            for inner in range(self._lengths[number], len(source.domains)):
                self._order.append((number, inner))
                self.domains += (source.domains[inner],)
                counted = source.counted()
                self._before.append((counted.joules[inner], counted.time_ns[inner]))
                self.grow()
            self._lengths[number] = len(source.domains)


def _measures(source: PackageSource, component: Component) -> bool:
    if not source.domains:
        return False
    return any(domain.component == component and live for domain, live in zip(source.domains, source.counted().live))


def _answers(source: PackageSource) -> bool:
    """Whether a source has a package domain, or expects one, and no reading of it has failed yet."""
    packages = any(domain.component == "package" for domain in (*source.domains, *source.expected))
    return packages and not any(reason not in _OF_ENERGY for reason in source.faults)


_RAPL = ("rapl-perf", "rapl-powercap")
"""Two ways to the same counters."""
_OF_ENERGY = ("reset", "jump", "gap", "leap", "malformed")
"""Faults of what a counter says; all others are of a counter that could not be read."""
