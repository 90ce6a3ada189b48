"""Metric families as text, in the two formats of Prometheus, byte for byte as prometheus_client writes them.

prometheus_client writes any metric there can be, and makes a dictionary of labels for each sample, sorts it and escapes
it again. Here the order of the labels is known by family, and a label set that is in several families, or was in the
last publication, is escaped once.

The formats: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4) and OpenMetrics 1.0.0,
https://prometheus.io/docs/specs/om/open_metrics_spec/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.utils import floatToGoString

from .family import Family, Filled, LabelSet, Samples

CHUNK = 500
"""Most lines in a chunk, about a millisecond's work: other threads run between two chunks."""

_LEAST = float("-inf")
# From here on Go, and so prometheus_client, writes an exponent where Python's repr() does not.
_EXPONENT = 1e6


class _LabelSets(dict[LabelSet, str]):
    """``{name="value",…}`` by label values, for the families with the same label names."""

    def __init__(self, names: tuple[str, ...]) -> None:
        # prometheus_client writes labels in the order of their names.
        self._order = sorted(range(len(names)), key=names.__getitem__)
        self._format = "{" + ",".join(f'{names[place]}="%s"' for place in self._order) + "}" if names else ""
        self._before: dict[LabelSet, str] = {}
        self._latest: tuple[Sequence[LabelSet], list[str]] = ((), [])

    def texts(self, labels: Sequence[LabelSet]) -> list[str]:
        """The texts of many. Those of the same object as before are at hand."""
        latest, texts = self._latest
        if labels is not latest:
            texts = [self[values] for values in labels]
            self._latest = labels, texts
        return texts

    def __missing__(self, values: LabelSet) -> str:
        text = self._before.pop(values, None)
        if text is None:
            text = self._format % tuple(_escaped(values[place]) for place in self._order)
        self[values] = text
        return text

    def turn(self) -> None:
        self._before = dict(self)
        self._latest = ((), [])
        self.clear()


class Labels:
    """Label sets as text, kept while they are in use.

    Bounded by the pages: what neither this publication nor the one before had is dropped by :meth:`turn`. Not for
    several threads at once.
    """

    def __init__(self) -> None:
        self._sets: dict[tuple[str, ...], _LabelSets] = {}

    def __len__(self) -> int:
        """How many label sets this publication has used so far."""
        return sum(map(len, self._sets.values()))

    def of(self, names: tuple[str, ...]) -> _LabelSets:
        """Those of families with these label names."""
        found = self._sets.get(names)
        if found is None:
            found = self._sets[names] = _LabelSets(names)
        return found

    def turn(self) -> None:
        """Another publication begins."""
        for one in self._sets.values():
            one.turn()


Writer = Callable[[Iterable[Filled], Labels], Iterator[bytes]]


def prometheus_text(families: Iterable[Filled], labels: Labels) -> Iterator[bytes]:
    """The families in Prometheus' own text format 0.0.4, in chunks of at most :data:`CHUNK` lines and a header."""
    for family, samples in families:
        text = family.help.replace("\\", r"\\").replace("\n", r"\n")
        yield f"# HELP {family.full_name} {text}\n# TYPE {family.full_name} {family.kind}\n".encode()
        yield from _samples(family, samples, labels)


def openmetrics_text(families: Iterable[Filled], labels: Labels) -> Iterator[bytes]:
    """The families as OpenMetrics 1.0.0, in chunks as :func:`prometheus_text` has them, without the last ``# EOF``."""
    for family, samples in families:
        unit = f"# UNIT {family.name} {family.unit}\n" if family.unit else ""
        yield f"# HELP {family.name} {_escaped(family.help)}\n# TYPE {family.name} {family.kind}\n{unit}".encode()
        if samples.began:
            yield from _lines_with_begin(family, samples, labels.of(family.labels))
        else:
            yield from _samples(family, samples, labels)


def _samples(family: Family, samples: Samples, labels: Labels) -> Iterator[bytes]:
    if family.kind != "histogram":
        yield from _lines(family.full_name, samples, labels.of(family.labels))
        return
    bounds, (*counts, total) = samples.labels[:-1], samples.values
    yield from _lines(f"{family.name}_bucket", Samples(bounds, counts), labels.of(("le",)))
    yield from _lines(f"{family.name}_count", Samples(((),), counts[-1:]), labels.of(()))
    yield from _lines(f"{family.name}_sum", Samples(((),), (total,)), labels.of(()))


def _lines(name: str, samples: Samples, sets: _LabelSets) -> Iterator[bytes]:
    texts = sets.texts(samples.labels)
    for start in range(0, len(texts), CHUNK):
        part = slice(start, start + CHUNK)
        yield "".join(_written(name, texts[part], samples.values[part])).encode()


def _lines_with_begin(family: Family, samples: Samples, sets: _LabelSets) -> Iterator[bytes]:
    """Counters, each with the sample that tells since when it counts."""
    texts = sets.texts(samples.labels)
    numbers = {began: _other_number(began) for began in set(samples.began)}  # many began together
    for start in range(0, len(texts), CHUNK // 2):
        part = slice(start, start + CHUNK // 2)
        lines = _written(family.full_name, texts[part], samples.values[part])
        begins = zip(texts[part], samples.began[part])
        yield "".join(
            [f"{line}{family.name}_created{text} {numbers[began]}\n" for line, (text, began) in zip(lines, begins)]
        ).encode()


def _written(name: str, texts: list[str], values: Sequence[float]) -> list[str]:
    """A line for each sample."""
    return [
        f"{name}{text} {value!r}\n" if _LEAST < value < _EXPONENT else f"{name}{text} {_other_number(value)}\n"
        for text, value in zip(texts, values)
    ]


def _other_number(value: float) -> str:
    """A number that Go writes in another way than Python."""
    return floatToGoString(value)  # type: ignore[no-any-return, no-untyped-call, unused-ignore]


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
