"""Names from the kubelet: the right ones, every way to fail, and how often it is asked."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kepler_ebpf.workloads.kubelet import Kubelet
from kepler_ebpf.workloads.names import ContainerName
from kepler_ebpf.workloads.naming import Naming
from tests.needs import require
from tests.workloads.kubelet import Stand, listing, make_certificate, pod


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    require(shutil.which("openssl"), "needs the openssl command")
    make_certificate(tmp_path)
    stand = Stand(tmp_path)
    yield stand
    stand.hang.set()
    stand.server.shutdown()
    stand.server.server_close()


def test_names_of_all_kinds_of_containers(stand: Stand) -> None:
    names = stand.kubelet().fetch()
    assert names["a1"] == names["old1"] == ContainerName("app", "p1", "ns", "u1")
    assert (names["i2"].container, names["e2"].container) == ("init", "debug")
    stand.token.write_text("secret-2")  # rotated
    assert len(stand.kubelet().fetch()) == 12


@pytest.mark.parametrize("status", [401, 403, 500])
def test_refusals_say_their_status(stand: Stand, status: int) -> None:
    stand.status = status
    assert stand.reason() == str(status)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (listing(3)[:-200], "malformed"),
        (b"", "malformed"),
        (b'{"items": 3}', "malformed"),
        (b'{"items":["' + b"x" * 50_000_000, "malformed"),
        (b'{"items":[' + b" " * 70_000_000, "too-large"),
        (b'{"items":' + b"[" * 100_000, "malformed"),
    ],
    ids=["truncated", "empty", "number", "50MB", "70MB", "deep"],
)
def test_broken_bodies(stand: Stand, body: bytes, reason: str) -> None:
    stand.body = body
    assert stand.reason() == reason


def test_a_hanging_kubelet_costs_its_timeout(stand: Stand) -> None:
    stand.hang.clear()
    assert stand.reason(timeout_seconds=0.2) == "timeout"


def test_a_certificate_of_another_ca_is_refused_before_the_token_is_shown(stand: Stand, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    make_certificate(other)
    stand.ca = other / "ca.pem"
    assert stand.reason() == "certificate"
    assert stand.requests == 0


def test_five_thousand_pods(stand: Stand) -> None:
    stand.body = listing(5000)
    assert len(stand.kubelet(60).fetch()) == 20_000


def test_hostile_strings_are_bounded_and_encodable(stand: Stand) -> None:
    hostile = pod(0)
    hostile["metadata"]["name"] = "\ud800" * 4096
    hostile["metadata"]["namespace"] = {"not": "text"}
    stand.body = json.dumps({"items": [hostile, None, 3]}).encode()
    name = stand.kubelet().fetch()["a0"]
    assert (len(name.pod.encode()), name.namespace) == (253, "")


def test_asked_seldom_counted_logged_once_and_recovers(stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    stand.status = 403
    naming = Naming([stand.kubelet()], clock=lambda: now, jitter=lambda: 0.0)
    naming.want("a1")
    asked: list[float] = []
    for second in range(300):
        now, before = float(second), stand.requests
        if second == 200:
            stand.status = 200
        naming.step()
        asked += [now] * (stand.requests - before)
    assert all(later - earlier >= 5 for earlier, later in zip(asked, asked[1:]))
    assert naming.faults == {"kubelet:403": len(asked) - 1}
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1
    assert "secret" not in caplog.text
    assert naming.name("a1") == ContainerName("app", "p1", "ns", "u1")


def test_the_sandbox_and_the_unknown(stand: Stand) -> None:
    now = 0.0
    naming = Naming([stand.kubelet()], clock=lambda: now)
    naming.want("pause", pod_uid="u1")
    naming.want("nobody")
    for now in range(0, 400, 5):  # noqa: B007
        naming.step()
        naming.want("nobody")
    assert naming.name("pause") == ContainerName("POD", "p1", "ns", "u1")
    assert (naming.name("nobody"), naming.pending("nobody"), stand.requests) == (None, False, 3)


def test_the_thread_names_and_ends(stand: Stand) -> None:
    naming = Naming([stand.kubelet()])
    naming.start()
    naming.want("a2")
    until = time.monotonic() + 20
    while naming.pending("a2") and time.monotonic() < until:
        time.sleep(0.01)
    naming.close()
    assert naming.name("a2") == ContainerName("app", "p2", "ns", "u2")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://10.0.0.7:10250", ("10.0.0.7", 10250)),
        ("https://fd00::7:10250", ("fd00::7", 10250)),
        ("https://[fd00::7]:10250/", ("fd00::7", 10250)),
        ("https://node-1", ("node-1", 10250)),
    ],
)
def test_addresses(url: str, address: tuple[str, int]) -> None:
    assert Kubelet(url)._address == address
