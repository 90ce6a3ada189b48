"""A cgroup of its own for a command, so that every thread, fork and daemon of it is told apart from all others."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..host.fs import HostFS, read_text
from ..host.hierarchy import Hierarchy, path_in

_PREFIX = "kepler-ebpf-stat-"
_ATTEMPTS = 100


@dataclass(frozen=True)
class OwnCgroup:
    """``folder``: where it is. ``path``: what the hierarchy calls it. ``id``: its number."""

    folder: Path
    path: str
    id: int

    def enter(self, pid: int) -> None:
        """Move a process into it. Raises OSError."""
        (self.folder / "cgroup.procs").write_text(str(pid))

    def members(self) -> list[int]:
        """Processes in it, and in those below it."""
        return [pid for folder in self._folders() for pid in _members(folder)]

    def remove(self) -> None:
        """Move whoever is left to where the cgroup was made, and take it away. Raises OSError."""
        for _ in range(_ATTEMPTS):  # whoever is left may fork meanwhile
            left = self.members()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    (self.folder.parent / "cgroup.procs").write_text(str(pid))
            if not left:
                break
        for folder in self._folders():
            folder.rmdir()

    def _folders(self) -> list[Path]:
        """This one and all below it, the lowest first."""
        return [Path(folder) for folder, _, _ in os.walk(self.folder, topdown=False)]


def make_cgroup(fs: HostFS, hierarchy: Hierarchy, name: str) -> OwnCgroup:
    """Make one below the cgroup that we are in, so that its limits still hold. Raises OSError.

    What another run left behind, as one that was killed, is taken away if nobody is in it.
    """
    above = (path_in(read_text(fs.proc / "self/cgroup"), hierarchy) or "/").rstrip("/")
    folder = Path(f"{hierarchy.root}{above}")
    for left in _left_behind(fs, folder):
        with contextlib.suppress(OSError):
            left.rmdir()
    own = folder / f"{_PREFIX}{os.getpid()}-{name}"
    own.mkdir()
    return OwnCgroup(own, f"{above}/{own.name}", own.stat().st_ino)


def _left_behind(fs: HostFS, folder: Path) -> Iterator[Path]:
    for place in folder.glob(f"{_PREFIX}*"):
        owner = place.name[len(_PREFIX) :].partition("-")[0]
        if owner.isdecimal() and not (fs.proc / owner).exists():
            yield place


def _members(folder: Path) -> list[int]:
    try:
        return [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
    except OSError:
        return []
