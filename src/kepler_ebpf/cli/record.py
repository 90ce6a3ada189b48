"""Record every frame of every process and container to a file.

The file is an Apache Arrow stream: pandas, polars and duckdb read it as it is. It holds what each process and container
used in each sample, and what attribution was made from. Records until Ctrl-C, for --duration, or while a command runs.
"""

from __future__ import annotations

import argparse
import math
import platform
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from .. import __version__
from ..assembly import Session, open_session
from ..collector import Collector
from ..config import MEASURING, add_flags, from_arguments
from ..errors import KeplerError, UsageError
from ..logs import set_up_logging
from ..options import file_name, parse_duration, parsed
from ..plain import clean
from ..recording.writer import Recorder
from ..schedule import Schedule
from ..snapshot.publisher import Publisher, SeriesOptions
from ..stat.child import Child, invoking_user
from ..stat.files import STDOUT
from ..stat.request import command_of
from ..stat.runs import Ending, exit_code
from ..stat.signals import Signals, die_of
from ..stat.text import amount
from ..tty.redrawn import is_redrawn

OPERANDS = "-o FILE [-- COMMAND [ARGUMENT]...]"
_PROGRESS_SECONDS = 0.5
_PUBLICATION_SECONDS = 1.0
_HOLD_SECONDS = 2.0
_BATCH_SECONDS = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        type=file_name,
        help="file to write; one that is there is replaced; - for standard output",
    )
    parser.add_argument(
        *("-i", "--interval", "--sample-interval"),
        metavar="DURATION",
        default="10ms",
        dest="sample_interval",
        help="time between samples (default 10ms)",
    )
    parser.add_argument("--duration", metavar="DURATION", help="how long to record, such as 60s")
    add_flags(parser, MEASURING, leave_out=("sample-interval", "cpu-budget", "log-level"))
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="record while this runs")


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Returns the command's exit status, 0 where there is none. Raises UsageError and KeplerError."""
    config = from_arguments(arguments, environment)
    duration = None if arguments.duration is None else parsed("--duration", arguments.duration, parse_duration)
    command = command_of(arguments.command)
    if arguments.command and not command:
        raise UsageError("--: expected a command behind it")
    path = _path(arguments.output, command)
    user = invoking_user(environment) if command else None
    set_up_logging("warning", config.log_format)
    with open_session(config, drop_privileges=not command, tell_everyone=True, batch_seconds=_BATCH_SECONDS) as session:
        for note in session.notes:
            print(f"kepler-ebpf: {clean(note)}", file=sys.stderr)
        info = {"node": platform.node(), "version": __version__, **session.info}
        recorder = Recorder(path, session.sampler, session.tables, info)
        schedule = Schedule(config.sample_interval, 1.0, time.monotonic())
        with closing(Signals()) as signals, closing(recorder):
            child = Child(command, user) if command else None
            is_shown = is_redrawn(sys.stderr, environment)
            status = _record(session, recorder, schedule, duration, signals, child, is_shown)
    written = recorder.progress
    print(
        f"{written.frames} frames, {written.lines} lines, {amount(written.bytes, 'B')} in "
        f"{'standard output' if arguments.output == STDOUT else path}; "
        f"{schedule.late} samples late",
        file=sys.stderr,
    )
    if signals.told and status == 128 + signals.told[-1]:
        die_of(signals.told[-1])  # whoever called us, a shell's loop say, is to know that it was interrupted
    return status


def _path(output: str, command: Sequence[str]) -> Path:
    """Where to write: ``-`` is standard output, as with every verb. Raises UsageError where that would be no file."""
    if output != STDOUT:
        return Path(output)
    if command:
        raise UsageError("-o: what the command says is on standard output, expected a file")
    if sys.stdout.isatty():
        raise UsageError("-o: no terminal shows a recording, expected a file, or standard output to go to one")
    return Path("/dev/stdout")


def _record(
    session: Session,
    recorder: Recorder,
    schedule: Schedule,
    duration: float | None,
    signals: Signals,
    child: Child | None,
    is_shown: bool,
) -> int:
    # Names, and rows of the dead, are seen to when a snapshot is made.
    publisher = Publisher(
        session.sampler, session.tables, session.workloads, SeriesOptions(None, _HOLD_SECONDS), session.info
    )
    collector = Collector(session.sampler, publisher, schedule, _PUBLICATION_SECONDS)
    # The sampler counts since it was made, and making all the rest took half a second: that is nobody's recording. Who
    # is there is told with the first frame that is kept, and the rows of who has gone are given back as ever.
    session.sampler.look()
    session.sampler.book()
    ending = Ending(child, signals, 0) if child is not None else None
    if child is not None:
        if signals.told:
            return 128 + signals.told[-1]
        child.release()
    began = time.monotonic()
    until = math.inf if duration is None else began + duration
    schedule.begin(began)
    progress = _ProgressLine(recorder, began, is_shown)
    try:
        over, due = False, schedule.next(began)
        while not over:
            signals.wait(min(due, until) - time.monotonic())
            now = time.monotonic()
            # Asked before the sample is taken, so that the last one covers all that the command did.
            over = ending.is_here() if ending is not None else bool(signals.told)
            over = over or now >= until
            if now < due and not over:
                continue
            due = schedule.next(now)
            session.sampler.look()
            frames = session.sampler.book() if over or session.sampler.is_due else None
            is_full = frames is not None and recorder.add(frames, time.time_ns())
            if over:
                recorder.flush()
            if over or is_full:
                collector.publish()
            progress.show(now)
    except KeplerError as error:
        if ending is None or ending.is_here():
            raise
        print(f"kepler-ebpf: {error}; the command runs on", file=sys.stderr)
        ending.wait()
        return error.exit_code
    finally:
        progress.end()
    if child is None or ending is None:
        return 0
    if not ending.is_here():
        child.signal(signal.SIGTERM)
    return exit_code(ending.wait())


class _ProgressLine:
    """How much has been recorded, where it can be shown in one line."""

    def __init__(self, recorder: Recorder, began: float, is_shown: bool) -> None:
        self._recorder, self._began, self._shown, self._is_shown = recorder, began, began, is_shown

    def show(self, now: float) -> None:
        """Say it again, if it is some time since it was said."""
        if self._is_shown and now - self._shown >= _PROGRESS_SECONDS:
            written, seconds = self._recorder.progress, now - self._began
            line = f"\r{seconds:6.1f} s  {written.frames} frames  {written.bytes / 1e6:.1f} MB "
            print(line, end="", file=sys.stderr, flush=True)
            self._shown = now

    def end(self) -> None:
        """Leave the line."""
        if self._is_shown:
            print(file=sys.stderr)
