"""`kepler-ebpf report` as a user runs it: what it prints, and one line for whatever is no recording."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kepler_ebpf.cli import run
from kepler_ebpf.cli.report import _OUTPUTS
from kepler_ebpf.recording import schema
from kepler_ebpf.report.book import Book
from tests.needs import examples
from tests.report.runs import PLAIN, Recorded, burst, header_alone, opened

pa = pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "burst.arrows"
    burst(path, 6)
    return path


def report(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = run(["report", *map(str, arguments)], {})
    output, error = capsys.readouterr()
    return code, output, error


def test_the_text_says_what_was_used(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, output, error = report(capsys, recording)
    assert (code, error) == (0, "")
    told = opened(recording)
    assert f"{told.measured.sum():.3f} J = " in output
    assert "p11 in c2" in output
    assert "containers" in output
    assert "programs" in output


def test_every_output_is_written_and_nothing_is_printed(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    begins = {
        "html": b"<!DOCTYPE html>",
        "svg": b"<svg ",
        "png": b"\x89PNG",
        "csv": b"by,name,",
        "parquet": b"PAR1",
        "firefox": b'{"meta":',
        "flame": b"fake;",
    }
    flags = [part for name in begins for part in (f"--{name}", tmp_path / name)]
    assert report(capsys, recording, *flags) == (0, "", "")
    for name, begin in begins.items():
        assert (tmp_path / name).read_bytes().startswith(begin), name


def test_an_output_may_go_to_standard_output(recording: Path) -> None:
    command = [sys.executable, "-m", "kepler_ebpf", "report", str(recording), "--flame", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("fake;")


def test_frames_are_written_one_by_one(recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(capsys, recording, "--csv", tmp_path / "a", "--frames")[0] == 0
    lines = (tmp_path / "a").read_text().splitlines()
    assert lines[0].startswith("frame,end,seconds,level,comm,pid,")
    assert len(lines) > 600 * 3


def test_a_table_has_the_lines_that_were_asked_for(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags, names in (
        ((), ["p10 in c1", "p11 in c2"]),
        (("--top", "1"), ["p10 in c1", "1 other"]),
        (("--only", "p11"), ["p11 in c2", "1 other"]),
    ):
        assert report(capsys, recording, "--csv", tmp_path / "a", "--by", "program", *flags) == (0, "", "")
        lines = [line.split(",") for line in (tmp_path / "a").read_text().splitlines()]
        assert [line[1] for line in lines if line[0] == "program"] == names


def test_other_rules_are_said_and_used(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, before, _ = report(capsys, recording, "--by", "program")
    code, after, _ = report(
        capsys, recording, "--by", "program", "--idle-policy", "equal", "--hyperthread-ratio", "1.5"
    )
    assert code == 0
    assert "idle energy: none; hyperthread ratio 1.1" in before
    assert "idle energy: equal; hyperthread ratio 1.5" in after
    assert " + 0.000 idle" in after


def test_a_recording_of_nothing_at_all_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A frame in which nobody ran and no energy was used; and a machine without any meter."""
    pytest.importorskip("matplotlib")
    for name, domains, verdict in (("idle", PLAIN, "too short to tell"), ("unmetered", (), "they cannot be compared")):
        machine = Recorded(tmp_path / name, domains)
        machine.tick(*(0.0 for _ in domains))
        machine.close()
        flags = [part for flag in _OUTPUTS for part in (f"--{flag}", tmp_path / f"{name}.{flag}")]
        assert report(capsys, tmp_path / name, *flags) == (0, "", "")
        code, output, error = report(capsys, tmp_path / name, "--idle-policy", "equal")
        assert (code, error) == (0, "")
        assert output.count("closes") == 2
        code, output, error = report(capsys, tmp_path / name, tmp_path / name)
        assert (code, error) == (0, "")
        assert verdict in output
    assert "no meter told any energy" in output


def test_a_recording_may_come_through_a_pipe(recording: Path) -> None:
    command = [sys.executable, "-m", "kepler_ebpf", "report", "/dev/stdin"]
    content = recording.read_bytes()
    done = subprocess.run(command, input=content, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    done = subprocess.run(command, input=content[: len(content) // 2], capture_output=True, timeout=120)
    assert done.returncode == 1
    assert b"/dev/stdin: damaged at byte " in done.stderr
    assert done.stdout.count(b"closes") == 2


def test_a_recording_may_come_through_standard_input(recording: Path) -> None:
    command = [sys.executable, "-m", "kepler_ebpf", "report", "-"]
    content = recording.read_bytes()
    done = subprocess.run(command, input=content, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"standard input\n")
    with recording.open("rb") as file:
        assert subprocess.run(command, stdin=file, capture_output=True, timeout=120).stdout == done.stdout
    done = subprocess.run([*command, "-"], input=content, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)


def test_a_pipe_that_is_no_recording_is_refused_by_its_first_bytes() -> None:
    """And not read to an end that may never come."""
    command = [sys.executable, "-m", "kepler_ebpf", "report", "/dev/stdin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"no arrow\n")
        process.stdin.flush()
        assert b"/dev/stdin is no recording" in process.stderr.read()
        assert process.wait() == 1


def test_no_output_takes_the_place_of_a_recording_or_of_another_output(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = recording.read_bytes()
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "dangling").symlink_to(tmp_path / "new")
    os.link(tmp_path / "a", tmp_path / "hard")
    for name in ("a", "link", "hard"):
        assert_one_line(report(capsys, tmp_path / "a", "--csv", tmp_path / name), 2, "--csv", "itself")
        assert_one_line(report(capsys, tmp_path / name, "--csv", "-", "--html", tmp_path / "a"), 2, "--html")
    for name in ("new", "dangling"):
        both = ("--html", tmp_path / "new", "--csv", tmp_path / name)
        assert_one_line(report(capsys, recording, *both), 2, "--csv", "--html")
    assert_one_line(report(capsys, recording, "--html", "-", "--csv", "-"), 2, "--csv", "standard output")
    assert (tmp_path / "a").read_bytes() == content
    assert not (tmp_path / "new").exists()
    assert report(capsys, recording, "--html", "/dev/null", "--csv", "/dev/null") == (0, "", "")


def test_two_recordings_are_compared(recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    burst(tmp_path / "b", 4)
    code, output, error = report(capsys, recording, tmp_path / "b")
    assert (code, error) == (0, "")
    assert "the node's mean power differs by no more than chance does" in output
    assert "p11 in c2" in output


def assert_one_line(answer: tuple[int, str, str], code: int, *words: str) -> None:
    assert answer[0] == code
    assert answer[1] == ""
    assert answer[2].startswith("kepler-ebpf: ")
    assert answer[2].count("\n") == 1
    for word in words:
        assert word in answer[2]


def test_what_is_no_recording_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("no arrow\n")
    (tmp_path / "empty").touch()
    assert_one_line(report(capsys, tmp_path / "missing"), 1, "cannot read", "No such file")
    assert_one_line(report(capsys, tmp_path), 1, "cannot read", "Is a directory")
    assert_one_line(report(capsys, tmp_path / "text"), 1, "is no recording: no Arrow stream begins at byte 0")
    assert_one_line(report(capsys, tmp_path / "empty"), 1, "is no recording: no Arrow stream begins at byte 0")


def test_another_version_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for version, expected in (("1", "version 1"), ("99", "version 99"), ("2", "its header is damaged")):
        form = pa.schema([("a", pa.int64())], {schema.VERSION_KEY: version.encode()})
        with (tmp_path / version).open("wb") as file, pa.ipc.new_stream(file, form):
            pass
        assert_one_line(report(capsys, tmp_path / version), 1, expected)


def test_a_recording_without_a_batch_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header_alone(tmp_path / "a")
    assert_one_line(report(capsys, tmp_path / "a"), 1, "holds no frame")


def test_a_recording_that_is_cut_off_in_its_header_is_one(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for length in (4, 100, 1000):
        (tmp_path / "a").write_bytes(recording.read_bytes()[:length])
        assert_one_line(report(capsys, tmp_path / "a"), 1, "its header is cut off or damaged")


def test_a_truncated_recording_is_shown_as_far_as_it_goes(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = recording.read_bytes()
    for keep in (0.35, 0.6, 0.95):
        (tmp_path / "a").write_bytes(content[: int(len(content) * keep)])
        code, output, error = report(capsys, tmp_path / "a")
        assert code == 1
        assert error.startswith(f"kepler-ebpf: {tmp_path}/a: damaged at byte ")
        assert error.count("\n") == 1
        assert output.count("closes") == 2
    # Not even one batch.
    (tmp_path / "a").write_bytes(content[:4000])
    assert_one_line(report(capsys, tmp_path / "a"), 1, "damaged at byte ")


def test_a_turned_bit_anywhere_is_one_line_or_harmless(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, whole = recording.read_bytes(), opened(recording).measured.sum()
    for position in range(0, len(content), len(content) // examples(150)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        (tmp_path / "a").write_bytes(damaged)
        code, output, error = report(capsys, tmp_path / "a", "--by", "program")
        assert code in (0, 1)
        assert error.count("\n") == code, (position, error)
        assert "Traceback" not in error
        if output:
            assert output.count("closes") == 2
            told: Book = opened(tmp_path / "a")
            assert told.measured.sum() <= whole * (1 + 1e-12)


def test_bad_arguments_are_one_line(recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_one_line(report(capsys), 2, "FILE")
    assert_one_line(report(capsys, recording, "--by", "colour"), 2, "--by")
    for number in ("0", "1_5", "١٥", " 15", "x"):
        assert_one_line(report(capsys, recording, "--top", number), 2, "--top")
    assert_one_line(report(capsys, recording, "--frames"), 2, "--frames")
    for flag in (("--top", "1"), ("--only", "p11")):
        assert_one_line(report(capsys, recording, "--flame", "-", *flag), 2, flag[0], "--flame")
        assert_one_line(report(capsys, recording, "--csv", "-", "--frames", *flag), 2, flag[0], "--frames")
    assert_one_line(report(capsys, recording, "--idle-policy", "fair"), 2, "--idle-policy", "proportional")
    assert_one_line(report(capsys, recording, "--hyperthread-ratio", "3"), 2, "--hyperthread-ratio")
    assert_one_line(report(capsys, recording, recording, "--svg", tmp_path / "a"), 2, "--svg")
    assert_one_line(report(capsys, recording, recording, "--by", "process"), 2, "--by")
    assert_one_line(report(capsys, recording, "--svg", tmp_path), 1, "cannot write", "Is a directory")
    assert_one_line(report(capsys, recording, "--svg", "/dev/full"), 1, "cannot write", "No space left")


def test_a_missing_library_is_one_line(recording: Path, tmp_path: Path) -> None:
    for library, extra, flags in (("matplotlib", "report", ["--png", "a"]), ("pyarrow", "record", [])):
        hidden = tmp_path / library
        hidden.mkdir()
        (hidden / f"{library}.py").write_text(f"raise ImportError('no {library}')\n")
        command = [sys.executable, "-m", "kepler_ebpf", "report", str(recording), *flags]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, cwd=tmp_path, env={"PYTHONPATH": str(hidden)}
        )
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert f"kepler-ebpf[{extra}]" in done.stderr
