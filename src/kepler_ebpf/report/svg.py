"""Stacked watts over time as an SVG picture; nothing but text, so it needs no library."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from ..columns import Floats
from ..plain import cut
from .book import Book
from .series import IDLE, OTHERS, UNATTRIBUTED, Stack
from .text import moment, sources_line

WIDTH, HEIGHT = 1200, 560
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 76, 96
_COLORS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00",
    "#8a6fd1", "#b5a11d", "#3f8f8f", "#c2566b", "#6b8e23", "#7a5c3e",
)  # fmt: skip
_OWN = {IDLE: "#b8bcc2", OTHERS: "#7d848c", UNATTRIBUTED: "#e8d9b5"}

_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1b1f24}.title{font-size:17px;font-weight:600}.note{fill:#57606a}"
    ".grid{stroke:#8884;stroke-width:1}.paper{fill:#fff}"
    "@media (prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9da7b1}.paper{fill:#0d1117}}"
)


def colors(layers: Sequence[int]) -> tuple[str, ...]:
    """A colour for each layer of a stack: by the group's position, and one of its own for what is nobody's."""
    return tuple(_OWN.get(layer) or _COLORS[layer % len(_COLORS)] for layer in layers)


def ticks(most: float, count: int = 6) -> list[float]:
    """Round numbers from 0 to ``most``, about ``count`` of them."""
    if most <= 0:
        return [0.0]
    rough = most / count
    power = 10.0 ** np.floor(np.log10(rough))
    step = float(next((power * unit for unit in (1, 2, 5) if power * unit >= rough), power * 10))
    return [step * k for k in range(int(most / step * (1 + 1e-12)) + 1)]


def svg(book: Book, stack: Stack) -> str:
    """The picture, as a whole file."""
    watts = stack.watts
    tops = np.cumsum(watts, axis=0)
    highest = float(tops[-1].max()) * 1.05 if tops.size else 1.0
    highest = highest or 1.0
    length = float(stack.edges[-1])
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM

    def across(seconds: Floats) -> Floats:
        x: Floats = _LEFT + seconds / length * (right - _LEFT)
        return x

    def up(power: Floats) -> Floats:
        y: Floats = bottom - power / highest * (bottom - _TOP)
        return y

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Watts over time by {escape(stack.by)}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="title" x="{_LEFT}" y="28">{escape(title(stack))}</text>',
        f'<text class="note" x="{_LEFT}" y="50">{escape(cut(note(book), 150))}</text>',
    ]
    for watt in ticks(highest):
        y = float(up(np.array([watt]))[0])
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{watt:g} W</text>')
    for second in ticks(length, 10):
        at = float(across(np.array([second]))[0])
        parts.append(f'<text x="{at:.1f}" y="{bottom + 20}" text-anchor="middle">{second:g} s</text>')
    x = across(stack.edges)
    floor = np.zeros(watts.shape[1])
    for label, color, top in zip(stack.labels, colors(stack.layers), tops):
        parts.append(_layer(label, color, x, up(floor), up(top)))
        floor = top
    parts += _legend(stack)
    return "\n".join([*parts, "</svg>"]) + "\n"


def title(stack: Stack) -> str:
    """What the picture shows."""
    joules, seconds = float(stack.joules.sum()), float(stack.edges[-1])
    return f"Watts over time, by {stack.by}: {joules:.4g} J in {seconds:.4g} s"


def note(book: Book) -> str:
    """When it was recorded, and where the power comes from."""
    began = book.end_us[0] - book.seconds[0] * 1e6
    return f"{book.path.name}, {moment(began)}; {sources_line(book)}"


def _layer(label: str, color: str, x: Floats, floor: Floats, top: Floats) -> str:
    """One layer: stairs along its top, and back along its floor. Steps that do not differ are drawn as one."""
    d = f"M{x[0]:.2f} {floor[0]:.2f}" + _stairs(x, top) + _stairs(x[::-1], floor[::-1]) + "Z"
    name = escape(cut(label, 120))
    return f'<path fill="{color}" data-label="{name}" d="{d}"><title>{name}</title></path>'


def _stairs(x: Floats, y: Floats) -> str:
    """To the height y[k], and along it to x[k + 1]."""
    shown = np.round(y, 2)
    change = np.flatnonzero(np.diff(shown, prepend=np.inf))
    ends = np.append(change[1:], len(shown))
    return "".join(f"V{shown[k]:g}H{x[end]:.2f}" for k, end in zip(change.tolist(), ends.tolist()))


def _legend(stack: Stack) -> list[str]:
    """What each colour is: three lines of names, the uppermost layer last."""
    parts, x, y = [], float(_LEFT), HEIGHT - _BOTTOM + 44
    for label, color in zip(stack.labels, colors(stack.layers)):
        name = cut(label, 36)
        width = 26 + 7.2 * len(name)
        if x + width > WIDTH - _RIGHT:
            x, y = float(_LEFT), y + 20
        if y > HEIGHT - 6:
            break
        parts.append(f'<rect x="{x:.0f}" y="{y - 10}" width="12" height="12" fill="{color}"/>')
        parts.append(f'<text x="{x + 17:.0f}" y="{y}">{escape(name)}</text>')
        x += width
    return parts
