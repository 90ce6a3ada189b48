"""The page in a real browser: it shows what /metrics says, and a name is never more than a name."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Running
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
    """The page, once there are steps to show: the browser's seconds pass faster than the collector's."""
    while len(json.loads(collector.get("/live"))["steps"]) < 2:
        time.sleep(0.1)
    return dumped(f"http://127.0.0.1:{collector.port}{path}", folder)


def dumped(address: str, folder: Path) -> str:
    """The document after some seconds of the page's own time in Chromium, which waits for answers."""
    chromium = shutil.which("chromium")
    require(chromium, "this test looks at the page in Chromium (Debian: chromium)")
    assert chromium is not None
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}", "--virtual-time-budget=8000"]
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


def test_joules_are_three_digits_of_the_unit_that_they_round_to(tmp_path: Path) -> None:
    script = (ROOT / "src/kepler_ebpf/data/page/page.js").read_text()
    (function,) = re.findall(r"^function joules\(.*?^\}$", script, re.MULTILINE | re.DOTALL)
    values = [0, 0.0004, 0.5, 0.9996, 9.996, 99.96, 999.4, 999.6, 12_345, 999_600, 5e9, 1e13]
    page = f"<body><script>{function} document.body.textContent = {values}.map(joules).join('|')</script>"
    (tmp_path / "joules.html").write_text(page)
    (told,) = re.findall("<body>(.*?)</body>", dumped((tmp_path / "joules.html").as_uri(), tmp_path / "browser"))
    expected = "0.000 J|0.000 J|0.500 J|1.00 J|10.0 J|100 J|999 J|1.00 kJ|12.3 kJ|1.00 MJ|5.00 GJ|10000 GJ"
    assert told.strip() == expected


@pytest.mark.parametrize("width", [1280, 360])
def test_no_figure_of_the_table_is_cut(serve: Callable[..., Running], width: int, tmp_path: Path) -> None:
    """In a page of this width: the one about the other is how a document's cells can be asked for their size."""
    measured = looked_at(serve(), tmp_path / "browser").replace("<script", "<!-- ").replace("</script>", " -->")
    ask = (
        "[...document.querySelectorAll('#table :is(th, td)')].filter((one) => one.cellIndex > 1"
        " && one.scrollWidth > one.clientWidth).map((one) => one.textContent).join('|')"
    )
    frame = f'<iframe style="width: {width}px; height: 800px" srcdoc="{html.escape(measured)}"></iframe>'
    asking = f"onload = () => {{ const document = frames[0].document; window.told.textContent = {ask} }}"
    (tmp_path / "page.html").write_text(f'<p id="told">unasked</p>{frame}<script>{asking}</script>')
    shown = dumped((tmp_path / "page.html").as_uri(), tmp_path / "browser")
    assert re.findall('<p id="told">(.*?)</p>', shown) == [""]


def test_a_grouping_in_the_address_is_shown(serve: Callable[..., Running], tmp_path: Path) -> None:
    document = looked_at(serve(), tmp_path / "browser", "/#container")
    assert re.search(r'<tr data-key="system/system"', document)
