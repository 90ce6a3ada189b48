"""Show what uses power now, live at the terminal.

A table of processes, containers, pods, namespaces or virtual machines that adds up to the node's power. Into a pipe,
and with --once, it is plain text. The key h shows all keys.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ..assembly import Session, collector_over, open_session
from ..collector import Collector
from ..config import MEASURING, add_flags, from_arguments
from ..errors import KeplerError
from ..history.ring import History
from ..logs import set_up_logging
from ..tty.job import Job, stopped_by_the_shell
from ..tty.keys import Keys, pressed_keys
from ..tty.paint import Screen, require_rich
from ..tty.redrawn import is_redrawn
from ..views.top.screen import Sight, once, page_rows, screen
from ..views.top.state import SORTS, View, pressed
from ..views.top.text import plain
from ..views.usage import GROUPINGS

_LOOK_SECONDS = 0.2
_NAMES_SECONDS = 3.0
_HELD_BYTES = 16 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", choices=tuple(GROUPINGS), default="process", help="what the rows are (default process)")
    parser.add_argument("--sort", choices=SORTS, default="watts", help="by which column (default watts)")
    parser.add_argument("--filter", default="", metavar="TEXT", help="only rows with this in their name or place")
    parser.add_argument("--tree", action="store_true", help="pods, their containers, and the processes in these")
    parser.add_argument("--once", action="store_true", help="print one second as plain text, and end")
    add_flags(parser, MEASURING, leave_out=("log-level",))


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Returns 0 when the user has seen enough. Raises UsageError and KeplerError."""
    config = from_arguments(arguments, environment)
    live = is_redrawn(sys.stdout, environment) and sys.stdin.isatty() and not arguments.once
    if live:
        require_rich()
    set_up_logging("warning", config.log_format)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # through all that restores the terminal
    view = View(by=arguments.by, sort=arguments.sort, filter=arguments.filter, tree=arguments.tree)
    # Nothing is scraped: publications are for names, and for who came and went.
    config = replace(config, metrics_interval=1.0, process_metrics="off")
    with open_session(config) as session:
        if not live:  # what is printed is not drawn again when names come
            session.workloads.wait_for_names(_NAMES_SECONDS, time.sleep)
        # What was used until now is in no second that is shown.
        session.sampler.look()
        session.sampler.book()
        source = _Source(
            session,
            steps=History(session.sampler, session.tables, kept=256, limit_bytes=_HELD_BYTES),
            frames=History(session.sampler, session.tables, step_seconds=0.0, resting=False, limit_bytes=_HELD_BYTES),
        )
        collector = collector_over(session, config, source.steps, source.frames)
        collector.start()
        try:
            if live:
                _show(view, source, collector)
            else:
                _print(view, source, collector, arguments.once)
        except KeyboardInterrupt:
            pass  # the usual way to end it
        finally:
            collector.stop()
    return 0


@dataclass
class _Source:
    """Where the screens come from. ``message``: the latest line of the log."""

    session: Session
    steps: History
    frames: History
    message: str = ""

    def sight(self, collector: Collector) -> Sight:
        info = collector.snapshot.info if collector.snapshot else {}
        # Not for ever: who was stopped by Ctrl-Z samples again.
        message = self.message if collector.alive() else "the sampler has not ticked recently: these figures are old"
        return Sight(self.steps.steps, self.frames.steps, self.session.meter.domains, info, message)


def _each_step(history: History, collector: Collector) -> Iterator[int]:
    """Numbers of steps, as they end."""
    last = 0
    while collector.alive():
        if history.steps and history.steps[-1].number > last and collector.snapshot is not None:
            last = history.steps[-1].number
            yield last
        time.sleep(_LOOK_SECONDS)
    raise KeplerError("the sampler has not ticked recently: see the log above")


def _print(view: View, source: _Source, collector: Collector, only_once: bool) -> None:
    for note in source.session.notes:
        logging.getLogger(__name__).warning("%s", note)
    width = shutil.get_terminal_size((100, 0)).columns
    for _ in _each_step(source.steps, collector):
        for row in once(view, source.sight(collector), width):
            print(plain(row))
        if only_once:
            return
        print(flush=True)


def _show(view: View, source: _Source, collector: Collector) -> None:
    painter = Screen()
    with _log_in(source), stopped_by_the_shell() as job:
        while not view.over:
            with pressed_keys(sys.stdin.fileno()) as keys, painter.shown():
                view = _live(view, source, collector, painter, keys, job)
                if keys.gone:
                    return
            job.obey()  # who is at the terminal now finds it as it was before


def _live(view: View, source: _Source, collector: Collector, painter: Screen, keys: Keys, job: Job) -> View:
    """Until the user has seen enough, is gone, or turns to something else; what was looked at last."""
    drawn: object = None
    while not (view.over or keys.gone or job.is_disturbed):
        sight, size = source.sight(collector), painter.size
        first, latest = (sight.steps[0].number, sight.steps[-1].number) if sight.steps else (0, 0)
        if (view, latest, size, sight.message) != drawn:
            painter.paint(screen(view, sight, *size))
            drawn = view, latest, size, sight.message
        for key in keys.wait(_LOOK_SECONDS):
            view = pressed(view, key, first, latest, page_rows(view, sight, *size))
    return view


class _LogLine(logging.Handler):
    """Keeps the latest record for the screen's last line: on the screen itself it would be in the way."""

    def __init__(self, source: _Source) -> None:
        super().__init__(logging.WARNING)
        self._source = source

    def emit(self, record: logging.LogRecord) -> None:
        self._source.message = " ".join(record.getMessage().split())


@contextmanager
def _log_in(source: _Source) -> Iterator[None]:
    root = logging.getLogger()
    before, root.handlers = root.handlers, [_LogLine(source)]
    try:
        yield
    finally:
        root.handlers = before
