"""Show what a recording holds: as text, as a page, as pictures, and for other programs.

Without an output: energy by workload, peaks and the check of the books, as text. Every output takes a file name, or -
for standard output.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from ..config import OPTIONS
from ..recording.reader import read
from ..report.book import Book, book, lines_of
from ..report.groups import GROUPINGS
from ..report.replay import attribute_again
from ..report.text import summary

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
    again = parser.add_argument_group("attribute again", "share the recorded energy by other rules than it was then")
    for one in OPTIONS:
        if one.name in _AGAIN:
            again.add_argument(f"--{one.name}", metavar="VALUE", help=one.help)


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Returns 1 where the file is damaged: what stands before the damage is shown.

    Raises UsageError and KeplerError.
    """
    told = open_book(Path(arguments.file), arguments)
    print(summary(told, tuple(arguments.by or ("container", "program")), arguments.top), end="")
    return 1 if told.damage else 0


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
