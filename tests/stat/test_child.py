"""Who a command runs as: whoever called sudo, and never root by mistake."""

from __future__ import annotations

import os
import pwd

import pytest

from kepler_ebpf.errors import KeplerError
from kepler_ebpf.stat.child import invoking_user


@pytest.fixture(autouse=True)
def _as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_where_nobody_called_sudo_there_is_nobody_to_become() -> None:
    assert invoking_user({"USER": "root"}) is None


def test_who_is_not_root_becomes_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert invoking_user({"SUDO_UID": "1", "SUDO_GID": "1"}) is None


def test_a_user_comes_with_all_groups_and_a_home() -> None:
    entry = pwd.getpwnam("root")
    user = invoking_user({"SUDO_UID": "0", "SUDO_GID": str(entry.pw_gid)})
    assert user is not None
    assert (user.uid, user.gid) == (0, entry.pw_gid)
    assert user.groups == tuple(os.getgrouplist("root", entry.pw_gid))
    assert user.environment["HOME"] == entry.pw_dir


def test_a_user_without_an_entry_has_one_group() -> None:
    user = invoking_user({"SUDO_UID": "4294967294", "SUDO_GID": "12"})
    assert user is not None
    assert str(user) == "4294967294:12:12"
    assert user.environment == {}


RUBBISH = [
    "",
    "nobody",
    "-1",
    "+1",
    " 1",
    "1 ",
    "1e3",
    "0x10",
    "1_000",
    "1.0",
    "\u0661",
    "4294967295",
    "9" * 400,
    "1\n",
]


@pytest.mark.parametrize("rubbish", RUBBISH, ids=ascii)
@pytest.mark.parametrize("name", ["SUDO_UID", "SUDO_GID"])
def test_rubbish_is_refused_in_one_line(name: str, rubbish: str) -> None:
    with pytest.raises(KeplerError, match="are no numbers of a user and a group: unset them") as refused:
        invoking_user({"SUDO_UID": "1000", "SUDO_GID": "1000", name: rubbish})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["SUDO_UID", "SUDO_GID"])
def test_half_of_a_user_is_refused_too(name: str) -> None:
    with pytest.raises(KeplerError, match="None"):
        invoking_user({name: "1000"})
