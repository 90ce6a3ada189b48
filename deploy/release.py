"""Give the project another version: ``make release VERSION=1.2.3`` (RELEASE.md says what comes before and after).

``src/kepler_ebpf/__init__.py`` says the version. Manifests and documents must name it too, as users paste them.
"""

from __future__ import annotations

import datetime
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/kepler_ebpf/__init__.py"
COPIES = (
    "deploy/Dockerfile",
    "deploy/compose/compose.yaml",
    "deploy/helm/kepler-ebpf/Chart.yaml",
    "deploy/k8s/kepler-daemonset.yaml",
    "deploy/kustomize/components/gpu/kepler-daemonset-gpu.yaml",
    "docs/deployment.md",
    "tests/views/golden.txt",
)
"""Files that name the version, and are rewritten."""
HISTORY = "CHANGELOG.md"
"""Names this version and those before it."""
_VERSION = re.compile(r"\d+\.\d+\.\d+(?:rc\d+)?")


def current() -> str:
    """The version as the source says it."""
    found = re.search(r'__version__ = "(.*)"', SOURCE.read_text())
    assert found is not None
    return found[1]


def renamed(text: str, before: str, version: str) -> str:
    """A text with one version in place of another; longer numbers that contain it stay."""
    return re.sub(rf"(?<![\d.]){re.escape(before)}(?![\d.]*\d)", version, text)


def main() -> int:
    if len(sys.argv) != 2 or not _VERSION.fullmatch(sys.argv[1]):
        print("usage: make release VERSION=1.2.3", file=sys.stderr)
        return 2
    before, version = current(), sys.argv[1]
    for path in (SOURCE, *(ROOT / name for name in COPIES)):
        path.write_text(renamed(path.read_text(), before, version))
    page = ROOT / HISTORY
    today = datetime.date.today().isoformat()
    page.write_text(page.read_text().replace("## [Unreleased]\n", f"## [Unreleased]\n\n## [{version}] - {today}\n", 1))
    print(f"{before} → {version}; what is next: RELEASE.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
