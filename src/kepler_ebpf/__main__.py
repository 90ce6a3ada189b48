"""The ``kepler-ebpf`` command."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run one verb; ``serve`` where none is named. Returns the exit code."""
    # One thread is all we use of the linear algebra library; its pool would cost memory in every process.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from .cli import run

    return run(sys.argv[1:], os.environ)


if __name__ == "__main__":
    sys.exit(main())
