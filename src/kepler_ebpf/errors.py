"""The two ways a command ends badly, each with its exit code and one line for the user."""

from __future__ import annotations


class KeplerError(Exception):
    """Something the command needs is missing or failed: printed as one line, exit code 1."""

    exit_code = 1


class UsageError(KeplerError):
    """The user asked for something that does not exist or does not parse: exit code 2."""

    exit_code = 2
