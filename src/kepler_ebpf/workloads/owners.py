"""Who may make and name cgroups at a place: told by who owns the folders above it, never by what they are called."""

from __future__ import annotations

import os
import re
from pathlib import Path

_GIVEN_AWAY = (".service", ".scope")
"""Ends of names of units that can be another user's. A slice cannot: systemd.resource-control(5), Delegate=."""
_USER_SLICE = re.compile(r"/user\.slice/user-([0-9]{1,10})\.slice")
_ANY_ID = re.compile(r"[0-9a-f]{64}")
_MAX_PARTS = 12


def owner_above(root: Path, path: str) -> str | None:
    """The number of the user who may make and name cgroups beside this one; empty for root, None if nothing tells.

    ``root``: of the hierarchy. The first folder from it tells that is not root's: whoever was given it made what is in
    it, and may have given that to any of his subordinate users. The cgroup's own folder does not: a runtime gives it to
    the container's user. Where a folder is gone or closed, what is above it was all root's, and so is the folder, but
    for units: systemd gives them to users (Delegate=), and removes them.
    """
    folders = ["", *path.split("/")[1:-1]]
    above, roots = str(root), {0}
    for number, name in enumerate(folders):
        above += f"/{name}" if name else ""
        try:
            uid = os.stat(above).st_uid
        except OSError:
            told = number and not any(one.endswith(_GIVEN_AWAY) for one in folders[number:])
            return "" if told else None
        if not number:
            roots.add(uid)  # in a user namespace of its own the machine's root has another number
        if uid not in roots:
            return str(uid)
    return ""


def maker(root: Path, path: str) -> str:
    """Who can make many cgroups like this one: a user, a container of root's, or whoever has the first two folders.

    Cheaper than parsing the path, as it is done for every cgroup that is made.
    """
    if found := _USER_SLICE.match(path):
        return f"user {found[1]}"
    parts = path.split("/", _MAX_PARTS)
    place = next((n for n, part in enumerate(parts) if len(part) >= 64 and _ANY_ID.search(part)), 0)
    owner = owner_above(root, "/".join(parts[: place + 1] if place else parts))
    if owner != "":
        return f"user {owner}"  # where nothing tells any more whose it was, all are one
    return parts[place] if place else "/".join(parts[:3])
