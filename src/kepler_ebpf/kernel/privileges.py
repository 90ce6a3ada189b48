"""The capabilities that the kernel side needs (capabilities(7))."""

from __future__ import annotations

import os

from ..errors import KeplerError
from ..hostfs import read_text

_NAMES = {
    1: "DAC_OVERRIDE",
    2: "DAC_READ_SEARCH",
    19: "SYS_PTRACE",
    21: "SYS_ADMIN",
    24: "SYS_RESOURCE",
    38: "PERFMON",
    39: "BPF",
}


def held() -> set[str]:
    """Names of the effective capabilities that matter here."""
    status = dict(line.split(":", 1) for line in read_text("/proc/self/status").splitlines() if ":" in line)
    effective = int(status["CapEff"], 16)
    return {name for bit, name in _NAMES.items() if effective >> bit & 1}


def missing(capabilities: set[str]) -> str:
    """What is missing to load BPF programs, as a sentence; empty where nothing is."""
    if "SYS_ADMIN" in capabilities or {"BPF", "PERFMON"} <= capabilities:
        return ""
    have = ", ".join(f"CAP_{name}" for name in sorted(capabilities)) or "none that count"
    return f"loading BPF programs needs root, or CAP_BPF and CAP_PERFMON: user {os.geteuid()} holds {have}"


def require() -> None:
    """Raises KeplerError where BPF programs could not be loaded."""
    sentence = missing(held())
    if sentence:
        raise KeplerError(sentence)
