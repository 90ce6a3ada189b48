"""TLS, client certificates and passwords, over real sockets with certificates made by openssl."""

from __future__ import annotations

import base64
import builtins
import http.client
import logging
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from kepler_ebpf.errors import KeplerError, UsageError
from kepler_ebpf.web.server import Endpoint
from kepler_ebpf.web.webconfig import WebConfig
from tests.web.test_server import FakeContent

SECRET = b"correct horse"
HASH = bcrypt.hashpw(SECRET, bcrypt.gensalt(4)).decode()
TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key"


def certificate(folder: Path, name: str) -> None:
    """A self-signed certificate ``name``.crt with its ``name``.key, good for 127.0.0.1."""
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
        f" -subj /CN={name} -addext subjectAltName=IP:127.0.0.1 -keyout {name}.key -out {name}.crt"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("server", "renewed", "client"):
        certificate(folder, name)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    for file in made.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path


class Served:
    """An endpoint under a web configuration that a test may rewrite."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.endpoint: Endpoint | None = None
        self.web: WebConfig | None = None

    def write(self, text: str) -> None:
        (self.folder / "web.yml").write_text(text)

    def settle(self) -> None:
        """Look as often as it takes until what is in the files counts."""
        assert self.web is not None
        for _ in range(2):
            self.web.look()

    def start(self, text: str) -> WebConfig:
        self.write(text)
        self.web = web = WebConfig(self.folder / "web.yml")
        self.endpoint = Endpoint("127.0.0.1:0", FakeContent(), web, patience_seconds=5.0)
        self.endpoint.start()
        return web

    @property
    def address(self) -> tuple[str, int]:
        assert self.endpoint is not None
        return self.endpoint.addresses[0]

    def status(
        self,
        path: str = "/metrics",
        login: bytes | None = None,
        trust: str | None = None,
        client: str | None = None,
    ) -> int:
        connection: http.client.HTTPConnection
        if trust is None:
            connection = http.client.HTTPConnection(*self.address, timeout=30)
        else:
            context = ssl.create_default_context(cafile=self.folder / f"{trust}.crt")
            if client:
                context.load_cert_chain(self.folder / f"{client}.crt", self.folder / f"{client}.key")
            connection = http.client.HTTPSConnection(*self.address, timeout=30, context=context)
        headers = {} if login is None else {"Authorization": "Basic " + base64.b64encode(login).decode()}
        try:
            connection.request("GET", path, headers=headers)
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture
def served(folder: Path) -> Iterator[Served]:
    served = Served(folder)
    yield served
    if served.endpoint is not None:
        served.endpoint.stop()


@pytest.mark.parametrize(
    ("login", "status"),
    [
        (None, 401),
        (b"alice:wrong", 401),
        (b"mallory:" + SECRET, 401),
        (b"alice:" + b"\0" * 100, 401),
        (b":", 401),
        (b"alice:" + SECRET, 200),
    ],
)
def test_passwords(served: Served, login: bytes | None, status: int) -> None:
    served.start(f"basic_auth_users: {{alice: {HASH}}}")
    for path in ("/metrics", "/", "/live?since=0"):
        assert served.status(path, login=login) == status
    assert served.status("/nothing", login=login) == (404 if status == 200 else 401)
    assert served.status("/healthz") == 200


def test_tls(served: Served) -> None:
    served.start(TLS + ", min_version: TLS13}")
    assert served.status(trust="server") == 200
    old = ssl.create_default_context(cafile=served.folder / "server.crt")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(served.address, timeout=30) as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain, server_hostname="127.0.0.1")


def test_plain_http_on_a_tls_port_is_told_and_refused(served: Served) -> None:
    served.start(TLS + "}")
    with socket.create_connection(served.address, timeout=30) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"https://" in answer
    assert b"kepler_" not in answer


def test_a_handshake_that_never_ends_delays_nobody(served: Served) -> None:
    served.start(TLS + "}")
    clients = [socket.create_connection(served.address, timeout=30) for _ in range(300)]
    for client in clients:
        client.sendall(b"\x16\x03\x01\x02")
    assert served.status(trust="server") == 200
    for client in clients:
        client.close()


def test_client_certificates(served: Served) -> None:
    served.start(TLS + ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: client.crt}")
    assert served.status(trust="server", client="client") == 200
    for wrong in (None, "renewed"):
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.BadStatusLine)):
            served.status(trust="server", client=wrong)


def test_a_renewed_certificate_counts_without_a_restart(served: Served) -> None:
    web = served.start(TLS + "}")
    assert served.status(trust="server") == 200
    # The certificate comes before its key: until then the pair does not fit, and the old one stays.
    shutil.copy(served.folder / "server.crt", served.folder / "old.crt")
    shutil.copy(served.folder / "renewed.crt", served.folder / "server.crt")
    served.settle()
    assert served.status(trust="old") == 200
    assert web.reload_errors == 1
    shutil.copy(served.folder / "renewed.key", served.folder / "server.key")
    served.settle()
    assert served.status(trust="renewed") == 200


def test_an_invalid_change_is_logged_once_and_the_old_rules_stay(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    web = served.start(f"basic_auth_users: {{alice: {HASH}}}")
    served.write("basic_auth_users: {alice: hunter2}")
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            served.settle()
        assert [served.status(), served.status(login=b"alice:" + SECRET)] == [401, 200]
    assert web.reload_errors == 1
    assert len(caplog.records) == 1
    assert "hunter2" not in caplog.text
    late = "tls_server_config: {cert_file: late.crt, key_file: renewed.key}"
    served.write(f"{late}\nbasic_auth_users: {{alice: {HASH}}}")
    served.settle()
    assert served.status() == 401
    shutil.copy(served.folder / "renewed.crt", served.folder / "late.crt")  # what it named has come
    served.settle()
    assert served.status(trust="renewed", login=b"alice:" + SECRET) == 200


def test_a_verified_password_outlives_a_reload_that_leaves_its_hash(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.start(f"basic_auth_users: {{alice: {HASH}}}")
    assert served.status(login=b"alice:" + SECRET) == 200
    other = bcrypt.hashpw(b"another", bcrypt.gensalt(4)).decode()
    served.write(f"basic_auth_users: {{alice: {HASH}, bob: {other}}}")
    served.settle()
    with monkeypatch.context() as without:
        without.setattr(bcrypt, "checkpw", None)
        assert served.status(login=b"alice:" + SECRET) == 200
    served.write(f"basic_auth_users: {{alice: {other}}}")
    served.settle()
    assert [served.status(login=b"alice:" + password) for password in (SECRET, b"another")] == [401, 200]


def test_a_kept_connection_does_not_outlive_the_rules_it_was_made_under(served: Served) -> None:
    served.start("")
    connection = http.client.HTTPConnection(*served.address, timeout=30)
    connection.request("GET", "/metrics")
    assert connection.getresponse().read()
    served.write(TLS + "}")
    served.settle()
    connection.request("GET", "/metrics")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        connection.getresponse()
    connection.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tls_config: {}", "unknown key 'tls_config'"),
        ("- a", "must be a mapping"),
        ("a: [", "not valid YAML"),
        ("tls_server_config: {}", "cert_file is 'None'"),
        ("tls_server_config: yes", "tls_server_config is a bool"),
        (TLS + ", cipher: x}", "unknown key tls_server_config.'cipher'"),
        (TLS + ", min_version: TLS10}", "min_version is 'TLS10', must be one of TLS12, TLS13"),
        (TLS + ", min_version: TLS13, max_version: TLS12}", "must be at most max_version"),
        (TLS + ", client_auth_type: RequireAnyClientCert}", "must be one of NoClientCert"),
        (TLS + ", client_auth_type: RequireAndVerifyClientCert}", "together with client_ca_file"),
        (TLS + ", client_ca_file: client.crt}", "together with client_ca_file"),
        ("tls_server_config: {cert_file: none.crt, key_file: server.key}", "No such file"),
        ("tls_server_config: {cert_file: server.crt, key_file: client.key}", "its unencrypted key"),
        ("basic_auth_users: {alice: hunter2}", "must be a bcrypt hash"),
        ("basic_auth_users: {12: x}", "must be a text"),
        ("basic_auth_users: [a]", "basic_auth_users is a list"),
        ("basic_auth_users: {}\nbasic_auth_users: {}", "a key twice in the mapping at line 1"),
        ("a: &b {}\nc: *b", "has an alias"),
        ("[" * 40_000, "has values more than 10 deep, at line 1"),
        ("a:\n" + " [\n" * 20_000, "has values more than 10 deep, at line 11"),
        ("{a: " * 16_000, "has values more than 10 deep, at line 1"),
        ("? " * 30_000, "has values more than 10 deep, at line 1"),
        ("- " * 30_000, "has values more than 10 deep, at line 1"),
        ("\n".join(" " * n + "a:" for n in range(300)), "has values more than 10 deep, at line 10"),
        ("[" + "a," * 30_000 + "]", "has more than 4096 values, at line 1"),
        ("<<: {tls_server_config: {}}", "has a merge (<<) at line 1"),
        ("<<: [" + "{a: 1}," * 1000 + "]", "has a merge (<<) at line 1"),
        ("basic_auth_users:\n  <<: {a: b}", "has a merge (<<) at line 2"),
        ("#" * 70_000, "cannot be read: larger than 65536 bytes"),
    ],
)
def test_bad_files_are_one_clear_line(folder: Path, text: str, said: str) -> None:
    path = folder / "web.yml"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        WebConfig(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"web configuration .*none\.yml cannot be read: No such file"):
        WebConfig(tmp_path / "none.yml")


@pytest.mark.parametrize("library", ["yaml", "bcrypt"])
def test_a_missing_library_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == library:
            raise ImportError(name)
        return real(name, *rest)

    (folder / "web.yml").write_text(f"basic_auth_users: {{alice: {HASH}}}")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(KeplerError, match=r"pip install 'kepler-ebpf\[web\]'"):
        WebConfig(folder / "web.yml")
