"""Show what a recording holds: as text, as a page, as pictures, and for other programs.

Without an output: energy by workload, peaks and the check of the books, as text. Every output takes a file name, or -
for standard output.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from ..config import OPTIONS
from ..errors import KeplerError, UsageError
from ..recording.reader import read
from ..report.book import Book, book, lines_of
from ..report.groups import GROUPINGS, group
from ..report.page import page
from ..report.replay import attribute_again
from ..report.series import Stack, edges, stack
from ..report.svg import svg
from ..report.text import summary

_LAYERS = 12
_PICTURE_STEPS = 2400
_AGAIN = ("idle-policy", "hyperthread-ratio")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a recording made by kepler-ebpf record")
    parser.add_argument(
        "--by",
        action="append",
        choices=list(GROUPINGS),
        metavar="WHAT",
        help="what energy is told by: "
        + ", ".join(GROUPINGS)
        + "; several are allowed (default container and program)",
    )
    parser.add_argument("--top", type=int, default=15, metavar="N", help="most workloads in a list (default 15)")
    made = parser.add_argument_group("outputs", "each takes a file to write, - for standard output")
    for name, (text, _) in _OUTPUTS.items():
        made.add_argument(f"--{name}", metavar="FILE", help=text)
    again = parser.add_argument_group("attribute again", "share the recorded energy by other rules than it was then")
    for one in OPTIONS:
        if one.name in _AGAIN:
            again.add_argument(f"--{one.name}", metavar="VALUE", help=one.help)


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Returns 1 where the file is damaged: what stands before the damage is shown.

    Raises UsageError and KeplerError.
    """
    if arguments.top < 1:
        raise UsageError(f"--top: {arguments.top} will not do: expected at least 1")
    told = open_book(Path(arguments.file), arguments)
    asked = {name: target for name in _OUTPUTS if (target := getattr(arguments, name)) is not None}
    for name, target in asked.items():
        _write(target, _OUTPUTS[name][1](told, arguments))
    if not asked:
        print(summary(told, tuple(arguments.by or ("container", "program")), arguments.top), end="")
    return 1 if told.damage else 0


def _picture(told: Book, arguments: argparse.Namespace) -> Stack:
    by = arguments.by[0] if arguments.by else "program"
    return stack(told, group(told, by), edges(told, _PICTURE_STEPS), min(arguments.top, _LAYERS))


def _html(told: Book, arguments: argparse.Namespace) -> bytes:
    return page(told, arguments.by or tuple(GROUPINGS), min(arguments.top, _LAYERS)).encode("utf-8", "replace")


_OUTPUTS: Mapping[str, tuple[str, Callable[[Book, argparse.Namespace], bytes]]] = {
    "html": ("a page with the power over time, to zoom into, and a table; nothing else is needed to show it", _html),
    "svg": (
        "a picture of the power over time",
        lambda told, arguments: svg(told, _picture(told, arguments)).encode("utf-8", "replace"),
    ),
}
"""By flag: its help, and what makes the content."""


def _write(target: str, content: bytes) -> None:
    """Raises KeplerError where it cannot be written."""
    if target == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        return
    try:
        Path(target).write_bytes(content)
    except OSError as error:
        raise KeplerError(f"cannot write {target}: {error.strerror}") from error


def open_book(path: Path, arguments: argparse.Namespace) -> Book:
    """The books of a recording, by the rules asked for; damage is told on standard error."""
    asked = {
        one.attribute: one.value(flag, {})
        for one in OPTIONS
        if one.name in _AGAIN and (flag := getattr(arguments, one.attribute)) is not None
    }
    recording = read(path)
    lines = lines_of(recording)
    if recording.damage:
        print(f"kepler-ebpf: {recording.damage}", file=sys.stderr)
    return attribute_again(recording, lines, **asked) if asked else book(recording, lines)
