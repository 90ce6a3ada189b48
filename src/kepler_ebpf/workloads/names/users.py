"""Names from engines that run for one user each: rootless podman and docker."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from .engines import USERS_SOCKETS, Engine
from .provider import ContainerName, ProviderError
from .remedies import remedy

log = logging.getLogger(__name__)

RUNTIME_FOLDERS = Path("/run/user")
_ADDRESS = re.compile(r"(?:/var)?/run/user/(?P<uid>[0-9]{1,10})/.+", re.DOTALL)
_TIMEOUT_SECONDS = 1.0
_ROUND_SECONDS = 5.0
_REST_SECONDS = 60.0
_MAX_ENGINES = 64
_MAX_NAMES = 2000


class UserEngines:
    """Containers of every user's engines, by ``<uid>/<container id>``: what a user says counts for his own alone.

    ``sockets``: what to ask, as engine (``docker``, ``podman``) and address; called for each round, as users come and
    go. An engine that fails rests for a minute, so that nobody's keeps the others waiting.
    """

    name = "users"
    lists_sandboxes = True

    def __init__(
        self, sockets: Callable[[], Iterable[tuple[str, Path]]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sockets = sockets
        self._clock = clock
        self._resting: dict[Path, float] = {}  # until when
        self._said: set[tuple[Path, str]] = set()

    def fetch(self) -> Mapping[str, ContainerName]:
        """Every container of those that answer. Raises ProviderError where there are engines and none does."""
        began = self._clock()
        self._resting = {address: until for address, until in self._resting.items() if until > began}
        names: dict[str, ContainerName] = {}
        answered, reason = 0, ""
        for engine, address in list(self._sockets())[:_MAX_ENGINES]:
            uid = owner_of(address)
            if address in self._resting or uid is None or self._clock() - began > _ROUND_SECONDS:
                continue
            try:
                found = Engine(engine, address, _TIMEOUT_SECONDS, owner=uid, most=_MAX_NAMES).fetch()
            except ProviderError as error:
                reason = error.reason
                self._resting[address] = self._clock() + _REST_SECONDS
                self._say(engine, address, reason)
            else:
                answered += 1
                names.update((f"{uid}/{container_id}", name) for container_id, name in found.items())
        if reason and not answered:
            raise ProviderError(reason)
        return names

    def _say(self, engine: str, address: Path, reason: str) -> None:
        if (address, reason) not in self._said and len(self._said) < _MAX_ENGINES:
            self._said.add((address, reason))
            log.warning("%s: no names of containers (%s): %s", address, reason, remedy(engine, reason))


def owner_of(address: Path) -> int | None:
    """The user whose engine listens there, by the address; None where it is nobody's in particular."""
    match = _ADDRESS.fullmatch(str(address))
    return int(match["uid"]) if match and int(match["uid"]) else None


def find_sockets(engine: str, folders: Path = RUNTIME_FOLDERS) -> list[tuple[str, Path]]:
    """Sockets of this engine in the users' folders; none where these may not be read."""
    try:
        users = sorted(name for name in os.listdir(folders) if name.isdecimal())
    except OSError:
        return []
    addresses = [folders / user / USERS_SOCKETS[engine] for user in users]
    return [(engine, address) for address in addresses if _is_socket(address)]


def _is_socket(address: Path) -> bool:
    """Whether a socket is there; not where its folder may not be searched, as /run/podman by other users than root."""
    try:
        return address.is_socket()
    except OSError:
        return False
