"""Snapshots as text, rendered once: concurrent scrapers of one snapshot get the same bytes."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Hashable
from typing import NamedTuple, Protocol

from prometheus_client import ProcessCollector
from prometheus_client.registry import CollectorRegistry

from ..snapshot.types import Snapshot
from .families import families
from .negotiation import Format, best_format
from .selection import EVERYTHING, OURSELVES, Selection, shows
from .text import Labels, Writer

# A thread that waits for the interpreter's lock is given it after 5 ms only (sys.setswitchinterval), and a sample waits
# for it after each of its system calls: beside a page of 45 ms one of 20 calls ended up to 45 ms late. A renderer that
# sleeps between chunks, if only for an instant, lets the sampler through: it was 6 to 18 ms late (benchmarks/page.py).
_PAUSE_SECONDS = 20e-6
_MAX_TEXTS = 16
_NOTHING = CollectorRegistry(auto_describe=False)


Page = tuple[bytes, str]
"""Body and content type."""


class Asked(NamedTuple):
    """What a request asks for. ``key``: the same for all that get the same bytes. ``whole``: the page of all levels.

    ``kept``: the page, where it has been rendered already.
    """

    key: Hashable
    whole: bool
    kept: Page | None = None


class Published(Protocol):
    """Whose latest snapshot is rendered."""

    @property
    def snapshot(self) -> Snapshot | None:
        """The latest publication; None before the first. It must not block."""


class Renderer:
    """Renders the latest snapshot on demand: each text at most once per snapshot, plain and compressed.

    What is kept is bounded by the number of texts, and belongs to one snapshot; escaped labels are kept to the next. Of
    pages of some levels alone those are kept that are asked for first, as queries can ask for many.
    """

    def __init__(self, published: Published, selection: Selection = EVERYTHING) -> None:
        self._published = published
        self._selection = selection
        self._rendering: Snapshot | None = None
        self._labels = Labels()
        self._ourselves = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._ourselves)
        self._lock = threading.Lock()
        self._texts: dict[tuple[Writer, bool, frozenset[str]], bytes] = {}  # by writer, whether compressed, levels

    def asked(self, accept: str, compressed: bool = False, query: str = "") -> Asked:
        """What these ask for, for :meth:`metrics`, without waiting for a page that is being rendered.

        Raises UnknownLevelError.
        """
        chosen, levels = best_format(accept), self._selection.asked(query)
        latest, key = self._published.snapshot, (chosen.writer, compressed, levels)
        text = self._texts.get(key) if latest is self._rendering else None
        return Asked(
            (latest.number if latest else None, chosen.content_type, *key),
            levels == self._selection.asked(""),
            None if text is None else (text, chosen.content_type),
        )

    def metrics(self, accept: str, compressed: bool = False, query: str = "") -> Page:
        """The text in the format that an ``Accept`` header asks for, gzipped if so asked, and its content type.

        ``query``: a URL's, which may ask for some levels. Raises UnknownLevelError.
        """
        chosen, levels = best_format(accept), self._selection.asked(query)
        with self._lock:
            latest = self._published.snapshot
            if latest is not self._rendering:
                self._texts = {}  # first: asked() must find no text of the one before
                self._rendering = latest
                self._labels.turn()
            return self._text(chosen, compressed, levels), chosen.content_type

    def _text(self, chosen: Format, compressed: bool, levels: frozenset[str]) -> bytes:
        text = self._texts.get((chosen.writer, compressed, levels))
        if text is None:
            if compressed:
                text = gzip.compress(self._text(chosen, False, levels), compresslevel=1, mtime=0)
            else:
                text = self._render(chosen, levels)
            if len(self._texts) < _MAX_TEXTS or levels == self._selection.asked(""):
                self._texts[chosen.writer, compressed, levels] = text
        return text

    def _render(self, chosen: Format, levels: frozenset[str]) -> bytes:
        parts = []
        if self._rendering is not None:
            wanted = families(self._selection.of(self._rendering, levels), lambda family: shows(family, levels))
            for chunk in chosen.writer(wanted, self._labels):
                parts.append(chunk)
                time.sleep(_PAUSE_SECONDS)
        return b"".join([*parts, chosen.encoder(self._ourselves if OURSELVES in levels else _NOTHING)])
