"""Cgroups that came and went, as the kernel queued them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..host.syscalls import Element
from . import layout
from .source import CgroupEvent

_MAX_PER_CALL = 4096
_LONGEST_PATH = layout.CGROUP_EVENT["path"].itemsize - 1


def take_events(queue: Element) -> Iterator[CgroupEvent]:
    """Take what is in the queue, in order. Raises OSError."""
    for _ in range(_MAX_PER_CALL):
        if not queue.take():
            return
        event = np.frombuffer(queue.value.raw, layout.CGROUP_EVENT, 1)[0]
        path = event["path"].split(b"\0", 1)[0]  # what stands behind the NUL is of an earlier event
        if len(path) == _LONGEST_PATH:
            path = b""  # cut off: what is left could be anybody's
        yield CgroupEvent(int(event["id"]), bool(event["removed"]), path.decode("utf-8", "replace"))
