"""The endpoint over real sockets on loopback."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import http.client
import logging
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kepler_ebpf.errors import KeplerError, UsageError
from kepler_ebpf.views.landing import landing_page
from kepler_ebpf.views.prometheus import Asked
from kepler_ebpf.views.selection import UnknownLevelError
from kepler_ebpf.web.complaints import Complaints
from kepler_ebpf.web.connection import Connection
from kepler_ebpf.web.listen import bind, parse_listen
from kepler_ebpf.web.server import MAX_CONNECTIONS, Endpoint
from kepler_ebpf.web.webconfig import WebConfig
from tests.needs import require

BODY = b"".join(b'kepler_process_joules_total{pid="%d"} %d\n' % (i, i * 7) for i in range(10_000))
COMPRESSED = gzip.compress(BODY, compresslevel=1, mtime=0)


class FakeContent:
    """A snapshot that never changes."""

    def __init__(self) -> None:
        self.good = True
        self.broken = False

    def metrics(self, accept: str, compressed: bool, query: str) -> tuple[bytes, str]:
        if "nothing" in query:
            raise UnknownLevelError("there is no nothing")
        if self.broken:
            raise RuntimeError("no snapshot")
        if "openmetrics" in accept:
            return b"# EOF\n", "application/openmetrics-text"
        return COMPRESSED if compressed else BODY, "text/plain; version=0.0.4"

    def asked(self, accept: str, compressed: bool, query: str) -> Asked:
        return Asked((accept, compressed, query), "collect" not in query)

    def alive(self) -> tuple[bool, str]:
        return self.good, "ticking" if self.good else "the sampler stands still"

    ready = alive

    def live(self, query: str) -> bytes:
        if query == "nonsense":
            raise ValueError("by must be something else")
        return f'{{"query": "{query}", "padding": "{"x" * 4000}"}}'.encode()

    def landing(self) -> str:
        return landing_page("Kepler", "1", {"node": "<script>"})


@pytest.fixture
def content() -> FakeContent:
    return FakeContent()


@pytest.fixture
def endpoint(content: FakeContent) -> Iterator[Endpoint]:
    endpoint = Endpoint("127.0.0.1:0", content, patience_seconds=2.0)
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


def test_serves_metrics_probes_and_a_landing_page(endpoint: Endpoint, content: FakeContent) -> None:
    status, body, headers = ask(endpoint, "/metrics?name[]=x")
    assert (status, body, headers["Content-Type"]) == (200, BODY, "text/plain; version=0.0.4")
    assert ask(endpoint, "/metrics", headers={"Accept": "application/openmetrics-text"})[1] == b"# EOF\n"
    assert ask(endpoint, "/healthz")[:2] == (200, b"ticking\n")
    status, body, _ = ask(endpoint, "/")
    assert status == 200
    assert b'href="/metrics"' in body
    assert b"&lt;script&gt;" in body
    assert b"<script>" not in body
    content.good = False
    assert ask(endpoint, "/healthz")[:2] == (503, b"the sampler stands still\n")
    assert ask(endpoint, "/readyz")[0] == 503


def test_all_threads_of_the_endpoint_begin_alike(content: FakeContent, tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text("")
    before = set(threading.enumerate())
    begun: list[set[threading.Thread]] = []
    endpoint = Endpoint(
        "127.0.0.1:0", content, WebConfig(tmp_path / "web.yml"), begin=lambda: begun.append(set(threading.enumerate()))
    )
    endpoint.start()
    try:
        assert ask(endpoint, "/metrics")[0] == 200
        assert [{thread.name for thread in threads - before} for threads in begun] == [{"http"}]
        assert {"http", "http-config"} < {thread.name for thread in set(threading.enumerate()) - before}
    finally:
        endpoint.stop()


def test_the_page_s_answers_are_not_kept_and_compressed_where_worth_it(endpoint: Endpoint) -> None:
    status, body, headers = ask(endpoint, "/live?by=pod&since=3")
    assert (status, headers["Content-Type"], headers["Cache-Control"]) == (200, "application/json", "no-store")
    assert b'"query": "by=pod&since=3"' in body
    _, compressed, headers = ask(endpoint, "/live?by=pod&since=3", headers={"Accept-Encoding": "gzip"})
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(compressed) == body
    assert ask(endpoint, "/live?nonsense")[:2] == (400, b"by must be something else\n")


def test_the_page_allows_its_own_script_and_no_other(endpoint: Endpoint) -> None:
    _, body, headers = ask(endpoint, "/")
    policy = headers["Content-Security-Policy"]
    for kind, tag in (("script-src", b"script"), ("style-src", b"style")):
        (inline,) = re.findall(rb"<%b[^>]*>(.*?)</%b>" % (tag, tag), body, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline).digest()).decode()
        assert f"{kind} 'sha256-{digest}';" in policy


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/metrics", 405),
        ("POST", "/live", 405),
        ("DELETE", "/", 405),
        ("BREW", "/healthz", 405),
    ],
)
def test_refuses_what_it_does_not_have(endpoint: Endpoint, method: str, path: str, status: int) -> None:
    assert ask(endpoint, path, method)[0] == status


def test_head_has_the_length_and_no_body(endpoint: Endpoint) -> None:
    status, body, headers = ask(endpoint, "/metrics", "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", str(len(BODY)))


def test_a_page_that_fails_costs_that_answer_only(endpoint: Endpoint, content: FakeContent) -> None:
    content.broken = True
    assert ask(endpoint, "/metrics")[0] == 500
    content.broken = False
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


def test_1000_half_open_connections_delay_nobody(content: FakeContent) -> None:
    endpoint = Endpoint("127.0.0.1:0", content)
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


def test_600_clients_that_do_not_read_a_large_page_delay_nobody(content: FakeContent) -> None:
    large = b"x" * (3 << 20)
    content.metrics = lambda accept, compressed, query: (large, "text/plain")  # type: ignore[method-assign]
    endpoint = Endpoint("127.0.0.1:0", content, patience_seconds=300.0)  # longer than anybody here waits for an answer
    endpoint.start()
    with ExitStack() as stalled:
        for number in range(600):
            client = stalled.enter_context(socket.create_connection(endpoint.addresses[0], timeout=30))
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            if number > MAX_CONNECTIONS:
                assert ask(endpoint, "/healthz")[0] == 200
        assert ask(endpoint, "/metrics")[:2] == (200, large)
        assert len(endpoint._clients) <= MAX_CONNECTIONS
    endpoint.stop()


def test_an_answer_not_taken_costs_the_kernel_little(content: FakeContent, endpoint: Endpoint) -> None:
    content.metrics = lambda accept, compressed, query: (b"x" * (64 << 20), "text/plain")  # type: ignore[method-assign]
    with socket.create_connection(endpoint.addresses[0], timeout=30) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(1)
        connection = next(iter(endpoint._clients.values()))
        assert connection._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 128 << 10


@pytest.mark.parametrize("before", [b"", b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_cuts_off_who_never_finishes_a_request(content: FakeContent, before: bytes) -> None:
    endpoint = Endpoint("127.0.0.1:0", content, patience_seconds=0.3)
    endpoint.start()
    with socket.create_connection(endpoint.addresses[0], timeout=30) as client:
        client.sendall(before + b"GET / HTTP/1.1\r\n")
        with suppress(ConnectionError):
            for _ in range(600):  # a byte now and then buys no time
                client.sendall(b"X")
                time.sleep(0.05)
            pytest.fail("still connected after 100 times the patience")
    endpoint.stop()


def test_a_query_that_asks_for_what_is_not_there_is_a_bad_request(endpoint: Endpoint) -> None:
    status, body, headers = ask(endpoint, "/metrics?collect[]=nothing")
    assert (status, body) == (400, b"there is no nothing\n")
    assert headers["Content-Type"].startswith("text/plain")
    assert ask(endpoint, "/metrics?collect[]=node")[0] == 200


def test_cuts_off_who_does_not_take_the_answer(content: FakeContent) -> None:
    content.metrics = lambda accept, compressed, query: (b"x" * (64 << 20), "text/plain")  # type: ignore[method-assign]
    endpoint = Endpoint("127.0.0.1:0", content, patience_seconds=0.3)
    endpoint.start()
    with socket.create_connection(endpoint.addresses[0], timeout=30) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
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


def test_port_taken_names_the_address(endpoint: Endpoint, content: FakeContent) -> None:
    host, port = endpoint.addresses[0]
    with pytest.raises(KeplerError, match=rf"^cannot listen on {host}:{port}: Address already in use$"):
        Endpoint(f"{host}:{port}", content).start()


def test_stops_with_clients_connected_and_frees_the_port(content: FakeContent) -> None:
    endpoint = Endpoint("127.0.0.1:0", content)
    endpoint.start()
    address = endpoint.addresses[0]
    with socket.create_connection(address, timeout=30) as client:
        assert ask(endpoint, "/healthz")[0] == 200
        endpoint.stop()
        assert client.recv(1) == b""
    assert not any(thread.name == "http" for thread in threading.enumerate())
    again = Endpoint(f"{address[0]}:{address[1]}", content)
    again.start()
    again.stop()


@pytest.mark.parametrize("listen", [":0", "[::1]:0"])
def test_ipv6(content: FakeContent, listen: str) -> None:
    require(socket.has_dualstack_ipv6(), "needs IPv6")
    endpoint = Endpoint(listen, content)
    endpoint.start()
    port = endpoint.addresses[0][1]
    for host in ("::1", "127.0.0.1") if listen == ":0" else ("::1",):
        with socket.create_connection((host, port), timeout=30) as client:
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
    endpoint.stop()


def test_a_host_name_listens_on_each_of_its_addresses(content: FakeContent) -> None:
    endpoint = Endpoint("localhost:0", content)
    endpoint.start()
    for address in endpoint.addresses:
        with socket.create_connection(address, timeout=30) as client:
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
    assert endpoint.addresses
    endpoint.stop()


def test_falls_back_to_ipv4_where_ipv6_is_off(content: FakeContent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    endpoint = Endpoint(":0", content)
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


def test_a_client_that_pipelines_requests_silences_nobody(endpoint: Endpoint) -> None:
    """Its requests are always there already, and it takes every answer: the server never has to wait for it."""
    stop = threading.Event()
    with socket.create_connection(endpoint.addresses[0], timeout=30) as client:

        def send() -> None:
            with suppress(OSError):
                while not stop.is_set():
                    client.sendall(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n" * 500)

        def take() -> None:
            with suppress(OSError):
                while not stop.is_set() and client.recv(1 << 20):
                    pass

        threads = [threading.Thread(target=work) for work in (send, take)]
        for thread in threads:
            thread.start()
        try:
            for path in ("/healthz", "/readyz", "/metrics") * 3:
                assert ask(endpoint, path, timeout=10)[0] == 200
        finally:
            stop.set()
            client.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def test_each_socket_call_gives_the_others_a_turn() -> None:
    """What the test above rests on, on every Python: no call is made twice in a row without a turn of the loop."""

    async def turns_while(calls: int) -> int:
        ours, theirs = socket.socketpair()
        with theirs, Connection(ours, asyncio.get_running_loop()) as connection:
            turns = 0

            async def count() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            counting = asyncio.ensure_future(count())
            for _ in range(calls):
                theirs.send(b"x")
                with connection.within(30):
                    assert await connection.receive() == b"x"
                    await connection.send(b"y")
            counting.cancel()
            return turns

    assert asyncio.run(turns_while(100)) >= 200


def test_a_deadline_ends_what_takes_too_long() -> None:
    async def wait() -> None:
        ours, theirs = socket.socketpair()
        with theirs, Connection(ours, asyncio.get_running_loop()) as connection, connection.within(0.01):
            await connection.receive()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(wait())


def test_a_failure_that_clients_cause_is_logged_once(
    endpoint: Endpoint, content: FakeContent, caplog: pytest.LogCaptureFixture
) -> None:
    content.broken = True
    assert {ask(endpoint, "/metrics")[0] for _ in range(20)} == {500}
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1


def test_complaints_say_how_many_were_left_out(caplog: pytest.LogCaptureFixture) -> None:
    now = 1000.0
    complaints = Complaints(lambda: now)
    for number in range(5):
        complaints.log(logging.ERROR, "no answer for %s", number)
    now += 61
    complaints.log(logging.ERROR, "no answer for %s", 5)
    assert caplog.messages == ["no answer for 0", "no answer for 5 (4 more in between)"]


@given(st.text(max_size=400))
@example("a" * 300 + ":1")
@example("[" + "f" * 300 + "]:0")
@example("\udcff:0")
@example("a\0b:0")
@example("[::1%" + "x" * 300 + "]:0")
def test_any_listen_address_is_parsed_or_refused_in_one_line(value: str) -> None:
    try:
        host, port = parse_listen(value)
    except UsageError as error:
        assert "\n" not in str(error)
        return
    assert 0 <= port <= 65535
    assert host in value


@pytest.mark.parametrize("host", ["a" * 300, "\udcff", "a\0b", "f" * 300 + "::", "fe80::1%" + "x" * 300, "-"])
def test_a_host_that_is_none_is_one_line(host: str) -> None:
    with pytest.raises(KeplerError, match=r"^cannot listen on [^\n]*$"):
        bind(host, 0)


@pytest.mark.parametrize("spare", range(10))
def test_too_few_descriptors_are_one_line(spare: int) -> None:
    """Whatever number is left when it starts to listen: it serves, or says why not in one line."""
    script = (
        "import os, resource, sys; sys.path[:0] = sys.argv[2:]\n"
        "from kepler_ebpf.errors import KeplerError\n"
        "from kepler_ebpf.web.server import Endpoint\n"
        "from kepler_ebpf.web.site import Site\n"
        "endpoint = Endpoint('127.0.0.1:0', Site(5.0))\n"
        "free = os.dup(2)\n"
        "os.close(free)\n"
        "most = free + int(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))\n"
        "try:\n"
        "    endpoint.start()\n"
        "    endpoint.stop()\n"
        "except KeplerError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(spare), *sys.path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == (spare < 9)
