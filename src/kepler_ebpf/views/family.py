"""What a metric family is: a line of the table from which every view of the metrics is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..snapshot.types import Snapshot

LabelSet = tuple[str, ...]
Kind = Literal["gauge", "counter", "histogram"]
Level = Literal["node", "container", "pod", "process", "ourselves"]

_UNITS = ("joules", "watts", "seconds", "bytes", "ratio")


class Samples(NamedTuple):
    """Columns: values of the labels, and the value, of each sample. Families of one level have the same ``labels``
    object, so that their text is made once. ``began``: when each counter was 0, seconds since the epoch; empty where
    that is not told."""

    labels: Sequence[LabelSet]
    values: Sequence[float]
    began: Sequence[float] = ()


NONE = Samples((), ())


@dataclass(frozen=True)
class Family:
    """``name``: without the ``_total`` of counters. ``help``: what it says in every format and in the documentation.

    ``labels``: names of the labels. ``samples``: values of the labels, in this order, and the value; none where it is
    not measured, and the family is then absent. ``more``: what the documentation adds. A histogram's samples have the
    upper bound as their only label, and its sum, the last, under ``""``.
    """

    name: str
    kind: Kind
    level: Level
    labels: tuple[str, ...]
    help: str
    samples: Callable[[Snapshot], Samples]
    more: str = ""

    @property
    def full_name(self) -> str:
        """As users write it in queries."""
        return f"{self.name}_total" if self.kind == "counter" else self.name

    @property
    def unit(self) -> str:
        """The base unit that the name ends in, as OpenMetrics wants it to; empty where the family has none."""
        last = self.name.rpartition("_")[2]
        return last if last in _UNITS else ""


class Filled(NamedTuple):
    """A family and its samples in one snapshot, at least one."""

    family: Family
    samples: Samples


def in_pairs(pairs: Iterable[tuple[LabelSet, float]]) -> Samples:
    """Samples that are told one by one."""
    pairs = list(pairs)
    return Samples([labels for labels, _ in pairs], [float(value) for _, value in pairs])


def alone(value: Callable[[Snapshot], float]) -> Callable[[Snapshot], Samples]:
    """Samples of a family without labels."""
    return lambda snapshot: Samples(((),), (float(value(snapshot)),))


def keyed(values: Callable[[Snapshot], dict[str, float] | dict[str, int]]) -> Callable[[Snapshot], Samples]:
    """Samples of a family with one label, from its values by that label."""
    return lambda snapshot: in_pairs(((key,), value) for key, value in values(snapshot).items())


def paired(values: Callable[[Snapshot], dict[tuple[str, str], int]]) -> Callable[[Snapshot], Samples]:
    """Samples of a family with two labels."""
    return lambda snapshot: in_pairs(values(snapshot).items())


def where(
    is_there: Callable[[Snapshot], bool], samples: Callable[[Snapshot], Samples]
) -> Callable[[Snapshot], Samples]:
    """Samples of a family that is absent from snapshots in which something else is."""
    return lambda snapshot: samples(snapshot) if is_there(snapshot) else NONE
