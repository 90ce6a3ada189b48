"""Which counters of a virtual machine are one: packages that all show the counter of the host.

A hypervisor may give every package of its guest the one counter that it has. Two counters of their own are hardly ever
equal to the microjoule; one that is shown twice is, but for a refresh that falls between the two readings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from .source import Domain

_SAMPLES = 3
"""A counter that was equal to another in so many samples in which it moved is its mirror; one that was unlike all
others in so many running is not."""
_PATIENCE_NS = 5_000_000_000
"""A counter that stands still for so long holds up no decision about the others."""


@dataclass
class _Suspect:
    """A counter that may be another's mirror. ``alike``: in how many samples each of the others was equal."""

    raw: int
    moved_ns: int
    alike: Counter[Domain] = field(default_factory=Counter)
    unlike: int = 0


@dataclass(frozen=True)
class Outcome:
    """``twin``: whose mirror a counter is, None where it is one of its own. ``mirrors``: who mirrors it."""

    domain: Domain
    twin: Domain | None
    mirrors: tuple[Domain, ...] = ()


class Mirrors:
    """Tells counters that are one from those that are not, by their readings; compares those of one component."""

    def __init__(self) -> None:
        self._suspects: dict[Domain, _Suspect] = {}  # in the order they were met: an earlier one is never a mirror
        self._twin: dict[Domain, Domain | None] = {}
        self._told: set[Domain] = set()

    def trust(self, domain: Domain) -> None:
        """Take a counter for one of its own: there is no other of its component."""
        self._twin[domain] = None
        self._told.add(domain)

    def decide(self, readings: Mapping[Domain, int], now_ns: int) -> list[Outcome]:
        """Take a sample of all counters, raw. Returns what is now known of those that have not been told of."""
        for domain, raw in readings.items():
            suspect = self._suspects.setdefault(domain, _Suspect(raw, now_ns - 1))
            if raw != suspect.raw:
                suspect.raw, suspect.moved_ns = raw, now_ns
        moved = [domain for domain in readings if self._suspects[domain].moved_ns == now_ns]
        for domain in moved:
            if domain not in self._twin:
                self._compare(domain, moved)
        outcomes = []
        for component in {domain.component for domain in self._suspects if domain not in self._told}:
            of_component = [domain for domain in self._suspects if domain.component == component]
            if not any(self._holds_up(domain, now_ns) for domain in of_component):
                outcomes += [self._outcome(domain) for domain in of_component if self._is_news(domain)]
        self._told.update(outcome.domain for outcome in outcomes)
        return outcomes

    def _compare(self, domain: Domain, moved: Collection[Domain]) -> None:
        """Look for earlier counters that say the same as this one."""
        suspect = self._suspects[domain]
        earlier = list(self._suspects)
        earlier = earlier[: earlier.index(domain)]
        equal = [
            one
            for one in earlier
            if one in moved and one.component == domain.component and self._suspects[one].raw == suspect.raw
        ]
        suspect.alike.update(equal)
        suspect.unlike = 0 if equal else suspect.unlike + 1
        twin = next((one for one in earlier if suspect.alike[one] >= _SAMPLES), None)
        if twin is not None:
            self._twin[domain] = self._twin.get(twin) or twin
        elif suspect.unlike >= _SAMPLES:
            self._twin[domain] = None

    def _holds_up(self, domain: Domain, now_ns: int) -> bool:
        """Whether what a counter is has yet to be found out."""
        return domain not in self._twin and now_ns - self._suspects[domain].moved_ns <= _PATIENCE_NS

    def _is_news(self, domain: Domain) -> bool:
        return domain in self._twin and domain not in self._told

    def _outcome(self, domain: Domain) -> Outcome:
        return Outcome(domain, self._twin[domain], tuple(one for one, twin in self._twin.items() if twin == domain))
