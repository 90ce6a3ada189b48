"""One client's non-blocking socket, with TLS or without: awaited calls, deadlines, and a fair share of the loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any, Callable

from .http1 import MAX_HEADER_BYTES, Dialogue, Response

_RECEIVE_BYTES = 4096
_CHUNK_BYTES = 64 << 10
_TLS_HANDSHAKE = b"\x16"  # the first byte of every TLS connection (RFC 8446, section 5.1)
_WANTS_TLS = b"This is an HTTPS port: ask with https://\n"


class Connection:
    """A client's socket; a context manager that closes it.

    ``waiting_since``: time of the client's last completed step (connect, handshake, part of a response taken), in
    the loop's time; infinite while the client waits for the endpoint. Bytes of an incomplete request do not count,
    so that slow-drip clients are evicted first.
    """

    def __init__(self, client: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._socket = client
        self._loop = loop
        self.waiting_since = loop.time()
        client.setblocking(False)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Cancel the calling task, which ends the connection, unless the block ends in time.

        Not asyncio.wait_for(): before Python 3.12 that loses a cancellation which meets its result.
        """
        task = asyncio.current_task()
        assert task is not None
        timer = self._loop.call_later(seconds, task.cancel)
        try:
            yield
        finally:
            timer.cancel()

    async def heard(self) -> None:
        """Wait until the client has sent something, or has gone."""
        await self._ready(self._loop.add_reader, self._loop.remove_reader)

    async def secure(self, context: ssl.SSLContext) -> None:
        """Shake hands with a client that was heard; one that speaks plain HTTP is told so, and refused with
        ``OSError``."""
        self.waiting_since = self._loop.time()
        if self._socket.recv(1, socket.MSG_PEEK) not in (_TLS_HANDSHAKE, b""):
            # Read first: a socket closed with bytes unread is reset, and the answer would be lost.
            await self._retry(self._socket.recv, MAX_HEADER_BYTES)
            await self.send(*Dialogue().respond(Response(400, _WANTS_TLS)))
            raise OSError("plain HTTP on a TLS port")
        secured = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
        self._socket = secured
        await self._retry(secured.do_handshake)
        self.waiting_since = self._loop.time()

    async def receive(self) -> bytes:
        """Wait for the next bytes; empty where the client has gone."""
        data: bytes = await self._retry(self._socket.recv, _RECEIVE_BYTES)
        return data

    async def send(self, *parts: bytes) -> None:
        """Send from the given objects, without a copy of them."""
        self.waiting_since = self._loop.time()
        for part in parts:
            rest = memoryview(part)
            while rest:
                sent = await self._retry(self._socket.send, rest[:_CHUNK_BYTES], writing=True)
                rest = rest[sent:]
                self.waiting_since = self._loop.time()

    async def _retry(self, call: Callable[..., Any], *arguments: object, writing: bool = False) -> Any:
        """The result of a socket call, made again each time the socket is ready for what it wanted."""
        # First a turn for every other task. Awaiting a call that succeeds at once does not suspend this one, so a
        # client whose requests have all arrived, and who takes every answer, would keep the loop to itself.
        await asyncio.sleep(0)
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
