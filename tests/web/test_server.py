"""The endpoint over real sockets on loopback."""

from __future__ import annotations

import gzip
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from kepler_ebpf.errors import KeplerError, UsageError
from kepler_ebpf.views.landing import landing_page
from kepler_ebpf.web.http1 import Request, Response, accepts_gzip, credentials, parse_head
from kepler_ebpf.web.listen import parse_listen
from kepler_ebpf.web.server import MAX_CONNECTIONS, Endpoint
from tests.needs import require

BODY = b"".join(b'kepler_process_joules_total{pid="%d"} %d\n' % (i, i * 7) for i in range(10_000))


class FakePages:
    """A snapshot that never changes, and counts how often it was asked for."""

    def __init__(self) -> None:
        self.good = True
        self.broken = False

    def metrics(self, accept: str) -> tuple[bytes, str]:
        if self.broken:
            raise RuntimeError("no snapshot")
        if "openmetrics" in accept:
            return b"# EOF\n", "application/openmetrics-text"
        return BODY, "text/plain; version=0.0.4"

    def alive(self) -> tuple[bool, str]:
        return self.good, "ticking" if self.good else "the sampler stands still"

    ready = alive

    def landing(self) -> str:
        return landing_page("Kepler", "1", {"node": "<script>"})


@pytest.fixture
def pages() -> FakePages:
    return FakePages()


@pytest.fixture
def endpoint(pages: FakePages) -> Iterator[Endpoint]:
    endpoint = Endpoint("127.0.0.1:0", pages, patience_seconds=2.0)
    endpoint.start()
    yield endpoint
    endpoint.stop()


def ask(
    endpoint: Endpoint, path: str, method: str = "GET", headers: dict[str, str] | None = None, timeout: float = 30
) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection(*endpoint.addresses[0], timeout=timeout)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read(), response.headers
    finally:
        connection.close()


def test_serves_metrics_probes_and_a_landing_page(endpoint: Endpoint, pages: FakePages) -> None:
    status, body, headers = ask(endpoint, "/metrics?name[]=x")
    assert (status, body, headers["Content-Type"]) == (200, BODY, "text/plain; version=0.0.4")
    assert ask(endpoint, "/metrics", headers={"Accept": "application/openmetrics-text"})[1] == b"# EOF\n"
    assert ask(endpoint, "/healthz")[:2] == (200, b"ticking\n")
    status, body, _ = ask(endpoint, "/")
    assert status == 200
    assert b'href="/metrics"' in body
    assert b"&lt;script&gt;" in body
    assert b"<script>" not in body
    pages.good = False
    assert ask(endpoint, "/healthz")[:2] == (503, b"the sampler stands still\n")
    assert ask(endpoint, "/readyz")[0] == 503


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("POST", "/metrics", 405), ("DELETE", "/", 405), ("BREW", "/healthz", 405)],
)
def test_refuses_what_it_does_not_have(endpoint: Endpoint, method: str, path: str, status: int) -> None:
    assert ask(endpoint, path, method)[0] == status


def test_head_has_the_length_and_no_body(endpoint: Endpoint) -> None:
    status, body, headers = ask(endpoint, "/metrics", "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", str(len(BODY)))


def test_a_page_that_fails_costs_that_answer_only(endpoint: Endpoint, pages: FakePages) -> None:
    pages.broken = True
    assert ask(endpoint, "/metrics")[0] == 500
    pages.broken = False
    assert ask(endpoint, "/metrics")[0] == 200


def test_a_connection_is_kept_for_the_next_request(endpoint: Endpoint) -> None:
    connection = http.client.HTTPConnection(*endpoint.addresses[0], timeout=30)
    ports = set()
    for _ in range(3):
        connection.request("GET", "/healthz")
        ports.add(connection.sock.getsockname()[1])
        assert connection.getresponse().read() == b"ticking\n"
    connection.close()
    assert len(ports) == 1


def test_200_concurrent_scrapers_get_the_same_compressed_bytes(endpoint: Endpoint) -> None:
    ready = threading.Barrier(200)

    def scrape(_: int) -> tuple[int, bytes]:
        ready.wait(60)
        status, body, headers = ask(endpoint, "/metrics", headers={"Accept-Encoding": "gzip"})
        assert headers["Content-Encoding"] == "gzip"
        return status, body

    with ThreadPoolExecutor(200) as pool:
        answers = set(pool.map(scrape, range(200)))
    assert len(answers) == 1
    status, compressed = answers.pop()
    assert status == 200
    assert gzip.decompress(compressed) == BODY


def test_1000_half_open_connections_delay_nobody(pages: FakePages) -> None:
    endpoint = Endpoint("127.0.0.1:0", pages)
    endpoint.start()
    clients = []
    try:
        for number in range(1000):
            client = socket.create_connection(endpoint.addresses[0], timeout=30)
            if number % 2:
                client.sendall(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
            clients.append(client)
            if number % 100 == 0:
                assert ask(endpoint, "/healthz")[0] == 200
        assert ask(endpoint, "/metrics")[:2] == (200, BODY)
        assert sum(thread.name.startswith("http") for thread in threading.enumerate()) <= 3
        assert len(endpoint._clients) <= MAX_CONNECTIONS
    finally:
        for client in clients:
            client.close()
        endpoint.stop()


def test_600_clients_that_do_not_read_a_large_page_delay_nobody(pages: FakePages) -> None:
    large = b"x" * (3 << 20)
    pages.metrics = lambda accept: (large, "text/plain")  # type: ignore[method-assign]
    endpoint = Endpoint("127.0.0.1:0", pages)  # with a patience longer than a probe's
    endpoint.start()
    with ExitStack() as stalled:
        for number in range(600):
            client = stalled.enter_context(socket.create_connection(endpoint.addresses[0], timeout=30))
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            if number > MAX_CONNECTIONS:
                assert ask(endpoint, "/healthz", timeout=2)[0] == 200
        assert ask(endpoint, "/metrics", timeout=2)[:2] == (200, large)
        assert len(endpoint._clients) <= MAX_CONNECTIONS
    endpoint.stop()


def test_an_answer_not_taken_costs_the_kernel_little(pages: FakePages, endpoint: Endpoint) -> None:
    pages.metrics = lambda accept: (b"x" * (64 << 20), "text/plain")  # type: ignore[method-assign]
    with socket.create_connection(endpoint.addresses[0], timeout=30) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert client.recv(1)
        connection = next(iter(endpoint._clients.values()))
        assert connection._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 128 << 10


@pytest.mark.parametrize("before", [b"", b"GET /healthz HTTP/1.1\r\n\r\n"])
def test_cuts_off_who_never_finishes_a_request(pages: FakePages, before: bytes) -> None:
    endpoint = Endpoint("127.0.0.1:0", pages, patience_seconds=0.3)
    endpoint.start()
    with socket.create_connection(endpoint.addresses[0], timeout=30) as client:
        client.sendall(before + b"GET / HTTP/1.1\r\n")
        with suppress(ConnectionError):
            for _ in range(600):  # a byte now and then buys no time
                client.sendall(b"X")
                time.sleep(0.05)
            pytest.fail("still connected after 100 times the patience")
    endpoint.stop()


def test_cuts_off_who_does_not_take_the_answer(pages: FakePages) -> None:
    pages.metrics = lambda accept: (b"x" * (64 << 20), "text/plain")  # type: ignore[method-assign]
    endpoint = Endpoint("127.0.0.1:0", pages, patience_seconds=0.3)
    endpoint.start()
    with socket.create_connection(endpoint.addresses[0], timeout=30) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        deadline = time.monotonic() + 30
        assert client.recv(1)
        while endpoint._clients:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    endpoint.stop()


def test_refuses_garbage_and_endless_headers(endpoint: Endpoint) -> None:
    for sent, status in [
        (b"\x00\xff\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nA: ".ljust(16_385, b"a"), b"431"),
    ]:
        with socket.create_connection(endpoint.addresses[0], timeout=30) as client:
            client.sendall(sent)
            assert client.recv(4096).split()[1] == status


def test_port_taken_names_the_address(endpoint: Endpoint, pages: FakePages) -> None:
    host, port = endpoint.addresses[0]
    with pytest.raises(KeplerError, match=rf"^cannot listen on {host}:{port}: Address already in use$"):
        Endpoint(f"{host}:{port}", pages).start()


def test_stops_with_clients_connected_and_frees_the_port(pages: FakePages) -> None:
    endpoint = Endpoint("127.0.0.1:0", pages)
    endpoint.start()
    address = endpoint.addresses[0]
    with socket.create_connection(address, timeout=30) as client:
        assert ask(endpoint, "/healthz")[0] == 200
        endpoint.stop()
        assert client.recv(1) == b""
    assert not any(thread.name == "http" for thread in threading.enumerate())
    again = Endpoint(f"{address[0]}:{address[1]}", pages)
    again.start()
    again.stop()


@pytest.mark.parametrize("listen", [":0", "[::1]:0"])
def test_ipv6(pages: FakePages, listen: str) -> None:
    require(socket.has_dualstack_ipv6(), "needs IPv6")
    endpoint = Endpoint(listen, pages)
    endpoint.start()
    port = endpoint.addresses[0][1]
    for host in ("::1", "127.0.0.1") if listen == ":0" else ("::1",):
        with socket.create_connection((host, port), timeout=30) as client:
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
    endpoint.stop()


def test_a_host_name_listens_on_each_of_its_addresses(pages: FakePages) -> None:
    endpoint = Endpoint("localhost:0", pages)
    endpoint.start()
    for address in endpoint.addresses:
        with socket.create_connection(address, timeout=30) as client:
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
    assert endpoint.addresses
    endpoint.stop()


def test_falls_back_to_ipv4_where_ipv6_is_off(pages: FakePages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    endpoint = Endpoint(":0", pages)
    endpoint.start()
    assert endpoint.addresses[0][0] == "0.0.0.0"
    endpoint.stop()


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        (":9102", ("", 9102)),
        ("127.0.0.1:9102", ("127.0.0.1", 9102)),
        ("[::1]:9102", ("::1", 9102)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_listen_forms(value: str, parsed: tuple[str, int]) -> None:
    assert parse_listen(value) == parsed


@pytest.mark.parametrize("value", ["", "9102", ":", ":http", ":65536", "::1:9102", "[::1]", "a b:1", ":-1", ":٣"])
def test_listen_errors_name_value_and_form(value: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT") as error:
        parse_listen(value)
    assert repr(value) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
        ("br", False),
        ("", False),
    ],
)
def test_accepts_gzip(header: str, expected: bool) -> None:
    assert accepts_gzip(header) is expected


@pytest.mark.parametrize(
    ("head", "keeps"),
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
    ],
)
def test_keeps_only_connections_in_a_known_state(head: bytes, keeps: bool) -> None:
    request = parse_head(head)
    assert isinstance(request, Request)
    assert request.keep_alive is keeps


def test_repeated_headers_are_one_list() -> None:
    request = parse_head(b"GET / HTTP/1.1\r\nAccept: a/b \r\nX: y\r\naccept:\tc/d;q=0.5\r\n")
    assert isinstance(request, Request)
    assert request.headers == {"accept": "a/b, c/d;q=0.5", "x": "y"}


@pytest.mark.parametrize(
    "head",
    [
        b"\r\n",
        b"GET /\r\n",
        b"get / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n",
        b"GET / HTTP/1.1\r\nA : space before the colon\r\n",
        b"GET / HTTP/1.1\r\nA: folded\r\n line\r\n",
        b"GET / HTTP/1.1\r\nA: folded\r\n\t: line\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 0\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 0\r\ncontent-length: 0\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 0, 0\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: +5\r\n",
        "GET / HTTP/1.1\r\nContent-Length: ²\r\n".encode("latin-1"),
        b"GET / HTTP/1.1\r\nContent-Length:\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
    ],
)
def test_bad_heads(head: bytes) -> None:
    response = parse_head(head)
    assert isinstance(response, Response)
    assert response.status == 400


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
