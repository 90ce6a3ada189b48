"""Passwords: which are right, and what a flood of wrong ones costs everybody else."""

from __future__ import annotations

import asyncio
import base64
import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from kepler_ebpf.web.passwords import PasswordChecks, Users
from kepler_ebpf.web.server import Endpoint
from kepler_ebpf.web.webconfig import WebConfig
from tests.web.test_server import FakeContent

SECRET = b"correct horse"
HASH = bcrypt.hashpw(SECRET, bcrypt.gensalt(4)).decode()


class Checked(list[bytes]):
    """What bcrypt was asked to compare with, each as slow as a hash of a higher cost."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.0) -> None:
        real = bcrypt.checkpw

        def check(password: bytes, hashed: bytes) -> Any:
            self.append(hashed)
            time.sleep(seconds)
            return real(password, hashed)

        monkeypatch.setattr(bcrypt, "checkpw", check)


def test_a_verified_password_costs_no_bcrypt_again() -> None:
    users = Users({"alice": HASH.encode()})
    assert not users.remembers("alice", SECRET)
    assert users.verify("alice", SECRET)
    assert users.remembers("alice", SECRET)
    assert not users.remembers("alice", SECRET + b"!")
    assert not users.remembers("bob", SECRET)


def test_an_unknown_user_costs_a_bcrypt_too(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = Checked(monkeypatch)
    assert not Users({"alice": HASH.encode()}).verify("mallory", SECRET)
    assert checked == [HASH.encode()]


def test_long_passwords_count_for_72_bytes() -> None:
    long = b"x" * 100
    assert Users({"alice": bcrypt.hashpw(long[:72], bcrypt.gensalt(4))}).verify("alice", long)


def test_a_no_costs_the_same_for_cheap_and_dear_hashes_and_for_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    users = Users({f"cost{cost}": bcrypt.hashpw(SECRET, bcrypt.gensalt(cost)) for cost in (4, 6, 7)})
    checked = Checked(monkeypatch)
    rounds = []
    for name in ("cost4", "cost6", "cost7", "mallory"):
        assert not users.verify(name, b"wrong")
        rounds.append(sum(1 << int(hashed[4:6]) for hashed in checked))
        checked.clear()
    assert rounds == [1 << 7] * 4


@pytest.mark.parametrize("name", [b"alice", b"mallory"])
def test_a_verified_login_is_answered_at_once_in_a_flood_of_wrong_ones(
    name: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Checked(monkeypatch, 0.05)
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{alice: {HASH}}}")
    endpoint = Endpoint("127.0.0.1:0", FakeContent(), WebConfig(tmp_path / "web.yml"))
    endpoint.start()

    def ask(name: bytes, password: bytes) -> tuple[int, str | None]:
        connection = http.client.HTTPConnection(*endpoint.addresses[0], timeout=60)
        login = base64.b64encode(name + b":" + password).decode()
        connection.request("GET", "/metrics", headers={"Authorization": f"Basic {login}"})
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status, response.headers["Retry-After"]

    assert ask(b"alice", SECRET) == (200, None)
    with ThreadPoolExecutor(400) as pool:
        bad = [pool.submit(ask, name, b"wrong%d" % number) for number in range(400)]
        while not endpoint._passwords._waiting:
            time.sleep(0.001)
        began = time.monotonic()
        assert ask(b"alice", SECRET) == (200, None)
        assert time.monotonic() - began < 5  # far from the 20 s that checking all of them would take
        answers = Counter(future.result() for future in bad)
    assert time.monotonic() - began < 15, "more than can be checked in time are refused instead of queued"
    assert set(answers) == {(401, None), (503, "1")}
    assert answers[401, None] >= 10, "what can be checked in time is checked"
    assert ask(b"alice", b"wrong") == (401, None), "and all is as before afterwards"
    endpoint.stop()


def check_all(
    users: Users, asked: list[tuple[str, bytes]], then: Callable[[], object] = lambda: None
) -> list[bool | None]:
    """The results for name and password, all asked at once in this order. ``then``: what comes once all are asked."""

    async def ask() -> list[bool | None]:
        checks = PasswordChecks()
        results = [asyncio.ensure_future(checks.passes(users, *one)) for one in asked]
        await asyncio.sleep(0)
        then()
        await asyncio.gather(*results)
        checks.stop()
        return [one.result() for one in results]

    return asyncio.run(ask())


def test_only_so_many_checks_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    all_asked = threading.Event()

    class Held(Users):
        """Users whose first check ends when all are asked: how many may wait follows what the last one took."""

        def verify(self, name: str, password: bytes) -> bool:
            assert all_asked.wait(60)
            return super().verify(name, password)

    checked = Checked(monkeypatch)
    users = Held({"alice": HASH.encode()})
    results = check_all(users, [("mallory", b"%d" % number) for number in range(200)], then=all_asked.set)
    assert results.count(False) == len(checked) == 11, "ten wait for the first, at the 0.1 s that each is taken to need"
    assert results.count(None) == 200 - len(checked)


def test_a_login_verified_while_others_with_it_wait_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = Checked(monkeypatch)
    users = Users({"alice": HASH.encode()})
    assert check_all(users, [("alice", SECRET)] * 8) == [True] * 8
    assert len(checked) == 1


def test_a_client_that_leaves_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    Checked(monkeypatch, 0.02)
    users = Users({"alice": HASH.encode()})

    async def ask() -> bool | None:
        checks = PasswordChecks()
        for number in range(100):
            leaves = asyncio.ensure_future(checks.passes(users, "alice", b"%d" % number))
            await asyncio.sleep(0)
            leaves.cancel()
            await asyncio.wait([leaves])
        try:
            return await checks.passes(users, "alice", SECRET)
        finally:
            checks.stop()

    assert asyncio.run(ask()) is True


def test_a_check_that_fails_costs_that_answer_only(monkeypatch: pytest.MonkeyPatch) -> None:
    users = Users({"alice": HASH.encode()})

    async def ask() -> list[object]:
        checks = PasswordChecks()
        answers: list[object] = []
        for broken in (True, False):
            with monkeypatch.context() as library:
                if broken:
                    library.setattr(bcrypt, "checkpw", None)
                answers += await asyncio.gather(checks.passes(users, "alice", SECRET), return_exceptions=True)
        checks.stop()
        return answers

    failure, after = asyncio.run(ask())
    assert isinstance(failure, TypeError)
    assert after is True
