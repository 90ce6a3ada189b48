"""Who asks for which page waits for whom."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kepler_ebpf.views.prometheus import Asked, Page
from kepler_ebpf.views.selection import UnknownLevelError
from kepler_ebpf.web.server import Endpoint
from tests.web.test_server import FakeContent, ask


class Slow(FakeContent):
    """Renders a page when it is let. A query is its own page; those that are none are of all levels."""

    def __init__(self) -> None:
        super().__init__()
        self.rendered: list[str] = []
        self.begun = threading.Semaphore(0)
        self.let = threading.Semaphore(0)
        self.kept: dict[str, Page] = {}

    def asked(self, accept: str, compressed: bool, query: str) -> Asked:
        if "nothing" in query:
            raise UnknownLevelError("there is no nothing")
        return Asked(query, not query, self.kept.get(query))

    def metrics(self, accept: str, compressed: bool, query: str) -> Page:
        self.rendered.append(query)
        self.begun.release()
        assert self.let.acquire(timeout=60)
        return f"page {query}\n".encode(), "text/plain"


@pytest.fixture
def content() -> Slow:
    return Slow()


@pytest.fixture
def endpoint(content: Slow) -> Iterator[Endpoint]:
    endpoint = Endpoint("127.0.0.1:0", content)
    endpoint.start()
    yield endpoint
    content.let.release(1000)
    endpoint.stop()


def test_the_page_of_all_levels_waits_for_one_other_page_at_most(endpoint: Endpoint, content: Slow) -> None:
    with ThreadPoolExecutor(40) as pool:
        others = [pool.submit(ask, endpoint, f"/metrics?collect[]={number}") for number in range(30)]
        assert content.begun.acquire(timeout=30)
        until = time.monotonic() + 30
        while sum(one.done() for one in others) < 26:
            assert time.monotonic() < until
            time.sleep(0.01)
        plain = pool.submit(ask, endpoint, "/metrics")
        time.sleep(0.3)
        content.kept["collect[]=kept"] = b"kept\n", "text/plain"
        assert ask(endpoint, "/metrics?collect[]=kept")[:2] == (200, b"kept\n"), "it has been rendered already"
        assert ask(endpoint, "/metrics?collect[]=nothing")[0] == 400
        content.let.release(2)
        assert plain.result(30)[:2] == (200, b"page \n")
        assert content.rendered[1] == ""
        content.let.release(1000)
        answers = [one.result(30) for one in others]
    refused = [headers["Retry-After"] for status, _, headers in answers if status == 503]
    assert refused == ["1"] * 26
    assert len(content.rendered) == 5
    assert ask(endpoint, "/metrics?collect[]=later")[0] == 200, "there is room again"


def test_who_asks_for_the_same_page_waits_for_the_same(endpoint: Endpoint, content: Slow) -> None:
    with ThreadPoolExecutor(50) as pool:
        same = [pool.submit(ask, endpoint, "/metrics?collect[]=node") for _ in range(50)]
        assert content.begun.acquire(timeout=30)
        until = time.monotonic() + 30
        while len(endpoint._clients) < 50:
            assert time.monotonic() < until
            time.sleep(0.01)
        time.sleep(0.3)
        content.let.release(1000)
        assert {one.result(30)[:2] for one in same} == {(200, b"page collect[]=node\n")}
    assert content.rendered == ["collect[]=node"]


def test_who_is_refused_is_looked_at_again_when_he_was_told(endpoint: Endpoint, content: Slow) -> None:
    """Else those who ask again at once keep the loop busy with refusals, and the page waits for them."""
    with ThreadPoolExecutor(4) as pool:
        first = [pool.submit(ask, endpoint, f"/metrics?collect[]={number}") for number in range(4)]
        assert content.begun.acquire(timeout=30)
        time.sleep(0.3)
        client = http.client.HTTPConnection(*endpoint.addresses[0], timeout=30)
        began = time.monotonic()
        for _ in range(3):
            client.request("GET", "/metrics?collect[]=more")
            answer = client.getresponse()
            assert answer.status == 503
            answer.read()
        assert time.monotonic() - began >= 2.0
        client.close()
        assert ask(endpoint, "/healthz")[0] == 200
        content.let.release(1000)
        assert {one.result(30)[0] for one in first} == {200}


def test_a_client_that_goes_takes_the_page_from_nobody(endpoint: Endpoint, content: Slow) -> None:
    gone = http.client.HTTPConnection(*endpoint.addresses[0], timeout=30)
    gone.request("GET", "/metrics?collect[]=node")
    assert content.begun.acquire(timeout=30)
    with ThreadPoolExecutor(1) as pool:
        stays = pool.submit(ask, endpoint, "/metrics?collect[]=node")
        time.sleep(0.3)
        gone.close()
        endpoint._loop.call_soon_threadsafe(next(iter(endpoint._clients)).cancel)
        time.sleep(0.1)
        content.let.release(1000)
        assert stays.result(30)[:2] == (200, b"page collect[]=node\n")


def test_it_stops_while_pages_wait(content: Slow) -> None:
    endpoint = Endpoint("127.0.0.1:0", content)
    endpoint.start()
    clients = []
    for number in range(6):
        client = http.client.HTTPConnection(*endpoint.addresses[0], timeout=30)
        client.request("GET", f"/metrics?collect[]={number}")
        clients.append(client)
    assert content.begun.acquire(timeout=30)
    endpoint.stop()
    assert not endpoint._thread.is_alive()
    content.let.release(1000)
    for client in clients:
        client.close()
