"""Which format an Accept header gets: by example, and whatever stands in it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import Counter, Gauge, Histogram, Info
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import CollectorRegistry

from kepler_ebpf.views.negotiation import FORMATS, best_format

TEXT = "text/plain; version=0.0.4; charset=utf-8"
TEXT_1 = "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"
OPEN, OPEN_0 = (f"application/openmetrics-text; version={version}; charset=utf-8" for version in ("1.0.0", "0.0.1"))
# The forms that Prometheus 2 and 3 send.
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/*", TEXT),
        ("text/plain", TEXT),
        ("text/plain;version=0.0.4", TEXT),
        ("text/plain;version=1.0.0", TEXT_1),
        ("text/plain; charset=utf-8; version=1.0.0; escaping=allow-utf-8", TEXT_1),
        ("application/*", OPEN),
        ("application/openmetrics-text", OPEN),
        ("application/openmetrics-text;version=1.0.0", OPEN),
        ('Application/OpenMetrics-Text ; Version="1.0.0"', OPEN),
        ("application/openmetrics-text;version=0.0.1", OPEN_0),
        (PROMETHEUS_2, OPEN),
        (PROMETHEUS_3, OPEN),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", TEXT),
        # The quality decides, the order does where it is the same.
        ("application/openmetrics-text;q=0.3,text/plain;q=0.7", TEXT),
        ("application/openmetrics-text;version=0.0.1;q=0.9,application/openmetrics-text;version=1.0.0;q=0.5", OPEN_0),
        ("text/plain;version=1.0.0,text/plain;version=0.0.4", TEXT_1),
        ("text/plain;version=0.0.4,application/openmetrics-text", TEXT),
        ("application/openmetrics-text,text/plain;version=0.0.4", OPEN),
        ("text/plain;q=.2,application/openmetrics-text;q=0.21", OPEN),
        # What is named most closely counts for a format, and nought means never.
        ("text/plain;q=0,*/*", OPEN),
        ("*/*,text/plain;version=0.0.4;q=0.1,application/*;q=0", TEXT_1),
        ("application/openmetrics-text;q=0", TEXT),
        ("text/plain;q=0", TEXT),
        # Versions there are none of, and what is no version, fall back.
        ("text/plain;version=abc", TEXT),
        ("text/plain;version=", TEXT),
        ("text/plain;version=1.0.7", TEXT),
        ("application/openmetrics-text;version=2.0.0", TEXT),
        ("application/openmetrics-text;version=2.0.0,application/openmetrics-text;version=1.0.0;q=0.1", OPEN),
        ("application/openmetrics-text;version=1.0.0.0", TEXT),
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", TEXT),
        # What is malformed is left out.
        ("application/openmetrics-text;q=high", TEXT),
        ("application/openmetrics-text;q=", TEXT),
        ("application/openmetrics-text;q=-1,text/plain;version=1.0.0;q=0.1", TEXT_1),
        (";;;,,,=;q", TEXT),
        ("text/plain;version=1.0.0;;q=1", TEXT_1),
    ],
)
def test_formats(accept: str, content_type: str) -> None:
    assert best_format(accept).content_type == content_type


RANGES = st.sampled_from(["text/plain", "application/openmetrics-text", "*/*", "text/*", "application/*", "x/y", ""])
VERSIONS = st.one_of(st.sampled_from(["0.0.1", "0.0.4", "1.0.0"]), st.text(max_size=6), st.integers().map(str))
QUALITIES = st.one_of(st.floats().map(str), st.text(max_size=5))


@given(
    st.one_of(
        st.text(max_size=200),
        st.lists(st.tuples(RANGES, VERSIONS, QUALITIES).map(lambda r: f"{r[0]};version={r[1]};q={r[2]}")).map(",".join),
    )
)
@example("text/plain;version=1.0." + "9" * 5000)
@example("text/plain;q=" + "1" * 5000)
@example("," * 16_000)
@example(";" * 16_000)
@example("text/plain;version=²")
@example("text/plain;q=٣")
@example("\udcff\0\x85")
def test_any_header_gets_one_of_the_formats(accept: str) -> None:
    assert any(best_format(accept) is one for one in FORMATS)


@given(st.lists(st.tuples(RANGES, st.integers(0, 1000)), max_size=5))
def test_nothing_that_was_refused_is_sent_where_something_else_was_asked_for(wanted: list[tuple[str, int]]) -> None:
    """Against a reading of RFC 9110, section 12.5.1, one format at a time."""
    header = ",".join(f"{name};q={quality / 1000:.3f}" for name, quality in wanted)

    def quality(media_type: str) -> int:
        for name in (media_type, media_type.split("/")[0] + "/*", "*/*"):
            found = [quality for one, quality in wanted if one == name]
            if found:
                return found[0]
        return 0

    best = max(quality(one.media_type) for one in FORMATS)
    if best > 0:
        assert quality(best_format(header).media_type) == best
    else:
        assert best_format(header) is FORMATS[0]


def test_each_format_parses_as_what_it_says() -> None:
    registry = CollectorRegistry()
    Counter("energy_joules", "Energy", ["zone"], registry=registry).labels('a"\\\n é').inc(3)
    Gauge("power_watts", "Power", registry=registry).set(1e-9)
    Histogram("seconds", "Time", registry=registry).observe(0.2)
    Info("node", "Node", registry=registry).info({"cpu": "x"})
    read = {}
    for one in FORMATS:
        text = one.encoder(registry).decode()
        assert text.endswith("# EOF\n") is (one.media_type != "text/plain")
        parse = parse_text if one.media_type == "text/plain" else parse_openmetrics
        read[one.content_type] = {
            (sample.name, tuple(sample.labels.items()), sample.value)
            for family in parse(text)
            for sample in family.samples
            if not sample.name.endswith("_created")
        }
    assert len(read) == len(FORMATS) == 4
    assert len({frozenset(samples) for samples in read.values()}) == 1
