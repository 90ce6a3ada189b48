"""What runs inside a guest: containers with known loads, and the truth about them on the console."""

import json
import os
import subprocess
import time
from pathlib import Path

ROOTFS = Path("/var/rootfs")
SHORT_LIVED = 30
POD = "0a1b2c3d-0000-4000-8000-00000000000"
SLICE = f"kubepods-burstable-pod{POD.replace('-', '_')}1.slice"
CGROUPS = {  # by container id: the cgroup as runc takes it, seconds of load
    "a" * 64: (f"{SLICE}:cri-containerd:{'a' * 64}", 8),
    "b" * 64: (f"{SLICE}:cri-containerd:{'b' * 64}", 3),
    "c" * 64: (f"/kubepods/pod{POD}2/{'c' * 64}", 6),
    "d" * 64: (f"system.slice:docker:{'d' * 64}", 4),
}


def say(word: str, document: object) -> None:
    print(f"\n{word} {json.dumps(document)}", flush=True)


def make_rootfs() -> None:
    (ROOTFS / "bin").mkdir(parents=True, exist_ok=True)
    os.link("/bin/busybox", ROOTFS / "bin/busybox")
    for name in ("sh", "sleep", "timeout"):
        (ROOTFS / "bin" / name).symlink_to("busybox")
    (ROOTFS / "proc").mkdir()


def start(container_id: str, cgroup: str, script: str, detach: bool) -> None:
    bundle = Path("/run/bundles") / container_id
    bundle.mkdir(parents=True)
    subprocess.run(["runc", "spec"], cwd=bundle, check=True)
    spec = json.loads((bundle / "config.json").read_text())
    spec["process"].update(terminal=False, args=["sh", "-c", script], rlimits=[])
    spec["root"] = {"path": str(ROOTFS), "readonly": True}
    spec["linux"]["cgroupsPath"] = cgroup
    (bundle / "config.json").write_text(json.dumps(spec))
    command = ["runc", *(["--systemd-cgroup"] if ":" in cgroup else []), "run", *(["--detach"] if detach else [])]
    subprocess.run([*command, "--bundle", bundle, container_id], check=True, stdin=subprocess.DEVNULL)


def place(pid: int, controller: str) -> Path:
    """The directory of a process's cgroup that has this controller: v2's where there is no other."""
    root = Path("/sys/fs/cgroup")
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return root / controllers / path.lstrip("/")
        found = root / path.lstrip("/")
    return found


def usage_seconds(pid: int) -> float:
    directory = place(pid, "cpuacct")
    if (directory / "cpuacct.usage").exists():
        return int((directory / "cpuacct.usage").read_text()) * 1e-9
    return int((directory / "cpu.stat").read_text().split()[1]) * 1e-6


def memory_bytes(pid: int) -> int:
    directory = place(pid, "memory")
    v2 = (directory / "memory.current").exists()
    stat = dict(line.split() for line in (directory / "memory.stat").read_text().splitlines())
    used = int((directory / ("memory.current" if v2 else "memory.usage_in_bytes")).read_text())
    return used - int(stat["inactive_file" if v2 else "total_inactive_file"])


def main() -> None:
    while subprocess.run(["kepler-ebpf", "health"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        if subprocess.run(["systemctl", "is-failed", "--quiet", "kepler-ebpf"]).returncode == 0:
            subprocess.run(["journalctl", "-u", "kepler-ebpf", "--no-pager"])
            say("FAILED", {})
            return
        time.sleep(1)
    make_rootfs()
    for container_id, (cgroup, seconds) in CGROUPS.items():
        script = f"timeout {seconds} sh -c 'while :; do :; done'; exec sleep 10000"
        start(container_id, cgroup, script, detach=True)
    for number in range(SHORT_LIVED):
        start(f"{number:064x}", f"/docker/{number:064x}", "timeout 0.2 sh -c 'while :; do :; done'; true", detach=False)
    time.sleep(1 + max(seconds for _, seconds in CGROUPS.values()))
    states = json.loads(subprocess.run(["runc", "list", "-f", "json"], check=True, capture_output=True).stdout)
    pids = {state["id"]: state["pid"] for state in states if state["id"] in CGROUPS}
    time.sleep(6)  # for a publication and a look at the memory
    truth = {id: {"seconds": usage_seconds(pid), "memory": memory_bytes(pid)} for id, pid in pids.items()}
    say("TRUTH", {"release": os.uname().release, "containers": truth})


if __name__ == "__main__":
    main()
