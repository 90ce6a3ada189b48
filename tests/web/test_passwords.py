"""Passwords, and who gets his checked first when many ask."""

from __future__ import annotations

import asyncio
import base64
import http.client
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from kepler_ebpf.web.passwords import PasswordChecks, Users
from kepler_ebpf.web.server import Endpoint
from kepler_ebpf.web.webconfig import WebConfig
from tests.web.test_server import FakePages

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
def test_400_bad_logins_keep_no_good_one_waiting(name: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Checked(monkeypatch, 0.05)
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{alice: {HASH}}}")
    endpoint = Endpoint("127.0.0.1:0", FakePages(), WebConfig(tmp_path / "web.yml"))
    endpoint.start()

    def ask(name: bytes, password: bytes) -> tuple[int, str | None]:
        connection = http.client.HTTPConnection(*endpoint.addresses[0], timeout=60)
        login = base64.b64encode(name + b":" + password).decode()
        connection.request("GET", "/metrics", headers={"Authorization": f"Basic {login}"})
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status, response.headers["Retry-After"]

    with ThreadPoolExecutor(400) as pool:
        bad = [pool.submit(ask, name, b"wrong%d" % number) for number in range(400)]
        while sum(future.done() for future in bad) + len(endpoint._passwords._results) < 400:  # all have come
            time.sleep(0.01)
        began = time.monotonic()
        assert ask(b"alice", SECRET) == (200, None)
        assert time.monotonic() - began < 5  # far from the 20 s that all would take
        answers = Counter(future.result() for future in bad)
    endpoint.stop()
    assert set(answers) == {(401, None), (503, "1")}
    assert answers[401, None] >= 10, "who can be checked in time is checked"


def check_all(users: Users, asked: list[tuple[str, bytes, str]]) -> list[bool | None]:
    """The results for name, password and client, all asked at once in this order."""

    async def ask() -> list[bool | None]:
        checks = PasswordChecks(asyncio.get_running_loop())
        results = await asyncio.gather(*(checks.passes(users, *one) for one in asked))
        checks.stop()
        return results

    return asyncio.run(ask())


@pytest.mark.parametrize("good", [("alice", SECRET, "10.0.0.2"), ("alice", SECRET, "10.0.0.1")])
def test_a_storm_of_one_client_or_name_displaces_nobody_else(good: tuple[str, bytes, str]) -> None:
    users = Users({"alice": HASH.encode()})
    storm = [("mallory", b"%d" % number, "10.0.0.1") for number in range(200)]
    results = check_all(users, [*storm[:100], good, *storm[100:]])
    assert results.pop(100) is True
    assert results.count(None) > 100


def test_the_same_login_many_times_is_one_check(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = Checked(monkeypatch)
    users = Users({"alice": HASH.encode()})
    assert check_all(users, [("alice", SECRET, f"10.0.0.{number}") for number in range(200)]) == [True] * 200
    assert len(checked) == 1


def test_who_leaves_takes_the_result_from_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    Checked(monkeypatch, 0.05)
    users = Users({"alice": HASH.encode()})

    async def ask() -> bool | None:
        checks = PasswordChecks(asyncio.get_running_loop())
        leaves, stays = (asyncio.ensure_future(checks.passes(users, "alice", SECRET, "::1")) for _ in range(2))
        await asyncio.sleep(0.01)
        leaves.cancel()
        try:
            return await stays
        finally:
            checks.stop()

    assert asyncio.run(ask()) is True


def test_a_check_that_fails_costs_that_answer_only(monkeypatch: pytest.MonkeyPatch) -> None:
    users = Users({"alice": HASH.encode()})

    async def ask() -> list[object]:
        checks = PasswordChecks(asyncio.get_running_loop())
        answers: list[object] = []
        for broken in (True, False):
            with monkeypatch.context() as library:
                if broken:
                    library.setattr(bcrypt, "checkpw", None)
                answers += await asyncio.gather(checks.passes(users, "alice", SECRET, "::1"), return_exceptions=True)
        checks.stop()
        return answers

    failure, after = asyncio.run(ask())
    assert isinstance(failure, TypeError)
    assert after is True
