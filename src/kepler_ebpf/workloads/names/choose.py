"""Who can be asked for names on this machine, best first."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ...config import Config
from ...errors import UsageError
from .engines import DOCKER_SOCKETS, PODMAN_SOCKETS, Engine
from .kubelet import SERVICE_ACCOUNT, Kubelet
from .provider import NameProvider
from .users import UserEngines, find_sockets, owner_of

log = logging.getLogger(__name__)

DEFAULT_KUBELET = "https://127.0.0.1:10250"
CRI_SOCKETS = (
    Path("/run/containerd/containerd.sock"),
    Path("/run/k3s/containerd/containerd.sock"),
    Path("/run/crio/crio.sock"),
    Path("/run/cri-dockerd.sock"),
)


def name_providers(config: Config) -> list[NameProvider]:
    """The kubelet, CRI runtimes, docker and podman, as far as they are configured or found here.

    Raises UsageError for a bad address, and for a CRI socket that is asked for without the library to ask.
    """
    providers: list[NameProvider] = []
    if config.kubelet_url != "off" and (config.kubelet_url != "auto" or _mode(SERVICE_ACCOUNT / "token")):
        providers.append(
            Kubelet(
                DEFAULT_KUBELET if config.kubelet_url == "auto" else config.kubelet_url,
                config.kubelet_token or SERVICE_ACCOUNT / "token",
                config.kubelet_ca or SERVICE_ACCOUNT / "ca.crt",
                server_name=config.kubelet_server_name,
                verify=config.kubelet_verify,
            )
        )
    else:
        given = [flag for flag, value in (("token", config.kubelet_token), ("ca", config.kubelet_ca)) if value]
        if given:
            why = "--kubelet-url is off" if config.kubelet_url == "off" else "there is no service account here"
            log.warning("--kubelet-%s is for nothing: no kubelet is asked for names (%s)", given[0], why)
    for address in _sockets(config.cri_socket, CRI_SOCKETS):
        try:
            from .cri import Cri  # 25 MiB

            providers.append(Cri(address))
        except ImportError as error:
            if config.cri_socket:
                raise UsageError(
                    f"--cri-socket: {error.name} is not installed; pip install 'kepler-ebpf[cri]'"
                ) from error
            log.info("%s is there but %s is not installed: no names from it (extra cri)", address, error.name)
    for engine, setting, usual in _engines(config):
        providers += [Engine(engine, path) for path in _sockets(setting, usual) if owner_of(path) is None]
    return providers


def user_engines(config: Config) -> UserEngines | None:
    """Engines of single users: those that are configured; for root, those in the users' folders. None without any.

    Whether there are any is decided by what is there now.
    """
    searches: list[Callable[[], list[tuple[str, Path]]]] = []
    for engine, setting, _ in _engines(config):
        if setting not in ("", "off"):
            given = [(engine, path) for path in _sockets(setting, ()) if owner_of(path) is not None]
            searches.append(partial(list, given))
        elif not setting and os.geteuid() == 0:
            searches.append(partial(find_sockets, engine))
    if not any(search() for search in searches):
        return None
    return UserEngines(lambda: [socket for search in searches for socket in search()])


def _engines(config: Config) -> tuple[tuple[str, str, tuple[Path, ...]], ...]:
    """Each engine's name, setting, and usual sockets."""
    return (("docker", config.docker_socket, DOCKER_SOCKETS), ("podman", config.podman_socket, PODMAN_SOCKETS))


def _sockets(setting: str, usual: tuple[Path, ...]) -> list[Path]:
    if setting:
        return [] if setting == "off" else [Path(path) for path in setting.split(",")]
    return [path for path in usual if stat.S_ISSOCK(_mode(path))][:1]


def _mode(path: Path) -> int:
    """Of a file, its links followed; 0 where there is none, or where it may not be looked for, which is said."""
    try:
        return os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        log.warning("%s: no names from there: %s", path, error.strerror)
        return 0
