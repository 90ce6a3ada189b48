"""Ask the running collector whether it is well; the exit code says so (health checks of containers).

Asks /readyz at the address that it listens on, over TLS where a web configuration says so. Give it serve's options.
"""

from __future__ import annotations

import argparse
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Mapping

from ..config import ENDPOINT, add_flags, from_arguments
from ..errors import KeplerError
from ..plain import cut
from ..web.listen import parse_listen, shown
from ..web.webconfig import WebConfig

_TIMEOUT_SECONDS = 3.0
_MOST_SAID = 200
_Answer = tuple[int, str]  # a status, and what was said


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_flags(parser, (ENDPOINT,))


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Print ``ok``. Raises KeplerError where the collector does not answer so, and UsageError."""
    config = from_arguments(arguments, environment)
    host, port = parse_listen(config.listen)
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    tls = WebConfig(config.web_config).current().tls if config.web_config else None
    try:
        if tls is not None and tls.verify_mode == ssl.CERT_REQUIRED:  # we have no certificate to show
            status, line = _in_time(lambda: _connect(host, port))
        else:
            status, line = _in_time(lambda: _ask(host, port, secure=tls is not None))
    except UnicodeError:
        raise KeplerError(f"no answer at {cut(shown(host, port), _MOST_SAID)}: not a host name") from None
    except (OSError, http.client.HTTPException) as error:
        raise KeplerError(
            f"no answer at {cut(shown(host, port), _MOST_SAID)}: {cut(str(error), _MOST_SAID)}"
        ) from error
    if status != 200:
        said = f"{status} {' '.join(line.split())}".strip()
        raise KeplerError(f"the collector at {shown(host, port)} is not well: /readyz answers {cut(said, _MOST_SAID)}")
    print("ok")
    return 0


def _in_time(ask: Callable[[], _Answer]) -> _Answer:
    """What is answered within the timeout. A socket's own is of each read, and of each address of a name: who answers
    byte by byte would never be done. Nobody waits for the thread: it ends with us. Raises what asking raises."""
    told: list[_Answer | Exception] = []

    def work() -> None:
        try:
            told.append(ask())
        except Exception as error:
            told.append(error)

    thread = threading.Thread(target=work, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise OSError(str(error)) from error
    thread.join(_TIMEOUT_SECONDS)
    if not told:
        raise TimeoutError(f"not within {_TIMEOUT_SECONDS:g} seconds")
    if isinstance(told[0], Exception):
        raise told[0]
    return told[0]


def _connect(host: str, port: int) -> _Answer:
    socket.create_connection((host, port), _TIMEOUT_SECONDS).close()
    return 200, ""


def _ask(host: str, port: int, secure: bool) -> _Answer:
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
    if secure:
        # Our own certificate on our own machine: nothing secret is sent, and its name need not be this address.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=context)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        return response.status, response.read(_MOST_SAID).decode("utf-8", "replace")
    finally:
        connection.close()
