"""The HTTP endpoint: /metrics, /healthz, /readyz and a live page, over HTTP or HTTPS.

Why not ``http.server`` or cheroot: both give a connection a thread from its first byte, so a handful of clients that
send half a header keep every other one waiting; uvicorn has no deadline for receiving a request. Here one event loop
owns all connections: a silent client costs a descriptor and a small task, no thread, and the non-blocking socket calls
are the same with and without TLS. A response is sent from the one ``bytes`` object all scrapers share (asyncio's own
streams would copy it per client, and keep 256 KiB per TLS connection), which is what fits 200 scrapers into a process
of 64 MiB. Helper threads do what takes long: rendering with compression, bcrypt, and reading the web configuration.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from ..views.landing import PAGE_HEADERS
from ..views.selection import UnknownLevelError
from . import pages, viewers
from .complaints import Complaints
from .connection import Connection
from .http1 import Dialogue, Request, Response, accepts_gzip, credentials
from .listen import bind, parse_listen, require_descriptors, shown
from .pace import HANDSHAKE_TURNS, Pace
from .pages import Metrics, Pages
from .passwords import QUEUE_SECONDS, PasswordChecks, Users
from .viewers import Live, Viewers
from .webconfig import WebConfig
from .webfile import Security

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 512
# A request has to arrive, a handshake to end and a response to be taken within Prometheus' scrape timeout.
PATIENCE_SECONDS = 10.0
# A scraper may keep its connection for its next scrape.
KEEP_ALIVE_SECONDS = 120.0
# Answered without a password (not without a client certificate): the kubelet's probes have none, and a status
# is no secret. Prometheus exempts its own probes likewise.
_OPEN_PATHS = ("/healthz", "/readyz")
_PATHS = ("/", "/live", "/metrics", *_OPEN_PATHS)


class Content(Metrics, Live, Protocol):
    """What the endpoint serves. All but :meth:`metrics` and :meth:`live` are called in the event loop: they must not
    block."""

    def alive(self) -> tuple[bool, str]:
        """Whether the collector works, and one line saying so or why not."""

    def ready(self) -> tuple[bool, str]:
        """Whether there is something to serve, and one line saying so or why not."""

    def landing(self) -> str:
        """The HTML of ``/``."""


class Endpoint:
    """Serves ``content`` at every address of ``listen``, from :meth:`start` to :meth:`stop`.

    ``web`` gives TLS and passwords. At most :data:`MAX_CONNECTIONS` clients are held: beyond, the one that has
    kept the endpoint waiting longest, with its request or in taking the answer, gives way. ``begin``: called
    first in the endpoint's thread, which starts all others of it. Raises :class:`UsageError` for an address that does
    not parse.
    """

    def __init__(
        self,
        listen: str | Sequence[str],
        content: Content,
        web: WebConfig | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self._wanted = [parse_listen(value) for value in ([listen] if isinstance(listen, str) else listen)]
        self._content = content
        self._web = web
        self._open = Security()
        self._patience = patience_seconds
        self._begin = begin
        self._listeners: list[socket.socket] = []
        self._clients: dict[asyncio.Task[None], Connection] = {}
        self._complaints = Complaints()
        self._pace = Pace()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each listening socket, the real port where 0 was asked for."""
        return [listener.getsockname()[:2] for listener in self._listeners]

    def __str__(self) -> str:
        return ", ".join(shown(*address) for address in self.addresses)

    def start(self) -> None:
        """Listen, and serve in a thread; :class:`KeplerError` naming the address where that cannot be."""
        try:
            for host, port in self._wanted:
                self._listeners += bind(host, port)
            require_descriptors(self._listeners[0].fileno())
        except BaseException:
            self._close_listeners()
            raise
        self._loop = asyncio.new_event_loop()
        self._stopping = self._loop.create_future()
        self._pages = Pages(self._content)
        self._viewers = Viewers(self._content)
        self._passwords = PasswordChecks()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._close_listeners()
            self._loop.close()
            raise

    def stop(self) -> None:
        """Drop every client and close the sockets, well within a second; nothing to do where nothing runs."""
        if not self._listeners:
            return
        self._stopped.set()
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join(1.0)
        self._close_listeners()

    def _end(self) -> None:
        if not self._stopping.done():
            self._stopping.set_result(None)

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners = []

    def _serve(self) -> None:
        self._begin()
        if self._web is not None:
            # A daemon: a file system that hangs keeps nobody from stopping.
            threading.Thread(target=self._web.watch, args=(self._stopped,), name="http-config", daemon=True).start()
        self._loop.run_until_complete(self._until_stopped())
        self._loop.close()
        self._viewers.stop()

    async def _until_stopped(self) -> None:
        acceptors = [self._loop.create_task(self._accept(listener)) for listener in self._listeners]
        await self._stopping
        self._passwords.stop()
        self._pages.stop()
        for acceptor in acceptors:
            acceptor.cancel()
        await asyncio.gather(*acceptors, return_exceptions=True)
        clients = list(self._clients)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            await asyncio.sleep(0)  # a turn for everybody else: with clients in the queue sock_accept() never waits
            try:
                client, _ = await self._loop.sock_accept(listener)
            except OSError as error:  # no descriptors left, or the client is gone already
                self._complaints.log(logging.WARNING, "cannot accept a connection: %s", error.strerror)
                await self._drop_slowest()
                await asyncio.sleep(0.1)
                continue
            while len(self._clients) >= MAX_CONNECTIONS:
                await self._drop_slowest()
            connection = Connection(client, self._loop)
            task = self._loop.create_task(self._client(client, connection))
            self._clients[task] = connection
            task.add_done_callback(self._clients.pop)

    async def _drop_slowest(self) -> None:
        """Evict the client that has kept us waiting longest; wait a moment where all of them wait for us."""
        slowest = min(self._clients, key=lambda task: self._clients[task].waiting_since, default=None)
        if slowest is None or self._clients[slowest].waiting_since == math.inf:
            await asyncio.sleep(0.01)
            return
        slowest.cancel()
        await asyncio.wait([slowest], timeout=0.1)

    async def _client(self, client: socket.socket, connection: Connection) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError), connection:
            try:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await self._converse(connection)
            except (OSError, asyncio.CancelledError):
                raise
            except Exception:
                self._complaints.log(logging.ERROR, "a connection failed", exc_info=True)

    async def _converse(self, connection: Connection) -> None:
        tls = self._security().tls
        if tls is not None:
            with connection.within(self._patience):
                await connection.heard()  # who is silent takes nobody's turn
            connection.waiting_since = math.inf
            await asyncio.sleep(self._pace.wait_seconds(HANDSHAKE_TURNS))
            with connection.within(self._patience):
                await connection.secure(tls)
        dialogue, wait = Dialogue(), self._patience
        while dialogue.open:
            if dialogue.idle:  # idle between requests is fine, slow within one is not
                with connection.within(wait):
                    if not await self._more(connection, dialogue):
                        return
            with connection.within(self._patience):
                while (request := dialogue.request()) is None:
                    if not await self._more(connection, dialogue):
                        return
            security = self._security()
            if security.tls is not tls:  # other rules for connections: let the client come anew
                return
            connection.waiting_since = math.inf
            await asyncio.sleep(self._pace.wait_seconds())
            answered = request if isinstance(request, Response) else await self._answer(request, security)
            with connection.within(self._patience):
                await connection.send(*dialogue.respond(answered))
            # Who asks again at once, and is refused each time, would take the time for those who are not. While he is
            # made to wait he counts as slow: he gives way first.
            await asyncio.sleep(answered.pause_seconds)
            wait = KEEP_ALIVE_SECONDS

    @staticmethod
    async def _more(connection: Connection, dialogue: Dialogue) -> bool:
        """Take further bytes of a request; False where the client has gone."""
        data = await connection.receive()
        if data:
            dialogue.receive(data)
        return bool(data)

    def _security(self) -> Security:
        return self._open if self._web is None else self._web.current()

    async def _answer(self, request: Request, security: Security) -> Response:
        try:
            refusal = None
            if security.users is not None and request.path not in _OPEN_PATHS:
                refusal = await self._refusal(request, security.users)
            return refusal or await self._page(request)
        except Exception:
            self._complaints.log(logging.ERROR, "cannot answer a request", exc_info=True)
            return Response(500, b"Internal Server Error\n")

    async def _refusal(self, request: Request, users: Users) -> Response | None:
        """None for a user with the right password."""
        name, password = credentials(request.headers.get("authorization", ""))
        passes = name != "" and await self._passwords.passes(users, name, password)
        if passes:
            return None
        if passes is None:
            return _later(b"Too many logins\n", math.ceil(QUEUE_SECONDS))
        challenge = ("WWW-Authenticate", 'Basic realm="kepler-ebpf", charset="UTF-8"')
        return Response(401, b"Unauthorized\n", headers=(challenge,))

    async def _page(self, request: Request) -> Response:
        if request.path not in _PATHS:
            return Response(404, b"Not Found\n")
        if request.method not in ("GET", "HEAD"):
            return Response(405, b"Method Not Allowed\n", headers=(("Allow", "GET, HEAD"),))
        compressed = accepts_gzip(request.headers.get("accept-encoding", ""))
        if request.path == "/metrics":
            try:
                page = await self._pages.page(request.headers.get("accept", ""), compressed, request.query)
            except UnknownLevelError as error:
                return Response(400, f"{error}\n".encode())
            if page is None:
                return _later(b"Too many different pages of some levels alone\n", pages.RETRY_SECONDS)
            vary = ("Vary", "Accept, Accept-Encoding")
            return Response(200, *page, (vary, ("Content-Encoding", "gzip")) if compressed else (vary,))
        if request.path == "/live":
            told = await self._viewers.answer(request.query, compressed)
            return told or _later(b"Too many look at the page\n", viewers.RETRY_SECONDS)
        if request.path == "/":
            return Response(200, self._content.landing().encode(), "text/html; charset=utf-8", PAGE_HEADERS)
        good, line = self._content.alive() if request.path == "/healthz" else self._content.ready()
        return Response(200 if good else 503, line.encode() + b"\n")


def _later(why: bytes, seconds: int) -> Response:
    return Response(503, why, headers=(("Retry-After", str(seconds)),), pause_seconds=seconds)
