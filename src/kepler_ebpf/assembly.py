"""Puts a collector together from its configuration: the only place that knows every part."""

from __future__ import annotations

import logging
import math
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from .attribution import carry
from .attribution.domains import FloorOptions
from .attribution.sampler import Sampler, SamplerOptions
from .attribution.vms import VirtualMachines
from .attribution.workload_rows import WorkloadTable
from .collector import Collector
from .config import Config
from .energy.choose import ChosenSources, choose_sources
from .energy.meter import Meter
from .energy.packages import PackageMeter
from .history.ring import History
from .host import allocator, pids
from .host.fs import HostFS
from .host.hierarchy import Hierarchy
from .host.processor import read_processor
from .host.topology import read_topology
from .kernel import privileges
from .kernel.source import KernelTables
from .kernel.tables import BpfTables
from .schedule import Schedule
from .snapshot.publisher import Publisher, SeriesOptions
from .state import StateFile, Unusable, boot_id
from .workloads.hierarchies import HierarchyChoice, HierarchyWatch, choose
from .workloads.names.choose import name_providers, user_engines
from .workloads.names.lookup import NameLookup
from .workloads.resolver import WorkloadResolver

log = logging.getLogger(__name__)

_BATCH_SECONDS = 1.0  # as long as a step of the page's history


@dataclass(frozen=True)
class Session:
    """Everything that samples, ready to: what ``serve`` publishes, and other verbs show or record.

    ``hierarchy``: whose cgroups are told apart. ``info``: facts of the machine. ``notes``: what a user should know.
    """

    sampler: Sampler
    tables: KernelTables
    meter: Meter
    packages: PackageMeter
    workloads: WorkloadResolver
    hierarchy: Hierarchy | None
    info: dict[str, str]
    notes: tuple[str, ...]


@contextmanager
def open_session(
    config: Config, *, drop_privileges: bool = True, tell_everyone: bool = False, batch_seconds: float = 0.0
) -> Iterator[Session]:
    """Open all three sources; everything is released at the end.

    ``drop_privileges``: give up for good what sampling does not need; a verb that starts other programs must not.
    ``tell_everyone``, ``batch_seconds``: as in :class:`.attribution.sampler.SamplerOptions`.
    Raises KeplerError.
    """
    privileges.require()
    allocator.keep_a_little()
    fs = config.fs
    with ExitStack() as stack:
        topology = read_topology(fs)
        choice = choose_sources(fs, topology, config)
        for source in choice.sources:
            stack.callback(source.close)
        cgroups = choose(fs)
        tables = BpfTables(fs, topology, cgroups.hierarchy, config.rows, config.cgroup_rows, choice.by_package)
        stack.callback(tables.close)
        choice.ask(tables)
        meter = Meter(choice.sources)
        users = _names_from_users(config)
        stack.callback(users.close)
        if drop_privileges:
            privileges.drop()  # before any thread is started: they inherit what is left
        choice.nvml.start()
        watch = HierarchyWatch(fs, cgroups.hierarchy)
        stack.callback(watch.close)
        watch.start()
        workloads = WorkloadResolver(
            cgroups.hierarchy, name_providers(config), users, system_slices=config.system_slices
        )
        stack.callback(workloads.close)
        table = WorkloadTable(tables, workloads)
        options = SamplerOptions(
            FloorOptions(config.idle_watts, config.gpu_idle_watts),
            config.idle_policy,
            config.hyperthread_ratio,
            tell_everyone,
            batch_seconds,
        )
        sampler = Sampler(tables, meter, table, workloads, VirtualMachines(fs, tables, table), options)
        yield Session(
            sampler,
            tables,
            meter,
            choice.packages,
            workloads,
            cgroups.hierarchy,
            _info(config, tables, choice),
            _notes(fs, choice, cgroups),
        )


def _notes(fs: HostFS, choice: ChosenSources, cgroups: HierarchyChoice) -> tuple[str, ...]:
    found = [*choice.notes]
    if cgroups.hierarchy is None:
        found.append(f"{cgroups.reason}: containers cannot be told apart")
    if not pids.are_the_kernels(fs):
        found.append(f"{fs.proc} is of another PID namespace than the kernel counts by; {pids.OTHERWISE}")
    elif pids.are_hidden(fs):  # once the privileges are dropped
        found.append(f"{fs.proc} {pids.HIDDEN}")
    return tuple(found)


def _names_from_users(config: Config) -> NameLookup:
    """Names from engines of single users, if there are any: asked for by a thread that may use their sockets.

    It is started before the privileges are dropped, and drops what it does not need itself.
    """
    engines = user_engines(config)
    users = NameLookup([engines] if engines else [])
    users.start(lambda: privileges.drop(privileges.ASKING_USERS))
    return users


@dataclass(frozen=True)
class Assembly:
    """A collector that is ready to start, and its last ten minutes. ``notes``: what a user should know."""

    collector: Collector
    history: History
    notes: tuple[str, ...]


@contextmanager
def assemble(config: Config) -> Iterator[Assembly]:
    """A collector ready to start; all it holds is released at the end. Raises KeplerError."""
    with open_session(config, batch_seconds=_BATCH_SECONDS) as session, _books_kept(config, session) as keep:
        history = History(session.sampler, session.tables)
        yield Assembly(collector_over(session, config, history, keep=keep), history, session.notes)


def collector_over(
    session: Session, config: Config, *histories: History, keep: Callable[[], None] = lambda: None
) -> Collector:
    """A collector ready to start, which feeds these histories. ``keep``: as in :class:`.collector.Collector`."""
    series = SeriesOptions(config.process_limit, config.exit_hold)
    publisher = Publisher(session.sampler, session.tables, session.workloads, series, session.info)
    schedule = Schedule(config.sample_interval, config.cpu_budget, time.monotonic())
    return Collector(session.sampler, publisher, schedule, config.metrics_interval, consumers=histories, keep=keep)


@contextmanager
def _books_kept(config: Config, session: Session) -> Iterator[Callable[[], None]]:
    """Go on from the books of the collector before, where they are known; yields what keeps ours for the next one."""
    if config.state_directory is None:
        yield lambda: None
        return
    books = session.sampler.ledger, session.meter, session.packages
    try:
        file = StateFile(config.state_directory, boot_id(config.fs))
    except Unusable as reason:
        log.warning("no state is kept: %s", reason)
        yield lambda: None
        return
    try:
        before = file.read()
        if before is not None:
            gap = carry.resume(*books, before)
            log.info(
                "the node's counters go on: in %.1f s without a collector it used %.1f J, of which %.1f J idle",
                *(gap.seconds, gap.joules, gap.idle_joules),
            )
    except (Unusable, carry.BrokenOff) as reason:
        log.warning("the node's counters begin at 0: %s", reason)
    file.start()
    try:
        yield lambda: file.put(carry.take(*books))
    finally:
        file.close()


def _info(config: Config, tables: KernelTables, choice: ChosenSources) -> dict[str, str]:
    """Labels of kepler_node_info that do not change."""
    processor = read_processor(config.fs)
    info = {
        "cpu_vendor": processor.vendor,
        "cpu_model": processor.name,
        "cpu_architecture": platform.machine(),
        "cycles": "pmu" if tables.cycles else "none",
    }
    error = choice.packages.model.spec.error_ratio
    info["power_model"] = choice.packages.model.spec.description
    info["power_model_error_ratio"] = "unknown" if math.isnan(error) else f"{error:.2f}"
    return info
