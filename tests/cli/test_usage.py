"""Every verb refuses what it does not know in one line, and its help shows what it uses, by groups."""

from __future__ import annotations

import os
import re

import pytest

from kepler_ebpf.cli import VERBS, module_of, run
from kepler_ebpf.config import ENDPOINT, GROUPS, HOST, MEASURING, METERS, NAMES, OPTIONS

FILES = [
    ("record", ["-o", ""]),
    ("stat", ["-o", "", "true"]),
    ("stat", ["--json", "", "true"]),
    ("report", [""]),
    ("report", ["x", ""]),
    ("report", ["x", "--html", ""]),
]
REQUIRED = {"record": ["--output", "/dev/null"], "report": ["/dev/null"], "stat": ["-p", str(os.getpid())]}
GROUPS_OF = {
    "serve": set(GROUPS),
    "top": set(MEASURING),
    "stat": set(MEASURING),
    "record": set(MEASURING),
    "report": set(),
    "doctor": {METERS, NAMES, HOST},
    "health": {ENDPOINT},
}
_OWN_PACE = {"sample-interval", "cpu-budget", "log-level"}
FIXED = {"stat": _OWN_PACE, "record": _OWN_PACE, "top": {"log-level"}}
"""Options of a verb's groups that it decides itself."""
ALSO = {"report": {"idle-policy", "hyperthread-ratio"}}
"""Options of other groups."""
BAD = {
    "sample-interval": "5",
    "metrics-interval": "fast",
    "listen": "nowhere",
    "procfs": "/nowhere",
    "sysfs": "/nowhere",
    "cgroupfs": "/nowhere",
    "metrics": "node,pods",
    "namespaces": "shop,,bank",
    "process-metrics": "some",
    "max-process-series": "0",
    "rows": "1e3",
    "cgroup-rows": "-1",
    "idle-policy": "fair",
    "hyperthread-ratio": "nan",
    "idle-watts": "lots",
    "gpu-idle-watts": "-5",
    "model-idle-watts": "5W",
    "model-max-watts": "inf",
    "hwmon": "chip/(=package",
    "cpu-budget": "much",
    "system-slices": "yes",
    "kubelet-url": "http://127.0.0.1",
    "kubelet-token": "/nowhere",
    "kubelet-ca": "/nowhere",
    "kubelet-verify": "no",
    "cri-socket": "sock",
    "docker-socket": "sock",
    "podman-socket": "sock",
    "exit-hold": "long",
    "web-config": "/nowhere",
    "state-directory": "/nowhere",
    "log-level": "loud",
    "log-format": "xml",
}
LATER = {"listen", "kubelet-url"}
"""Options whose value is text until somebody uses it: the processes of tests/e2e/test_serve.py try those."""
ANYTHING = {"kubelet-server-name"}
"""Options that no text is wrong for."""


def offered(verb: str) -> list[str]:
    """The options that a verb should have."""
    of_groups = {one.name for one in OPTIONS if one.group in GROUPS_OF[verb]}
    return sorted(of_groups - FIXED.get(verb, set()) | ALSO.get(verb, set()))


def one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What is said of arguments that will not do."""
    assert run(arguments, {}) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert error.startswith("kepler-ebpf: ")
    assert error.count("\n") == 1, error
    return error


def test_there_is_a_bad_value_for_every_option() -> None:
    assert BAD.keys() | ANYTHING == {one.name for one in OPTIONS}


@pytest.mark.parametrize(
    ("verb", "name"), [(verb, name) for verb in VERBS for name in offered(verb) if name not in LATER | ANYTHING]
)
def test_a_bad_value_is_one_line(verb: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = one_line([verb, *REQUIRED.get(verb, ()), f"--{name}", BAD[name]], capsys)
    assert f"--{name}: {BAD[name]!r} will not do" in error


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "bad", [["--colour"], ["-x"], ["--procfs"], ["--=5"], ["--log-format="], ["--sysfs", "/\nx"]], ids=repr
)
def test_what_no_verb_knows_is_one_line(verb: str, bad: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    one_line([verb, *REQUIRED.get(verb, ()), *bad], capsys)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("words", [["--colour"], ["-x"]], ids=repr)
def test_whose_help_to_see_is_said(verb: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert f"(see kepler-ebpf {verb} --help)" in one_line([verb, *REQUIRED.get(verb, ()), *words], capsys)


@pytest.mark.parametrize("verb", ["serve", "top", "doctor", "health"])
def test_a_word_behind_a_verb_that_takes_none(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "now" in one_line([verb, "now"], capsys)


@pytest.mark.parametrize("arguments", [["fly"], ["record"], ["record", "-o"], ["--nothing"], [""], ["serve", "serve"]])
def test_no_verb_or_half_of_one(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    one_line(arguments, capsys)


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_the_options_that_a_verb_uses_in_their_groups(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run([verb, "--help"], {})
    assert ended.value.code == 0
    text = capsys.readouterr().out
    options = text[text.index("\noptions:" if "\noptions:" in text else "\noptional arguments:") :]  # Python 3.9
    shown = re.findall(r"^  (?:-\w \w+, )?--([\w-]+)(?: VALUE)\b", options, re.MULTILINE)
    assert sorted(shown) == sorted(offered(verb))
    assert [group for group in GROUPS if f"\n{group}:\n" in options] == [
        group for group in GROUPS if group in GROUPS_OF[verb]
    ]


def test_the_help_of_all_names_every_verb_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["--help"], {})
    text = capsys.readouterr().out
    for name in VERBS:
        assert f"{name} {(module_of(name).__doc__ or '').splitlines()[0]}" in " ".join(text.split())


@pytest.mark.parametrize(("verb", "flags"), FILES)
def test_an_empty_file_name_is_no_name(verb: str, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, *flags], {}) == 2
    assert "expected the name of a file" in capsys.readouterr().err
