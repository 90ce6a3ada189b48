"""``kepler-ebpf stat`` as a user calls it, and its figures against the kernel's own accounts."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from kepler_ebpf.assembly import open_session
from kepler_ebpf.config import from_arguments
from kepler_ebpf.stat.cgroup import OwnCgroup
from kepler_ebpf.stat.child import is_alive
from kepler_ebpf.stat.probe import Probe
from kepler_ebpf.stat.runs import Runner
from kepler_ebpf.stat.signals import Signals
from kepler_ebpf.stat.target import Lineage
from tests.cgroups import cgroup_root, only_v1
from tests.e2e.conftest import COMMAND
from tests.e2e.site import Ticker
from tests.e2e.terminal import status_after_ctrl_c
from tests.kernel.workloads import BURN, spinner, usage_seconds
from tests.needs import require
from tests.runtimes import BUSY, containerd

pytestmark = pytest.mark.kernel
STAT = [*COMMAND, "stat", "--no-wait"]
THREADS = [sys.executable, "-c", BURN + "[t.start() for t in threads]; [t.join() for t in threads]", "0.2", "4"]
FORKS = ["/bin/sh", "-c", f"for i in 1 2 3; do ({' '.join(spinner(0.2)[:3])} '{spinner(0.2)[3]}') & done; wait"]
CHILDREN = ["/bin/sh", "-c", "i=0; while [ $i -lt 1000 ]; do /bin/true; i=$((i+1)); done"]
DAEMON = [
    sys.executable,
    "-c",
    BURN
    + """
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        burn(0.5)
        os.write(write, b".")
        time.sleep(60)
    os._exit(0)
os.read(read, 1)
""",
    "0",
    "0",
]

NESTED = [
    "/bin/sh",
    "-c",
    'own=$0$(sed -n s/^0:://p /proc/self/cgroup); mkdir $own/below; echo $$ > $own/below/cgroup.procs; exec "$@"',
    "",
    *spinner(0.3),
]


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    """What the verb runs commands with, opened once."""
    require(os.geteuid() == 0, "loading BPF programs needs root")
    off = {f"KEPLER_{name}": "off" for name in ("KUBELET_URL", "CRI_SOCKET", "DOCKER_SOCKET", "PODMAN_SOCKET")}
    config = from_arguments(argparse.Namespace(), off)
    with open_session(config, drop_privileges=False) as session:
        signals = Signals()
        try:
            probe = Probe(session.sampler, signals, 0.01)
            yield Runner.over(session, probe, signals, config.fs)
        finally:
            signals.close()


@pytest.mark.parametrize(
    ("command", "left"),
    [(THREADS, 0), (FORKS, 0), (CHILDREN, 0), (DAEMON, 1), (NESTED, 0)],
    ids=["threads", "forks", "a thousand short children", "a daemon that outlives its parent", "a cgroup below"],
)
def test_cpu_seconds_are_the_cgroups(
    command: Sequence[str], left: int, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [str(cgroup_root()) if word == "" else word for word in command]
    told: list[float] = []
    remove = OwnCgroup.remove

    def look_and_remove(own: OwnCgroup) -> None:
        told.append(usage_seconds(str(own.folder)))
        for pid in own.members():
            os.kill(pid, signal.SIGKILL)
        remove(own)
        assert not own.folder.exists()

    monkeypatch.setattr(OwnCgroup, "remove", look_and_remove)
    usage = runner.run(command)
    assert usage.status == 0
    assert usage.left == left
    assert told[0] > 0.1
    assert usage.cpu_seconds == pytest.approx(told[0], rel=0.005)


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    return subprocess.run(
        [*STAT, *arguments], env={**os.environ, **variables}, capture_output=True, text=True, timeout=120, check=False
    )


def test_descent_tells_as_much_as_a_cgroup_does(tmp_path: Path) -> None:
    """Where no cgroup can be made, children and daemons are known by who started them."""
    (tmp_path / "none").mkdir()
    (tmp_path / "none/file").touch()
    flags = ["--cgroupfs", str(tmp_path / "none"), "--json", str(tmp_path / "a.json")]
    found = run(*flags, "--", *CHILDREN[:2], f"{CHILDREN[2]}; times")
    assert found.returncode == 0, found.stderr
    assert "No cgroup could be made (none is mounted): processes are told apart by who started them." in found.stderr
    times = [float(part.strip("ms").replace("m", "")) for part in found.stdout.replace("0m", " ").split()]
    assert one_run(tmp_path / "a.json")["cpu_seconds"] == pytest.approx(sum(times), rel=0.005, abs=0.03)
    daemon = [*DAEMON[:2], DAEMON[2].replace("60)", "5)"), *DAEMON[3:]]
    found = run(*flags, "--", *daemon)
    assert "left 1 process(es) running" in found.stderr
    assert one_run(tmp_path / "a.json")["cpu_seconds"] > 0.5


def one_run(file: Path) -> dict[str, Any]:
    """The only run of a file's only target."""
    (target,) = json.loads(file.read_text())["targets"]
    (run,) = target["runs"]
    found: dict[str, Any] = run
    return found


def left_behind() -> list[Path]:
    return list(cgroup_root().rglob("kepler-ebpf-stat-*"))


def test_output_and_status_are_the_commands(tmp_path: Path) -> None:
    found = run("--json", str(tmp_path / "a.json"), "--", "sh", "-c", "echo out; pwd; exit 3")
    assert (found.returncode, found.stdout.splitlines()) == (3, ["out", os.getcwd()])
    assert "Energy of 'sh -c echo out; pwd; exit 3':" in found.stderr
    assert "ended with status 3" in found.stderr
    one = one_run(tmp_path / "a.json")
    parts = [one[f"{part}package_joules"] for part in ("", "others_", "idle_", "unattributed_")]
    assert sum(parts) == pytest.approx(one["whole_package_joules"], rel=1e-9)
    assert one["status"] == 3
    assert one["gpu_joules"] is None
    assert left_behind() == []


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("-- sh -c 'sleep 0.3; exit 7'", 7),
        ("--max-joules 0.000001 -- sleep 0.3", 121),
        ("-- yes", 141),
        ("--json - -o - -- sleep 0.3", 2),
        ("--json - -- sh -c 'sleep 0.3; exit 7'", 7),
        ("-o - -- sh -c 'sleep 0.3; exit 7'", 7),
    ],
)
def test_who_reads_no_more_costs_no_status(words: str, status: int, tmp_path: Path) -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    line = f'{{ "$@" {words}; echo $? > {tmp_path}/status; }} 2>&1 | true'
    subprocess.run(["sh", "-c", line, "sh", *STAT], timeout=120, check=True)
    assert (tmp_path / "status").read_text() == f"{status}\n"


def test_what_measures_nothing_leaves_files_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    for option in ("-o", "--json"):
        for name in ("kept", "new"):
            assert run(option, str(tmp_path / name), "no-such-command").returncode == 127
            assert run(option, str(tmp_path / name), "-p", "4194999").returncode == 1
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("kept", "kept")]


def test_a_full_disk_is_one_line_and_the_figures_are_on_the_screen() -> None:
    for option in ("-o", "--json"):
        found = run(option, "/dev/full", "--", "sh", "-c", "exit 3")
        assert found.returncode == 1
        assert "Energy of 'sh -c exit 3':" in found.stderr
        assert found.stderr.splitlines()[-1] == "kepler-ebpf: cannot write /dev/full: No space left on device"


def test_a_command_that_is_not_utf_8_is_written_as_utf_8(tmp_path: Path) -> None:
    file, command = tmp_path / "a.json", ["true", os.fsdecode(b"\xff")]
    assert run("--json", str(file), "-o", str(tmp_path / "a.md"), "--markdown", "--", *command).returncode == 0
    (target,) = json.loads(file.read_bytes().decode("utf-8"))["targets"]
    assert (target["title"], target["command"]) == ("true '?'", ["true", "?"])
    assert "| `true '?'` |" in (tmp_path / "a.md").read_bytes().decode("utf-8")


@pytest.mark.parametrize(
    ("command", "status", "line"),
    [
        (["no-such-command"], 127, "cannot run 'no-such-command': No such file or directory"),
        (["/etc/passwd"], 126, "cannot run '/etc/passwd': Permission denied"),
        ([""], 127, "cannot run '': No such file or directory"),
    ],
)
def test_a_command_that_cannot_run_is_one_line(command: list[str], status: int, line: str) -> None:
    found = run("--", *command)
    assert (found.returncode, found.stderr) == (status, f"kepler-ebpf: {line}\n")
    assert left_behind() == []


def test_a_killed_command_is_told_as_shells_do() -> None:
    found = run("--", "sh", "-c", "kill -SEGV $$")
    assert found.returncode == 128 + signal.SIGSEGV
    assert "was killed by SIGSEGV" in found.stderr


def test_the_commands_environment_and_signals_are_the_callers() -> None:
    # The last seven digits: what stands before is of real-time signals, two of which are the C library's own.
    command = ["/bin/sh", "-c", "env; sed -nE 's/^(SigIgn|SigBlk):.{10}/\\1/p' /proc/self/status"]
    environment = {"LC_ALL": "C", "MARK": "1 = 2"}
    found = run("--", *command, **environment)
    direct = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    assert sorted(found.stdout.splitlines()) == sorted(direct.stdout.splitlines())


def test_under_sudo_it_runs_as_who_called_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    found = subprocess.run(
        [*STAT, "--", "sh", "-c", "id -u; id -g; echo $HOME $USER; pwd"],
        env={**os.environ, "SUDO_UID": "65534", "SUDO_GID": "65534", "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.stdout.splitlines() == ["65534", "65534", "/nonexistent nobody", str(tmp_path)], found.stderr
    assert "Energy of" in found.stderr


def test_nobody_becomes_root_by_mistake() -> None:
    found = run("--", "id", SUDO_UID="nobody", SUDO_GID="65534")
    assert (found.returncode, found.stdout) == (1, "")
    assert "SUDO_UID 'nobody' and SUDO_GID '65534' are no numbers" in found.stderr


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "name"),
    [(signal.SIGTERM, "SIGTERM"), (signal.SIGUSR1, "SIGUSR1"), (signal.SIGRTMIN + 3, "SIGRTMIN+3")],
)
def test_a_signal_goes_to_the_command_and_ends_us_as_it_did(number: int, name: str, tmp_path: Path) -> None:
    cgroup_root()
    script = f"echo > {tmp_path}/begun; exec sleep 100"
    with subprocess.Popen([*STAT, "--", "sh", "-c", script], stderr=subprocess.PIPE, text=True) as process:
        wait_for((tmp_path / "begun").exists)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == -number
    assert "Energy of" in said
    assert f"was killed by {name}" in said
    assert left_behind() == []


def test_a_command_that_handles_a_signal_ends_as_it_likes(tmp_path: Path) -> None:
    script = f"trap 'exit 5' TERM; echo > {tmp_path}/begun; while :; do sleep 0.05; done"
    with subprocess.Popen([*STAT, "-r", "9", "--", "sh", "-c", script], stderr=subprocess.PIPE, text=True) as process:
        wait_for((tmp_path / "begun").exists)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 5
    assert "runs, mean" not in said, "a signal ends the repetition"


def test_a_signal_that_the_command_lives_on_with_ends_no_repetition(tmp_path: Path) -> None:
    script = f"trap 'n=1' USR1; echo > {tmp_path}/begun; while [ -z $n ]; do sleep 0.05; done"
    command = [*STAT, "-r", "2", "--", "sh", "-c", script]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(2):
            wait_for((tmp_path / "begun").exists)
            (tmp_path / "begun").unlink()
            process.send_signal(signal.SIGUSR1)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "(2 runs, mean ± σ):" in said


def test_ctrl_c_at_a_terminal_reaches_the_command_once(tmp_path: Path) -> None:
    """Both have it from the terminal: the command must not get another one from us."""
    cgroup_root()
    assert status_after_ctrl_c([*STAT, "-o", str(tmp_path / "said")]) == 41
    assert "Energy of" in (tmp_path / "said").read_text()
    assert left_behind() == []


def test_what_is_left_running_is_said_and_let_alone() -> None:
    found = run("--", "sh", "-c", "sleep 30 > /dev/null 2>&1 & echo $!")
    daemon = int(found.stdout)
    try:
        assert "left 1 process(es) running" in found.stderr
        assert Path(f"/proc/{daemon}/comm").read_text() == "sleep\n"
        assert left_behind() == []
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_what_a_killed_run_left_is_taken_away_by_the_next() -> None:
    stale = cgroup_root() / "kepler-ebpf-stat-4194999-1"
    stale.mkdir()
    assert run("--", "true").returncode == 0
    assert left_behind() == []


def test_a_budget_has_an_exit_code_of_its_own() -> None:
    assert run("--max-joules", "1000", "--", "true").returncode == 0
    found = run("--max-joules", "0.000001", "--", "true")
    assert found.returncode == 121
    assert "over budget" in found.stderr
    assert run("--max-joules", "0.000001", "--", "false").returncode == 1


def test_repeated_runs_have_a_spread_and_a_verdict() -> None:
    found = run("-r", "8", "--warmup", "1", "--prepare", "echo x", "--vs", "sleep 0.02", "--", "sh", "-c", "sleep 0.01")
    assert found.returncode == 0, found.stderr
    assert found.stdout == "x\n" * 18
    assert "(8 runs, mean ± σ):" in found.stderr
    assert "energy" in found.stderr
    assert "(95 % confidence: " in found.stderr
    failed = run("-r", "3", "--prepare", "exit 4", "--", "true")
    assert failed.returncode == 1
    assert failed.stderr == "kepler-ebpf: --prepare: 'exit 4' ended with status 4\n"


def test_on_v1_alone_the_cgroup_is_made_there(tmp_path: Path) -> None:
    fs = only_v1(tmp_path / "cgroup")
    found = run("--cgroupfs", str(fs.cgroup), "--csv", "--", *spinner(0.3))
    assert found.returncode == 0, found.stderr
    head, line = found.stderr.splitlines()
    row: dict[str, Any] = dict(zip(head.split(","), line.rsplit(",", head.count(","))))
    assert 0.3 <= float(row["cpu_seconds"]) < 0.6
    assert "kepler-ebpf-stat" not in "".join(os.listdir("/sys/fs/cgroup/memory"))


def test_what_runs_already_is_watched(tmp_path: Path, container: Callable[[str], Path]) -> None:
    place = str(container("/kepler-test-watched"))
    with subprocess.Popen(spinner(60)) as process:
        try:
            Path(f"{place}/cgroup.procs").write_text(str(process.pid))
            for flags in (["-p", str(process.pid)], ["--cgroup", place], ["--cgroup", f"/{Path(place).name}"]):
                before = usage_seconds(place)
                found = run(*flags, "--duration", "500ms", "--json", str(tmp_path / "a.json"))
                used = usage_seconds(place) - before
                assert found.returncode == 0, found.stderr
                one = one_run(tmp_path / "a.json")
                assert 0 < one["cpu_seconds"] <= used
                assert one["joules"] > 0
        finally:
            process.kill()
    found = run("-p", str(process.pid))
    assert (found.returncode, found.stderr) == (1, f"kepler-ebpf: -p: no process has the number {process.pid}\n")


def test_watching_ends_with_what_is_watched(runner: Runner) -> None:
    with subprocess.Popen(spinner(600)) as process:
        target = Lineage(runner.processes, [process.pid])
        threading.Timer(0.3, process.kill).start()
        runner.probe.begin()
        usage = runner.probe.watch(target, lambda: not is_alive(runner.fs, process.pid), lambda: (None, 0))
    assert 0 < usage.cpu_seconds < usage.elapsed_seconds + 0.1
    assert usage.status is None


def test_a_container_is_found_by_its_names(tmp_path: Path) -> None:
    require(os.geteuid() == 0, "loading BPF programs needs root")
    with containerd(tmp_path / "containerd") as runtime:
        pod = runtime.run_pod("web")
        app = runtime.run(pod, "app", BUSY)
        try:
            for name in ("app", f"{pod.name}/app", f"{pod.namespace}/{pod.name}/app", app[:12]):
                found = run("--container", name, "--cri-socket", str(runtime.socket), "--duration", "300ms")
                assert found.returncode == 0, found.stderr
                assert f"Energy of 'container {pod.namespace}/{pod.name}/app'" in found.stderr
                assert "GPU" not in found.stderr
            found = run("--container", "nobody", "--cri-socket", str(runtime.socket))
            assert found.returncode == 1
            assert found.stderr.startswith("kepler-ebpf: --container: no container is called 'nobody'; there are: ")
            assert f"{pod.namespace}/{pod.name}/app" in found.stderr
        finally:
            runtime.remove_pod(pod)


def test_the_column_sums_to_the_meter(tmp_path: Path) -> None:
    """A counter that goes up by a joule at a time: whatever was measured is a whole number of them."""
    root = tmp_path / "sys/class/powercap/intel-rapl:0"
    root.mkdir(parents=True)
    for name in ("devices", "fs", "kernel"):
        (tmp_path / "sys" / name).symlink_to(f"/sys/{name}")
    for name, content in (("name", "package-0"), ("max_energy_range_uj", "262143328850"), ("energy_uj", "0")):
        (root / name).write_text(f"{content}\n")

    def tick(seconds: float) -> None:
        with (root / "energy_uj").open("r+") as counter:
            counter.write(f"{int(seconds * 40) * 1_000_000}\n")

    with Ticker(tick):
        arguments = ["--idle-watts", "8", "--json", str(tmp_path / "a.json"), "--", *spinner(1.0)]
        found = run(*arguments, KEPLER_SYSFS=str(tmp_path / "sys"))
    assert found.returncode == 0, found.stderr
    assert "Meter: rapl-powercap." in found.stderr
    assert "model" not in found.stderr
    one = one_run(tmp_path / "a.json")
    whole = one["whole_package_joules"]
    assert whole > 1
    assert whole == pytest.approx(round(whole), abs=1e-6)
    parts = [one[f"{part}package_joules"] for part in ("", "others_", "idle_", "unattributed_")]
    assert sum(parts) == pytest.approx(whole, rel=1e-9)
    assert 0 < one["package_joules"] < whole - one["idle_package_joules"] + 1e-9
    assert one["dram_joules"] is None
