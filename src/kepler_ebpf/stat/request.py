"""What a user asks of ``stat``, checked before anything runs."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..errors import UsageError
from ..options import number, parse_duration, parsed

T = TypeVar("T")
_MOST_RUNS = 100_000
_MOST_JOULES = 1e15


@dataclass(frozen=True)
class Request:
    """Either ``commands``, at most two, or one of ``pids``, ``cgroup`` and ``container``.

    ``most_joules``: the budget, None for none. ``seconds``: how long to watch what runs already, None until Ctrl-C.
    """

    commands: tuple[Sequence[str], ...] = ()
    pids: tuple[int, ...] = ()
    cgroup: str | None = None
    container: str | None = None
    runs: int = 1
    warmups: int = 0
    most_joules: float | None = None
    seconds: float | None = None


def checked(arguments: argparse.Namespace) -> Request:
    """Raises UsageError."""
    command = command_of(arguments.command)
    watched = [name for name in ("pid", "cgroup", "container") if getattr(arguments, name) is not None]
    if len(watched) + bool(command) != 1:
        what = "either a command or one of -p, --cgroup and --container" if watched else "kepler-ebpf stat -- COMMAND"
        raise UsageError(f"{'too much' if watched else 'nothing'} to measure: {what} (see kepler-ebpf stat --help)")
    only_commands = ("vs", "prepare", "repeat", "warmup")
    only_watched = ("duration",)
    for name in only_commands if watched else only_watched:
        if getattr(arguments, name) is not None:
            whose = "a command" if watched else "what runs already (-p, --cgroup, --container)"
            raise UsageError(f"--{name} is for {whose} only")
    commands = [command] if command else []
    if arguments.vs is not None:
        commands.append(parsed("--vs", arguments.vs, _words))
    return Request(
        tuple(commands),
        tuple(pid for line in arguments.pid or () for pid in _parsed("pid", line, _pids) or ()),
        arguments.cgroup,
        arguments.container,
        _parsed("repeat", arguments.repeat, number(int, 1, _MOST_RUNS, f"a whole number from 1 to {_MOST_RUNS}")) or 1,
        _parsed("warmup", arguments.warmup, number(int, 0, _MOST_RUNS, f"a whole number from 0 to {_MOST_RUNS}")) or 0,
        _parsed("max-joules", arguments.max_joules, number(float, 0, _MOST_JOULES, "joules, such as 12.5")),
        _parsed("duration", arguments.duration, parse_duration),
    )


def command_of(words: Sequence[str]) -> Sequence[str]:
    """The command at the end of a line: what stands behind its first word is its own, with ``--`` before it or not."""
    return words[1:] if words[:1] == ["--"] else words


def _parsed(option: str, value: str | None, parse: Callable[[str], T]) -> T | None:
    return None if value is None else parsed(f"--{option}", value, parse)


def _words(line: str) -> list[str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise ValueError(f"a command as a shell would take it ({error})") from None
    if not words:
        raise ValueError("a command")
    return words


def _pids(line: str) -> tuple[int, ...]:
    numbers = line.split(",")
    if not all(re.fullmatch("[1-9][0-9]{0,9}", one) for one in numbers):
        raise ValueError("process ids with commas between, such as 1234 or 1234,1240")
    return tuple(map(int, numbers))
