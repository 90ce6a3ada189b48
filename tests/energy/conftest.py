from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gpu.bench import Bench
from tests.gpu.standin import Script, build


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Loaded once into this process: whoever then asks for libnvidia-ml.so.1 gets it."""
    path = build(tmp_path_factory.mktemp("nvml"))
    ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    return path


@pytest.fixture
def bench(nvml_library: Path, tmp_path: Path) -> Iterator[Bench]:
    script = Script(tmp_path / "state")
    libc = ctypes.CDLL(None)  # the library reads the C environment
    libc.setenv(b"KEPLER_TEST_NVML", bytes(script.path), 1)
    bench = Bench(script)
    yield bench
    if bench.source._calls is not None:
        bench.source._calls.forget()
    libc.unsetenv(b"KEPLER_TEST_NVML")
