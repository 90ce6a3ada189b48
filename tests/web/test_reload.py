"""A web configuration that changes while it is in force: caught half written, made invalid, made a pipe."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kepler_ebpf.errors import KeplerError, UsageError
from kepler_ebpf.web import webconfig
from kepler_ebpf.web.webconfig import WebConfig
from tests.needs import examples
from tests.web.test_webconfig import HASH, SECRET, TLS, Served, folder, made, served

__all__ = ("folder", "made", "served")  # fixtures

WHOLE = f"""\
tls_server_config:
  cert_file: server.crt
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: client.crt
  min_version: TLS13
basic_auth_users:
  alice: {HASH}
  bob: {HASH}
"""


def rules(web: WebConfig) -> tuple[object, ...]:
    """What protects now, as values that can be compared."""
    security = web.current()
    assert security.tls is not None
    assert security.users is not None
    return security.tls.verify_mode, security.tls.minimum_version, sorted(security.users._hashes)


def test_the_endpoint_looks_by_itself_and_parses_outside_its_loop(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webconfig, "LOOK_SECONDS", 0.02)
    parsed_in, real = set(), yaml.load

    def load(*arguments: Any) -> Any:
        parsed_in.add(threading.current_thread().name)
        return real(*arguments)

    monkeypatch.setattr(yaml, "load", load)
    served.start(f"basic_auth_users: {{alice: {HASH}}}")
    served.write(f"basic_auth_users: {{bob: {HASH}}}")
    deadline = time.monotonic() + 30
    while served.status(login=b"bob:" + SECRET) != 200:
        assert time.monotonic() < deadline
    assert served.status(login=b"alice:" + SECRET) == 401
    assert parsed_in == {"MainThread", "http-config"}
    assert served.endpoint is not None
    served.endpoint.stop()
    while any(thread.name == "http-config" for thread in threading.enumerate()):
        assert time.monotonic() < deadline


@pytest.mark.parametrize("second", [f"basic_auth_users: {{bob: {HASH}}}", "[" * 100, "nonsense: 1"])
def test_each_content_is_parsed_once(folder: Path, monkeypatch: pytest.MonkeyPatch, second: str) -> None:
    """Two looks, and what is done about it: who can write the file makes the sampler wait as seldom as possible."""
    parsed, real = [], yaml.load

    def load(text: bytes, *arguments: Any) -> Any:
        parsed.append(text.decode())
        return real(text, *arguments)

    monkeypatch.setattr(yaml, "load", load)
    first = f"basic_auth_users: {{alice: {HASH}}}"
    path = folder / "web.yml"
    path.write_text(first)
    web = WebConfig(path)
    path.write_text(second)
    for _ in range(4):
        web.look()
    assert parsed == [first, second]
    assert web.reload_errors == (0 if "bob" in second else 1)


def test_no_part_of_a_file_takes_a_protection_away(folder: Path) -> None:
    """Whatever is left of it, for as long as it likes: cut after any byte, or without any one line."""
    path = folder / "web.yml"
    path.write_text(WHOLE)
    web = WebConfig(path)
    before = rules(web)
    lines = WHOLE.splitlines(keepends=True)
    cut = [WHOLE[:length] for length in range(len(WHOLE))]
    for text in [*cut, *("".join(lines[:at] + lines[at + 1 :]) for at in range(len(lines)))]:
        path.write_text(text)
        for _ in range(3):
            web.look()
        assert rules(web)[:2] == before[:2], text
    assert web.reload_errors > 10
    path.write_text(WHOLE.replace("bob", "carol"))
    for _ in range(2):
        web.look()
    assert rules(web) == (*before[:2], ["alice", "carol"]), "and the whole one counts again"


@pytest.mark.parametrize("between", ["", "basic_auth_users:\n", WHOLE[: WHOLE.index("  bob")], WHOLE[:-70]])
def test_what_one_look_alone_has_seen_does_not_count(folder: Path, between: str) -> None:
    path = folder / "web.yml"
    path.write_text(WHOLE)
    web = WebConfig(path)
    before = web.current()
    path.write_text(between)
    web.look()
    path.write_text(WHOLE)
    for _ in range(3):
        web.look()
        assert web.current() is before
    assert web.reload_errors == 0


def test_protections_are_added_and_kept(served: Served) -> None:
    served.start("")
    assert served.status() == 200
    served.write(f"basic_auth_users: {{alice: {HASH}}}")
    served.settle()
    assert served.status() == 401
    served.write("")
    served.settle()
    assert served.status() == 401
    (served.folder / "web.yml").unlink()
    served.settle()
    assert served.status() == 401
    served.write(TLS + "}\n" + f"basic_auth_users: {{alice: {HASH}}}")
    served.settle()
    assert served.status(trust="server") == 401
    served.write(TLS + "}")
    served.settle()
    assert served.status(trust="server") == 401


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "large"])
@pytest.mark.parametrize("name", ["web.yml", "server.crt", "server.key", "client.crt"])
def test_what_is_no_file_of_reasonable_size_keeps_nobody_waiting(folder: Path, name: str, kind: str) -> None:
    path, place = folder / "web.yml", folder / name
    path.write_text(WHOLE)
    web = WebConfig(path)
    before = web.current()
    content = place.read_bytes()
    place.unlink()
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "device":
        place.symlink_to("/dev/zero")
    else:
        place.write_bytes(content + b"#" * (2 << 20))
    for _ in range(2):
        web.look()
    assert web.current() is before
    assert web.reload_errors == 1
    with pytest.raises(UsageError):
        WebConfig(path)
    if kind == "folder":
        place.rmdir()
    else:
        place.unlink()
    place.write_bytes(content)
    for _ in range(2):
        web.look()
    assert rules(web) == rules(WebConfig(path))
    assert web.reload_errors == 1


@pytest.mark.parametrize(("cost", "fits"), [("04", True), ("14", True), ("15", False), ("31", False)])
def test_a_check_that_would_take_hours_is_refused(folder: Path, cost: str, fits: bool) -> None:
    path = folder / "web.yml"
    path.write_text(f"basic_auth_users: {{alice: $2b${cost}{HASH[6:]}}}")
    if fits:
        WebConfig(path)
        return
    with pytest.raises(UsageError, match=rf"cost of basic_auth_users\.'alice' is {cost}, must be at most 14"):
        WebConfig(path)


YAML = "abc:{}[]\"'\\-&*!<>|#? \n\t0129.,_%@`~é\0"


@settings(max_examples=examples(500), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.one_of(
        st.binary(max_size=200),
        st.text(YAML, max_size=200).map(str.encode),
        st.tuples(st.integers(0, len(WHOLE)), st.binary(max_size=8)).map(
            lambda edit: WHOLE.encode()[: edit[0]] + edit[1] + WHOLE.encode()[edit[0] + len(edit[1]) :]
        ),
    )
)
@example(b"tls_server_config: {cert_file: 0x" + b"f" * 20_000 + b", key_file: a}")
@example(b"0x" + b"f" * 20_000 + b": a")
@example(b'tls_server_config: {cert_file: "\\ud800", key_file: a}')
@example(b'basic_auth_users: {"\\ud800": a}')
@example(b"tls_server_config: {cert_file: " + b"a" * 300 + b", key_file: a}")
@example(b"tls_server_config: {cert_file: " + b"a/" * 4000 + b", key_file: a}")
@example(b"? [a]\n: b")
@example(b"? {a: b}\n: b")
@example(b"2024-99-99: a")
@example(b"<<: {a: b}")
@example(b"<<: [a]")
@example(b"- " * 3000)
@example(b"{" * 5000)
@example(b"a: !!python/object/apply:os.system [id]")
@example(b"--- a\n--- b")
@example(b"\xff\xfe")
@example(b"!!map ''")
@example(b"!!int a")
@example(b"!!bool a")
@example(b"!!float a")
@example(b"!!timestamp a")
@example(b"!!binary \xc3\xa9")
def test_any_file_is_taken_or_refused_in_one_line(folder: Path, text: bytes) -> None:
    path = folder / "web.yml"
    path.write_bytes(text)
    try:
        WebConfig(path)
    except KeplerError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 2000


def test_a_path_too_long_is_one_line() -> None:
    with pytest.raises(UsageError, match="cannot be read: File name too long"):
        WebConfig("/" + "a" * 300)
