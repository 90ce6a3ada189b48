"""Folded stacks for flame graphs (flamegraph.pl, inferno, speedscope): node;namespace;pod;container;comm microjoules.

https://github.com/brendangregg/FlameGraph#2-fold-stacks
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from ..plain import clean
from .book import Book
from .groups import SHORT_ID
from .people import Who


def folded(book: Book) -> str:
    """One line a stack; what is not charged to anybody is ``[idle]`` and ``[unattributed]`` of the node.

    A host process has no namespace and no pod: these frames say ``host`` and ``-``.
    """
    node = _frame(book.info.get("node", ""), "node")
    charges = book.levels["process"]
    of_who = np.bincount(charges.who, charges.joules.sum(axis=0), len(charges.everyone))
    sums: dict[str, float] = defaultdict(float)
    for who, joules in zip(charges.everyone, of_who.tolist()):
        sums[";".join((node, *_place(who), _frame(who.comm, "?")))] += joules
    sums[f"{node};[idle]"] += float(book.idle.sum())
    sums[f"{node};[unattributed]"] += float(book.unattributed.sum())
    weights = ((stack, round(joules * 1e6)) for stack, joules in sorted(sums.items()))
    return "".join(f"{stack} {weight}\n" for stack, weight in weights if weight)


def _place(who: Who) -> tuple[str, str, str]:
    inside = "-" if who.container_id else "host"
    return (
        _frame(who.namespace, inside),
        _frame(who.pod, "-"),
        _frame(who.container or who.container_id[:SHORT_ID], "?"),
    )


def _frame(text: str, instead: str) -> str:
    """A name without what ends frames and lines."""
    return clean(text.replace(";", ":")) or instead
