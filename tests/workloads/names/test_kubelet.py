"""Names from the kubelet: the right ones, every way to fail, and how often it is asked."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kepler_ebpf.workloads.names.kubelet import Kubelet
from kepler_ebpf.workloads.names.lookup import NameLookup
from kepler_ebpf.workloads.names.provider import ContainerName
from tests.needs import require
from tests.workloads.names.kubelet import Stand, listing, make_certificate, pod


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


C = {letter: letter * 64 for letter in "abcdef"}
RUNNING = {"running": {"startedAt": "2024-05-02T09:00:11Z"}}


def terminated(container_id: str, reason: str = "Completed") -> dict[str, Any]:
    times = {"startedAt": "2024-05-02T09:00:01Z", "finishedAt": "2024-05-02T09:00:03Z"}
    return {"terminated": {"exitCode": 0, "reason": reason, **times, "containerID": f"containerd://{container_id}"}}


def status(name: str, container_id: str, state: Any, last_state: Any = None, restarts: int = 0) -> dict[str, Any]:
    """An entry of a pod's container statuses, as the kubelet writes them."""
    return {
        "name": name,
        "state": state,
        "lastState": last_state or {},
        "ready": "running" in state,
        "restartCount": restarts,
        "image": "docker.io/library/busybox:1.36",
        "imageID": "docker.io/library/busybox@sha256:" + "9" * 64,
        "started": "running" in state,
        **({"containerID": f"containerd://{container_id}"} if container_id else {}),
    }


def told(stand: Stand, pod: dict[str, Any]) -> Mapping[str, ContainerName]:
    stand.body = json.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [pod]}).encode()
    return stand.kubelet().fetch()


def a_pod(spec: dict[str, Any], statuses: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "web-7c5ddbdf54-x2x9p",
            "generateName": "web-7c5ddbdf54-",
            "namespace": "shop",
            "uid": "2942c55c-c9cb-428a-93a4-eaf89c1f3ce0",
            "annotations": {"kubernetes.io/config.seen": "2024-05-02T09:00:00Z", "kubernetes.io/config.source": "api"},
        },
        "spec": {"nodeName": "node-1", "restartPolicy": "Always", **spec},
        "status": {"phase": "Running", "qosClass": "Burstable", "podIP": "10.42.0.7", **statuses},
    }


def named(container: str, cpu_request: float = 0.0) -> ContainerName:
    return ContainerName(container, "web-7c5ddbdf54-x2x9p", "shop", "2942c55c-c9cb-428a-93a4-eaf89c1f3ce0", cpu_request)


def test_a_mirror_pod_has_the_uid_that_its_cgroup_has(stand: Stand) -> None:
    static = "8b1e5f6c2d3a4b5c6d7e8f9a0b1c2d3e"
    mirror = {
        "metadata": {
            "name": "etcd-node-1",
            "namespace": "kube-system",
            "uid": "6f0c1d1e-2b3c-4d5e-8f90-a1b2c3d4e5f6",
            "annotations": {
                "kubernetes.io/config.hash": static,
                "kubernetes.io/config.mirror": static,
                "kubernetes.io/config.seen": "2024-05-02T08:59:58Z",
                "kubernetes.io/config.source": "file",
            },
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "node-1", "controller": True}],
        },
        "spec": {"nodeName": "node-1", "containers": [{"name": "etcd", "resources": {"requests": {"cpu": "100m"}}}]},
        "status": {"phase": "Running", "containerStatuses": [status("etcd", C["a"], RUNNING)]},
    }
    assert told(stand, mirror) == {C["a"]: ContainerName("etcd", "etcd-node-1", "kube-system", static, 0.1)}


def test_a_static_pod_not_yet_mirrored_has_the_hash_for_uid(stand: Stand) -> None:
    static = "8b1e5f6c2d3a4b5c6d7e8f9a0b1c2d3e"
    source = {"kubernetes.io/config.hash": static, "kubernetes.io/config.source": "file"}
    pod = {
        "metadata": {"name": "etcd-node-1", "namespace": "kube-system", "uid": static, "annotations": source},
        "spec": {"containers": [{"name": "etcd", "resources": {}}]},
        "status": {"containerStatuses": [status("etcd", C["a"], RUNNING)]},
    }
    assert told(stand, pod) == {C["a"]: ContainerName("etcd", "etcd-node-1", "kube-system", static)}


def test_init_containers_are_named_when_they_are_done(stand: Stand) -> None:
    spec = {
        "initContainers": [{"name": "migrate", "resources": {"requests": {"cpu": "250m"}}}],
        "containers": [{"name": "app", "resources": {"requests": {"cpu": "1", "memory": "64Mi"}}}],
    }
    waiting = {"waiting": {"reason": "PodInitializing"}}
    statuses = {
        "initContainerStatuses": [status("migrate", C["b"], terminated(C["b"]))],
        "containerStatuses": [status("app", "", waiting)],
    }
    assert told(stand, a_pod(spec, statuses)) == {C["b"]: named("migrate", 0.25)}


def test_sidecars_are_init_containers_that_go_on_running(stand: Stand) -> None:
    spec = {
        "initContainers": [
            {"name": "proxy", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}},
        ],
        "containers": [{"name": "app", "resources": {}}],
    }
    statuses = {
        "initContainerStatuses": [status("proxy", C["c"], RUNNING)],
        "containerStatuses": [status("app", C["a"], RUNNING)],
    }
    assert told(stand, a_pod(spec, statuses)) == {C["c"]: named("proxy", 0.05), C["a"]: named("app")}


def test_ephemeral_containers(stand: Stand) -> None:
    spec = {
        "containers": [{"name": "app", "resources": {}}],
        "ephemeralContainers": [
            {"name": "debugger-x7k2p", "targetContainerName": "app", "stdin": True, "tty": True, "resources": {}}
        ],
    }
    statuses = {
        "containerStatuses": [status("app", C["a"], RUNNING)],
        "ephemeralContainerStatuses": [status("debugger-x7k2p", C["d"], RUNNING)],
    }
    assert told(stand, a_pod(spec, statuses)) == {C["a"]: named("app"), C["d"]: named("debugger-x7k2p")}


@pytest.mark.parametrize("field", ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"])
def test_a_container_that_died_between_two_looks_is_known_by_the_last_state(stand: Stand, field: str) -> None:
    entry = status("app", C["e"], RUNNING, last_state=terminated(C["f"], "OOMKilled"), restarts=4)
    names = told(stand, a_pod({"containers": [{"name": "app", "resources": {}}]}, {field: [entry]}))
    assert names == {C["e"]: named("app"), C["f"]: named("app")}


def test_a_container_in_the_pause_between_restarts(stand: Stand) -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}}
    entry = status("app", C["e"], waiting, last_state=terminated(C["e"], "Error"), restarts=9)
    names = told(stand, a_pod({"containers": [{"name": "app", "resources": {}}]}, {"containerStatuses": [entry]}))
    assert names == {C["e"]: named("app")}


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
    assert stand.reason(timeout_seconds=60) == reason


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
    naming = NameLookup([stand.kubelet()], clock=lambda: now, jitter=lambda: 0.0)
    naming.want("a1")
    asked: list[float] = []
    for second in range(300):
        now, before = float(second), stand.requests
        if second == 200:
            stand.status = 200
        naming.step()
        asked += [now] * (stand.requests - before)
    assert all(later - earlier >= 5 for earlier, later in zip(asked, asked[1:]))
    assert naming.faults == {("kubelet", "403"): len(asked) - 1}
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1
    assert "secret" not in caplog.text
    assert naming.name("a1") == ContainerName("app", "p1", "ns", "u1")


def test_the_sandbox_and_the_unknown(stand: Stand) -> None:
    now = 0.0
    naming = NameLookup([stand.kubelet()], clock=lambda: now)
    naming.want("pause", pod_uid="u1", oldest=True)
    naming.want("nobody")
    for now in range(0, 400, 5):  # noqa: B007
        naming.step()
        naming.want("nobody")
    assert naming.name("pause") == ContainerName("POD", "p1", "ns", "u1")
    assert (naming.name("nobody"), naming.pending("nobody"), stand.requests) == (None, False, 3)


def test_the_thread_names_and_ends(stand: Stand) -> None:
    naming = NameLookup([stand.kubelet()])
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
