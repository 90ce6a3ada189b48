"""What every source keeps of its domains: the columns of :class:`EnergySource`, in one place."""

from __future__ import annotations

import errno
import logging
import math
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..columns import Floats
from .believe import Verdict
from .marks import Mark
from .source import Counted, Domain, EnergySource, Taking

log = logging.getLogger(__name__)

LIVE_SECONDS = 5.0
"""A domain is not live any more after so long without an accepted reading; see also :data:`_PATIENCE`."""
_PATIENCE = 2.5
"""Nor before so many of the counter's refreshes, and of our own readings, could have told something: two in a row may
fail."""
_WELL = 2.0
"""A fault is over after so many times the patience without another, 10 s at least; some show only when zones or GPUs
are looked for, each 5 s."""


def reason_of(error: BaseException) -> str:
    """A short word for a metric's label: ``EIO``, ``ENODEV``; ``not a number`` for what cannot be parsed."""
    if isinstance(error, OSError):
        return errno.errorcode.get(error.errno or 0, "EIO")
    return "not a number" if isinstance(error, ValueError) else type(error).__name__


def look_safely(source: EnergySource) -> Taking:
    """Look at a source; whatever that, or what is left to do, raises costs it this reading, is counted, and is logged
    once."""
    now_ns = source.now_ns() if isinstance(source, Figures) else 0
    try:
        return partial(do_safely, source, source.look(), now_ns)
    except Exception as error:
        return partial(_note, source, error, now_ns)


def do_safely(source: EnergySource, what: Callable[[], None], now_ns: int) -> None:
    """Work out what a source has read, or look for what it may read: whatever that raises is its fault alone.
    ``now_ns``: when it was looked at."""
    try:
        what()
    except Exception as error:
        _note(source, error, now_ns)


def _note(source: EnergySource, error: Exception, now_ns: int) -> None:
    reason = type(error).__name__
    if not source.faults[reason]:
        log.error("%s could not be read", source.name, exc_info=error)
    source.faults[reason] += 1
    if isinstance(source, Figures):
        source.end_reading(now_ns)  # one that came to nothing


class Spacing:
    """How far apart readings are, as they come: not by what was configured."""

    def __init__(self) -> None:
        self._then_ns: int | None = None
        self._spans_ns = (0, 0)  # two, as a reading that fails at its end is told of twice

    def came(self, now_ns: int) -> None:
        """A reading has come."""
        if self._then_ns is not None:
            self._spans_ns = (now_ns - self._then_ns, self._spans_ns[0])
        self._then_ns = now_ns

    def patience_ns(self, still_seconds: float = 0.0) -> float:
        """After how long without an accepted reading one that stands still for so long by nature is silent."""
        return max(LIVE_SECONDS * 1e9, _PATIENCE * max(*self._spans_ns, still_seconds * 1e9))


class CountedColumns:
    """What n domains have counted, as :class:`EnergySource` tells it."""

    def __init__(self) -> None:
        self._counted = Counted([], [], [])
        self.presses = False

    @abstractmethod
    def look(self) -> Taking:
        """As in :class:`EnergySource`."""

    def read(self) -> None:
        """Look, and do at once what is left to do."""
        self.look()()

    def counted(self) -> Counted:
        """As in :class:`EnergySource`."""
        return self._counted

    @property
    def joules(self) -> Floats:
        """As an array: float64[n]."""
        return np.array(self._counted.joules, np.float64)

    @property
    def time_ns(self) -> NDArray[np.int64]:
        """As an array: int64[n]."""
        return np.array(self._counted.time_ns, np.int64)

    @property
    def live(self) -> NDArray[np.bool_]:
        """As an array: bool[n]."""
        return np.array(self._counted.live, np.bool_)

    def grow(self) -> None:
        """Make room for another domain, which has counted nothing."""
        for column, nothing in zip(self._counted, (0.0, 0, False)):
            column.append(nothing)  # type: ignore[attr-defined]


class Figures(CountedColumns):
    """The columns of a source's domains (see :class:`EnergySource`); sources inherit it."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self.domains: tuple[Domain, ...] = ()
        super().__init__()
        self.faults: Counter[str] = Counter()
        self.notes: tuple[str, ...] = ()
        self.expected: tuple[Domain, ...] = ()
        self._accepted_ns: list[int] = []
        self._still_seconds: list[float] = []
        self._spacing = Spacing()
        self._failing: dict[str, set[str]] = {}  # by what does not work: the reasons that were logged
        self._well_ns: dict[str, int] = {}  # by what works again, but may fail any moment: since when

    def add(self, domain: Domain) -> int:
        """Keep another domain; its position. One that would have the series of another gets a label of its own."""
        taken = {(one.component, one.label, one.uuid) for one in self.domains}
        label, number = domain.label, 1
        while (domain.component, domain.label, domain.uuid) in taken:
            number += 1
            domain = replace(domain, zone=f"{label}-{number}")
        self.domains += (domain,)
        self.grow()
        self._accepted_ns.append(0)
        self._still_seconds.append(0.0)
        return len(self.domains) - 1

    def book(self, position: int, verdict: Verdict, now_ns: int, what: str) -> None:
        """Add what a reading said to a domain. ``what``: the counter, as a log line names it."""
        if verdict.seconds > 0:
            joules, time_ns, live = self._counted
            joules[position] += verdict.joules
            time_ns[position] += round(verdict.seconds * 1e9)
            self._accepted_ns[position], self._still_seconds[position] = now_ns, verdict.still_seconds
            # A counter that has never moved measures nothing: no 0 that looks measured.
            live[position] = live[position] or verdict.joules > 0
        if verdict.fault:
            self.fault(what, verdict.fault)
        elif verdict.seconds > 0:
            self.recovered(what)

    def end_reading(self, now_ns: int) -> None:
        """What has not answered for some seconds is not live; what has not failed for some is well."""
        self._spacing.came(now_ns)
        live = self._counted.live
        for position, (accepted_ns, still_seconds) in enumerate(zip(self._accepted_ns, self._still_seconds)):
            if live[position] and now_ns - accepted_ns > self._spacing.patience_ns(still_seconds):
                live[position] = False
        well_ns = now_ns - _WELL * self._spacing.patience_ns()
        for what in [what for what, since_ns in self._well_ns.items() if since_ns < well_ns]:
            del self._well_ns[what], self._failing[what]
            log.info("%s can be read again", what)

    def now_ns(self) -> int:
        """Its clock."""
        return self._clock_ns()

    @property
    def longest_seconds(self) -> float:
        """For how long it may be left unread: for ever, where counters do not wrap."""
        return math.inf

    def marks(self) -> Mapping[Domain, Mark]:
        """None: its counters begin with us."""
        return {}

    def fault(self, what: str, reason: str) -> None:
        """Count a reading that was not believed, and log it where that is news since all was well."""
        self.faults[reason] += 1
        self._well_ns.pop(what, None)
        logged = self._failing.setdefault(what, set())
        if reason not in logged:
            logged.add(reason)
            log.warning("energy of %s is not known for now: %s", what, reason)

    def recovered(self, what: str) -> None:
        """A counter that could not be read can be read again. It is logged when that has lasted (:meth:`end_reading`).

        Some fail and work by turns, many times a second: that is one fault.
        """
        if what in self._failing:
            self._well_ns.setdefault(what, self._clock_ns())

    def note(self, text: str) -> bool:
        """Say once what is left out. Returns whether it is news."""
        if text in self.notes:
            return False
        self.notes += (text,)
        log.info("%s", text)
        return True
