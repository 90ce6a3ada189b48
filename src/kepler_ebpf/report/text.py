"""A recording as plain text, for terminals of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import datetime, timezone

import numpy as np

from ..columns import TITLES, Floats
from ..plain import cut
from .book import Book
from .groups import Groups, mean_watts, node_peak_watts, others

WIDTH = 80
_LONGEST = 5 * WIDTH
_DELAYED = 1.5  # times the median
_HEADINGS = {
    "container": "containers",
    "pod": "pods",
    "namespace": "namespaces",
    "program": "programs",
    "process": "processes",
}


def summary(book: Book, tables: Sequence[tuple[Groups, int]]) -> str:
    """Everything a terminal shows. ``tables``: groups, and most lines of each."""
    parts = [_head(book), _node(book), *(_workloads(book, groups, top) for groups, top in tables)]
    parts.append(books_check(book))
    return "\n".join(parts)


def number(value: float, width: int = 9) -> str:
    """A figure in a column: as many decimals as there is room and sense for."""
    magnitude = abs(value)
    decimals = 3 if magnitude < 10 else 2 if magnitude < 100 else 1 if magnitude < 10_000 else 0
    text = f"{value:{width}.{decimals}f}"
    return text if len(text) <= width else f"{value:{width}.2e}"


def sources_line(book: Book) -> str:
    """Where the power comes from, as a sentence."""
    if not book.sources:
        return "no meter told any energy"
    if book.is_modelled:
        return f"power is a model's, not measured: {book.info.get('power_model') or 'unknown model'}"
    return "measured by " + ", ".join(book.sources)


def rules_line(book: Book) -> str:
    """How energy is shared."""
    weights = "cycles" if book.rules.get("by_cycles") else "CPU time"
    return (
        f"shared by {weights}; idle energy: {book.rules.get('idle_policy')}; "
        f"hyperthread ratio {book.rules.get('hyperthread_ratio'):g}"
    )


def moment(microseconds: float) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def headline(book: Book) -> str:
    """When, for how long, and on which machine."""
    count, interval, longest = len(book.seconds), float(np.median(book.seconds)) * 1e3, float(book.seconds.max()) * 1e3
    # Delayed samples are longer frames: so many medians are not the duration.
    typical = "median" if longest <= _DELAYED * interval else f"median; longest {longest:.1f}"
    frames = f"{count} frame{'' if count == 1 else 's'} of {interval:.1f} ms ({typical})"
    began = book.end_us[0] - book.seconds[0] * 1e6
    parts = [moment(began), f"{book.duration_seconds:.2f} s", frames]
    return ", ".join([*parts, *(book.info[name] for name in ("node", "cpu_model") if book.info.get(name))])


def folded(text: str) -> list[str]:
    """Facts, none of which is left out for its length, but what no machine and no path is called."""
    return textwrap.wrap(cut(text, _LONGEST), WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _head(book: Book) -> str:
    facts = (str(book.path), headline(book), sources_line(book), rules_line(book))
    return "".join(line + "\n" for fact in facts for line in folded(fact))


def _row(joules: float, share: float, mean: float, peak: float | None, seconds: float | None, name: str) -> str:
    shown_peak = number(peak) if peak is not None else " " * 9
    shown_seconds = number(seconds) if seconds is not None else " " * 9
    front = f"{number(joules, 10)} {100 * share:6.1f}% {number(mean)} {shown_peak} {shown_seconds}  "
    return front + cut(name, WIDTH - len(front))


def _title(name: str) -> str:
    return f"{'joules':>10} {'share':>7} {'mean W':>9} {'peak W':>9} {'CPU s':>9}  {name}"


def _node(book: Book) -> str:
    whole = float(book.measured.sum())
    charged = book.measured - book.idle - book.unattributed

    def line(name: str, joules: Floats, peak: float | None = None) -> str:
        total = float(joules.sum())
        mean = float(mean_watts(joules.sum(axis=1), book))
        return _row(total, total / whole if whole else 0.0, mean, peak, None, name)

    lines = [_title("node"), line("measured", book.measured, node_peak_watts(book))]
    for position, title in enumerate(TITLES):
        if book.measured[position].any():
            only = np.zeros_like(book.measured)
            only[position] = book.measured[position]
            lines.append(line(f"  {title}", only, float(book.watts[position].max())))
    lines += [
        line("charged to workloads", charged),
        line("idle", book.idle),
        line("unattributed", book.unattributed),
    ]
    return "".join(text + "\n" for text in lines)


def _workloads(book: Book, groups: Groups, top: int) -> str:
    whole = float(book.measured.sum())
    total, means = groups.total, mean_watts(groups.joules, book)
    lines = [_title(_HEADINGS[groups.by])]

    def name(position: int) -> str:
        several = int(groups.members[position])
        return groups.labels[position] + (f" ×{several}" if several > 1 and groups.by == "program" else "")

    for position in range(min(top, len(groups))):
        joules = float(total[position])
        lines.append(
            _row(
                joules,
                joules / whole if whole else 0.0,
                float(means[position]),
                float(groups.peak_watts[position]),
                float(groups.cpu_seconds[position]),
                name(position),
            )
        )
    rest = slice(top, None)
    if len(groups) > top:
        joules = float(total[rest].sum())
        lines.append(
            _row(
                joules,
                joules / whole if whole else 0.0,
                float(means[rest].sum()),
                None,
                float(groups.cpu_seconds[rest].sum()),
                f"({others(len(groups) - top)})",
            )
        )
    return "".join(line + "\n" for line in lines)


def gaps(book: Book) -> dict[str, float]:
    """By level: the largest relative difference between measured and charged + idle + unattributed in any frame.

    A frame's difference is taken relative to the frame's energy, or a thousandth of the mean frame's where it is less:
    rounding in a frame without energy is no hole in the books.
    """
    measured = book.measured.sum(axis=0)
    rest = (book.idle + book.unattributed).sum(axis=0)
    scale = np.maximum(measured, 1e-3 * measured.mean())
    found = {}
    for level, charges in book.levels.items():
        charged = np.bincount(charges.frame, charges.joules.sum(axis=0), len(measured))
        gap = np.abs(measured - charged - rest)
        found[level] = float(np.divide(gap, scale, out=gap, where=scale > 0).max())
    return found


def books_check(book: Book) -> str:
    """Whether measured = charged + idle + unattributed, in every frame and at both levels."""
    measured, idle, unattributed = (float(part.sum()) for part in (book.measured, book.idle, book.unattributed))
    lines = []
    for level, gap in gaps(book).items():
        charged = float(book.levels[level].joules.sum())
        verdict = "closes" if gap <= 1e-6 else "DOES NOT CLOSE"
        lines.append(
            f"books by {level}: {verdict}, the largest gap in a frame is {gap:.1e}\n"
            f"  {_joules(measured)} J = {_joules(charged)} charged + {_joules(idle)} idle "
            f"+ {_joules(unattributed)} unattributed\n"
        )
    return "".join(lines)


def _joules(joules: float) -> str:
    return f"{joules:.3f}" if joules < 1e6 else f"{joules:.7g}"
