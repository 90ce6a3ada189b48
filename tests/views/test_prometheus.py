"""What the renderer keeps, for how long, and that no header makes it keep more."""

from __future__ import annotations

import gzip
from dataclasses import replace

import pytest

from kepler_ebpf.views.negotiation import FORMATS
from kepler_ebpf.views.prometheus import Renderer
from tests.snapshots import everything


class Latest:
    """The snapshot that a test has published last."""

    def __init__(self) -> None:
        self.snapshot = everything()


@pytest.fixture
def latest() -> Latest:
    return Latest()


def test_a_thousand_versions_are_kept_as_one_text(latest: Latest) -> None:
    renderer = Renderer(latest)
    headers = [f"{name};version=1.0.{number}" for number in range(500) for name in ("text/plain", "*/*", "a/b")]
    headers += [f"application/openmetrics-text;version={number}.0.0" for number in range(500)]
    answers = {renderer.metrics(accept, compressed) for accept in headers for compressed in (False, True)}
    assert {content_type for _, content_type in answers} <= {one.content_type for one in FORMATS}
    for one in FORMATS:
        for compressed in (False, True):
            renderer.metrics(f"{one.media_type};version={one.version}", compressed)
    assert len(renderer._texts) == 4, "two encoders, plain and compressed"


def test_a_new_snapshot_ends_all_that_was_kept_of_the_one_before(
    latest: Latest, monkeypatch: pytest.MonkeyPatch
) -> None:
    renderer = Renderer(latest)
    compressed: list[bytes] = []
    real = gzip.compress

    def compress(data: bytes, **options: int) -> bytes:
        compressed.append(data)
        return real(data, **options)

    monkeypatch.setattr(gzip, "compress", compress)
    first = renderer.metrics("", True)
    assert renderer.metrics("text/plain", True)[0] is first[0]
    renderer.metrics("application/openmetrics-text", True)
    assert len(compressed) == 2
    assert len(renderer._texts) == 4
    latest.snapshot = replace(latest.snapshot, number=4)
    plain, _ = renderer.metrics("")
    assert plain.startswith(b"# HELP")
    assert len(renderer._texts) == 1


def test_compressed_and_plain_are_the_same_text(latest: Latest) -> None:
    renderer = Renderer(latest)
    for accept in ("", "application/openmetrics-text"):
        assert gzip.decompress(renderer.metrics(accept, True)[0]) == renderer.metrics(accept, False)[0]


def test_what_is_kept_is_told_without_waiting_and_of_this_snapshot_alone(latest: Latest) -> None:
    renderer = Renderer(latest)
    whole, some = renderer.asked(""), renderer.asked("", query="collect[]=node")
    assert (whole.whole, whole.kept, some.whole, some.kept) == (True, None, False, None)
    assert whole.key != some.key
    page = renderer.metrics("")
    with renderer._lock:  # another page is being rendered
        kept = renderer.asked("").kept
        assert kept is not None
        assert kept[0] is page[0]
        assert kept[1] == page[1]
        assert renderer.asked("", True).kept is None
        latest.snapshot = replace(latest.snapshot, number=4)
        assert renderer.asked("").kept is None
    assert renderer.asked("").key != whole.key
    assert {renderer.asked(f"text/plain;q=0.{number}").key for number in range(1, 9)} == {renderer.asked("").key}
