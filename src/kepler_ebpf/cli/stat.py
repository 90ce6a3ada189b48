"""Measure the energy of a command, as perf stat counts its events.

Runs COMMAND in a cgroup of its own, as the user who called sudo, and prints to standard error what it used, beside what
the others used and what the idle machine did: together what the meter told. The exit status is the command's.
"""

from __future__ import annotations

import argparse
import random
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from ..assembly import Session, open_session
from ..config import MEASURING, add_flags, from_arguments
from ..errors import KeplerError, UsageError
from ..logs import set_up_logging
from ..options import number
from ..stat import export, text
from ..stat.child import invoking_user
from ..stat.probe import Probe
from ..stat.runs import Runner, describe_status, exit_code, order, repeat
from ..stat.signals import Signals, die_of
from ..stat.text import Measured
from ..stat.usage import Usage

T = TypeVar("T")
OVER_BUDGET = 121
"""Exit code of a command that used more than ``--max-joules``: none that shells, env, timeout or xargs have."""
_MOST_RUNS = 100_000
# Nobody's names are shown, so nobody is asked for them.
_NO_NAMES = {"kubelet_url": "off", "cri_socket": "off", "docker_socket": "off", "podman_socket": "off"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-i", "--interval", metavar="DURATION", default="10ms", help="time between samples (default 10ms)"
    )
    parser.add_argument("-r", "--repeat", metavar="N", default="1", help="run it so often: mean, σ and outliers")
    parser.add_argument("--warmup", metavar="N", default="0", help="runs before these, which do not count")
    parser.add_argument("--prepare", metavar="CMD", help="line of shell to run before each run, unmeasured")
    parser.add_argument(
        "--vs",
        metavar="CMD",
        help="another command, as one word, to compare with: both run in turn, in random order (it is split as a shell "
        "would, but run without one)",
    )
    parser.add_argument(
        "--max-joules",
        metavar="N",
        help=f"exit with {OVER_BUDGET} where COMMAND ends well but uses more than this (the mean of its runs)",
    )
    parser.add_argument("--no-wait", action="store_true", help="do not wait until the machine's idle power is known")
    parser.add_argument("--json", metavar="FILE", help="write every run to this file, too, as JSON")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print a line of CSV for each run")
    form.add_argument("--markdown", action="store_true", help="print a table in Markdown")
    parser.add_argument("-o", "--output", metavar="FILE", help="print to this file instead of standard error")
    add_flags(parser, MEASURING)
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run, with its arguments")


@dataclass(frozen=True)
class _Request:
    """What the user asked for, checked."""

    commands: tuple[Sequence[str], ...]
    runs: int
    warmups: int
    most_joules: float | None


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Returns the command's exit status, or ``OVER_BUDGET``. Raises UsageError and KeplerError."""
    request = _request(arguments)
    user = invoking_user(environment)
    arguments.sample_interval = arguments.sample_interval or arguments.interval
    arguments.cpu_budget = arguments.cpu_budget or "100%"  # the collector's would stretch the interval
    arguments.metrics_interval = "1h"  # nothing is published
    for name, value in _NO_NAMES.items():
        setattr(arguments, name, value)
    config = from_arguments(arguments, environment)
    set_up_logging("warning", config.log_format)
    with _opened(arguments.output) as output, _opened(arguments.json) as json_file:
        with open_session(config, drop_privileges=False) as session:
            signals = Signals()
            try:
                probe = Probe(
                    session.sampler, signals, config.sample_interval, config.cpu_budget, session.tables.cycles
                )
                probe.learn_floors(*([0.0] if arguments.no_wait else []))
                runner = Runner(
                    probe, signals, session.sampler.table, session.workloads, config.fs, session.hierarchy, user
                )
                plan = order(len(request.commands), request.runs, request.warmups, random.Random())
                usages = repeat(runner, request.commands, plan, arguments.prepare, _progress(len(plan)))
            finally:
                signals.close()
            measured = [
                Measured(text.shown(command), found) for command, found in zip(request.commands, usages) if found
            ]
            remarks = [*_remarks(session, probe, measured), *runner.notes]
        if measured:
            print(_printed(arguments, measured, remarks), end="", file=output or sys.stderr)
        if json_file is not None and measured:
            json_file.write(export.as_json(measured, {"power_source": session.meter.label, "remarks": remarks}))
    told = signals.told[-1] if signals.told else 0
    code = _code(usages, request, told)
    if told and code == 128 + told:
        sys.stdout.flush()
        die_of(told)
    return code


def _request(arguments: argparse.Namespace) -> _Request:
    """Raises UsageError."""
    command = list(arguments.command)
    if command[:1] == ["--"]:
        del command[0]
    if not command:
        raise UsageError("nothing to run: kepler-ebpf stat -- COMMAND (see kepler-ebpf stat --help)")
    commands: list[Sequence[str]] = [command]
    if arguments.vs is not None:
        commands.append(_parsed("vs", arguments.vs, _words))
    return _Request(
        tuple(commands),
        _parsed("repeat", arguments.repeat, number(int, 1, _MOST_RUNS, f"a whole number from 1 to {_MOST_RUNS}")),
        _parsed("warmup", arguments.warmup, number(int, 0, _MOST_RUNS, f"a whole number from 0 to {_MOST_RUNS}")),
        None
        if arguments.max_joules is None
        else _parsed("max-joules", arguments.max_joules, number(float, 0, 1e15, "joules, such as 12.5")),
    )


def _words(line: str) -> list[str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise ValueError(f"a command as a shell would take it ({error})") from None
    if not words:
        raise ValueError("a command")
    return words


def _parsed(option: str, value: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(value)
    except ValueError as error:
        raise UsageError(f"--{option}: {value!r} will not do: expected {error}") from None


@contextmanager
def _opened(path: str | None) -> Iterator[IO[str] | None]:
    """A file to write to, or None; one that cannot be written is known before anything runs. Raises KeplerError."""
    if path is None:
        yield None
        return
    try:
        file = Path(path).open("w", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115 - closed below
    except OSError as error:
        raise KeplerError(f"cannot write {path}: {error.strerror}") from error
    with file:
        yield file


def _progress(whole: int) -> Callable[[int, Sequence[Sequence[Usage]]], None]:
    """Where runs are repeated at a terminal: which one runs now. The command's own words may take the line's place."""

    def show(done: int, usages: Sequence[Sequence[Usage]]) -> None:
        latest = max((found[-1] for found in usages if found), key=lambda usage: usage.elapsed_seconds, default=None)
        said = f", {text.amount(latest.total_joules, 'J')} before" if latest else ""
        print(f"\r\033[K run {done + 1} of {whole}{said}\r", end="", file=sys.stderr, flush=True)

    return show if whole > 1 and sys.stderr.isatty() else lambda done, usages: None


def _printed(arguments: argparse.Namespace, measured: Sequence[Measured], remarks: Iterable[str]) -> str:
    if arguments.csv:
        return export.as_csv(measured)
    if arguments.markdown:
        return export.as_markdown(measured)
    lines = [line for one in measured for line in text.report(one, "this command")]
    if len(measured) == 2:
        lines += text.compare(*measured)
    return "\n".join([*lines, *(f" {remark}" for remark in remarks), ""])


def _remarks(session: Session, probe: Probe, measured: Sequence[Measured]) -> Iterable[str]:
    """What else a user should know, in sentences."""
    yield f"Meter: {session.meter.label}."
    yield from (f"{note[0].upper()}{note[1:]}." for note in session.notes)
    if not probe.floor_known:
        yield "Idle power is not known, so it is in what everybody used: wait for a quiet second, or say --idle-watts."
    for one in measured:
        yield from text.said_of(one, describe_status)


def _code(usages: Sequence[Sequence[Usage]], request: _Request, told: int) -> int:
    """The first bad status of any run; then what the budget says. Raises KeplerError where nobody can say."""
    failed = [usage.status for found in usages for usage in found if usage.status]
    if failed:
        return exit_code(failed[0])
    if told:
        return 128 + told
    if request.most_joules is None:
        return 0
    used = Measured("", usages[0]).summary("total_joules").mean
    if used != used:
        raise KeplerError("--max-joules: no meter told any energy while the command ran")
    if used > request.most_joules:
        most = text.amount(request.most_joules, "J")
        print(f"kepler-ebpf: over budget: {text.amount(used, 'J')} used, {most} allowed", file=sys.stderr)
        return OVER_BUDGET
    return 0
