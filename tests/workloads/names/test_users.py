"""Engines that run for one user each, and which are asked at all."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from kepler_ebpf.config import Config, from_arguments
from kepler_ebpf.errors import UsageError
from kepler_ebpf.host.hierarchy import Hierarchy
from kepler_ebpf.workloads.names import choose, users
from kepler_ebpf.workloads.names.choose import name_providers, user_engines
from kepler_ebpf.workloads.names.engines import Engine
from kepler_ebpf.workloads.names.lookup import NameLookup
from kepler_ebpf.workloads.names.provider import ContainerName, ProviderError
from kepler_ebpf.workloads.names.users import UserEngines, find_sockets, owner_of
from kepler_ebpf.workloads.resolver import WorkloadResolver
from tests.needs import require
from tests.workloads.names.sockets import answering

A, B = "a" * 64, "b" * 64
PODMAN = [{"Id": A, "Names": ["web"], "Pod": "", "PodName": ""}]


@dataclass
class Folders:
    """Users' folders, and engines in them that answer with what they are given."""

    root: Path
    stack: ExitStack

    def engine(self, uid: int, answer: object, name: str = "podman/podman.sock", owner: int | None = None) -> Path:
        address = self.root / str(uid) / name
        address.parent.mkdir(parents=True, exist_ok=True)
        self.stack.enter_context(answering(address, json.dumps(answer).encode()))
        os.chown(address, uid if owner is None else owner, -1)
        return address

    def mute(self, uid: int) -> Path:
        """An engine that takes connections and never answers."""
        address = self.root / str(uid) / "podman/podman.sock"
        address.parent.mkdir(parents=True)
        listener = self.stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(address))
        listener.listen(8)
        os.chown(address, uid, -1)
        return address


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folders]:
    require(os.geteuid() == 0, "giving sockets to users needs root")
    monkeypatch.setattr(users, "owner_of", lambda path: int(path.relative_to(tmp_path).parts[0]))
    with ExitStack() as stack:
        yield Folders(tmp_path, stack)


def asking(folders: Folders) -> UserEngines:
    return UserEngines(lambda: find_sockets("podman", folders.root) + find_sockets("docker", folders.root))


def test_the_containers_of_two_users(folders: Folders) -> None:
    folders.engine(1000, PODMAN)
    folders.engine(1001, [{"Id": A, "Names": ["mine"]}, {"Id": B, "Names": ["db"]}])
    folders.engine(1001, [{"Id": "c", "Names": ["/cache", "/web/cache"]}], "docker.sock")
    assert asking(folders).fetch() == {
        f"1000/{A}": ContainerName("web"),
        f"1001/{A}": ContainerName("mine"),
        f"1001/{B}": ContainerName("db"),
        "1001/c": ContainerName("cache"),
    }


def test_one_that_hangs_or_lies_costs_the_others_nothing(folders: Folders, caplog: pytest.LogCaptureFixture) -> None:
    folders.mute(1000)
    folders.engine(1001, {"not": "a list"})
    folders.engine(1002, PODMAN)
    engines = asking(folders)
    for _ in range(2):
        assert engines.fetch() == {f"1002/{A}": ContainerName("web")}
    said = [line for line in caplog.messages if "1000" in line]
    assert len(said) == 1
    assert "timeout" in said[0]


def test_where_none_answers_the_reason_is_counted(folders: Folders) -> None:
    folders.engine(1000, {"not": "a list"})
    with pytest.raises(ProviderError, match="malformed"):
        asking(folders).fetch()
    assert UserEngines(list).fetch() == {}


def test_a_user_cannot_have_a_socket_of_others_asked(folders: Folders) -> None:
    """He puts a link in its place, or a socket of another's: root must not speak to it for him."""
    secret = folders.engine(0, PODMAN, "secret.sock")
    link = folders.root / "1000/podman/podman.sock"
    link.parent.mkdir(parents=True)
    link.symlink_to(secret)
    os.link(secret, folders.root / "1000/docker.sock")
    engines = asking(folders)
    with pytest.raises(ProviderError):
        engines.fetch()
    assert not any("/0/" in str(path) for _, path in find_sockets("docker", folders.root / "nowhere"))


def test_a_user_names_his_own_containers_only(folders: Folders, tmp_path: Path) -> None:
    """His engine claims root's container, and a pod of a namespace."""
    lie = {
        "io.kubernetes.pod.name": "web-1",
        "io.kubernetes.pod.namespace": "shop",
        "io.kubernetes.container.name": "x",
    }
    folders.engine(1000, [{"Id": A, "Names": ["stolen"]}, {"Id": B, "Names": ["own"], "Labels": lie}], "docker.sock")
    lookup = NameLookup([asking(folders)])
    lookup.start()
    workloads = WorkloadResolver(Hierarchy(tmp_path), (), lookup)
    workloads.learn_path(1, f"/docker/{A}")
    workloads.learn_path(2, f"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{B}.scope")
    workloads.learn_path(3, f"/user.slice/user-1001.slice/user@1001.service/user.slice/docker-{'c' * 64}.scope")
    found = [workloads.identify(number) for number in (1, 2, 3)]
    for workload in found:
        assert workload is not None
        while workloads.current(workload) is None:
            threading.Event().wait(0.02)
    names = [workloads.named(workload) for workload in found if workload]
    assert [(name.container_id, name.container, name.pod, name.namespace) for name in names] == [
        (A, "", "", ""),
        (f"1000/{B}", "x", "", ""),
        (f"1001/{'c' * 64}", "", "", ""),
    ]
    workloads.close()


def options(**settings: str) -> Config:
    off = {"kubelet_url": "off", "cri_socket": "off", "docker_socket": "off", "podman_socket": "off"}
    return replace(from_arguments(choose_nothing(), {}), **{**off, **settings})  # type: ignore[arg-type]


def choose_nothing() -> Any:
    import argparse

    return argparse.Namespace()


def test_several_sockets_separated_by_commas() -> None:
    config = options(docker_socket="/a.sock,/run/user/1000/docker.sock,/b.sock", podman_socket="/run/user/7/p.sock")
    asked = [(one.name, str(one.address)) for one in name_providers(config) if isinstance(one, Engine)]
    assert asked == [("docker", "/a.sock"), ("docker", "/b.sock")]
    engines = user_engines(config)
    assert engines is not None
    assert [(name, str(path)) for name, path in engines._sockets()] == [
        ("docker", "/run/user/1000/docker.sock"),
        ("podman", "/run/user/7/p.sock"),
    ]
    assert user_engines(options()) is None


def test_what_may_not_be_looked_for_is_said_and_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As a folder that is closed to us: the name is too long to be looked for, which nobody's privileges help."""
    closed = tmp_path / ("x" * 300)
    monkeypatch.setattr(choose, "SERVICE_ACCOUNT", closed)
    monkeypatch.setattr(choose, "CRI_SOCKETS", (closed, tmp_path / "none", tmp_path))
    assert name_providers(options(kubelet_url="auto", cri_socket="")) == []
    assert len(caplog.messages) == 2
    assert all("no names from there" in line for line in caplog.messages)


@pytest.mark.parametrize(("url", "why"), [("off", "--kubelet-url is off"), ("auto", "there is no service account")])
def test_a_token_that_nobody_is_shown_is_said(
    url: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(choose, "SERVICE_ACCOUNT", tmp_path)
    assert name_providers(replace(options(kubelet_url=url), kubelet_ca=tmp_path / "ca")) == []
    assert len(caplog.messages) == 1
    assert "--kubelet-ca" in caplog.text
    assert why in caplog.text


def test_a_folder_that_may_not_be_searched_holds_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As /run/podman is root's alone: who looks as another user is not to fail for it."""
    require(os.geteuid() == 0, "becoming another user needs root")
    tmp_path.chmod(0o700)
    for name in ("CRI_SOCKETS", "DOCKER_SOCKETS", "PODMAN_SOCKETS"):
        monkeypatch.setattr(f"kepler_ebpf.workloads.names.choose.{name}", (tmp_path / "engine.sock",))
    monkeypatch.setattr("kepler_ebpf.workloads.names.choose.SERVICE_ACCOUNT", tmp_path)
    config = options(kubelet_url="auto", cri_socket="", docker_socket="", podman_socket="")
    os.seteuid(65534)
    try:
        assert name_providers(config) == []
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("address", "owner"),
    [
        ("/run/user/1000/podman/podman.sock", 1000),
        ("/var/run/user/1000/docker.sock", 1000),
        ("/run/user/0/podman/podman.sock", None),
        ("/run/podman/podman.sock", None),
        ("/home/run/user/1000/x", None),
    ],
)
def test_whose_socket_it_is(address: str, owner: int | None) -> None:
    assert owner_of(Path(address)) == owner


def test_sockets_that_will_not_do() -> None:
    for value in ("docker.sock", "/a.sock,off", "/a.sock,,/b.sock"):
        with pytest.raises(UsageError, match="several separated by commas"):
            from_arguments(choose_nothing(), {"KEPLER_DOCKER_SOCKET": value})
    config = from_arguments(choose_nothing(), {"KEPLER_DOCKER_SOCKET": "unix:///a.sock, /b.sock"})
    assert config.docker_socket == "/a.sock,/b.sock"
    assert choose._sockets(config.docker_socket, ()) == [Path("/a.sock"), Path("/b.sock")]
