"""Other collectors beside ours: one simulated meter, the same processes, the same scrapes. ``make peers``, as root.

All run at once, so that each sees the same machine at the same moments. Energy is told against that of one steady
process, for the same CPU time: that way no collector's idle floor, nor what else runs here, is in the figure.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.footprint import resident_mib
from benchmarks.loads import BRIEF, LIGHT, STEADY, Loads, cpu_seconds, loads
from benchmarks.powercap import inside, powercap
from benchmarks.programs import Alumet, Kepler, Ours, Program, Scaphandre, kernel_seconds, program_time
from benchmarks.report import columns, fill

_INTERVALS = (1.0, 0.1)
_SCRAPE_SECONDS = 5.0
_PAUSE_SECONDS = 1.0
_LIGHT = 1_000
_START_SECONDS = 120.0
_FIRST_PORT = 9941


class PeerError(Exception):
    """A program could not be measured; the message is for the user."""


@dataclass(frozen=True)
class Outcome:
    """What one program showed in one round.

    ``brief``, ``light``: energy of these processes over the steady one's, each over its own CPU time: 1 is right, NaN
    where it told no energy of the steady one. ``cpu``, ``kernel``: per cent of a core, of its process and of its BPF
    programs.
    """

    brief: float
    light: float
    cpu: float
    kernel: float
    resident_mib: float
    page_bytes: float


_ROWS: tuple[tuple[str, str, str, Callable[[Outcome], float]], ...] = (
    ("energy of brief processes / steady", "1", ".3f", lambda one: one.brief),
    (f"energy of {_LIGHT:,} light processes / steady", "1", ".3f", lambda one: one.light),
    ("CPU of its process, % of a core", "", ".2f", lambda one: one.cpu),
    ("CPU in the kernel, % of a core", "", ".2f", lambda one: one.kernel),
    ("memory, MiB resident", "", ".1f", lambda one: one.resident_mib),
    ("page, kB", "", ".0f", lambda one: one.page_bytes / 1e3),
)


@dataclass
class _Running:
    """A program that has been started. ``looked``: when its latest page came, ``sizes``: bytes of its pages."""

    program: Program
    process: subprocess.Popen[bytes]
    log: Path
    looked: float = 0.0

    def look(self) -> int:
        """Scrape and take it in; returns the bytes. Raises PeerError where it does not answer."""
        try:
            page = self.program.scrape()
        except OSError as error:
            raise PeerError(f"{self.program.name} does not answer ({error}){self._last_words()}") from error
        now = time.monotonic()
        self.program.look(page, now - self.looked if self.looked else 0.0)
        self.looked = now
        return len(page)

    def wait(self) -> None:
        """Until it answers. Raises PeerError where it ends instead, or takes too long."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            if self.process.poll() is not None:
                raise PeerError(f"{self.program.name} ended with {self.process.returncode}{self._last_words()}")
            try:
                self.program.look(self.program.scrape(), 0.0)
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    words = f"does not answer after {_START_SECONDS:.0f} s ({error})"
                    raise PeerError(f"{self.program.name} {words}{self._last_words()}") from error
            time.sleep(0.1)

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        return f": {last}" if last else ""

    def costs(self) -> tuple[float, float]:
        """CPU seconds so far: in its process, in its BPF programs."""
        return cpu_seconds(self.process.pid), kernel_seconds(self.process.pid)


@contextmanager
def _hurried() -> Iterator[None]:
    """What is started meanwhile gets a CPU first, whatever else this machine has to do."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, -20)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


@contextmanager
def _started(program: Program, interval: float, port: int, tree: Path, directory: Path) -> Iterator[_Running]:
    log = directory / f"{program.name}.log"
    command = inside(tree, program.command(interval, port, directory))
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield _Running(program, process, log)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def one_round(
    programs: Sequence[Program],
    interval: float,
    seconds: float,
    light: int = _LIGHT,
    scrape_seconds: float = _SCRAPE_SECONDS,
) -> list[Outcome]:
    """Start them all, let them see the processes for so long, and stop them. Raises PeerError."""
    with ExitStack() as stack:
        stack.enter_context(_hurried())
        stack.enter_context(program_time())
        # In memory: the meter writes a thousand times a second.
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm", prefix="peers-")))
        tree = stack.enter_context(powercap(directory / "meter"))
        ours = stack.enter_context(loads(directory, light))
        running = [
            stack.enter_context(_started(program, interval, _FIRST_PORT + place, tree, directory))
            for place, program in enumerate(programs)
        ]
        for one in running:
            one.wait()
        return _observe(running, ours, seconds, scrape_seconds)


def _observe(running: list[_Running], ours: Loads, seconds: float, scrape_seconds: float) -> list[Outcome]:
    """The processes run only between two pauses, each long enough for everybody to tell what was before."""
    time.sleep(scrape_seconds + _PAUSE_SECONDS)
    for one in running:
        one.look()
    used, costs, began = ours.cpu_seconds(), [one.costs() for one in running], time.monotonic()
    ours.pause(False)
    sizes: list[list[int]] = [[] for _ in running]
    for turn in range(round(seconds / scrape_seconds)):
        time.sleep(max(0.0, began + (turn + 1) * scrape_seconds - time.monotonic()))
        for one, size in zip(running, sizes):
            size.append(one.look())
    ours.pause()
    covered = time.monotonic() - began
    spent = [[100 * (now - before) for now, before in zip(one.costs(), cost)] for one, cost in zip(running, costs)]
    used = {kind: now - used[kind] for kind, now in ours.cpu_seconds().items()}
    time.sleep(scrape_seconds + _PAUSE_SECONDS)
    for one in running:
        one.look()
    kinds = ours.kinds()
    outcomes = []
    for one, (cpu, kernel), size in zip(running, spent, sizes):
        price = {
            kind: sum(one.program.joules.get(pid, 0.0) for pid in pids) / used[kind] for kind, pids in kinds.items()
        }
        if price[STEADY] <= 0:  # it could not follow: its other figures count all the same
            print(f"{one.program.name} told no energy of the steady process{one._last_words()}", file=sys.stderr)
            price[STEADY] = math.nan
        outcomes.append(
            Outcome(
                price[BRIEF] / price[STEADY],
                price[LIGHT] / price[STEADY],
                cpu / covered,
                kernel / covered,
                resident_mib(one.process.pid),
                statistics.median(size),
            )
        )
    return outcomes


def table(names: Sequence[str], rounds: Sequence[Sequence[Outcome]]) -> str:
    """Median of the rounds, least and most in brackets, one column a program: of the rounds in which it told any."""
    rows = [("", "right", *names)]
    for name, right, form, pick in _ROWS:
        cells = []
        for outcomes in zip(*rounds):
            values = sorted(value for value in map(pick, outcomes) if not math.isnan(value))
            if not values:
                cells.append("none told")
                continue
            least, most = (format(values[end], form) for end in (0, -1))
            cells.append(
                f"{statistics.median(values):{form}}"
                + (f" ({least}–{most})" if len(values) > 1 else "")
                + (f" in {len(values)} of {len(outcomes)}" if len(values) < len(outcomes) else "")
            )
        rows.append((name, right, *cells))
    return columns(rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make peers", description=(__doc__ or "").partition("\n")[0])
    for name in ("kepler", "scaphandre", "alumet"):
        parser.add_argument(f"--{name}", default="", metavar="PATH", help="the installed program; left out without it")
    parser.add_argument("--rounds", type=int, default=3, help="how often (default 3)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each round looks (default 20)")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into this page's marked section")
    arguments = parser.parse_args()
    for name in ("kepler", "scaphandre", "alumet"):
        path = getattr(arguments, name)
        if path and not os.access(path, os.X_OK):
            parser.error(
                f"--{name} is {path}, which is no program here: give the path of an installed one, or leave it out"
            )
    if arguments.rounds < 1 or arguments.seconds < _SCRAPE_SECONDS:
        parser.error(
            f"at least one round of {_SCRAPE_SECONDS:g} seconds: a program is scraped every {_SCRAPE_SECONDS:g}"
        )
    if os.geteuid() != 0:
        parser.error("mounts and BPF programs need root: sudo")
    return arguments


def main() -> int:
    """Print one table for each interval; exits with 1 where a program could not be measured."""
    arguments = _arguments()
    peers = [(Kepler, arguments.kepler), (Scaphandre, arguments.scaphandre), (Alumet, arguments.alumet)]

    def fresh() -> list[Program]:
        return [Ours(), *(kind(path) for kind, path in peers if path)]

    parts = [
        f"{platform.machine()}, Linux {platform.release()}, {os.cpu_count()} CPUs; median of {arguments.rounds} rounds "
        f"of {arguments.seconds:g} s (least–most), scraped every {_SCRAPE_SECONDS:g} s"
    ]
    try:
        for interval in _INTERVALS:
            rounds = []
            for number in range(arguments.rounds):
                print(f"samples every {interval:g} s, round {number + 1} …", file=sys.stderr)
                programs = fresh()
                rounds.append(one_round(programs, interval, arguments.seconds))
            names = [f"{program.name} {program.version()}" for program in programs]
            parts.append(f"samples every {interval:g} s\n{table(names, rounds)}")
    except PeerError as error:
        print(f"peers: {error}", file=sys.stderr)
        return 1
    result = "\n\n".join(parts)
    print(result)
    if arguments.write:
        arguments.write.write_text(fill(arguments.write.read_text(), "peers", f"```\n{result}\n```"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
