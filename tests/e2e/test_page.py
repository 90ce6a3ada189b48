"""The page in a real browser: it shows what /metrics says, and a name is never more than a name."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Running
from tests.needs import require

pytestmark = pytest.mark.kernel

_BUSY = """
import sys, time
with open("/proc/self/comm", "w") as comm:
    comm.write(sys.argv[1])
print("named", flush=True)
while True:
    until = time.perf_counter() + 0.01
    while time.perf_counter() < until:
        pass
    time.sleep(0.04)
"""
HOSTILE = ("<img src=x>", "<script>x//", "</style>&lt;b")


@pytest.fixture
def hostile() -> Iterator[None]:
    """Processes with names that a careless page would take for markup."""
    running = [subprocess.Popen([sys.executable, "-c", _BUSY, name], stdout=subprocess.PIPE) for name in HOSTILE]
    try:
        for one in running:
            assert one.stdout is not None
            assert one.stdout.readline() == b"named\n"
        yield
    finally:
        for one in running:
            one.kill()
            one.communicate()


def looked_at(collector: Running, folder: Path, path: str = "/") -> str:
    """The document after some seconds of the page's own time in Chromium, which waits for answers."""
    chromium = shutil.which("chromium")
    require(chromium, "this test looks at the page in Chromium (Debian: chromium)")
    assert chromium is not None
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}", "--virtual-time-budget=8000"]
    address = f"http://127.0.0.1:{collector.port}{path}"
    shown = subprocess.run([chromium, *flags, "--dump-dom", address], capture_output=True, timeout=300, check=True)
    return shown.stdout.decode()


def test_the_page_shows_what_the_metrics_say_and_names_are_text(
    serve: Callable[..., Running], hostile: None, tmp_path: Path
) -> None:
    collector = serve("--process-metrics", "all")
    before = collector.value("kepler_node_energy_joules_total")
    document = looked_at(collector, tmp_path / "browser")
    after = collector.value("kepler_node_energy_joules_total")
    assert "live: once a second" in document
    (joules,) = re.findall(r'title="kepler_node_energy_joules_total" data-value="([^"]+)"', document)
    assert before <= float(joules) <= after
    for name in HOSTILE:
        assert f"<span>{html.escape(name, quote=False)}</span>" in document
    body = document[document.index("<body>") :]
    assert "<img" not in body
    assert body.count("<script") == 1
    if "model" in collector.samples()["kepler_node_info"][0][0]["power_source"]:
        assert re.search(r'<p id="model" role="note">These watts are a model', document)


def test_a_grouping_in_the_address_is_shown(serve: Callable[..., Running], tmp_path: Path) -> None:
    document = looked_at(serve(), tmp_path / "browser", "/#container")
    assert re.search(r'<tr data-key="system/system"', document)
