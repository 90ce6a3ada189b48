"""Draw every dashboard: ``make preview`` (two and a half minutes, as root), or from a Prometheus of yours.

Without one, that of the tests' site is asked: a real Prometheus over two collectors and working containers.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.conftest import collectors
from tests.e2e.site import COMMAND, site


@contextmanager
def _site(seconds: int) -> Iterator[str]:
    """The address of a Prometheus that has watched the tests' site for so long."""
    os.environ["CI"] = "true"  # what is missing is an error here, not a reason to skip
    with (
        tempfile.TemporaryDirectory() as place,
        collectors(Path(place), COMMAND) as start,
        site(Path(place), start) as (prometheus, _),
    ):
        time.sleep(seconds)
        yield f"http://127.0.0.1:{prometheus.port}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.preview", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--seconds", type=int, default=120, help="how much of the past they show")
    parser.add_argument("--prometheus", metavar="URL", help="draw from this one, such as http://localhost:9090")
    arguments = parser.parse_args()
    try:
        from deploy.preview.drawing import draw_all
    except ModuleNotFoundError as error:
        parser.error(f"{error.name} is not installed: pip install 'kepler-ebpf[study]'")
    if arguments.prometheus:
        pictures = draw_all(arguments.prometheus, arguments.folder, arguments.seconds)
    else:
        with _site(arguments.seconds) as address:
            pictures = draw_all(address, arguments.folder, arguments.seconds)
    for picture in pictures:
        print(picture)


if __name__ == "__main__":
    main()
