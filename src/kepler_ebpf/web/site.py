"""What the endpoint serves: the collector's snapshot, history and state behind its addresses."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Protocol
from urllib.parse import parse_qsl

from .. import __version__
from ..history.ring import History
from ..snapshot.types import Snapshot
from ..views.landing import landing_page
from ..views.live import live_json
from ..views.prometheus import Asked, Published, Renderer
from ..views.selection import EVERYTHING, Selection
from ..views.usage import GROUPINGS
from ..workloads.names.remedies import remedy

_STALE_FLOOR_SECONDS = 10.0
_LONGEST_START_SECONDS = 120.0  # twice as long as the loader may take


class RunningCollector(Published, Protocol):
    """What the site asks of the collector. Called from several threads, and must not block."""

    def alive(self) -> bool:
        """Whether samples have been taken recently."""

    def snapshot_age_seconds(self) -> float:
        """Seconds since the latest publication; before the first, since the start."""


class Site:
    """Answers from the first request on; before there is a collector it says that it is starting, for so long
    as a start may take.

    ``metrics_interval``: seconds between publications. A snapshot is stale after three of them, and ten seconds at
    least: the site then says that it is neither alive nor ready, although there is something to serve.
    """

    def __init__(
        self,
        metrics_interval: float,
        selection: Selection = EVERYTHING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stale_seconds = max(_STALE_FLOOR_SECONDS, 3 * metrics_interval)
        self._clock = clock
        self._began = clock()
        self._collector: RunningCollector | None = None
        self._history: History | None = None
        self._run = secrets.token_hex(4)
        self._renderer = Renderer(self, selection)

    @property
    def snapshot(self) -> Snapshot | None:
        """The latest publication; None before the first."""
        return self._collector.snapshot if self._collector else None

    def serve(self, collector: RunningCollector, history: History | None = None) -> None:
        """From now on answer for this collector. ``history``: what the page shows of the last minutes."""
        self._collector, self._history = collector, history

    def metrics(self, accept: str, compressed: bool, query: str = "") -> tuple[bytes, str]:
        return self._renderer.metrics(accept, compressed, query)

    def asked(self, accept: str, compressed: bool, query: str = "") -> Asked:
        return self._renderer.asked(accept, compressed, query)

    def alive(self) -> tuple[bool, str]:
        """Whether samples and publications have succeeded recently."""
        if self._collector is None:
            began = self._clock() - self._began
            if began > _LONGEST_START_SECONDS:
                return False, f"starting since {began:.0f} s: see the log for what is waited for"
            return True, "starting"
        if not self._collector.alive():
            return False, "the sampler has not ticked recently"
        age = self._collector.snapshot_age_seconds()
        if age > self._stale_seconds:
            return False, f"the last publication is {age:.0f} s old: see the log for why there is no newer one"
        return True, "ok"

    def ready(self) -> tuple[bool, str]:
        """Whether there is something to scrape that is not stale."""
        alive, line = self.alive()
        if self.snapshot is None:
            return False, "no snapshot yet" if line == "ok" else line
        return (True, "ready") if alive else (False, line)

    def live(self, query: str) -> bytes:
        """``by``: one of the groupings. ``since``: number of the last step that the page has. ValueError for others."""
        wanted = {"by": "process", "since": "0", **dict(parse_qsl(query))}
        by, since = wanted["by"], wanted["since"]
        if by not in GROUPINGS:
            raise ValueError(f"by must be one of {', '.join(GROUPINGS)}")
        if not (since.isascii() and since.isdigit() and len(since) < 16):
            raise ValueError("since must be the number of a step, such as 0")
        steps, length = (self._history.steps, self._history.length) if self._history else ((), 0)
        health = {"/healthz": self.alive(), "/readyz": self.ready()}
        return live_json(steps, int(since), by, length, time.monotonic(), self._run, self.snapshot, health)

    def landing(self) -> str:
        snapshot = self.snapshot
        facts = dict(snapshot.info) if snapshot else {}
        for (provider, reason), count in (snapshot.health.name_errors if snapshot else {}).items():
            facts[f"names from {provider} ({reason})"] = f"{count} requests failed: {remedy(provider, reason)}"
        return landing_page("kepler-ebpf", __version__, facts)
