"""Builds the stand-in NVML library and scripts its GPUs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.needs import require

SOURCE = Path(__file__).with_name("standin.c")


def build(folder: Path, *flags: str) -> Path:
    """Compile it into ``folder``; a process with that in LD_LIBRARY_PATH takes it for the driver's."""
    require(shutil.which("gcc"), "gcc is not installed")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1", *flags, "-o", str(library), str(SOURCE)],
        check=True,
    )
    return library


class Script:
    """The state that the stand-in reads at every call; replaced as a whole, so that no call sees half of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write("gpu 0 1000 50000 0 0")

    def write(self, *lines: str) -> None:
        temporary = self.path.with_suffix(".new")
        temporary.write_text("\n".join(lines) + "\n")
        os.replace(temporary, self.path)
