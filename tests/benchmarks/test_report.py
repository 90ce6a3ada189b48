"""The verdict of ``make bench``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from benchmarks import __main__ as bench
from benchmarks.report import Figure


@pytest.mark.parametrize(("value", "status"), [(1.0, 0), (3.0, 1)])
def test_a_goal_not_met_is_a_failure_that_is_written_all_the_same(
    value: float, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, figures = tmp_path / "page.md", tmp_path / "figures.json"
    page.write_text("<!-- bench -->\n<!-- /bench -->\n")
    measured = [Figure("cost", value, "ms", goal=2.0), Figure("size", 9.0, "MiB")]
    monkeypatch.setattr(bench, "_PARTS", {"part": SimpleNamespace(measure=lambda: measured)})
    monkeypatch.setattr(sys, "argv", ["bench", "--json", str(figures), "--write", str(page)])
    assert bench.main() == status
    assert "cost" in page.read_text()
    assert [figure["value"] for figure in json.loads(figures.read_text())] == [value, 9.0]
    assert ("goals not met: cost" in capsys.readouterr().err) is bool(status)
