"""Energy by workload: the same charges grouped by container, pod, namespace, program or process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..columns import NODE, Floats, Indexes
from .book import Book, Charges
from .people import Who

SHORT_ID = 12
"""Digits of a container's id that are shown, as docker shows them."""


def container_label(who: Who) -> str:
    """``namespace/pod/container`` as far as it is known, else the beginning of the id."""
    name = who.container or who.container_id[:SHORT_ID] or "?"
    return "/".join(part for part in (who.namespace, who.pod, name) if part)


def _of_pod(who: Who) -> str:
    return f"{who.namespace}/{who.pod}" if who.pod else container_label(who)


def _of_namespace(who: Who) -> str:
    return who.namespace or container_label(who)


def _of_program(who: Who) -> str:
    home = container_label(who)
    return who.comm or "?" if home in ("system", "?") else f"{who.comm or '?'} in {home}"


def _of_process(who: Who) -> str:
    home = container_label(who)
    name = f"{who.comm or '?'} [{who.pid}]"
    return name if home in ("system", "?") else f"{name} in {home}"


GROUPINGS: Mapping[str, tuple[str, Callable[[Who], object], Callable[[Who], str]]] = {
    "container": ("container", container_label, container_label),
    "pod": ("container", _of_pod, _of_pod),
    "namespace": ("container", _of_namespace, _of_namespace),
    "program": ("process", _of_program, _of_program),
    "process": ("process", lambda who: (who.pid, who.start_ns, who.comm, who.container_id), _of_process),
}
"""By name: the level that is grouped, what makes two the same, and how it is called."""


@dataclass(frozen=True)
class Groups:
    """g groups, those with the most energy first, or those that were asked for (:func:`foremost`).

    ``labels``: what each is called. ``joules``: float64[3, g]. ``cpu_seconds``, ``peak_watts``: float64[g], the latter
    the highest power in one frame. ``members``: intp[g], how many processes or containers. ``of_line``: intp[n], the
    group of each line of ``charges``.
    """

    by: str
    labels: tuple[str, ...]
    joules: Floats
    cpu_seconds: Floats
    peak_watts: Floats
    members: Indexes
    charges: Charges
    of_line: Indexes

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def total(self) -> Floats:
        """Joules of all components: float64[g]."""
        total: Floats = self.joules.sum(axis=0)
        return total


def group(book: Book, by: str) -> Groups:
    """Group the charges of a book; those without any energy or CPU time are left out."""
    level, key, name = GROUPINGS[by]
    charges = book.levels[level]
    numbers: dict[object, int] = {}
    of_who = np.array([numbers.setdefault(key(who), len(numbers)) for who in charges.everyone], np.intp)
    labels: list[str] = [""] * len(numbers)
    for who, number in zip(charges.everyone, of_who.tolist()):
        labels[number] = name(who)
    count = len(numbers)
    of_line = of_who[charges.who]
    joules = np.stack([_sums(of_line, column, count) for column in charges.joules])
    there = np.flatnonzero(np.bincount(of_line, minlength=count))
    order = there[np.argsort(-joules.sum(axis=0)[there], kind="stable")]
    rank = np.zeros(count, np.intp)
    rank[order] = np.arange(len(order))
    used = np.unique(charges.who)
    return Groups(
        by,
        tuple(labels[number] for number in order.tolist()),
        joules[:, order],
        _sums(of_line, charges.cpu_seconds, count)[order],
        _peaks(book, charges, of_line, count)[order],
        np.bincount(of_who[used], minlength=count)[order].astype(np.intp),
        charges,
        rank[of_line],
    )


def foremost(groups: Groups, text: str) -> tuple[Groups, int]:
    """The groups that have ``text`` in their name before all others, and how many these are."""
    wanted = np.array([text in label for label in groups.labels], np.bool_)
    order = np.argsort(~wanted, kind="stable")
    rank = np.empty(len(order), np.intp)
    rank[order] = np.arange(len(order))
    reordered = replace(
        groups,
        labels=tuple(groups.labels[k] for k in order.tolist()),
        joules=groups.joules[:, order],
        cpu_seconds=groups.cpu_seconds[order],
        peak_watts=groups.peak_watts[order],
        members=groups.members[order],
        of_line=rank[groups.of_line],
    )
    return reordered, int(wanted.sum())


def _sums(of_line: Indexes, column: Floats, count: int) -> Floats:
    return np.bincount(of_line, column, count).astype(np.float64)


def _peaks(book: Book, charges: Charges, of_line: Indexes, count: int) -> Floats:
    """The highest power of each group in any frame: float64[count]."""
    frames = len(book.seconds)
    place, inverse = np.unique(of_line * frames + charges.frame, return_inverse=True)
    watts = np.bincount(inverse, book.line_watts(charges), len(place))
    peaks = np.zeros(count)
    np.maximum.at(peaks, place // frames, watts)
    return peaks


def others(count: int) -> str:
    """What those together are called that have no line of their own."""
    return f"{count} other{'' if count == 1 else 's'}"


def mean_watts(joules: Floats, book: Book) -> Floats:
    """Mean power while there were readings: joules, float64[3, …], over the time that each component's cover."""
    covered = book.covered_seconds.sum(axis=1)
    inverse = np.divide(1.0, covered, out=np.zeros(len(NODE)), where=covered > 0)
    watts: Floats = np.tensordot(inverse, joules, 1)
    return watts


def node_peak_watts(book: Book) -> float:
    """The highest power of the node in any frame."""
    return float(book.watts.sum(axis=0).max())
