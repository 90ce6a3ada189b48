"""Passwords: which are right, and how many may be checked at a time.

bcrypt is slow on purpose, a scrape every second is not: a password once verified is remembered. And nobody may keep a
good login waiting by sending bad ones: what waits to be checked is bounded, and shared out fairly.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

_BCRYPT_PASSWORD_BYTES = 72  # what bcrypt looks at; some versions of the library refuse longer ones
# As many checks wait as can be done in about this time, so that who gets one has it within Prometheus' scrape timeout.
QUEUE_SECONDS = 1.0


class Users:
    """Names and bcrypt hashes, and which password of each has been verified already.

    The last good password of each user is remembered as a digest under a key that lives only in memory; ``before``:
    the users until now, of whom those whose hash is the same stay remembered.
    """

    def __init__(self, hashes: Mapping[str, bytes], before: Users | None = None) -> None:
        self._hashes = dict(hashes)
        # What the password of an unknown user is checked against, so that the time does not tell who exists.
        self._decoy = max(self._hashes.values(), key=_cost)
        self._key: bytes = before._key if before else secrets.token_bytes(32)
        self._verified: dict[str, bytes] = {
            name: before._verified[name]
            for name, hashed in self._hashes.items()
            if before and name in before._verified and before._hashes[name] == hashed
        }

    def remembers(self, name: str, password: bytes) -> bool:
        """Whether this very password of ``name`` was verified before; takes microseconds."""
        return hmac.compare_digest(self._verified.get(name, b""), self.digest(name, password))

    def verify(self, name: str, password: bytes) -> bool:
        """Whether ``password`` is that of ``name``; takes bcrypt's time (50 ms and up at cost 10)."""
        import bcrypt

        known = self._hashes.get(name)
        hashed = known or self._decoy
        password, whole = password[:_BCRYPT_PASSWORD_BYTES], password
        try:
            if bcrypt.checkpw(password, hashed) and known:
                self._verified[name] = self.digest(name, whole)
                return True
            # A no takes as long for everybody, whatever the cost of his hash: each step doubles the time so far.
            for cost in range(_cost(hashed), _cost(self._decoy)):
                bcrypt.checkpw(password, b"%b%02d%b" % (hashed[:4], cost, hashed[6:]))
        except ValueError:  # a NUL byte, which some versions of the library refuse
            pass
        return False

    def digest(self, name: str, password: bytes) -> bytes:
        return hashlib.blake2b(name.encode() + b"\0" + password, key=self._key).digest()


def _cost(hashed: bytes) -> int:
    return int(hashed[4:6])  # $2b$10$…


class _Check(NamedTuple):
    users: Users
    name: str
    password: bytes
    client: str
    result: asyncio.Future[bool | None]


class PasswordChecks:
    """Checks one password after the other in a thread of its own; all else belongs to the event loop ``loop``."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = ThreadPoolExecutor(1, "http-passwords")
        self._worker: asyncio.Task[None] | None = None
        self._seconds = 0.1  # what the last check took
        self._waiting: list[_Check] = []  # oldest first
        # Waiting or being checked: one check for all who send the same name and password meanwhile.
        self._results: dict[tuple[Users, bytes], asyncio.Future[bool | None]] = {}

    async def passes(self, users: Users, name: str, password: bytes, client: str) -> bool | None:
        """Whether ``password`` is that of ``name``; None where too many checks of ``client`` (an address) wait."""
        if users.remembers(name, password):
            return True
        key = users, users.digest(name, password)
        result = self._results.get(key)
        if result is None:
            result = self._results[key] = self._loop.create_future()
            result.add_done_callback(lambda _: self._results.pop(key))
            self._waiting.append(_Check(users, name, password, client, result))
            if len(self._waiting) > max(1.0, QUEUE_SECONDS / self._seconds):
                self._take(max).result.set_result(None)
            if self._worker is None or self._worker.done():
                self._worker = self._loop.create_task(self._work())
        return await asyncio.shield(result)  # who goes away takes it from nobody else

    def stop(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        while self._waiting:
            check = self._take(min)
            began = self._loop.time()
            try:
                verify = check.users.verify
                good = await self._loop.run_in_executor(self._thread, verify, check.name, check.password)
                check.result.set_result(good)
            except Exception as error:
                check.result.set_exception(error)
            self._seconds = self._loop.time() - began

    def _take(self, extreme: Callable[..., _Check]) -> _Check:
        """Out of those waiting: the oldest of the client that has fewest there (``min``) or most (``max``).

        Among those of one client the same holds for the names it sends.
        """
        load: Counter[object] = Counter()
        for check in self._waiting:
            load.update((check.client, (check.client, check.name)))
        taken = extreme(self._waiting, key=lambda check: (load[check.client], load[check.client, check.name]))
        self._waiting.remove(taken)
        return taken
