"""Passwords: which are right, and how many may be checked at a time.

bcrypt is slow on purpose, a scrape every second is not: a verified login is remembered, and answered from memory
whatever else is being checked. All other checks run one at a time, and only so many may wait.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

_BCRYPT_PASSWORD_BYTES = 72  # what bcrypt looks at; some versions of the library refuse longer ones
# As many checks wait as take about this time, so that each is answered within Prometheus' scrape timeout.
QUEUE_SECONDS = 1.0


class Users:
    """Names and bcrypt hashes, and the last verified password of each, as a digest under a key kept in memory only.

    ``before``: the previous users; verified logins whose hash is unchanged stay valid.
    """

    def __init__(self, hashes: Mapping[str, bytes], before: Users | None = None) -> None:
        self._hashes = dict(hashes)
        # What the password of an unknown user is checked against, so that the time does not tell who exists.
        self._decoy = max(self._hashes.values(), key=cost_of)
        self._key: bytes = before._key if before else secrets.token_bytes(32)
        self._verified: dict[str, bytes] = {
            name: before._verified[name]
            for name, hashed in self._hashes.items()
            if before and name in before._verified and before._hashes[name] == hashed
        }

    def remembers(self, name: str, password: bytes) -> bool:
        """Whether this very password of ``name`` was verified before; takes microseconds."""
        return hmac.compare_digest(self._verified.get(name, b""), self._digest(name, password))

    def verify(self, name: str, password: bytes) -> bool:
        """Whether ``password`` is that of ``name``; takes bcrypt's time (50 ms and up at cost 10)."""
        import bcrypt

        known = self._hashes.get(name)
        hashed = known or self._decoy
        password, whole = password[:_BCRYPT_PASSWORD_BYTES], password
        try:
            if bcrypt.checkpw(password, hashed) and known:
                self._verified[name] = self._digest(name, whole)
                return True
            # A refusal takes the same time for every name, whatever its cost: each step doubles the time so far.
            for cost in range(cost_of(hashed), cost_of(self._decoy)):
                bcrypt.checkpw(password, b"%b%02d%b" % (hashed[:4], cost, hashed[6:]))
        except ValueError:  # a NUL byte, which some versions of the library refuse
            pass
        return False

    def _digest(self, name: str, password: bytes) -> bytes:
        return hashlib.blake2b(name.encode() + b"\0" + password, key=self._key).digest()


def cost_of(hashed: bytes) -> int:
    """The cost in a bcrypt hash: a check takes 2 ** cost rounds."""
    return int(hashed[4:6])  # $2b$10$…


class PasswordChecks:
    """Checks passwords in one thread, one after the other; :meth:`passes` belongs to the event loop."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "http-passwords")
        self._seconds = 0.1  # what the last check took
        self._waiting = 0  # checks that wait or are being done

    async def passes(self, users: Users, name: str, password: bytes) -> bool | None:
        """Whether ``password`` is that of ``name``; None where too many checks wait already."""
        if users.remembers(name, password):
            return True
        if self._waiting * self._seconds > QUEUE_SECONDS:
            return None
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._check, users, name, password)
        finally:
            self._waiting -= 1

    def stop(self) -> None:
        """Check no further password."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _check(self, users: Users, name: str, password: bytes) -> bool:
        if users.remembers(name, password):  # verified while this one waited
            return True
        began = time.monotonic()
        try:
            return users.verify(name, password)
        finally:
            self._seconds = time.monotonic() - began
