"""Processors by their /proc/cpuinfo, as far as it is looked at."""

from __future__ import annotations

from pathlib import Path


def proc_of(folder: Path, vendor: str = "GenuineIntel", family: int = 6, model: int = 106, flags: str = "fpu") -> Path:
    """A /proc with this processor."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpuinfo").write_text(
        f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\n"
        f"model name\t: Some CPU\nstepping\t: 1\nflags\t\t: {flags}\n"
    )
    return folder
