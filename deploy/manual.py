"""The manual page of the Debian package, made of the verbs' docstrings and the table of options."""

from __future__ import annotations

import re

from kepler_ebpf.cli import VERBS, module_of
from kepler_ebpf.config import GROUPS, OPTIONS

_TEXTS = {
    name: ((module.__doc__ or "").strip(), getattr(module, "OPERANDS", ""))
    for name, module in ((verb, module_of(verb)) for verb in VERBS)
}
"""What each verb does, and its operands."""


def _roff(text: str) -> str:
    """Text as it is: no line begins a request, no dash becomes a hyphen."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("→", "->").replace("…", "...")
    return re.sub(r"^([.'])", r"\\&\1", escaped, flags=re.MULTILINE)


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
    lines += [".SH OPTIONS", "Each option is also a variable; a flag wins over its variable."]
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
