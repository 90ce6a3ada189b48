"""Snapshots as text, rendered once: concurrent scrapers of one snapshot get the same bytes."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable

from prometheus_client import ProcessCollector
from prometheus_client.registry import CollectorRegistry

from ..snapshot.types import Snapshot
from .families import families
from .negotiation import Format, best_format
from .text import Labels, Writer

# A thread that waits for the interpreter's lock is given it after 5 ms only (sys.setswitchinterval), and a sample waits
# for it after each of its system calls: beside a page of 45 ms one of 20 calls ended up to 45 ms late. Whoever sleeps
# between chunks, if only for an instant, lets the sampler through: it was 6 to 18 ms late (benchmarks/page.py).
_PAUSE_SECONDS = 20e-6


class Renderer:
    """Renders the latest snapshot on demand: each text at most once per snapshot, plain and compressed.

    What is kept is bounded by the number of texts, and belongs to one snapshot; escaped labels are kept to the next.
    """

    def __init__(self, snapshot: Callable[[], Snapshot | None]) -> None:
        self._snapshot = snapshot
        self._rendering: Snapshot | None = None
        self._labels = Labels()
        self._ourselves = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._ourselves)
        self._lock = threading.Lock()
        self._texts: dict[tuple[Writer, bool], bytes] = {}  # by writer, and whether compressed

    def metrics(self, accept: str, compressed: bool = False) -> tuple[bytes, str]:
        """The text in the format that an ``Accept`` header asks for, gzipped if so asked, and its content type."""
        chosen = best_format(accept)
        with self._lock:
            latest = self._snapshot()
            if latest is not self._rendering:
                self._rendering = latest
                self._texts.clear()
                self._labels.turn()
            return self._text(chosen, compressed), chosen.content_type

    def _text(self, chosen: Format, compressed: bool) -> bytes:
        text = self._texts.get((chosen.writer, compressed))
        if text is None:
            if compressed:
                text = gzip.compress(self._text(chosen, False), compresslevel=1, mtime=0)
            else:
                text = self._render(chosen)
            self._texts[chosen.writer, compressed] = text
        return text

    def _render(self, chosen: Format) -> bytes:
        parts = []
        if self._rendering is not None:
            for chunk in chosen.writer(families(self._rendering), self._labels):
                parts.append(chunk)
                time.sleep(_PAUSE_SECONDS)
        return b"".join([*parts, chosen.encoder(self._ourselves)])
