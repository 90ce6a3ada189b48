"""Figures with their goals, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from kepler_ebpf.stat.statistics import FEWEST_PAIRS, ratio


@dataclass(frozen=True)
class Figure:
    """One measured value. ``goal``: the most it may be, None where there is none."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        return "met" if self.value <= self.goal else "NOT MET"

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "verdict": self.verdict}


def growth(name: str, measured: Sequence[float], bare: Sequence[float], goal: float | None, note: str = "") -> Figure:
    """By how many per cent a figure grows, by pairs of runs, with its 95 % interval. Seven pairs are the fewest."""
    found = ratio(measured, bare)
    if found is None:
        raise ValueError(f"{name}: at least {FEWEST_PAIRS} pairs are needed")
    estimate, low, high = (100 * (one - 1) for one in (found.estimate, found.low, found.high))
    return Figure(name, estimate, "%", goal, f"95 % interval {low:+.1f} to {high:+.1f} %, {len(bare)} pairs{note}")


def table(figures: list[Figure]) -> str:
    """Aligned columns: name, value, goal, verdict, note."""
    rows = [("what", "measured", "goal", "", "")]
    for figure in figures:
        goal = "" if figure.goal is None else f"≤ {figure.goal:g} {figure.unit}"
        rows.append((figure.name, f"{figure.value:.3g} {figure.unit}", goal, figure.verdict, figure.note))
    return columns(rows)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Lines with the cells of all rows one under another; no blanks at a line's end."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def fill(page: str, mark: str, text: str) -> str:
    """The page with ``text`` between ``<!-- mark -->`` and ``<!-- /mark -->``. Raises ValueError without the marks."""
    before, opening, rest = page.partition(f"<!-- {mark} -->\n")
    _, closing, after = rest.partition(f"<!-- /{mark} -->")
    if not opening or not closing:
        raise ValueError(f"no <!-- {mark} --> … <!-- /{mark} --> to fill")
    return f"{before}{opening}{text}\n{closing}{after}"
