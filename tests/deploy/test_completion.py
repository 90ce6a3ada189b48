"""Completion in the shells themselves: what a Tab key offers is what the parser takes."""

from __future__ import annotations

import argparse
import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from kepler_ebpf.cli import parser
from kepler_ebpf.options import LEVELS
from tests.deploy.overlays import DEPLOY
from tests.needs import require

SCRIPTS = {shell: DEPLOY / f"debian/kepler-ebpf.{shell}" for shell in ("bash", "zsh", "fish")}
_BASH = """
source "$1"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
read -ra registered < <(complete -p kepler-ebpf)
"${registered[2]}"
((${#COMPREPLY[@]})) && printf '%s\\n' "${COMPREPLY[@]}"
exit 0
"""


def by_bash(*words: str, folder: Path = DEPLOY) -> set[str]:
    """What bash offers for the last word."""
    command = ["bash", "--norc", "-c", _BASH, "bash", str(SCRIPTS["bash"]), "kepler-ebpf", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True)
    assert done.stderr == ""
    return set(done.stdout.splitlines())


def by_fish(line: str, folder: Path = DEPLOY) -> set[str]:
    """What fish offers at the end of a line."""
    require(shutil.which("fish"), "fish is not installed")
    script = f"source {SCRIPTS['fish']}; complete -C '{line}'"
    done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, cwd=folder, check=True)
    assert done.stderr == ""
    return {found.split("\t")[0].replace("\\ ", " ") for found in done.stdout.splitlines()}


def verbs() -> dict[str, argparse.ArgumentParser]:
    (choice,) = (one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
    return dict(choice.choices)


def flags(verb: str) -> set[str]:
    """What a verb's help shows."""
    return {flag for one in verbs()[verb]._actions for flag in one.option_strings}


@pytest.mark.parametrize("verb", verbs())
def test_bash_offers_the_flags_of_a_verb(verb: str) -> None:
    assert by_bash(verb, "-") == flags(verb)


def test_bash_offers_verbs_and_what_serve_takes_without_one() -> None:
    assert by_bash("") == {*verbs(), "--version", *flags("serve")}
    assert by_bash("re") == {"record", "report"}
    assert by_bash("--log-") == {"--log-level", "--log-format"}
    assert by_bash("--log-level", "") == {"debug", "info", "warning", "error"}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["top", "--by", "p"], {"process", "program", "pod"}),
        (["top", "--sort", ""], {"watts", "peak", "joules", "name"}),
        (["report", "--idle-policy", "e"], {"equal"}),
        (["serve", "--log-level", "=", "w"], {"warning"}),
        (["serve", "--log-level", "="], {"debug", "info", "warning", "error"}),
        (["serve", "--kubelet-verify", ""], {"on", "off"}),
        (["serve", "--metrics", ""], set(LEVELS)),
        (["serve", "--metrics", "node,p"], {"node,pod", "node,process"}),
        (["stat", "-r", ""], set()),
        (["stat", "--duration", "1"], set()),
        (["stat", "-r", "3", "--mark"], {"--markdown"}),
        (["serve", "--sample-interval", "=", "1s", "--web"], {"--web-config"}),
        (["fly", "--nothing", "--web"], {"--web-config"}),
    ],
    ids=" ".join,
)
def test_bash_offers_values(words: list[str], found: set[str]) -> None:
    assert by_bash(*words) == found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a run.arrows").touch()
    (tmp_path / "a folder").mkdir()
    return tmp_path


def test_bash_offers_files_and_folders_blanks_and_all(folder: Path) -> None:
    both = {"a run.arrows", "a folder"}
    assert by_bash("report", "a", folder=folder) == both
    assert by_bash("report", "a run.arrows", "a", folder=folder) == both
    assert by_bash("record", "-o", "a", folder=folder) == both
    assert by_bash("serve", "--web-config", "=", "a", folder=folder) == both
    assert by_bash("serve", "--state-directory", "a", folder=folder) == {"a folder"}
    assert by_bash("serve", "a", folder=folder) == set(), "serve takes no operand"


@pytest.mark.parametrize("front", [["--"], ["-r", "3", "--"], []], ids=" ".join)
def test_bash_offers_commands_and_their_files(front: list[str], folder: Path) -> None:
    assert "bash" in by_bash("stat", *front, "bas")
    assert by_bash("stat", *front, "ls", "a", folder=folder) == {"a run.arrows", "a folder"}
    assert by_bash("stat", *front, "ls", "--csv", folder=folder) == set(), "that is the command's"


def test_fish_offers_the_same(folder: Path) -> None:
    for verb in verbs():
        long = {flag for flag in flags(verb) if flag.startswith("--")}
        assert by_fish(f"kepler-ebpf {verb} --") == long
    assert set(verbs()) <= by_fish("kepler-ebpf ")
    assert by_fish("kepler-ebpf --log-level ") == {"debug", "info", "warning", "error"}
    assert by_fish("kepler-ebpf top --by p") == {"process", "program", "pod"}
    assert by_fish("kepler-ebpf serve --metrics node,p") >= {"node,pod", "node,process"}
    assert by_fish("kepler-ebpf report a", folder) == {"a run.arrows", "a folder/"}
    assert by_fish("kepler-ebpf serve --state-directory a", folder) == {"a folder/"}
    assert "bash" in by_fish("kepler-ebpf stat -r 3 -- bas")
    assert by_fish("kepler-ebpf stat -- kepler-ebpf top --so") == {"--sort"}


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("rep", "report "),
        ("record --outp", "record --output"),
        ("stat --idle-policy prop", "stat --idle-policy proportional "),
        ("top --sort=jou", "top --sort=joules "),
        ("report a\\ r", "report a\\ run.arrows "),
        ("stat -r 3 -- ls a\\ r", "stat -r 3 -- ls a\\ run.arrows "),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_tab_key_completes(shell: str, typed: str, completed: str, folder: Path) -> None:
    require(shutil.which(shell), f"{shell} is not installed")
    shutil.copy(SCRIPTS["zsh"], folder / "_kepler-ebpf")
    start, setting = {
        "bash": (["bash", "--norc", "--noprofile", "-i"], f"source {SCRIPTS['bash']}"),
        "zsh": (["zsh", "-f", "-i"], "fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D; setopt no_beep"),
    }[shell]
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(folder)
        os.environ |= {"TERM": "dumb", "PS1": "$ ", "COLUMNS": "200", "HOME": str(folder)}
        os.execvp(start[0], start)
    try:
        # What the shell is told to print is not what it was told: the echo is not taken for the answer.
        os.write(terminal, f"{setting}; echo re''ady\n".encode())
        _read_until(terminal, "ready")
        os.write(terminal, f"kepler-ebpf {typed}\t".encode())
        _read_until(terminal, f"kepler-ebpf {completed}")
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)


def _read_until(terminal: int, wanted: str) -> None:
    said, poll = "", select.poll()  # select() itself takes no descriptor above 1,023
    poll.register(terminal, select.POLLIN)
    deadline = time.monotonic() + 60
    while wanted not in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\a]", "", said):
        assert time.monotonic() < deadline, f"{wanted!r} is not in {said!r}"
        if poll.poll(1000):
            said += os.read(terminal, 4096).decode()
