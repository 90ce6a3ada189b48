"""Working sets of containers, read beside the sampler: two files each, which for a thousand take a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from ..host.fs import HostFS, read_text
from ..host.hierarchy import Hierarchy

INTERVAL_SECONDS = 5.0
_BATCH = 50
_PAUSE_SECONDS = 0.02


Place = tuple[Path, str, str]
"""A root, and the names of its files of usage and of what is inactive."""


class WorkingSets:
    """Latest working sets by container id, refreshed by a thread. Every method may be called from any thread."""

    def __init__(self, fs: HostFS, hierarchy: Hierarchy | None) -> None:
        self._places = _places(fs.cgroup, hierarchy)
        self._changed = threading.Condition()
        self._homes: dict[str, str] = {}
        self._fresh: dict[str, str] = {}
        self._bytes: dict[str, int] = {}
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def start(self) -> None:
        """Read in a thread until :meth:`close`."""
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def follow(self, container_id: str, home: str) -> None:
        """Read the memory of this container; ``home``: its cgroup, relative to the hierarchy's root."""
        with self._changed:
            self._fresh[container_id] = home
            self._changed.notify()

    def forget(self, container_id: str) -> None:
        """Leave off a container that is gone."""
        with self._changed:
            for table in (self._homes, self._fresh, self._bytes):
                table.pop(container_id, None)

    def bytes(self, container_id: str) -> int | None:
        """The latest reading; None where there is none or it could not be read."""
        return self._bytes.get(container_id)

    def refresh(self, homes: dict[str, str], pause_seconds: float = 0.0) -> None:
        """Read these containers now, resting between batches so that the sampler is not kept waiting."""
        for number, (container_id, home) in enumerate(homes.items(), 1):
            size = working_set_bytes(self._places, home)
            with self._changed:
                if size is not None and container_id in self._homes:
                    self._bytes[container_id] = size
                else:
                    self._bytes.pop(container_id, None)
            if number % _BATCH == 0:
                time.sleep(pause_seconds)

    def _run(self) -> None:
        due = time.monotonic()
        while True:
            with self._changed:
                if not self._fresh and not self._stopped:
                    self._changed.wait(max(0.0, due - time.monotonic()))
                if self._stopped:
                    return
                fresh, self._fresh = self._fresh, {}
                self._homes.update(fresh)
                everything = dict(self._homes) if time.monotonic() >= due else fresh
            if everything is not fresh:
                due = time.monotonic() + INTERVAL_SECONDS
            self.refresh(everything, _PAUSE_SECONDS)


def working_set_bytes(places: Sequence[Place], path: str) -> int | None:
    """Memory in use less inactive file pages, as the kubelet counts it; None where it cannot be read.

    ``path`` is relative to the hierarchy's root. A hybrid machine keeps memory on v1, at the same path.
    """
    relative = path.lstrip("/")
    for root, usage, inactive in places:
        try:
            used = int(read_text(root / relative / usage))
            for line in read_text(root / relative / "memory.stat").splitlines():
                key, _, value = line.partition(" ")
                if key == inactive:
                    return max(0, used - int(value))
        except (OSError, ValueError):
            continue
    return None


def _places(cgroup: Path, hierarchy: Hierarchy | None) -> tuple[Place, ...]:
    """Where the memory controller can be: on v1 beside the hierarchy, or in the hierarchy itself."""
    v1 = [hierarchy.root if hierarchy and hierarchy.controller == "memory" else cgroup / "memory"]
    if hierarchy is not None:
        v1 += [hierarchy.root.parent / "memory"]
    v2 = [hierarchy.root] if hierarchy and not hierarchy.controller else [cgroup, cgroup / "unified"]
    return (
        *((root, "memory.usage_in_bytes", "total_inactive_file") for root in dict.fromkeys(v1)),
        *((root, "memory.current", "inactive_file") for root in v2),
    )
