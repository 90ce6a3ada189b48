"""The order of the layers: imports go up the list, never down, and never in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src/kepler_ebpf"
LAYERS = (
    ("__init__", "errors", "logs", "plain", "waiting", "columns", "bpf", "data"),
    ("host",),
    ("config", "options"),
    ("kernel", "energy", "workloads"),
    ("attribution",),
    ("snapshot", "recording", "state", "history"),
    ("schedule", "collector"),
    ("views", "report"),
    ("web", "tty"),
    ("assembly",),
    ("stat",),
    ("cli", "__main__"),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
SOURCES = ("kernel", "energy", "workloads")
FILES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    """The folder or single file of the package that a file is in."""
    return path.parts[0] if len(path.parts) > 1 else path.stem


def imports(path: Path) -> set[str]:
    """The rooms that a file imports from, those inside functions included."""
    found = set()
    package = ("kepler_ebpf", *path.parent.parts)
    for node in ast.walk(ast.parse((SOURCE / path).read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            parts = (*base, *(node.module.split(".") if node.module else ()))
            names = [(*parts, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] == "kepler_ebpf" and len(name) > 1:
                found.add(name[1] if name[1] in LEVEL else "__init__")
    return found


def test_every_room_has_a_layer() -> None:
    assert {room(path) for path in FILES} <= LEVEL.keys()


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_go_up_only(path: Path) -> None:
    mine = room(path)
    for other in imports(path) - {mine}:
        assert LEVEL[other] <= LEVEL[mine], f"{path} imports {other}, which stands below it"
        if mine in SOURCES:
            assert other not in SOURCES, f"{path} imports {other}: sources do not know each other"


def test_no_two_rooms_of_a_layer_know_each_other_both_ways() -> None:
    edges = {(room(path), other) for path in FILES for other in imports(path) if other != room(path)}
    assert not {edge for edge in edges if edge[::-1] in edges}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_reads_in_one_sitting(path: Path) -> None:
    assert len((SOURCE / path).read_text().splitlines()) <= 300
