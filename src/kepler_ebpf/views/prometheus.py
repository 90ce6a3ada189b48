"""Snapshots as text, rendered once: concurrent scrapers of one snapshot get the same bytes."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator

from prometheus_client import ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector as MetricSource
from prometheus_client.registry import CollectorRegistry

from ..snapshot.types import Snapshot
from .families import families
from .negotiation import Encoder, best_format


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
    """Renders the latest snapshot on demand: each encoder at most once per snapshot, plain and compressed.

    What is kept is bounded by the number of encoders, and belongs to one snapshot.
    """

    def __init__(self, snapshot: Callable[[], Snapshot | None]) -> None:
        self._snapshot = snapshot
        self._rendering: Snapshot | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_View(lambda: self._rendering))
        ProcessCollector(registry=self._registry)
        self._lock = threading.Lock()
        self._texts: dict[tuple[Encoder, bool], bytes] = {}  # by encoder, and whether compressed

    def metrics(self, accept: str, compressed: bool = False) -> tuple[bytes, str]:
        """The text in the format that an ``Accept`` header asks for, gzipped if so asked, and its content type."""
        chosen = best_format(accept)
        with self._lock:
            latest = self._snapshot()
            if latest is not self._rendering:
                self._rendering = latest
                self._texts.clear()
            return self._text(chosen.encoder, compressed), chosen.content_type

    def _text(self, encoder: Encoder, compressed: bool) -> bytes:
        text = self._texts.get((encoder, compressed))
        if text is None:
            if compressed:
                text = gzip.compress(self._text(encoder, False), compresslevel=1, mtime=0)
            else:
                text = self._render(encoder)
            self._texts[encoder, compressed] = text
        return text

    def _render(self, encoder: Encoder) -> bytes:
        """Family by family: the encoder holds all of its text three times over."""
        end = encoder(_Only())
        parts = [encoder(_Only(family)).removesuffix(end) for family in self._registry.collect()]
        return b"".join([*parts, end])
