"""What the comparison reads of each collector, and that all of them see its meter: with a stand-in for a peer."""

from __future__ import annotations

import math
import sys
from collections import Counter
from pathlib import Path

import pytest
from benchmarks import peers
from benchmarks.peers import Outcome, PeerError, one_round, table
from benchmarks.programs import Alumet, Counting, Kepler, Ours, Program, Scaphandre

from tests.needs import require

STANDIN = """#!{python}
# Takes Kepler's flag and gives its family: each process that lives now has all that the meter has counted.
import http.server, os, re, sys

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open("/sys/class/powercap/intel-rapl:0/energy_uj") as meter:
            joules = int(meter.read()) * 1e-6
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'kepler_build_info{{goversion="go1",version="1.2.3-rc1"}} 1\\n')
        for pid in filter(str.isdigit, os.listdir("/proc")):
            labels = 'pid="%s",state="running",zone="package"' % pid
            self.wfile.write(b"kepler_process_cpu_joules_total{{%s}} %f\\n" % (labels.encode(), joules))

    def log_message(self, *_):
        pass

port = int(re.search(r"127.0.0.1:(\\d+)", open(sys.argv[2]).read()).group(1))
http.server.ThreadingHTTPServer(("127.0.0.1", port), Page).serve_forever()
"""


def program(directory: Path, text: str) -> str:
    path = directory / "program"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def counted(program: Counting, *pages: str) -> dict[int, float]:
    for number, page in enumerate(pages):
        program.look(page, 5.0 * number)
    return program.joules


def test_a_counter_starts_at_the_first_page_and_a_process_that_comes_later_at_nought() -> None:
    family = "kepler_process_package_joules_total"
    first = f'{family}{{pid="7",comm="a b",container_id=""}} 100\n{family}{{pid="other",comm=""}} 3\n'
    second = f'{family}{{pid="7",comm="a b",container_id=""}} 104.5\n{family}{{pid="8",comm="pid=\\"9\\""}} 2\n'
    assert counted(Ours(), first, second) == {7: 4.5, 8: 2.0}
    assert counted(Ours(), first, second, first.replace("100", "110")) == {7: 10.0, 8: 2.0}, "the dead stay counted"


def test_of_kepler_the_package_is_read_running_or_terminated() -> None:
    line = 'kepler_process_cpu_joules_total{comm="x",pid="7",state="%s",type="regular",zone="%s"} %f\n'
    pages = [line % ("running", zone, value) for zone, value in (("package", 1.0), ("dram", 50.0))]
    assert counted(Kepler(), "".join(pages), line % ("terminated", "package", 1.75)) == {7: 0.75}


def test_watts_of_scaphandre_stand_for_the_time_since_the_page_before() -> None:
    page = 'scaph_process_power_consumption_microwatts{pid="7",exe="x",cmdline="x --pid=9"} 2000000\n'
    scaphandre = Scaphandre()
    for seconds in (0.0, 5.0, 4.0):
        scaphandre.look(page, seconds)
    assert scaphandre.joules == {7: 18.0}


def test_of_alumet_whole_lines_are_read_once(tmp_path: Path) -> None:
    alumet = Alumet()
    alumet.command(1.0, 0, tmp_path)
    with pytest.raises(OSError):
        alumet.scrape()
    file = tmp_path / "alumet.csv"
    header = "metric;timestamp;value;resource_kind;resource_id;consumer_kind;consumer_id;__late_attributes\n"
    row = "attributed_energy;2026-01-01T00:00:00Z;{};local_machine;;process;7;\n"
    file.write_text(header + row.format(100))
    alumet.look(alumet.scrape(), 0.0)
    assert alumet.joules == {}, "what came before the first look is not counted"
    with file.open("a") as more:
        more.write(row.format(1.5) + row.format(2).replace("attributed_energy", "cpu_percent") + row.format(30)[:-5])
    alumet.look(alumet.scrape(), 5.0)
    assert alumet.joules == {7: 1.5}
    with file.open("a") as more:
        more.write(row.format(30)[-5:])
    alumet.look(alumet.scrape(), 5.0)
    assert alumet.joules == {7: 31.5}


def test_the_table_holds_medians_with_least_and_most() -> None:
    rounds = [[Outcome(brief, 1.0, 0.5, 0.25, 50.0, 2000.0)] for brief in (0.9, 1.2, 1.0)]
    text = table(["ours"], rounds)
    assert "1.000 (0.900–1.200)" in text
    assert "2 (2–2)" in text.splitlines()[-1]
    assert "(" not in table(["ours"], rounds[:1])


def test_a_program_that_could_not_follow_costs_nobody_the_table() -> None:
    rounds = [[Outcome(brief, math.nan, 0.5, 0.25, 50.0, 2000.0)] for brief in (0.9, math.nan, 1.1)]
    lines = table(["peer"], rounds).splitlines()
    assert "1.000 (0.900–1.100) in 2 of 3" in lines[1]
    assert "none told" in lines[2]
    assert "50.0 (50.0–50.0)" in lines[5]


def test_the_version_is_what_the_program_says(tmp_path: Path) -> None:
    said = program(tmp_path, "#!/bin/sh\n[ $1 = --version ] && echo peer 1.2.3-rc1, built today\n")
    assert Scaphandre(said).version() == "1.2.3-rc1"
    assert Alumet(program(tmp_path, "#!/bin/sh\nexit 1\n")).version() == "no version told"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--kepler", "/nowhere/kepler"], "--kepler is /nowhere/kepler, which is no program here"),
        (["--rounds", "0"], "at least one round"),
        (["--seconds", "1"], "at least one round of 5 seconds"),
    ],
)
def test_bad_input_is_one_line(
    flags: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["peers", *flags])
    with pytest.raises(SystemExit) as ended:
        peers.main()
    assert ended.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.kernel
def test_ours_and_a_peer_see_the_same_meter_and_the_same_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(Path("/proc/self/ns/mnt").exists() and Path("/dev/shm").is_dir(), "mounts need root")
    monkeypatch.setenv("KEPLER_METRICS_INTERVAL", "500ms")
    before = sorted(Path("/sys/class").iterdir())
    programs: list[Program] = [Ours(), Kepler(program(tmp_path, STANDIN.format(python=sys.executable)))]
    ours, peer = one_round(programs, 0.1, 6.0, light=5, scrape_seconds=3.0)
    assert sorted(Path("/sys/class").iterdir()) == before, "nothing of it is seen outside"
    # Those that lived all the while have all that the meter counted: 100 W, for at least the time between the pages.
    ((whole, lived),) = Counter(programs[1].joules.values()).most_common(1)
    assert whole > 0.9 * 600
    assert lived >= 6
    assert peer.kernel == 0.0
    assert programs[1].version() == "1.2.3-rc1"
    # Ours shares it out by use, to those that are gone and those that hardly run as well.
    assert 0.5 < ours.brief < 2
    assert 0.5 < ours.light < 2
    assert ours.kernel > 0
    assert min(ours.cpu, ours.resident_mib, ours.page_bytes, peer.cpu, peer.resident_mib, peer.page_bytes) > 0


@pytest.mark.kernel
def test_a_program_that_ends_is_named_with_its_last_words(tmp_path: Path) -> None:
    require(Path("/dev/shm").is_dir(), "the simulated meter needs memory to live in")
    broken = program(tmp_path, "#!/bin/sh\necho no meter here >&2\nexit 3\n")
    with pytest.raises(PeerError, match="Kepler ended with 3: no meter here"):
        one_round([Kepler(broken)], 1.0, 5.0, light=1)
