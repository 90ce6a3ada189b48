"""What is asked for wrongly is one line, before anything runs."""

from __future__ import annotations

import argparse

import pytest

from kepler_ebpf.cli import run, stat
from kepler_ebpf.errors import UsageError
from kepler_ebpf.stat.request import Request, checked


def asked(*words: str) -> Request:
    parser = argparse.ArgumentParser()
    stat.add_arguments(parser)
    return checked(parser.parse_args(words))


def test_a_command_keeps_its_own_dashes() -> None:
    assert asked("-r", "3", "--", "git", "log", "--", "-r").commands == (["git", "log", "--", "-r"],)
    assert asked("make", "-j2", "-r").commands == (["make", "-j2", "-r"],)
    assert asked("-r", "20", "--vs", "gzip -9 'a b'", "gzip", "a b").commands == (
        ["gzip", "a b"],
        ["gzip", "-9", "a b"],
    )


def test_what_runs_already_needs_no_command() -> None:
    assert asked("-p", "12,13", "--duration", "1m30s") == Request(pids=(12, 13), seconds=90.0)
    assert asked("-p", "12,13", "--pid", "14") == Request(pids=(12, 13, 14))
    assert asked("--cgroup", "/a", "--max-joules", "2.5") == Request(cgroup="/a", most_joules=2.5)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("", "nothing to measure: kepler-ebpf stat -- COMMAND"),
        ("--", "nothing to measure: kepler-ebpf stat -- COMMAND"),
        ("-p 1 -- true", "too much to measure: either a command or one of -p, --cgroup and --container"),
        ("-p 1 --cgroup /a", "too much to measure"),
        ("-p 0", "--pid: '0' will not do: expected process ids"),
        ("-p 1 -p x", "--pid: 'x' will not do: expected process ids"),
        ("-p 1,,2", "--pid: '1,,2' will not do: expected process ids"),
        ("-p " + "9" * 30, "will not do: expected process ids"),
        ("-p 1 -r 3", "--repeat is for a command only"),
        ("-p 1 --vs true", "--vs is for a command only"),
        ("--duration 1s -- true", "--duration is for what runs already (-p, --cgroup, --container) only"),
        ("-p 1 --duration 1", "--duration: '1' will not do: expected a duration such as 100ms"),
        ("-r 0 -- true", "--repeat: '0' will not do: expected a whole number from 1 to 100000"),
        ("-r 1_0 -- true", "--repeat: '1_0' will not do"),
        ("--max-joules ١٢ -- true", "--max-joules: '١٢' will not do"),
        ("-r 1.5 -- true", "--repeat: '1.5' will not do"),
        ("--warmup -1 -- true", "--warmup: '-1' will not do: expected a whole number from 0 to 100000"),
        ("--max-joules nan -- true", "--max-joules: 'nan' will not do: expected joules"),
        ("--max-joules -3 -- true", "--max-joules: '-3' will not do"),
        (
            "--vs ' -- true",
            '--vs: "\'" will not do: expected a command as a shell would take it (No closing quotation)',
        ),
    ],
)
def test_bad_options_are_one_line(words: str, line: str) -> None:
    with pytest.raises(UsageError) as error:
        asked(*words.split())
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_other_command_is_refused() -> None:
    with pytest.raises(UsageError, match="--vs: '' will not do: expected a command"):
        asked("--vs", "", "true")


@pytest.mark.parametrize(
    "words",
    [
        "--csv --markdown -- true",
        "--frob -- true",
        "-r",
        "-i 1ms -- true",
        "--cgroup /a --cgroup /b",
        "--container a --container b",
        "--vs a --vs b -- true",
        "-o /dev/null --output /dev/null -- true",
        "--json /dev/null --json /dev/null -- true",
    ],
)
def test_the_parser_speaks_in_one_line_too(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["stat", *words.split()], {}) == 2
    said = capsys.readouterr().err
    assert said.startswith("kepler-ebpf: ")
    assert said.count("\n") == 1


def test_a_file_that_cannot_be_written_is_known_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["stat", "-o", "/nonexistent/a", "--", "true"], {}) == 1
    assert capsys.readouterr().err == "kepler-ebpf: cannot write /nonexistent/a: No such file or directory\n"
