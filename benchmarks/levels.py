"""Series and bytes of a page by level of detail, as the table of docs/metrics.md: ``python -m benchmarks.levels``.

The node is a full one: as many pods as a kubelet takes by default, of two containers and a sandbox each, and one
virtual machine; packages and memory are metered, cycles are counted.
"""

from __future__ import annotations

from dataclasses import replace

from tests.snapshots import Published

from benchmarks.page import node_of
from kepler_ebpf.energy.source import Domain
from kepler_ebpf.options import LEVELS
from kepler_ebpf.snapshot.types import Pod, Snapshot, Zone
from kepler_ebpf.views.prometheus import Renderer
from kepler_ebpf.views.selection import OURSELVES
from kepler_ebpf.workloads.workload import SYSTEM, Workload

PODS = 110
_PER_POD = 3
_PROCESSES = 101  # the default, and pid="other"


def full_node() -> Snapshot:
    """The node that the table is about."""
    names = ("app", "proxy", "POD")
    pods = [(f"web-{n:05x}-{n * 7:05x}", f"shop-{n % 20}", f"uid-{n}") for n in range(PODS)]
    workloads = [
        Workload("container", f"{_PER_POD * n + m:064x}", names[m], *pod)
        for n, pod in enumerate(pods)
        for m in range(_PER_POD)
    ]
    workloads += [SYSTEM, Workload("vm", "libvirt/desk", "desk")]
    snapshot = node_of(_PROCESSES, len(workloads))
    zones = tuple(Zone(Domain(component, 0, "rapl-powercap"), 1e6) for component in ("package", "dram"))
    return replace(
        snapshot,
        zones=zones,
        node=replace(snapshot.node, has_component=(True, True, False)),
        containers=replace(snapshot.containers, workloads=tuple(workloads)),
        pods=tuple(Pod(*pod, 1234.56789 * n, 1.23456789 * n, 123.456789 * n, 1.75e9 + n) for n, pod in enumerate(pods)),
    )


def table() -> str:
    """Series and kilobytes by level."""
    snapshot = full_node()
    renderer = Renderer(Published(snapshot))
    lines = ["| level | series | kB of text |", "|---|---|---|"]
    lines += [_line(f"`{level}`", renderer.metrics("", False, f"collect[]={level}")[0]) for level in LEVELS]
    all_levels = "&".join(f"collect[]={level}" for level in LEVELS)
    lines.append(_line(f"all, without `{OURSELVES}`", renderer.metrics("", False, all_levels)[0]))
    return "\n".join(lines) + "\n"


def _line(name: str, text: bytes) -> str:
    series = sum(not line.startswith(b"#") for line in text.splitlines())
    return f"| {name} | {series:,} | {len(text) / 1e3:,.0f} |"


if __name__ == "__main__":
    print(table(), end="")
