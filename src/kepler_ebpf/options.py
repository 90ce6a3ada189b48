"""What an option is: a flag, a ``KEPLER_*`` variable and a default, in that order of precedence; parsers of values."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from .errors import UsageError

if TYPE_CHECKING:  # it imports numpy, which `health` need not wait for
    from .columns import Component

T = TypeVar("T")
N = TypeVar("N", int, float)

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3}
# Each unit once, the longest first: 1h1h is a slip.
_DURATION = re.compile("".join(rf"(?:(\d+(?:\.\d+)?){unit})?" for unit in _SECONDS), re.ASCII)
# Python's int and float take the digits of every script, 1_000 and space around it; what else reads a value does not.
_NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Option(Generic[T]):
    """``name``: the flag without its dashes; the variable is ``KEPLER_`` and the name in capitals.

    ``parse`` raises ValueError with what would do. ``group``: where ``--help`` shows it.
    """

    name: str
    default: str
    parse: Callable[[str], T]
    help: str
    group: str

    @property
    def variable(self) -> str:
        return "KEPLER_" + self.name.upper().replace("-", "_")

    @property
    def attribute(self) -> str:
        return self.name.replace("-", "_")

    def value(self, flag: str | None, environment: Mapping[str, str]) -> T:
        """Flag over variable over default, parsed. Raises UsageError naming the one that is wrong."""
        if flag is not None:
            origin, text = f"--{self.name}", flag
        else:
            origin, text = self.variable, environment.get(self.variable, self.default)
        return parsed(origin, text, self.parse)


def parsed(origin: str, text: str, parse: Callable[[str], T]) -> T:
    """A value that was given at ``origin``, a flag or a variable. ``parse`` raises ValueError with what would do.

    Raises UsageError, which names all three.
    """
    try:
        return parse(text)
    except (ValueError, OSError) as error:  # a path that is too long is an OSError
        expected = str(error) if isinstance(error, ValueError) else f"a path that can be looked at ({error.strerror})"
        raise UsageError(f"{origin}: {text!r} will not do: expected {expected}") from None


def option(default: str, parse: Callable[[str], T], help: str, group: str) -> T:
    """A field of the configuration, said once: default, parser, help and group. Its name is the option's, too."""
    return cast(T, field(metadata={"option": Option("", default, parse, help, group)}))


def file_name(text: str) -> str:
    """The name of a file, for argparse. Raises ArgumentTypeError."""
    if not text:  # as of a variable of a shell that is not set
        raise argparse.ArgumentTypeError("expected the name of a file")
    return text


# -- parsers ----------------------------------------------------------------------------------------------------------


def parse_duration(text: str) -> float:
    """Seconds of ``500ms``, ``30s``, ``1m``, ``1m30s``. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ValueError("a duration such as 100ms, 30s or 1m30s")
    return sum(float(number) * unit for number, unit in zip(match.groups("0"), _SECONDS.values()))


def duration(least: float, most: float, form: str) -> Callable[[str], float]:
    """Durations within bounds (seconds), described by ``form``."""

    def parse(text: str) -> float:
        try:
            seconds = parse_duration(text)
        except ValueError:
            raise ValueError(form) from None
        if not least <= seconds <= most:
            raise ValueError(form)
        return seconds

    return parse


@dataclass(frozen=True)
class Choice:
    """A parser of one of these words."""

    words: tuple[str, ...]

    def __call__(self, text: str) -> str:
        if text not in self.words:
            raise ValueError("one of " + ", ".join(self.words))
        return text


def choice(*words: str) -> Choice:
    """One of these words."""
    return Choice(words)


def switch(text: str) -> bool:
    """``on`` or ``off``."""
    return choice("on", "off")(text) == "on"


def number(kind: Callable[[str], N], least: float, most: float, form: str) -> Callable[[str], N]:
    """Numbers within bounds, none of them below 0."""

    def parse(text: str) -> N:
        if not _NUMBER.fullmatch(text):
            raise ValueError(form)
        try:
            value = kind(text)
        except ValueError:
            raise ValueError(form) from None
        if not least <= value <= most:
            raise ValueError(form)
        return value

    return parse


def text(value: str) -> str:
    """Anything."""
    return value


def text_or_auto(value: str) -> str:
    """Anything; ``auto`` where it is empty."""
    return value or "auto"


def folder(value: str) -> Path:
    """An existing folder."""
    path = Path(value)
    if not value or not path.is_dir():
        raise ValueError("an existing folder")
    return path


def host_folder(value: str) -> Path:
    """A folder where something is mounted, or may be: it is not empty."""
    path = folder(value)
    with os.scandir(path) as entries:
        if next(entries, None) is None:
            raise ValueError("a folder that is not empty: nothing is mounted there")
    return path


def host_folder_or_auto(value: str) -> Path | None:
    """A folder where something is mounted; None for ``auto``."""
    return None if value == "auto" else host_folder(value)


def optional_folder(value: str) -> Path | None:
    """An existing folder; empty for none."""
    return folder(value) if value else None


def existing_file(value: str) -> Path | None:
    """An existing file; empty for none."""
    if value and not Path(value).is_file():
        raise ValueError("an existing file")
    return Path(value) if value else None


def socket_paths(value: str) -> str:
    """Absolute paths separated by commas, ``off``, or empty."""
    paths = [path.strip().removeprefix("unix://") for path in value.split(",")]
    if paths not in ([""], ["off"]) and not all(path.startswith("/") for path in paths):
        raise ValueError("an absolute path, several separated by commas, or off")
    return ",".join(paths)


LEVELS = ("node", "pod", "container", "process", "vm")
"""Levels of detail that may be left out of a page, by the words that users know from Kepler."""


def levels(value: str) -> frozenset[str]:
    """Some of :data:`LEVELS`, separated by commas."""
    words = frozenset(word.strip() for word in value.split(","))
    if not words <= frozenset(LEVELS):
        raise ValueError(f"some of {', '.join(LEVELS)}, separated by commas")
    return words


# Kubernetes' own rule (RFC 1123). No series has a name that breaks it: a pattern such as shop-* would leave none.
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


def namespace_names(value: str) -> frozenset[str]:
    """Names of namespaces separated by commas; empty for none."""
    found = frozenset(word.strip() for word in value.split(",")) if value else frozenset()
    if not all(_NAMESPACE.fullmatch(name) for name in found):
        raise ValueError("names of namespaces separated by commas, each whole, such as shop,bank")
    return found


def optional_watts(value: str) -> float | None:
    """Watts; empty for none."""
    return number(float, 0, 1e6, "watts of the whole node, such as 95.5")(value) if value else None


def per_cent(value: str) -> float:
    """``5%`` or ``5`` as a fraction of one core."""
    return number(float, 0.1, 100, "per cent of one core, such as 5%")(value.removesuffix("%")) / 100


def all_or_number(value: str) -> int | str:
    """``all``, ``off``, or how many."""
    if value in ("all", "off"):
        return value
    return number(int, 0, 999_999_999, "all, off, or how many processes to show, such as 100")(value)


Rule = tuple[str, str, "Component"]
"""A board sensor by regular expressions of its chip and label, and the component it measures."""


def sensor_rules(value: str) -> tuple[Rule, ...]:
    """``CHIP/LABEL=package,…``: sensors and what they measure."""
    rules: list[Rule] = []
    for entry in filter(None, value.split(",")):
        sensor, _, component = entry.rpartition("=")
        chip, _, label = sensor.partition("/")
        try:
            if not chip or component not in ("package", "dram"):
                raise ValueError
            rules.append((re.compile(chip).pattern, re.compile(label).pattern, cast("Component", component)))
        except (ValueError, re.error, RecursionError, OverflowError):
            raise ValueError("CHIP/LABEL=package or CHIP/LABEL=dram, separated by commas") from None
    return tuple(rules)
