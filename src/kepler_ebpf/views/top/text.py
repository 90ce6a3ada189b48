"""Pieces of a line: text of a width, numbers, bars and sparklines."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...plain import clean

_LEVELS = " ▁▂▃▄▅▆▇█"


class Span(NamedTuple):
    """A piece of a line. ``style``: a word of the screen's own; who paints it gives it a colour."""

    text: str
    style: str = ""


Row = list[Span]


def plain(row: Iterable[Span]) -> str:
    """The line without styles."""
    return "".join(span.text for span in row).rstrip()


def width(text: str) -> int:
    """Columns that a terminal needs for it."""
    return sum(map(_width_of, text))


def _width_of(one: str) -> int:
    if unicodedata.combining(one):
        return 0
    return 2 if unicodedata.east_asian_width(one) in "WF" else 1


def fit(text: str, columns: int) -> str:
    """The text in exactly so many columns: filled up with blanks, or cut and ended by ``…``."""
    text = clean(text)
    if width(text) > columns:
        kept, room = "", max(columns - 1, 0)
        for one in text:
            room -= _width_of(one)
            if room < 0:
                break
            kept += one
        text = (kept + "…")[:columns]
    return text + " " * (columns - width(text))


def watts(value: float) -> str:
    """As many digits as anybody reads."""
    return next(
        (f"{value:.{digits}f}" for size, digits in ((1000, 0), (100, 1), (1, 2)) if value >= size), f"{value:.3f}"
    )


def joules(value: float) -> str:
    """``787.2``, ``12.35k``, ``4.56M``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / min(size, 1e3 if unit == 'k' else size):.2f}{unit}"
    return f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def bar(parts: Sequence[tuple[float, str]], whole: float, columns: int) -> Row:
    """Parts of a whole side by side, each value in its style; what is left of the whole is dotted."""
    row, end, total = [], 0, 0.0
    for value, style in parts:
        total += value
        to = min(round(columns * total / whole), columns) if whole > 0 else 0
        row.append(Span("█" * (to - end), style))
        end = max(end, to)
    return [*row, Span("·" * (columns - end), "dim")]


def sparkline(values: Sequence[float], columns: int) -> str:
    """The latest values as blocks, the highest of them full; nothing is blank, and the least something is seen."""
    values = values[-columns:]
    top = max(values, default=0.0)
    blocks = [
        _LEVELS[max(1, round((len(_LEVELS) - 1) * value / top))] if value > 0 and top > 0 else " " for value in values
    ]
    return " " * (columns - len(blocks)) + "".join(blocks)
