"""Names from the HTTP APIs of docker and podman, over their sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .http import get, reasons
from .jsonstream import as_dict, as_list, elements
from .names import MAX_NAMES, ContainerName, ProviderError, clip

DOCKER_SOCKETS = (Path("/run/docker.sock"),)
PODMAN_SOCKETS = (Path("/run/podman/podman.sock"),)


class Engine:
    """Containers of one daemon, running or not. ``name``: ``docker`` or ``podman``.

    docker: Engine API ``GET /containers/json``. podman: libpod API ``GET /libpod/containers/json``, which tells pods.
    """

    lists_sandboxes = True

    def __init__(self, name: str, address: Path, timeout_seconds: float = 5.0) -> None:
        self.name = name
        self._address = address
        self._timeout = timeout_seconds
        self._path = "/v4.0.0/libpod/containers/json?all=true" if name == "podman" else "/containers/json?all=true"

    def fetch(self) -> Mapping[str, ContainerName]:
        """Every container the daemon knows."""
        deadline = time.monotonic() + self._timeout
        with reasons():
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.settimeout(self._timeout)
                sock.connect(str(self._address))
            except BaseException:
                sock.close()
                raise
        names: dict[str, ContainerName] = {}
        with get(sock, "localhost", self._path, {"Accept": "application/json"}, deadline) as response:
            for container in map(as_dict, elements(response.read)):
                container_id = clip(container.get("Id"))
                if container_id:
                    names[container_id] = _name(container)
                if len(names) > MAX_NAMES:
                    raise ProviderError("too-large")
        return names


def _name(container: dict[str, Any]) -> ContainerName:
    labels = as_dict(container.get("Labels"))
    pod = clip(labels.get("io.kubernetes.pod.name"))
    if pod:  # the kubelet's, through cri-dockerd
        sandbox = labels.get("io.kubernetes.docker.type") == "podsandbox"
        return ContainerName(
            "POD" if sandbox else clip(labels.get("io.kubernetes.container.name")),
            pod,
            clip(labels.get("io.kubernetes.pod.namespace")),
            clip(labels.get("io.kubernetes.pod.uid")),
        )
    given = next(iter(as_list(container.get("Names"))), "")
    own = "POD" if container.get("IsInfra") is True else clip(given).lstrip("/")
    return ContainerName(own, clip(container.get("PodName")), "", clip(container.get("Pod")))
