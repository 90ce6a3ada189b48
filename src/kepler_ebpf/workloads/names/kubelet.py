"""Names from the kubelet's ``/pods``, over HTTPS with the service account's token."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...errors import UsageError
from ...host.fs import read_text
from ..text import clip
from .http import get, reasons
from .jsonstream import as_dict, as_list, elements
from .provider import MAX_NAMES, ContainerName, ProviderError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TOKEN = re.compile(r"[!-~]+\Z")
_QUANTITY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(m?)")
_BARE_IPV6 = re.compile(r"(https://)([0-9A-Fa-f]*:[0-9A-Fa-f:]*:[0-9A-Fa-f]*)(:[0-9]{1,5}/?)\Z")
_MAX_CPUS = 1e6
_STATUSES = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")


class Kubelet:
    """Containers of every pod on this node: init, sidecar and ephemeral ones and static pods included.

    The token and the CA are read for every request, as both are rotated. ``server_name`` is the name to expect in
    the certificate where it is not the host of ``url``. ``verify=False`` accepts any certificate, and so shows the
    token to anybody who answers there. Raises UsageError for a URL that is not ``https://host[:port]``.
    """

    name = "kubelet"
    lists_sandboxes = False

    def __init__(
        self,
        url: str,
        token: Path = SERVICE_ACCOUNT / "token",
        ca: Path = SERVICE_ACCOUNT / "ca.crt",
        *,
        server_name: str = "",
        verify: bool = True,
        timeout_seconds: float = 5.0,
    ) -> None:
        try:
            # A pod knows its node's address from the downward API, which writes no brackets around an IPv6 one.
            parts = urlsplit(_BARE_IPV6.sub(r"\1[\2]\3", url))
            host, port = parts.hostname, parts.port or 10250
        except ValueError:
            host = None
        if host is None or parts.scheme != "https" or parts.path.strip("/"):
            raise UsageError(f"kubelet URL {url!r}: expected https://HOST[:PORT]")
        self._address = (host, port)
        self._token = token
        self._ca = ca
        self._server_name = server_name or host
        self._verify = verify
        self._timeout = timeout_seconds

    def fetch(self) -> Mapping[str, ContainerName]:
        """Every container in the status of a pod on this node, running or not."""
        deadline = time.monotonic() + self._timeout
        headers = {"Authorization": f"Bearer {self._read_token()}", "Accept": "application/json"}
        with reasons():
            sock = self._connect()
        names: dict[str, ContainerName] = {}
        with get(sock, self._server_name, "/pods", headers, deadline) as response:
            for pod in elements(response.read, "items"):
                names.update(_containers(pod))
                if len(names) > MAX_NAMES:
                    raise ProviderError("too-large")
        return names

    def _read_token(self) -> str:
        try:
            token = read_text(self._token)
        except OSError as e:
            raise ProviderError("token") from e
        if not _TOKEN.match(token):
            raise ProviderError("token")
        return token

    def _connect(self) -> socket.socket:
        if self._verify:
            context = ssl.create_default_context(cafile=str(self._ca))
        else:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        plain = socket.create_connection(self._address, self._timeout)
        try:
            return context.wrap_socket(plain, server_hostname=self._server_name)
        except BaseException:
            plain.close()
            raise


def _containers(pod: Any) -> Iterator[tuple[str, ContainerName]]:
    metadata = as_dict(as_dict(pod).get("metadata"))
    annotations = as_dict(metadata.get("annotations"))
    # The cgroup of a static pod carries the hash of its manifest; its mirror in the API server has another uid.
    uid = annotations.get("kubernetes.io/config.mirror") or metadata.get("uid")
    pod_name, namespace, uid = clip(metadata.get("name")), clip(metadata.get("namespace")), clip(uid)
    requests = _requests(as_dict(as_dict(pod).get("spec")))
    status = as_dict(as_dict(pod).get("status"))
    for field in _STATUSES:
        for entry in map(as_dict, as_list(status.get(field))):
            container = clip(entry.get("name"))
            name = ContainerName(container, pod_name, namespace, uid, requests.get(container, 0.0))
            # The last state names the container before a restart, which may have died unseen.
            for state in (entry, _terminated(entry.get("state")), _terminated(entry.get("lastState"))):
                container_id = clip(state.get("containerID")).partition("://")[2]
                if container_id:
                    yield container_id, name


def _requests(spec: dict[str, Any]) -> dict[str, float]:
    """CPUs asked for, by container."""
    found = {}
    for field in ("containers", "initContainers"):
        for entry in map(as_dict, as_list(spec.get(field))):
            wanted = as_dict(as_dict(entry.get("resources")).get("requests")).get("cpu")
            found[clip(entry.get("name"))] = cpu_quantity(wanted)
    return found


def cpu_quantity(text: object) -> float:
    """``500m`` or ``2`` (Kubernetes' quantities) in CPUs; 0 for anything else."""
    match = _QUANTITY.fullmatch(str(text))
    return min(float(match[1]) * (1e-3 if match[2] else 1.0), _MAX_CPUS) if match else 0.0


def _terminated(state: Any) -> dict[str, Any]:
    return as_dict(as_dict(state).get("terminated"))
