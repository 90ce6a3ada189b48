"""Both text formats are what prometheus_client writes, to the byte; labels are escaped once and kept while in use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import zip_longest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import exposition, openmetrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from kepler_ebpf.snapshot.types import Health
from kepler_ebpf.views.families import FAMILIES, families
from kepler_ebpf.views.family import NONE, Family, Filled, Kind, Samples, in_pairs
from kepler_ebpf.views.prometheus import Renderer
from kepler_ebpf.views.text import CHUNK, Labels, Writer, openmetrics_text, prometheus_text
from tests.snapshots import Published, everything

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class _Source(Collector):
    def __init__(self, filled: Iterable[Filled]) -> None:
        self._filled = list(filled)

    def collect(self) -> list[Metric]:
        return [_metric(*one) for one in self._filled]


def _metric(family: Family, samples: Samples) -> Metric:
    pairs = list(zip(samples.labels, samples.values))
    if family.kind == "histogram":
        *buckets, (_, total) = pairs
        histogram = HistogramMetricFamily(family.name, family.help, unit=family.unit)
        histogram.add_metric((), [(bound, count) for (bound,), count in buckets], total)
        return histogram
    if family.kind == "counter":
        counter = CounterMetricFamily(family.name, family.help, labels=family.labels, unit=family.unit)
        for (values, value), began in zip_longest(pairs, samples.began):
            counter.add_metric(values, value, began)
        return counter
    gauge = GaugeMetricFamily(family.name, family.help, labels=family.labels, unit=family.unit)
    for values, value in pairs:
        gauge.add_metric(values, value)
    return gauge


def theirs(writer: Writer, filled: Iterable[Filled]) -> bytes:
    """The families as prometheus_client writes them; the end of OpenMetrics is not the writer's."""
    if writer is prometheus_text:  # which has no word for when a counter began, but one more gauge
        filled = [Filled(family, samples._replace(began=())) for family, samples in filled]
    source = _Source(filled)
    if writer is prometheus_text:
        return exposition.generate_latest(source)  # type: ignore[arg-type, unused-ignore]
    text: bytes = openmetrics.exposition.generate_latest(source)  # type: ignore[no-untyped-call, unused-ignore]
    return text.removesuffix(b"# EOF\n")


def ours(writer: Writer, filled: Iterable[Filled], labels: Labels | None = None) -> bytes:
    return b"".join(writer(filled, labels or Labels()))


BOTH = pytest.mark.parametrize("writer", [prometheus_text, openmetrics_text])

texts = st.text(st.characters(codec="utf-8") | st.sampled_from('\\"\n{}%,= '), max_size=12)
# Those that Go writes otherwise than Python, and their neighbours.
SPECIAL = (
    *(float("inf"), float("-inf"), float("nan"), 0.0, -0.0, 5e-324, 1e-5, 0.1, 7, -7, True, np.float64(0.1)),
    *(999999.9999999999, 1e6, -1e6, 1234567.0, 1e15, 1e16, 1.5e16, 1e17, 1.7976931348623157e308),
)
numbers = st.floats() | st.integers(-(2**60), 2**60) | st.floats(width=32).map(np.float64) | st.sampled_from(SPECIAL)


@st.composite
def filled_families(draw: st.DrawFn) -> Filled:
    kind: Kind = draw(st.sampled_from(("gauge", "counter", "histogram")))
    name = "kepler_" + draw(st.sampled_from(("one_joules", "two_cycles", "three_watts", "four", "five_ratio")))
    if kind == "histogram":
        counts = draw(st.lists(numbers, min_size=1, max_size=4))
        bounds = [*(str(2.0**place) for place in range(len(counts) - 1)), "+Inf"]
        buckets = [((bound,), count) for bound, count in zip(bounds, counts)]
        family = Family(name, kind, "node", (), draw(texts), lambda _: NONE)
        return Filled(family, in_pairs([*buckets, (("",), draw(numbers))]))
    labels = tuple(draw(st.lists(st.sampled_from(("pid", "comm", "a", "z_9", "Upper")), unique=True, max_size=4)))
    rows = st.tuples(st.tuples(*(texts for _ in labels)), numbers)
    samples = in_pairs(draw(st.lists(rows, min_size=1, max_size=6)))
    if kind == "counter" and draw(st.booleans()):
        samples = samples._replace(began=[draw(st.floats(1e-9, 4e9)) for _ in samples.values])
    return Filled(Family(name, kind, "node", labels, draw(texts), lambda _: NONE), samples)


@BOTH
@given(st.lists(st.lists(filled_families(), max_size=5), min_size=1, max_size=3))
def test_every_text_is_theirs_to_the_byte(writer: Writer, publications: list[list[Filled]]) -> None:
    labels = Labels()
    for filled in publications:
        assert ours(writer, filled, labels) == theirs(writer, filled)
        labels.turn()


@BOTH
@pytest.mark.parametrize("number", SPECIAL, ids=repr)
def test_numbers_are_theirs(writer: Writer, number: float) -> None:
    filled = [Filled(Family("kepler_one", "gauge", "node", (), "One.", lambda _: NONE), in_pairs([((), number)]))]
    assert ours(writer, filled) == theirs(writer, filled)


@BOTH
def test_a_snapshot_that_has_everything_is_theirs_to_the_byte(writer: Writer) -> None:
    assert ours(writer, families(everything())) == theirs(writer, families(everything()))


@BOTH
def test_families_longer_than_a_chunk_are_whole(writer: Writer) -> None:
    samples = in_pairs(((str(number),), number) for number in range(2 * CHUNK + 1))
    filled = [Filled(Family("kepler_long", "gauge", "node", ("pid",), "Long.", lambda _: NONE), samples)]
    assert ours(writer, filled) == theirs(writer, filled)
    assert max(chunk.count(b"\n") for chunk in writer(filled, Labels())) == CHUNK
    counters = replace(filled[0].family, kind="counter"), samples._replace(began=list(range(1, 2 * CHUNK + 2)))
    assert ours(writer, [Filled(*counters)]) == theirs(writer, [Filled(*counters)])


def test_labels_are_kept_from_one_publication_to_the_next_and_dropped_when_the_series_go() -> None:
    labels = Labels()
    first = labels.of(("pid",))[('a"',)]
    assert first == r'{pid="a\""}'
    labels.turn()
    assert labels.of(("pid",))[('a"',)] is first
    for number in range(100):
        labels.turn()
        for series in range(10):
            labels.of(("pid",))[(f"{number}-{series}",)]
        assert len(labels) == 10
    assert labels.of(("pid",))[('a"',)] is not first


def test_units_are_said_where_the_name_has_one() -> None:
    text = ours(openmetrics_text, families(everything())).decode()
    for line in (
        "# UNIT kepler_node_energy_joules joules",
        "# UNIT kepler_container_power_max_watts watts",
        "# UNIT kepler_ebpf_sample_seconds seconds",
        "# UNIT kepler_ebpf_books_gap_ratio ratio",
        "# UNIT kepler_container_memory_working_set_bytes bytes",
    ):
        assert f"{line}\n" in text
    assert "# UNIT kepler_process_cpu_cycles" not in text
    assert text.count("# UNIT ") == sum(bool(family.unit) for family in FAMILIES)


def test_pages_are_written_once_per_snapshot() -> None:
    published = Published(everything())
    renderer = Renderer(published)
    for accept in ("", OPENMETRICS):
        for compressed in (False, True):
            first = renderer.metrics(accept, compressed)[0]
            assert renderer.metrics(accept, compressed)[0] is first
    before = renderer.metrics("")[0]
    assert renderer.metrics(OPENMETRICS)[0] != before
    published.snapshot = replace(everything(), number=4, pods=())
    assert b"kepler_pod_" in before
    assert b"kepler_pod_" not in renderer.metrics("")[0]


def test_an_openmetrics_page_is_one_to_a_strict_parser() -> None:
    text = Renderer(Published(everything())).metrics(OPENMETRICS)[0].decode()
    found = {family.name for family in text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]
    assert {family.name for family in FAMILIES} | {"process_cpu_seconds"} <= found


def test_a_loop_that_has_taken_no_sample_has_no_histogram() -> None:
    text = Renderer(Published(replace(everything(), health=Health()))).metrics("")[0]
    assert b"kepler_ebpf_sample_seconds" not in text
    assert b"kepler_ebpf_samples_total 0.0" in text


def test_before_the_first_snapshot_there_is_the_collectors_own_process_alone() -> None:
    text = Renderer(Published(None)).metrics("")[0]
    assert b"process_resident_memory_bytes" in text
    assert b"kepler_" not in text
