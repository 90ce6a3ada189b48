"""The capabilities that the kernel side needs (capabilities(7))."""

from __future__ import annotations

import ctypes
import logging
import os

from ..errors import KeplerError
from ..host.fs import read_text
from ..host.syscalls import bpf_is_filtered

log = logging.getLogger(__name__)

_SYS_ADMIN, _BPF = 21, 39
# What running uses: programs are run and counters read (CAP_BPF, CAP_PERFMON); cgroup ids are looked up by file handle
# (CAP_DAC_READ_SEARCH), or by a walk without it.
RUNNING = (2, 38, _BPF)
# What the thread keeps that asks users' engines for names: their sockets are in folders that are closed to others, and
# root without CAP_DAC_OVERRIDE is one of the others.
ASKING_USERS = (1, 2)
_CAPABILITY_VERSION_3 = 0x20080522
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 23, 24, 38  # include/uapi/linux/prctl.h

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
        if bpf_is_filtered():
            return (
                "bpf(2) is refused although its capability is held: a seccomp profile forbids it "
                "(container runtimes of 2022 and before; seccompProfile Unconfined lets it through)"
            )
        return ""
    have = ", ".join(f"CAP_{name}" for name in sorted(capabilities)) or "none that count"
    return f"loading BPF programs needs root, or CAP_BPF and CAP_PERFMON: user {os.geteuid()} holds {have}"


def require() -> None:
    """Raises KeplerError where BPF programs could not be loaded."""
    sentence = missing(held())
    if sentence:
        raise KeplerError(sentence)


def drop(needed: tuple[int, ...] = RUNNING) -> None:
    """Give up every capability but these, for this thread and those it will start, and for good.

    Linux keeps capabilities per thread, so this comes before any other thread is started. ``no_new_privs`` and the
    bounding set see to it that no program started later gets them back (prctl(2), capabilities(7)).

    Before CAP_BPF (Linux kernel commit 2c78ee898d8f, in v5.8) its part was CAP_SYS_ADMIN's, which then stays.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    words = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable of bits 0-31, then of bits 32-63
    if libc.capget(header, words) != 0:
        return
    kept = sum(1 << bit for bit in needed)
    if _BPF in needed and not words[3] >> (_BPF - 32) & 1:
        kept |= 1 << _SYS_ADMIN
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for bit in range(64):
        if not kept >> bit & 1 and libc.prctl(_PR_CAPBSET_READ, bit, 0, 0, 0) == 1:
            libc.prctl(_PR_CAPBSET_DROP, bit, 0, 0, 0)  # refused without CAP_SETPCAP: no_new_privs holds all the same
    for word in range(6):
        words[word] &= (kept >> 32 if word >= 3 else kept) & 0xFFFFFFFF
    if libc.capset(header, words) != 0:
        log.warning("could not give up capabilities: %s", os.strerror(ctypes.get_errno()))
