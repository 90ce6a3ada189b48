"""A recording as one self-contained page: stacked watts over time with zoom and hover, and a table."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ..plain import cut
from .book import Book
from .groups import Groups, mean_watts, node_peak_watts, others
from .series import IDLE, OTHERS, UNATTRIBUTED, Timeline, stack
from .svg import colors
from .text import books_check, headline, number, rules_line, sources_line

MOST_STEPS = 10_000
"""Steps of time in a page; a recording of more frames is shown in so many equal steps."""


def page(book: Book, tables: Sequence[tuple[Groups, int]]) -> str:
    """The page. ``tables``: the groups that its switch offers, and layers and lines of each."""
    timeline = Timeline(book)
    steps = timeline.edges(MOST_STEPS)
    views = {groups.by: _view(book, groups, timeline, top) for groups, top in tables}
    data = json.dumps({"edges": np.round(steps, 6).tolist(), "views": views}, separators=(",", ":"))
    fields = {
        "title": escape(f"Energy of {book.path.name}"),
        "when": escape(headline(book)),
        "power": escape(_sentence(sources_line(book))),
        "mark": "model" if book.is_modelled else "",
        "rules": escape(_sentence(rules_line(book))),
        "damage": f'<p class="note model">{escape(book.damage)}</p>' if book.damage else "",
        "books": escape(books_check(book)),
        "data": base64.b64encode(zlib.compress(data.encode(), 9)).decode(),
    }
    text = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    return re.sub("@(" + "|".join(fields) + ")@", lambda found: fields[found[1]], text)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _view(book: Book, groups: Groups, timeline: Timeline, top: int) -> dict[str, Any]:
    """Layers and table of one grouping."""
    layers = stack(book, groups, timeline, MOST_STEPS, top)
    place = {layer: position for position, layer in enumerate(layers.layers)}
    rounded = [[float(f"{watt:.6g}") for watt in row] for row in layers.watts.tolist()]
    return {
        "layers": [
            {"name": cut(label, 120), "color": color, "watts": row}
            for label, color, row in zip(layers.labels, colors(layers.layers), rounded)
        ],
        "table": _table(book, groups, top, place),
    }


def _table(book: Book, groups: Groups, top: int, place: dict[int, int]) -> list[dict[str, Any]]:
    """The lines of the table, with the figures of the text report."""
    whole = float(book.measured.sum())
    total, means = groups.total, mean_watts(groups.joules, book)

    def line(name: str, joules: float, mean: float, peak: str, seconds: str, layers: list[int]) -> dict[str, Any]:
        share = f"{100 * joules / whole if whole else 0:.1f}%"
        cells = [number(joules).strip(), share, number(mean).strip(), peak, seconds]
        return {"name": name, "cells": cells, "layer": layers[0] if len(layers) == 1 else None, "layers": layers}

    lines = [
        line(
            cut(groups.labels[k], 120),
            float(total[k]),
            float(means[k]),
            number(float(groups.peak_watts[k])).strip(),
            number(float(groups.cpu_seconds[k])).strip(),
            [place[k]] if k in place else [],
        )
        for k in range(min(top, len(groups)))
    ]
    if len(groups) > top:
        rest = slice(top, None)
        seconds = number(float(groups.cpu_seconds[rest].sum())).strip()
        layer = [place[OTHERS]] if OTHERS in place else []
        lines.append(
            line(others(len(groups) - top), float(total[rest].sum()), float(means[rest].sum()), "", seconds, layer)
        )
    for which, label, joules in ((IDLE, "idle", book.idle), (UNATTRIBUTED, "unattributed", book.unattributed)):
        mean = float(mean_watts(joules.sum(axis=1), book))
        lines.append(line(label, float(joules.sum()), mean, "", "", [place[which]] if which in place else []))
    mean = float(mean_watts(book.measured.sum(axis=1), book))
    peak = number(node_peak_watts(book)).strip()
    lines.append({**line("measured", whole, mean, peak, "", list(range(len(place)))), "layer": None})
    return lines
