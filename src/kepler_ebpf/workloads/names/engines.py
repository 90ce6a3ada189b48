"""Names from the HTTP APIs of docker and podman, over their sockets."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..text import clip
from .http import get, reasons
from .jsonstream import as_dict, as_list, elements
from .provider import MAX_NAMES, ContainerName, ProviderError

DOCKER_SOCKETS = (Path("/run/docker.sock"),)
PODMAN_SOCKETS = (Path("/run/podman/podman.sock"),)
USERS_SOCKETS = {"docker": "docker.sock", "podman": "podman/podman.sock"}
"""Where engines that run for one user have their sockets, below ``/run/user/<uid>`` (XDG_RUNTIME_DIR)."""


class Engine:
    """Containers of one daemon, running or not. ``name``: ``docker`` or ``podman``.

    docker: Engine API ``GET /containers/json``. podman: libpod API ``GET /libpod/containers/json``, which tells pods.
    ``owner``: the user whose socket this must be (a number). He may put anything in its place, such as a link to a
    socket that only root may use.
    """

    lists_sandboxes = True

    def __init__(
        self, name: str, address: Path, timeout_seconds: float = 5.0, *, owner: int | None = None, most: int = MAX_NAMES
    ) -> None:
        self.name = name
        self.address = address
        self._owner = owner
        self._most = most
        self._timeout = timeout_seconds
        if name == "podman":
            self._path, self._name_of = "/v4.0.0/libpod/containers/json?all=true", _podman
        else:
            self._path, self._name_of = "/containers/json?all=true", _docker

    def fetch(self) -> Mapping[str, ContainerName]:
        """Every container the daemon knows."""
        deadline = time.monotonic() + self._timeout
        with reasons():
            sock = self._connect()
        names: dict[str, ContainerName] = {}
        with get(sock, "localhost", self._path, {"Accept": "application/json"}, deadline) as response:
            for container in map(as_dict, elements(response.read)):
                container_id = clip(container.get("Id"))
                if container_id:
                    names[container_id] = self._name_of(container)
                if len(names) > self._most:
                    raise ProviderError("too-large")
        return names

    def _connect(self) -> socket.socket:
        # A descriptor of the very file that was looked at; its name in /proc is short enough for an address, too.
        at = os.open(self.address, os.O_PATH | os.O_CLOEXEC | (0 if self._owner is None else os.O_NOFOLLOW))
        sock = socket.socket(socket.AF_UNIX)
        try:
            if self._owner is not None and os.fstat(at).st_uid != self._owner:
                raise PermissionError
            sock.settimeout(self._timeout)
            sock.connect(f"/proc/self/fd/{at}")
        except BaseException:
            sock.close()
            raise
        finally:
            os.close(at)
        return sock


def _docker(container: dict[str, Any]) -> ContainerName:
    """By the kubelet's labels (through cri-dockerd) where they tell pod and namespace, else as docker calls it.

    Anybody who may start a container can label it so: whether it is a pod's, its cgroup tells.
    """
    labels = as_dict(container.get("Labels"))
    pod, namespace = (clip(labels.get(f"io.kubernetes.pod.{key}")) for key in ("name", "namespace"))
    if not pod or not namespace:
        return ContainerName(_own_name(container))
    sandbox = labels.get("io.kubernetes.docker.type") == "podsandbox"
    return ContainerName(
        "POD" if sandbox else clip(labels.get("io.kubernetes.container.name")) or _own_name(container),
        pod,
        namespace,
        clip(labels.get("io.kubernetes.pod.uid")),
    )


def _podman(container: dict[str, Any]) -> ContainerName:
    """podman's own pods, which are in no namespace; labels say nothing, as no kubelet starts podman's containers."""
    own = "POD" if container.get("IsInfra") is True else _own_name(container)
    return ContainerName(own, clip(container.get("PodName")), "", clip(container.get("Pod")))


def _own_name(container: dict[str, Any]) -> str:
    """Its own name is the one with one slash: docker lists what linked containers call it too ("/proxy/backend")."""
    names = [clip(name) for name in as_list(container.get("Names"))]
    own = next((name for name in names if name.count("/") <= 1), next(iter(names), ""))
    return own.lstrip("/")
