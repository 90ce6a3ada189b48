"""What runs inside a guest that loses a CPU for a while and is suspended: the truth about it on the console."""

import json
import os
import subprocess
import time
import urllib.request
from pathlib import Path

CPU = Path("/sys/devices/system/cpu/cpu1/online")
CGROUP = Path("/sys/fs/cgroup/system.slice/worker.service")
ASLEEP_SECONDS = 20


def say(word: str, document: object) -> None:
    print(f"\n{word} {json.dumps(document)}", flush=True)


def page() -> dict[str, float]:
    """Series of the collector without labels."""
    with urllib.request.urlopen("http://127.0.0.1:9102/metrics", timeout=30) as answer:
        lines = [line.split() for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {line[0]: float(line[1]) for line in lines if len(line) == 2 and "{" not in line[0]}


def used_seconds() -> float:
    """Of the worker, by its cgroup."""
    return int((CGROUP / "cpu.stat").read_text().split()[1]) * 1e-6


def asleep_seconds() -> float:
    """For how long the machine has been suspended since it was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def suspend() -> None:
    alarm = Path("/sys/class/rtc/rtc0/wakealarm")
    alarm.write_text("0")
    alarm.write_text(f"+{ASLEEP_SECONDS}")
    Path("/sys/power/state").write_text("mem")


def main() -> None:
    while subprocess.run(["kepler-ebpf", "health"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        time.sleep(1)
    burn = "for i in 1 2; do while :; do :; done & done; wait"
    subprocess.run(["systemd-run", "--unit=worker", "--collect", "/bin/sh", "-c", burn], check=True)
    time.sleep(4)
    CPU.write_text("0")
    time.sleep(4)
    CPU.write_text("1")
    time.sleep(4)
    before, began = page(), time.monotonic()
    suspend()
    time.sleep(6)
    after, awake = page(), time.monotonic() - began
    subprocess.run(["systemctl", "kill", "--signal=STOP", "worker"], check=True)
    used = used_seconds()
    time.sleep(6)  # for a publication of all of it
    say(
        "TRUTH",
        {
            "release": os.uname().release,
            "asleep": asleep_seconds(),
            "awake": awake,
            "joules": after["kepler_node_energy_joules_total"] - before["kepler_node_energy_joules_total"],
            "watts": after["kepler_node_power_watts"],
            "samples": after["kepler_ebpf_samples_total"] - before["kepler_ebpf_samples_total"],
            "used": used,
        },
    )


if __name__ == "__main__":
    main()
