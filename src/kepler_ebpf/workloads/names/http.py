"""One bounded HTTP GET: a deadline for the whole of it, however slowly the other side drips."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .provider import ProviderError


class _Deadline(io.RawIOBase):
    """Reads of a socket that share one deadline: a plain socket timeout starts anew with every byte."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)


class _Wire:
    """As much of a socket as http.client uses."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Deadline(self._sock, self._deadline))

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(max(0.001, self._deadline - time.monotonic()))
        self._sock.sendall(data)

    def close(self) -> None:
        """Left to the caller of :func:`get`: http.client closes before the body has been read."""


@contextmanager
def get(
    sock: socket.socket, host: str, path: str, headers: Mapping[str, str], deadline: float
) -> Iterator[http.client.HTTPResponse]:
    """The response to a GET over a connected socket, to be read before ``deadline`` (monotonic seconds).

    Raises ProviderError: the status unless it is 200, ``timeout``, ``malformed``, or the name of the system's error.
    """
    with reasons(), sock:
        connection = http.client.HTTPConnection(host)
        connection.sock = _Wire(sock, deadline)
        connection.request("GET", path, headers={"Connection": "close", **headers})
        response = connection.getresponse()
        if response.status != 200:
            raise ProviderError(str(response.status) if 100 <= response.status < 600 else "malformed")
        yield response


@contextmanager
def reasons() -> Iterator[None]:
    """Turn what a network can raise into a ProviderError."""
    try:
        yield
    except ssl.SSLCertVerificationError as e:
        raise ProviderError("certificate") from e
    except TimeoutError as e:
        raise ProviderError("timeout") from e
    except ssl.SSLError as e:
        raise ProviderError("tls") from e
    except OSError as e:
        raise ProviderError(_error_name(e)) from e
    except (http.client.HTTPException, ValueError) as e:
        raise ProviderError("malformed") from e


def _error_name(error: OSError) -> str:
    # Python 3.9 has socket.timeout as a class of its own.
    if isinstance(error, socket.timeout):
        return "timeout"
    names = {ConnectionRefusedError: "refused", ConnectionResetError: "reset", PermissionError: "permission"}
    return next((name for kind, name in names.items() if isinstance(error, kind)), "network")
