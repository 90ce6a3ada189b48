"""``kepler-ebpf serve`` as its users meet it, on the live kernel."""

from __future__ import annotations

import concurrent.futures
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from kepler_ebpf.host.syscalls import _bpf, _ObjectInfo
from kepler_ebpf.kernel.loader import TRACEPOINTS
from tests.e2e.conftest import COMMAND, Running, free_port
from tests.kernel.workloads import spinner
from tests.needs import require

pytestmark = pytest.mark.kernel

Serve = Callable[..., Running]


def programs() -> set[int]:
    """Ids of all BPF programs in the kernel (BPF_PROG_GET_NEXT_ID)."""
    ids: set[int] = set()
    attr, last = _ObjectInfo(), 0
    while True:
        attr.bpf_fd = last
        try:
            _bpf(11, attr)
        except FileNotFoundError:
            return ids
        last = attr.info_len  # next_id shares its place in the union
        ids.add(last)


def programs_of(pid: int) -> set[int]:
    """Ids of those that a process holds: other collectors may come and go meanwhile."""
    told = "".join(file.read_text() for file in Path(f"/proc/{pid}/fdinfo").iterdir())
    return {int(number) for number in re.findall(r"^prog_id:\s+(\d+)$", told, re.MULTILINE)}


def are_gone(some: set[int]) -> bool:
    """Whether these programs go, which the kernel frees after an RCU grace period."""
    deadline = time.monotonic() + 30
    while programs() & some:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def total(samples: dict[str, list[tuple[dict[str, str], float]]], name: str) -> float:
    return sum(value for _, value in samples.get(name, ()))


def test_the_published_books_close(serve: Serve) -> None:
    """Σ processes + idle + unattributed = node, and Σ containers likewise, in one scrape under churn."""
    collector = serve()
    churn = subprocess.Popen(["/bin/sh", "-c", "while :; do /bin/true; done"])
    try:
        for _ in range(4):
            time.sleep(1)
            samples = collector.samples()
            node = total(samples, "kepler_node_energy_joules_total")
            rest = total(samples, "kepler_node_idle_joules_total") + total(
                samples, "kepler_node_unattributed_joules_total"
            )
            assert node > 0
            processes = total(samples, "kepler_process_joules_total") + total(
                samples, "kepler_processes_exited_joules_total"
            )
            assert processes + rest == pytest.approx(node, rel=1e-9)
            containers = total(samples, "kepler_container_joules_total") + total(
                samples, "kepler_containers_exited_joules_total"
            )
            assert containers + rest == pytest.approx(node, rel=1e-9)
            assert all(value < 1e-9 for _, value in samples["kepler_ebpf_books_gap_ratio"])
    finally:
        churn.kill()
        churn.wait()


def test_a_busy_process_is_found_with_its_energy(serve: Serve) -> None:
    collector = serve()
    busy = subprocess.Popen(spinner(30.0))

    def used() -> dict[str, tuple[float, float]]:
        samples = collector.samples()
        seconds = {labels["pid"]: value for labels, value in samples["kepler_process_cpu_time_seconds_total"]}
        return {
            labels["pid"]: (value, seconds[labels["pid"]]) for labels, value in samples["kepler_process_joules_total"]
        }

    pid = str(busy.pid)
    try:
        before = used()
        while before.get(pid, (0.0, 0.0))[1] < 0.2:
            time.sleep(0.2)
            before = used()
        after = before
        while after[pid][1] < before[pid][1] + 1.0:
            time.sleep(0.2)
            after = used()
        samples = collector.samples()
    finally:
        busy.kill()
        busy.wait()
    joules, seconds = (after[pid][column] - before[pid][column] for column in (0, 1))
    # Others may be as busy as this one: they pay as much for a second.
    all_joules, all_seconds = (
        sum(after[one][column] - before[one][column] for one in after.keys() & before.keys()) for column in (0, 1)
    )
    assert joules / seconds == pytest.approx(all_joules / all_seconds, rel=0.5)
    power = {labels["pid"]: value for labels, value in samples["kepler_process_power_watts"]}
    assert power[pid] > 0
    assert total(samples, "kepler_node_cpu_utilization") > 0.3


def test_a_hostile_name_yields_valid_text(serve: Serve) -> None:
    require(subprocess.run(["which", "promtool"], capture_output=True).returncode == 0, "promtool is not installed")
    code = (
        "import ctypes, time\n"
        "ctypes.CDLL(None).prctl(15, b'a\"b\\\\c\\n}\\xff\\xfe{', 0, 0, 0)\n"
        "end = time.process_time() + 30\n"
        "while time.process_time() < end: pass\n"
    )
    hostile = subprocess.Popen([sys.executable, "-S", "-c", code])
    try:
        collector = serve()
        time.sleep(1.2)
        text = collector.get("/metrics")
        comm = next(
            labels["comm"]
            for labels, _ in collector.samples()["kepler_process_joules_total"]
            if labels["pid"] == str(hostile.pid)
        )
        assert comm == 'a"b\\c\n}��{'
        check = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
        assert check.returncode == 0, check.stderr.decode() + check.stdout.decode()
        openmetrics = collector.get("/metrics", "application/openmetrics-text; version=1.0.0")
        assert openmetrics.endswith(b"# EOF\n")
    finally:
        hostile.kill()
        hostile.wait()


def test_concurrent_scrapers_get_the_same_bytes(serve: Serve) -> None:
    collector = serve("--metrics-interval", "60s")
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        pages = list(pool.map(lambda _: collector.get("/metrics"), range(64)))
    # Our own process_* figures are part of what is rendered once, so not even they differ.
    assert len(set(pages)) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly_and_soon(serve: Serve, number: int) -> None:
    collector = serve()
    mine = programs_of(collector.process.pid)
    assert len(mine) >= len(TRACEPOINTS)
    collector.process.send_signal(number)
    assert collector.process.wait(10) == 0
    assert are_gone(mine)
    assert "Traceback" not in collector.log.read_text()


def test_kill_leaves_nothing_attached_and_nothing_mounted(serve: Serve) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    collector = serve()
    mine = programs_of(collector.process.pid)
    assert len(mine) >= len(TRACEPOINTS)
    collector.process.kill()
    collector.process.wait()
    assert are_gone(mine)
    assert Path("/proc/self/mountinfo").read_text() == mounts


def one_line(process: subprocess.CompletedProcess[str], code: int) -> str:
    assert process.returncode == code, process.stderr
    lines = process.stderr.strip().splitlines()
    assert len(lines) == 1, process.stderr
    assert lines[0].startswith("kepler-ebpf: ")
    return lines[0]


def run(
    arguments: Sequence[str], variables: Mapping[str, str] | None = None, user: int | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        user=user,
        env={**os.environ, **(variables or {})},
    )


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (["--sample-interval", "5"], {}, "--sample-interval: '5' will not do"),
        ([], {"KEPLER_METRICS_INTERVAL": "30"}, "KEPLER_METRICS_INTERVAL: '30' will not do"),
        (["serve", "--listen", "nowhere"], {}, "nowhere"),
        (["serve", "--colour"], {}, "--colour"),
        (["fly"], {}, "fly"),
        ([], {"KEPLER_PROCFS": "/nowhere"}, "KEPLER_PROCFS: '/nowhere' will not do"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(arguments: list[str], variables: dict[str, str], said: str) -> None:
    assert said in one_line(run(arguments, variables), 2)


def test_a_taken_port_is_one_line(serve: Serve) -> None:
    collector = serve()
    assert str(collector.port) in one_line(run(["serve", "--listen", f"127.0.0.1:{collector.port}"]), 1)


def test_without_root_it_says_so() -> None:
    require(os.geteuid() == 0, "becoming somebody else needs root")
    line = subprocess.run(
        [*COMMAND, "serve", "--listen", f"127.0.0.1:{free_port()}"],
        capture_output=True,
        text=True,
        timeout=30,
        preexec_fn=_drop,
    )
    assert "root" in one_line(line, 1)


def _drop() -> None:
    """No capability left, as in a container that was given none; still able to read the tree."""
    libc = ctypes.CDLL(None)
    for capability in range(64):
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
    os.setresuid(0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    libc.capset(header, data)


def test_doctor_says_what_there_is(serve: Serve) -> None:
    answer = run(["doctor"])
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "serve would work here" in answer.stdout
    for what in ("capabilities", "BPF", "PMU cycles", "powercap", "NVML", "cgroups"):
        assert what in answer.stdout


def test_without_cgroups_all_is_the_hosts(serve: Serve, tmp_path: Path) -> None:
    answer = run(["doctor", "--cgroupfs", str(tmp_path)])
    assert (answer.returncode, answer.stderr.count("\n")) == (2, 1), "an empty folder is a mistake"
    (tmp_path / "not-empty").touch()
    answer = run(["doctor", "--cgroupfs", str(tmp_path)])
    assert answer.returncode == 0, answer.stdout
    assert "everything counts as the host's" in " ".join(answer.stdout.split())
    collector = serve("--cgroupfs", str(tmp_path))
    names = {labels["container"] for labels, _ in collector.samples()["kepler_container_joules_total"]}
    assert names == {"system", "kernel"}
    assert "containers cannot be told apart" in collector.log.read_text()


def test_a_prepared_powercap_tree_is_measured(serve: Serve, tmp_path: Path) -> None:
    """Zones are known by name, and a wrap is no spike: 2 J are used across the end of the counter's range."""
    sys_tree = tmp_path / "sys"
    zone = sys_tree / "class/powercap/intel-rapl:7"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "max_energy_range_uj").write_text("262143328850\n")
    (zone / "energy_uj").write_text("262142328850\n")
    (sys_tree / "devices").symlink_to("/sys/devices")
    (sys_tree / "fs").symlink_to("/sys/fs")
    collector = serve("--sysfs", str(sys_tree))
    (zone / "energy_uj").write_text("1000000\n")
    time.sleep(1.2)
    samples = collector.samples()
    ((labels, joules),) = samples["kepler_node_package_joules_total"]
    assert labels == {"package": "0", "source": "rapl-powercap"}
    assert joules == pytest.approx(2.0, abs=1e-5)
    assert total(samples, "kepler_node_energy_joules_total") == pytest.approx(2.0, abs=1e-5)
    assert samples["kepler_node_info"][0][0]["power_source"] == "rapl-powercap"


def test_running_holds_only_the_capabilities_it_needs(serve: Serve) -> None:
    collector = serve()
    allowed = 1 << 2 | 1 << 38 | 1 << 39  # DAC_READ_SEARCH, PERFMON, BPF
    for task in Path(f"/proc/{collector.process.pid}/task").iterdir():
        status = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
        for kind in ("CapEff", "CapPrm"):
            assert int(status[kind], 16) & ~allowed == 0, (status["Name"], status[kind])


def test_json_logs(serve: Serve) -> None:
    import json

    collector = serve("--log-format", "json")
    lines = [json.loads(line) for line in collector.log.read_text().splitlines()]
    assert {"time", "level", "logger", "message"} <= set(lines[0])
