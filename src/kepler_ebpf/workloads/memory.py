"""Working sets of containers, read beside the sampler: two files each, which for a thousand take a while."""

from __future__ import annotations

import threading
import time

from ..host.fs import read_text
from ..host.hierarchy import Hierarchy

INTERVAL_SECONDS = 5.0
_BATCH = 50
_PAUSE_SECONDS = 0.02


class WorkingSets:
    """Latest working sets by container id, refreshed by a thread. Every method may be called from any thread."""

    def __init__(self, hierarchy: Hierarchy | None) -> None:
        self._hierarchy = hierarchy
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
            size = working_set_bytes(self._hierarchy, home)
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


def working_set_bytes(hierarchy: Hierarchy | None, path: str) -> int | None:
    """Memory in use less inactive file pages, as the kubelet counts it; None where it cannot be read.

    ``path`` is relative to the hierarchy's root. Where the memory controller of v1 is mounted, v2 has none, and a
    container has the same path in all hierarchies.
    """
    if hierarchy is None:
        return None
    if hierarchy.memory is not None:
        home, usage, inactive = hierarchy.memory, "memory.usage_in_bytes", "total_inactive_file"
    else:
        home, usage, inactive = hierarchy.root, "memory.current", "inactive_file"
    home = home / path.lstrip("/")
    try:
        used = int(read_text(home / usage))
        for line in read_text(home / "memory.stat").splitlines():
            key, _, value = line.partition(" ")
            if key == inactive:
                return max(0, used - int(value))
    except (OSError, ValueError):
        pass
    return None
