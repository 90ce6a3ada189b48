"""The manual page of the Debian package, made of the verbs' docstrings and parsers, and the table of options."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from kepler_ebpf.cli import VERBS, module_of, parser
from kepler_ebpf.config import GROUPS, OPTIONS

_TEXTS = {
    name: ((module.__doc__ or "").strip(), getattr(module, "OPERANDS", ""))
    for name, module in ((verb, module_of(verb)) for verb in VERBS)
}
"""What each verb does, and its operands."""


def _roff(text: str) -> str:
    """Text as it is: no line begins a request, no dash becomes a hyphen."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("→", "->").replace("…", "...")
    escaped = escaped.replace("σ", r"\(*s")
    return re.sub(r"^([.'])", r"\\&\1", escaped, flags=re.MULTILINE)


def _verbs() -> dict[str, argparse.ArgumentParser]:
    (choice,) = (one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
    return dict(choice.choices)


def _shared(action: argparse.Action) -> bool:
    """Whether it is an option of the table, with its variable. Without one it is a verb's own."""
    return any(
        f"--{one.name}" in action.option_strings and f"({one.variable}, " in (action.help or "") for one in OPTIONS
    )


def _own(verb: argparse.ArgumentParser) -> Iterator[str]:
    """The options and operands that a verb has for itself."""
    for action in verb._actions:
        if isinstance(action, argparse._HelpAction) or _shared(action):
            continue
        value = ""
        if action.nargs != 0:
            words = "|".join(map(str, action.choices)) if action.choices else ""
            value = action.metavar if isinstance(action.metavar, str) else words or action.dest.upper()
        yield ".TP"
        yield f".B {_roff(' '.join(filter(None, (', '.join(action.option_strings), value))))}"
        yield _roff((action.help or "").replace("%%", "%"))


def _of_table(verb: argparse.ArgumentParser) -> str:
    """Which of the table's options a verb has, by group."""
    has = {flag for action in verb._actions if _shared(action) for flag in action.option_strings}
    told = []
    for group in GROUPS:
        flags = [f"--{one.name}" for one in OPTIONS if one.group == group]
        without = [flag for flag in flags if flag not in has]
        if len(without) < len(flags):
            told.append(group + (f" (without {', '.join(without)})" if without else ""))
    if len(told) == len(GROUPS) and "(" not in "".join(told):
        return "All under OPTIONS WITH VARIABLES."
    return f"Of those under OPTIONS WITH VARIABLES: {'; '.join(told)}." if told else ""


def page() -> str:
    """kepler-ebpf(8)."""
    lines = [
        '.TH KEPLER\\-EBPF 8 "" "kepler\\-ebpf" "System Administration"',
        ".SH NAME",
        r"kepler\-ebpf \- energy of processes, containers and pods, for Prometheus",
        ".SH SYNOPSIS",
        *(f".B kepler\\-ebpf {name}\n[OPTION]... {_roff(operands)}\n.br" for name, (_, operands) in _TEXTS.items()),
        ".SH DESCRIPTION",
        "Without a verb: serve. Each verb has a",
        r".B \-\-help",
        "of its own, which lists the options that it uses.",
    ]
    for name, (text, _) in _TEXTS.items():
        lines += [".TP", f".B {name}", _roff(" ".join(text.split()))]
    lines.append(".SH OPTIONS")
    for name, verb in _verbs().items():
        lines += [f".SS {name}", *_own(verb)]
        if told := _of_table(verb):
            lines += [".PP", _roff(told)]
    lines += [
        ".SH OPTIONS WITH VARIABLES",
        "Each of these is also a variable; a flag wins over its variable.",
    ]
    for group in GROUPS:
        lines.append(f".SS {group.capitalize()}")
        for one in OPTIONS:
            if one.group == group:
                shown = f"default {one.default}" if one.default else "not set"
                lines += [".TP", f".B \\-\\-{_roff(one.name)} VALUE", _roff(f"{one.help} ({one.variable}, {shown})")]
    lines += [
        ".SH FILES",
        "/etc/default/kepler\\-ebpf: variables of the service",
        ".SH SEE ALSO",
        "/usr/share/doc/kepler\\-ebpf",
    ]
    return "\n".join(lines) + "\n"
