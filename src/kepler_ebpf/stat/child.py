"""A command as a child: everything is ready before it begins, so that nothing but the command is measured."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import KeplerError
from ..host.fs import HostFS, read_text
from . import launcher

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes as env(1) and shells have them."""


_NO_ID = 2**32 - 1  # setresuid(2): -1 leaves an id as it is
_PR_SET_CHILD_SUBREAPER = 36  # include/uapi/linux/prctl.h


class StartError(KeplerError):
    """The command could not be started."""

    def __init__(self, command: Sequence[str], error: OSError) -> None:
        super().__init__(f"cannot run {command[0]!r}: {error.strerror}")
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        self.exit_code = NOT_FOUND if missing else NOT_EXECUTABLE


@dataclass(frozen=True)
class User:
    """Who a command runs as. ``groups``: all of them. ``environment``: variables that are another's for root."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    environment: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}:{','.join(map(str, self.groups))}"


def invoking_user(environment: Mapping[str, str]) -> User | None:
    """The user who called sudo; None where nobody did, or where we are not root and cannot become anybody.

    Raises KeplerError where sudo's variables are no numbers: the command must not run as root by mistake.
    """
    told = environment.get("SUDO_UID"), environment.get("SUDO_GID")
    if os.geteuid() != 0 or told == (None, None):
        return None
    uid, gid = map(_id, told)
    if uid is None or gid is None:
        raise KeplerError(
            f"SUDO_UID {told[0]!r} and SUDO_GID {told[1]!r} are no numbers of a user and a group: unset them"
        )
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return User(uid, gid, (gid,), {})
    groups = os.getgrouplist(entry.pw_name, gid)
    own = {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name, "SHELL": entry.pw_shell}
    return User(uid, gid, tuple(groups), own)


def _id(text: str | None) -> int | None:
    """The number of a user or group; None where it is none."""
    if text is None or not re.fullmatch("[0-9]{1,10}", text):
        return None
    return number if (number := int(text)) < _NO_ID else None


class Child:
    """A process that waits for :meth:`release` before it becomes the command. ``pid``: its number."""

    def __init__(self, command: Sequence[str], user: User | None) -> None:
        """Raises KeplerError where no process can be made, or the user cannot be had."""
        self._command = command
        gate, self._gate = os.pipe()
        self._told, told = os.pipe()
        os.set_inheritable(gate, True)
        os.set_inheritable(told, True)
        start = [sys.executable, "-I", "-S", str(Path(launcher.__file__)), str(gate), str(told), str(user or "")]
        environment = _environment()
        if user is not None:
            environment.update((name.encode(), value.encode()) for name, value in user.environment.items())
        try:
            # Descriptors that whoever started us left open are the command's too.
            self._process = subprocess.Popen([*start, *command], env=environment, close_fds=False)
        except OSError as error:
            raise KeplerError(f"cannot start a process: {error.strerror}") from error
        finally:
            os.close(gate)
            os.close(told)
        self.pid = self._process.pid
        said = os.read(self._told, 16)
        if said != b"r":
            self._process.wait()
            why = os.strerror(int(said)) if said else "it was ended before it began"
            raise KeplerError(f"cannot run {command[0]!r}: {why}")

    def release(self) -> None:
        """Let it become the command. Raises StartError."""
        with contextlib.suppress(BrokenPipeError):  # it was ended meanwhile, by Ctrl-C say: its status tells
            os.write(self._gate, b".")
        os.close(self._gate)
        with os.fdopen(self._told, "rb") as told:
            number = told.read()  # ends when the command has begun: the descriptor closes on exec
        if number:
            self._process.wait()
            raise StartError(self._command, OSError(int(number), os.strerror(int(number))))

    def status(self) -> int | None:
        """Its exit status, the number of a signal below 0; None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Its exit status, when it has ended."""
        return self._process.wait()

    def signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        self._process.send_signal(number)


def adopt_orphans() -> None:
    """From now on processes whose parents have ended are ours, so that a daemon is known by its parent (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans(child: int) -> None:
    """Let go of adopted processes that have ended; the child itself is left to whoever waits for it."""
    with contextlib.suppress(ChildProcessError):
        while True:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None or ended.si_pid == child:
                return
            os.waitpid(ended.si_pid, 0)


def is_alive(fs: HostFS, pid: int) -> bool:
    """Whether there is such a process, and not only what is left of it."""
    try:
        return read_text(fs.proc / str(pid) / "stat").rpartition(")")[2].split()[0] not in ("Z", "X")
    except (OSError, IndexError):
        return False


def process_of(fs: HostFS, number: int) -> int:
    """The process that this thread is of; itself, where it is none or nothing is known of it."""
    try:
        found = re.search(r"^Tgid:\s*([0-9]+)$", read_text(fs.proc / str(number) / "status"), re.MULTILINE)
    except OSError:
        return number
    return int(found[1]) if found else number


def _environment() -> dict[bytes, bytes]:
    """As we got it: what we set for ourselves since is not the command's."""
    found = {}
    for entry in Path("/proc/self/environ").read_bytes().split(b"\0"):
        name, is_there, value = entry.partition(b"=")
        if is_there:
            found[name] = value
    return found
