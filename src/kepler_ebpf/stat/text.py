"""What is printed for people: pure functions from usages to lines."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..columns import NODE, TITLES, Floats
from ..plain import cut
from .statistics import FEWEST_PAIRS, Ratio, Summary, ratio, summarize
from .usage import CPU_TIME, CYCLES, ELAPSED, ENERGY, FIGURES, PEAK, Figure, Usage

NOT_COUNTED = "<not counted>"
_WIDEST = 60
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"))


@dataclass(frozen=True)
class Measured:
    """Runs of one target. ``title``: what it is called, on one line; ``usages``: at least one. ``command``: its
    arguments as they were given, None where it is no command."""

    title: str
    usages: Sequence[Usage]
    command: Sequence[str] | None = None

    @property
    def short(self) -> str:
        """The title for the screen, cut where it is long."""
        return cut(self.title, _WIDEST)

    @property
    def quoted(self) -> str:
        """The title for files, where two commands have to be told apart: all of it, and words as a shell takes them."""
        return self.title if self.command is None else _plain(shlex.join(self.command))

    def values(self, figure: Figure) -> list[float]:
        """A figure of every run."""
        return [figure.of(usage) for usage in self.usages]

    def summary(self, figure: Figure) -> Summary:
        return summarize(self.values(figure))

    def mean_of(self, part: str) -> Floats:
        """Mean joules by component of the target, the others, and so on, float64[3]; NaN where a run has none."""
        mean: Floats = np.mean([getattr(usage, part) for usage in self.usages], axis=0)
        return mean


def shown(command: Sequence[str]) -> str:
    """A command on one line, with nothing in it that a terminal would obey or a file could not say."""
    return _plain(" ".join(" ".join(command).split()))


def _plain(text: str) -> str:
    return "".join(one if one.isprintable() else " " if one.isspace() else "?" for one in text)


def amount(value: float, unit: str) -> str:
    """Four digits with a prefix: ``12.34 J``, ``1.234 mJ``."""
    if not math.isfinite(value):
        return NOT_COUNTED
    factor, prefix = next(((f, p) for f, p in _PREFIXES if abs(value) >= f), (1.0, "") if value == 0 else _PREFIXES[-1])
    scaled = value / factor
    digits = 3 if abs(scaled) < 10 else 2 if abs(scaled) < 100 else 1
    return f"{scaled:.{digits}f} {prefix}{unit}"


def report(measured: Measured) -> list[str]:
    """One target's runs."""
    count = len(measured.usages)
    runs = f" ({count} runs, mean ± σ)" if count > 1 else ""
    return ["", f" Energy of '{measured.short}'{runs}:", "", *_table(measured), "", *_figures(measured), ""]


def _table(measured: Measured) -> list[str]:
    """Who used the energy, by component: the rows sum to what the meter told."""
    whole = measured.mean_of("whole")
    told = [number for number in range(len(NODE)) if math.isfinite(whole[number])]
    if not told:
        return [f"  {'this':<16}{NOT_COUNTED:>13}   # no meter told any energy meanwhile"]
    rows = [
        ("this", "joules"),
        ("others", "others"),
        ("unattributed", "unattributed"),
        ("idle", "idle"),
        ("whole", "whole"),
    ]
    heads = [*(TITLES[number] for number in told), *(["total"] if len(told) > 1 else [])]
    lines = [" " * 18 + "".join(f"{head:>13}" for head in heads) + f"{'share':>10}"]
    for title, part in rows:
        joules = measured.mean_of(part)[told]
        if part == "unattributed" and not joules.any():
            continue
        cells = [*joules.tolist(), *([float(joules.sum())] if len(told) > 1 else [])]
        share = 100 * joules.sum() / whole[told].sum() if whole[told].sum() > 0 else math.nan
        lines.append(f"  {title:<16}" + "".join(f"{amount(cell, 'J'):>13}" for cell in cells) + f"{share:>8.1f} %")
    return lines


def _figures(measured: Measured) -> Iterable[str]:
    remarks = _comments(measured)
    for figure in FIGURES:
        summary = measured.summary(figure)
        text = f"{amount(summary.mean, figure.unit):>15}"
        if len(measured.usages) > 1:
            text += f"  {_deviation(summary):>9}"
        remark = remarks.get(figure, "")
        yield f"{text}  {figure.title}" + (f"   # {remark}" if remark and math.isfinite(summary.mean) else "")
    yield from _oddities(measured)


def _comments(measured: Measured) -> dict[Figure, str]:
    """What stands behind a figure."""
    samples, late = (sum(getattr(usage, name) for usage in measured.usages) for name in ("samples", "late"))
    seconds, cycles = measured.summary(CPU_TIME).mean, measured.summary(CYCLES).mean
    return {
        PEAK: f"highest of {samples} sample{'s' if samples != 1 else ''}" + (f", {late} missed" if late else ""),
        CPU_TIME: f"{seconds / max(measured.summary(ELAPSED).mean, 1e-9):.3f} CPUs in use",
        CYCLES: f"{cycles / seconds / 1e9:.2f} GHz" if seconds > 0 else "",
    }


def _deviation(summary: Summary) -> str:
    if not math.isfinite(summary.deviation) or summary.mean == 0:
        return ""
    return f"± {100 * summary.deviation / abs(summary.mean):.2f} %"


def _oddities(measured: Measured) -> Iterable[str]:
    for figure in (ENERGY, ELAPSED):
        values = measured.values(figure)
        odd = summarize(values).outliers
        if odd:
            runs = ", ".join(f"run {number + 1} with {amount(values[number], figure.unit)}" for number in odd[:5])
            more = f" and {len(odd) - 5} more" if len(odd) > 5 else ""
            yield f" Outliers: {runs}{more}. Something else may have disturbed them; they are in the mean."


def compare(first: Measured, second: Measured) -> list[str]:
    """How the second command stands against the first."""
    lines = [f" '{second.short}' against '{first.short}', in pairs of runs:", ""]
    told: dict[Figure, Ratio | None] = {}
    for figure in (ENERGY, ELAPSED, CPU_TIME):
        found = told[figure] = ratio(second.values(figure), first.values(figure))
        if found is None:
            lines.append(f"  {figure.title:<10} {'-':>8}")
        else:
            bounds = f"{found.low:.4f} to {found.high:.4f}"
            lines.append(f"  {figure.title:<10} {found.estimate:8.4f} times   (95 % confidence: {bounds})")
    return [*lines, "", f" {_verdict(first, second, told[ENERGY])}", ""]


def _verdict(first: Measured, second: Measured, found: Ratio | None) -> str:
    pairs = min(len(first.usages), len(second.usages))
    if pairs < FEWEST_PAIRS:
        few = "1 pair of runs is" if pairs == 1 else f"{pairs} pairs of runs are"
        return f"{few} too few to compare energy: -r {FEWEST_PAIRS} is the least, 20 is good."
    if found is None:
        return "Their energy cannot be compared: a run used none that a meter could tell."
    if not found.is_significant:
        return "No difference in energy can be told from chance: more runs (-r), or a quieter machine, may tell one."
    change = 100 * abs(found.estimate - 1)
    return (
        f"'{second.short}' uses {change:.1f} % {'more' if found.estimate > 1 else 'less'} energy: that is not chance."
    )


def said_of(measured: Measured, describe: Callable[[int], str]) -> Iterable[str]:
    """Remarks on how runs ended. ``describe``: a status, in words."""
    failed = [usage.status for usage in measured.usages if usage.status]
    if failed and len(measured.usages) > 1:
        yield f"{len(failed)} of {len(measured.usages)} runs of '{measured.short}' failed: one {describe(failed[0])}"
    elif failed:
        yield f"'{measured.short}' {describe(failed[0])}"
    left = max(usage.left for usage in measured.usages)
    if left:
        yield f"'{measured.short}' left {left} process(es) running: what they use after its end is not in here"
