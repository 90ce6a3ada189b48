"""What the endpoint serves: the collector's snapshot and state behind its four addresses."""

from __future__ import annotations

from .. import __version__
from ..collector import Collector
from ..views.landing import landing_page
from ..views.prometheus import Renderer


class Site:
    """Answers from the first request on; before there is a collector it says that it is starting."""

    def __init__(self) -> None:
        self._collector: Collector | None = None
        self._renderer = Renderer(lambda: self._collector.snapshot if self._collector else None)

    def serve(self, collector: Collector) -> None:
        """From now on answer for this collector."""
        self._collector = collector

    def metrics(self, accept: str) -> tuple[bytes, str]:
        return self._renderer.metrics(accept)

    def alive(self) -> tuple[bool, str]:
        """Whether the sampler has ticked recently."""
        if self._collector is None:
            return True, "starting"
        return (True, "ok") if self._collector.alive() else (False, "the sampler has not ticked recently")

    def ready(self) -> tuple[bool, str]:
        """Whether there is something to scrape."""
        if self._collector is None or self._collector.snapshot is None:
            return False, "no snapshot yet"
        return True, "ready"

    def landing(self) -> str:
        snapshot = self._collector.snapshot if self._collector else None
        facts = dict(snapshot.info) if snapshot else {}
        return landing_page("kepler-ebpf", __version__, facts)
