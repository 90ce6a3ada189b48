"""Snapshots as text, rendered once: concurrent scrapers of one snapshot get the same bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from prometheus_client import ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector as MetricSource
from prometheus_client.registry import CollectorRegistry

from ..snapshot.types import Snapshot
from .families import families


class _View(MetricSource):
    def __init__(self, snapshot: Callable[[], Snapshot | None]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        snapshot = self._snapshot()
        if snapshot is not None:
            yield from families(snapshot)

    def describe(self) -> Iterator[Metric]:
        return iter(())


class _Only(MetricSource):
    """A registry of these families alone."""

    def __init__(self, *families: Metric) -> None:
        self._families = families

    def collect(self) -> tuple[Metric, ...]:
        return self._families


class Renderer:
    """Renders the latest snapshot on demand, each format at most once per snapshot."""

    def __init__(self, snapshot: Callable[[], Snapshot | None]) -> None:
        self._snapshot = snapshot
        self._rendering: Snapshot | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_View(lambda: self._rendering))
        ProcessCollector(registry=self._registry)
        self._lock = threading.Lock()
        self._pages: dict[str, bytes] = {}

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """The page in the format that the ``Accept`` header asks for, and its content type."""
        encoder, content_type = choose_encoder(accept)
        with self._lock:
            latest = self._snapshot()
            if latest is not self._rendering:
                self._rendering = latest
                self._pages.clear()
            page = self._pages.get(content_type)
            if page is None:
                page = self._pages[content_type] = self._render(encoder)
            return page, content_type

    def _render(self, encoder: Callable[[MetricSource], bytes]) -> bytes:
        """Family by family: the encoder holds all of its text three times over."""
        end = encoder(_Only())
        parts = [encoder(_Only(family)).removesuffix(end) for family in self._registry.collect()]
        return b"".join([*parts, end])
