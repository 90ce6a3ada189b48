"""`kepler-ebpf record` on this machine's kernel: all of the command is there, and a recording outlives its recorder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kepler_ebpf.recording.reader import read
from kepler_ebpf.report.book import book, lines_of
from kepler_ebpf.report.groups import group
from kepler_ebpf.report.replay import attribute_again
from kepler_ebpf.report.text import gaps
from tests.e2e.conftest import COMMAND
from tests.e2e.terminal import status_after_ctrl_c
from tests.needs import require

pytest.importorskip("pyarrow")
pytestmark = pytest.mark.kernel

_WORK = """
import os, time
began = time.process_time()
while time.process_time() < 0.5:
    pass
print(os.getpid(), began, time.process_time(), flush=True)
os._exit(7)
"""


def test_a_command_is_recorded_to_its_end_and_its_status_is_passed_on(tmp_path: Path) -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    path = tmp_path / "a"
    command = [*COMMAND, "record", "-o", str(path), "--", sys.executable, "-S", "-c", _WORK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 7, done.stderr
    pid, began, told = done.stdout.split()
    recording = read(path)
    assert recording.damage == ""
    lines = lines_of(recording)
    recorded = book(recording, lines)
    charges = recorded.levels["process"]
    of_command = [number for number, who in enumerate(charges.everyone) if who.pid == int(pid)]
    seconds = sum(float(charges.cpu_seconds[charges.who == number].sum()) for number in of_command)
    # What the process did before it was the command is the recorder's, and not recorded: a part of what it began with.
    assert 0.98 * (float(told) - float(began)) <= seconds <= 1.02 * float(told)
    assert max(gaps(recorded).values()) < 1e-9
    again = group(attribute_again(recording, lines), "process")
    first = group(recorded, "process")
    assert dict(zip(again.labels, again.total)) == pytest.approx(dict(zip(first.labels, first.total)), rel=1e-9)


def test_who_reads_no_more_costs_no_status(tmp_path: Path) -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    line = f'{{ "$@" -o {tmp_path}/a -- sh -c "sleep 0.3; exit 7"; echo $? > {tmp_path}/status; }} 2>&1 | true'
    subprocess.run(["sh", "-c", line, "sh", *COMMAND, "record"], timeout=300, check=True)
    assert (tmp_path / "status").read_text() == "7\n"
    assert read(tmp_path / "a").damage == ""


def test_a_command_runs_as_who_called_sudo_in_all_groups_of_that_user(tmp_path: Path) -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    sudo = {"SUDO_UID": "65534", "SUDO_GID": "65534", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*COMMAND, "record", "-o", str(tmp_path / "a"), "--", "sh", "-c", "id -u; id -G; echo $HOME"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, **sudo})
    groups = " ".join(map(str, os.getgrouplist("nobody", 65534)))
    assert done.stdout.splitlines() == ["65534", groups, "/nonexistent"], done.stderr


def test_a_command_that_is_not_there_is_one_line_and_its_code_and_costs_no_recording(tmp_path: Path) -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    (tmp_path / "a").write_bytes(b"an older recording")
    for name in ("a", "b"):
        command = [*COMMAND, "record", "-o", str(tmp_path / name), "--", "no-such-command"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 127
        assert "cannot run 'no-such-command': No such file or directory" in done.stderr.splitlines()[-1]
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"an older recording")]


def popen(path: Path, *command: str, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """A recorder without a terminal, so that no signal is taken for one from the keyboard."""
    return subprocess.Popen(
        [*COMMAND, "record", "-o", str(path), *options, "--", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_goes_to_the_command_and_ends_us_as_it_did(number: signal.Signals, tmp_path: Path) -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    with popen(tmp_path / "a", "sh", "-c", "echo begun; exec sleep 1000") as process:
        assert line_of(process) == "begun"
        process.send_signal(number)
        _, said = process.communicate(timeout=300)
    assert process.returncode == -number, said
    assert f" in {tmp_path}/a; " in said.splitlines()[-1]
    assert read(tmp_path / "a").damage == ""


_SHUTDOWN = """
import os, signal, sys, time
def work(said):
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    print(said, flush=True)
def end(*_):
    work("ends")
    print(time.process_time(), flush=True)
    os._exit(7)
signal.signal(signal.SIGHUP, lambda *_: work("goes on"))
signal.signal(signal.SIGTERM, end)
print(os.getpid(), flush=True)
while True:
    time.sleep(0.01)
"""


def test_every_signal_is_passed_on_and_the_shutdown_is_recorded(tmp_path: Path) -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    with popen(tmp_path / "a", sys.executable, "-S", "-c", _SHUTDOWN) as process:
        pid = int(line_of(process))
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            assert line_of(process) == "goes on"
        process.send_signal(signal.SIGTERM)
        assert line_of(process) == "ends"
        told = float(line_of(process))
        _, said = process.communicate(timeout=300)
    assert process.returncode == 7, said
    lines = read(tmp_path / "a").level("process").to_pylist()
    recorded = sum(line["cpu_seconds"] or 0.0 for line in lines if line["pid"] == pid)
    assert recorded == pytest.approx(told, rel=0.05)


_RELUCTANT = """
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
signal.signal(signal.SIGHUP, lambda *_: os._exit(9))
signal.pthread_sigmask(signal.SIG_SETMASK, ())
while True:
    time.sleep(0.05)
"""


def test_at_the_end_of_the_duration_the_command_is_asked_to_end_and_waited_for(tmp_path: Path) -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # the command has it when it is ready for it
    try:
        process = popen(tmp_path / "a", sys.executable, "-S", "-c", _RELUCTANT, options=("--duration", "200ms"))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with process:
        assert line_of(process) == "asked"
        process.send_signal(signal.SIGHUP)
        _, said = process.communicate(timeout=300)
    assert process.returncode == 9, said
    assert read(tmp_path / "a").damage == ""


def test_ctrl_c_at_a_terminal_reaches_the_command_once(tmp_path: Path) -> None:
    """Both have it from the terminal: the command must not get another one from us."""
    require(os.geteuid() == 0, "loading BPF programs needs root")
    assert status_after_ctrl_c([*COMMAND, "record", "-o", str(tmp_path / "a")]) == 41
    assert read(tmp_path / "a").damage == ""


@pytest.mark.parametrize("uid", ["nobody", "-1", "0x0", ""])
def test_nobody_records_as_root_by_mistake(uid: str, tmp_path: Path) -> None:
    require(os.geteuid() == 0, "only root can become another user")
    command = [*COMMAND, "record", "-o", str(tmp_path / "a"), "--", "touch", str(tmp_path / "ran")]
    sudo = {"SUDO_UID": uid, "SUDO_GID": "65534"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, **sudo})
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert f"SUDO_UID {uid!r} and SUDO_GID '65534' are no numbers" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_was_written_outlives_the_recorder(tmp_path: Path) -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    path = tmp_path / "a"
    with subprocess.Popen([*COMMAND, "record", "-o", str(path)], stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not (path.exists() and path.stat().st_size > 20_000):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.kill()
    recorded = book(recording := read(path), lines_of(recording))
    assert len(recorded.seconds) >= 1
    assert max(gaps(recorded).values()) < 1e-9
