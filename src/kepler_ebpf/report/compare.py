"""Two recordings side by side: what differs, and whether it means anything.

Power a moment later is much like power now, so frames are no independent observations: a test over them would call any
two recordings different. Each recording is cut into twenty equal stretches, whose means are nearly independent (batch
means; Law, "Simulation Modeling and Analysis", section 9.5.3), and these are compared (Welch's test); where neighbours
are still alike, the error is widened by as much as that makes of it. Of many workloads one in twenty differs "with
95 %" by chance alone, so the probabilities are corrected for how many are looked at (Holm).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..columns import TITLES, Floats
from ..plain import cut
from . import student
from .book import Book
from .groups import GROUPINGS, Groups, group, others
from .series import Timeline
from .text import WIDTH, folded, headline, number, rules_line, sources_line

STRETCHES = 20
LEAST_FRAMES = 5 * STRETCHES
SURE = 0.05
"""Differences that chance alone makes less often than this mean something."""
COMPARABLE = tuple(name for name in GROUPINGS if name != "process")
"""Groupings whose names are the same in every run."""
_NODE = None


@dataclass(frozen=True)
class Difference:
    """One workload, or the node, in two recordings.

    ``watts``: mean power in each. ``interval``: in which the difference of the two, second less first, is with 95 %.
    ``probability``: how likely chance alone makes such a difference, corrected for how many are compared; NaN where the
    recordings are too short to tell.
    """

    name: str
    watts: tuple[float, float]
    interval: tuple[float, float]
    probability: float

    @property
    def means_something(self) -> bool:
        return self.probability < SURE


def compare(first: Book, second: Book, by: str) -> list[Difference]:
    """The node, and each workload that has the same name in both, or is in one only: most energy first.

    Processes are compared by name, as they have other ids in every run. Power is that of the components that meters
    told of in both; where there is none, nothing can be told.
    """
    books = (first, second)
    both = _in_both(first, second)
    groups = [group(book, by) for book in books]
    labels = {label: None for one in groups for label in one.labels}
    powers = [_powers(book, one, both) for book, one in zip(books, groups)]
    nothing = np.zeros(STRETCHES)
    short = not both.any() or any(len(book.seconds) < LEAST_FRAMES for book in books)
    found = [
        _difference(label, powers[0].get(label, nothing), powers[1].get(label, nothing), short) for label in labels
    ]
    node = _difference("node", powers[0][_NODE], powers[1][_NODE], short)
    return [node, *sorted(_corrected(found), key=lambda one: -max(one.watts))]


def _in_both(first: Book, second: Book) -> Floats:
    """1 for each component that both recordings have the energy of, 0 for the others: float64[3, 1]. What no meter
    told is not known, and less of it than in the other recording is no difference."""
    return (first.is_metered & second.is_metered)[:, np.newaxis].astype(np.float64)


def _powers(book: Book, groups: Groups, both: Floats) -> dict[str | None, Floats]:
    """Mean power in each stretch, float64[STRETCHES], of the node and of each label."""
    timeline = Timeline(book)
    edges = np.linspace(0.0, timeline.frame_edges[-1], STRETCHES + 1)
    seconds = np.diff(edges)
    frames = len(book.seconds)
    powers: dict[str | None, Floats] = {_NODE: timeline.spread(both * book.measured, edges) / seconds}
    order = np.argsort(groups.of_line, kind="stable")
    starts = np.searchsorted(groups.of_line[order], np.arange(len(groups) + 1))
    for position, label in enumerate(groups.labels):
        take = order[starts[position] : starts[position + 1]]
        frame, joules = groups.charges.frame[take], groups.charges.joules[:, take]
        by_frame = np.stack([np.bincount(frame, column, frames) for column in joules]).astype(np.float64)
        powers[label] = powers.get(label, np.zeros(STRETCHES)) + timeline.spread(both * by_frame, edges) / seconds
    return powers


def _difference(name: str, first: Floats, second: Floats, short: bool) -> Difference:
    watts = (float(first.mean()), float(second.mean()))
    if short:
        return Difference(name, watts, (math.nan, math.nan), math.nan)
    errors = [float(one.var(ddof=1)) / len(one) * _likeness(one) for one in (first, second)]
    error = math.sqrt(sum(errors))
    apart = watts[1] - watts[0]
    if error == 0:
        return Difference(name, watts, (apart, apart), 1.0 if apart == 0 else 0.0)
    # Welch and Satterthwaite.
    freedom = sum(errors) ** 2 / sum(one**2 / (STRETCHES - 1) for one in errors)
    reach = student.quantile(0.95, freedom) * error
    return Difference(name, watts, (apart - reach, apart + reach), student.two_sided(apart / error, freedom))


def _likeness(means: Floats) -> float:
    """By how much the variance of a mean is more than it were of independent values with this lag-1 correlation."""
    apart = means - means.mean()
    whole = float(apart @ apart)
    correlation = min(max(float(apart[1:] @ apart[:-1]) / whole, 0.0), 0.9) if whole > 0 else 0.0
    return (1 + correlation) / (1 - correlation)


def _corrected(found: list[Difference]) -> list[Difference]:
    """Probabilities corrected by Holm's method: the chance that any of all is called different wrongly is ``SURE``."""
    order = sorted(range(len(found)), key=lambda k: found[k].probability)
    corrected, highest = list(found), 0.0
    for rank, k in enumerate(order):
        one = found[k]
        highest = max(highest, min(1.0, one.probability * (len(found) - rank)))
        corrected[k] = Difference(one.name, one.watts, one.interval, one.probability if short(one) else highest)
    return corrected


def short(one: Difference) -> bool:
    """Whether the recordings were too short to tell."""
    return math.isnan(one.probability)


def text(first: Book, second: Book, by: str, top: int) -> str:
    """The comparison as plain text."""
    lines = [
        *(line for mark, book in (("A", first), ("B", second)) for line in _head(mark, book)),
        *_told_of_both(first, second, sources_line),
        *_told_of_both(first, second, rules_line),
        *_left_out(first, second),
        "",
        *_table(first, second, by, top),
    ]
    return "\n".join(lines) + "\n"


def _table(first: Book, second: Book, by: str, top: int) -> list[str]:
    if not _in_both(first, second).any():
        return ["no meter told the same part of the power in both: they cannot be compared"]
    found = compare(first, second, by)
    lines = [
        f"{'A mean W':>9} {'B mean W':>9} {'B - A W':>9} {'95 % interval':>21}  {'p':>7}  {by}",
        *(_row(one) for one in found[: top + 1]),
    ]
    if len(found) > top + 1:
        lines.append(f"({others(len(found) - top - 1)})")
    return [*lines, "", *_verdict(first, second, found)]


def _head(mark: str, book: Book) -> list[str]:
    return folded(f"{mark}: {book.path}: {headline(book)}")


def _told_of_both(first: Book, second: Book, tell: Callable[[Book], str]) -> list[str]:
    """A fact, or each recording's own: what differs in it may be all that differs."""
    facts = [tell(first), tell(second)]
    return folded(facts[0]) if facts[0] == facts[1] else [*folded(f"A: {facts[0]}"), *folded(f"B: {facts[1]}")]


def _left_out(first: Book, second: Book) -> list[str]:
    found = zip(TITLES, first.is_metered.tolist(), second.is_metered.tolist())
    return [f"{title} power is known in {'A' if a else 'B'} alone: it is left out" for title, a, b in found if a != b]


def _row(one: Difference) -> str:
    apart = one.watts[1] - one.watts[0]
    interval = "too short to tell" if short(one) else f"{one.interval[0]:+.3f} to {one.interval[1]:+.3f}"
    chance = "" if short(one) else f"{one.probability:.1g}" + ("*" if one.means_something else " ")
    front = f"{number(one.watts[0])} {number(one.watts[1])} {apart:+9.3f} {interval:>21}  {chance:>7}  "
    return front + cut(one.name, WIDTH - len(front))


def _verdict(first: Book, second: Book, found: list[Difference]) -> list[str]:
    both = _in_both(first, second)
    joules = [float((both * book.measured).sum()) for book in (first, second)]
    energy = f"energy: A {joules[0]:.3f} J in {first.duration_seconds:.2f} s, "
    lines = [energy + f"B {joules[1]:.3f} J in {second.duration_seconds:.2f} s"]
    node = found[0]
    if short(node):
        lines.append(f"fewer than {LEAST_FRAMES} frames: too short to tell chance from difference")
    elif node.means_something and node.watts[0] > 0:
        change = 100 * (node.watts[1] / node.watts[0] - 1)
        than = "more than A" if change > 0 else "less than A"
        lines.append(f"the node's mean power differs: B draws {abs(change):.1f} % {than}")
    else:
        lines.append("the node's mean power differs by no more than chance does")
    lines.append("* less likely than 5 % by chance; corrected for how many workloads are compared")
    return lines
