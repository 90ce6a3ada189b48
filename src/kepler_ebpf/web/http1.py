"""Requests out of bytes and bytes out of responses: the syntax of HTTP/1.1 by h11, and the headers we look into."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

import h11

# A request whose header is not whole within this many bytes is refused (status 431).
MAX_HEADER_BYTES = 16 << 10
_TARGET = re.compile(r"(?P<path>/[^?#]*)(?:\?(?P<query>[^#]*))?")
_SPACE = re.compile(r"[ \t]+")  # optional white space, RFC 9110, section 5.6.3
_ZERO = re.compile(r"q=0(\.0*)?")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # in no field value (RFC 9110, section 5.5); h11 lets most pass
_TEXT = "text/plain; charset=utf-8"


class Response(NamedTuple):
    """``headers``: names and values beside those that every response has. ``pause_seconds``: until the client's next
    request is looked at."""

    status: int
    body: bytes
    content_type: str = _TEXT
    headers: tuple[tuple[str, str], ...] = ()
    pause_seconds: float = 0.0


class Request(NamedTuple):
    """``headers``: by lower-case name, repeated ones joined by commas. ``query``: what follows the question mark."""

    method: str
    path: str
    headers: Mapping[str, str]
    query: str = ""


class Dialogue:
    """The requests and responses of one connection, one after the other. Does no input or output of its own.

    Bytes go into :meth:`receive`; :meth:`request` takes a request out; :meth:`respond` gives the bytes that answer
    it. ``open`` is whether another request may follow then.
    """

    def __init__(self) -> None:
        self._wire = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
        self._method = b""
        self._reusable = False
        self.open = True

    @property
    def idle(self) -> bool:
        """Whether nothing of a next request has come yet."""
        return not self._wire.trailing_data[0]

    def receive(self, data: bytes) -> None:
        """Take bytes from the client, at least one."""
        self._wire.receive_data(data)

    def request(self) -> Request | Response | None:
        """The next request, or the response that refuses what is none; None while more bytes are needed."""
        self._method, self._reusable = b"", False
        try:
            event = self._wire.next_event()
            if not isinstance(event, h11.Request):
                return None
            self._method = event.method
            # No page wants a body. One that follows stays unread, so nothing after it can be understood; and where the
            # request ends whoever stands in between may have read otherwise (RFC 9112, section 6.1).
            is_chunked = any(name == b"transfer-encoding" for name, _ in event.headers)
            self._reusable = isinstance(self._wire.next_event(), h11.EndOfMessage) and not is_chunked
        except h11.RemoteProtocolError as error:
            return _refusal(error.error_status_hint)
        except ValueError:  # h11 before 0.15: a Content-Length of more digits than int() takes
            return _refusal(400)
        if not event.http_version.startswith(b"1."):
            return self._refuse(505)
        target = _TARGET.match(event.target.decode("ascii"))
        if target is None:  # a proxy's forms: http://…, host:port, *
            return self._refuse(400)
        if any(_CONTROL.search(value) for _, value in event.headers):
            return self._refuse(400)
        headers: dict[str, str] = {}
        for raw_name, raw_value in event.headers:
            name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value  # RFC 9110, section 5.3
        return Request(event.method.decode("ascii"), target["path"], headers, target["query"] or "")

    def respond(self, response: Response) -> tuple[bytes, bytes]:
        """Head and body as they go over the wire; the body is the response's own object, or empty for HEAD."""
        headers = [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            ("X-Content-Type-Options", "nosniff"),
            *response.headers,
        ]
        if not self._reusable:
            headers.append(("Connection", "close"))
        reason = HTTPStatus(response.status).phrase.encode()
        head = self._wire.send(h11.Response(status_code=response.status, headers=headers, reason=reason)) or b""
        body = b"" if self._method == b"HEAD" else response.body
        if body:
            self._wire.send_with_data_passthrough(h11.Data(data=body))  # counted, not copied
        self._wire.send(h11.EndOfMessage())
        self.open = self._wire.our_state is h11.DONE and self._wire.their_state is h11.DONE
        if self.open:
            self._wire.start_next_cycle()
        return head, body

    def _refuse(self, status: int) -> Response:
        self._reusable = False
        return _refusal(status)


def _refusal(status: int) -> Response:
    return Response(status, HTTPStatus(status).phrase.encode() + b"\n")


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
    offers = (_SPACE.sub("", offer).lower().split(";") for offer in accept_encoding.split(","))
    return any(name in ("gzip", "x-gzip") and not any(map(_ZERO.fullmatch, more)) for name, *more in offers)
