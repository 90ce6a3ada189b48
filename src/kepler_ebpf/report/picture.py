"""Stacked watts over time as a PNG, drawn by matplotlib."""

from __future__ import annotations

import io

import numpy as np

from ..errors import KeplerError
from ..plain import cut
from .book import Book
from .series import Stack
from .svg import colors, note, title


def png(book: Book, stack: Stack) -> bytes:
    """The picture. Raises KeplerError where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise KeplerError("--png needs matplotlib: pip install 'kepler-ebpf[report]'; --svg needs nothing") from error
    figure = Figure(figsize=(12, 5.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    floor = np.zeros(stack.joules.shape[1])
    for label, color, watts in zip(stack.labels, colors(stack.layers), stack.watts):
        # A dollar sign begins a formula.
        name = cut(label, 40).replace("$", r"\$")
        axes.stairs(floor + watts, stack.edges, baseline=floor, fill=True, color=color, linewidth=0, label=name)
        floor = floor + watts
    axes.set(xlim=(0, stack.edges[-1]), ylim=(0, None), xlabel="seconds", ylabel="watts")
    axes.set_title(f"{title(stack)}\n{note(book)}".replace("$", r"\$"), loc="left", fontsize=10)
    axes.grid(axis="y", alpha=0.3)
    if stack.labels:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=6, fontsize=8, frameon=False)
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)
    return file.getvalue()
