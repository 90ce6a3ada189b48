"""Names of containers, asked for in a thread of its own: seldom, so that nobody waits for an answer."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cachetools import LRUCache, TTLCache

from .provider import ContainerName, NameProvider, ProviderError
from .remedies import remedy

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 5.0
"""Shortest time between two requests to one provider."""
MAX_BACKOFF_SECONDS = 60.0
_GATHER_SECONDS = 0.1
"""Between the first container that is wanted and the request: those that come with it are not to wait for the next."""
PATIENCE = 3
"""A provider that left a container out of so many answers does not know it. A kubelet's status lags by seconds."""
HOLD_SECONDS = 15.0
"""How long a new container's series may wait for its name: as long as a provider takes to run out of patience."""
UNKNOWN_SECONDS = 600.0
_MAX_WANTED = 10_000
_MAX_KNOWN = 20_000
_MAX_REASONS = 10
# Parsing answers may use 2 % of a core: 5,000 pods cost 0.5 s, so they are asked for every 25 s.
_REST_PER_CPU_SECOND = 50.0


@dataclass
class _Wanted:
    pod_uid: str
    oldest: bool
    misses: list[int]
    since: float


@dataclass
class _Source:
    provider: NameProvider
    due: float = 0.0
    failures: int = 0
    reasons: set[str] = field(default_factory=set)  # why it failed since it last answered


class NameLookup:
    """Names by container id, from the first provider that knows it. Every method may be called from any thread.

    ``faults`` counts failed requests by provider and reason. A run of failures is logged once for each new reason, with
    what can be done about it.
    """

    def __init__(
        self,
        providers: Sequence[NameProvider],
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.faults: Counter[tuple[str, str]] = Counter()
        self._sources = [_Source(provider) for provider in providers]
        self._clock = clock
        self._jitter = jitter
        self._changed = threading.Condition()
        self._wanted: dict[str, _Wanted] = {}
        self._names: LRUCache[str, ContainerName] = LRUCache(_MAX_KNOWN)
        self._pods: LRUCache[str, tuple[str, str]] = LRUCache(_MAX_KNOWN)
        self._unknown: TTLCache[str, bool] = TTLCache(_MAX_KNOWN, UNKNOWN_SECONDS, timer=clock)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def want(self, container_id: str, pod_uid: str = "", oldest: bool = False) -> None:
        """Have the name looked up. ``pod_uid``: the pod it is directly in; ``oldest``: before all others there.

        A pod's sandbox is its oldest container, and one that a kubelet which knows the pod does not list.
        """
        with self._changed:
            if not self._sources or container_id in self._names:
                return
            if container_id in self._wanted:
                wanted = self._wanted[container_id]
                wanted.pod_uid, wanted.oldest = wanted.pod_uid or pod_uid, wanted.oldest or oldest
                return
            if container_id in self._unknown or len(self._wanted) >= _MAX_WANTED:
                return
            self._wanted[container_id] = _Wanted(pod_uid, oldest, [0] * len(self._sources), self._clock())
            self._changed.notify()

    def name(self, container_id: str) -> ContainerName | None:
        """The name as far as it is known."""
        with self._changed:
            return self._names.get(container_id)

    def pod(self, pod_uid: str) -> tuple[str, str] | None:
        """Name and namespace of a pod, known by any of its containers."""
        with self._changed:
            return self._pods.get(pod_uid)

    def pending(self, container_id: str) -> bool:
        """Whether the name is worth waiting for. It may come later, as when a provider recovers."""
        with self._changed:
            wanted = self._wanted.get(container_id)
            return wanted is not None and self._clock() - wanted.since < HOLD_SECONDS

    def forget(self, container_id: str) -> None:
        """Forget a container that is gone."""
        with self._changed:
            for table in (self._wanted, self._names, self._unknown):
                table.pop(container_id, None)

    def start(self, prepare: Callable[[], None] = lambda: None) -> None:
        """Run :meth:`step` in a thread until :meth:`close`. ``prepare``: what that thread does first."""
        if self._sources:
            self._thread = threading.Thread(target=self._run, args=(prepare,), name="names", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop asking. A request under way is left to its own deadline."""
        with self._changed:
            self._stopped.set()
            self._changed.notify()
        if self._thread:
            self._thread.join(1.0)

    def step(self) -> float | None:
        """Ask every provider that is due; seconds until the next is, None while nothing is wanted of any."""
        for number, source in enumerate(self._sources):
            asked = self._asked(number)
            if asked and self._clock() >= source.due:
                names = self._fetch(source)
                if names is not None:
                    self._learn(number, asked, names)
        return self._delay()

    def _delay(self) -> float | None:
        dues = [source.due for number, source in enumerate(self._sources) if self._asked(number)]
        return max(0.0, min(dues) - self._clock()) if dues else None

    def _run(self, prepare: Callable[[], None]) -> None:
        prepare()
        while not self._stopped.wait(_GATHER_SECONDS):
            self.step()
            with self._changed:
                delay = self._delay()  # once more, as something may have been wanted since
                if not self._stopped.is_set() and delay != 0:
                    self._changed.wait(delay)

    def _asked(self, number: int) -> list[str]:
        """Containers to ask this provider for: those that every better provider which answers has left out once."""
        better = [n for n, source in enumerate(self._sources[:number]) if not source.failures]
        with self._changed:
            return [
                container_id
                for container_id, wanted in self._wanted.items()
                if wanted.misses[number] < PATIENCE and all(wanted.misses[n] for n in better)
            ]

    def _fetch(self, source: _Source) -> Mapping[str, ContainerName] | None:
        name, began, cpu = source.provider.name, self._clock(), time.thread_time()
        try:
            names = source.provider.fetch()
        except ProviderError as error:
            reason = error.reason
        except Exception as error:  # a fault in one provider must not end the thread that asks them all
            reason = type(error).__name__
        else:
            rest = (time.thread_time() - cpu) * _REST_PER_CPU_SECOND
            source.due = began + max(INTERVAL_SECONDS, rest)
            if source.failures:
                log.info("%s answers again after %d failed requests", name, source.failures)
            source.failures = 0
            source.reasons.clear()
            return names
        self.faults[name, reason] += 1
        if reason not in source.reasons and len(source.reasons) < _MAX_REASONS:
            source.reasons.add(reason)
            log.warning("%s: no names of containers (%s): %s. Trying again", name, reason, remedy(name, reason))
        backoff = min(MAX_BACKOFF_SECONDS, INTERVAL_SECONDS * 2 ** min(source.failures, 10))
        source.failures += 1
        source.due = self._clock() + backoff * (1 + 0.25 * self._jitter())
        return None

    def _learn(self, number: int, asked: Sequence[str], names: Mapping[str, ContainerName]) -> None:
        everything = self._sources[number].provider.lists_sandboxes
        pods = {name.pod_uid: name for name in names.values() if name.pod_uid}
        with self._changed:
            self._pods.update((uid, (name.pod, name.namespace)) for uid, name in pods.items())
            for container_id in names.keys() & (set(self._asked(number)) - set(asked)):  # wanted since the request
                self._names[container_id] = names[container_id]
                del self._wanted[container_id]
            for container_id in asked:
                wanted = self._wanted.get(container_id)
                if wanted is None:
                    continue
                name = names.get(container_id)
                wanted.misses[number] += 1
                pod = pods.get(wanted.pod_uid)
                # Left out of two answers: the kubelet's status of a new container lags behind by one.
                if name is None and pod is not None and wanted.oldest and not everything and wanted.misses[number] > 1:
                    name = ContainerName("POD", pod.pod, pod.namespace, pod.pod_uid)
                if name is not None:
                    self._names[container_id] = name
                    del self._wanted[container_id]
                elif min(wanted.misses) >= PATIENCE:
                    self._unknown[container_id] = True
                    del self._wanted[container_id]
