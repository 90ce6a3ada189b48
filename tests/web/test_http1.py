"""The syntax of requests: by example, beside a second implementation, and under arbitrary bytes."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kepler_ebpf.web.http1 import Dialogue, Request, Response, accepts_gzip, credentials
from kepler_ebpf.web.server import Endpoint
from tests.needs import examples
from tests.web.reference import read_head
from tests.web.test_server import FakeContent, ask

HOST = b"Host: a\r\n"


def read(*pieces: bytes) -> tuple[Request | Response | None, Dialogue]:
    """What a dialogue takes these bytes for."""
    dialogue, request = Dialogue(), None
    for piece in pieces:
        dialogue.receive(piece)
        request = dialogue.request()
        if request is not None:
            break
    return request, dialogue


def keeps(dialogue: Dialogue) -> bool:
    """Whether the connection goes on after an answer; the answer's head must say the same."""
    head, _ = dialogue.respond(Response(200, b"ok\n"))
    assert (b"\r\nconnection: close\r\n" in head.lower()) is not dialogue.open
    return dialogue.open


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (b"GET / HTTP/1.1\r\n", True),
        (b"GET / HTTP/1.0\r\n", False),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n", False),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n", False),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", False),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n", False),
        (b"GET / HTTP/1.1\r\nConnection: close, x\r\n", False),
        (b"GET / HTTP/1.1\r\nConnection: close\r\nConnection: x\r\n", False),
        (b"GET / HTTP/1.1\r\nConnection: x\r\nConnection:\tClose \r\n", False),
        (b"GET / HTTP/1.1\r\nConnection: disclosed\r\n", True),
        (b"GET / HTTP/1.1\r\nContent-Length: 00\r\n", True),
        (b"GET / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: upgrade\r\n", True),
    ],
)
def test_keeps_only_connections_in_a_known_state(head: bytes, kept: bool) -> None:
    request, dialogue = read(head + HOST + b"\r\n")
    assert isinstance(request, Request)
    assert keeps(dialogue) is kept


@pytest.mark.parametrize("more", [b"Content-Length: 6\r\n", b"Content-Length: 0\r\n", b""])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_nothing_is_read_behind_a_body_in_chunks(method: bytes, more: bytes) -> None:
    """By its length, or for a proxy that knows no chunks, what follows is not where we would take it for a request."""
    smuggled = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
    head = method + b" / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + more + HOST + b"\r\n"
    request, dialogue = read(head + b"0\r\n\r\n" + smuggled)
    assert isinstance(request, Request)
    assert not keeps(dialogue)


def test_repeated_headers_are_one_list() -> None:
    request, _ = read(b"GET / HTTP/1.1\r\nAccept: a/b \r\nHost: a\r\naccept:\tc/d;q=0.5\r\n\r\n")
    assert isinstance(request, Request)
    assert request.headers == {"accept": "a/b, c/d;q=0.5", "host": "a"}


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"\r\n", 400),
        (b"GET /\r\n", 400),
        (b"GET /  HTTP/1.1\r\n", 400),
        (b"GET http://a/ HTTP/1.1\r\n", 400),
        (b"CONNECT a:80 HTTP/1.1\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\n", 400),
        (b"GET / HTTP/2.0\r\n", 505),
        (b"GET / HTTP/1.1\r\nno colon\r\n", 400),
        (b"GET / HTTP/1.1\r\nA : space before the colon\r\n", 400),
        (b"GET / HTTP/1.1\r\n folded: first line\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: nul\0\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: bare\rCR\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 0\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 0, 5\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: +5\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n", 400),
        ("GET / HTTP/1.1\r\nContent-Length: ²\r\n".encode("latin-1"), 400),
        (b"GET / HTTP/1.1\r\nContent-Length:\r\n", 400),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", 400),
    ],
)
def test_bad_heads(head: bytes, status: int) -> None:
    response, dialogue = read(head + HOST + b"\r\n")
    assert isinstance(response, Response)
    assert response.status == status
    assert dialogue.respond(response)[0].startswith(b"HTTP/1.1 %d " % status)
    assert not dialogue.open


def test_a_request_must_name_its_host() -> None:
    """RFC 9112, section 3.2."""
    response, _ = read(b"GET / HTTP/1.1\r\n\r\n")
    assert isinstance(response, Response)
    assert response.status == 400


def test_requests_that_came_together_are_taken_one_by_one() -> None:
    request, dialogue = read(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nHEAD /b?c#d HTTP/1.1\r\nHost: a\r\n\r\nGET")
    assert isinstance(request, Request)
    assert dialogue.respond(Response(404, b"no\n"))[1] == b"no\n"
    request = dialogue.request()
    assert isinstance(request, Request)
    assert (request.method, request.path) == ("HEAD", "/b")
    head, body = dialogue.respond(Response(404, b"no\n"))
    assert (b"Content-Length: 3\r\n" in head, body) == (True, b"")
    assert dialogue.request() is None
    assert not dialogue.idle


def test_a_body_is_sent_without_a_copy() -> None:
    _, dialogue = read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    body = b"x" * 1000
    assert dialogue.respond(Response(200, body))[1] is body


LINES = st.sampled_from(
    [
        *(
            b"GET / HTTP/1.1",
            b"GET /metrics?a=b HTTP/1.0",
            b"HEAD /a#b HTTP/1.1",
            b"POST /x HTTP/1.1",
            b"get / HTTP/1.1",
        ),
        *(
            b"Host: a",
            b"host:b",
            b"Accept: */*",
            b"Accept: text/plain;q=0.1",
            b"Connection: close",
            b"Connection: x, y",
        ),
        *(b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: 5, 5", b"Transfer-Encoding: chunked"),
        *(
            b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding: xchunked",
            b" folded",
            b"A : b",
            b"A:",
            b"",
            b": x",
        ),
        *(b"GET  / HTTP/1.1", b"GET / HTTP/1.2", b"GET / HTTP/0.9", b"GET / HTTP/2.0", b"CONNECT / HTTP/1.1"),
        *(b"Expect: 100-continue", b"Upgrade: websocket", b"Content-Length: -1", b"X: \xff\xfe"),
    ]
)
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n", b" \r\n", b"\0\r\n"])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Something like a request head, now and then with bytes changed, and always with its empty line."""
    lines = [b"GET / HTTP/1.1\r\n"] if draw(st.booleans()) else []
    lines += [HOST] if draw(st.booleans()) else []
    lines += [draw(LINES) + draw(ENDS) for _ in range(draw(st.integers(0, 6)))]
    head = bytearray(b"".join(lines))
    for _ in range(draw(st.integers(0, 2))):
        if head:
            head[draw(st.integers(0, len(head) - 1))] = draw(st.integers(0, 255))
    return bytes(head) + b"\r\n"


def lenient(head: bytes) -> bool:
    """Whether a head has what h11 takes and the reference does not; RFC 9112 leaves each of them to the recipient."""
    lines = head.split(b"\r\n")
    return bool(
        b"\n" in head.replace(b"\r\n", b"")  # a bare line feed ends a line: section 2.2
        or b"\r\r\n" in head
        or any(line.startswith((b" ", b"\t")) for line in lines)  # a folded line: section 5.2
        or not re.match(rb"[A-Z]{1,20} ", lines[0])  # methods are tokens: RFC 9110, section 9.1
        or not re.search(rb" HTTP/1\.[01]$", lines[0])  # any 1.x is 1.1: RFC 9110, section 2.5
        or len(re.findall(rb"(?i)^content-length:", head, re.MULTILINE)) > 1  # equal lengths: section 6.3
        or re.search(rb"(?i)^content-length:.*,", head, re.MULTILINE)
        or len(re.findall(rb"(?i)^transfer-encoding:", head, re.MULTILINE)) > 1
        or re.search(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\xff]", head)  # other bytes in values: RFC 9110, section 5.5
    )


@settings(max_examples=examples(1000), suppress_health_check=[HealthCheck.too_slow])
@given(requests(), st.integers(1, 400))
@example(b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 1)
@example(b"GET /\xa0 HTTP/1.1\r\nHost: a\r\n\r\n", 100)
def test_agrees_with_a_second_implementation(text: bytes, size: int) -> None:
    head = text.partition(b"\r\n\r\n")[0] + b"\r\n"
    expected = read_head(head)
    whole = head + b"\r\n"
    found, dialogue = read(*(whole[at : at + size] for at in range(0, len(whole), size)))
    if expected is not None:
        assert isinstance(found, Request)
        assert (found.method, found.path) == (expected.method, expected.path)
        # Of a length beside chunks nothing counts (RFC 9112, section 6.3); nobody here asks for either.
        framing = ("content-length", "transfer-encoding")
        assert {k: v for k, v in found.headers.items() if k not in framing} == {
            k: v for k, v in expected.headers.items() if k not in framing
        }
        assert keeps(dialogue) is expected.keeps
    elif isinstance(found, Request):
        assert lenient(head)


@settings(max_examples=examples(1000))
@given(st.lists(st.one_of(st.binary(min_size=1, max_size=300), requests()), max_size=8))
def test_any_bytes_give_requests_or_one_refusal(pieces: list[bytes]) -> None:
    dialogue = Dialogue()
    for piece in pieces:
        dialogue.receive(piece)
        while (request := dialogue.request()) is not None:
            assert isinstance(request, Request) or 400 <= request.status <= 505
            answer = request if isinstance(request, Response) else Response(200, b"ok\n")
            head, _ = dialogue.respond(answer)
            assert head.endswith(b"\r\n\r\n")
            if not dialogue.open:
                return


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint("127.0.0.1:0", FakeContent(), patience_seconds=5.0)
    endpoint.start()
    yield endpoint
    endpoint.stop()


@settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.one_of(st.binary(max_size=5000), requests()), min_size=1, max_size=5))
@example([b"\x16\x03\x01\x02\x00\x01\x00"])
@example(
    [b"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: text/plain;version=abc;q=x\r\nAuthorization: Basic \xff\r\n\r\n"]
)
@example([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])
@example([b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"])
@example([b"HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"])
@example([b"A" * 40_000])
def test_any_bytes_get_a_bounded_answer(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture, pieces: list[bytes]
) -> None:
    caplog.clear()
    answer = b""
    with socket.create_connection(endpoint.addresses[0], timeout=10) as client, suppress(ConnectionError):
        for piece in pieces:
            client.sendall(piece)
        with suppress(OSError):  # reset already
            client.shutdown(socket.SHUT_WR)
        while data := client.recv(1 << 20):
            answer += data
    assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
    assert len(answer) < 2_000_000
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert ask(endpoint, "/healthz", timeout=5)[0] == 200


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
        ("gzip;\tq=0", False),
        ("gzip\t;q=0", False),
        ("gzip;q=0;x=1", False),
        ("gzip;x=1;Q=0.000", False),
        ("gzip;q=0, x-gzip;\tq=0.1;x=1", True),
        ("gzip;q=0.001;x=0", True),
        ("br", False),
        ("", False),
    ],
)
def test_accepts_gzip(header: str, expected: bool) -> None:
    assert accepts_gzip(header) is expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Basic YTpiOmM=", ("a", b"b:c")),
        ("basic YTo=", ("a", b"")),
        ("Bearer YTpi", ("", b"")),
        ("Basic ä", ("", b"")),
    ],
)
def test_credentials(header: str, expected: tuple[str, bytes]) -> None:
    assert credentials(header) == expected
