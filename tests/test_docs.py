"""What the documents say of options and metrics is what there is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from deploy import release

from kepler_ebpf import __version__
from kepler_ebpf.config import OPTIONS
from kepler_ebpf.options import Option

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_is_documented_with_its_default(option: Option[Any]) -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    default = f"`{option.default}`" if option.default else "—"
    row = f"| `--{option.name}` | `{option.variable}` | {default} | {option.help} |"
    assert row in text


def test_every_alert_and_overlay_is_documented() -> None:
    alerts = re.findall(r"alert: (\w+)", (ROOT / "deploy/prometheus/kepler-alerts.yaml").read_text())
    text = (ROOT / "docs/prometheus.md").read_text()
    assert [alert for alert in alerts if f"`{alert}`" not in text] == []
    text = (ROOT / "docs/deployment.md").read_text()
    overlays = [path.parent.name for path in (ROOT / "deploy/kustomize").glob("*/kustomization.yaml")]
    assert [name for name in overlays if f"`{name}`" not in text] == []


def test_the_table_of_threads_has_those_that_are_started() -> None:
    """Those that have a name: one without is of a verb that ends in seconds."""
    table = (ROOT / "docs/architecture.md").read_text().partition("## Threads")[2].partition("## ")[0]
    rows = re.findall(r"^\| (`([\w-]+)`[^|]*) \| (`[^|]+) \|", table, re.MULTILINE)
    started = set()
    for path in (ROOT / "src").rglob("*.py"):
        found = re.findall(r'(?:Thread\(.*\bname=|ThreadPoolExecutor\(\d+, )"([\w-]+)"', path.read_text())
        started |= {(name, path.relative_to(ROOT / "src/kepler_ebpf").as_posix()) for name in found}
    for name, file in started:
        assert any(f"`{name}`" in thread and f"`{file}`" in owner for thread, _, owner in rows), f"{file} starts {name}"
    assert {first for _, first, _ in rows} <= {name for name, _ in started}


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_file_that_names_the_version_names_this_one() -> None:
    assert release.current() == __version__
    for name in release.COPIES:
        text = (ROOT / name).read_text()
        assert release.renamed(text, __version__, "") != text, f"{name} does not name the version"
        for found in re.findall(r"kepler-ebpf[:_](\d[\w.]*\d)", text):
            assert found == __version__, name


def test_no_other_file_names_the_version() -> None:
    """Bounds of dependencies may have the same number."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout: which files are ours is not known")
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    ours = {name for name in listed.stdout.split("\0") if (ROOT / name).is_file()}
    known = {release.HISTORY, str(release.SOURCE.relative_to(ROOT)), *release.COPIES}
    assert known < ours
    for name in sorted(ours - known):
        for line in (ROOT / name).read_bytes().decode(errors="replace").splitlines():
            bound = re.search("[=><~]=", line)
            assert bound or release.renamed(line, __version__, "") == line, f"{name} names the version: {line}"


def test_a_release_renames_the_version_and_nothing_longer() -> None:
    assert (
        release.renamed("a:7.1.9 b=17.1.9 c-7.1.9.2 7.1.9_all", "7.1.9", "7.2.0")
        == "a:7.2.0 b=17.1.9 c-7.1.9.2 7.2.0_all"
    )
