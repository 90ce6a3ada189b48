"""Say what this machine offers, what follows, and how to mend what is missing.

Exit code 0 if serve would work here, 1 if not.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..config import HOST, METERS, NAMES, Config, add_flags, from_arguments
from ..energy.choose import open_packages
from ..energy.gpu_library import library_is_here, load_binding
from ..energy.nvml import NvmlSource
from ..energy.packages import PackageMeter
from ..energy.places import Places
from ..energy.powercap import inspect_zones
from ..energy.source import Domain
from ..energy.zones import OF_NO_NAME
from ..errors import KeplerError
from ..host import pids
from ..host.fs import HostFS
from ..host.processor import is_x86
from ..host.topology import read_topology
from ..kernel import counters, privileges
from ..kernel.tables import BpfTables
from ..plain import clean
from ..workloads.hierarchies import choose
from ..workloads.names.choose import name_providers, user_engines
from ..workloads.names.provider import ProviderError
from ..workloads.names.remedies import remedy

OK, POORER, BROKEN = "ok", "poorer", "BROKEN"
_MOMENT_SECONDS = 2.0


_OF_ROOT_ALONE = "run as root: energy_uj is readable by root alone (CVE-2020-8694)"


@dataclass(frozen=True)
class Finding:
    """One line of the table; ``BROKEN`` means that ``serve`` would not start."""

    what: str
    state: str
    seen: str
    follows: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_flags(parser, (METERS, NAMES, HOST))


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Print the table. Returns 1 where ``serve`` would not work."""
    config = from_arguments(arguments, environment)
    fs = config.fs
    findings: list[Finding] = []
    for check in (_capabilities, _bpf, _processes, _counters, _powercap, _gpus, _cgroups):
        findings += check(fs)
    findings += _names(config)
    findings += _power(config)
    print(table(findings, shutil.get_terminal_size((100, 24)).columns, sys.stdout.isatty()))
    broken = [finding.what for finding in findings if finding.state == BROKEN]
    print(f"\nserve would {'NOT work here: ' + ', '.join(broken) if broken else 'work here.'}")
    return 1 if broken else 0


def table(findings: list[Finding], width: int, colour: bool) -> str:
    """The findings in aligned columns, folded to ``width`` characters."""
    names = max(len(finding.what) for finding in findings) + 2
    states = max(len(finding.state) for finding in findings) + 2
    paint = {OK: "\033[32m", POORER: "\033[33m", BROKEN: "\033[31m"} if colour else {}
    lines = []
    for finding in findings:
        text = finding.seen + (f" → {finding.follows}" if finding.follows else "")
        room = max(width - names - states, 30)
        folded = textwrap.wrap(clean(" ".join(text.split())), room, break_on_hyphens=False) or [""]
        state = paint.get(finding.state, "") + finding.state.ljust(states) + ("\033[0m" if colour else "")
        lines.append(f"{finding.what:<{names}}{state}{folded[0]}")
        lines += [" " * (names + states) + line for line in folded[1:]]
    return "\n".join(lines)


def _capabilities(fs: HostFS) -> Iterator[Finding]:
    capabilities = privileges.held()
    problem = privileges.missing(capabilities)
    yield Finding("capabilities", BROKEN if problem else OK, problem or ", ".join(sorted(capabilities)))


def _bpf(fs: HostFS) -> Iterator[Finding]:
    """Not asked but tried: everything is loaded and attached as ``serve`` would."""
    try:
        topology = read_topology(fs)
        tables = BpfTables(fs, topology, choose(fs).hierarchy, 1024, 1024, cycles=None, misses=None, instructions=None)
    except KeplerError as error:
        yield Finding("BPF", BROKEN, " ".join(str(error).split()))
        return
    reads_strings = tables.loaded.reads_strings
    seconds, peak = tables.loaded.seconds, tables.loaded.peak_bytes / 2**20
    tables.close()
    yield Finding(
        "BPF", OK, f"programs compiled, loaded and attached in {seconds:.1f} s (loader's peak {peak:.0f} MiB)"
    )
    if not reads_strings:
        yield Finding(
            "kernel lockdown",
            POORER,
            "confidentiality: programs may not read the kernel's strings",
            "a container that is gone before its cgroup could be looked up has no name",
        )
    threads = sum(cpu != sibling for cpu, sibling in enumerate(topology.sibling))
    yield Finding(
        "CPUs",
        OK,
        f"{len(topology.online)} online, {topology.packages} package(s), "
        + ("hyperthreads share cores" if threads else "no hyperthreads"),
    )


def _processes(fs: HostFS) -> Iterator[Finding]:
    if not pids.are_the_kernels(fs):
        yield Finding(
            "processes",
            POORER,
            f"{fs.proc} is of another PID namespace than the kernel counts by",
            pids.OTHERWISE,
        )


def _counters(fs: HostFS) -> Iterator[Finding]:
    reserved = counters.reserved(fs) if "SYS_ADMIN" not in privileges.held() else ""
    cpus = range(read_topology(fs).cpus)
    for event, otherwise in (
        (counters.CYCLES, "CPU time takes the place of cycles; the cycles families are absent"),
        (counters.LLC_MISSES, "DRAM energy is shared like package energy"),
    ):
        opened = counters.open_counters(event, cpus)
        if opened.refused is not None:
            yield Finding(f"PMU {event.name}", POORER, reserved or counters.why(opened.refused), otherwise)
        else:
            yield Finding(f"PMU {event.name}", OK, f"counted on {len(opened.by_cpu)} CPUs")
        opened.close()


def _powercap(fs: HostFS) -> Iterator[Finding]:
    zones, of_no_name, is_any = inspect_zones(fs, Places(read_topology(fs)))
    for seen in of_no_name:
        yield Finding("powercap", POORER, seen, OF_NO_NAME)
    if not is_any and is_x86(fs):
        yield Finding(
            "powercap",
            POORER,
            f"no RAPL zone below {fs.sys}/class/powercap",
            "usual in virtual machines; on bare metal, modprobe intel_rapl_msr",
        )
    for zone in zones:
        if zone.readable:
            yield Finding(f"powercap {zone.name}", OK, f"{zone.path}")
        else:
            yield Finding(
                f"powercap {zone.name}",
                POORER,
                f"{zone.path}: {zone.reason}",
                _OF_ROOT_ALONE
                if zone.reason in ("EACCES", "EPERM")
                else "serve asks again; nothing is known of it until",
            )


def _power(config: Config) -> Iterator[Finding]:
    """Which source would count, after it has been read for a moment, and what all sources leave out."""
    try:
        packages = open_packages(config.fs, read_topology(config.fs), config)
    except KeplerError as error:
        yield Finding("power of the CPUs", BROKEN, str(error))
        return
    until = time.monotonic() + _MOMENT_SECONDS
    measured = [domain.source != packages.model.name for domain in packages.domains]
    while not packages.live.any() and any(measured) and time.monotonic() < until:
        time.sleep(0.1)
        packages.read()
    live = [domain for domain, is_live in zip(packages.domains, packages.live.tolist()) if is_live]
    mine = [domain for domain in live if domain.source == packages.name]
    name, model = packages.name, packages.model.spec
    off = "its error is not known" if math.isnan(model.error_ratio) else f"off by about {model.error_ratio:.0%}"
    modelled = f"a model's: {model.description}, {off}; kepler_node_info says so"
    if name == packages.model.name:
        yield Finding("power of the CPUs", POORER, "no meter that answers", modelled)
    elif not mine:
        seen = f"{name} has told no energy in {_MOMENT_SECONDS:g} s"
        yield Finding("power of the CPUs", POORER, seen, f"while it does not, {modelled}")
    else:
        yield Finding("power of the CPUs", OK, f"{name}: " + _listed(mine))
    for source in dict.fromkeys(domain.source for domain in live if domain.source != name):
        others = _listed([domain for domain in live if domain.source == source])
        yield Finding("power of the machine", OK, f"{source}: {others}", "shown beside the packages, added to nothing")
    if name == packages.model.name:
        yield from _beside_no_package(packages)
    for note in packages.notes:
        yield Finding("left out", OK, note)
    packages.close()


def _beside_no_package(packages: PackageMeter) -> Iterator[Finding]:
    """What of packages can be read though these cannot."""
    for source in packages.sources[:-1]:
        live = [domain for domain, is_live in zip(source.domains, source.counted().live) if is_live]
        inside = [domain for domain in live if domain.component not in ("package", "platform")]
        if inside:
            why = "no package beside them; the model's watts are those of whole machines"
            yield Finding("left out", OK, f"{source.name}: {_listed(inside)}: {why}")


def _listed(domains: Sequence[Domain]) -> str:
    return ", ".join(f"{domain.component} {domain.zone}" for domain in domains)


def _gpus(fs: HostFS) -> Iterator[Finding]:
    if not library_is_here():
        yield Finding("NVML", OK, "no NVIDIA driver library", "no GPU families")
        return
    try:
        load_binding()
    except ImportError:
        yield Finding(
            "NVML", POORER, "the driver library is here but its Python binding is not", "pip install nvidia-ml-py"
        )
        return
    for well, line in NvmlSource(fs).inspect() or [(False, "the driver shows no GPU")]:
        yield Finding("NVML", OK if well else POORER, line, "" if well else "check nvidia-smi; serve asks again")


def _cgroups(fs: HostFS) -> Iterator[Finding]:
    chosen = choose(fs)
    if chosen.hierarchy is None:
        yield Finding("cgroups", POORER, chosen.reason, "everything counts as the host's")
        return
    # A collector that runs already keeps the hierarchy of its start.
    follows = "containers that start later may be elsewhere: the log of serve says so" if not chosen.is_known else ""
    yield Finding("cgroups", OK, f"{chosen.hierarchy} tells containers apart: {chosen.reason}", follows)


def _names(config: Config) -> Iterator[Finding]:
    """Everybody who knows names of containers is asked once, as ``serve`` would."""
    users = user_engines(config)
    providers = [*name_providers(config), *([users] if users else [])]
    if not providers:
        yield Finding("names", OK, "nobody to ask: no kubelet, no container runtime", "containers go by their ids")
    for provider in providers:
        try:
            names = provider.fetch()
        except ProviderError as error:
            follows = f"containers go by their ids: {remedy(provider.name, error.reason)}"
            yield Finding(f"names from {provider.name}", POORER, f"no answer ({error.reason})", follows)
        else:
            pods = len({name.pod_uid for name in names.values() if name.pod_uid})
            seen = f"{len(names)} container(s)" + (f" of {pods} pod(s)" if pods else "")
            yield Finding(f"names from {provider.name}", OK, seen)
