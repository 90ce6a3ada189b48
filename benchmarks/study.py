"""The accuracy study on simulated machines: every figure of docs/accuracy.md. ``make study``; takes a minute."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tests.fakes import FakeGpus, FakeTables, sampler_over

from benchmarks.report import fill
from benchmarks.simulation import IDLE, STEP_SECONDS, Machine, collect, worst_error
from kepler_ebpf.energy.believe import Believer
from kepler_ebpf.energy.plausible import PLAUSIBLE_WATTS
from kepler_ebpf.energy.source import Domain

_FINE = 1e-12  # joules: a counter so fine that what is left is the attribution's own error
_INTERVALS = {"10 ms": 10, "100 ms": 100, "1 s": 1000, "5 s": 5000}


def _markdown(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ("---",) * len(header), *rows))


def _per_cent(value: float) -> str:
    return f"{100 * value:.3g} %" if value >= 1e-6 else f"{value:.1g}"


def sockets() -> str:
    """Two sockets, 1 s: one runs a process of 60 W, the other one of 15 W for a third of the time."""
    steps = 999
    schedule = np.full((8, steps), IDLE)
    schedule[0] = 0
    schedule[4, : steps // 3] = 1
    machine = Machine(np.array([60.0, 15.0]), schedule, packages=2, unit_joules=_FINE, span=2**62)
    rows = [
        (name, _per_cent(worst_error(collect(machine, steps, sum_first=sum_first).joules, machine.truth())))
        for name, sum_first in (("each package by itself", False), ("summed first", True))
    ]
    return _markdown(("attribution", "worst error of a process"), rows)


def _hyperthreads(true_ratio: float, assumed: float) -> float:
    """One core with both threads busy, one with one: the error of the process that is alone or not."""
    schedule = np.full((4, 1000), IDLE)
    schedule[0], schedule[1], schedule[2] = 0, 1, 2
    machine = Machine(np.full(3, 10.0), schedule, ratio=true_ratio, unit_joules=_FINE, span=2**62)
    return worst_error(collect(machine, 100, assumed).joules, machine.truth())


def hyperthreads() -> str:
    """Corrected (r = 1.1) and not (r = 2), for what two threads may truly cost."""
    rows = []
    for true_ratio in (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0):
        corrected, ignored = _hyperthreads(true_ratio, 1.1), _hyperthreads(true_ratio, 2.0)
        better = "yes" if corrected < ignored else "**no: it harms**"
        rows.append((f"{true_ratio:.1f}", _per_cent(corrected), _per_cent(ignored), better))
    return _markdown(("true r", "error with r = 1.1", "error ignoring hyperthreads", "better corrected?"), rows)


def frequencies() -> str:
    """Two cores of one package at 1 and 3 GHz, whose processes draw in proportion to their cycles."""
    schedule = np.full((4, 1000), IDLE)
    schedule[0], schedule[2] = 0, 1
    machine = Machine(np.array([10.0, 30.0]), schedule, hertz=np.array([1e9, 3e9]), unit_joules=_FINE, span=2**62)
    rows = [
        (name, _per_cent(worst_error(collect(machine, 100, by_cycles=by_cycles).joules, machine.truth())))
        for name, by_cycles in (("cycles (PMU)", True), ("time (no PMU)", False))
    ]
    return _markdown(("weight", "worst error of a process"), rows)


def _turns(phase: int) -> Machine:
    """Two processes that take turns of 200 ms on one CPU for 20 s; one draws three times what the other does."""
    steps = np.arange(20_000)
    schedule = np.full((2, len(steps)), IDLE)
    schedule[0] = (steps + phase) // 200 % 2
    return Machine(np.array([10.0, 30.0]), schedule)


def _burst(phase: int) -> Machine:
    """A process that draws 10 W but for one burst of 50 ms at 100 W: two processes, as far as power goes."""
    steps = np.arange(10_000)
    schedule = np.full((2, len(steps)), IDLE)
    schedule[0] = (steps >= 5000 + phase) & (steps < 5050 + phase)
    return Machine(np.array([10.0, 100.0]), schedule)


def _resolution() -> dict[str, tuple[float, float]]:
    """By interval: mean over ten phases of the worst error of a process, and of the burst's peak as a part of 100 W."""
    found = {}
    for name, steps in _INTERVALS.items():
        errors, peaks = [], []
        for phase in range(0, 200, 20):
            turns = _turns(phase + 7)
            errors.append(worst_error(collect(turns, steps).joules, turns.truth()))
            burst = _burst(phase + 7)
            whole = np.diff(burst.counter[0].astype(np.float64)[:: min(steps, 10_000)]) * burst.unit_joules
            peaks.append((whole.max() / (steps * STEP_SECONDS) - burst.idle_watts) / 100.0)
        found[name] = float(np.mean(errors)), float(np.mean(peaks))
    return found


def resolution(found: dict[str, tuple[float, float]]) -> str:
    rows = [(name, _per_cent(error), _per_cent(peak)) for name, (error, peak) in found.items()]
    return _markdown(("sample", "worst error, taking turns of 200 ms", "peak of a 50 ms burst recovered"), rows)


def plot(found: dict[str, tuple[float, float]], path: Path) -> None:
    """Both columns over the sample interval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams["svg.hashsalt"] = "kepler-ebpf"
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), constrained_layout=True)
    for axes, column, title in (
        (left, 0, "Two processes taking turns of 200 ms\n(1 : 3 in power), worst error"),
        (right, 1, "Peak of a 50 ms burst,\npart recovered"),
    ):
        values = [100 * pair[column] for pair in found.values()]
        axes.bar(range(len(values)), values, color=["#1a7f37", "#0969da", "#9a6700", "#cf222e"])
        axes.set_xticks(range(len(values)), list(found))
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("sample interval")
        axes.set_ylabel("%")
        axes.set_ylim(0, 110)
        for position, value in enumerate(values):
            axes.annotate(f"{value:.3g} %", (position, value), ha="center", va="bottom", fontsize=9)
    figure.suptitle("Simulation", fontsize=9, color="#57606a")
    figure.savefig(path, metadata={"Date": None})


def wraps() -> str:
    """An hour at 180 W, sampled irregularly around 100 ms, and four accidents."""
    rows = []
    chance = random.Random(5)
    for unit in (15.3e-6, 61e-6):
        span, units, now, counted, crossed = 2**32, 2**32 - 1000, 0.0, 0.0, 0
        start = units
        counter = Believer(span, unit, PLAUSIBLE_WATTS["package"])
        counter.read(units % span, 0)
        while now < 3600:
            now += chance.uniform(0.05, 0.15)
            before, units = units, start + int(180 * now / unit)
            crossed += units // span - before // span
            verdict = counter.read(units % span, round(now * 1e9))
            assert not verdict.fault
            counted += verdict.joules
        error = abs(counted - (units - start) * unit)
        rows.append((f"{unit * 1e6:.3g} µJ: one hour at 180 W", f"{crossed} wraps, {error:.2g} J off"))
        for name, value, seconds in (
            ("two wraps in a gap", 5000, 2.2 * span * unit / 180),
            ("reset to zero", 0, 0.1),
            ("ten minutes' stall", 123_456, 600.0),
        ):
            counter = Believer(span, unit, PLAUSIBLE_WATTS["package"])
            counter.read(2**31, 0)
            verdict = counter.read(value, round(seconds * 1e9))
            counted_as = f"counted as `{verdict.fault}`" if verdict.fault else "taken as one wrap"
            rows.append((f"{unit * 1e6:.3g} µJ: {name}", f"{verdict.joules:.3g} J, {counted_as}"))
    return _markdown(("counter of 2^32 units", "outcome"), rows)


def conservation() -> str:
    """100,000 samples of a second, more than a day: two packages, churn, overflow, failed readings, GPU users."""
    chance = random.Random(1)
    domains = (
        *(Domain("package", package, "simulated", str(package), idle_watts=20.0) for package in (0, 1)),
        *(Domain("dram", package, "simulated", str(package), idle_watts=0.0) for package in (0, 1)),
        Domain("gpu", 0, "simulated", idle_watts=20.0),
    )
    kernel, source = FakeTables(2, 128, 24), FakeGpus(domains)
    clock = [0.0]
    sampler = sampler_over(kernel, source, clock=lambda: clock[0])
    alive: dict[int, int] = {}
    for number in range(100_000):
        if len(alive) < 160 and chance.random() < 0.4:
            alive[number + 1] = chance.randrange(1, 12)
        for tgid in chance.choices(list(alive), k=min(len(alive), 4)) if alive else ():
            kernel.run(tgid, alive[tgid], chance.randrange(2), chance.randrange(1, 10**8), chance.randrange(10**7))
        if alive and chance.random() < 0.3:
            doomed = chance.choice(list(alive))
            kernel.kill(doomed)
            del alive[doomed]
        if chance.random() < 0.02:
            source.fail(chance.randrange(len(domains)))
        source.users = {tgid: chance.random() for tgid in list(alive)[:2]}
        clock[0] += 1.0
        source.use(np.array([chance.uniform(15, 200) for _ in domains]), 1.0)
        sampler.sample()
    ledger = sampler.ledger
    rows = [
        (
            level,
            f"{ledger.measured.sum():.4g} J",
            f"{ledger.relative_gap(level):.1g}",
            str(ledger.gap_exceeded[level]),
        )
        for level in ledger.levels
    ]
    return _markdown(("level", "measured", "relative gap at the end", "samples off by more than 1e-6"), rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="fill this page's sections, draw its plot beside it")
    arguments = parser.parse_args()
    found = _resolution()
    sections = {
        "sockets": sockets(),
        "hyperthreads": hyperthreads(),
        "frequencies": frequencies(),
        "resolution": resolution(found),
        "wraps": wraps(),
        "conservation": conservation(),
    }
    for name, text in sections.items():
        print(f"\n{name} (simulation)\n\n{text}")
    if arguments.write:
        page = arguments.write.read_text()
        for name, text in sections.items():
            page = fill(page, name, text)
        arguments.write.write_text(page)
        plot(found, arguments.write.with_name("resolution.svg"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
