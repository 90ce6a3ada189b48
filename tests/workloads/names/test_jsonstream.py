"""Lists taken element by element: the same as decoded at once, whatever the chunks, and none at the cost of others."""

from __future__ import annotations

import io
import itertools
import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kepler_ebpf.workloads.names import jsonstream
from kepler_ebpf.workloads.names.jsonstream import MAX_BODY, elements
from kepler_ebpf.workloads.names.provider import ProviderError

NASTY = '"\\[]{},:é\U0001f600\ud800 \n'
STRINGS = st.text(st.sampled_from(NASTY) | st.characters(), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | STRINGS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STRINGS, inner, max_size=4), max_leaves=20
)


def in_chunks(body: bytes, sizes: Iterator[int]) -> Callable[[int], bytes]:
    rest = io.BytesIO(body)
    return lambda limit: rest.read(min(limit, next(sizes)))


@st.composite
def chunked(draw: st.DrawFn) -> tuple[bytes, Iterator[int]]:
    """The body of some list, and the sizes of the chunks it comes in."""
    values = draw(st.lists(VALUES, max_size=6))
    body = json.dumps(values, ensure_ascii=draw(st.booleans()), indent=draw(st.none() | st.just(1)))
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=9))
    return body.encode("utf-8", "surrogatepass"), itertools.cycle(sizes)


def decoded(body: bytes) -> list[Any]:
    whole = json.loads(body.decode("utf-8", "replace"))
    assert isinstance(whole, list)
    return whole


@settings(deadline=None)
@given(chunked())
def test_any_list_in_any_chunks(case: tuple[bytes, Iterator[int]]) -> None:
    body, sizes = case
    assert list(elements(in_chunks(body, sizes))) == decoded(body)


@settings(deadline=None)
@given(chunked(), st.integers(50, 99))
def test_only_what_is_too_large_is_left_out(case: tuple[bytes, Iterator[int]], limit: int) -> None:
    body, sizes = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonstream, "_MAX_ELEMENT", limit)
        found = list(elements(in_chunks(body, sizes)))
    whole = decoded(body)
    assert len(found) == len(whole)
    for got, value in zip(found, whole):
        assert got == value or (got is None and len(json.dumps(value, indent=1)) > limit - 20)


@settings(deadline=None)
@given(chunked(), st.data())
def test_a_truncated_list_is_malformed(case: tuple[bytes, Iterator[int]], data: st.DataObject) -> None:
    body, sizes = case
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(ProviderError, match="malformed"):
        list(elements(in_chunks(body[:cut], sizes)))


GIANTS = {
    "dense": b"[" + b'{"a":[{}]},' * 90_000 + b"{}]",
    "string": b'"' + rb"[{\"\\" * 250_000 + b'"',
    "object": b'{"metadata":{"name":"}"},"status":[' + b'"]\\"",' * 150_000 + b"{}]}",
}


@pytest.mark.parametrize("giant", GIANTS.values(), ids=GIANTS)
def test_a_giant_costs_its_neighbours_nothing(giant: bytes) -> None:
    body = b'{"items":[{"name":"before"},' + giant + b',{"name":"after"}]}'
    tracemalloc.start()
    found = list(elements(io.BytesIO(body).read, "items"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [{"name": "before"}, None, {"name": "after"}]
    assert peak < 20 << 20, "not held whole"


def test_no_decoding_is_long_and_none_is_often_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b"[" + b",".join([b"[" + b"[]," * 60_000 + b"1]", GIANTS["dense"]] * 3) + b"]"
    decoded: list[int] = []

    class Decoder(json.JSONDecoder):
        def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
            decoded.append(len(s) - idx)
            return super().raw_decode(s, idx)

    monkeypatch.setattr(json, "JSONDecoder", Decoder)
    assert [element is None for element in elements(io.BytesIO(body).read)] == [False, True] * 3
    assert max(decoded) <= 320 << 10
    assert sum(decoded) <= 2 * len(body)


@pytest.mark.parametrize("giant", GIANTS.values(), ids=GIANTS)
def test_a_truncated_giant_is_malformed(giant: bytes) -> None:
    with pytest.raises(ProviderError, match="malformed"):
        list(elements(io.BytesIO(b"[" + giant[:-2]).read))


def test_the_whole_body_is_bounded() -> None:
    taken = 0

    def read(size: int) -> bytes:
        nonlocal taken
        taken += size
        return (b"[" if taken == size else b" ") + b" " * (size - 1)

    with pytest.raises(ProviderError, match="too-large"):
        list(elements(read))
    assert taken <= MAX_BODY + (1 << 20)


@pytest.mark.parametrize("body", [b'{"items":null}', b'{"kind":"PodList","items":[]}', b'{"items":null'])
def test_empty_lists(body: bytes) -> None:
    assert list(elements(io.BytesIO(body).read, "items")) == []


@pytest.mark.parametrize("body", [b"[" + b"1" * 1_000_000 + b"]", b'{"items":"x"}', b"[1 2]", b"[nul]", b"", b"{}"])
def test_what_is_no_list_of_values(body: bytes) -> None:
    with pytest.raises(ProviderError, match="malformed"):
        list(elements(io.BytesIO(body).read, "items" if body.startswith(b"{") else None))
