"""The health check as a container's: its words, its exit code, and what it makes of TLS."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import COMMAND, Running, free_port
from tests.needs import require
from tests.workloads.names.kubelet import make_certificate

pytestmark = pytest.mark.kernel


def health(*flags: str) -> tuple[int, str, str]:
    answer = subprocess.run([*COMMAND, "health", *flags], capture_output=True, text=True, timeout=30)
    return answer.returncode, answer.stdout, answer.stderr


def test_a_running_collector_is_well(serve: Callable[..., Running]) -> None:
    collector = serve()
    assert health("--listen", f":{collector.port}") == (0, "ok\n", "")
    collector.process.kill()
    collector.process.wait()
    code, _, words = health("--listen", f"127.0.0.1:{collector.port}")
    assert (code, words.count("\n")) == (1, 1)
    assert "Connection refused" in words


@pytest.mark.parametrize("mutual", [False, True])
def test_over_tls(tmp_path: Path, mutual: bool, serve_tls: Callable[[Path], int]) -> None:
    require(shutil.which("openssl"), "needs the openssl command")
    make_certificate(tmp_path)
    config = tmp_path / "web.yml"
    client = "\n  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem" if mutual else ""
    config.write_text(f"tls_server_config:\n  cert_file: ca.pem\n  key_file: key.pem{client}\n")
    port = serve_tls(config)
    deadline = time.monotonic() + 60
    # A start has two states before it is ready: "starting", and "no snapshot yet".
    while (
        time.monotonic() < deadline
        and "/readyz answers 503" in (told := health("--listen", f"127.0.0.1:{port}", "--web-config", str(config)))[2]
    ):
        time.sleep(0.1)
    assert told == (0, "ok\n", "")


@pytest.fixture
def serve_tls() -> Iterator[Callable[[Path], int]]:
    """Starts a collector that wants TLS; its port, once it listens."""
    running = []

    def start(config: Path) -> int:
        port = free_port()
        command = [*COMMAND, "serve", "--listen", f"127.0.0.1:{port}", "--web-config", str(config)]
        running.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        return port

    yield start
    for process in running:
        process.kill()
        process.wait()
