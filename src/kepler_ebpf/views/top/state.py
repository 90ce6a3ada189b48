"""What somebody at the terminal has chosen to see, and what a key changes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..usage import GROUPINGS

SORTS = ("watts", "peak", "joules", "name")
_BY_KEY = {"p": "process", "g": "program", "c": "container", "o": "pod", "n": "namespace", "v": "vm"}
_ORDER = tuple(GROUPINGS)
HELP = (
    ("p g c", "processes, programs, containers"),
    ("o n v", "pods, namespaces, virtual machines"),
    ("Tab", "the next of these"),
    ("t", "tree: pods, their containers, and the processes in these"),
    ("s, r", "sort by the next column; reverse"),
    ("/", "filter by a part of name or place; Escape forgets it"),
    ("up, down, page", "move through the table"),
    ("space", "freeze, and go on"),
    ("left right [ ]", "a second back, on; ten seconds back, on; End: now"),
    ("h or ?", "this help"),
    ("q", "quit"),
)


@dataclass(frozen=True)
class View:
    """``by``: a grouping. ``at``: number of the step that is shown, None for the latest. ``top``: first row in sight.

    ``typing``: keys go to the filter.
    """

    by: str = "process"
    sort: str = "watts"
    reverse: bool = False
    filter: str = ""
    typing: bool = False
    tree: bool = False
    at: int | None = None
    top: int = 0
    help: bool = False
    over: bool = False


def pressed(view: View, key: str, first: int, last: int, page: int) -> View:
    """The view after a key. ``first``, ``last``: numbers of the steps there are. ``page``: rows in sight."""
    if view.typing:
        return _typed(view, key)
    if view.help:
        return replace(view, help=False, over=key in ("q", "ctrl-c"))
    if key in _BY_KEY:
        return replace(view, by=_BY_KEY[key], tree=False, top=0)
    if key in ("tab", "backtab"):
        step = 1 if key == "tab" else -1
        return replace(view, by=_ORDER[(_ORDER.index(view.by) + step) % len(_ORDER)], tree=False, top=0)
    if key in ("q", "ctrl-c"):
        return replace(view, over=True)
    if key in ("h", "?"):
        return replace(view, help=True)
    if key == "t":
        return replace(view, tree=not view.tree, top=0)
    if key == "s":
        return replace(view, sort=SORTS[(SORTS.index(view.sort) + 1) % len(SORTS)], top=0)
    if key == "r":
        return replace(view, reverse=not view.reverse, top=0)
    if key == "/":
        return replace(view, typing=True)
    if key == "escape":
        return replace(view, filter="", top=0)
    rows = {"up": -1, "down": 1, "pageup": -page, "pagedown": page, "home": -view.top}
    if key in rows:
        return replace(view, top=max(view.top + rows[key], 0))
    return _moved(view, key, first, last)


def _moved(view: View, key: str, first: int, last: int) -> View:
    """Through time."""
    now = last if view.at is None else view.at
    if key == " ":
        return replace(view, at=last if view.at is None else None)
    if key == "end":
        return replace(view, at=None)
    steps = {"left": -1, "right": 1, "[": -10, "]": 10}
    if key not in steps or not last:
        return view
    to = now + steps[key]
    return replace(view, at=None if to > last else max(to, first))


def _typed(view: View, key: str) -> View:
    if key == "enter":
        return replace(view, typing=False)
    if key in ("escape", "ctrl-c"):
        return replace(view, typing=False, filter="", top=0)
    if key == "backspace":
        return replace(view, filter=view.filter[:-1], top=0)
    if len(key) == 1 and key.isprintable():
        return replace(view, filter=view.filter + key, top=0)
    return view
