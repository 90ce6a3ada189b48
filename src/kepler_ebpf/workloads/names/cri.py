"""Names from a container runtime's CRI socket: containerd, CRI-O, cri-dockerd.

Needs the extra ``cri``; importing this module costs 25 MiB, so only who has such a socket does.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import grpc
from cri_api.v1 import api_pb2, api_pb2_grpc

from ..text import clip
from .provider import MAX_NAMES, ContainerName, ProviderError

_MAX_ANSWER = 16 << 20


class Cri:
    """Containers and sandboxes of every pod, from the runtime itself: there before the kubelet's status has them."""

    name = "cri"
    lists_sandboxes = True

    def __init__(self, address: Path, timeout_seconds: float = 5.0) -> None:
        self._address = f"unix://{address}"
        self._timeout = timeout_seconds

    def fetch(self) -> Mapping[str, ContainerName]:
        """Every container and sandbox, running or not (CRI v1 ``ListPodSandbox``, ``ListContainers``)."""
        deadline = time.monotonic() + self._timeout
        options = [("grpc.max_receive_message_length", _MAX_ANSWER)]
        try:
            with grpc.insecure_channel(self._address, options=options) as channel:
                service = api_pb2_grpc.RuntimeServiceStub(channel)
                sandboxes = service.ListPodSandbox(api_pb2.ListPodSandboxRequest(), timeout=self._timeout).items
                left = max(0.001, deadline - time.monotonic())
                containers = service.ListContainers(api_pb2.ListContainersRequest(), timeout=left).containers
        except grpc.RpcError as e:
            raise ProviderError(e.code().name.lower().replace("_", "-")) from e
        if len(sandboxes) + len(containers) > MAX_NAMES:
            raise ProviderError("too-large")
        names: dict[str, ContainerName] = {}
        pods: dict[str, ContainerName] = {}
        for sandbox in sandboxes:
            pod = sandbox.metadata
            name = ContainerName("POD", clip(pod.name), clip(pod.namespace), clip(pod.uid))
            names[clip(sandbox.id)] = pods[sandbox.id] = name
        for container in containers:
            of = pods.get(container.pod_sandbox_id, ContainerName(""))
            names[clip(container.id)] = ContainerName(clip(container.metadata.name), of.pod, of.namespace, of.pod_uid)
        return names
