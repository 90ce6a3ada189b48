"""What a command's process runs before the command: a small program, so that hardly anything of it is measured.

A fork of the collector would take milliseconds to become the command, as all of its memory has to go first. Run as
``python -I -S launcher.py GATE TOLD USER COMMAND…`` by :mod:`.child`; it imports nothing of ours.
"""

from __future__ import annotations

import errno
import os
import signal
import sys


def main(gate: int, told: int, user: str, command: list[str]) -> None:
    """Become the user, say that all is ready, wait, and become the command; where that fails, say why.

    ``gate``: a byte comes from there when the command is to begin; its end means that it never will. ``told``: takes
    ``r`` for ready, and the number of an error. ``user``: ``uid:gid:groups``, groups with commas between; or empty.
    """
    os.set_inheritable(gate, False)
    os.set_inheritable(told, False)
    # As it was given to us: this interpreter may have added a locale of its own (PEP 538).
    with open("/proc/self/environ", "rb") as block:
        entries = [entry.partition(b"=") for entry in block.read().split(b"\0")]
        environment = {name: value for name, is_there, value in entries if is_there}
    # What Python does with signals is not what the command expects; what was ignored stays so (nohup).
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        if user:
            uid, gid, groups = user.split(":")
            os.setgroups([int(group) for group in groups.split(",")])
            os.setresgid(int(gid), int(gid), int(gid))
            os.setresuid(int(uid), int(uid), int(uid))
        os.write(told, b"r")
        if os.read(gate, 1):
            if not command[0]:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            os.execvpe(command[0], command, environment)
    except OSError as error:
        os.write(told, str(error.errno).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
    os._exit(127)
