"""docker's and podman's answers, and sockets that give none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from kepler_ebpf.workloads.names import engines
from kepler_ebpf.workloads.names.cri import Cri
from kepler_ebpf.workloads.names.engines import Engine
from kepler_ebpf.workloads.names.provider import ContainerName, ProviderError
from tests.workloads.names.sockets import answering

Serve = Callable[[str, bytes], Path]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Answers one path with a body on a UNIX socket, and 404 elsewhere."""
    with ExitStack() as stack:

        def start(path: str, body: bytes) -> Path:
            address = tmp_path / "engine.sock"
            stack.enter_context(answering(address, body, path))
            return address

        yield start


DOCKER: list[Any] = [
    {"Id": "d1", "Names": ["/web"], "Labels": {"com.docker.compose.service": "web"}},
    {
        "Id": "d2",
        "Names": ["/k8s_app_web-1_shop_u1_0"],
        "Labels": {
            "io.kubernetes.pod.name": "web-1",
            "io.kubernetes.pod.namespace": "shop",
            "io.kubernetes.pod.uid": "u1",
            "io.kubernetes.container.name": "app",
            "io.kubernetes.docker.type": "container",
        },
    },
    {
        "Id": "d3",
        "Names": ["/k8s_POD_web-1_shop_u1_0"],
        "Labels": {
            "io.kubernetes.pod.name": "web-1",
            "io.kubernetes.pod.namespace": "shop",
            "io.kubernetes.pod.uid": "u1",
            "io.kubernetes.docker.type": "podsandbox",
        },
    },
    {"Id": "d4", "Names": None, "Labels": None},
    {"Id": "d5", "Names": ['/a"b\n' + "x" * 4096], "Labels": {"note": "y" * 4096}},
    {"Id": "d6", "Names": ["/posing"], "Labels": {"io.kubernetes.pod.name": "web-1", "io.kubernetes.pod.uid": "u1"}},
    {
        "Id": "d7",
        "Names": ["/half"],
        "Labels": {"io.kubernetes.pod.name": "web-1", "io.kubernetes.pod.namespace": "shop"},
    },
    {"Id": 7},
    None,
]


def test_docker(serve: Serve) -> None:
    path = serve("/containers/json?all=true", json.dumps(DOCKER).encode())
    names = Engine("docker", path).fetch()
    assert names["d1"] == ContainerName("web")
    assert names["d2"] == ContainerName("app", "web-1", "shop", "u1")
    assert names["d3"] == ContainerName("POD", "web-1", "shop", "u1")
    assert names["d4"] == ContainerName("")
    assert (names["d5"].container[:4], len(names["d5"].container)) == ('a"b\n', 252)
    assert names["d6"] == ContainerName("posing"), "no pod without a namespace is the kubelet's"
    assert names["d7"].container == "half", "who labels it by half hides no name"
    assert len(names) == 7


def test_podman_tells_pods_and_their_sandbox(serve: Serve) -> None:
    answer = [
        {"Id": "p1", "Names": ["app"], "Pod": "pod1", "PodName": "shop", "IsInfra": False, "Labels": None},
        {"Id": "p2", "Names": ["infra"], "Pod": "pod1", "PodName": "shop", "IsInfra": True},
        {"Id": "p3", "Names": ["alone"], "Pod": "", "PodName": ""},
        {"Id": "p4", "Names": ["posing"], "Pod": "", "PodName": "", "Labels": DOCKER[1]["Labels"]},
    ]
    names = Engine("podman", serve("/v4.0.0/libpod/containers/json?all=true", json.dumps(answer).encode())).fetch()
    assert names == {
        "p1": ContainerName("app", "shop", "", "pod1"),
        "p2": ContainerName("POD", "shop", "", "pod1"),
        "p3": ContainerName("alone"),
        "p4": ContainerName("posing"),
    }


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"[{]", "malformed"), (b"{}", "malformed"), (b"", "malformed"), (b'["' + b"x" * 5_000_000, "malformed")],
)
def test_broken_answers(serve: Serve, body: bytes, reason: str) -> None:
    engine = Engine("docker", serve("/containers/json?all=true", body))
    with pytest.raises(ProviderError, match=reason):
        engine.fetch()


@pytest.mark.parametrize(
    ("provider", "reason"),
    [(Engine("docker", Path("/nowhere.sock")), "network"), (Cri(Path("/no.sock")), "unavailable")],
)
def test_a_socket_that_is_not_there(provider: Engine | Cri, reason: str) -> None:
    with pytest.raises(ProviderError, match=reason):
        provider.fetch()


def test_a_socket_that_speaks_something_else(serve: Serve) -> None:
    path = serve("/hello", b"hello")
    with pytest.raises(ProviderError, match="404"):
        Engine("docker", path).fetch()
    with pytest.raises(ProviderError):
        Cri(path, timeout_seconds=2).fetch()


@pytest.mark.parametrize(
    ("names", "own"),
    [
        (["/proxy/backend", "/cache", "/zeta/backend"], "cache"),
        (["/web"], "web"),
        (["/only/alias"], "only/alias"),
        ([], ""),
    ],
)
def test_aliases_of_linked_containers_are_not_its_name(names: list[str], own: str) -> None:
    assert engines._own_name({"Names": names}) == own
