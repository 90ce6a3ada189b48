"""Where the endpoint listens: the option's forms, the sockets for them, and whether there is room for clients."""

from __future__ import annotations

import errno
import os
import re
import socket
from contextlib import ExitStack

from ..errors import KeplerError, UsageError

_LISTEN = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s:\[\]]*)):(?P<port>[0-9]{1,5})", re.ASCII)
_BACKLOG = 1024  # a burst of clients waits in the kernel instead of being refused
# What the kernel may hold of an answer that is not taken; it doubles this for its own needs (socket(7)). Its default of
# up to 4 MiB, counted as the pod's memory like the process itself, would be gigabytes with clients that do not read.
_SEND_BUFFER_BYTES = 64 << 10
_SPARE_DESCRIPTORS = 8


def parse_listen(value: str) -> tuple[str, int]:
    """Host ("" for every address) and port of ``:9102``, ``127.0.0.1:9102``, ``[::1]:9102`` or ``name:9102``.

    Anything else is a :class:`UsageError`.
    """
    match = _LISTEN.fullmatch(value)
    if match is None or int(match["port"]) > 65535:
        form = ":PORT, HOST:PORT or [IPV6]:PORT with a port from 0 to 65535"
        raise UsageError(f"cannot listen on {value[:200]!r}: must be {form}")
    return match["v6"] or match["host"], int(match["port"])


def shown(host: str, port: int) -> str:
    """The address as a person writes it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind(host: str, port: int) -> list[socket.socket]:
    """Listening, non-blocking sockets for every address of ``host``; :class:`KeplerError` where one is taken.

    The empty host means IPv6 and IPv4 in one socket where the machine can, else IPv4.
    """
    bound: list[socket.socket] = []
    failure = errno.EADDRNOTAVAIL
    for family, address in _candidates(host, port):
        try:
            listener = socket.create_server(
                address,
                family=family,
                backlog=_BACKLOG,
                dualstack_ipv6=not host and family == socket.AF_INET6,
            )
        except OSError as error:
            failure = error.errno or failure
            if failure in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):  # no IPv6 here, say: another will do
                continue
            for listener in bound:
                listener.close()
            bound = []
            break
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)  # connections inherit it
        bound.append(listener)
        if not host:
            break
    if not bound:
        raise KeplerError(f"cannot listen on {shown(host, port)}: {os.strerror(failure)}")
    return bound


def _candidates(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    if not host:
        any_ipv4 = (int(socket.AF_INET), ("0.0.0.0", port))
        return [(socket.AF_INET6, ("::", port)), any_ipv4] if socket.has_dualstack_ipv6() else [any_ipv4]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        raise KeplerError(f"cannot listen on {shown(host, port)}: {reason}") from None
    # The whole IPv6 address, its scope included (a link-local one needs it).
    addresses = [(int(family), address) for family, _, _, _, address in found]
    return list(dict.fromkeys(addresses))  # type: ignore[arg-type]


def require_descriptors(any_open: int) -> None:
    """Raises KeplerError where an event loop and its clients would find no descriptor: a loop that is half made says so
    in a dozen lines."""
    with ExitStack() as spare:
        try:
            for _ in range(_SPARE_DESCRIPTORS):
                spare.callback(os.close, os.dup(any_open))
        except OSError as error:
            raise KeplerError(f"too few file descriptors are allowed (ulimit -n): {error}") from error
