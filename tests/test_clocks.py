"""A clock that can be set decides nothing: who steps it, by hours, changes no figure and no schedule."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src/kepler_ebpf"
SETTABLE = {"time", "time_ns", "now", "utcnow", "today", "localtime", "gmtime", "ctime", "asctime", "CLOCK_REALTIME"}
MODULES = {"time", "datetime", "date"}
STAMPS = {"cli/record.py", "history/ring.py", "snapshot/publisher.py", "views/top/screen.py"}
"""Where the time of day is written beside what was measured, for people and Prometheus: a recording's frames, steps of
the history, when series began."""

COMPARED = {"energy/gpu_users.py"}
"""Where others' stamps by that clock are told from impossible ones; a clock that is set is followed at once
(tests/energy/test_gpu_samples.py)."""


def settable(path: Path) -> list[str]:
    """Uses of clocks that can be set in one file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in MODULES:
            found += [f"{node.value.id}.{node.attr}"] if node.attr in SETTABLE else []
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            found += [alias.name for alias in node.names if alias.name in SETTABLE]
    return found


def test_no_figure_and_no_schedule_is_by_the_time_of_day() -> None:
    users = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if settable(path)}
    assert users == STAMPS | COMPARED


def test_what_is_looked_for_is_found(tmp_path: Path) -> None:
    place = tmp_path / "x.py"
    place.write_text(
        "import time\nfrom time import time_ns\nfrom datetime import datetime\na = time.time(), datetime.now()\n"
    )
    assert settable(place) == ["time_ns", "time.time", "datetime.now"]
    place.write_text("import time\na = time.monotonic(), time.sleep(1), time.perf_counter()\n")
    assert settable(place) == []
