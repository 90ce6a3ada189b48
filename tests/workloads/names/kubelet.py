"""A kubelet's stand-in over real TLS, with a service account's token."""

from __future__ import annotations

import http.server
import json
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from kepler_ebpf.workloads.names.kubelet import Kubelet
from kepler_ebpf.workloads.names.provider import ProviderError


def pod(number: int) -> dict[str, Any]:
    return {
        "metadata": {"name": f"p{number}", "namespace": "ns", "uid": f"u{number}"},
        "spec": {"padding": "x" * 4000},
        "status": {
            "initContainerStatuses": [{"name": "init", "containerID": f"containerd://i{number}"}],
            "containerStatuses": [
                {
                    "name": "app",
                    "containerID": f"containerd://a{number}",
                    "lastState": {"terminated": {"containerID": f"containerd://old{number}"}},
                }
            ],
            "ephemeralContainerStatuses": [{"name": "debug", "containerID": f"containerd://e{number}"}],
        },
    }


def listing(pods: int) -> bytes:
    return json.dumps({"kind": "PodList", "metadata": {}, "items": [pod(n) for n in range(pods)]}).encode()


class Stand:
    """The stand-in: ``status`` and ``body`` to answer with; ``hang`` holds the answer back."""

    def __init__(self, directory: Path) -> None:
        self.status, self.body, self.hang, self.requests = 200, listing(3), threading.Event(), 0
        self.hang.set()
        self.token, self.ca = directory / "token", directory / "ca.pem"
        self.token.write_text("secret-1")
        stand = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stand.requests += 1
                stand.hang.wait(10)
                authorized = self.headers["Authorization"] == f"Bearer {stand.token.read_text()}"
                self.send_response(stand.status if authorized else 401)
                self.end_headers()
                self.wfile.write(stand.body)

            def log_message(self, *_: Any) -> None:
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "ca.pem", directory / "key.pem")
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"https://127.0.0.1:{self.server.server_port}"

    def kubelet(self, timeout_seconds: float = 5.0) -> Kubelet:
        return Kubelet(self.url, self.token, self.ca, timeout_seconds=timeout_seconds)

    def reason(self, timeout_seconds: float = 5.0) -> str:
        with pytest.raises(ProviderError) as caught:
            self.kubelet(timeout_seconds).fetch()
        return caught.value.reason


def make_certificate(directory: Path) -> None:
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out ca.pem -days 2"
    names = ["-subj", "/CN=kubelet", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command.split(), *names], cwd=directory, check=True, capture_output=True)
