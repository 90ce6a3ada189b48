"""Names from the kubelet's ``/pods``, over HTTPS with the service account's token."""

from __future__ import annotations

import codecs
import json
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Callable
from urllib.parse import urlsplit

from ..errors import UsageError
from ..hostfs import read_text
from .http import get, reasons
from .names import ContainerName, ProviderError, clip

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MAX_BODY = 64 << 20
_MAX_POD = 2 << 20  # etcd takes objects of at most 1.5 MiB
_MAX_NAMES = 20_000
_CHUNK = 256 << 10
_TOKEN = re.compile(r"[!-~]+\Z")
_QUANTITY = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(m?)", re.ASCII)
_MAX_CPUS = 1e6
_STATUSES = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")


class Kubelet:
    """Containers of every pod on this node: init, sidecar and ephemeral ones and static pods included.

    The token and the CA are read for every request, as both are rotated. ``server_name`` is the name to expect in
    the certificate where it is not the host of ``url``. ``verify=False`` accepts any certificate, and so shows the
    token to anybody who answers there. Raises UsageError for a URL that is not ``https://host[:port]``.
    """

    name = "kubelet"

    def __init__(
        self,
        url: str = "https://127.0.0.1:10250",
        token: Path = SERVICE_ACCOUNT / "token",
        ca: Path = SERVICE_ACCOUNT / "ca.crt",
        *,
        server_name: str = "",
        verify: bool = True,
        timeout_seconds: float = 5.0,
    ) -> None:
        try:
            parts = urlsplit(url)
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
            for pod in items(response.read):
                names.update(_containers(pod))
                if len(names) > _MAX_NAMES:
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


def items(read: Callable[[int], bytes]) -> Iterator[Any]:
    """The elements of ``items`` in a JSON object, one at a time as they arrive.

    One decoding of a 50 MB list would take several times that in memory, and hold the interpreter's lock, which the
    sampler needs, for half a second. Raises ProviderError: ``malformed`` (truncated too) or ``too-large``.
    """
    stream = _Stream(read)
    stream.expect("{")
    while True:
        key = stream.value()
        stream.expect(":")
        if key == "items":
            break
        stream.value()
        stream.expect(",")
    if stream.peek() != "[":
        if stream.value() is None:  # Go writes an empty list as null
            return
        raise ProviderError("malformed")
    stream.expect("[")
    if stream.peek() == "]":
        return
    while True:
        yield stream.value()
        if stream.peek() == "]":
            return
        stream.expect(",")


class _Stream:
    """JSON tokens and values from a reader, holding no more than one value and one chunk."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._json = json.JSONDecoder()
        self._text = ""
        self._at = 0
        self._taken = 0

    def _more(self) -> None:
        data = self._read(_CHUNK)
        self._taken += len(data)
        if not data:
            raise ProviderError("malformed")
        if self._taken > MAX_BODY or len(self._text) - self._at > _MAX_POD:
            raise ProviderError("too-large")
        self._text = self._text[self._at :] + self._utf8.decode(data)
        self._at = 0

    def peek(self) -> str:
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in " \t\r\n":
                    return self._text[self._at]
                self._at += 1
            self._more()

    def expect(self, char: str) -> None:
        if self.peek() != char:
            raise ProviderError("malformed")
        self._at += 1

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self._at)
            except RecursionError:
                raise ProviderError("malformed") from None
            except ValueError:
                self._more()  # cut off, or broken: the end of the body or the size tells
                continue
            if end == len(self._text):  # a number may go on in the next chunk
                self._more()
                continue
            self._at = end
            return value


def _containers(pod: Any) -> Iterator[tuple[str, ContainerName]]:
    metadata = _dict(_dict(pod).get("metadata"))
    annotations = _dict(metadata.get("annotations"))
    # The cgroup of a static pod carries the hash of its manifest; its mirror in the API server has another uid.
    uid = annotations.get("kubernetes.io/config.mirror") or metadata.get("uid")
    pod_name, namespace, uid = clip(metadata.get("name")), clip(metadata.get("namespace")), clip(uid)
    requests = _requests(_dict(_dict(pod).get("spec")))
    status = _dict(_dict(pod).get("status"))
    for field in _STATUSES:
        statuses = status.get(field)
        for entry in map(_dict, statuses if isinstance(statuses, list) else ()):
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
        entries = spec.get(field)
        for entry in map(_dict, entries if isinstance(entries, list) else ()):
            wanted = _dict(_dict(entry.get("resources")).get("requests")).get("cpu")
            found[clip(entry.get("name"))] = cpu_quantity(wanted)
    return found


def cpu_quantity(text: object) -> float:
    """``500m`` or ``2`` (Kubernetes' quantities) in CPUs; 0 for anything else."""
    match = _QUANTITY.fullmatch(str(text))
    return min(float(match[1]) * (1e-3 if match[2] else 1.0), _MAX_CPUS) if match else 0.0


def _terminated(state: Any) -> dict[str, Any]:
    return _dict(_dict(state).get("terminated"))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
