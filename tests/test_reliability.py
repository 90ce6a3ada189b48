"""Every test that docs/reliability.md names is there, and every fault has one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/reliability.md").read_text()


def defined_in(path: Path) -> set[str]:
    """Names of a file's functions; none where there is no such file."""
    if not path.exists():
        return set()
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 60
    there = {path: defined_in(ROOT / path) for path, _ in named}
    assert [f"{path}::{name}" for path, name in named if name not in there[path]] == []


def test_every_fault_has_a_test() -> None:
    faults = PAGE.partition("## Not tested")[0]
    rows = re.findall(r"^\| (?!fault|---)(.+?) \|.*\| (.*) \|$", faults, re.MULTILINE)
    assert len(rows) > 40
    assert [fault for fault, test in rows if "::" not in test] == []
