"""What every source of container names has in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

MAX_NAMES = 50_000
"""Most containers taken from one answer."""


@dataclass(frozen=True)
class ContainerName:
    """Names of one container; empty where there is none (no pod on plain docker). ``cpu_request``: in CPUs."""

    container: str
    pod: str = ""
    namespace: str = ""
    pod_uid: str = ""
    cpu_request: float = 0.0


class ProviderError(Exception):
    """A provider could not answer. ``reason`` is a short word from a bounded set, fit for a metric label."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NameProvider(Protocol):
    """Somebody who knows containers by id. ``lists_sandboxes``: whether the sandboxes of pods are among them."""

    name: str
    lists_sandboxes: bool

    def fetch(self) -> Mapping[str, ContainerName]:
        """Every container known now, by id. Bounded in time and memory. Raises ProviderError."""
