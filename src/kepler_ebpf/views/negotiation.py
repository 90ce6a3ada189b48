"""Which text format an ``Accept`` header asks for (RFC 9110, section 12.5.1), out of a fixed set.

prometheus_client's ``choose_encoder`` takes the first type it knows, whatever its quality, raises on a version that is
no number, and makes a content type of any version it is asked for: one more for everybody who keeps things by it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from prometheus_client import exposition, openmetrics
from prometheus_client.registry import Collector

from .text import Writer, openmetrics_text, prometheus_text

Encoder = Callable[[Collector], bytes]

# Prometheus sends five ranges, browsers up to a dozen.
_MAX_RANGES = 64
_QUALITY = re.compile(r"[01](\.[0-9]{0,3})?|\.[0-9]{1,3}", re.ASCII)


class Format(NamedTuple):
    """A text format: its media type and version, and what to send under it.

    ``writer`` writes our families; ``encoder`` the rest of the page, prometheus_client's own metrics, and its end.
    """

    media_type: str
    version: str
    content_type: str
    writer: Writer
    encoder: Encoder


def _format(media_type: str, version: str, writer: Writer, encoder: Encoder, more: str = "") -> Format:
    return Format(media_type, version, f"{media_type}; version={version}; charset=utf-8{more}", writer, encoder)


def _text(source: Collector) -> bytes:
    # The registry and any other collector have what the encoder asks for: collect().
    return exposition.generate_latest(source)  # type: ignore[arg-type, unused-ignore]


def _openmetrics(source: Collector) -> bytes:
    return openmetrics.exposition.generate_latest(source)  # type: ignore[no-any-return, no-untyped-call, unused-ignore]


# The order decides where a header leaves the choice to us; the first is for clients that ask for nothing we have.
# Text 1.0.0 is 0.0.4 with names in quotes where they have other characters than letters, digits and underscores,
# which none of ours has. OpenMetrics 0.0.1 and 1.0.0 are the same text for the kinds of metrics that we have.
FORMATS = (
    _format("text/plain", "0.0.4", prometheus_text, _text),
    _format("application/openmetrics-text", "1.0.0", openmetrics_text, _openmetrics),
    _format("application/openmetrics-text", "0.0.1", openmetrics_text, _openmetrics),
    _format("text/plain", "1.0.0", prometheus_text, _text, "; escaping=underscores"),
)


class _Range(NamedTuple):
    """One media range. ``place`` is its position in the header."""

    media_type: str
    version: str
    quality: float
    place: int

    def specificity(self, candidate: Format) -> int:
        """How closely it names the format; 0 where it does not."""
        if self.version and self.version != candidate.version:
            return 0
        if self.media_type == candidate.media_type:
            return 4 if self.version else 3
        return {candidate.media_type.partition("/")[0] + "/*": 2, "*/*": 1}.get(self.media_type, 0)


def best_format(accept: str) -> Format:
    """The format of the highest quality; of equals the one whose range comes first. Where none fits, the first."""
    ranges = _ranges(accept)
    best, best_rank = FORMATS[0], (0.0, 0)
    for candidate in FORMATS:
        fitting = [(one.specificity(candidate), one) for one in ranges]
        closest = max(fitting, key=lambda pair: pair[0], default=(0, None))
        if closest[1] is None or closest[0] == 0:
            continue
        rank = (closest[1].quality, -closest[1].place)
        if rank[0] > 0 and rank > best_rank:
            best, best_rank = candidate, rank
    return best


def _ranges(accept: str) -> list[_Range]:
    """The ranges of a header; those whose quality is malformed are left out."""
    found = []
    for place, entry in enumerate(accept.split(",", _MAX_RANGES)[:_MAX_RANGES]):
        media_type, *parameters = (part.strip(" \t") for part in entry.split(";"))
        version, quality = "", "1"
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            name, value = name.strip(" \t").lower(), value.strip(" \t")
            if name == "version":
                version = value.strip('"')
            elif name == "q":
                quality = value
        if _QUALITY.fullmatch(quality):
            found.append(_Range(media_type.lower(), version, min(float(quality), 1.0), place))
    return found
