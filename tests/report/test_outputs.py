"""What is written for browsers, other programs and spreadsheets holds the figures of the books."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from kepler_ebpf.plain import cut
from kepler_ebpf.report import compare, firefox, flame, tables
from kepler_ebpf.report.book import Book
from kepler_ebpf.report.groups import GROUPINGS, Groups, group
from kepler_ebpf.report.page import page
from kepler_ebpf.report.picture import png
from kepler_ebpf.report.series import Timeline, stack
from kepler_ebpf.report.svg import svg, ticks
from kepler_ebpf.report.text import WIDTH, headline, summary
from kepler_ebpf.workloads.workload import Workload
from tests.report.runs import PLAIN, STORMY, Recorded, burst, opened, storm

pa = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")
EVIL = Workload("container", "e" * 64, "</script><b>;@data@\n$x$", "web&0", "shop;1")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Book:
    """A stormy recording with a container that is called as badly as can be."""
    path = tmp_path_factory.mktemp("outputs") / "a&b.arrows"
    machine = Recorded(path, STORMY, 2)
    machine.node.workloads.known[1] = EVIL
    storm(machine, 5, 120)
    machine.close()
    return opened(path)


@pytest.fixture(scope="module")
def bursts(tmp_path_factory: pytest.TempPathFactory) -> Book:
    path = tmp_path_factory.mktemp("outputs") / "burst.arrows"
    burst(path, 6)
    return opened(path)


def layers_of(book: Book, by: str = "program", most: int = 2400) -> Any:
    return stack(book, group(book, by), Timeline(book), most, 12)


def tables_of(book: Book, *groupings: str) -> list[tuple[Groups, int]]:
    return [(group(book, by), 12) for by in groupings]


def data_of(text: str) -> Any:
    """What a page shows."""
    found = re.search(r'<script id="data" type="text/plain">([^<]*)</script>', text)
    assert found is not None
    return json.loads(zlib.decompress(base64.b64decode(found[1])))


def test_a_picture_is_xml_with_a_path_for_each_layer(told: Book) -> None:
    layers = layers_of(told)
    root = ElementTree.fromstring(svg(told, layers))
    paths = [path for path in root.iter("{http://www.w3.org/2000/svg}path") if path.get("data-label")]
    assert [path.get("data-label") for path in paths] == [cut(one, 120) for one in layers.labels]


def test_bursts_can_be_counted_in_the_picture(bursts: Book) -> None:
    root = ElementTree.fromstring(svg(bursts, layers_of(bursts)))
    (path,) = [one for one in root.iter() if one.get("data-label") == "p11 in c2"]
    begin, end = re.findall(r"M([\d.]+) [\d.]+|Z", path.get("d", ""))[0], path.get("d", "")
    assert begin
    # Stairs along the top, from the left to the right: the height of each, by where it ends.
    outline = re.findall(r"V([\d.e+-]+)H([\d.]+)", end)
    x = [float(at) for _, at in outline]
    top = outline[: x.index(max(x)) + 1]
    heights = np.array([float(y) for y, _ in top])
    high = heights < (heights.min() + heights.max()) / 2
    assert int((high[1:] & ~high[:-1]).sum()) == 6


def test_ticks_are_round_and_few() -> None:
    assert ticks(10.0) == [0, 2, 4, 6, 8, 10]
    assert ticks(0.0) == [0.0]
    for most in (1e-9, 0.37, 1.0, 59.99, 6e5):
        assert 2 <= len(ticks(most)) <= 8
        assert ticks(most)[-1] <= most * (1 + 1e-9)


def test_a_png_is_one(told: Book) -> None:
    pytest.importorskip("matplotlib")
    content = png(told, layers_of(told))
    assert content.startswith(b"\x89PNG\r\n")
    assert len(content) > 10_000


def test_folded_stacks_hold_every_microjoule(told: Book) -> None:
    lines = flame.folded(told).splitlines()
    stacks = [line.rsplit(" ", 1) for line in lines]
    assert sum(int(weight) for _, weight in stacks) == pytest.approx(told.measured.sum() * 1e6, abs=len(lines))
    places = {tuple(stack.split(";")) for stack, _ in stacks}
    assert {len(place) for place in places} <= {2, 5}
    assert {place[0] for place in places} == {"fake"}
    assert any(place[1:4] == ("shop:1", "web&0", "</script><b>:@data@?$x$") for place in places)
    assert ("fake", "-", "-", "c2") in {place[:4] for place in places}


def test_host_processes_are_the_hosts(tmp_path: Path) -> None:
    machine = Recorded(tmp_path / "a")
    machine.node.workloads.known[1] = Workload("system", container="system")
    machine.node.kernel.run(1, 1, 0, 10**8)
    machine.tick(1.1)
    machine.close()
    assert flame.folded(opened(tmp_path / "a")) == "fake;[idle] 100000\nfake;host;-;system;p1 1000000\n"


def test_power_tracks_hold_the_energy_in_picowatt_hours(told: Book) -> None:
    layers = layers_of(told, "container", firefox.MOST_STEPS)
    profile = json.loads(firefox.profile(told, layers))
    node, *tracks = profile["counters"]
    assert [track["name"] for track in tracks] == list(layers.labels)
    for track, joules in ((node, told.measured.sum()), *zip(tracks, layers.joules.sum(axis=1))):
        samples = track["samples"]
        assert track["category"] == "power"
        assert sum(samples["count"]) * 3600e-12 == pytest.approx(joules, rel=1e-6)
        assert samples["length"] == len(samples["count"]) == len(samples["time"])
        assert samples["time"] == sorted(samples["time"])
    (thread,) = profile["threads"]
    assert thread["samples"]["time"][-1] == node["samples"]["time"][-1]
    assert profile["meta"]["startTime"] == pytest.approx(told.end_us[0] / 1e3 - told.seconds[0] * 1e3)
    for table in (thread[name] for name in ("stackTable", "frameTable", "funcTable", "markers", "nativeSymbols")):
        assert {len(column) for column in table.values() if isinstance(column, list)} == {table["length"]}


def test_tables_by_workload_sum_to_what_was_measured(told: Book) -> None:
    text = tables.as_csv(tables.by_workload(told, tables_of(told, *GROUPINGS))).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    node = {row["name"]: float(row["joules"]) for row in rows if row["by"] == "node"}
    assert node["measured"] == pytest.approx(told.measured.sum(), rel=1e-15)
    for by in GROUPINGS:
        charged = sum(float(row["joules"]) for row in rows if row["by"] == by)
        assert charged + node["idle"] + node["unattributed"] == pytest.approx(node["measured"], rel=1e-9)
    assert any(row["name"] == "shop;1/web&0/</script><b>;@data@?$x$" for row in rows)


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=cmd|'/c x'!A0", "'=cmd|'/c x'!A0"),
        ("+1", "'+1"),
        ("-bash", "'-bash"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "?=1"),
        ("\x1b[31mred\r\n", "?[31mred??"),
        ("\u202egnp.exe", "?gnp.exe"),
        ("a=b", "a=b"),
    ],
)
def test_no_name_is_run_by_a_spreadsheet_or_obeyed_by_a_terminal(name: str, cell: str) -> None:
    columns = {"name": [name, None], "joules": np.ma.masked_array([-1.5, 0.0], [False, True])}
    assert csv_of(columns) == [{"name": cell, "joules": "-1.5"}, {"name": "", "joules": ""}]
    assert tables._array(pa, "name", columns["name"]).to_pylist() == [name, None], "Parquet has it as it is"


def csv_of(columns: tables.Columns) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(tables.as_csv(columns).decode())))


def test_what_has_no_line_of_its_own_is_one_line_of_a_table(told: Book) -> None:
    groups = group(told, "program")
    assert len(groups) > 3
    rows = [row for row in csv_of(tables.by_workload(told, [(groups, 2)])) if row["by"] == "program"]
    assert [row["name"] for row in rows] == [*groups.labels[:2], f"{len(groups) - 2} others"]
    for name, whole in (("joules", groups.total), ("cpu_seconds", groups.cpu_seconds), ("members", groups.members)):
        assert sum(float(row[name]) for row in rows) == pytest.approx(float(whole.sum()), rel=1e-12)
    assert rows[-1]["peak_watts"] == ""


def test_facts_of_a_recording_are_folded_and_not_cut(tmp_path: Path) -> None:
    """When, and on what machine: no terminal is too narrow for them, nor any other file's name too long."""
    folder = tmp_path / ("a" * 60)
    folder.mkdir()
    for name in ("one", "two"):
        machine = Recorded(folder / name)
        for seconds in (0.1, 0.1, 0.9):
            machine.tick(1.0, seconds=seconds)
        machine.close()
    one, two = (opened(folder / name) for name in ("one", "two"))
    for told in (summary(one, []), compare.text(one, two, "program", 3)):
        assert max(map(len, told.splitlines())) <= WIDTH
        assert "…" not in told
        words = " ".join(told.split())
        assert "3 frames of 100.0 ms (median; longest 900.0), fake, Fake 1 " in words
    assert "B: " in told


def test_frames_that_took_longer_than_the_median_are_told(tmp_path: Path) -> None:
    for name, seconds, told in (
        ("steady", (0.1, 0.1, 0.11), "0.31 s, 3 frames of 100.0 ms (median), fake"),
        ("delayed", (0.1, 0.1, 0.9), "1.10 s, 3 frames of 100.0 ms (median; longest 900.0), fake"),
        ("one", (0.1,), "0.10 s, 1 frame of 100.0 ms (median), fake"),
    ):
        machine = Recorded(tmp_path / name)
        for one in seconds:
            machine.tick(1.0, seconds=one)
        machine.close()
        assert told in headline(opened(tmp_path / name))


def test_what_is_not_known_is_empty_in_a_table(tmp_path: Path) -> None:
    """A machine whose packages are metered, and nothing else; and one that has no meter."""
    for name, domains, joules in (("packages", PLAIN, (1.1,)), ("nothing", (), ())):
        machine = Recorded(tmp_path / name, domains)
        machine.node.kernel.run(1, 1, 0, 10**8)
        machine.tick(*joules)
        machine.close()
        told = opened(tmp_path / name)
        for columns in (tables.by_workload(told, tables_of(told, "program")), tables.by_frame(told)):
            rows = csv_of(columns)
            for column in ("dram_joules", "gpu_joules", *(() if domains else ("package_joules", "joules"))):
                assert {row[column] for row in rows} == {""}
            assert "" not in {row["joules"] for row in rows} or not domains
            table = pa.parquet.read_table(io.BytesIO(tables.as_parquet(columns)))
            assert table["gpu_joules"].type == table["joules"].type == pa.float64()
            assert table["gpu_joules"].null_count == len(table)
        rows = csv_of(tables.by_frame(told))
        cpu = {row["level"]: (row["cpu_seconds"], row["pid"]) for row in rows}
        assert cpu["node"] == ("0.1", "")
        assert cpu["idle"] == cpu["unattributed"] == ("", "")
        assert cpu["process"] == ("0.1", "1")
        assert cpu["container"] == ("0.1", "")
        assert csv_of(tables.by_workload(told, ()))[0]["cpu_seconds"] == "0.1"


def test_tables_by_frame_close_frame_by_frame(told: Book) -> None:
    table = pa.parquet.read_table(io.BytesIO(tables.as_parquet(tables.by_frame(told))))
    frame, joules = table["frame"].to_numpy(), table["joules"].to_numpy()
    level = np.array(table["level"].to_pylist())
    sums = {name: np.bincount(frame[level == name], joules[level == name], len(told.seconds)) for name in set(level)}
    for name in ("process", "container"):
        assert sums[name] + sums["idle"] + sums["unattributed"] == pytest.approx(sums["node"], rel=1e-9, abs=1e-9)


def test_a_page_holds_the_text_reports_figures_and_asks_for_nothing(told: Book) -> None:
    text = page(told, tables_of(told, *GROUPINGS))
    data = data_of(text)
    assert list(data["views"]) == list(GROUPINGS)
    seconds = np.diff(data["edges"])
    for by, view in data["views"].items():
        groups = group(told, by)
        rows = {row["name"]: row["cells"] for row in view["table"]}
        assert float(rows["measured"][0]) == pytest.approx(told.measured.sum(), rel=1e-3)
        assert float(view["table"][0]["cells"][0]) == pytest.approx(groups.total[0], rel=1e-3, abs=1e-3)
        joules = sum(float(np.array(layer["watts"]) @ seconds) for layer in view["layers"])
        assert joules == pytest.approx(told.measured.sum(), rel=1e-4)
    assert "<b>" not in text
    assert re.findall(r"""(?:src|href)=|url\(|https?:|@import|fetch\(|XMLHttp""", text) == []
    assert len(page(told, tables_of(told, "container"))) - len(json.dumps(data["views"]["container"])) < 60_000


def test_a_page_warns_of_a_model_and_of_damage(told: Book) -> None:
    modelled = replace(told, sources=("model",), info={"power_model": "a <guess>"}, damage="damaged at byte 7")
    text = page(modelled, tables_of(modelled, "container"))
    assert "Power is a model&#x27;s, not measured: a &lt;guess&gt;" in text
    assert "damaged at byte 7" in text
    assert "not measured" not in page(told, tables_of(told, "container"))


def test_a_browser_shows_what_the_page_holds(told: Book, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:  # not in every distribution, so none of those that CI promises
        pytest.skip("no Chromium to look at the page with")
    path = tmp_path / "page.html"
    path.write_text(page(told, tables_of(told, *GROUPINGS)), encoding="utf-8")
    done = subprocess.run(
        [
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=10000"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "CONSOLE" not in done.stderr
    assert 'data-ready="yes"' in done.stdout
    shown = [re.findall(r"<td>([^<]*)</td>", line) for line in re.findall(r"<tr.*?</tr>", done.stdout, re.S)]
    table = data_of(path.read_text())["views"]["container"]["table"]
    assert [cells[-6:-1] for cells in shown[1:]] == [row["cells"] for row in table]
    for cells, row in zip(shown[1:], table):
        if row["layers"]:  # the chart's own sums are the table's
            assert float(cells[-1]) == pytest.approx(float(row["cells"][0]), rel=2e-3, abs=2e-3)
