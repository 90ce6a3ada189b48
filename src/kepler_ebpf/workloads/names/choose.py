"""Who can be asked for names on this machine, best first."""

from __future__ import annotations

import logging
from pathlib import Path

from ...config import Config
from ...errors import UsageError
from .engines import DOCKER_SOCKETS, PODMAN_SOCKETS, Engine
from .kubelet import SERVICE_ACCOUNT, Kubelet
from .provider import NameProvider

log = logging.getLogger(__name__)

DEFAULT_KUBELET = "https://127.0.0.1:10250"
CRI_SOCKETS = (
    Path("/run/containerd/containerd.sock"),
    Path("/run/k3s/containerd/containerd.sock"),
    Path("/run/crio/crio.sock"),
    Path("/run/cri-dockerd.sock"),
)


def name_providers(config: Config) -> list[NameProvider]:
    """The kubelet, the CRI runtime, docker and podman, as far as they are configured or found here.

    Raises UsageError for a bad address, and for a CRI socket that is asked for without the library to ask.
    """
    providers: list[NameProvider] = []
    if config.kubelet_url != "off" and (config.kubelet_url != "auto" or (SERVICE_ACCOUNT / "token").exists()):
        providers.append(
            Kubelet(
                DEFAULT_KUBELET if config.kubelet_url == "auto" else config.kubelet_url,
                config.kubelet_token or SERVICE_ACCOUNT / "token",
                config.kubelet_ca or SERVICE_ACCOUNT / "ca.crt",
                server_name=config.kubelet_server_name,
                verify=config.kubelet_verify,
            )
        )
    cri = _socket(config.cri_socket, CRI_SOCKETS)
    if cri:
        try:
            from .cri import Cri  # 25 MiB

            providers.append(Cri(cri))
        except ImportError as e:
            if config.cri_socket:
                raise UsageError(f"--cri-socket: {e.name} is not installed; pip install 'kepler-ebpf[cri]'") from e
            log.info("%s is there but %s is not installed: no names from it (extra cri)", cri, e.name)
    for name, setting, usual in (
        ("docker", config.docker_socket, DOCKER_SOCKETS),
        ("podman", config.podman_socket, PODMAN_SOCKETS),
    ):
        address = _socket(setting, usual)
        if address:
            providers.append(Engine(name, address))
    return providers


def _socket(setting: str, usual: tuple[Path, ...]) -> Path | None:
    if setting:
        return None if setting == "off" else Path(setting)
    return next((path for path in usual if path.is_socket()), None)
