"""Runs of commands: one in a cgroup of its own, and several in an order that favours none of them."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ..assembly import Session
from ..attribution.workload_rows import WorkloadTable
from ..errors import KeplerError
from ..host.fs import HostFS
from ..host.hierarchy import Hierarchy
from ..kernel.table import Table
from ..workloads.resolver import WorkloadResolver
from ..workloads.workload import Workload
from .cgroup import OwnCgroup, make_cgroup
from .child import Child, User, adopt_orphans, is_alive, reap_orphans
from .probe import Probe
from .signals import ENDING, Signals, from_terminal
from .target import Lineage, Target, WorkloadTarget
from .usage import Usage

log = logging.getLogger(__name__)


@dataclass
class Runner:
    """Runs commands, each in a cgroup of its own; where none can be made, by ancestry.

    ``processes``: their table in the kernel. ``user``: whom they run as, None for ourselves.

    ``notes``: what a user should know of how they were told apart.
    """

    probe: Probe
    signals: Signals
    table: WorkloadTable
    processes: Table
    resolver: WorkloadResolver
    fs: HostFS
    hierarchy: Hierarchy | None
    user: User | None = None
    notes: list[str] = field(default_factory=list)
    _count: int = 0
    _by_ancestry: bool = False

    @classmethod
    def over(cls, session: Session, probe: Probe, signals: Signals, fs: HostFS, user: User | None = None) -> Runner:
        """One that measures with what a session has."""
        return cls(
            probe,
            signals,
            session.sampler.table,
            session.tables.processes,
            session.workloads,
            fs,
            session.hierarchy,
            user,
        )

    def run(self, command: Sequence[str]) -> Usage:
        """Run a command once. Raises KeplerError."""
        told = len(self.signals.told)
        child = Child(command, self.user)
        with self._told_apart(child.pid) as (target, alive):
            self.probe.begin()
            child.release()
            ending = Ending(child, self.signals, told)
            return self.probe.watch(target, ending.is_here, lambda: (ending.status, alive()))

    def prepare(self, script: str) -> None:
        """Run a line of shell, unmeasured. Raises KeplerError where it fails."""
        told = len(self.signals.told)
        child = Child(("/bin/sh", "-c", script), self.user)
        child.release()
        status = Ending(child, self.signals, told).wait()
        if status and not self.signals.told:
            raise KeplerError(f"--prepare: {script!r} ended with status {exit_code(status)}")

    @contextlib.contextmanager
    def _told_apart(self, pid: int) -> Iterator[tuple[Target, Callable[[], int]]]:
        """The target that this process, and all that come of it, are; and what counts those that live."""
        own = None if self._by_ancestry else self._cgroup_with(pid)
        if own is None:
            lineage = Lineage(self.processes, [pid], newcomers_only=True, adopter=os.getpid())
            yield lineage, lambda: sum(is_alive(self.fs, member) for member in lineage.members())
            return
        try:
            workload = Workload("container", f"stat/{own.id}")
            self.resolver.single_out(own.id, own.path, workload)
            yield WorkloadTarget(self.table, workload), lambda: len(own.members())
        finally:
            try:
                own.remove()
            except OSError as error:
                log.warning("%s stays: %s", own.folder, error.strerror)

    def _cgroup_with(self, pid: int) -> OwnCgroup | None:
        """A new cgroup with this process in it; None where that cannot be had, and then never again."""
        own, reason = None, "none is mounted"
        try:
            if self.hierarchy is not None:
                self._count += 1
                own = make_cgroup(self.fs, self.hierarchy, str(self._count))
                own.enter(pid)
                return own
        except OSError as error:
            reason = str(error.strerror)
            if own is not None:
                own.remove()
        adopt_orphans()
        self._by_ancestry = True
        self.notes.append(f"No cgroup could be made ({reason}): processes are told apart by who started them.")
        return None


class Ending:
    """Whether a child has ended; signals that came since ``began`` of them are passed on to it. ``status``: as the
    child has it.

    One that asks for no end, and that the child lived on with (``kill -USR1``), is forgotten: it ends nothing of ours.
    """

    def __init__(self, child: Child, signals: Signals, began: int) -> None:
        self.status: int | None = None
        self._child, self._signals = child, signals
        self._began = self._passed = began

    def is_here(self) -> bool:
        fresh = self._signals.told[self._passed :]
        for number in fresh:
            if not from_terminal(number):
                self._child.signal(number)
        self._passed += len(fresh)  # others may have come meanwhile
        self.status = self._child.status()
        reap_orphans(self._child.pid)
        if self.status is not None:
            for number in self._signals.told[self._began : self._passed]:
                if number not in ENDING and number != -self.status:
                    self._signals.told.remove(number)
        return self.status is not None

    def wait(self) -> int:
        """Its status, when it has ended."""
        while not self.is_here():
            self._signals.wait(1.0)
        assert self.status is not None
        return self.status


def exit_code(status: int) -> int:
    """As shells count: 128 and the number of the signal that killed it."""
    return 128 - status if status < 0 else status


def describe_status(status: int) -> str:
    """How a command ended, for people."""
    return f"was killed by {_signal_name(-status)}" if status < 0 else f"ended with status {status}"


def _signal_name(number: int) -> str:
    """As kill(1) takes it: of most real-time signals Python has no name."""
    if signal.SIGRTMIN < number < signal.SIGRTMAX:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
    return signal.Signals(number).name


def order(commands: int, runs: int, warmups: int, chance: random.Random) -> list[tuple[int, bool]]:
    """Which command runs when, and whether that run counts.

    Each command runs once before any runs again, in random order: what changes slowly (the machine grows warm), and
    what one command leaves to the next (caches), then favours none.
    """
    found: list[tuple[int, bool]] = []
    for number in range(warmups + runs):
        block = list(range(commands))
        chance.shuffle(block)
        found += [(command, number >= warmups) for command in block]
    return found


def repeat(
    runner: Runner,
    commands: Sequence[Sequence[str]],
    plan: Sequence[tuple[int, bool]],
    prepare: str | None,
    progress: Callable[[int, Sequence[Sequence[Usage]]], None],
) -> list[list[Usage]]:
    """Run the plan; the counted runs of each command. Ends early where a signal came.

    ``progress``: called before each run, and at the end, with how many are done and the usages so far. Raises
    KeplerError.
    """
    usages: list[list[Usage]] = [[] for _ in commands]
    for number, (position, counts) in enumerate(plan):
        progress(number, usages)
        if prepare is not None:
            runner.prepare(prepare)
        if runner.signals.told:
            break
        usage = runner.run(commands[position])
        interrupted = bool(runner.signals.told)
        if counts and not (interrupted and usages[position]):  # one that was cut short says little, but is all there is
            usages[position].append(usage)
        if interrupted:
            break
    progress(len(plan), usages)
    return usages
