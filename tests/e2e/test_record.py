"""`kepler-ebpf record` on this machine's kernel: all of the command is there, and a recording outlives its recorder."""

from __future__ import annotations

import os
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
from tests.needs import require

pytest.importorskip("pyarrow")
pytestmark = pytest.mark.kernel

_WORK = """
import os, time
while time.process_time() < 0.5:
    pass
print(os.getpid(), time.process_time(), flush=True)
os._exit(7)
"""


def test_a_command_is_recorded_to_its_end_and_its_status_is_passed_on(tmp_path: Path) -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    path = tmp_path / "a"
    command = [*COMMAND, "record", "-o", str(path), "--", sys.executable, "-S", "-c", _WORK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 7, done.stderr
    pid, told = done.stdout.split()
    recording = read(path)
    assert recording.damage == ""
    lines = lines_of(recording)
    recorded = book(recording, lines)
    charges = recorded.levels["process"]
    of_command = [number for number, who in enumerate(charges.everyone) if who.pid == int(pid)]
    seconds = sum(float(charges.cpu_seconds[charges.who == number].sum()) for number in of_command)
    assert seconds == pytest.approx(float(told), rel=0.05)
    assert max(gaps(recorded).values()) < 1e-9
    again = group(attribute_again(recording, lines), "process")
    first = group(recorded, "process")
    assert dict(zip(again.labels, again.total)) == pytest.approx(dict(zip(first.labels, first.total)), rel=1e-9)


def test_a_command_runs_as_who_called_sudo_in_all_groups_of_that_user(tmp_path: Path) -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    sudo = {"SUDO_UID": "65534", "SUDO_GID": "65534", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*COMMAND, "record", "-o", str(tmp_path / "a"), "--", "sh", "-c", "id -u; id -G; echo $HOME"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, **sudo})
    groups = " ".join(map(str, os.getgrouplist("nobody", 65534)))
    assert done.stdout.splitlines() == ["65534", groups, "/nonexistent"], done.stderr


def test_a_command_that_is_not_there_is_one_line_and_its_code(tmp_path: Path) -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    command = [*COMMAND, "record", "-o", str(tmp_path / "a"), "--", "no-such-command"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 127
    assert "cannot run 'no-such-command': No such file or directory" in done.stderr.splitlines()[-1]


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
