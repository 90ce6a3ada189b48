"""Whether lines can be written over where a stream goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

_CANNOT = ("dumb", "unknown")
"""Values of ``TERM`` of terminals that move no cursor: an editor's, a serial line's (terminfo(5): dumb)."""


def is_redrawn(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether it is a terminal, and none that can only add lines."""
    return stream.isatty() and environment.get("TERM", "").lower() not in _CANNOT
