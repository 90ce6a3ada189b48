"""Every metric family, in one table: /metrics and docs/metrics.md are made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..snapshot.types import Snapshot
from . import health_families, node_families, workload_families
from .family import Family, Filled

FAMILIES: tuple[Family, ...] = (
    *node_families.FAMILIES,
    *workload_families.CONTAINERS,
    *workload_families.PODS,
    *workload_families.PROCESSES,
    *health_families.FAMILIES,
)


def families(snapshot: Snapshot, wanted: Callable[[Family], bool] = lambda _: True) -> Iterator[Filled]:
    """The ``wanted`` families of this snapshot. What is not metered is not there, rather than 0."""
    for family in filter(wanted, FAMILIES):
        samples = family.samples(snapshot)
        if samples.labels:
            yield Filled(family, samples)


def table(level: str) -> str:
    """The families of a level as a table of docs/metrics.md."""
    lines = ["| family | type | labels | meaning |", "|---|---|---|---|"]
    for family in FAMILIES:
        if family.level == level:
            labels = ", ".join(f"`{label}`" for label in family.labels)
            more = f" ({family.more})" if family.more else ""
            lines.append(f"| `{family.full_name}` | {family.kind} | {labels} | {family.help}{more} |")
    return "\n".join(lines) + "\n"
