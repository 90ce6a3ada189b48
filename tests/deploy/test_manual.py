"""The manual page has what each verb's parser has, and says of nothing else that it is a variable."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess

import pytest
from deploy import manual

from kepler_ebpf.cli import VERBS, parser
from kepler_ebpf.config import OPTIONS
from tests.needs import require


def sections() -> dict[str, dict[str, str]]:
    """By heading and heading below it: the plain text."""
    found: dict[str, dict[str, str]] = {}
    for part in re.split(r"^\.SH ", manual.page(), flags=re.MULTILINE)[1:]:
        heading, _, rest = part.partition("\n")
        front, *below = re.split(r"^\.SS ", rest, flags=re.MULTILINE)
        texts = {"": front, **{one.partition("\n")[0]: one.partition("\n")[2] for one in below}}
        found[heading] = {name: text.replace("\\-", "-") for name, text in texts.items()}
    return found


def flags(text: str) -> set[str]:
    """The options that have an entry here."""
    entries = re.findall(r"^\.B (-.*)$", text, flags=re.MULTILINE)
    return {flag for entry in entries for flag in re.findall(r"(?:^|(?<= ))--?[\w-]+", entry)}


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_every_verb_is_there(verb: str) -> None:
    (choice,) = (one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
    text = sections()["OPTIONS"][verb]
    with_variables = {f"--{one.name}": one for one in OPTIONS}
    told = flags(text)
    for action in choice.choices[verb]._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        if not action.option_strings:
            assert f".B {action.metavar}\n" in text
        for flag in action.option_strings:
            variable = with_variables[flag].variable if flag in with_variables else ""
            shared = bool(variable) and variable in (action.help or "")
            assert (flag in told) is not shared
            told.discard(flag)
            assert not shared or flag not in re.sub(r"\(without .*?\)", "", text), "it is under its group"
    assert not told


def test_what_has_a_variable_is_said_once_for_all_verbs() -> None:
    texts = sections()
    assert texts["OPTIONS"][""].strip() == ""
    below = texts["OPTIONS WITH VARIABLES"]
    assert "Each of these is also a variable" in below.pop("")
    assert flags("\n".join(below.values())) == {f"--{one.name}" for one in OPTIONS}
    for one in OPTIONS:
        assert any(f"({one.variable}, " in text for text in below.values())
    assert "All under OPTIONS WITH VARIABLES." in texts["OPTIONS"]["serve"]
    assert "sampling (without --sample-interval, --cpu-budget)" in texts["OPTIONS"]["record"]


def test_groff_has_nothing_to_say_of_it() -> None:
    require(shutil.which("groff") is not None, "needs groff")
    page = manual.page()
    assert page.isascii()
    ran = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-rLL=200n"], input=page, capture_output=True, text=True, check=True
    )
    assert ran.stderr == ""
    assert "mean, σ and outliers" in ran.stdout
