"""Show what a recording holds: as text, as a page, as pictures, and for other programs.

Without an output: energy by workload, peaks and the check of the books, as text. With two recordings: what differs
between them, and whether it means anything. A damaged recording is shown as far as it is whole, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from ..config import OPTIONS
from ..errors import KeplerError, UsageError
from ..options import file_name, number, parsed
from ..plain import clean
from ..recording.reader import read
from ..report import compare, firefox, flame, picture, tables
from ..report.book import Book, book, lines_of
from ..report.groups import GROUPINGS, Groups, foremost, group
from ..report.page import page
from ..report.replay import attribute_again
from ..report.series import Stack, Timeline, stack
from ..report.svg import svg
from ..report.text import summary
from ..stat.files import STDOUT, is_one_file

_TOP = 15
_LAYERS = 12
_MOST_TOP = 1_000_000
_PICTURE_STEPS = 2400
_AGAIN = ("idle-policy", "hyperthread-ratio")
_TEXT = ("container", "program")

OPERANDS = "FILE [FILE2]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = partial(parser.add_argument, type=file_name)
    add("file", metavar="FILE", help="a recording made by kepler-ebpf record, - for standard input")
    add("other", metavar="FILE2", nargs="?", help="another recording, to compare with the first")
    parser.add_argument(
        "--by",
        action="append",
        choices=list(GROUPINGS),
        help=f"what energy is told by; several are allowed (default {' and '.join(_TEXT)})",
    )
    parser.add_argument(
        "--top", metavar="N", help=f"most workloads in a list (default {_TOP}; all in --csv and --parquet)"
    )
    parser.add_argument("--only", metavar="TEXT", help="give only those a line who have TEXT in their name")
    made = parser.add_argument_group("outputs", "each takes a file to write, - for standard output")
    for name, (text, _) in _OUTPUTS.items():
        made.add_argument(f"--{name}", metavar="FILE", type=file_name, help=text)
    made.add_argument(
        "--frames", action="store_true", help="with --csv and --parquet: a line for every workload in every frame"
    )
    again = parser.add_argument_group("attribute again", "share the recorded energy by other rules than it was then")
    for one in OPTIONS:
        if one.name in _AGAIN:
            again.add_argument(f"--{one.name}", metavar="VALUE", help=one.help)


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Returns 1 where a file is damaged. Raises UsageError and KeplerError."""
    if arguments.top is not None:
        arguments.top = parsed(
            "--top", arguments.top, number(int, 1, _MOST_TOP, f"a whole number from 1 to {_MOST_TOP}")
        )
    outputs = {name: target for name in _OUTPUTS if (target := getattr(arguments, name)) is not None}
    if arguments.frames and not outputs.keys() & {"csv", "parquet"}:
        raise UsageError("--frames: expected --csv or --parquet with it")
    for flag in ("top", "only"):
        for whole in ("frames", "flame"):
            if getattr(arguments, flag) is not None and getattr(arguments, whole):
                raise UsageError(f"--{flag}: --{whole} tells of everybody, expected one of them alone")
    inputs = [path for path in (arguments.file, arguments.other) if path is not None]
    if inputs.count("-") > 1:
        raise UsageError("-: standard input holds one recording, expected a file for the other one")
    _refuse_overwriting(inputs, outputs)
    if arguments.other is not None:
        return _compare(arguments, list(outputs))
    told = _open(Path(arguments.file), arguments)
    for name, target in outputs.items():
        _write(target, _OUTPUTS[name][1](told, arguments))
    if not outputs:
        print(summary(told, _tables(told, arguments, _TEXT)), end="")
    return 1 if told.damage else 0


def _refuse_overwriting(inputs: Sequence[str], outputs: Mapping[str, str]) -> None:
    """Raises UsageError where an output would take the place of a recording that is read, or of another output."""
    for name, target in outputs.items():
        for path in inputs:
            if path != STDOUT and is_one_file(target, path):  # as an input it is another stream
                raise UsageError(f"--{name}: {target} is the recording {path} itself: expected another file")
    for (name, target), (other, theirs) in itertools.combinations(outputs.items(), 2):
        if is_one_file(target, theirs):
            already = "standard output" if theirs == STDOUT else theirs
            raise UsageError(f"--{other}: {already} is taken by --{name} already: expected another file")


def _compare(arguments: argparse.Namespace, outputs: list[str]) -> int:
    if outputs:
        raise UsageError(f"--{outputs[0]}: expected one recording; two are compared as text")
    by = arguments.by[0] if arguments.by else "program"
    if by not in compare.COMPARABLE:
        raise UsageError(
            f"--by: '{by}' will not do for two recordings: expected one of {', '.join(compare.COMPARABLE)}"
        )
    first, second = (_open(Path(path), arguments) for path in (arguments.file, arguments.other))
    print(compare.text(first, second, by, arguments.top or _TOP), end="")
    return 1 if first.damage or second.damage else 0


def _open(path: Path, arguments: argparse.Namespace) -> Book:
    """The books of a recording, by the rules asked for; damage is told on standard error."""
    asked = {
        one.attribute: one.value(flag, {})
        for one in OPTIONS
        if one.name in _AGAIN and (flag := getattr(arguments, one.attribute)) is not None
    }
    recording = read(path)
    lines = lines_of(recording)
    if recording.damage:
        print(f"kepler-ebpf: {clean(recording.damage)}", file=sys.stderr)
    return attribute_again(recording, lines, **asked) if asked else book(recording, lines)


def _tables(
    told: Book, arguments: argparse.Namespace, groupings: tuple[str, ...], most: int = sys.maxsize, usual: int = _TOP
) -> list[tuple[Groups, int]]:
    """The groups that are shown, and how many of each have a line of their own. ``usual``: as many, where nobody asks
    for another number; ``most``: never more."""
    found = []
    for by in arguments.by or groupings:
        groups, count = group(told, by), arguments.top or usual
        if arguments.only is not None:
            groups, matching = foremost(groups, arguments.only)
            count = min(count, matching)
        found.append((groups, min(count, most)))
    return found


# -- outputs ----------------------------------------------------------------------------------------------------------


def _stack(told: Book, arguments: argparse.Namespace, most_steps: int) -> Stack:
    ((groups, top), *_) = _tables(told, arguments, ("program",), _LAYERS)
    return stack(told, groups, Timeline(told), most_steps, top)


def _html(told: Book, arguments: argparse.Namespace) -> bytes:
    return page(told, _tables(told, arguments, tuple(GROUPINGS), _LAYERS)).encode("utf-8", "replace")


def _svg(told: Book, arguments: argparse.Namespace) -> bytes:
    return svg(told, _stack(told, arguments, _PICTURE_STEPS)).encode("utf-8", "replace")


def _png(told: Book, arguments: argparse.Namespace) -> bytes:
    return picture.png(told, _stack(told, arguments, _PICTURE_STEPS))


def _firefox(told: Book, arguments: argparse.Namespace) -> bytes:
    return firefox.profile(told, _stack(told, arguments, firefox.MOST_STEPS)).encode("utf-8", "replace")


def _flame(told: Book, arguments: argparse.Namespace) -> bytes:
    return flame.folded(told).encode("utf-8", "replace")


def _table(told: Book, arguments: argparse.Namespace) -> tables.Columns:
    if arguments.frames:
        return tables.by_frame(told)
    return tables.by_workload(told, _tables(told, arguments, tuple(GROUPINGS), usual=sys.maxsize))


def _csv(told: Book, arguments: argparse.Namespace) -> bytes:
    return tables.as_csv(_table(told, arguments))


def _parquet(told: Book, arguments: argparse.Namespace) -> bytes:
    return tables.as_parquet(_table(told, arguments))


_OUTPUTS: Mapping[str, tuple[str, Callable[[Book, argparse.Namespace], bytes]]] = {
    "html": ("a page: power over time to zoom into, and a table; nothing else is needed to show it", _html),
    "svg": ("a picture of the power over time", _svg),
    "png": ("the same as PNG (needs matplotlib)", _png),
    "csv": ("energy by workload, for spreadsheets", _csv),
    "parquet": ("the same, for data frames", _parquet),
    "firefox": ("power tracks for the Firefox Profiler (profiler.firefox.com)", _firefox),
    "flame": ("folded stacks, microjoules by node;namespace;pod;container;comm, for flame graphs", _flame),
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
