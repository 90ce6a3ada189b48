"""Whatever answers where the collector should: one line, within seconds."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from kepler_ebpf.cli import run
from tests.needs import require


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Somebody who listens and answers so; the address."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def work() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(20)
                    connection.recv(4096)
                    answer(connection)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    thread.join(1)


def health(address: str) -> tuple[int, str, str]:
    """Its exit code and what it says. One that waits for an answer that never ends fails after a minute."""
    done = subprocess.run(
        [sys.executable, "-m", "kepler_ebpf", "health", "--listen", address], capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


def drip(first: bytes, then: bytes, seconds: float) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.sendall(first)
        for _ in range(int(90 / max(seconds, 1e-5))):
            connection.sendall(then)
            time.sleep(seconds)

    return answer


@pytest.mark.parametrize(
    ("first", "then", "seconds"),
    [
        (b"HTTP/1.1 200 O", b"K", 1.0),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.0),
        (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n", 0.5),
        (b"", b"", 1.0),
    ],
    ids=["a byte a second", "always to go on", "a header at a time", "nothing"],
)
def test_who_is_never_done_with_the_answer_is_not_waited_for(first: bytes, then: bytes, seconds: float) -> None:
    require(True, "three seconds are waited for each time")
    with answering(drip(first, then, seconds)) as address:
        code, output, error = health(address)
    assert (code, output, error.count("\n")) == (1, "", 1), error
    assert error.startswith(f"kepler-ebpf: no answer at {address}: ")


def test_what_is_answered_commands_no_terminal_and_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(lambda connection: connection.sendall(b"\x1b[2J\x07\r\x9b" + b"x" * 5000 + b"\r\n\r\n")) as address:
        assert run(["health", "--listen", address], {}) == 1
    error = capsys.readouterr().err
    assert error.endswith("\n")
    assert error[:-1].isprintable()
    assert "?[2J??" in error
    assert len(error) < 300


@pytest.mark.parametrize("host", ["a..b", "a" * 70, "xn--" + "a" * 70 + ".b"])
def test_what_is_no_host_name_is_one_line(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["health", "--listen", f"{host}:9960"], {}) == 1
    assert capsys.readouterr().err == f"kepler-ebpf: no answer at {host}:9960: not a host name\n"


def test_it_needs_nothing_that_starts_slowly() -> None:
    program = "import sys, kepler_ebpf.cli.health; print({'numpy', 'pyarrow'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "set()\n"


def test_who_is_starting_is_not_well_yet() -> None:
    """As whoever waits for a container to be healthy wants it to measure by then."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\n\r\nstarting\n")

    with answering(answer) as address:
        code, _, error = health(address)
    assert code == 1
    assert error.endswith("/readyz answers 503 starting\n")
