"""In-kernel cost of one context switch, by the kernel's own count, beside programs that do nothing or read the clock.

All are attached at once, so that they see the same switches on the same machine at the same moment. The kernel runs
them in the order in which they were attached, and the first one fetches what all touch into the caches: an empty
program runs before ours and one behind it, and ours is compared with the mean of the two.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.cgroups import find_hierarchy

from benchmarks.footprint import crowd
from benchmarks.reference import reference_programs
from benchmarks.report import Figure
from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.topology import read_topology
from kepler_ebpf.kernel.stats import program_stats
from kepler_ebpf.kernel.tables import BpfTables

_STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
_ROUNDS = 7


def _cost_ns(programs: dict[str, int], run: Callable[[], object]) -> dict[str, float]:
    """Nanoseconds per run of each program while something runs; ``empty`` is the mean of both empty programs."""
    seconds, runs = program_stats(programs)
    run()
    seconds_after, runs_after = program_stats(programs)
    cost = {
        name: (seconds_after[name] - seconds.get(name, 0.0)) * 1e9 / (runs_after[name] - runs.get(name, 0))
        for name in programs
    }
    return {**cost, "empty": (cost["empty"] + cost["empty behind"]) / 2}


def _pipe(cpus: str) -> None:
    """Two processes that hand over to each other, on one CPU, or (``0,1``) on two that are idle in between."""
    command = ["perf", "bench", "sched", "pipe", "-l", "60000"]
    subprocess.run(["taskset", "-c", cpus, *command], check=True, capture_output=True)


def _ratio(rounds: Sequence[dict[str, float]]) -> float:
    return statistics.median(one["on_switch"] / one["empty"] for one in rounds)


_CROWD_SECONDS = 4.0
_CROWD_ROUNDS = 5


def _beside_a_crowd(programs: dict[str, int], processes: int, goal: float) -> list[Figure]:
    """What a switch costs beside so many processes that wake ten times a second: cold cache lines."""
    with crowd(processes):
        time.sleep(2.0)
        rounds = [_cost_ns(programs, partial(time.sleep, _CROWD_SECONDS)) for _ in range(_CROWD_ROUNDS)]
    ours = statistics.median(one["on_switch"] for one in rounds)
    ratio = _ratio(rounds)
    name = f"switch: {processes:,} wakers"
    return [
        Figure(f"{name}, ours", ours, "ns", note="each ten times a second"),
        Figure(f"{name}, ours / empty", ratio, "×", goal, f"median of {_CROWD_ROUNDS} rounds"),
    ]


def _pose_as_siblings(accounting: BpfTables) -> str:
    """Without hyperthreads, let CPUs 0 and 1 pass for siblings: the overlap is worked out at every switch. Says so."""
    if len(accounting.cpus) == 1 or (accounting.cpus["sibling"] != range(len(accounting.cpus))).any():
        return "with hyperthreads"
    accounting.cpus["sibling"][:2] = (1, 0)
    return "CPUs 0 and 1 posing as siblings"


def measure() -> list[Figure]:
    """Medians over interleaved rounds, and the ratio to the empty programs, round by round."""
    before = _STATS.read_text()
    fs = HostFS()
    with ExitStack() as held:
        held.callback(_STATS.write_text, before)
        reference = held.enter_context(reference_programs("empty", "clock_only"))
        accounting = BpfTables(fs, read_topology(fs), find_hierarchy(fs), 32768, 1024)
        held.callback(accounting.close)
        behind = held.enter_context(reference_programs("empty"))["empty"]
        programs = {**reference, "on_switch": accounting.loaded.programs["on_switch"], "empty behind": behind}
        siblings = _pose_as_siblings(accounting)
        _STATS.write_text("1")
        _cost_ns(programs, partial(_pipe, "0"))  # warm up
        rounds, apart = ([_cost_ns(programs, partial(_pipe, cpus)) for _ in range(_ROUNDS)] for cpus in ("0", "0,1"))
        beside = [*_beside_a_crowd(programs, 1_000, 6.5), *_beside_a_crowd(programs, 5_000, 8.0)]
    median = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    ratio, ratio_apart = (
        statistics.median(one["on_switch"] / one["empty"] for one in some) for some in (rounds, apart)
    )
    counted = "with a PMU" if accounting.cycles else "no PMU here"
    return [
        Figure("switch: empty program", median["empty"], "ns", note="perf bench sched pipe; mean of the two"),
        Figure("switch: one clock read", median["clock_only"], "ns"),
        Figure("switch: ours", median["on_switch"], "ns", note=f"{counted}, {siblings}"),
        Figure("switch: ours / empty", ratio, "×", 3.3, f"median of {_ROUNDS} rounds"),
        Figure(
            "switch: from CPU to CPU, ours / empty", ratio_apart, "×", None, "to idle and back; siblings' rows go along"
        ),
        *beside,
    ]
