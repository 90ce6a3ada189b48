"""One file per verb: its help is the docstring; ``add_arguments``, ``run``, and ``OPERANDS`` if it takes some."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import IO, Any

from .. import __version__
from ..errors import KeplerError, UsageError
from ..plain import clean_lines

VERBS = ("serve", "top", "stat", "record", "report", "doctor", "health")
DEFAULT_VERB = "serve"


def module_of(verb: str) -> ModuleType:
    """A verb's file. Only what is asked for is imported: an agent does not hold what a terminal needs."""
    return import_module(f".{verb}", __package__)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; help that cannot be written is an error too (argparse passes over it)."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise UsageError(f"{' '.join(message.split())} (see {self.prog} --help)")

    def parse_known_args(self, *given: Any, **named: Any) -> tuple[Any, list[str]]:
        """Nothing is left for who asked: a verb says itself what is not its own, and where its help is."""
        found, unknown = super().parse_known_args(*given, **named)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:  # type: ignore[override]
        print(message, end="", file=file or sys.stderr, flush=True)


def parser(of: Iterable[str] = VERBS) -> argparse.ArgumentParser:
    """The command line: of these verbs."""
    whole = _Parser(
        prog="kepler-ebpf",
        description="Per-process, container and pod energy from eBPF, RAPL and NVML.",
        epilog=f"Without a verb: {DEFAULT_VERB}.",
    )
    whole.add_argument("--version", action="version", version=f"kepler-ebpf {__version__}")
    verbs = whole.add_subparsers(dest="verb", metavar="VERB")
    for name in of:
        module = module_of(name)
        text = (module.__doc__ or "").strip()
        usage = f"kepler-ebpf {name} [OPTION]... {getattr(module, 'OPERANDS', '')}".rstrip()
        verb = verbs.add_parser(name, help=text.splitlines()[0], description=text, usage=usage)
        module.add_arguments(verb)
    return whole


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Parse and run. A bad end is one line on standard error and the error's exit code."""
    arguments = list(arguments)
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version")):
        arguments.insert(0, DEFAULT_VERB)
    try:
        parsed = parser(arguments[:1] if arguments[0] in VERBS else VERBS).parse_args(arguments)
        code: int = module_of(parsed.verb).run(parsed, environment)
        return code
    except KeplerError as error:
        print(f"kepler-ebpf: {clean_lines(str(error))}", file=sys.stderr)
        return error.exit_code
