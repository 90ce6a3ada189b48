"""As much of HTTP/1.1 as an endpoint needs whose requests have no body, on non-blocking sockets."""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
import re
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple

_MAX_HEADER_BYTES = 16 << 10
_CHUNK_BYTES = 64 << 10
_TLS_HANDSHAKE = b"\x16"  # the first byte of every TLS connection (RFC 8446, section 5.1)
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_REQUEST_LINE = re.compile(r"(?P<method>[A-Z]{1,20}) (?P<path>/[^\s?#]*)\S* HTTP/1\.(?P<minor>[01])")
# Neither space before the colon nor a line that continues the one before (RFC 9112, sections 5.1 and 5.2).
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n\0]*)")
# Where two would leave it to each reader which of them counts (RFC 9112, sections 3.2 and 6.3).
_AT_MOST_ONCE = ("content-length", "host")
_ZERO = re.compile(r"q=0(\.0*)?")
_WANTS_TLS = b"This is an HTTPS port: ask with https://\n"
_TEXT = "text/plain; charset=utf-8"


class Response(NamedTuple):
    status: int
    body: bytes
    content_type: str = _TEXT
    headers: tuple[str, ...] = ()


class Request(NamedTuple):
    method: str
    path: str
    headers: Mapping[str, str]
    keep_alive: bool


class Connection:
    """A non-blocking socket awaited, with TLS or without; a context manager that closes it.

    ``host``: the client's address. ``waiting_since``: when the client last moved on, in the loop's time: it came,
    ended its handshake, or took a part of an answer. Bytes of a request that is not whole yet are no move. Infinite
    while the client waits for us.
    """

    def __init__(self, client: socket.socket, loop: asyncio.AbstractEventLoop, host: str) -> None:
        self._socket = client
        self.host = host
        self._loop = loop
        self.waiting_since = loop.time()
        self.received = b""
        client.setblocking(False)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    async def secure(self, context: ssl.SSLContext) -> None:
        """Shake hands; a client that speaks plain HTTP is told so, and refused with ``OSError``."""
        await self._ready(self._loop.add_reader, self._loop.remove_reader)
        if self._socket.recv(1, socket.MSG_PEEK) not in (_TLS_HANDSHAKE, b""):
            # Read first: a socket closed with bytes unread is reset, and the answer would be lost.
            await self._retry(self._socket.recv, _MAX_HEADER_BYTES)
            await self.send(head_of(Response(400, _WANTS_TLS), keep=False), _WANTS_TLS)
            raise OSError("plain HTTP on a TLS port")
        secured = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
        self._socket = secured
        await self._retry(secured.do_handshake)
        self.waiting_since = self._loop.time()

    async def receive(self) -> bool:
        """Wait for the next bytes; False where the client has gone."""
        data = await self._retry(self._socket.recv, 4096)
        self.received += data
        return bool(data)

    async def receive_head(self) -> bytes:
        """A request up to its empty line, or as much as is too much; empty where the client has gone."""
        while b"\r\n\r\n" not in self.received:
            if len(self.received) > _MAX_HEADER_BYTES:
                return self.received
            if not await self.receive():
                return b""
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        self.waiting_since = math.inf
        return head + b"\r\n"

    async def send(self, *parts: bytes) -> None:
        self.waiting_since = self._loop.time()
        for part in parts:
            rest = memoryview(part)
            while rest:
                sent = await self._retry(self._socket.send, rest[:_CHUNK_BYTES], writing=True)
                rest = rest[sent:]
                self.waiting_since = self._loop.time()

    async def _retry(self, call: Callable[..., Any], *arguments: object, writing: bool = False) -> Any:
        """The result of a socket call, made again each time the socket is ready for what it wanted."""
        while True:
            try:
                return call(*arguments)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                plain = isinstance(error, BlockingIOError)
                to_write = writing if plain else isinstance(error, ssl.SSLWantWriteError)
            if to_write:
                await self._ready(self._loop.add_writer, self._loop.remove_writer)
            else:
                await self._ready(self._loop.add_reader, self._loop.remove_reader)

    async def _ready(self, add: Callable[..., Any], remove: Callable[[int], Any]) -> None:
        future = self._loop.create_future()
        number = self._socket.fileno()
        add(number, lambda: None if future.done() else future.set_result(None))
        try:
            await future
        finally:
            remove(number)


def parse_head(head: bytes) -> Request | Response:
    """The request of a header block, or the response a bad one deserves (RFC 9112, section 3)."""
    if len(head) > _MAX_HEADER_BYTES:
        return Response(431, b"Request header too large\n")
    first, *lines = head.decode("latin-1").split("\r\n")[:-1]
    match = _REQUEST_LINE.fullmatch(first)
    headers: dict[str, str] = {}
    for field in map(_HEADER.fullmatch, lines):
        name = field[1].lower() if field else ""
        if field is None or (name in headers and name in _AT_MOST_ONCE):
            return Response(400, b"Bad Request\n")
        value = field[2].strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value  # RFC 9110, section 5.3
    length = headers.get("content-length", "0")
    if match is None or not (length.isascii() and length.isdigit()):
        return Response(400, b"Bad Request\n")
    # Nothing here wants a body; a connection with one unread cannot be used again.
    body = "transfer-encoding" in headers or length.strip("0") != ""
    options = [option.strip(" \t").lower() for option in headers.get("connection", "").split(",")]
    last = match["minor"] == "0" or "close" in options
    return Request(match["method"], match["path"], headers, not (body or last))


def credentials(authorization: str) -> tuple[str, bytes]:
    """Name and password of a Basic ``Authorization`` header (RFC 7617), or ("", b"")."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", b""
    try:
        name, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return name.decode(), password
    except (binascii.Error, ValueError):
        return "", b""


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an ``Accept-Encoding`` header allows gzip (RFC 9110, section 12.5.3)."""
    offers = (offer.replace(" ", "").lower().partition(";") for offer in accept_encoding.split(","))
    return any(name in ("gzip", "x-gzip") and not _ZERO.fullmatch(quality) for name, _, quality in offers)


def head_of(response: Response, keep: bool) -> bytes:
    """Status line and headers, as they go over the wire."""
    lines = [
        f"HTTP/1.1 {response.status} {_REASONS[response.status]}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        "X-Content-Type-Options: nosniff",
        f"Connection: {'keep-alive' if keep else 'close'}",
        *response.headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
