"""What a metric family is: a line of the table from which every view of the metrics is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from ..snapshot.types import Snapshot

Samples = Iterable[tuple[tuple[str, ...], float]]
Kind = Literal["gauge", "counter", "histogram"]
Level = Literal["node", "container", "pod", "process", "ourselves"]


@dataclass(frozen=True)
class Family:
    """``name``: without the ``_total`` of counters. ``help``: what it says in every format and in the documentation.

    ``labels``: names of the labels. ``samples``: values of the labels, in this order, and the value; none where it is
    not measured, and the family is then absent. ``more``: what the documentation adds. A histogram's samples have the
    upper bound as their only label, and its sum under ``""``.
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

    def metric(self, snapshot: Snapshot) -> Iterator[Metric]:
        """The family of this snapshot, or nothing."""
        samples = list(self.samples(snapshot))
        if not samples:
            return
        if self.kind == "histogram":
            buckets = [(bound, value) for (bound,), value in samples if bound]
            (total,) = (value for (bound,), value in samples if not bound)
            histogram = HistogramMetricFamily(self.name, self.help)
            histogram.add_metric((), buckets, total)
            yield histogram
            return
        kind = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        family = kind(self.name, self.help, labels=self.labels)
        for labels, value in samples:
            family.add_metric(labels, value)
        yield family


def alone(value: Callable[[Snapshot], float]) -> Callable[[Snapshot], Samples]:
    """Samples of a family without labels."""
    return lambda snapshot: [((), value(snapshot))]


def keyed(values: Callable[[Snapshot], dict[str, float] | dict[str, int]]) -> Callable[[Snapshot], Samples]:
    """Samples of a family with one label, from its values by that label."""
    return lambda snapshot: [((key,), float(value)) for key, value in values(snapshot).items()]


def paired(values: Callable[[Snapshot], dict[tuple[str, str], int]]) -> Callable[[Snapshot], Samples]:
    """Samples of a family with two labels."""
    return lambda snapshot: [(key, float(value)) for key, value in values(snapshot).items()]
