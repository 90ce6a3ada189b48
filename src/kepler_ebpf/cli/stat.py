"""Measure the energy of a command, or of what runs already, as perf stat counts events.

Runs COMMAND in a cgroup of its own, as the user who called sudo, and prints to standard error what it used, beside what
all others used and what the machine draws when idle: together what the meter told. The exit status is the command's.
With -p, --cgroup or --container it watches what runs already, until Ctrl-C or for --duration.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..assembly import Session, open_session
from ..config import MEASURING, Config, add_flags, from_arguments
from ..errors import KeplerError
from ..logs import set_up_logging
from ..options import file_name
from ..stat import export, text, watched
from ..stat.child import invoking_user
from ..stat.files import hand_out, opened, require_different
from ..stat.probe import BATCH_SECONDS, Probe
from ..stat.request import Request, checked
from ..stat.runs import Runner, describe_status, exit_code, order, repeat
from ..stat.signals import Signals, die_of
from ..stat.text import Measured
from ..stat.usage import ENERGY, Usage
from ..tty.redrawn import is_redrawn

OVER_BUDGET = 121
"""Exit code of a command that used more than ``--max-joules``: none that shells, env, timeout or xargs have."""
# Nobody's name is shown, so nobody is asked for names.
_NO_NAMES = {"kubelet_url": "off", "cri_socket": "off", "docker_socket": "off", "podman_socket": "off"}

OPERANDS = "[-- COMMAND [ARGUMENT]...]"


class _Once(argparse.Action):
    """A value that would silently take the place of one that was asked for before."""

    def __call__(self, parser: object, namespace: argparse.Namespace, values: object, option: object = None) -> None:
        if getattr(namespace, self.dest) is not None:
            raise argparse.ArgumentError(self, "expected only once")
        setattr(namespace, self.dest, values)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-r", "--repeat", metavar="N", help="run it so often: mean, σ and outliers")
    add("--warmup", metavar="N", help="runs before these, which do not count")
    add("--prepare", metavar="CMD", help="line of shell to run before each run, unmeasured")
    add(
        "--vs",
        metavar="CMD",
        action=_Once,
        help="another command, as one word, to compare with: both run in turn, in random order (it is split as a shell "
        "would, but run without one)",
    )
    add("-p", "--pid", metavar="PID[,PID]", action="append", help="watch these processes and their descendants")
    add("--cgroup", metavar="PATH", action=_Once, help="watch a cgroup and all below it")
    add(
        "--container",
        metavar="NAME",
        action=_Once,
        help="watch a container: its name, id, pod/name or namespace/pod/name",
    )
    add("--duration", metavar="DURATION", help="how long to watch, such as 60s")
    add(
        "--max-joules",
        metavar="N",
        help=f"exit with {OVER_BUDGET} where more is used than this (the mean of the runs), and the command ends well",
    )
    add(
        *("-i", "--interval", "--sample-interval"),
        metavar="DURATION",
        default="10ms",
        dest="sample_interval",
        help="time between samples (default 10ms)",
    )
    add("--no-wait", action="store_true", help="do not wait until the idle power of the machine is known")
    add(
        "--json",
        metavar="FILE",
        type=file_name,
        action=_Once,
        help="write all runs to this file, too, as JSON; - for standard output",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print a line of CSV for each run")
    form.add_argument("--markdown", action="store_true", help="print a table in Markdown")
    add(
        "-o",
        "--output",
        metavar="FILE",
        type=file_name,
        action=_Once,
        help="print to this file, not to standard error; - for standard output",
    )
    add_flags(parser, MEASURING, leave_out=("sample-interval", "cpu-budget", "log-level"))
    add("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run, with its arguments")


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Returns the command's exit status, or ``OVER_BUDGET``. Raises UsageError and KeplerError."""
    request = checked(arguments)
    config = _config(arguments, environment, request)
    set_up_logging("warning", config.log_format)
    with opened(arguments.output) as output, opened(arguments.json) as json_file:
        require_different(output, json_file)
        with open_session(config, drop_privileges=not request.commands, batch_seconds=BATCH_SECONDS) as session:
            signals = Signals()
            try:
                probe = Probe(
                    session.sampler, signals, config.sample_interval, config.cpu_budget, session.tables.cycles
                )
                floor_seconds = 0.0 if arguments.no_wait else None
                if request.commands:
                    runner = Runner.over(session, probe, signals, config.fs, invoking_user(environment))
                    probe.learn_floors(floor_seconds)
                    plan = order(len(request.commands), request.runs, request.warmups, random.Random())
                    usages = repeat(
                        runner, request.commands, plan, arguments.prepare, _progress(len(plan), environment)
                    )
                    titles, notes = [text.shown(command) for command in request.commands], runner.notes
                else:
                    one = _watched(session, signals, config, request)
                    probe.learn_floors(floor_seconds)
                    usages, notes = [[_watch(one, probe, signals, request.seconds)]], []
                    titles = [text.shown([one.title])]
            finally:
                signals.close()
            commands: Sequence[Sequence[str] | None] = request.commands or (None,)
            measured = [
                Measured(title, found, command) for title, found, command in zip(titles, usages, commands) if found
            ]
            remarks = [*_remarks(session, probe, measured), *notes]
        if measured:
            facts = {"power_source": session.meter.label, "remarks": remarks}
            document = "" if json_file is None else export.as_json(measured, facts)
            hand_out(_printed(arguments, measured, remarks), output, document, json_file)
    if not request.commands:
        return _budgeted(usages, request)
    return _ended(usages, request, signals.told)


def _config(arguments: argparse.Namespace, environment: Mapping[str, str], request: Request) -> Config:
    """The collector's options, where they concern measuring. Raises UsageError."""
    arguments.cpu_budget = "100%"  # the collector's would stretch the interval
    arguments.metrics_interval = "1h"  # nothing is published
    if request.container is None:
        for name, off in _NO_NAMES.items():  # nobody is asked for names that are not shown
            setattr(arguments, name, getattr(arguments, name) or off)
    return from_arguments(arguments, environment)


def _watched(session: Session, signals: Signals, config: Config, request: Request) -> watched.Watched:
    if request.pids:
        return watched.processes(session, config.fs, request.pids)
    if request.cgroup is not None:
        return watched.cgroup(session, request.cgroup)
    assert request.container is not None
    return watched.container(session, request.container, signals.wait)


def _watch(one: watched.Watched, probe: Probe, signals: Signals, seconds: float | None) -> Usage:
    probe.begin()
    until = math.inf if seconds is None else time.monotonic() + seconds
    return probe.watch(one.target, lambda: bool(signals.told) or one.is_gone(), lambda: (None, 0), until)


def _progress(whole: int, environment: Mapping[str, str]) -> Callable[[int, Sequence[Sequence[Usage]]], None]:
    """Where runs are repeated at a terminal: which one runs now. The command's own words may take the line's place."""

    def show(done: int, usages: Sequence[Sequence[Usage]]) -> None:
        so_far = ", ".join(text.amount(Measured("", found).summary(ENERGY).mean, "J") for found in usages if found)
        said = f" (so far {so_far})" if so_far else ""
        line = f" run {done + 1} of {whole}{said}\r" if done < whole else ""
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)

    return show if whole > 1 and is_redrawn(sys.stderr, environment) else lambda done, usages: None


def _printed(arguments: argparse.Namespace, measured: Sequence[Measured], remarks: Iterable[str]) -> str:
    if arguments.csv:
        return export.as_csv(measured)
    if arguments.markdown:
        return export.as_markdown(measured)
    lines = [line for one in measured for line in text.report(one)]
    if len(measured) == 2:
        lines += text.compare(*measured)
    return "\n".join([*lines, *(f" {remark}" for remark in remarks), ""])


def _remarks(session: Session, probe: Probe, measured: Sequence[Measured]) -> Iterable[str]:
    """What else a user should know, in sentences."""
    yield f"Meter: {session.meter.label}."
    if "model" in session.meter.label.split("+"):
        error = session.info["power_model_error_ratio"]
        off = f"off by about {float(error):.0%}" if error != "unknown" else "off by nobody knows how much"
        yield f"Power is a model's, not measured: it follows CPU time alone, and is {off}."
    yield from (f"{note[0].upper()}{note[1:]}." for note in session.notes)
    if not probe.floor_known:
        yield "Idle power is not known, so it is in what everybody used: wait for a quiet second, or say --idle-watts."
    for one in measured:
        yield from text.said_of(one, describe_status)


def _ended(usages: Sequence[Sequence[Usage]], request: Request, told: Sequence[int]) -> int:
    """The first bad status of any run; the signal that we were told, if there was one; what the budget says."""
    failed = [usage.status for found in usages for usage in found if usage.status]
    code = exit_code(failed[0]) if failed else 128 + told[-1] if told else _budgeted(usages, request)
    if told and code == 128 + told[-1]:
        die_of(told[-1])  # whoever called us, a shell's loop say, is to know that it was interrupted
    return code


def _budgeted(usages: Sequence[Sequence[Usage]], request: Request) -> int:
    """Raises KeplerError where nobody can say whether the budget was kept."""
    if request.most_joules is None:
        return 0
    used = Measured("", usages[0]).summary(ENERGY).mean
    if used != used:
        raise KeplerError("--max-joules: no meter told any energy meanwhile")
    if used <= request.most_joules:
        return 0
    most = text.amount(request.most_joules, "J")
    print(f"kepler-ebpf: over budget: {text.amount(used, 'J')} used, {most} allowed", file=sys.stderr)
    return OVER_BUDGET
