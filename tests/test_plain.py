"""Strangers' text commands no terminal and makes no lines of its own, wherever it is shown."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from kepler_ebpf.cli import doctor, run
from kepler_ebpf.logs import set_up_logging

HOSTILE = "a\x1b[31m\r\x00\u202eb\nc\x9b2J"
SHOWN = "a?[31m???b?c?2J"


def test_a_line_of_the_log_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Labels of sensors, for one, are what firmware says."""
    set_up_logging("info", "text")
    logging.getLogger("x").info("%s: left out", HOSTILE)
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("x").exception("it failed")
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.endswith(f" INFO    {SHOWN}: left out")
    assert rest[0].endswith(" ERROR   it failed")
    assert rest[1] == "Traceback (most recent call last):", "a traceback keeps its lines"


def test_what_doctor_finds_is_shown_as_text() -> None:
    shown = doctor.table([doctor.Finding("left out", doctor.OK, HOSTILE, HOSTILE)], 1000, colour=False)
    assert shown.isprintable(), shown.encode()


def test_an_error_that_names_a_strangers_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = HOSTILE.replace("\x00", "").replace("\n", "")
    assert run(["report", str(tmp_path / name)], {}) == 1
    (tmp_path / name).write_bytes(b"\xff\xff\xff\xff")
    assert run(["report", str(tmp_path / name)], {}) == 1
    assert all(line.isprintable() for line in capsys.readouterr().err.splitlines())


@pytest.mark.parametrize("version", [HOSTILE.encode(), b"9" * 10_000])
def test_a_recordings_version_is_shown_as_text(
    version: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pa = pytest.importorskip("pyarrow")
    form = pa.schema([("frame", pa.uint32())], {b"kepler_ebpf.version": version})
    with (tmp_path / "a").open("wb") as file, pa.ipc.new_stream(file, form):
        pass
    assert run(["report", str(tmp_path / "a")], {}) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert len(line) < 300 + len(str(tmp_path))
