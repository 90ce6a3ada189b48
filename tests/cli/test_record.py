"""`kepler-ebpf record` over a fake kernel and meter: what a recording begins and ends with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kepler_ebpf.cli import record, run
from kepler_ebpf.recording.reader import read
from kepler_ebpf.snapshot.publisher import Publisher
from tests.fakes import FakeGpus, FakeTables, FakeWorkloads, sampler_over
from tests.report.runs import PLAIN

pytest.importorskip("pyarrow")
pytestmark = pytest.mark.usefixtures("session")
START_SECONDS = 1000.0


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session in which between the sampler's first mark and the recording a thousand seconds pass: 5 J, a process
    that ran all the time and one that ended."""

    @contextmanager
    def opened(*_: object, **__: object) -> Iterator[SimpleNamespace]:
        passed = 0.0
        kernel, source, workloads = FakeTables(1), FakeGpus(PLAIN), FakeWorkloads()
        sampler = sampler_over(kernel, source, workloads=workloads, clock=lambda: time.monotonic() + passed)
        passed = START_SECONDS
        for tgid in (10, 11):
            kernel.run(tgid, tgid, 0, 10**9)
        kernel.kill(11)
        source.use(np.array([5.0]), START_SECONDS)
        yield SimpleNamespace(sampler=sampler, tables=kernel, workloads=workloads, info={}, notes=())

    monkeypatch.setattr(record, "open_session", opened)


@pytest.mark.parametrize("command", [(), ("--", "true")])
def test_the_recorders_own_start_is_no_part_of_a_recording(command: tuple[str, ...], tmp_path: Path) -> None:
    assert run(["record", "-o", str(tmp_path / "a"), "--duration", "100ms", *command], {}) == 0
    recording = read(tmp_path / "a")
    assert recording.damage == ""
    node = recording.level("node")
    assert node["frame"].to_pylist() == list(range(len(node)))
    assert sum(node["seconds"].to_pylist()) < START_SECONDS / 2  # and not the clock's: others use this machine, too
    assert sum(node["joules"].to_pylist()) == 0.0
    assert sum(node["cpu_seconds"].to_pylist()) == 0.0


def test_no_sample_is_late_before_a_recording_begins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passed = 0.0

    class Slow(Publisher):
        def __init__(self, *of: Any) -> None:
            nonlocal passed
            passed = START_SECONDS
            super().__init__(*of)

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + passed, time_ns=time.time_ns)
    monkeypatch.setattr(record, "time", clock)
    monkeypatch.setattr(record, "Publisher", Slow)
    began = time.monotonic()
    assert run(["record", "-o", str(tmp_path / "a"), "-i", "60s", "--duration", "1ms"], {}) == 0
    assert "; 0 samples late" in capsys.readouterr().err
    assert time.monotonic() - began < 30, "the duration ends it, not the sample that is due after it"


@pytest.mark.parametrize("dashes", [(), ("--",)])
def test_what_stands_behind_a_command_is_its_own(dashes: tuple[str, ...], tmp_path: Path) -> None:
    """As with stat: options that are ours too, and two dashes."""
    words = ["sh", "-c", f'printf %s "$*" > {tmp_path}/told', "--duration", "-i", "--", "-o"]
    assert run(["record", "-o", str(tmp_path / "a"), *dashes, *words], {}) == 0
    assert (tmp_path / "told").read_text() == "-i -- -o"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--duration", ""), "--duration: '' will not do: expected a duration"),
        (("--",), "--: expected a command behind it"),
    ],
)
def test_what_is_empty_is_not_until_ctrl_c(
    words: tuple[str, ...], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["record", "-o", str(tmp_path / "a"), *words], {}) == 2
    assert line in capsys.readouterr().err


def test_a_dash_is_standard_output(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["record", "-o", "-", "--duration", "100ms"], {}) == 0
    (tmp_path / "a").write_bytes(capfdbinary.readouterr().out)
    assert read(tmp_path / "a").damage == ""
    assert [one.name for one in tmp_path.iterdir()] == ["a"]
    assert run(["record", "-o", "-", "--", "true"], {}) == 2
    assert b"-o: what the command says is on standard output, expected a file" in capfdbinary.readouterr().err


def test_who_is_there_is_told_with_the_first_frame_of_a_recording(tmp_path: Path) -> None:
    assert run(["record", "-o", str(tmp_path / "a"), "--duration", "100ms"], {}) == 0
    recording = read(tmp_path / "a")
    processes = [line for line in recording.level("process").to_pylist() if line["pid"] != 11]
    assert [(line["frame"], line["pid"], line["there"], line["joules"]) for line in processes] == [(0, 10, True, None)]
    there = [line for line in recording.level("container").to_pylist() if line["there"]]
    assert {(line["frame"], line["container_id"]) for line in there} >= {(0, "c10")}
