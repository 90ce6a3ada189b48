"""How the loader ended, in words that say what to do."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from kepler_ebpf.kernel import launch


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("cgroups", "limits", "said"),
    [
        ("0::/\n", {"memory.max": "67108864\n"}, " of 64 MiB"),
        ("0::/pod/box\n", {"pod/box/memory.max": "max\n", "pod/memory.max": "134217728\n"}, " of 128 MiB"),
        ("0::/a\n", {"a/memory.max": "max\n"}, ""),
        ("4:memory:/box\n0::/\n", {"memory/box/memory.limit_in_bytes": "67108864\n"}, " of 64 MiB"),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, ""),
        ("0::/gone\n", {}, ""),
        ("nonsense\n", {}, ""),
    ],
)
def test_the_limit_that_a_killed_loader_ran_into(
    cgroups: str, limits: dict[str, str], said: str, tmp_path: Path
) -> None:
    for name, text in limits.items():
        write(tmp_path / "fs" / name, text)
    write(tmp_path / "cgroup", cgroups)
    assert launch._memory_limit(tmp_path / "fs", tmp_path / "cgroup") == said


def test_every_end_is_named() -> None:
    assert "killed (SIGKILL), most likely for using more memory" in launch._how_it_ended(-signal.SIGKILL)
    assert launch._how_it_ended(-signal.SIGSEGV) == "the BPF loader was ended by SIGSEGV"
    assert launch._how_it_ended(3) == "the BPF loader ended with status 3"
